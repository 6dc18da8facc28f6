//! Bodies stream both ways with back-pressure; nothing is collected.

use crate::backend::{Backend, Gate, Tally, eventually};
use crate::sidecar::Sidecar;

const MEBI: usize = 1 << 20;

/// More than the kernel buffers of two connections and hyper's own can hold.
const MORE_THAN_ALL_BUFFERS: usize = 64 * MEBI;

#[test]
fn the_first_chunk_of_an_answer_arrives_while_the_rest_is_withheld() {
    let gate = Gate::default();
    let withheld = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        withheld.wait();
        connection.send("4\r\nrest\r\n0\r\n\r\n");
        connection.sees_the_end();
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.take(10), b"5\r\nfirst\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    gate.open();
    assert_eq!(client.take(14), b"4\r\nrest\r\n0\r\n\r\n");
    sidecar.metric("http_response_body_bytes_total").eventually_is(9);
    sidecar.ends_after(1);
}

#[test]
fn the_first_chunk_of_an_upload_arrives_while_the_rest_is_withheld() {
    let gate = Gate::default();
    let arrived = gate.clone();
    let backend = Backend::start(move |connection| {
        let Some(head) = connection.head() else { return };
        assert_eq!(connection.take(10), b"5\r\nfirst\r\n");
        arrived.open();
        let rest = connection.body(head);
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", rest.body.len()));
        connection.send(&rest.body);
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    gate.wait();
    client.send("4\r\nrest\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "rest");
    sidecar.metric("http_request_body_bytes_total").eventually_is(9);
    sidecar.ends_after(1);
}

#[test]
fn a_client_that_does_not_read_stops_the_backend() {
    let written = Tally::default();
    let progress = written.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_none() {
            return;
        }
        let length = MORE_THAN_ALL_BUFFERS;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..length / piece.len() {
            connection.send(&piece);
            progress.add(piece.len());
        }
        connection.sees_the_end();
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    stands_still(&written);
    assert!(written.get() < MORE_THAN_ALL_BUFFERS / 2, "{} bytes were taken", written.get());
    assert_eq!(client.take(MORE_THAN_ALL_BUFFERS).len(), MORE_THAN_ALL_BUFFERS);
    sidecar.requests(200).without("error").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let gate = Gate::default();
    let reads = gate.clone();
    let backend = Backend::start(move |connection| {
        let Some(head) = connection.head() else { return };
        reads.wait();
        let length = connection.body(head).body.len().to_string();
        connection
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len()));
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    let length = MORE_THAN_ALL_BUFFERS;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    let taken = Tally::default();
    let sending = client.send_counted(vec![b'x'; length], &taken);
    stands_still(&taken);
    assert!(taken.get() < length / 2, "{} bytes were taken", taken.get());
    gate.open();
    assert_eq!(client.answer().text(), length.to_string());
    assert!(sending.join().unwrap());
    sidecar.ends_after(1);
}

/// Waits until a number has not grown for a while.
fn stands_still(tally: &Tally) {
    let mut last = (tally.get(), std::time::Instant::now());
    eventually("nothing more is taken", || {
        if tally.get() != last.0 || tally.get() == 0 {
            last = (tally.get(), std::time::Instant::now());
        }
        last.1.elapsed() > std::time::Duration::from_millis(300)
    });
}
