use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::http::h1::{HeadError, Version, parse_request, parse_response, slots};
use crate::http::rewrite::RequestError;

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
    let fields = out.strip_suffix(b"\r\n").expect("an empty line");
    Ok(String::from_utf8_lossy(fields).into_owned())
}

fn get(fields: &str) -> Result<String, RequestError> {
    sent_as(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), Forwarded::Off)
}

fn refused(head: &str) -> Option<HeadError> {
    let mut slots = slots();
    parse_request(head.as_bytes(), &mut slots).err()
}

#[test]
fn grpc_web_is_not_grpc() {
    let is_grpc = |media_type: &str| {
        let head = format!("POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: {media_type}\r\n\r\n");
        let mut slots = slots();
        let (head, _) = parse_request(head.as_bytes(), &mut slots).ok()??;
        let peer = Peer {
            address: "192.0.2.7",
            scheme: "http",
            forwarded: Forwarded::Off,
            via: false,
            upstream: "app:8080",
        };
        Some(prepare_request(&head, peer, &mut Vec::new()).ok()?.is_grpc)
    };
    for grpc in [
        "application/grpc",
        "Application/gRPC",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc ; a=b",
    ] {
        assert_eq!(is_grpc(grpc), Some(true), "{grpc}");
    }
    for other in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpcx",
        "application/grp",
        "application/json",
        "text/application/grpc",
        "",
    ] {
        assert_eq!(is_grpc(other), Some(false), "{other}");
    }
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

/// What a GET with these fields becomes behind its Host, in one line.
fn forwarded_as(fields: &str, mode: Forwarded) -> String {
    let sent = sent_as(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), mode);
    let sent = sent.expect("forwardable");
    sent.split_once("Host: a\r\n").expect("a host").1.replace("\r\n", "|")
}

const OURS: &str = "X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: a|";

#[test]
fn replace_leaves_nothing_of_the_family_in_any_spelling() {
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Ssl",
        "X-Forwarded-Protocol",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Scheme",
        "X-Forwarded-User",
        "X-Forwarded-Server",
        "X-Forwarded-Email",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-Forwarded-Anything",
        "X-Forwarded",
        "Forwarded",
        "Forwarded-For",
        "X-Real-IP",
        "Front-End-Https",
        "X-Url-Scheme",
        "X-Scheme",
        "Client-IP",
        "X-Client-IP",
        "True-Client-IP",
        "X-ProxyUser-Ip",
        "X-Cluster-Client-IP",
        "X-Envoy-External-Address",
        "X-Original-URL",
        "X-Original-Host",
        "X-Original-Forwarded-For",
        "X-Rewrite-URL",
        "Remote-User",
        "X-Remote-User",
        "X-Auth-Request-Email",
        "Ssl-Client-Verify",
        "WL-Proxy-Client-IP",
    ] {
        let spellings =
            [name.to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")];
        for spelt in spellings {
            let field = format!("{spelt}: evil\r\n");
            assert_eq!(forwarded_as(&field, Forwarded::Replace), OURS, "{spelt}");
        }
        // `off` passes what came in, but no spelling that only a backend would take for the name.
        let field = format!("{name}: front\r\n");
        assert_eq!(forwarded_as(&field, Forwarded::Off), format!("{name}: front|"));
        let alias = name.replacen('-', "_", 1);
        if alias != name {
            assert_eq!(forwarded_as(&format!("{alias}: evil\r\n"), Forwarded::Off), "");
            assert_eq!(forwarded_as(&format!("{alias}: evil\r\n"), Forwarded::Append), OURS);
        }
    }
}

#[test]
fn appending_contradicts_nothing_that_came_in() {
    let (address, proto, host) =
        ("X-Forwarded-For: 192.0.2.7|", "X-Forwarded-Proto: http|", "X-Forwarded-Host: a|");
    for (fields, says_proto, says_host) in [
        ("X-Forwarded-Ssl: on", true, false),
        ("x-forwarded-ssl: off", true, false),
        ("X-Forwarded-Protocol: ssl", true, false),
        ("X-Forwarded-Scheme: https", true, false),
        ("X-Forwarded-Port: 443", true, false),
        ("Front-End-Https: on", true, false),
        ("X-Scheme: https", true, false),
        ("X-Url-Scheme: https", true, false),
        ("Forwarded: for=192.0.2.9", false, false),
        ("Forwarded: for=192.0.2.9;proto=https", true, false),
        ("Forwarded: for=192.0.2.9; Proto = https;host=b", true, true),
        ("Forwarded: by=x, for=y;HOST=\"b\"", false, true),
        ("Forwarded: for=\"_a;proto=https\"", false, false),
        ("X-Forwarded-Prefix: /a", false, false),
        ("X-Real-IP: 192.0.2.9", false, false),
        ("X-Other: proto=https", false, false),
    ] {
        let expected = format!(
            "{fields}|{address}{}{}",
            if says_proto { "" } else { proto },
            if says_host { "" } else { host }
        );
        let sent = forwarded_as(&format!("{fields}\r\n"), Forwarded::Append);
        assert_eq!(sent, expected, "{fields}");
    }
    // What does not go on says nothing.
    let fields = "X-Forwarded-Ssl: on\r\nConnection: x-forwarded-ssl\r\n";
    assert_eq!(forwarded_as(fields, Forwarded::Append), OURS);
}

#[test]
fn a_length_goes_on_as_a_plain_number() {
    for (sent, plain) in [("0200", "200"), ("0", "0"), ("000", "0"), ("5", "5"), ("00", "0")] {
        for version in ["1.1", "1.0"] {
            let head =
                format!("POST / HTTP/{version}\r\nHost: a\r\ncontent-Length: {sent}\r\n\r\n");
            let sent = sent_as(&head, Forwarded::Off).expect("forwardable");
            assert_eq!(sent, format!("POST / HTTP/1.1\r\nHost: a\r\ncontent-Length: {plain}\r\n"));
        }
        let (answer, ..) =
            answered_as(&format!("HTTP/1.1 200 OK\r\nContent-Length: {sent}\r\n"), true)
                .expect("ok");
        assert_eq!(answer, format!("Content-Length: {plain}\r\n"));
    }
    let twice = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\nContent-Length: 5\r\n\r\n";
    let sent = sent_as(twice, Forwarded::Off).expect("forwardable");
    assert_eq!(sent, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n");
}

/// What an HTTP/2 head becomes in HTTP/1.
fn sent_of_http2(
    (method, target): (&str, &[u8]),
    authority: Option<&str>,
    fields: &[(&str, &[u8])],
) -> Result<String, RequestError> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| Field { name, value }).collect();
    let version = Version::Http2;
    let body = crate::http::h1::BodyLength::None;
    let head =
        crate::http::h1::RequestHead { method, target, version, fields: &fields, body, authority };
    let forwarded = Forwarded::Off;
    let peer =
        Peer { address: "192.0.2.7", scheme: "http", forwarded, via: false, upstream: "app:8080" };
    let mut out = Vec::new();
    prepare_request(&head, peer, &mut out)?;
    let fields = out.strip_suffix(b"\r\n").expect("an empty line");
    Ok(String::from_utf8_lossy(fields).into_owned())
}

#[test]
fn heads_of_http2_are_held_to_rfc_9113() {
    let get = ("GET", &b"/"[..]);
    for (start, authority, fields, expected) in [
        (get, Some("a"), &[][..], Ok("Host: a\r\n")),
        (get, None, &[("host", &b"a"[..])][..], Ok("host: a\r\n")),
        (get, None, &[("host", b"")], Ok("host: \r\n")),
        (get, Some("a"), &[("host", b"A")], Ok("Host: a\r\n")),
        (get, None, &[], Err(RequestError::HostMissing)),
        (get, Some("a"), &[("host", b"b")], Err(RequestError::HostInvalid)),
        (get, Some("a"), &[("host", b"a"), ("host", b"a")], Err(RequestError::HostRepeated)),
        (get, Some("u@a"), &[], Err(RequestError::HostInvalid)),
        (get, Some("a"), &[("x", b" b")], Err(RequestError::FieldInvalid)),
        (get, Some("a"), &[("x", b"b\t")], Err(RequestError::FieldInvalid)),
        (get, Some("a"), &[("content-length", b"")], Err(RequestError::LengthInvalid)),
        (get, Some("a"), &[("content-length", b"+0")], Err(RequestError::LengthInvalid)),
        (get, Some("a"), &[("content-length", b"00")], Ok("Host: a\r\ncontent-length: 0\r\n")),
        (("GET", b"*"), Some("a"), &[], Err(RequestError::TargetInvalid)),
        (("GET", b"?a"), Some("a"), &[], Err(RequestError::TargetInvalid)),
        (("GET", b""), Some("a"), &[], Err(RequestError::TargetInvalid)),
        (("GET", b"/a#b"), Some("a"), &[], Err(RequestError::TargetInvalid)),
        (("CONNECT", b""), Some("a:80"), &[], Err(RequestError::ConnectUnsupported)),
        (("CONNECT", b""), None, &[], Err(RequestError::HostMissing)),
    ] {
        let sent = sent_of_http2(start, authority, fields);
        let expected = expected.map(|fields| format!("GET / HTTP/1.1\r\n{fields}"));
        assert_eq!(sent, expected, "{start:?} {authority:?} {fields:?}");
    }
}

#[test]
fn only_a_request_with_a_target_of_its_method_has_a_path() {
    for (start, path) in [
        ("GET /a/b?c", Some("/a/b")),
        ("GET /", Some("/")),
        ("GET http://h/a?b", Some("/a")),
        ("GET http://h", Some("/")),
        ("GET http://h?a=/b", Some("/")),
        ("OPTIONS *", Some("*")),
        ("OPTIONS http://h", Some("*")),
        ("GET *", None),
        ("CONNECT a:80", None),
        ("CONNECT /a", None),
        ("CONNECT *", None),
        ("GET foo", None),
        ("GET ftp://x/a", None),
        ("GET a:80", None),
        ("GET http://", None),
        ("GET http:///a", None),
        ("GET http:/a", None),
        ("GET http://u@h/a", None),
        ("GET /a#b", None),
        ("GET #", None),
        ("GET ?a", None),
    ] {
        for version in ["1.0", "1.1", "1.2"] {
            let mut slots = slots();
            let head = format!("{start} HTTP/{version}\r\nHost: a\r\n\r\n");
            let parsed = parse_request(head.as_bytes(), &mut slots).expect("a head");
            let (head, _) = parsed.expect("complete");
            assert_eq!(head.path().as_deref(), path, "{start}");
        }
    }
}

#[test]
fn a_target_passes_byte_for_byte_whatever_its_bytes_are() {
    let mut bytes: Vec<u8> = (b'!'..=b'~').filter(|byte| *byte != b'#').collect();
    bytes.extend(0x80..=0xff);
    for byte in bytes {
        let target = [b"/a", &[byte][..], b"?b", &[byte]].concat();
        let head = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        for size in 0..head.len() {
            let mut slots = slots();
            assert!(matches!(parse_request(&head[..size], &mut slots), Ok(None)), "{byte:#x}");
        }
        let mut slots = slots();
        let (parsed, size) = parse_request(&head, &mut slots).expect("a head").expect("complete");
        assert_eq!((parsed.target, size), (&target[..], head.len()));
        let peer = Peer {
            address: "192.0.2.7",
            scheme: "http",
            forwarded: Forwarded::Off,
            via: false,
            upstream: "app",
        };
        let mut out = Vec::new();
        prepare_request(&parsed, peer, &mut out).expect("forwardable");
        assert_eq!(out, head);
    }
    for byte in (0..=b' ').chain([0x7f]) {
        let head = [b"GET /a", &[byte][..], b"\xff HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let mut slots = slots();
        let error = parse_request(&head, &mut slots).expect_err("no head");
        assert_eq!(error, HeadError::Malformed, "{byte:#x}");
    }
}

#[test]
fn versions_are_taken_as_rfc_9110_says() {
    for (version, expected) in [
        ("HTTP/1.0", Ok(Version::Http10)),
        ("HTTP/1.1", Ok(Version::Http11)),
        ("HTTP/1.2", Ok(Version::Http11)),
        ("HTTP/1.9", Ok(Version::Http11)),
        ("HTTP/2.0", Err(HeadError::Version)),
        ("HTTP/2.1", Err(HeadError::Version)),
        ("HTTP/3.0", Err(HeadError::Version)),
        ("HTTP/9.9", Err(HeadError::Version)),
        ("HTTP/0.9", Err(HeadError::Version)),
        ("HTTP/1.10", Err(HeadError::Malformed)),
        ("HTTP/11.1", Err(HeadError::Malformed)),
        ("HTTP/2", Err(HeadError::Malformed)),
        ("HTTP/1.", Err(HeadError::Malformed)),
        ("HTTP/1,1", Err(HeadError::Malformed)),
        ("HTTP/1.x", Err(HeadError::Malformed)),
        ("HTTP/1.1 ", Err(HeadError::Malformed)),
        ("http/1.1", Err(HeadError::Malformed)),
        ("HTTP 1.1", Err(HeadError::Malformed)),
        ("HTTPS/1.1", Err(HeadError::Malformed)),
        ("ICY/1.1", Err(HeadError::Malformed)),
        ("", Err(HeadError::Malformed)),
    ] {
        for (line, fields) in [("\r\n", "Host: a\r\n"), ("\n", "Host: a\n")] {
            let head = format!("GET /a {version}{line}{fields}{line}");
            let mut slots = slots();
            let parsed = parse_request(head.as_bytes(), &mut slots);
            let got = parsed.map(|head| head.expect("complete").0.version);
            assert_eq!(got, expected, "{version:?}");
        }
    }
    // The framing of an unusual head is read as strictly.
    for (fields, error) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", HeadError::TwoLengths),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", HeadError::Length),
        ("X : a\r\n", HeadError::Malformed),
        ("X: a\r\n b\r\n", HeadError::Malformed),
    ] {
        assert_eq!(refused(&format!("POST / HTTP/1.2\r\nHost: a\r\n{fields}\r\n")), Some(error));
    }
    let many = "X: y\r\n".repeat(101);
    assert_eq!(refused(&format!("GET / HTTP/1.2\r\n{many}\r\n")), Some(HeadError::TooLarge));
}

#[test]
fn a_reason_phrase_passes_as_it_came() {
    for (line, reason) in [
        (&b"HTTP/1.1 404 N\xc3\xa3o"[..], &b"N\xc3\xa3o"[..]),
        (b"HTTP/1.1 404 N\xe3o", b"N\xe3o"),
        (b"HTTP/1.0 200 \xff", b"\xff"),
        (b"\r\n\nHTTP/1.1 404 \xe3", b"\xe3"),
        (b"HTTP/1.1 404 Not  Found\t", b"Not  Found\t"),
        (b"HTTP/1.1 404 ", b""),
        (b"HTTP/1.1 404", b""),
    ] {
        for end in ["\r\nA: b\r\n\r\n", "\nA: b\n\n"] {
            let head = [line, end.as_bytes()].concat();
            let mut slots = slots();
            let (head, _) = parse_response(&head, &mut slots, false).expect("a head").expect("all");
            assert_eq!(head.reason, reason);
        }
    }
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
    let to = Recipient { version: Version::Http11, to_head };
    let fields = prepare_response(&head, to, &mut out);
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

/// Names that no trailer may have; `x-hop` because Connection names it.
const NO_TRAILERS: [&str; 46] = [
    "x-hop",
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authorization",
    "Proxy-Authenticate",
    "HTTP2-Settings",
    "Authorization",
    "WWW-Authenticate",
    "Cookie",
    "Set-Cookie",
    "Cache-Control",
    "Max-Forwards",
    "Expect",
    "Range",
    "If-Match",
    "If-None-Match",
    "Content-Encoding",
    "Content-Type",
    "Content-Range",
    "Content-Location",
    "Location",
    "Vary",
    "Date",
    "Origin",
    "Sec-WebSocket-Key",
    "Access-Control-Allow-Origin",
    "X-HTTP-Method-Override",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Forwarded-Whatever",
    "X-Real-IP",
    "True-Client-IP",
    "Front-End-Https",
    "X-Original-URL",
    "Remote-User",
];

#[test]
fn trailers_cannot_smuggle_header_fields() {
    let named: Named = vec![Box::from(&b"X-Hop"[..])];
    let passing = "X-Sum: 1\r\ngrpc-status: 0\r\nGrpc-Message: x\r\ngrpc-status-details-bin: x\r\n\
        ETag: x\r\nContent-Digest: x\r\nServer-Timing: x\r\nx-amz-checksum-crc32: x\r\n\
        My_Own.Trailer: 1\r\n";
    for forbidden in NO_TRAILERS {
        for spelt in [
            forbidden.to_owned(),
            forbidden.to_lowercase(),
            forbidden.to_uppercase(),
            forbidden.replace('-', "_"),
            forbidden.replace('-', "."),
            forbidden.replacen('-', "~", 1),
        ] {
            if forbidden == "x-hop" && !spelt.eq_ignore_ascii_case(forbidden) {
                continue;
            }
            let raw = format!("{spelt}: evil\r\n{passing}\r\n");
            let fields = forwarded_trailers(raw.as_bytes(), &named).expect("fields");
            let lines = fields.iter().map(|field| {
                format!("{}: {}\r\n", field.name, String::from_utf8_lossy(field.value))
            });
            assert_eq!(lines.collect::<String>(), passing, "{spelt}");
        }
    }
    let malformed = Some(TrailerError::Malformed);
    assert_eq!(forwarded_trailers(b"no colon\r\n\r\n", &named).err(), malformed);
    assert_eq!(forwarded_trailers(b":path: /\r\n\r\n", &named).err(), malformed);
    let many = format!("{}\r\n", "X: y\r\n".repeat(101));
    let too_large = Some(TrailerError::TooLarge);
    assert_eq!(forwarded_trailers(many.as_bytes(), &named).err(), too_large);
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

#[test]
fn how_long_an_upstream_keeps_a_connection_is_read_where_it_says_so() {
    for (value, expected) in [
        ("timeout=5", Some(5)),
        ("TIMEOUT = 5", Some(5)),
        ("max=9, timeout=5", Some(5)),
        ("timeout=5, timeout=6", Some(5)),
        ("timeout=0", Some(0)),
        ("timeout=x", None),
        ("timeout=-1", None),
        ("timeout", None),
        ("max=9", None),
        ("", None),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: {value}\r\n");
        assert_eq!(answered_as(&head, false).expect("forwardable").1, expected, "{value:?}");
    }
}

#[test]
fn an_upstreams_connection_is_kept_only_where_the_next_answer_can_be_told_from_this_one() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", true),
        ("HTTP/1.1 204 No Content\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, CLOSE\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: x\r\nConnection: close\r\n", false),
        ("HTTP/1.1 200 OK\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", false),
    ] {
        assert_eq!(answered_as(head, false).expect("forwardable").2, expected, "{head:?}");
    }
}

#[test]
fn an_event_stream_is_one_by_its_media_type() {
    for (value, expected) in [
        ("text/event-stream", true),
        ("Text/Event-Stream", true),
        ("text/event-stream; charset=utf-8", true),
        ("text/event-stream ;x", true),
        ("text/event-streams", false),
        ("application/json", false),
        ("x; text/event-stream", false),
        ("", false),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {value}\r\n\r\n");
        let mut slots = slots();
        let parsed = parse_response(head.as_bytes(), &mut slots, false).expect("a head");
        let (head, _) = parsed.expect("whole");
        let to = Recipient { version: Version::Http11, to_head: false };
        let fields = prepare_response(&head, to, &mut Vec::new());
        assert_eq!(fields.is_event_stream, expected, "{value:?}");
    }
}

#[test]
fn an_answer_to_head_says_how_one_to_get_is_delimited() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n";
    let known = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nA: b\r\n";
    for (head, to_head, expected) in [
        (chunked, true, "A: b\r\nTransfer-Encoding: chunked\r\n"),
        (chunked, false, "A: b\r\n"),
        (known, true, "Content-Length: 7\r\nA: b\r\n"),
        (known, false, "Content-Length: 7\r\nA: b\r\n"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\nA: b\r\n", true, "A: b\r\n"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n", true, "Content-Length: 7\r\n"),
    ] {
        assert_eq!(answered_as(head, to_head).expect("forwardable").0, expected, "{head:?}");
    }
}

#[test]
fn nothing_hop_by_hop_of_an_answer_passes() {
    for line in [
        "Connection: x",
        "Keep-Alive: timeout=5",
        "Upgrade: x",
        "Transfer-Encoding: chunked",
        "TE: trailers",
        "Proxy-Connection: x",
        "Proxy-Authenticate: x",
        "HTTP2-Settings: x",
        "X-Hop: 1\r\nConnection: x-hop",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nA: b\r\n{line}\r\nC: d\r\n");
        assert_eq!(answered_as(&head, false).expect("forwardable").0, "A: b\r\nC: d\r\n", "{line}");
    }
}

/// What is read of a request's head beside its fields.
fn read_of(head: &str) -> RequestFieldsOwned {
    let mut slots = slots();
    let (head, _) = parse_request(head.as_bytes(), &mut slots).expect("a head").expect("whole");
    let (scheme, forwarded) = ("http", Forwarded::Off);
    let peer = Peer { address: "192.0.2.7", scheme, forwarded, via: false, upstream: "app" };
    let fields = prepare_request(&head, peer, &mut Vec::new()).expect("forwardable");
    RequestFieldsOwned {
        keep_alive: fields.keep_alive,
        expects_continue: fields.expects_continue,
        named: fields.named,
    }
}

struct RequestFieldsOwned {
    keep_alive: bool,
    expects_continue: bool,
    named: Named,
}

#[test]
fn a_client_keeps_its_connection_by_its_versions_default_or_its_word() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Close, keep-alive\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: x\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(read_of(&head).keep_alive, expected, "{version} {connection:?}");
    }
}

#[test]
fn only_a_client_that_has_a_body_waits_for_a_100() {
    for (version, fields, expected) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("1.1", "expect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n", true),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Content-Length: 1\r\n", false),
        ("1.1", "Expect: 100\r\nContent-Length: 1\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ] {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(read_of(&head).expects_continue, expected, "{version} {fields:?}");
    }
}

#[test]
fn what_connection_names_is_kept_for_the_trailers() {
    for (connection, expected) in [
        ("", &[][..]),
        ("Connection: close, keep-alive, upgrade, te\r\n", &[]),
        ("Connection: host, content-length, transfer-encoding\r\n", &[]),
        ("Connection: X-A\r\n", &["X-A"]),
        ("Connection: x-a, close\r\nConnection: x-b\r\n", &["x-a", "x-b"]),
    ] {
        let named = read_of(&format!("GET / HTTP/1.1\r\nHost: a\r\n{connection}\r\n")).named;
        let named: Vec<_> = named.iter().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(named, expected, "{connection:?}");
    }
}

#[test]
fn via_says_what_the_client_spoke() {
    for (version, expected) in [("1.0", "Via: 1.0 redcar\r\n"), ("1.1", "Via: 1.1 redcar\r\n")] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\nVia: 1.1 front\r\n\r\n");
        let mut slots = slots();
        let (head, _) = parse_request(head.as_bytes(), &mut slots).expect("a head").expect("whole");
        let (scheme, forwarded) = ("http", Forwarded::Off);
        let peer = Peer { address: "192.0.2.7", scheme, forwarded, via: true, upstream: "app" };
        let mut out = Vec::new();
        prepare_request(&head, peer, &mut out).expect("forwardable");
        let sent = String::from_utf8_lossy(&out);
        assert!(sent.ends_with(&format!("Via: 1.1 front\r\n{expected}\r\n")), "{sent}");
    }
}

#[test]
fn a_request_is_reflected_without_what_may_be_secret() {
    let head = "TRACE /a?b HTTP/1.1\r\nHost: a\r\nCOOKIE: secret\r\nAuthorization: secret\r\n\
        proxy-authorization: secret\r\nX-A: 1\r\n\r\n";
    let mut slots = slots();
    let (head, _) = parse_request(head.as_bytes(), &mut slots).expect("a head").expect("whole");
    assert_eq!(reflect(&head), "TRACE /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n");
}

#[test]
fn a_request_becomes_one_of_http2() {
    let head = "POST http://b:1/a?c HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX-Hop: 1\r\nX-A: 1\r\n\
        Connection: x-hop, te\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\n\r\n";
    let mut slots = slots();
    let (head, _) = parse_request(head.as_bytes(), &mut slots).expect("a head").expect("whole");
    let (scheme, forwarded) = ("https", Forwarded::Replace);
    let peer = Peer { address: "192.0.2.7", scheme, forwarded, via: true, upstream: "app" };
    let mut request = http::Request::new(());
    prepare_request(&head, peer, &mut request).expect("forwardable");
    assert_eq!(
        (request.method().as_str(), request.uri().to_string()),
        ("POST", "https://b:1/a?c".into())
    );
    let fields = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("a value in ASCII")));
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "te: trailers",
            "via: 1.1 redcar",
            "x-a: 1",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: b:1",
            "x-forwarded-proto: https",
        ]
    );
}

#[test]
fn a_trailer_section_is_fields_or_an_error() {
    let many = "a: b\r\n".repeat(101) + "\r\n";
    for (raw, expected) in [
        ("", Ok(0)),
        ("\r\n", Ok(0)),
        ("A: b\r\n\r\n", Ok(1)),
        ("A: b\r\nB:\r\n\r\n", Ok(2)),
        ("A: b\r\nHost: c\r\nContent-Length: 3\r\n\r\n", Ok(1)),
        ("A b\r\n\r\n", Err(TrailerError::Malformed)),
        ("A : b\r\n\r\n", Err(TrailerError::Malformed)),
        ("A: b\r\n c\r\n\r\n", Err(TrailerError::Malformed)),
        ("A: b\r\n", Err(TrailerError::Malformed)),
        (&many, Err(TrailerError::TooLarge)),
    ] {
        let got = forwarded_trailers(raw.as_bytes(), &Named::new()).map(|fields| fields.len());
        assert_eq!(got, expected, "{raw:.40}");
    }
}

#[test]
fn an_error_of_a_request_has_its_status() {
    for (error, status) in [
        (RequestError::HostMissing, 400),
        (RequestError::HostRepeated, 400),
        (RequestError::HostInvalid, 400),
        (RequestError::TargetInvalid, 400),
        (RequestError::FieldInvalid, 400),
        (RequestError::LengthInvalid, 400),
        (RequestError::TrailersTooLarge, 431),
        (RequestError::ConnectUnsupported, 501),
    ] {
        assert_eq!(error.status().as_u16(), status, "{error:?}");
    }
}
