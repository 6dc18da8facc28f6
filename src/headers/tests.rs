use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::error::RequestError;
use crate::h1::{HeadError, Version, parse_request, parse_response, slots};

/// The head that the upstream gets for `head`, or why it gets none.
fn sent_as(head: &str, forwarded: Forwarded) -> Result<String, RequestError> {
    sent_bytes(head.as_bytes(), forwarded)
}

fn sent_bytes(head: &[u8], forwarded: Forwarded) -> Result<String, RequestError> {
    let mut slots = slots();
    let (head, _) = parse_request(head, &mut slots).expect("a head").expect("complete");
    let mut out = Vec::new();
    let peer =
        Peer { address: "192.0.2.7", scheme: "http", forwarded, via: false, upstream: "app:8080" };
    prepare_request(&head, peer, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn get(fields: &str) -> Result<String, RequestError> {
    sent_as(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), Forwarded::Off)
}

fn refused(head: &str) -> Option<HeadError> {
    let mut slots = slots();
    parse_request(head.as_bytes(), &mut slots).err()
}

#[test]
fn connection_named_fields_are_not_forwarded() {
    let sent = get("Host: a\r\nConnection: X-One , close\r\nCONNECTION: x-tWo,keep-alive\r\n\
        X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
        Proxy-Authorization: secret\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n");
    assert_eq!(sent.expect("forwardable"), "GET / HTTP/1.1\r\nHost: a\r\nX-Three: 3\r\n");
}

#[test]
fn connection_cannot_remove_host_framing_or_our_fields() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: 1.2.3.4\r\n\
        Connection: host, content-length, x-forwarded-for, x-forwarded-host\r\n\r\n";
    assert_eq!(
        sent_as(head, Forwarded::Append).expect("forwardable"),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"
    );
}

#[test]
fn a_connection_field_that_is_not_utf8_is_still_obeyed() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nConnection: \xff\xfe, x-hop\r\n\r\n";
    let sent = sent_bytes(head, Forwarded::Off).expect("forwardable");
    assert_eq!(sent, "GET / HTTP/1.1\r\nHost: a\r\n");
}

#[test]
fn spelling_and_order_of_fields_are_kept() {
    let fields = "hOsT: a\r\nX-B: 1\r\nx-a:   2 \r\nX-B: 3\r\n";
    let sent = get(fields).expect("forwardable");
    assert_eq!(sent, "GET / HTTP/1.1\r\nhOsT: a\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\n");
}

#[test]
fn host_is_checked_as_rfc_9112_demands() {
    assert_eq!(get(""), Err(RequestError::HostMissing));
    assert_eq!(get("Host: a\r\nHost: a\r\n"), Err(RequestError::HostRepeated));
    for bad in ["a b", "a/b", "u@h", "a:b", "a:123456", "[::1", "[]", "[zz]"] {
        assert_eq!(get(&format!("Host: {bad}\r\n")), Err(RequestError::HostInvalid), "{bad}");
    }
    for good in ["a", "a.example:80", "[::1]:8080", "127.0.0.1", "a:", "", "my_host"] {
        assert!(get(&format!("Host: {good}\r\n")).is_ok(), "{good}");
    }
    assert_eq!(
        sent_as("GET / HTTP/1.0\r\n\r\n", Forwarded::Off).expect("forwardable"),
        "GET / HTTP/1.1\r\nHost: app:8080\r\n"
    );
}

#[test]
fn targets_are_checked_and_absolute_form_becomes_origin_form() {
    for (start, expected) in [
        ("GET http://real:81/a%2f?b=//c", "GET /a%2f?b=//c HTTP/1.1\r\nHost: real:81\r\n"),
        ("OPTIONS http://h", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"),
        ("OPTIONS http://h/", "OPTIONS / HTTP/1.1\r\nHost: h\r\n"),
        ("OPTIONS https://h/a", "OPTIONS /a HTTP/1.1\r\nHost: h\r\n"),
        ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: fake\r\n"),
        ("GET HTTP://h", "GET / HTTP/1.1\r\nHost: h\r\n"),
        ("GET http://h?x=1", "GET /?x=1 HTTP/1.1\r\nHost: h\r\n"),
    ] {
        let sent = sent_as(&format!("{start} HTTP/1.1\r\nHost: fake\r\n\r\n"), Forwarded::Off);
        assert_eq!(sent.expect("forwardable"), expected);
    }
    for start in [
        "GET *",
        "GET x",
        "POST a:80",
        "GET http://",
        "GET ftp://h/",
        "GET http://u@h/",
        "GET /a#b",
    ] {
        let sent = sent_as(&format!("{start} HTTP/1.1\r\nHost: h\r\n\r\n"), Forwarded::Off);
        assert_eq!(sent, Err(RequestError::TargetInvalid), "{start}");
    }
    let connect = sent_as("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Forwarded::Off);
    assert_eq!(connect, Err(RequestError::ConnectUnsupported));
}

#[test]
fn framing_that_two_recipients_could_read_differently_is_refused() {
    for (fields, error) in [
        ("Transfer-Encoding: gzip, chunked\r\n", HeadError::CodingUnsupported),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", HeadError::CodingUnsupported),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::Coding),
        ("Transfer-Encoding: chunked, gzip\r\n", HeadError::Coding),
        ("Transfer-Encoding: identity\r\n", HeadError::Coding),
        ("Transfer-Encoding:\r\n", HeadError::Coding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", HeadError::TwoLengths),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", HeadError::TwoLengths),
        ("Content-Length: 3, 3\r\n", HeadError::Length),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", HeadError::Length),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(refused(&head), Some(error), "{fields}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), Some(HeadError::Coding));
}

#[test]
fn of_te_only_trailers_is_forwarded() {
    let sent = get("Host: a\r\nTE: gzip, Trailers;q=0.5\r\nConnection: te\r\n");
    assert_eq!(
        sent.expect("forwardable"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n"
    );
    let sent = get("Host: a\r\nTE: gzip\r\n").expect("forwardable");
    assert_eq!(sent, "GET / HTTP/1.1\r\nHost: a\r\n");
}

#[test]
fn an_upgrade_is_forwarded_only_where_it_was_asked_for_properly() {
    let sent = get("Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n");
    assert_eq!(
        sent.expect("forwardable"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
    );
    for fields in ["Upgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"] {
        let sent = get(&format!("Host: a\r\n{fields}")).expect("forwardable");
        assert_eq!(sent, "GET / HTTP/1.1\r\nHost: a\r\n", "{fields}");
    }
}

#[test]
fn aliases_of_trusted_fields_are_dropped_and_other_underscores_pass() {
    let sent = get("Host: a\r\nContent_Length: 9\r\nX_Forwarded.For: 1\r\nMy_Own_Field: 1\r\n");
    assert_eq!(sent.expect("forwardable"), "GET / HTTP/1.1\r\nHost: a\r\nMy_Own_Field: 1\r\n");
}

#[test]
fn forwarding_fields_follow_the_mode() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-for: 1.1.1.1\r\nForwarded: for=1\r\n\
        X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\r\n";
    let with = |mode| {
        let sent = sent_as(head, mode).expect("forwardable");
        sent.split_once("Host: a\r\n").expect("a host").1.replace("\r\n", "|")
    };
    assert_eq!(
        with(Forwarded::Append),
        "Forwarded: for=1|X-Forwarded-Proto: https|X-Forwarded-Host: outer|\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7|"
    );
    assert_eq!(
        with(Forwarded::Replace),
        "X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: a|"
    );
    assert_eq!(
        with(Forwarded::Off),
        "x-forwarded-for: 1.1.1.1|Forwarded: for=1|X-Forwarded-For: 2.2.2.2|\
         X-Forwarded-Proto: https|X-Forwarded-Host: outer|"
    );
}

#[test]
fn max_forwards_counts_down_for_options_and_trace_only() {
    for (method, before, after) in [
        ("OPTIONS", "0", "0"),
        ("OPTIONS", "7", "6"),
        ("TRACE", "3", "2"),
        ("GET", "5", "5"),
        ("TRACE", "x", "x"),
    ] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {before}\r\n\r\n");
        let sent = sent_as(&head, Forwarded::Off).expect("forwardable");
        assert!(sent.ends_with(&format!("Max-Forwards: {after}\r\n")), "{method}: {sent}");
    }
}

/// The fields that the client gets, and the notes; or why it gets a 502.
fn answered_as(head: &str, to_head: bool) -> Result<(String, Option<u64>, bool), &'static str> {
    let mut slots = slots();
    let head = format!("{head}\r\n");
    let (head, _) = parse_response(head.as_bytes(), &mut slots, to_head)?.expect("complete");
    let mut out = Vec::new();
    let reply = Reply { version: Version::Http11, to_head };
    let fields = prepare_response(&head, reply, &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    Ok((text, fields.keep_alive_seconds, fields.keep_alive))
}

#[test]
fn a_response_with_coding_and_length_loses_the_length() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nA: b\r\n";
    assert_eq!(answered_as(head, false).expect("forwardable").0, "A: b\r\n");
    assert!(answered_as("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", false).is_err());
    assert!(answered_as("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", false).is_err());
}

#[test]
fn repeated_lengths_become_one_or_an_error() {
    for (fields, expected) in [
        ("Content-Length: 5, 5\r\n", Some("5")),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Some("5")),
        ("Content-Length: 5, 6\r\n", None),
        ("Content-Length: +5\r\n", None),
        ("Content-Length:\r\n", None),
    ] {
        for to_head in [false, true] {
            let got = answered_as(&format!("HTTP/1.1 200 OK\r\n{fields}"), to_head);
            let expected = expected.map(|length| format!("Content-Length: {length}\r\n"));
            assert_eq!(got.ok().map(|got| got.0), expected, "{fields:?}");
        }
    }
}

#[test]
fn a_response_keeps_its_cookies_and_tells_its_keep_alive() {
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Hop: 1\r\n\
        Keep-Alive: max=9, timeout=5\r\nConnection: x-hop\r\nContent-Length: 0\r\n";
    let (text, seconds, keeps) = answered_as(head, false).expect("forwardable");
    assert_eq!(text, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n");
    assert_eq!((seconds, keeps), (Some(5), true));
}

#[test]
fn a_folded_line_becomes_one_and_space_before_a_colon_goes() {
    let head = "HTTP/1.1 200 OK\r\nX : a\r\n b\r\n\tc\r\nContent-Length: 0\r\n";
    let text = answered_as(head, false).expect("forwardable").0;
    assert!(!text.contains("\r\n ") && text.starts_with("X: a"), "{text:?}");
    assert_eq!(text.matches("\r\n").count(), 2, "{text:?}");
}

#[test]
fn trailers_cannot_smuggle_header_fields() {
    let named: Named = vec![Box::from(&b"X-Hop"[..])];
    let raw = b"Content-Length: 1\r\nX-Sum: 1\r\nx-hop: 1\r\nSet-Cookie: a\r\n\r\n";
    let fields = forwarded_trailers(raw, &named).expect("fields");
    assert_eq!(fields.iter().map(|field| field.name).collect::<Vec<_>>(), ["X-Sum"]);
    assert!(forwarded_trailers(b"no colon\r\n\r\n", &named).is_err());
    assert!(forwarded_trailers(b"\r\n", &named).expect("none").is_empty());
}

proptest! {
    #[test]
    fn what_was_prepared_is_a_head_and_has_nothing_hop_by_hop(
        tokens in proptest::collection::vec("[A-Za-z-]{1,12}", 0..5),
        extra in proptest::collection::vec(("[A-Za-z_.-]{1,12}", "[ -~]{0,10}"), 0..8),
    ) {
        let connection = tokens.join(", ");
        let mut head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n");
        for (name, value) in &extra {
            if !name.eq_ignore_ascii_case("host") {
                let _infallible = write!(head, "{name}: {value}\r\n");
            }
        }
        head.push_str("\r\n");
        let sent = format!("{}\r\n", sent_as(&head, Forwarded::Off).expect("forwardable"));
        let mut slots = slots();
        let (again, size) = parse_request(sent.as_bytes(), &mut slots)
            .expect("a head").expect("complete");
        prop_assert_eq!(size, sent.len());
        for field in again.fields {
            let name = field.name.to_ascii_lowercase();
            let is_named = tokens.iter().any(|token| token.eq_ignore_ascii_case(&name));
            prop_assert!(!is_named || matches!(name.as_str(), "host" | "te" | "connection"));
        }
    }
}
