//! What happens when the backend closes a connection that the pool would use: RFC 9110 §9.2.2,
//! RFC 9112 §9.3.1.

use std::time::Duration;

use crate::backend::{Backend, Gate, OK, Tally, eventually};
use crate::sidecar::Sidecar;

/// Answers the first request of each connection; the second ends it: without a byte, or with
/// `partial`.
fn dying_on_reuse(partial: &'static str, with_reset: bool) -> Backend {
    Backend::start(move |connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send(OK);
        if connection.request().is_some() {
            connection.send(partial);
            if with_reset {
                connection.reset();
            }
        }
    })
}

#[test]
fn an_idempotent_request_on_a_stale_connection_is_sent_once_more() {
    for with_reset in [false, true] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let backend = dying_on_reuse("", with_reset);
            let sidecar = Sidecar::before(&backend);
            let mut client = sidecar.client();
            assert_eq!(client.get("/").status(), 200);
            client.send(format!("{method} /again HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.head().status(), 200, "{method}");
            sidecar.metric("redcar_upstream_retries_total").eventually_is(1);
            sidecar.requests(200).without("error").eventually_is(2);
            sidecar.ends_after(2);
            assert_eq!(backend.count("/again"), 2, "{method}");
        }
    }
}

#[test]
fn it_is_not_sent_a_third_time() {
    let backend = Backend::start(|connection| {
        if connection.request().is_some() && connection.number() == 0 {
            connection.send(OK);
            connection.request();
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/again").status(), 502);
    sidecar.requests(502).label("error", "connection_terminated").eventually_is(1);
    sidecar.ends_after(2);
    assert_eq!(backend.count("/again"), 2);
}

#[test]
fn what_timed_out_is_not_sent_again() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            connection.send(OK);
            if connection.request().is_some() {
                held.wait();
            }
        }
    });
    let sidecar = Sidecar::with(&backend, |config| {
        config.timeouts.response = Some(Duration::from_millis(300));
    });
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/again").status(), 504);
    gate.open();
    sidecar.requests(504).label("error", "http_response_timeout").eventually_is(1);
    sidecar.ends_after(2);
    assert_eq!(backend.count("/again"), 1);
}

#[test]
fn once_a_byte_of_the_answer_came_nothing_is_sent_again() {
    let backend = dying_on_reuse("HTTP/1.1 2", false);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/again").status(), 502);
    sidecar.requests(502).label("error", "http_response_incomplete").eventually_is(1);
    sidecar.ends_after(2);
    assert_eq!(backend.count("/again"), 1);
}

#[test]
fn a_post_that_was_written_is_never_sent_again() {
    for (with_reset, body) in [(false, "hi"), (true, "hi"), (false, ""), (true, "")] {
        let backend = dying_on_reuse("", with_reset);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        assert_eq!(client.get("/").status(), 200);
        let length = body.len();
        client.send(format!(
            "POST /again HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.answer().status(), 502);
        sidecar.requests(502).label("error", "connection_terminated").eventually_is(1);
        sidecar.metric("redcar_upstream_retries_total").eventually_is(0);
        sidecar.ends_after(2);
        assert_eq!(backend.count("/again"), 1);
    }
}

#[test]
fn a_put_with_a_body_is_not_sent_again() {
    // The end of an empty body has been read, too, and cannot be read a second time.
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let backend = dying_on_reuse("", false);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        assert_eq!(client.get("/").status(), 200);
        client.send(format!("PUT /again HTTP/1.1\r\nHost: a\r\n{body}"));
        assert_eq!(client.answer().status(), 502, "{body}");
        sidecar.ends_after(2);
        assert_eq!(backend.count("/again"), 1, "{body}");
    }
}

#[test]
fn an_empty_chunked_body_that_was_written_is_not_sent_again() {
    let backend = dying_on_reuse("", false);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    client.send("GET /again HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    sidecar.requests(502).label("error", "connection_terminated").eventually_is(1);
    sidecar.ends_after(2);
    assert_eq!(backend.count("/again"), 1);
}

#[test]
fn a_post_after_the_backend_closed_goes_to_a_fresh_connection_once() {
    for with_reset in [false, true] {
        let answered = Tally::default();
        let read = answered.clone();
        let backend = Backend::start(move |connection| {
            if connection.request().is_some() {
                connection.send(OK);
                if with_reset {
                    // An answer that was not read yet would be destroyed by the reset.
                    eventually("the answer was read", || read.get() > connection.number());
                    connection.reset();
                }
            }
        });
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        for round in 0..50 {
            assert_eq!(client.get("/").status(), 200);
            answered.add(1);
            // The end is in the sidecar's kernel now, whether or not the sidecar has looked.
            eventually("the backend has closed", || backend.closed.get() == 2 * round + 1);
            let post = "HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
            client.send(format!("POST /{round}- {post}"));
            assert_eq!(client.answer().status(), 200, "round {round}");
            answered.add(1);
            assert_eq!(backend.count(&format!("POST /{round}- ")), 1, "round {round}");
            eventually("the backend has closed", || backend.closed.get() == 2 * round + 2);
        }
        sidecar.ends_after(100);
    }
}

#[test]
fn a_post_is_never_sent_twice_however_the_close_races_with_it() {
    let backend = Backend::closing_after(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    for round in 0..200 {
        assert_eq!(client.get("/").status(), 200);
        // The FIN comes right behind the answer: before, while or after this is written.
        let post = "HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        client.send(format!("POST /{round}- {post}"));
        let answer = client.answer();
        assert!(matches!(answer.status(), 200 | 502), "{answer:?}");
        if answer.field("connection") == Some("close") {
            client = sidecar.client();
        }
        assert!(backend.count(&format!("POST /{round}- ")) <= 1, "round {round}");
    }
    sidecar.ends_after(400);
}

#[test]
fn an_upstream_that_says_close_is_not_asked_again_on_that_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok",
    ] {
        // It never closes, so that only what it says can tell.
        let backend = Backend::answering(answer);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        for _ in 0..3 {
            let answer = client.get("/");
            assert_eq!((answer.text(), answer.field("connection")), ("ok", None));
        }
        sidecar.ends_after(3);
        assert_eq!(backend.received().len(), 3, "{answer:?}");
    }
}

#[test]
fn an_upstreams_keep_alive_timeout_is_honoured_with_a_margin() {
    let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: max=9, Timeout=1\r\nContent-Length: 2\r\n\r\nok";
    let backend = Backend::answering(answer);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    // Time itself is what this waits for: half of the second that was promised.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.get("/").status(), 200);
    sidecar.ends_after(2);
    assert_eq!(backend.received().len(), 2);
}

#[test]
fn an_idle_upstream_connection_is_closed_when_its_time_is_over() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.timeouts.upstream_idle = Duration::from_millis(300);
    });
    assert_eq!(sidecar.client().get("/").status(), 200);
    eventually("the sidecar closes it", || backend.closed.get() == 1);
    sidecar.metric("redcar_upstream_connections").label("state", "idle").eventually_is(0);
    sidecar.ends_after(1);
}
