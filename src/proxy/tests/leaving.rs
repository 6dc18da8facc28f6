//! A client that leaves is passed on as what it is, in every pair of protocols.

use std::time::Duration;

use bytes::Bytes;

use super::stage::{AppStream, Peer, Stage, ms, played, played_with};
use super::{OK, POST};
use crate::config::{Config, UpstreamProtocol};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/event-stream\r\n\r\n";

#[derive(Clone, Copy, PartialEq, Debug)]
enum Protocol {
    Http1,
    Http2,
}

/// How far the exchange is when the client leaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    BeforeTheHead,
    WithinTheAnswer,
    InASilentEventStream,
}

enum Client {
    Http1(Peer),
    Http2(h2::client::ResponseFuture, Option<h2::RecvStream>),
}

enum App {
    Http1(Peer),
    Http2(AppStream, Option<h2::SendStream<Bytes>>),
}

async fn begin(stage: &Stage, protocol: Protocol, has_body: bool) -> Client {
    match protocol {
        Protocol::Http1 => {
            let mut client = stage.client().await;
            client.sends(if has_body { format!("{POST}hi") } else { GET.to_owned() }).await;
            Client::Http1(client)
        }
        Protocol::Http2 => {
            let mut send = stage.http2_client().await;
            let method = if has_body { http::Method::POST } else { http::Method::GET };
            let mut request = http::Request::builder().method(method).uri("http://a/");
            if has_body {
                request = request.header("content-length", 2);
            }
            let request = request.body(()).expect("a request");
            let (response, mut body) = send.send_request(request, !has_body).expect("a stream");
            if has_body {
                body.send_data(Bytes::from_static(b"hi"), true).expect("a body");
            }
            Client::Http2(response, None)
        }
    }
}

async fn taken(stage: &Stage, protocol: Protocol, has_body: bool) -> App {
    match protocol {
        Protocol::Http1 => {
            let mut app = stage.app().await;
            app.reads_head().await;
            if has_body {
                app.reads("hi").await;
            }
            App::Http1(app)
        }
        Protocol::Http2 => {
            let mut stream = stage.http2_app().await;
            if has_body {
                assert_eq!(stream.reads_the_body().await, b"hi");
            }
            App::Http2(stream, None)
        }
    }
}

impl App {
    async fn answers(&mut self, phase: Phase) {
        let media_type = match phase {
            Phase::BeforeTheHead => return,
            Phase::WithinTheAnswer => "text/plain",
            Phase::InASilentEventStream => "text/event-stream",
        };
        match self {
            Self::Http1(app) => {
                let head = EVENTS.replace("text/event-stream", media_type);
                app.sends(format!("{head}first")).await;
            }
            Self::Http2(stream, body) => {
                let head = http::Response::builder().header("content-type", media_type);
                let head = head.body(()).expect("a head");
                let mut send = stream.respond.send_response(head, false).expect("a stream");
                send.send_data(Bytes::from_static(b"first"), false).expect("a body");
                *body = Some(send);
            }
        }
    }

    /// Waits until the app can know that its client has left.
    async fn learns(&mut self) {
        match self {
            Self::Http1(app) => app.reads_the_end().await,
            Self::Http2(stream, None) => stream.is_reset().await,
            Self::Http2(_, Some(body)) => {
                let reset = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
                assert_eq!(reset.expect("a reset"), h2::Reason::CANCEL);
            }
        }
    }
}

impl Client {
    async fn reads_what_there_is(&mut self, phase: Phase) {
        if phase == Phase::BeforeTheHead {
            return;
        }
        match self {
            Self::Http1(client) => {
                client.reads_head().await;
                client.reads("5\r\nfirst\r\n").await;
            }
            Self::Http2(response, body) => {
                let mut stream = response.await.expect("an answer").into_body();
                assert_eq!(stream.data().await.expect("data").expect("data"), "first");
                *body = Some(stream);
            }
        }
    }
}

/// A client leaves after a second; the app learns of it then and gives up a little later.
fn a_client_leaves(from: Protocol, to: Protocol, has_body: bool, phase: Phase) {
    let protocol = move |config: &mut Config| {
        config.upstream_protocol = match to {
            Protocol::Http1 => UpstreamProtocol::Http1,
            Protocol::Http2 => UpstreamProtocol::Http2,
        };
    };
    played_with(protocol, async |stage| {
        let mut client = begin(stage, from, has_body).await;
        let mut app = taken(stage, to, has_body).await;
        app.answers(phase).await;
        client.reads_what_there_is(phase).await;
        stage.at(ms(1000)).await;
        drop(client);
        app.learns().await;
        stage.is_at(ms(1000));
        stage.at(ms(1200)).await;
        drop(app);
        stage.at(ms(1201)).await;
        let (status, duration) = match phase {
            Phase::BeforeTheHead => (499, ms(1000)),
            Phase::WithinTheAnswer => (200, ms(1000)),
            // How long an event stream is open is no duration of a request.
            Phase::InASilentEventStream => (200, Duration::ZERO),
        };
        stage.counted(&[(status, "downstream_aborted", duration)]).await;
    });
}

#[test]
fn the_app_learns_at_once_that_its_client_has_left_whatever_both_speak() {
    for from in [Protocol::Http1, Protocol::Http2] {
        for to in [Protocol::Http1, Protocol::Http2] {
            for has_body in [false, true] {
                for phase in
                    [Phase::BeforeTheHead, Phase::WithinTheAnswer, Phase::InASilentEventStream]
                {
                    eprintln!("{from:?} to {to:?}, body: {has_body}, {phase:?}");
                    a_client_leaves(from, to, has_body, phase);
                }
            }
        }
    }
}

#[test]
fn an_app_that_answers_half_closed_clients_still_can() {
    for (request, body) in [(GET.to_owned(), ""), (format!("{POST}hi"), "hi")] {
        played(async |stage| {
            let mut client = stage.client().await;
            client.sends(&request).await;
            let mut app = stage.app().await;
            app.reads_head().await;
            app.reads(body).await;
            client.finishes().await;
            app.reads_the_end().await;
            stage.at(ms(6000)).await;
            app.sends(OK).await;
            client.reads(OK).await;
            stage.at(ms(6300)).await;
            client.reads_the_end().await;
            stage.counted(&[(200, "", ms(6000))]).await;
            // What was told the end of one client must not carry another.
            app.reads_the_end().await;
        });
    }
}

#[test]
fn an_app_that_goes_on_working_is_counted_when_the_answer_cannot_be_delivered() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        stage.at(ms(1000)).await;
        drop(client);
        stage.at(ms(6000)).await;
        app.sends(OK).await;
        stage.at(ms(6300)).await;
        stage.counted(&[(499, "downstream_aborted", ms(1000))]).await;
    });
}

#[test]
fn the_end_of_a_client_is_passed_on_behind_the_body_and_not_within_it() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(format!("{POST}h")).await;
        let mut app = stage.app().await;
        app.reads(&format!("{POST}h")).await;
        stage.at(ms(500)).await;
        client.finishes().await;
        // The body is cut, so is what the app gets of it.
        app.reads_the_end().await;
        stage.is_at(ms(500));
        client.reads_the_end().await;
        stage.counted(&[(499, "downstream_aborted", ms(500))]).await;
    });
}

#[test]
fn a_client_that_leaves_instead_of_sending_its_body_is_passed_on_at_once() {
    played(async |stage| {
        let (client, mut app) = super::waiting(stage).await;
        stage.at(ms(300)).await;
        drop(client);
        app.reads_the_end().await;
        stage.is_at(ms(300));
        stage.counted(&[(499, "downstream_aborted", ms(300))]).await;
    });
}

#[test]
fn a_pipelined_request_goes_on_behind_the_clients_end() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(format!("{GET}{GET}")).await;
        client.finishes().await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.has_nothing().await;
        app.sends(OK).await;
        app.reads(GET).await;
        // This is the last, and the client's end belongs behind it.
        app.reads_the_end().await;
        app.sends(OK).await;
        client.reads(&format!("{OK}{OK}")).await;
        stage.at(ms(300)).await;
        stage.counted(&[(200, "", ms(0)), (200, "", ms(0))]).await;
    });
}

#[test]
fn an_app_that_gives_up_is_not_asked_again() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.sends(OK).await;
        client.reads(OK).await;
        // On a connection that has served a request, so that a retry would be allowed.
        client.sends(GET).await;
        app.reads(GET).await;
        stage.at(ms(100)).await;
        client.finishes().await;
        app.reads_the_end().await;
        drop(app);
        client.reads_the_end().await;
        stage.app_has_no_connection().await;
        stage.counted(&[(200, "", ms(0)), (499, "downstream_aborted", ms(100))]).await;
    });
}

#[test]
fn a_client_that_has_all_of_its_answer_has_not_given_up() {
    let http2 = |config: &mut Config| config.upstream_protocol = UpstreamProtocol::Http2;
    for from in [Protocol::Http1, Protocol::Http2] {
        played_with(http2, async |stage| {
            let mut client = begin(stage, from, false).await;
            let mut app = stage.http2_app().await;
            let head = http::Response::builder().header("content-length", 5);
            let head = head.body(()).expect("a head");
            let mut body = app.respond.send_response(head, false).expect("a stream");
            // The end of the stream would come in a frame of its own, later.
            body.send_data(Bytes::from_static(b"first"), false).expect("a body");
            stage.at(ms(70)).await;
            match &mut client {
                Client::Http1(client) => {
                    client.reads_head().await;
                    client.reads("first").await;
                }
                Client::Http2(response, body) => {
                    let mut stream = response.await.expect("an answer").into_body();
                    assert_eq!(stream.data().await.expect("data").expect("data"), "first");
                    *body = Some(stream);
                }
            }
            drop(client);
            stage.at(ms(400)).await;
            stage.counted(&[(200, "", ms(70))]).await;
        });
    }
}

#[test]
fn half_a_request_behind_a_request_does_not_hide_that_the_client_has_left() {
    for behind in ["\r\n", "GE", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        played(async |stage| {
            let mut client = stage.client().await;
            client.sends(format!("{GET}{behind}")).await;
            let mut app = stage.app().await;
            app.reads(GET).await;
            stage.at(ms(100)).await;
            drop(client);
            app.reads_the_end().await;
            stage.is_at(ms(100));
            drop(app);
            stage.at(ms(101)).await;
            stage.counted(&[(499, "downstream_aborted", ms(100))]).await;
        });
    }
}

#[test]
fn a_drain_passes_on_that_a_client_left_whatever_it_had_pipelined() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(format!("{GET}{GET}")).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.sends(EVENTS).await;
        client.reads_head().await;
        drop(client);
        stage.at(ms(500)).await;
        app.has_nothing().await;
        stage.worker.drain.start();
        app.reads_the_end().await;
    });
}

#[test]
fn an_answer_of_ours_that_cannot_be_delivered_is_counted_as_left() {
    for waits in [true, false] {
        let limit = |config: &mut Config| config.timeouts.response = Some(ms(1000));
        played_with(limit, async |stage| {
            let mut client = stage.client().await;
            client.sends(GET).await;
            let mut app = stage.app().await;
            app.reads(GET).await;
            stage.at(ms(300)).await;
            client.finishes().await;
            if waits {
                assert!(client.reads_head().await.starts_with("HTTP/1.1 504 "));
                stage.at(ms(1300)).await;
                stage.counted(&[(504, "http_response_timeout", ms(1000))]).await;
            } else {
                drop(client);
                stage.at(ms(1300)).await;
                stage.counted(&[(499, "downstream_aborted", ms(300))]).await;
            }
        });
    }
}

#[test]
fn a_half_closed_client_is_not_answered_with_the_end_of_a_kept_connection() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.sends(OK).await;
        client.reads(OK).await;
        // The app closes while the next request is on its way.
        drop(app);
        client.sends(GET).await;
        client.finishes().await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.reads_the_end().await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.at(ms(300)).await;
        stage.counted(&[(200, "", ms(0)), (200, "", ms(0))]).await;
    });
}
