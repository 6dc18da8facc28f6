//! Every limit of a client's connection: what it waits for comes just before it, or does not come.

use super::stage::{Peer, Stage, ms, played, played_with};
use super::{OK, POST};
use crate::config::Config;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// One request and its answer, at once.
async fn served(stage: &Stage) -> Peer {
    let mut client = stage.client().await;
    client.sends(GET).await;
    let mut app = stage.app().await;
    app.reads(GET).await;
    app.sends(OK).await;
    client.reads(OK).await;
    client
}

#[test]
fn a_head_may_take_the_header_timeout_from_its_first_byte() {
    played(async |stage| {
        let mut client = stage.client().await;
        stage.at(ms(2000)).await;
        client.sends("GET / HT").await;
        stage.at(ms(11_999)).await;
        client.has_nothing().await;
        assert!(client.reads_head().await.starts_with("HTTP/1.1 408 "));
        stage.is_at(ms(12_000));
        stage.counted(&[(408, "http_request_error", ms(0))]).await;
    });
}

#[test]
fn a_head_that_comes_just_in_time_leaves_no_limit_behind() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends("GET / HTTP/1.1\r\nHost: a\r\n").await;
        stage.at(ms(9999)).await;
        client.sends("\r\n").await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        // Longer than the limits of heads and of idle connections.
        stage.at(ms(700_000)).await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.counted(&[(200, "", ms(690_001))]).await;
    });
}

#[test]
fn a_connection_without_a_byte_ends_with_the_header_timeout() {
    played(async |stage| {
        let mut client = stage.client().await;
        stage.at(ms(9999)).await;
        client.has_nothing().await;
        client.reads_the_end().await;
        stage.is_at(ms(10_000));
        stage.counted(&[]).await;
    });
}

#[test]
fn a_connection_between_two_requests_ends_with_the_idle_timeout_and_not_before() {
    let idle = |config: &mut Config| config.timeouts.idle = ms(5000);
    played_with(idle, async |stage| {
        let mut client = served(stage).await;
        stage.at(ms(4999)).await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        stage.at(ms(6000)).await;
        app.sends(OK).await;
        client.reads(OK).await;
        // The limit begins anew with the end of the request.
        stage.at(ms(10_999)).await;
        client.has_nothing().await;
        client.reads_the_end().await;
        stage.is_at(ms(11_000));
        stage.counted(&[(200, "", ms(0)), (200, "", ms(1001))]).await;
    });
}

#[test]
fn a_draining_connection_has_a_second_for_a_request_that_was_on_its_way() {
    for sends in [true, false] {
        played(async |stage| {
            let mut client = served(stage).await;
            stage.at(ms(100)).await;
            stage.worker.drain.start();
            stage.at(ms(1099)).await;
            client.has_nothing().await;
            if sends {
                client.sends(GET).await;
                let mut app = stage.app().await;
                app.reads(GET).await;
                app.sends(OK).await;
                let answer = client.reads_head().await;
                assert!(answer.contains("Connection: close\r\n"), "{answer}");
                client.reads("ok").await;
                stage.counted(&[(200, "", ms(0)), (200, "", ms(0))]).await;
            }
            client.reads_the_end().await;
            stage.is_at(if sends { ms(1099) } else { ms(1100) });
        });
    }
}

#[test]
fn the_rest_of_an_upload_that_was_answered_has_thirty_seconds() {
    for comes in [true, false] {
        played(async |stage| {
            let mut client = stage.client().await;
            client.sends(format!("{POST}h")).await;
            let mut app = stage.app().await;
            app.reads(&format!("{POST}h")).await;
            app.sends(OK).await;
            client.reads(OK).await;
            stage.at(ms(29_999)).await;
            client.has_nothing().await;
            if comes {
                client.sends("i").await;
                client.sends(GET).await;
                let mut other = stage.app().await;
                other.reads(GET).await;
                other.sends(OK).await;
                client.reads(OK).await;
                stage.counted(&[(200, "", ms(0)), (200, "", ms(0))]).await;
            } else {
                client.reads_the_end().await;
                stage.is_at(ms(30_000));
                stage.counted(&[(200, "", ms(0))]).await;
            }
        });
    }
}

#[test]
fn an_answer_to_a_half_closed_client_counts_as_delivered_after_a_quarter_of_a_second() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        client.finishes().await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        app.sends(OK).await;
        client.reads(OK).await;
        stage.at(ms(249)).await;
        assert_eq!(stage.worker.stats.in_flight(), 1);
        stage.at(ms(251)).await;
        stage.counted(&[(200, "", ms(0))]).await;
    });
}

#[test]
fn a_body_that_stops_is_given_up_and_one_that_goes_on_is_not() {
    let idle = |config: &mut Config| config.timeouts.idle = ms(2000);
    for goes_on in [true, false] {
        played_with(idle, async |stage| {
            let mut client = stage.client().await;
            client.sends(format!("{POST}h")).await;
            let mut app = stage.app().await;
            app.reads(&format!("{POST}h")).await;
            stage.at(ms(1999)).await;
            assert_eq!(stage.worker.stats.in_flight(), 1);
            if goes_on {
                client.sends("i").await;
                app.reads("i").await;
                // Now it is the app's turn, however long that takes.
                stage.at(ms(100_000)).await;
                app.sends(OK).await;
                client.reads(OK).await;
                stage.counted(&[(200, "", ms(100_000))]).await;
            } else {
                // Looked at once in a limit, so given up within two.
                app.reads_the_end().await;
                stage.is_at(ms(4000));
                stage.counted(&[(408, "downstream_timeout", ms(4000))]).await;
            }
        });
    }
}

#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    let idle = |config: &mut Config| config.timeouts.idle = ms(2000);
    played_with(idle, async |stage| {
        let mut client = stage.client().await;
        client.sends(GET).await;
        let mut app = stage.app().await;
        app.reads(GET).await;
        let length = 50_000_000;
        let head = format!("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: {length}\r\n\r\n");
        let sending = tokio::task::spawn_local(async move {
            app.sends(head).await;
            app.sends_if_it_can(vec![b'x'; length]).await;
        });
        stage.at(ms(1999)).await;
        assert_eq!(stage.worker.stats.in_flight(), 1);
        stage.at(ms(4001)).await;
        stage.counted(&[(200, "downstream_timeout", ms(4000))]).await;
        drop(sending);
    });
}
