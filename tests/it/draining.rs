//! The shutdown loses nobody's answer: requests end, the listener closes, then all is over.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use redcar::server::ShutdownMode;

use crate::backend::{Backend, Gate, OK, eventually};
use crate::message::End;
use crate::scrape::{Page, ask};
use crate::sidecar::Sidecar;

fn is_refused(sidecar: &Sidecar) -> bool {
    TcpStream::connect(sidecar.address).is_err()
}

#[test]
fn a_request_under_way_ends_and_the_listener_refuses() {
    let gate = Gate::default();
    let backend = Backend::holding(&gate);
    let mut sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    assert_eq!(ask(sidecar.metrics, "/readyz", "").status(), 200);
    sidecar.begin_stop(ShutdownMode::Orderly);
    eventually("the listener refuses", || is_refused(&sidecar));
    // The metrics port lives on: not ready, draining, one request in flight.
    assert_eq!(ask(sidecar.metrics, "/readyz", "").status(), 503);
    assert_eq!(ask(sidecar.metrics, "/livez", "").status(), 200);
    sidecar.metric("redcar_draining").eventually_is(1);
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    gate.open();
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.requests(200).without("error").eventually_is(1);
    sidecar.is_stopped();
}

#[test]
fn a_last_scrape_sees_the_last_request() {
    let gate = Gate::default();
    let backend = Backend::holding(&gate);
    let mut sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    sidecar.begin_stop(ShutdownMode::Orderly);
    eventually("the listener refuses", || is_refused(&sidecar));
    gate.open();
    assert_eq!(client.answer().text(), "ok");
    client.sees_the_end();
    assert!((sidecar.requests(200).label("path", "/last").value() - 1.0).abs() < 0.1);
    sidecar.is_stopped();
}

#[test]
fn a_last_scrape_is_waited_for_only_where_it_is_asked_for() {
    for last_scrape in [true, false] {
        let backend = Backend::answering(OK);
        let mut sidecar =
            Sidecar::with(&backend, |config| config.metrics_port.last_scrape = last_scrape);
        // The rhythm of two visits so close together, and a margin of a second.
        let _visits = [(); 2].map(|()| Page::of(sidecar.metrics));
        let begun = Instant::now();
        sidecar.begin_stop(ShutdownMode::Orderly);
        sidecar.is_stopped();
        let waited = begun.elapsed() >= Duration::from_millis(900);
        assert_eq!(waited, last_scrape, "{:?}", begun.elapsed());
    }
}

#[test]
fn an_idle_connection_is_closed_within_about_a_second() {
    let backend = Backend::answering(OK);
    let mut sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    let begun = Instant::now();
    sidecar.begin_stop(ShutdownMode::Prompt);
    assert_eq!(client.sees_the_end(), End::Fin);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sidecar.is_stopped();
}

#[test]
fn a_request_on_an_idle_connection_in_that_second_is_answered_and_told_to_close() {
    let backend = Backend::answering(OK);
    let mut sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").field("connection"), None);
    sidecar.begin_stop(ShutdownMode::Prompt);
    eventually("the listener refuses", || is_refused(&sidecar));
    let answer = client.get("/");
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.is_stopped();
}

#[test]
fn whoever_connected_before_the_listener_closed_is_served() {
    for threads in [1, 2] {
        let backend = Backend::answering(OK);
        let mut sidecar = Sidecar::with(&backend, |config| config.threads = threads);
        // The kernel completes these connections whether or not they were accepted yet.
        let mut clients: Vec<_> = (0..50).map(|_| sidecar.client()).collect();
        sidecar.begin_stop(ShutdownMode::Prompt);
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().text(), "ok");
            assert_eq!(client.sees_the_end(), End::Fin);
        }
        sidecar.is_stopped();
    }
}

#[test]
fn an_answer_that_streams_ends_before_the_sidecar_does() {
    let gate = Gate::default();
    let rest = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
            rest.wait();
            connection.send("rest");
        }
    });
    let mut sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    sidecar.begin_stop(ShutdownMode::Prompt);
    eventually("the listener refuses", || is_refused(&sidecar));
    gate.open();
    assert_eq!(client.take(9), b"firstrest");
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.is_stopped();
}

#[test]
fn the_delay_keeps_serving_while_the_readiness_is_off() {
    let backend = Backend::answering(OK);
    let mut sidecar = Sidecar::with(&backend, |config| {
        config.timeouts.shutdown_delay = Duration::from_millis(500);
    });
    sidecar.begin_stop(ShutdownMode::Orderly);
    eventually("not ready", || ask(sidecar.metrics, "/readyz", "").status() == 503);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").field("connection"), None);
    drop(client);
    sidecar.requests(200).eventually_is(1);
    eventually("the listener refuses", || is_refused(&sidecar));
    sidecar.is_stopped();
}

#[test]
fn the_deadline_cuts_off_what_is_left_and_the_client_sees_the_end() {
    let gate = Gate::default();
    let backend = Backend::holding(&gate);
    let mut sidecar = Sidecar::with(&backend, |config| {
        config.timeouts.shutdown = Duration::from_millis(300);
    });
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    let begun = Instant::now();
    sidecar.begin_stop(ShutdownMode::Orderly);
    client.sees_the_end();
    sidecar.is_stopped();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    gate.open();
}
