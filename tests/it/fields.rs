//! Fields that are removed, added or rewritten: RFC 9110 §7.6, RFC 7239.

use redcar::config::Config;
use redcar::http::Forwarded;

use crate::backend::{Backend, OK};
use crate::message::Message;
use crate::sidecar::Sidecar;

/// Sends a GET with these fields; returns the head the backend got.
fn sent_with(fields: &str, change: impl FnOnce(&mut Config)) -> Message {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, change);
    let mut client = sidecar.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    Message { head: backend.received_once(), ..Message::default() }
}

fn names(message: &Message) -> Vec<&str> {
    let lines = message.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, _)| name).collect()
}

const HOP_BY_HOP: [&str; 8] = [
    "Connection: X-Secret\r\nX-Secret: 1\r\n",
    "connection: x-secret\r\nX-SECRET: 1\r\n",
    "CONNECTION: keep-alive ,\tX-sEcReT , close-not\r\nx-secret: 1\r\nX-Secret: 2\r\n",
    "Connection: a\r\nConnection: ,,x-secret,\r\nx-secret: 1\r\n",
    "X-Secret: 1\r\nConnection: x-secret\r\n",
    "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n",
    "Proxy-Authorization: Basic x\r\nProxy-Authenticate: Basic\r\nTE: gzip\r\n",
    "Upgrade: websocket\r\nTE: deflate;q=0.5\r\nkeep-alive: 1\r\n",
];

#[test]
fn hop_by_hop_fields_of_a_request_are_removed_in_any_spelling() {
    for fields in HOP_BY_HOP {
        let sent = sent_with(fields, |_| {});
        assert_eq!(names(&sent), ["Host"], "{fields:?}");
    }
}

#[test]
fn hop_by_hop_fields_of_an_answer_are_removed_in_any_spelling() {
    for fields in HOP_BY_HOP {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok");
        let backend = Backend::answering(answer);
        let sidecar = Sidecar::before(&backend);
        let answer = sidecar.client().get("/");
        sidecar.ends_after(1);
        let mut left = names(&answer);
        left.sort_unstable();
        assert_eq!(left, ["Content-Length", "Date"], "{fields:?}");
    }
}

#[test]
fn connection_cannot_remove_host_or_framing_or_our_own_fields() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.forwarded = Forwarded::Append);
    let mut client = sidecar.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: host, content-length, \
         transfer-encoding, x-forwarded-for, x-forwarded-host, x-forwarded-proto\r\n\r\nhi",
    );
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    let sent = Message { head: backend.received_once(), ..Message::default() };
    for (name, value) in [
        ("host", "a"),
        ("content-length", "2"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "a"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(sent.all(name), [value], "{sent:?}");
    }
}

#[test]
fn connection_with_bytes_that_are_not_text_is_understood_all_the_same() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nConnection: \xff, x-secret\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    assert_eq!(backend.received_once(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn of_te_only_trailers_passes() {
    for fields in ["TE: trailers\r\n", "te: gzip, Trailers;q=1\r\nConnection: TE\r\n"] {
        let sent = sent_with(fields, |_| {});
        assert_eq!(sent.all("te"), ["trailers"], "{fields:?}");
        assert_eq!(sent.all("connection"), ["TE"], "{fields:?}");
    }
}

#[test]
fn the_peer_is_appended_to_x_forwarded_for_and_the_rest_set_where_absent() {
    let append = |config: &mut Config| config.forwarded = Forwarded::Append;
    let sent = sent_with("", append);
    assert_eq!(sent.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(sent.all("x-forwarded-proto"), ["http"]);
    assert_eq!(sent.all("x-forwarded-host"), ["a"]);
    let given = "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8, 9.9.9.9\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nForwarded: for=1.2.3.4\r\n";
    let sent = sent_with(given, append);
    assert_eq!(sent.all("x-forwarded-for"), ["1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1"]);
    assert_eq!(sent.all("x-forwarded-proto"), ["https"]);
    assert_eq!(sent.all("x-forwarded-host"), ["b"]);
    assert_eq!(sent.all("forwarded"), ["for=1.2.3.4"]);
    let sent = sent_with(given, |config| config.forwarded = Forwarded::Replace);
    assert_eq!(sent.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(sent.all("x-forwarded-proto"), ["http"]);
    assert_eq!(sent.all("x-forwarded-host"), ["a"]);
    assert_eq!(sent.field("forwarded"), None);
}

#[test]
fn a_front_that_says_the_scheme_in_another_way_is_not_contradicted() {
    let append = |config: &mut Config| config.forwarded = Forwarded::Append;
    for fields in [
        "X-Forwarded-Ssl: on\r\n",
        "X-Forwarded-Protocol: ssl\r\n",
        "Front-End-Https: on\r\n",
        "Forwarded: for=1.2.3.4;proto=https\r\n",
    ] {
        let sent = sent_with(fields, append);
        assert_eq!(sent.field("x-forwarded-proto"), None, "{fields:?}");
        assert_eq!(sent.all("x-forwarded-for"), ["127.0.0.1"], "{fields:?}");
        let sent = sent_with(fields, |config| config.forwarded = Forwarded::Replace);
        assert_eq!(sent.all("x-forwarded-proto"), ["http"], "{fields:?}");
        assert_eq!(sent.head.lines().count(), 6, "{sent:?}");
    }
}

#[test]
fn aliases_of_framing_and_forwarding_fields_are_dropped_and_other_names_pass() {
    let sent = sent_with(
        "Content_Length: 5\r\ntransfer.encoding: chunked\r\nX_Forwarded_For: 1\r\nX_Y: 1\r\na.b: 2\r\n",
        |_| {},
    );
    let mut left = names(&sent);
    left.sort_unstable();
    assert_eq!(left, ["Host", "X_Y", "a.b"]);
}

#[test]
fn via_is_added_only_when_asked_for() {
    assert_eq!(sent_with("", |_| {}).field("via"), None);
    let sent = sent_with("Via: 1.0 x\r\n", |config| config.via = true);
    assert_eq!(sent.all("via"), ["1.0 x", "1.1 redcar"]);
}

#[test]
fn a_request_for_h2c_is_answered_like_any_other() {
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: h2c\r\n",
    ] {
        let sent = sent_with(fields, |_| {});
        assert_eq!(sent.field("upgrade"), None, "{fields:?}");
        assert_eq!(sent.field("connection"), None, "{fields:?}");
        assert_eq!(sent.field("http2-settings"), None, "{fields:?}");
    }
}
