use http::{Request, Response, response};
use proptest::prelude::*;

use super::*;

fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn prepare(head: &mut request::Parts) -> Result<Named, RequestError> {
    prepare_with(head, Forwarded::Append, BodyLength::None)
}

fn prepare_with(
    head: &mut request::Parts,
    forwarded: Forwarded,
    body: BodyLength,
) -> Result<Named, RequestError> {
    let peer = HeaderValue::from_static("192.0.2.7");
    prepare_request(head, body, Downstream { peer: &peer, forwarded, via: false })
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    headers.get_all(name).iter().map(text).collect()
}

#[test]
fn connection_named_fields_are_not_forwarded() {
    let mut head = request(
        "GET",
        "/",
        &[
            ("host", "a"),
            ("connection", "X-One , close"),
            ("CONNECTION", "x-tWo,keep-alive"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("proxy-authorization", "secret"),
            ("upgrade", "h2c"),
        ],
    );
    let named = prepare(&mut head).expect("forwardable");
    assert_eq!(named, ["x-one", "x-two"]);
    let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-three"]
    );
}

#[test]
fn connection_cannot_remove_host_framing_or_our_fields() {
    let mut head = request(
        "POST",
        "/",
        &[
            ("host", "a"),
            ("content-length", "3"),
            ("connection", "host, content-length, x-forwarded-for, x-forwarded-host"),
            ("x-forwarded-for", "1.2.3.4"),
        ],
    );
    prepare_with(&mut head, Forwarded::Append, BodyLength::Exact).expect("forwardable");
    assert_eq!(all(&head.headers, "host"), ["a"]);
    assert_eq!(all(&head.headers, "content-length"), ["3"]);
    assert_eq!(all(&head.headers, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(all(&head.headers, "x-forwarded-host"), ["a"]);
}

#[test]
fn a_connection_field_that_is_not_utf8_is_still_stripped() {
    let mut head = request("GET", "/", &[("host", "a"), ("x-hop", "1")]);
    let value = HeaderValue::from_bytes(b"\xff\xfe, x-hop").expect("obs-text");
    head.headers.insert("connection", value);
    prepare(&mut head).expect("forwardable");
    assert!(!head.headers.contains_key("x-hop") && !head.headers.contains_key("connection"));
}

#[test]
fn host_is_checked_as_rfc_9112_demands() {
    let check = |fields: &[(&str, &str)]| prepare(&mut request("GET", "/", fields)).map(drop);
    assert_eq!(check(&[]), Err(RequestError::HostMissing));
    assert_eq!(check(&[("host", "a"), ("host", "a")]), Err(RequestError::HostRepeated));
    for bad in ["a b", "a/b", "u@h", "a:b", "a:123456", "[::1", "[]", "[zz]", "a,b\u{7f}x"] {
        if let Ok(value) = HeaderValue::from_str(bad) {
            let mut head = request("GET", "/", &[]);
            head.headers.insert("host", value);
            assert_eq!(prepare(&mut head).map(drop), Err(RequestError::HostInvalid), "{bad}");
        }
    }
    for good in ["a", "a.example:80", "[::1]:8080", "127.0.0.1", "a:", "", "my_host"] {
        assert_eq!(check(&[("host", good)]), Ok(()), "{good}");
    }
    let mut old = request("GET", "/", &[]);
    old.version = Version::HTTP_10;
    assert_eq!(prepare(&mut old).map(drop), Ok(()));
    assert_eq!(old.version, Version::HTTP_11);
}

#[test]
fn targets_are_checked_and_absolute_form_becomes_origin_form() {
    let mut head = request("GET", "http://user@real:81/a%2f?b=//c", &[("host", "fake")]);
    prepare(&mut head).expect("forwardable");
    assert_eq!(head.uri.to_string(), "/a%2f?b=//c");
    assert_eq!(all(&head.headers, "host"), ["real:81"]);

    for (method, target, expected) in [
        ("OPTIONS", "http://h", "*"),
        ("OPTIONS", "http://h/a", "/a"),
        ("OPTIONS", "*", "*"),
        ("GET", "http://h", "/"),
        ("GET", "http://h?x=1", "/?x=1"),
    ] {
        let mut head = request(method, target, &[("host", "h")]);
        prepare(&mut head).expect("forwardable");
        assert_eq!(head.uri.to_string(), expected, "{method} {target}");
    }
    for (method, target) in [("GET", "*"), ("GET", "example.com"), ("POST", "a:80")] {
        let mut head = request(method, target, &[("host", "h")]);
        assert_eq!(
            prepare(&mut head).map(drop),
            Err(RequestError::TargetInvalid),
            "{method} {target}"
        );
    }
    let mut head = request("CONNECT", "a:80", &[("host", "a:80")]);
    assert_eq!(prepare(&mut head).map(drop), Err(RequestError::ConnectUnsupported));
}

#[test]
fn only_one_chunked_is_a_transfer_coding() {
    let check = |codings: &[&str]| {
        let mut fields = vec![("host", "a")];
        fields.extend(codings.iter().map(|c| ("transfer-encoding", *c)));
        let mut head = request("POST", "/", &fields);
        let result = prepare_with(&mut head, Forwarded::Off, BodyLength::Unknown).map(drop);
        (result, all(&head.headers, "transfer-encoding"))
    };
    assert_eq!(check(&["Chunked"]), (Ok(()), vec!["chunked".to_owned()]));
    assert_eq!(check(&["gzip, chunked"]).0, Err(RequestError::CodingUnsupported));
    assert_eq!(check(&["gzip", "chunked"]).0, Err(RequestError::CodingUnsupported));
    assert_eq!(check(&["chunked", "chunked"]).0, Err(RequestError::CodingRepeated));
}

#[test]
fn of_te_only_trailers_is_forwarded() {
    let mut head =
        request("GET", "/", &[("host", "a"), ("te", "gzip, Trailers;q=0.5"), ("connection", "te")]);
    prepare(&mut head).expect("forwardable");
    assert_eq!(all(&head.headers, "te"), ["trailers"]);
    assert_eq!(all(&head.headers, "connection"), ["TE"]);
    let mut head = request("GET", "/", &[("host", "a"), ("te", "gzip")]);
    prepare(&mut head).expect("forwardable");
    assert!(!head.headers.contains_key("te") && !head.headers.contains_key("connection"));
}

#[test]
fn aliases_of_trusted_fields_are_dropped_and_other_underscores_pass() {
    let mut head = request(
        "GET",
        "/",
        &[("host", "a"), ("content_length", "9"), ("x_forwarded.for", "1"), ("my_own_field", "1")],
    );
    prepare_with(&mut head, Forwarded::Off, BodyLength::None).expect("forwardable");
    let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "my_own_field"]);
}

#[test]
fn forwarding_fields_follow_the_mode() {
    let fields = [
        ("host", "a"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer"),
        ("forwarded", "for=1"),
    ];
    let with = |mode| {
        let mut head = request("GET", "/", &fields);
        prepare_with(&mut head, mode, BodyLength::None).expect("forwardable");
        let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];
        names.map(|name| all(&head.headers, name).join("|"))
    };
    assert_eq!(with(Forwarded::Append), ["1.1.1.1, 2.2.2.2, 192.0.2.7", "https", "outer", "for=1"]);
    assert_eq!(with(Forwarded::Replace), ["192.0.2.7", "http", "a", ""]);
    assert_eq!(with(Forwarded::Off), ["1.1.1.1|2.2.2.2", "https", "outer", "for=1"]);
}

#[test]
fn max_forwards_counts_down_for_options_and_trace_only() {
    for (method, before, after, answer) in [
        ("OPTIONS", "0", "0", MaxForwards::AnswerHere),
        ("TRACE", "3", "2", MaxForwards::Forward),
        ("GET", "0", "0", MaxForwards::Forward),
        ("TRACE", "x", "x", MaxForwards::Forward),
    ] {
        let mut head = request(method, "/", &[("max-forwards", before)]);
        assert_eq!(max_forwards(&mut head), answer, "{method} {before}");
        assert_eq!(all(&head.headers, "max-forwards"), [after]);
    }
}

fn response(fields: &[(&str, &str)]) -> response::Parts {
    let mut builder = Response::builder();
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a response").into_parts().0
}

#[test]
fn a_response_with_coding_and_length_loses_the_length() {
    let mut head = response(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
    prepare_response(&mut head).expect("forwardable");
    assert!(head.headers.is_empty());
    let mut head = response(&[("transfer-encoding", "gzip, chunked")]);
    assert!(prepare_response(&mut head).is_err());
}

#[test]
fn repeated_lengths_become_one_or_an_error() {
    for (fields, expected) in [
        (&[("content-length", "5, 5")][..], Ok("5")),
        (&[("content-length", "5"), ("content-length", "5")], Ok("5")),
        (&[("content-length", "5, 6")], Err(())),
        (&[("content-length", "+5")], Err(())),
        (&[("content-length", "")], Err(())),
    ] {
        let mut head = response(fields);
        let got = prepare_response(&mut head).map(|_| all(&head.headers, "content-length"));
        assert_eq!(got.map_err(drop), expected.map(|v| vec![v.to_owned()]), "{fields:?}");
    }
}

#[test]
fn a_response_keeps_its_cookies_and_tells_its_keep_alive() {
    let mut head = response(&[
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("keep-alive", "max=9, timeout=5"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("proxy-authenticate", "Basic"),
    ]);
    let notes = prepare_response(&mut head).expect("forwardable");
    assert_eq!(notes.keep_alive_seconds, Some(5));
    assert_eq!(all(&head.headers, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(head.headers.len(), 2);
}

#[test]
fn trailers_cannot_smuggle_header_fields() {
    let mut trailers = response(&[("content-length", "1"), ("x-sum", "1"), ("x-hop", "1")]).headers;
    prepare_trailers(&mut trailers, &vec![HeaderName::from_static("x-hop")]);
    assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
}

proptest! {
    #[test]
    fn preparing_is_idempotent_and_leaves_nothing_named_by_connection(
        tokens in proptest::collection::vec("[a-z-]{1,12}", 0..5),
        extra in proptest::collection::vec(("[a-z-]{1,12}", "[ -~]{0,10}"), 0..8),
    ) {
        let mut fields = vec![("host", "a")];
        let connection = tokens.join(", ");
        fields.push(("connection", &connection));
        fields.extend(extra.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| {
            !matches!(*n, "host" | "te") && HeaderName::from_bytes(n.as_bytes()).is_ok()
        }));
        let mut head = request("GET", "/", &fields);
        prepare_with(&mut head, Forwarded::Off, BodyLength::None).expect("forwardable");
        for token in &tokens {
            if !matches!(token.as_str(), "host" | "content-length" | "te") {
                prop_assert!(!head.headers.contains_key(token.as_str()));
            }
        }
        let once = head.headers.clone();
        prepare_with(&mut head, Forwarded::Off, BodyLength::None).expect("forwardable");
        prop_assert_eq!(once, head.headers);
    }
}
