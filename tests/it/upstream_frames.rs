//! HTTP/2 towards the app: what one stream may cost another, and an app that is busy.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redcar::config::UpstreamProtocol;

use crate::backend::{Backend, Connection, Gate, OK, Tally, eventually};
use crate::frames::{App, BIG_BYTES, Client, read, run};
use crate::sidecar::{Sidecar, address};

#[test]
fn nobody_waits_for_another_ones_reader() {
    let app = App::start(100);
    let sidecar = Sidecar::to(address(app.address), |_| {});
    run(async {
        let slow = Client::connect(sidecar.address).await;
        let mut unread = Vec::new();
        for _ in 0..12 {
            unread.push(slow.begin("/big").await.await.unwrap().into_body());
        }
        let quick = Client::connect(sidecar.address).await;
        for client in [&slow, &quick] {
            assert_eq!(client.get("/").await, (200, "ok".to_owned()));
        }
        for body in unread {
            assert_eq!(read(body).await.len(), BIG_BYTES);
        }
    });
    assert_eq!(app.connections.get(), 1);
    sidecar.ends_after(14);
}

#[test]
fn an_app_gets_as_many_streams_on_a_connection_as_it_allows() {
    let app = App::start(2);
    let sidecar = Sidecar::to(address(app.address), |_| {});
    run(async {
        let client = Client::connect(sidecar.address).await;
        // The app's limit is known once it was heard.
        client.get("/").await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(client.begin("/wait").await);
        }
        comes_true(|| app.connections.get() == 3).await;
    });
    assert_eq!(app.most.load(Relaxed), 2);
    sidecar.ends_after(6);
}

#[test]
fn connections_are_counted_and_not_their_streams() {
    let app = App::start(100);
    let sidecar = Sidecar::to(address(app.address), |_| {});
    let state = |state| sidecar.metric("redcar_upstream_connections").label("state", state);
    run(async {
        let client = Client::connect(sidecar.address).await;
        let waiting = (client.begin("/wait").await, client.begin("/wait").await);
        comes_true(|| sidecar.metric("http_requests_in_flight").value() > 1.5).await;
        state("active").eventually_is(1);
        state("idle").eventually_is(0);
        drop(waiting);
        comes_true(|| sidecar.metric("http_requests_in_flight").value() < 0.5).await;
        state("active").eventually_is(0);
        state("idle").eventually_is(1);
    });
    sidecar.ends_after(2);
}

#[test]
fn an_idle_connection_ends_with_its_time() {
    let app = App::start(100);
    let sidecar = Sidecar::to(address(app.address), |config| {
        config.timeouts.upstream_idle = Duration::from_millis(100);
    });
    run(async { Client::connect(sidecar.address).await.get("/").await });
    eventually("the app sees the end", || app.ended.get() == 1);
    sidecar.metric("redcar_upstream_connections").eventually_is(0);
    sidecar.ends_after(1);
}

/// An app with one worker that takes one connection after the other, and is busy until the gate
/// opens.
struct Busy {
    address: SocketAddr,
    open: Gate,
    prefaces: Tally,
}

impl Busy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = Self {
            address: listener.local_addr().unwrap(),
            open: Gate::default(),
            prefaces: Tally::default(),
        };
        let (open, prefaces) = (busy.open.clone(), busy.prefaces.clone());
        std::thread::spawn(move || {
            open.wait();
            for socket in listener.incoming().map_while(Result::ok) {
                serve_one(socket, &prefaces);
            }
        });
        busy
    }
}

fn serve_one(mut socket: TcpStream, prefaces: &Tally) {
    use std::io::Write;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    if head.starts_with(b"PRI ") {
        prefaces.add(1);
        let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    } else if !head.is_empty() {
        let closing = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let _gone = socket.write_all(closing.as_bytes());
    }
}

#[test]
fn a_busy_app_is_not_taken_for_down_and_is_asked_once_what_it_speaks() {
    let app = Busy::start();
    let sidecar = Sidecar::to(address(app.address), |config| {
        config.timeouts.connect = Duration::from_millis(300);
    });
    let in_flight = || sidecar.metric("http_requests_in_flight").value();
    run(async {
        let client = Client::connect(sidecar.address).await;
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(client.begin("/").await);
        }
        // Longer than connecting may take, the app only queues: twice the limit.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!((in_flight() - 4.0).abs() < 0.5, "{} wait", in_flight());
        sidecar.metric("redcar_upstream_up").eventually_is(1);
        app.open.open();
        for answer in answers {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        assert_eq!(client.get("/").await.0, 200);
    });
    assert_eq!(app.prefaces.get(), 1);
    let connects = sidecar.metric("redcar_upstream_connects_total");
    assert!(
        (connects.value()
            - sidecar.metric("redcar_upstream_connects_total").label("result", "ok").value())
        .abs()
            < 0.5
    );
    sidecar.ends_after(5);
}

#[test]
fn an_app_that_does_not_speak_what_is_demanded_gets_no_request() {
    let app = Backend::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let sidecar = Sidecar::with(&app, |config| {
        config.upstream_protocol = UpstreamProtocol::Http2;
    });
    let mut client = sidecar.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 502);
    }
    assert_eq!(app.count("GET "), 0);
    sidecar.requests(502).label("error", "http_protocol_error").eventually_is(20);
    sidecar.metric("redcar_upstream_up").eventually_is(1);
    // The first look at the start, then one a second at most; twenty requests take less than ten.
    assert!(sidecar.metric("redcar_upstream_connects_total").value() < 11.5);
    sidecar.ends_after(20);
}

#[test]
fn an_app_that_closes_without_a_word_gets_http1() {
    let app = Backend::start(|connection: &mut Connection| {
        let head = connection.head();
        if head.is_some_and(|head| !head.start_line().starts_with("PRI ")) {
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::with(&app, |_| {});
    run(async {
        let client = Client::connect(sidecar.address).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await, (200, "ok".to_owned()));
        }
    });
    assert_eq!(app.count("PRI "), 1);
    sidecar.ends_after(3);
}

/// Polls until `condition` holds, while this thread's connections go on.
async fn comes_true(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
