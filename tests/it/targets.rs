//! Request lines and Host: RFC 9112 §3, RFC 9110 §7.7.

use crate::backend::{Backend, OK};
use crate::sidecar::Sidecar;

/// Sends each request on a connection of its own; returns the heads the backend got.
fn heads_of(requests: &[String]) -> Vec<String> {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::without_pool(&backend);
    for request in requests {
        let mut client = sidecar.client();
        client.send(request);
        assert_eq!(client.answer().status(), 200, "{request:?}");
    }
    sidecar.ends_after(u32::try_from(requests.len()).unwrap());
    backend.received()
}

#[test]
fn an_origin_form_target_passes_byte_for_byte() {
    let targets = [
        "/",
        "//",
        "//host/path",
        "/a//b///c/",
        "/a/./b/../c/..",
        "/..",
        "/%2e%2e/%2F/%00/%zz/%",
        "/a%2fb;p=1,2:3@4!$&'()*+~",
        "/?",
        "/a?b?c=/d/../e",
        "/a?%2F=%&&&==",
        "/a?q=[x]{y}|z^`",
        "/\u{e9}?\u{fc}",
        "/a?http://evil/",
        "/*",
    ];
    let requests: Vec<_> =
        targets.iter().map(|t| format!("GET {t} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let heads = heads_of(&requests);
    for (target, head) in targets.iter().zip(heads) {
        assert_eq!(head, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn bytes_beyond_utf8_pass_in_a_target_and_no_label_shows_them() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::without_pool(&backend);
    let requests: [&[u8]; 3] = [
        b"GET /caf\xe9?q=\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x80\xc3/\xed\xa0\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /q?\xa0 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in requests {
        let mut client = sidecar.client();
        client.send(request);
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!(backend.received_bytes(), requests);
    sidecar.requests(200).label("path", "/{id}").eventually_is(1);
    sidecar.requests(200).label("path", "/{id}/{id}").eventually_is(1);
    sidecar.ends_after(3);
}

#[test]
fn a_later_minor_version_is_processed_as_1_1() {
    let heads = heads_of(&[
        "GET /x HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(),
        "POST /x HTTP/1.9\r\nHost: a\r\nContent-Length: 02\r\n\r\nhi".to_owned(),
    ]);
    let expected = [
        "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ];
    assert_eq!(heads, expected);
}

#[test]
fn an_absolute_form_target_becomes_origin_form_and_its_authority_becomes_host() {
    let cases = [
        ("GET http://b.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y", "b.example"),
        ("GET http://b.example:81 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /", "b.example:81"),
        ("GET http://b.example?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q", "b.example"),
        ("GET http://b.example//x HTTP/1.1\r\nHost: a\r\n\r\n", "GET //x", "b.example"),
        ("GET http://[::1]:80/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x", "[::1]:80"),
        ("OPTIONS http://b.example HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS *", "b.example"),
        ("OPTIONS http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /x", "b.example"),
    ];
    let requests: Vec<_> = cases.iter().map(|(request, ..)| (*request).to_owned()).collect();
    let heads = heads_of(&requests);
    for ((_, start, host), head) in cases.iter().zip(heads) {
        assert_eq!(head, format!("{start} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

#[test]
fn options_asterisk_passes_as_it_is() {
    let heads = heads_of(&["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()]);
    assert_eq!(heads, ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"]);
}

#[test]
fn any_token_is_a_method_and_passes_in_its_case() {
    let methods = ["get", "PROPFIND", "M-SEARCH", "X!#$%&'*+.^_`|~9", "QUERY"];
    let requests: Vec<_> =
        methods.iter().map(|m| format!("{m} /x HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let heads = heads_of(&requests);
    for (method, head) in methods.iter().zip(heads) {
        assert!(head.starts_with(&format!("{method} /x HTTP/1.1\r\n")), "{head:?}");
    }
}

#[test]
fn host_passes_unchanged_in_every_valid_form() {
    let hosts = ["a", "a:8080", "[::1]", "[::1]:80", "A.Example", "", "a_b", "1.2.3.4:5"];
    let requests: Vec<_> =
        hosts.iter().map(|h| format!("GET / HTTP/1.1\r\nHost: {h}\r\n\r\n")).collect();
    let heads = heads_of(&requests);
    for (host, head) in hosts.iter().zip(heads) {
        let line = format!("Host: {host}");
        assert!(head.lines().any(|l| l.trim_end() == line.trim_end()), "{head:?}");
    }
}

#[test]
fn max_forwards_zero_is_answered_here_and_more_is_counted_down() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.send("TRACE /x HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n");
    let trace = client.answer();
    assert_eq!(trace.field("content-type"), Some("message/http"));
    assert!(trace.text().starts_with("TRACE /x HTTP/1.1\r\n"), "{trace:?}");
    assert!(!trace.text().contains("secret"), "{trace:?}");
    assert_eq!(backend.received().len(), 0);
    client.send("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 7\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(4);
    assert_eq!((backend.count("Max-Forwards: 6"), backend.count("Max-Forwards: 0")), (1, 1));
}
