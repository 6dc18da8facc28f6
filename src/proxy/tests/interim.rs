//! Interim answers end to end, and what comes behind half of one.

use bytes::Bytes;

use super::stage::{Stage, ms, played, played_with};
use super::{CONTINUE, OK};
use crate::config::{Config, UpstreamProtocol};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";

fn http1(config: &mut Config) {
    config.upstream_protocol = UpstreamProtocol::Http1;
}

fn http2(config: &mut Config) {
    config.upstream_protocol = UpstreamProtocol::Http2;
}

/// A request of an HTTP/2 client; its body's sender, if it has one.
async fn asks(stage: &Stage, expects: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut send = stage.http2_client().await;
    let mut request = http::Request::builder().method("POST").uri("http://a/");
    if expects {
        request = request.header("expect", "100-continue").header("content-length", 2);
    }
    send.send_request(request.body(()).expect("a request"), !expects).expect("a stream")
}

async fn is_told(response: &mut h2::client::ResponseFuture) -> http::Response<()> {
    let told = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
    told.expect("an interim answer").expect("no reset")
}

fn early_hints() -> http::Response<()> {
    http::Response::builder().status(103).header("link", "</x>").body(()).expect("a head")
}

#[test]
fn early_hints_pass_from_http_1_to_http_2() {
    played_with(http1, async |stage| {
        let (mut response, _) = asks(stage, false).await;
        let mut app = stage.app().await;
        app.reads_head().await;
        app.sends(HINTS).await;
        let hints = is_told(&mut response).await;
        assert_eq!(
            (hints.status().as_u16(), &hints.headers()["link"]),
            (103, &"</x>".parse().expect("a value"))
        );
        stage.at(ms(50)).await;
        app.sends(OK).await;
        assert_eq!(response.await.expect("an answer").status(), 200);
        stage.counted(&[(200, "", ms(50))]).await;
    });
}

#[test]
fn early_hints_pass_from_http_2_to_http_1_and_to_http_2() {
    played_with(http2, async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.http2_app().await;
        app.respond.send_informational(early_hints()).expect("a stream");
        client.reads(HINTS).await;
    });
    played_with(http2, async |stage| {
        let (mut response, _) = asks(stage, false).await;
        let mut app = stage.http2_app().await;
        app.respond.send_informational(early_hints()).expect("a stream");
        assert_eq!(is_told(&mut response).await.status(), 103);
    });
}

#[test]
fn an_http_2_client_that_waits_for_100_gets_the_apps_or_ours_after_a_second() {
    for app_says in [true, false] {
        played_with(http1, async |stage| {
            let (mut response, mut body) = asks(stage, true).await;
            let mut app = stage.app().await;
            assert!(app.reads_head().await.contains("expect: 100-continue\r\n"));
            if app_says {
                stage.at(ms(700)).await;
                app.sends(CONTINUE).await;
            }
            assert_eq!(is_told(&mut response).await.status(), 100);
            stage.is_at(if app_says { ms(700) } else { ms(1000) });
            body.send_data(Bytes::from_static(b"hi"), true).expect("a body");
            app.reads("hi").await;
            stage.at(ms(3000)).await;
            app.sends(OK).await;
            assert_eq!(response.await.expect("an answer").status(), 200);
            stage.counted(&[(200, "", ms(3000))]).await;
        });
    }
}

#[test]
fn an_answer_of_ours_comes_behind_an_interim_one_and_not_into_it() {
    const ONE: usize = 60_000;
    let limit = |config: &mut Config| config.timeouts.response = Some(ms(300));
    played_with(limit, async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        let hints = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(ONE));
        // More than the client's socket takes while it does not read.
        let sending = tokio::task::spawn_local(async move {
            for _ in 0..200 {
                app.sends_if_it_can(&hints).await;
            }
            app
        });
        stage.at(ms(301)).await;
        loop {
            let head = client.reads_head().await;
            if head.starts_with("HTTP/1.1 504 ") {
                break;
            }
            assert!(head.starts_with("HTTP/1.1 103 ") && head.len() > ONE, "{head:.100}");
            assert!(head.trim_end().ends_with('x'), "cut");
        }
        drop(sending);
        // The client held up what the app said; the app has its time anew.
        stage.counted(&[(504, "http_response_timeout", ms(600))]).await;
    });
}

#[test]
fn an_upstream_that_answered_before_the_body_was_whole_carries_no_other_request() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await;
        let mut app = stage.app().await;
        app.reads("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await;
        app.sends(OK).await;
        client.reads(OK).await;
        // The rest still arrives: the app may want it.
        client.sends("cd").await;
        app.reads("cd").await;
        app.reads_the_end().await;
        client.sends(GET).await;
        let mut other = stage.app().await;
        other.reads(GET).await;
        other.sends(OK).await;
        client.reads(OK).await;
        stage.counted(&[(200, "", ms(0)), (200, "", ms(0))]).await;
    });
}

/// An app that says more hints than the kernel keeps for a client that does not read, then answers.
fn talkative(mut app: super::Peer) -> tokio::task::JoinHandle<super::Peer> {
    let hints = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(60_000));
    tokio::task::spawn_local(async move {
        for _ in 0..200 {
            app.sends_if_it_can(&hints).await;
        }
        app.sends_if_it_can(OK).await;
        app
    })
}

#[test]
fn an_app_is_not_late_while_its_client_holds_up_interim_answers() {
    let limit = |config: &mut Config| config.timeouts.response = Some(ms(300));
    played_with(limit, async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        let app = talkative(app);
        stage.at(ms(2000)).await;
        while client.reads_head().await.starts_with("HTTP/1.1 103 ") {}
        client.reads("ok").await;
        stage.counted(&[(200, "", ms(2000))]).await;
        drop(app.await);
    });
}

#[test]
fn a_client_that_reads_no_interim_answer_is_as_idle_as_any() {
    let limit = |config: &mut Config| config.timeouts.idle = ms(2000);
    played_with(limit, async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        let app = talkative(app);
        // Nothing has moved for the limit, at one of the looks that come once in a limit.
        stage.at(ms(4001)).await;
        assert_eq!(stage.worker.stats.in_flight(), 0);
        stage.counted(&[(408, "downstream_timeout", ms(4000))]).await;
        drop(app.await);
    });
}

#[test]
fn an_app_that_answered_in_a_stream_before_the_body_was_whole_still_gets_the_rest() {
    played_with(http2, async |stage| {
        let mut client = stage.client().await;
        client.sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await;
        let mut app = stage.http2_app().await;
        let head = http::Response::builder().header("date", "x").body(()).expect("a head");
        app.respond.send_response(head, true).expect("a stream");
        let answer = client.reads_head().await;
        assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        client.sends("cd").await;
        assert_eq!(app.reads_the_body().await, b"abcd");
        stage.counted(&[(200, "", ms(0))]).await;
    });
}
