//! Requests that never reach the backend: each gets a clear answer, a count, and the end of the
//! connection where nobody could tell what comes next.

use crate::backend::{Backend, OK};
use crate::sidecar::Sidecar;

/// A name, the bytes, the status.
type Case = (&'static str, String, u16);

fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\n{fields}\r\n")
}

fn post(fields: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\nhello")
}

/// Sends each case on a connection of its own, which must end after the answer.
fn are_refused(
    sidecar: Sidecar,
    backend: &Backend,
    labels: [(&'static str, &str); 2],
    cases: &[Case],
) {
    for (name, request, status) in cases {
        let counted = || {
            let [a, b] = labels;
            let metric = sidecar.requests(*status).label("error", "http_request_error");
            metric.label(a.0, a.1).label(b.0, b.1)
        };
        let before = counted().value();
        let mut client = sidecar.client();
        client.send_what_is_taken(request);
        let answer = client.answer();
        assert_eq!(answer.status(), *status, "{name}: {answer:?}");
        client.sees_the_end();
        crate::backend::eventually(name, || counted().value() > before + 0.5);
    }
    sidecar.ends_after(u32::try_from(cases.len()).unwrap());
    assert_eq!(backend.received(), Vec::<String>::new());
}

#[test]
fn requests_that_parse_but_may_not_be_forwarded_are_refused() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let cases: Vec<Case> = vec![
        ("no Host", get(""), 400),
        ("two Hosts", get("Host: a\r\nHost: a\r\n"), 400),
        ("two Hosts, one empty", get("Host:\r\nhost: a\r\n"), 400),
        ("Host with a path", get("Host: a/b\r\n"), 400),
        ("Host with a user", get("Host: u@a\r\n"), 400),
        ("Host with a space", get("Host: a b\r\n"), 400),
        ("Host with a bad port", get("Host: a:x\r\n"), 400),
        ("Host with a port beyond 65535", get("Host: a:65536\r\n"), 400),
        ("Host with half an escape", get("Host: a%2\r\n"), 400),
        ("Host with two colons", get("Host: a:1:2\r\n"), 400),
        ("Host with an open bracket", get("Host: [::1\r\n"), 400),
        ("Host list", get("Host: a\"b\r\n"), 400),
        ("absolute form without Host", "GET http://a/x HTTP/1.1\r\n\r\n".to_owned(), 400),
    ];
    // The app was never asked, so nobody knows whether the path exists.
    are_refused(sidecar, &backend, [("method", "GET"), ("path", "_UNMATCHED")], &cases);
}

#[test]
fn targets_that_do_not_belong_to_their_method_are_refused() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let host = "HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases: Vec<Case> = vec![
        ("CONNECT", format!("CONNECT a:443 {host}"), 501),
        ("CONNECT with a path", format!("CONNECT /x {host}"), 501),
        ("authority-form GET", format!("GET foo {host}"), 400),
        ("authority-form POST", format!("POST a:80 {host}"), 400),
        ("asterisk-form GET", format!("GET * {host}"), 400),
        ("another scheme", format!("GET ftp://x/a {host}"), 400),
        ("no authority", format!("GET http:///a {host}"), 400),
        ("a fragment", format!("GET /#a {host}"), 400),
        ("a query alone", format!("GET ?a {host}"), 400),
    ];
    for (name, request, status) in &cases {
        let mut client = sidecar.client();
        client.send(request);
        assert_eq!(client.answer().status(), *status, "{name}");
        client.sees_the_end();
    }
    // They have no path, also where `/` is one by now.
    assert_eq!(sidecar.client().get("/").status(), 200);
    for (name, request, status) in &cases {
        let mut client = sidecar.client();
        client.send(request);
        assert_eq!(client.answer().status(), *status, "{name}");
        client.sees_the_end();
    }
    let refused = || sidecar.metric("http_requests_total").label("error", "http_request_error");
    refused().label("path", "_UNPARSED").eventually_is(18);
    sidecar.requests(501).label("method", "CONNECT").eventually_is(4);
    sidecar.metric("http_requests_total").label("path", "/").eventually_is(1);
    sidecar.ends_after(19);
    assert_eq!(backend.count(" HTTP/1.1"), 1);
}

#[test]
fn requests_that_do_not_parse_are_refused_and_counted_without_a_path() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let host = "Host: a\r\n";
    let mut cases: Vec<Case> = vec![
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400),
        ("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("no version", "GET /x\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a lower-case version", "GET /x http/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("version 1.10", "GET /x HTTP/1.10\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("version 2.0", "GET /x HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("version 3.0", "GET /x HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("version 0.9", "GET /x HTTP/0.9\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("two spaces", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a method with a colon", "G:T /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a bare CR before the request", "\rGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("an empty line of two CRs", "\r\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("leading white space", " GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a bare CR in a value", get(&format!("{host}X: a\rb\r\n")), 400),
        ("a bare CR as line end", get(&format!("{host}X: a\rY: b\r\n")), 400),
        ("a NUL in a value", get(&format!("{host}X: a\0b\r\n")), 400),
        ("a NUL in a name", get(&format!("{host}X\0: a\r\n")), 400),
        ("DEL in a value", get(&format!("{host}X: a\u{7f}b\r\n")), 400),
        ("space before a colon", get(&format!("{host}X : a\r\n")), 400),
        ("an empty name", get(&format!("{host}: a\r\n")), 400),
        ("a name with a separator", get(&format!("{host}X(y): a\r\n")), 400),
        ("a line without colon", get(&format!("{host}X\r\n")), 400),
        ("a folded line", get(&format!("{host}X: a\r\n b\r\n")), 400),
        ("a folded first line", get(&format!(" X: a\r\n{host}")), 400),
    ];
    for (name, fields) in [
        ("CL with a plus", "Content-Length: +1\r\n"),
        ("CL negative", "Content-Length: -1\r\n"),
        ("CL list", "Content-Length: 1,2\r\n"),
        ("CL with a space", "Content-Length: 1 2\r\n"),
        ("CL hexadecimal", "Content-Length: 0x1\r\n"),
        ("CL with underscore", "Content-Length: 1_0\r\n"),
        ("CL empty", "Content-Length:\r\n"),
        ("CL over u64", "Content-Length: 18446744073709551616\r\n"),
        ("CL contradicting", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("TE not chunked", "Transfer-Encoding: gzip\r\n"),
        ("TE chunked not last", "Transfer-Encoding: chunked, gzip\r\n"),
        ("TE identity", "Transfer-Encoding: identity\r\n"),
        ("TE empty", "Transfer-Encoding:\r\n"),
        ("TE misspelt", "Transfer-Encoding: xchunked\r\n"),
        ("TE with a prefix byte", "Transfer-Encoding: \u{b}chunked\r\n"),
    ] {
        cases.push((name, post(fields), 400));
    }
    cases.push(("a coding beside chunked", post("Transfer-Encoding: gzip, chunked\r\n"), 501));
    for (name, fields) in [
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("a length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        cases.push((name, post(fields), 400));
    }
    let old = "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned();
    cases.push(("TE in HTTP/1.0", old, 400));
    are_refused(sidecar, &backend, [("method", "_OTHER"), ("path", "_UNPARSED")], &cases);
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let many = "X: y\r\n".repeat(10_000);
    let (long, target) = ("y".repeat(1 << 20), "y".repeat(70_000));
    let cases: Vec<Case> = vec![
        ("a head of 1 MiB", get(&format!("Host: a\r\nX: {long}\r\n")), 431),
        ("10,000 fields", get(&format!("Host: a\r\n{many}")), 431),
        ("101 fields", get(&"X: y\r\n".repeat(101)), 431),
        ("a target of 70,000 bytes", format!("GET /{target} HTTP/1.1\r\n\r\n"), 414),
        ("a target of 1 MiB", format!("GET /{long} HTTP/1.1\r\n\r\n"), 414),
        ("a method of 1 MiB", format!("{long} / HTTP/1.1\r\n\r\n"), 501),
    ];
    are_refused(sidecar, &backend, [("method", "_OTHER"), ("path", "_UNPARSED")], &cases);
}

#[test]
fn a_target_beyond_the_limit_is_refused() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.max_header_bytes = 1 << 20);
    let long = "y".repeat(70_000);
    let cases: Vec<Case> =
        vec![("70,000 bytes", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414)];
    are_refused(sidecar, &backend, [("method", "_OTHER"), ("path", "_UNPARSED")], &cases);
}

#[test]
fn a_head_just_below_the_limit_passes() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let long = "y".repeat(60_000);
    let mut client = sidecar.client();
    client.send(get(&format!("Host: a\r\nX: {long}\r\n")));
    assert_eq!(client.answer().status(), 200);
    client.send(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.answer().status(), 200);
    client.send(get(&format!("Host: a\r\n{}", "X: y\r\n".repeat(90))));
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(3);
}

#[test]
fn a_broken_chunk_is_answered_with_400_and_never_completes_upstream() {
    for body in [
        "10000000000000000\r\nx",
        "fffffffffffffffff\r\nx",
        "xyz\r\nx",
        "0x2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "2_0\r\nhi\r\n0\r\n\r\n",
        "\r\nhi\r\n0\r\n\r\n",
        "2\r\nhiXX0\r\n\r\n",
        "2 \r\nhi\r\n0\r\n\r\n",
        "2;\r\nhi\r\n0\r\n\r\n",
        "2;bad[=x\r\nhi\r\n0\r\n\r\n",
        "2;a=\"b\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
    ] {
        let backend = Backend::answering(OK);
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        assert_eq!(client.answer().status(), 400, "{body:?}");
        client.sees_the_end();
        sidecar.ends_with(400, "downstream_body_error");
        assert_eq!(backend.count("\r\n0\r\n\r\n"), 0, "{body:?}");
    }
}

#[test]
fn a_refused_request_with_a_body_does_not_leave_its_body_to_be_read_as_a_request() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = sidecar.client();
    let length = smuggled.len();
    client.send(format!("POST /x HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{smuggled}"));
    assert_eq!(client.answer().status(), 400);
    client.sees_the_end();
    sidecar.ends_with(400, "http_request_error");
    assert_eq!(backend.received(), Vec::<String>::new());
}
