use http::StatusCode;

use super::*;

fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_bytes(value).expect("a value"));
    }
    map
}

fn text(fields: &[Field<'_>]) -> Vec<String> {
    let line =
        |field: &Field<'_>| format!("{}: {}", field.name, String::from_utf8_lossy(field.value));
    fields.iter().map(line).collect()
}

#[test]
fn fields_keep_their_order_within_a_name_and_whatever_bytes_they_have() {
    let map = map(&[("a", b"1"), ("b", b"\xff"), ("a", b""), ("b", b"2")]);
    let mut got = text(&fields(&map).collect::<Vec<_>>());
    got.sort_by_key(|line| line.as_bytes()[0]);
    assert_eq!(got, ["a: 1", "a: ", "b: \u{fffd}", "b: 2"]);
}

#[test]
fn cookies_become_one_behind_all_other_fields() {
    for (fields, expected) in [
        (&[("a", &b"1"[..])][..], &["a: 1"][..]),
        (&[("cookie", b"x=1")], &["cookie: x=1"]),
        (&[("cookie", b"x=1"), ("a", b"1"), ("cookie", b"y=2")], &["a: 1", "cookie: x=1; y=2"]),
        (&[("cookie", b""), ("cookie", b"")], &["cookie: ; "]),
    ] {
        let map = map(fields);
        let cookie = cookie(&map);
        assert_eq!(text(&request_fields(&map, cookie.as_deref())), expected);
    }
}

#[test]
fn a_requests_body_is_known_by_its_length_or_by_the_streams_end() {
    for (length, ended, expected) in [
        (None, false, BodyLength::Chunked),
        (None, true, BodyLength::None),
        (Some("0"), false, BodyLength::Known(0)),
        (Some("7"), false, BodyLength::Known(7)),
        (Some("7"), true, BodyLength::None),
        (Some("x"), false, BodyLength::Chunked),
        (Some("x"), true, BodyLength::None),
    ] {
        let fields: Vec<_> = length.iter().map(|v| ("content-length", v.as_bytes())).collect();
        assert_eq!(request_body(&map(&fields), ended), expected, "{length:?} {ended}");
    }
}

#[test]
fn a_responses_body_depends_on_what_was_asked_and_on_its_status() {
    const INVALID: Result<BodyLength, &str> = Err("its Content-Length is invalid");
    for (status, length, to_head, ended, expected) in [
        (200, None, false, false, Ok(BodyLength::Chunked)),
        (200, None, false, true, Ok(BodyLength::Known(0))),
        (200, None, true, true, Ok(BodyLength::None)),
        (200, Some("9"), false, false, Ok(BodyLength::Known(9))),
        (200, Some("9"), false, true, Ok(BodyLength::Known(0))),
        (200, Some("9"), true, true, Ok(BodyLength::None)),
        (204, None, false, false, Ok(BodyLength::None)),
        (304, Some("9"), false, true, Ok(BodyLength::None)),
        (500, Some("9"), false, false, Ok(BodyLength::Known(9))),
        (200, Some(""), false, false, INVALID),
        (200, Some("+9"), false, true, INVALID),
        (204, Some("x"), true, true, INVALID),
    ] {
        let fields: Vec<_> = length.iter().map(|v| ("content-length", v.as_bytes())).collect();
        let code = StatusCode::from_u16(status).expect("a status");
        let got = response_body(code, &map(&fields), to_head, ended);
        assert_eq!(got, expected, "{status} {length:?} {to_head} {ended}");
    }
}

#[test]
fn the_size_of_a_list_counts_each_line() {
    assert_eq!(list_bytes(&HeaderMap::new()), 0);
    assert_eq!(list_bytes(&map(&[("a", b"12"), ("a", b""), ("bc", b"3")])), 35 + 33 + 35);
}

#[test]
fn what_http2_says_otherwise_is_left_out() {
    let mut map = HeaderMap::new();
    for name in ["Connection", "Host", "transfer-encoding", "UPGRADE", "A b", "é", ""] {
        map.field(name, b"1");
    }
    map.field("Bad", b"a\nb");
    map.field("Te", b"trailers");
    map.field("X-A", b"\xe9");
    map.field("x-a", b"2");
    assert_eq!(
        text(&fields(&map).collect::<Vec<_>>()),
        ["te: trailers", "x-a: \u{fffd}", "x-a: 2"]
    );
}

fn line<'a>(method: &'a str, text: &'a str, authority: &'a str) -> RequestLine<'a> {
    let target = Target { authority: None, slash: false, text: text.as_bytes() };
    RequestLine { method, target, scheme: "http", authority: authority.as_bytes() }
}

#[test]
fn a_request_line_becomes_a_uri_or_is_refused() {
    for (line, expected) in [
        (line("GET", "/a?b=%20", "c:1"), Ok("http://c:1/a?b=%20")),
        (line("PURGE", "/", "c"), Ok("http://c/")),
        (line("OPTIONS", "*", "c"), Ok("http://c*")),
        (line("GET", "/", ""), Err(RequestError::TargetInvalid)),
        (line("GET", "/", "a b"), Err(RequestError::TargetInvalid)),
        (line("GET", "/\u{7f}", "c"), Err(RequestError::TargetInvalid)),
        (line("A B", "/", "c"), Err(RequestError::TargetInvalid)),
    ] {
        let mut request = Request::new(());
        let got = request.request_line(line).map(|()| request.uri().to_string());
        assert_eq!(got, expected.map(str::to_owned), "{line:?}");
    }
    let slash = Target { authority: None, slash: true, text: b"?x" };
    let mut request = Request::new(());
    request.request_line(RequestLine { target: slash, ..line("GET", "", "c") }).expect("a line");
    assert_eq!(request.uri().path_and_query().expect("a path"), "/?x");
}

#[test]
fn a_prepared_request_goes_by_http1_too() {
    for (body, te, expected) in [
        (
            BodyLength::Chunked,
            true,
            "POST /a?b HTTP/1.1\r\nHost: c:1\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\n\
             x: 1\r\nte: trailers\r\n\r\n",
        ),
        (BodyLength::Known(3), false, "POST /a?b HTTP/1.1\r\nHost: c:1\r\nx: 1\r\n\r\n"),
        (BodyLength::None, false, "POST /a?b HTTP/1.1\r\nHost: c:1\r\nx: 1\r\n\r\n"),
    ] {
        let mut request = Request::new(());
        request.request_line(line("POST", "/a?b", "c:1")).expect("a line");
        request.field("X", b"1");
        if te {
            request.field("TE", b"trailers");
        }
        assert_eq!(String::from_utf8_lossy(&to_http1(&request, body)), expected);
    }
}

#[test]
fn a_stateless_block_is_literal() {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.field("Date", b"now");
    assert_eq!(stateless_block(&response), b"\x08\x03400\x00\x04date\x03now");
    for (length, expected) in [
        (0, &[0][..]),
        (126, &[126]),
        (127, &[127, 0]),
        (128, &[127, 1]),
        (254, &[127, 127]),
        (255, &[127, 0x80, 1]),
        (127 + 16_383, &[127, 0xff, 0x7f]),
        (127 + 16_384, &[127, 0x80, 0x80, 1]),
    ] {
        let mut block = Vec::new();
        push_string(&mut block, &vec![b'x'; length]);
        assert_eq!((&block[..expected.len()], block.len() - expected.len()), (expected, length));
    }
}
