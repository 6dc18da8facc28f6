//! Every time limit and every limit in number, reached.

use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::backend::{Backend, Gate, OK};
use crate::message::End;
use crate::sidecar::{Sidecar, address};

const SHORT: Duration = Duration::from_millis(200);

/// A backend that takes requests and never answers.
fn silent() -> Backend {
    Backend::start(|connection| {
        connection.sees_the_end();
    })
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_504() {
    let backend = silent();
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.response = Some(SHORT));
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 504);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().status(), 504);
    let counted = sidecar.requests(504).label("error", "http_response_timeout");
    counted.eventually_is(2);
    sidecar.ends_after(2);
    assert_eq!((backend.count("GET "), backend.count("POST ")), (1, 1), "never sent twice");
}

#[test]
fn without_a_limit_a_silent_backend_is_waited_for_until_the_client_leaves() {
    let backend = silent();
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    sidecar.metric("redcar_upstream_connections").label("state", "active").eventually_is(1);
    client.reset();
    sidecar.ends_with(499, "downstream_aborted");
}

#[test]
fn a_connection_that_does_not_open_in_time_is_a_504() {
    // A listener whose backlog is full drops further SYNs.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let full = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&full, SHORT) {
        waiting.push(socket);
        assert!(waiting.len() < 64, "the backlog does not fill");
    }
    let sidecar = Sidecar::to(address(full), |config| config.timeouts.connect = SHORT);
    assert_eq!(sidecar.client().get("/").status(), 504);
    sidecar.ends_with(504, "connection_timeout");
}

#[test]
fn a_head_that_does_not_come_in_time_is_a_408() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = SHORT);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHos");
    assert_eq!(client.answer().status(), 408);
    client.sees_the_end();
    sidecar.requests(408).label("path", "_UNPARSED").label("method", "_OTHER").eventually_is(1);
    sidecar.ends_with(408, "http_request_error");
    assert_eq!(backend.received(), Vec::<String>::new());
}

#[test]
fn a_second_head_that_does_not_come_in_time_is_a_408() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = SHORT);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    client.send("GET / HT");
    assert_eq!(client.answer().status(), 408);
    client.sees_the_end();
    sidecar.requests(408).eventually_is(1);
    sidecar.ends_after(2);
}

#[test]
fn a_slow_answer_is_not_cut_by_the_head_or_idle_limit() {
    let gate = Gate::default();
    let answers = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            answers.wait();
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::with(&backend, |config| {
        config.timeouts.header = SHORT / 4;
        config.timeouts.idle = SHORT / 4;
    });
    let mut slow = sidecar.client();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    // Four connections in turn live through the limit, one after the other.
    for _ in 0..4 {
        sidecar.client().sees_the_end();
    }
    gate.open();
    assert_eq!(slow.answer().status(), 200);
    sidecar.ends_after(1);
}

#[test]
fn a_connection_without_a_byte_is_closed_silently_and_counts_nothing() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = SHORT);
    assert_eq!(sidecar.client().sees_the_end(), End::Fin);
    sidecar.ends_after(0);
}

#[test]
fn a_connection_that_comes_and_goes_counts_nothing() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    drop(sidecar.client());
    sidecar.client().reset();
    let mut client = sidecar.client();
    client.finish_sending();
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.metric("redcar_downstream_connections_accepted_total").eventually_reaches(2);
    sidecar.metric("redcar_downstream_connections").eventually_is(0);
    sidecar.ends_after(0);
}

#[test]
fn an_idle_connection_is_closed_silently_and_counts_nothing_more() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.idle = SHORT);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.ends_after(1);
}

#[test]
fn an_empty_line_behind_a_request_does_not_begin_the_next_one() {
    // Some clients send one behind the body of a POST (RFC 9112 §2.2).
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = SHORT);
    let mut client = sidecar.client();
    assert_eq!(client.get("/").status(), 200);
    client.send("\r\n");
    // Time passes: another client's head does not come.
    let mut clock = sidecar.client();
    clock.send("GET / HTTP/1.1\r\n");
    assert_eq!(clock.answer().status(), 408);
    let mut clock = sidecar.client();
    clock.send("GET / HTTP/1.1\r\n");
    assert_eq!(clock.answer().status(), 408);
    assert_eq!(client.get("/").status(), 200);
    sidecar.ends_after(4);
}

#[test]
fn a_client_that_resets_is_noticed_while_the_upstream_does_not_read_its_body() {
    let gate = Gate::default();
    let reads = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.head().is_some() {
            reads.wait();
        }
    });
    let sidecar = Sidecar::with(&backend, |config| config.timeouts.header = SHORT);
    let client = TcpStream::connect(sidecar.address).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    std::io::Write::write_all(&mut &client, head.as_bytes()).unwrap();
    // Until all buffers on the way are full.
    client.set_write_timeout(Some(SHORT)).unwrap();
    while std::io::Write::write_all(&mut &client, &[b'x'; 4096]).is_ok() {}
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    sidecar.ends_with(499, "downstream_aborted");
    gate.open();
}

#[test]
fn a_connection_over_the_limit_gets_a_503_where_none_is_idle() {
    let gate = Gate::default();
    let reads = gate.clone();
    let backend = Backend::start(move |connection| {
        while connection.head().is_some() {
            reads.wait();
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::with(&backend, |config| config.max_connections = 2);
    sidecar.metric("redcar_downstream_connections_limit").eventually_is(2);
    let mut held: Vec<_> = (0..2).map(|_| sidecar.client()).collect();
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    sidecar.metric("http_requests_in_flight").eventually_is(2);
    let mut third = sidecar.client();
    third.send_what_is_taken("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = third.answer();
    assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("1")));
    third.sees_the_end();
    sidecar
        .metric("redcar_downstream_connections_refused_total")
        .label("reason", "max_connections")
        .eventually_is(1);
    gate.open();
    for client in &mut held {
        assert_eq!(client.answer().status(), 200);
    }
    // Now the oldest one is idle and gives way.
    assert_eq!(sidecar.client().get("/").status(), 200);
    held.clear();
    sidecar.metric("redcar_downstream_connections").eventually_is(0);
    sidecar.ends_after(3);
}
