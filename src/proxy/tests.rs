//! Conversations on one thread with a stopped clock: what waits for time waits exactly.

use std::time::Duration;

use self::stage::{Peer, Stage, ms, played, played_with};
use crate::metrics::store::HistogramTotals;

mod closing;
mod http2;
mod interim;
mod leaving;
mod limits;
mod pool;
mod simulation;
mod stage;

/// An app's answer that the proxy has nothing to add to.
const OK: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";

/// A client that waits for a 100 and an app that has read its head.
async fn waiting(stage: &mut Stage) -> (Peer, Peer) {
    let mut client = stage.client().await;
    client.sends(EXPECTING).await;
    let mut app = stage.app().await;
    app.reads(EXPECTING).await;
    (client, app)
}

#[test]
fn an_app_that_says_100_may_answer_as_late_as_it_likes() {
    for says_at in [ms(0), ms(999), ms(1000), ms(1001)] {
        played(async |stage| {
            let (mut client, mut app) = waiting(stage).await;
            stage.at(says_at).await;
            app.sends(CONTINUE).await;
            // The proxy's own 100 may come first; whichever it was, there is one.
            client.reads(CONTINUE).await;
            client.sends("hi").await;
            app.reads("hi").await;
            stage.at(ms(2500)).await;
            client.has_nothing().await;
            app.sends(OK).await;
            client.reads(OK).await;
            stage.counted(&[(200, "", ms(2500))]).await;
        });
    }
}

#[test]
fn a_client_that_sends_unasked_and_half_closes_is_not_taken_for_gone() {
    played(async |stage| {
        let (mut client, mut app) = waiting(stage).await;
        stage.at(ms(300)).await;
        client.sends("hi").await;
        client.finishes().await;
        app.reads("hi").await;
        app.reads_the_end().await;
        stage.is_at(ms(300));
        app.sends(OK).await;
        client.reads(OK).await;
        stage.at(ms(600)).await;
        stage.counted(&[(200, "", ms(300))]).await;
    });
}

#[test]
fn a_client_that_waits_for_100_is_told_after_a_second_and_not_before() {
    played(async |stage| {
        let (mut client, mut app) = waiting(stage).await;
        stage.at(ms(999)).await;
        client.has_nothing().await;
        client.reads(CONTINUE).await;
        stage.is_at(ms(1000));
        client.sends("hi").await;
        app.reads("hi").await;
        // What the app says of it later is not said twice.
        app.sends(CONTINUE).await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.counted(&[(200, "", ms(1000))]).await;
    });
}

#[test]
fn the_limit_of_an_answer_begins_with_the_end_of_the_body_whoever_said_100() {
    let limit = |config: &mut crate::config::Config| config.timeouts.response = Some(ms(300));
    for app_says in [true, false] {
        played_with(limit, async |stage| {
            let (mut client, mut app) = waiting(stage).await;
            if app_says {
                stage.at(ms(500)).await;
                app.sends(CONTINUE).await;
            }
            client.reads(CONTINUE).await;
            // The client takes its time, longer than both limits.
            stage.at(ms(5000)).await;
            client.sends("h").await;
            stage.at(ms(10_000)).await;
            client.sends("i").await;
            app.reads("hi").await;
            stage.at(ms(10_299)).await;
            client.has_nothing().await;
            let answer = client.reads_head().await;
            stage.is_at(ms(10_300));
            assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
            stage.counted(&[(504, "http_response_timeout", ms(10_300))]).await;
        });
    }
}

#[test]
fn an_answer_is_late_at_its_limit_and_not_before() {
    let limit = |config: &mut crate::config::Config| config.timeouts.response = Some(ms(300));
    for (answers_at, status) in [(ms(299), 200), (ms(301), 504)] {
        played_with(limit, async |stage| {
            let mut client = stage.client().await;
            client.sends(POST).await;
            stage.at(ms(50)).await;
            client.sends("hi").await;
            let mut app = stage.app().await;
            app.reads(&format!("{POST}hi")).await;
            stage.at(ms(50) + answers_at).await;
            app.sends_if_it_can(OK).await;
            let answer = client.reads_head().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let (error, late) =
                if status == 200 { ("", ms(349)) } else { ("http_response_timeout", ms(350)) };
            stage.counted(&[(status, error, late)]).await;
        });
    }
}

#[test]
fn a_final_answer_to_a_client_that_waits_for_100_ends_the_wait() {
    played(async |stage| {
        let (mut client, mut app) = waiting(stage).await;
        stage.at(ms(998)).await;
        app.sends("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        assert!(client.reads_head().await.starts_with("HTTP/1.1 413 Too Large\r\n"));
        client.reads_the_end().await;
        stage.counted(&[(413, "", ms(998))]).await;
    });
}

#[test]
fn no_limit_waits_for_an_answer_for_ever() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut app = stage.app().await;
        app.reads_head().await;
        stage.at(Duration::from_secs(100_000)).await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.counted(&[(200, "", Duration::from_secs(100_000))]).await;
    });
}

#[test]
fn what_the_proxy_itself_took_is_known_of_each_request_that_reached_the_app() {
    played(async |stage| {
        let counts = |stage: &Stage| {
            let totals = HistogramTotals::of([&stage.worker.stats.overhead]);
            (totals.count(), totals.sum_nanos)
        };
        let mut client = stage.client().await;
        client.sends(POST).await;
        let mut app = stage.app().await;
        app.reads(POST).await;
        // What both of them take is not the proxy's.
        stage.at(ms(500)).await;
        client.sends("hi").await;
        app.reads("hi").await;
        stage.at(ms(900)).await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.counted(&[(200, "", ms(900))]).await;
        assert_eq!(counts(stage), (1, 0));
        client.sends("GET * HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.reads_head().await.starts_with("HTTP/1.1 400 "));
        assert_eq!(counts(stage), (1, 0));
    });
}
