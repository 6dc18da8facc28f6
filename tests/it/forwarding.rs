//! What passes, byte by byte, in both directions.

use crate::backend::{Backend, OK};
use crate::message::Message;
use crate::sidecar::Sidecar;

/// Sends one request; returns the bytes the backend got.
fn sent_for(request: &str) -> String {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(request);
    assert_eq!(client.head().status(), 200);
    sidecar.ends_after(1);
    backend.received_once()
}

/// Sends a GET that is answered with these bytes and the end of the connection.
fn answer_for(answer: &str) -> Message {
    let backend = Backend::closing_after(answer.to_owned());
    let sidecar = Sidecar::before(&backend);
    let answer = sidecar.client().get("/");
    sidecar.ends_after(1);
    answer
}

#[test]
fn requests_without_a_body_pass_as_they_are() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\n\r\n");
        let expected = format!("{method} /a HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n");
        assert_eq!(sent_for(&request), expected);
    }
}

#[test]
fn a_body_of_announced_length_keeps_its_length() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "BREW"] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let expected = format!("{method} /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(sent_for(&request), expected);
    }
}

#[test]
fn an_empty_body_of_announced_length_keeps_its_zero() {
    let sent = sent_for("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(sent, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_chunked_body_stays_chunked_whatever_the_method() {
    // Some HTTP libraries drop the body of a GET whose length is unknown.
    for method in ["POST", "GET", "HEAD", "DELETE", "OPTIONS", "QUERY", "BREW"] {
        let request = format!(
            "{method} /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
             3;ext=\"v\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n"
        );
        let sent = sent_for(&request);
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, format!("{method} /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"));
        let data: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "abc0123456789", "{method}: {body:?}");
        assert!(body.ends_with("\r\n0\r\n\r\n") && !body.contains("ext"), "{method}: {body:?}");
    }
}

#[test]
fn obs_text_and_unknown_fields_pass_and_repeated_ones_keep_their_order() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: \xe9\xff\x85\r\nX-A: 2\r\nX-A: 3\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    let sent = backend.received_once();
    let values: Vec<_> = sent.lines().filter(|line| line.starts_with("X-A")).collect();
    assert_eq!(values, ["X-A: 1", "X-A: 2", "X-A: 3"]);
    // Lossy text: three bytes that are not UTF-8.
    assert!(sent.contains("X-B: \u{fffd}\u{fffd}\u{fffd}\r\n"), "{sent:?}");
}

#[test]
fn set_cookie_lines_stay_apart_and_in_order() {
    let answer = answer_for(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2, c\r\n\
         Set-Cookie: a=3\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2, c", "a=3"]);
}

#[test]
fn an_answer_keeps_status_fields_and_body() {
    let answer = answer_for(
        "HTTP/1.1 418 Short And Stout\r\nServer: s\r\nDate: then\r\nETag: \"e\"\r\nVary: x\r\n\
         WWW-Authenticate: Basic\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!((answer.status(), answer.text()), (418, "abc"));
    for (name, value) in [
        ("server", "s"),
        ("date", "then"),
        ("etag", "\"e\""),
        ("vary", "x"),
        ("www-authenticate", "Basic"),
        ("content-encoding", "gzip"),
        ("content-length", "3"),
    ] {
        assert_eq!(answer.all(name), [value]);
    }
    assert!(answer.start_line().starts_with("HTTP/1.1 418"), "{answer:?}");
}

#[test]
fn nothing_but_date_is_added_to_an_answer() {
    let answer = answer_for("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut names: Vec<_> =
        answer.head.lines().skip(1).filter_map(|l| l.split_once(':')).map(|(n, _)| n).collect();
    names.sort_unstable();
    assert_eq!(names, ["Content-Length", "Date"]);
}

#[test]
fn head_keeps_content_length_and_has_no_body() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().field("content-length"), Some("1234"));
    }
    sidecar.requests(200).label("method", "HEAD").without("error").eventually_is(2);
    sidecar.ends_after(2);
}

#[test]
fn bodiless_statuses_end_with_their_head() {
    for status in ["204 No Content", "304 Not Modified"] {
        let backend = Backend::answering(format!("HTTP/1.1 {status}\r\nETag: \"e\"\r\n\r\n"));
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!(answer.field("etag"), Some("\"e\""));
            assert_eq!(answer.field("transfer-encoding"), None, "{status}");
        }
        sidecar.ends_after(2);
        assert_eq!(backend.received().len(), 1, "{status}: the connection is used again");
    }
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let backend = Backend::answering(chunked);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.text(), "ok");
    client.sees_the_end();
    sidecar.ends_after(1);
    // RFC 9112 §2.3: a proxy sends its own version.
    assert!(backend.received_once().starts_with("GET /x HTTP/1.1\r\n"));
}

#[test]
fn an_http_1_0_request_without_host_goes_on_with_the_upstreams() {
    // In HTTP/1.1 it must have one (RFC 9112 §3.2): nginx, Node and h11 refuse it without.
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /a HTTP/1.0\r\nX: y\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    let host = backend.address;
    assert_eq!(backend.received_once(), format!("GET /a HTTP/1.1\r\nHost: {host}\r\nX: y\r\n\r\n"));
}

#[test]
fn an_http_1_0_client_that_asks_for_it_keeps_its_connection() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert!(answer.start_line().starts_with("HTTP/1.0 200"), "{answer:?}");
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
    sidecar.ends_after(3);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut clients: Vec<_> = (0..3).map(|_| sidecar.client()).collect();
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "ok");
        }
    }
    sidecar.metric("redcar_downstream_connections_accepted_total").eventually_is(3);
    sidecar.metric("redcar_upstream_requests_reused_total").eventually_is(59);
    // One to see whether the upstream is there, one to serve them all.
    sidecar.metric("redcar_upstream_connects_total").label("result", "ok").eventually_is(2);
    sidecar.ends_after(60);
    assert_eq!(backend.received().len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|connection| {
        while let Some(request) = connection.request() {
            let path = request.start_line().split(' ').nth(1).unwrap().to_owned();
            let length = path.len();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}"));
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /second HTTP/1.1\r\nHost: a\r\n\r\nGET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    for path in ["/first", "/second", "/third"] {
        assert_eq!(client.answer().text(), path);
    }
    sidecar.ends_after(3);
}

#[test]
fn a_good_request_before_a_bad_one_is_still_answered() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\nbad request\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    assert_eq!(client.answer().status(), 400);
    client.sees_the_end();
    sidecar.requests(400).label("path", "_UNPARSED").eventually_is(1);
    sidecar.ends_after(2);
}

#[test]
fn empty_lines_before_a_request_are_ignored() {
    let sent = sent_for("\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(sent, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_client_that_asks_for_the_end_gets_it_and_the_backend_is_not_told() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    for _ in 0..2 {
        let mut client = sidecar.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().field("connection"), Some("close"));
        client.sees_the_end();
    }
    sidecar.ends_after(2);
    let sent = backend.received_once();
    assert!(!sent.to_lowercase().contains("connection"), "{sent:?}");
}

#[test]
fn a_reason_phrase_passes_as_it_came() {
    for reason in [&b"N\xc3\xa3o"[..], b"N\xe3o", b"", b"Not  Found at all"] {
        let answer =
            [b"HTTP/1.1 404 ", reason, b"\r\nDate: x\r\nContent-Length: 0\r\n\r\n"].concat();
        let backend = Backend::answering(answer.clone());
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.take(answer.len()), answer);
        sidecar.ends_after(1);
    }
}
