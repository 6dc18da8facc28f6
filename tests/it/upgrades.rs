//! Upgrades: RFC 9110 §7.8. Bytes of the new protocol pass both ways, each to its own end.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::backend::{Backend, Gate, OK};
use crate::client::Client;
use crate::message::End;
use crate::sidecar::Sidecar;

const ASKS: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Y: z\r\n\r\n";

#[test]
fn bytes_behind_either_head_belong_to_the_new_protocol() {
    let backend = Backend::start(|connection| {
        if connection.request().is_some() {
            connection.send(format!("{SWITCHES}hello"));
            assert_eq!(connection.take(5), b"early");
            assert_eq!(connection.take(4), b"more");
            connection.send("bye");
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(format!("{ASKS}early"));
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("echo")));
    assert_eq!((head.field("connection"), head.field("x-y")), (Some("Upgrade"), Some("z")));
    assert_eq!(client.take(5), b"hello");
    client.send("more");
    assert_eq!(client.take(3), b"bye");
    assert_eq!(client.sees_the_end(), End::Fin);
    drop(client);
    sidecar.requests(101).label("path", "/chat").without("error").eventually_is(1);
    sidecar.metric("redcar_upstream_connections").label("state", "active").eventually_is(0);
}

#[test]
fn what_outlives_scrapes_ends_under_the_path_of_its_request() {
    const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    for (path, answer, open, duration) in [
        (
            "/frobnicate",
            SWITCHES,
            "http_upgraded_connections_active",
            "http_upgraded_connection_duration_seconds_count",
        ),
        ("/zwiebel", EVENTS, "http_streams_active", "http_stream_duration_seconds_count"),
    ] {
        let gate = Gate::default();
        let held = gate.clone();
        let backend = Backend::start(move |connection| {
            if connection.request().is_some() {
                connection.send(answer);
                held.wait();
            }
        });
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send(ASKS.replace("/chat", path));
        client.head();
        // Each look is a scrape, and gives names for good.
        for _ in 0..3 {
            sidecar.metric(open).eventually_is(1);
        }
        gate.open();
        drop(client);
        sidecar.metric(duration).label("path", path).eventually_is(1);
        sidecar.metric(duration).eventually_is(1);
        sidecar.metric("http_requests_total").label("path", path).eventually_is(1);
    }
}

#[test]
fn each_direction_ends_by_itself() {
    let backend = Backend::start(|connection| {
        if connection.request().is_some() {
            connection.send(SWITCHES);
            assert_eq!(connection.sees_the_end(), End::Fin);
            connection.send("still here");
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(ASKS);
    assert_eq!(client.head().status(), 101);
    client.finish_sending();
    assert_eq!(client.take(10), b"still here");
    assert_eq!(client.sees_the_end(), End::Fin);
}

#[test]
fn a_refused_upgrade_is_an_answer_like_any_other() {
    let refusal = "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: tea/1\r\n\
        Content-Length: 2\r\n\r\nno";
    for (answer, upgrade) in [(refusal, Some("tea/1")), (OK, None)] {
        let backend = Backend::answering(answer);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        for _ in 0..2 {
            client.send(ASKS);
            assert_eq!(client.answer().field("upgrade"), upgrade);
        }
        sidecar.ends_after(2);
        assert_eq!(backend.received().len(), 1);
    }
}

#[test]
fn a_protocol_that_was_not_offered_is_a_502() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let backend = Backend::answering(answer);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send(ASKS);
        assert_eq!(client.answer().status(), 502);
        sidecar.ends_with(502, "http_upgrade_failed");
    }
}

#[test]
fn an_interim_answer_may_come_before_the_switch() {
    let backend = Backend::start(|connection| {
        if connection.request().is_some() {
            connection.send(format!("HTTP/1.1 103 Early Hints\r\n\r\n{SWITCHES}hi"));
            connection.sees_the_end();
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(ASKS);
    assert_eq!((client.head().status(), client.head().status()), (103, 101));
    assert_eq!(client.take(2), b"hi");
}

#[test]
fn a_reset_of_one_side_ends_the_other() {
    let gate = Gate::default();
    let gone = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            connection.send(SWITCHES);
            connection.sees_the_end();
            gone.open();
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(ASKS);
    assert_eq!(client.head().status(), 101);
    client.reset();
    gate.wait();
}

#[test]
fn a_reset_is_noticed_while_the_other_side_does_not_read() {
    let gate = Gate::default();
    let reads = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            connection.send(SWITCHES);
            reads.wait();
        }
    });
    let short = Duration::from_millis(200);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = short);
    let socket = TcpStream::connect(sidecar.address).unwrap();
    let mut client = Client::over(socket.try_clone().unwrap());
    client.send(ASKS);
    assert_eq!(client.head().status(), 101);
    // Until all buffers on the way are full.
    socket.set_write_timeout(Some(short)).unwrap();
    while (&socket).write_all(&[b'x'; 4096]).is_ok() {}
    drop(socket);
    client.reset();
    sidecar.metric("http_upgraded_connections_active").eventually_is(0);
    gate.open();
}
