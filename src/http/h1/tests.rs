//! What bytes mean, and which have no meaning.

use http::StatusCode;

use super::*;
use crate::http::head::{Fields, RequestLine, RequestWriter, ResponseWriter};

/// Parses a request's head; tells what `read` makes of it, and its size.
fn request<T>(
    bytes: &[u8],
    read: impl FnOnce(&RequestHead<'_>) -> T,
) -> Result<Option<(T, usize)>, HeadError> {
    let mut slots = slots();
    Ok(parse_request(bytes, &mut slots)?.map(|(head, size)| (read(&head), size)))
}

/// The same of a response to GET, or to HEAD.
fn response<T>(
    bytes: &[u8],
    to_head: bool,
    read: impl FnOnce(&ResponseHead<'_>) -> T,
) -> Result<Option<(T, usize)>, &'static str> {
    let mut slots = slots();
    Ok(parse_response(bytes, &mut slots, to_head)?.map(|(head, size)| (read(&head), size)))
}

#[test]
fn a_request_is_whole_with_its_empty_line_and_not_before() {
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    for size in 0..head.len() {
        assert_eq!(request(&head[..size], |_| ()), Ok(None), "{size}");
    }
    for rest in ["", "x", "abcGET / HTTP/1.1\r\n\r\n"] {
        let bytes = [&head[..], rest.as_bytes()].concat();
        let got = request(&bytes, |head| (head.body, head.fields.len()));
        assert_eq!(got, Ok(Some(((BodyLength::Known(3), 2), head.len()))));
    }
}

#[test]
fn a_response_is_whole_with_its_empty_line_and_not_before() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    for size in 0..head.len() {
        assert_eq!(response(&head[..size], false, |_| ()), Ok(None), "{size}");
    }
    let bytes = [&head[..], b"abcHTTP/1.1"].concat();
    let got = response(&bytes, false, |head| head.status.as_u16());
    assert_eq!(got, Ok(Some((200, head.len()))));
}

#[test]
fn a_method_is_any_token() {
    for method in ["GET", "get", "QUERY", "M-SEARCH", "!#$%&'*+-.^_`|~9", "A"] {
        let head = format!("{method} / HTTP/1.1\r\n\r\n");
        let got = request(head.as_bytes(), |head| head.method.to_owned());
        assert_eq!(got.expect("a head").expect("whole").0, method);
    }
    for method in ["", " ", "A(", "A\t", "\u{e9}", "A:", "\"A\"", "A\0"] {
        let head = format!("{method} / HTTP/1.1\r\n\r\n");
        assert_eq!(request(head.as_bytes(), |_| ()), Err(HeadError::Malformed), "{method:?}");
    }
}

#[test]
fn a_requests_body_has_one_meaning_or_none() {
    use BodyLength::{Chunked, Known, None};
    for (version, fields, expected) in [
        ("1.1", "", Ok(None)),
        ("1.0", "", Ok(None)),
        ("1.1", "Content-Length: 0\r\n", Ok(Known(0))),
        ("1.0", "Content-Length: 7\r\n", Ok(Known(7))),
        ("1.1", "content-LENGTH: 007\r\n", Ok(Known(7))),
        ("1.1", "Content-Length: 18446744073709551615\r\n", Ok(Known(u64::MAX))),
        ("1.1", "Content-Length: 18446744073709551616\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length: 7\r\nContent-Length: 7\r\n", Ok(Known(7))),
        ("1.1", "Content-Length: 7\r\nContent-Length: 8\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length: 7, 7\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length: -7\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length: 7 7\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length: 0x7\r\n", Err(HeadError::Length)),
        ("1.1", "Content-Length:\r\n", Err(HeadError::Length)),
        ("1.1", "Transfer-Encoding: chunked\r\n", Ok(Chunked)),
        ("1.1", "transfer-encoding: CHUNKED\r\n", Ok(Chunked)),
        ("1.1", "Transfer-Encoding: , chunked,\r\n", Ok(Chunked)),
        ("1.0", "Transfer-Encoding: chunked\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding: gzip\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding:\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding: chunked, gzip\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding: chunked, chunked\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding: chunked;a=b\r\n", Err(HeadError::Coding)),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\n", Err(HeadError::CodingUnsupported)),
        (
            "1.1",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Err(HeadError::CodingUnsupported),
        ),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", Err(HeadError::TwoLengths)),
    ] {
        let head = format!("POST / HTTP/{version}\r\n{fields}\r\n");
        let got = request(head.as_bytes(), |head| head.body);
        let got = got.map(|parsed| parsed.expect("whole").0);
        assert_eq!(got, expected, "{version} {fields:?}");
    }
}

#[test]
fn a_responses_body_has_one_meaning_or_none() {
    use BodyLength::{Chunked, Known, None, UntilClose};
    const CODING: Result<BodyLength, &str> = Err("its transfer coding is not just chunked");
    const CONTRADICTS: Result<BodyLength, &str> = Err("its Content-Length contradicts itself");
    const INVALID: Result<BodyLength, &str> = Err("its Content-Length is invalid");
    for (line, fields, to_get, to_head) in [
        ("1.1 200", "", Ok(UntilClose), Ok(None)),
        ("1.0 200", "", Ok(UntilClose), Ok(None)),
        ("1.1 200", "Content-Length: 0\r\n", Ok(Known(0)), Ok(None)),
        ("1.1 200", "Content-Length: 7\r\n", Ok(Known(7)), Ok(None)),
        ("1.1 200", "Content-Length: 7, 7\r\n", Ok(Known(7)), Ok(None)),
        ("1.1 200", "Content-Length: 7, 8\r\n", CONTRADICTS, CONTRADICTS),
        ("1.1 200", "Content-Length: x\r\n", INVALID, INVALID),
        ("1.1 200", "Content-Length: ,\r\n", INVALID, INVALID),
        ("1.1 200", "Transfer-Encoding: chunked\r\n", Ok(Chunked), Ok(None)),
        ("1.1 200", "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", Ok(Chunked), Ok(None)),
        ("1.1 200", "Transfer-Encoding: gzip\r\n", CODING, CODING),
        ("1.1 200", "Transfer-Encoding: gzip, chunked\r\n", CODING, CODING),
        ("1.1 200", "Transfer-Encoding: chunked, chunked\r\n", CODING, CODING),
        ("1.1 304", "Transfer-Encoding: gzip\r\n", CODING, CODING),
        (
            "1.0 200",
            "Transfer-Encoding: chunked\r\n",
            Err("it has a transfer coding in HTTP/1.0"),
            Err("it has a transfer coding in HTTP/1.0"),
        ),
        ("1.1 100", "", Ok(None), Ok(None)),
        ("1.1 103", "Content-Length: 7\r\n", Ok(None), Ok(None)),
        ("1.1 204", "Content-Length: 7\r\n", Ok(None), Ok(None)),
        ("1.1 304", "Content-Length: 7\r\n", Ok(None), Ok(None)),
        ("1.1 205", "Content-Length: 0\r\n", Ok(Known(0)), Ok(None)),
    ] {
        let head = format!("HTTP/{line} x\r\n{fields}\r\n");
        for (is_to_head, expected) in [(false, to_get), (true, to_head)] {
            let got = response(head.as_bytes(), is_to_head, |head| head.body);
            let got = got.map(|parsed| parsed.expect("whole").0);
            assert_eq!(got, expected, "{line} {fields:?} {is_to_head}");
        }
    }
}

#[test]
fn a_status_is_three_digits_from_100() {
    for (status, expected) in
        [("100", 100), ("200", 200), ("299", 299), ("599", 599), ("600", 600), ("999", 999)]
    {
        let head = format!("HTTP/1.1 {status} x\r\n\r\n");
        let got = response(head.as_bytes(), false, |head| head.status.as_u16());
        assert_eq!(got.expect("a head").expect("whole").0, expected);
    }
    for status in ["000", "001", "099", "20", "2000", "2x0", "-20", "+20", ""] {
        let head = format!("HTTP/1.1 {status} x\r\n\r\n");
        assert!(response(head.as_bytes(), false, |_| ()).is_err(), "{status:?}");
    }
}

#[test]
fn a_response_has_a_version_that_we_speak() {
    for (version, expected) in [("HTTP/1.0", Version::Http10), ("HTTP/1.1", Version::Http11)] {
        let head = format!("{version} 200 OK\r\n\r\n");
        let got = response(head.as_bytes(), false, |head| head.version);
        assert_eq!(got.expect("a head").expect("whole").0, expected);
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "ICY", "HTTP/1", "RTSP/1.0"] {
        let head = format!("{version} 200 OK\r\n\r\n");
        assert!(response(head.as_bytes(), false, |_| ()).is_err(), "{version}");
    }
}

#[test]
fn a_reason_may_be_anything_or_missing() {
    for (line, expected) in [
        (&b"HTTP/1.1 200 OK"[..], &b"OK"[..]),
        (b"HTTP/1.1 200 ", b""),
        (b"HTTP/1.1 200", b""),
        (b"HTTP/1.1 404 Not here, at all!", b"Not here, at all!"),
        (b"HTTP/1.1 404 \xe9\xff", b"\xe9\xff"),
    ] {
        let head = [line, b"\r\n\r\n"].concat();
        let got = response(&head, false, |head| head.reason.to_vec());
        assert_eq!(got.expect("a head").expect("whole").0, expected);
    }
}

#[test]
fn a_head_has_a_hundred_fields_at_most() {
    for (count, is_fine) in [(0, true), (99, true), (100, true), (101, false), (500, false)] {
        let fields = "a: b\r\n".repeat(count);
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let got = request(head.as_bytes(), |head| head.fields.len());
        let got = got.map(|parsed| parsed.expect("whole").0);
        assert_eq!(got, if is_fine { Ok(count) } else { Err(HeadError::TooLarge) });
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let got = response(head.as_bytes(), false, |head| head.fields.len());
        let got = got.map(|parsed| parsed.expect("whole").0);
        assert_eq!(got, if is_fine { Ok(count) } else { Err("it has too many fields") });
    }
}

#[test]
fn a_field_line_that_two_recipients_could_read_differently_is_refused_in_a_request() {
    for line in [
        "A : b",
        " A: b",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A",
        "A\0: b",
        ": b",
        "A: b\0",
        "A: \u{7f}",
        "A: b\rc",
        "A b: c",
        "\u{e9}: b",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        assert_eq!(request(head.as_bytes(), |_| ()), Err(HeadError::Malformed), "{line:?}");
    }
}

#[test]
fn a_value_loses_the_white_space_around_it_and_nothing_else() {
    for (value, expected) in [
        (&b"b"[..], &b"b"[..]),
        (b" \t b \t", b"b"),
        (b"b  c", b"b  c"),
        (b"", b""),
        (b"  ", b""),
        (b"\xe9\x80\xff", b"\xe9\x80\xff"),
        (b"\"a, b\"", b"\"a, b\""),
    ] {
        let head = [b"GET / HTTP/1.1\r\nA:", value, b"\r\n\r\n"].concat();
        let got = request(&head, |head| head.fields[0].value.to_vec());
        assert_eq!(got.expect("a head").expect("whole").0, expected, "{value:?}");
    }
}

#[test]
fn an_error_in_a_head_has_its_status() {
    for (error, status) in [
        (HeadError::Malformed, 400),
        (HeadError::Length, 400),
        (HeadError::Coding, 400),
        (HeadError::TwoLengths, 400),
        (HeadError::Timeout, 408),
        (HeadError::TargetTooLong, 414),
        (HeadError::TooLarge, 431),
        (HeadError::CodingUnsupported, 501),
        (HeadError::MethodTooLong, 501),
        (HeadError::Version, 505),
    ] {
        assert_eq!(error.status().as_u16(), status, "{error:?}");
    }
}

#[test]
fn a_list_has_its_items_without_empty_ones() {
    for (value, expected) in [
        ("", &[][..]),
        (",", &[]),
        (" , ,\t", &[]),
        ("a", &["a"]),
        (" a ", &["a"]),
        ("a,b", &["a", "b"]),
        ("a ,\tb,,c d,", &["a", "b", "c d"]),
    ] {
        let got: Vec<_> = items(value.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(got, expected, "{value:?}");
    }
}

#[test]
fn a_length_is_digits_without_overflow() {
    for (value, expected) in [
        ("0", Some(0)),
        ("00", Some(0)),
        ("7", Some(7)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        (" 7", None),
        ("7 ", None),
        ("+7", None),
        ("-7", None),
        ("7.0", None),
        ("7e1", None),
        ("0x7", None),
        ("\u{661}", None),
    ] {
        assert_eq!(length(value.as_bytes()), expected, "{value:?}");
    }
}

#[test]
fn a_length_is_sent_on_without_zeros_before_it() {
    for (value, expected) in
        [("0", "0"), ("000", "0"), ("7", "7"), ("007", "7"), ("70", "70"), ("", "")]
    {
        assert_eq!(plain_length(value.as_bytes()), expected.as_bytes());
    }
}

#[test]
fn a_token_has_letters_digits_and_some_marks() {
    let others = b"!#$%&'*+-.^_`|~";
    for byte in 0..=u8::MAX {
        let expected = byte.is_ascii_alphanumeric() || others.contains(&byte);
        assert_eq!(is_token(byte), expected, "{byte:#x}");
    }
}

#[test]
fn a_body_is_known_to_be_empty_where_no_byte_can_follow() {
    for (body, expected) in [
        (BodyLength::None, true),
        (BodyLength::Known(0), true),
        (BodyLength::Known(1), false),
        (BodyLength::Chunked, false),
        (BodyLength::UntilClose, false),
    ] {
        assert_eq!(body.is_empty(), expected, "{body:?}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
    for host in [
        "",
        "a",
        "a.example",
        "127.0.0.1",
        "[::1]",
        "[::ffff:1.2.3.4]",
        "a:",
        "a:1",
        "a:65535",
        "[::1]:8080",
        "my_host",
        "a%20b",
        "xn--a",
        "a!$&'()*+,;=~",
        ":80",
    ] {
        assert!(is_host(host.as_bytes()), "{host:?}");
    }
    for host in [
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "a:b",
        "a:65536",
        "a:-1",
        "a:1:2",
        "[::1",
        "[]",
        "[g]",
        "[::1]a",
        "[::1]8080",
        "::1",
        "a%2",
        "a%zz",
        "%",
        "a\\b",
        "a\"b",
        "a<b",
        "a\u{e9}",
        "a\0",
        "a[b]",
    ] {
        assert!(!is_host(host.as_bytes()), "{host:?}");
    }
}

#[test]
fn a_target_belongs_to_its_method() {
    let target = |authority, slash, text: &'static str| Some((authority, slash, text));
    for (method, sent, expected) in [
        ("GET", "/", target(None, false, "/")),
        ("GET", "/a?b", target(None, false, "/a?b")),
        ("GET", "//a", target(None, false, "//a")),
        ("GET", "http://a", target(Some("a"), true, "")),
        ("GET", "http://a?b", target(Some("a"), true, "?b")),
        ("GET", "HTTPS://a:1/b", target(Some("a:1"), false, "/b")),
        ("OPTIONS", "*", target(None, false, "*")),
        ("OPTIONS", "http://a", target(Some("a"), false, "*")),
        ("OPTIONS", "http://a?b", target(Some("a"), true, "?b")),
        ("GET", "*", None),
        ("GET", "a", None),
        ("GET", "?a", None),
        ("GET", "", None),
        ("GET", "/a#b", None),
        ("GET", "ftp://a/", None),
        ("GET", "http://", None),
        ("GET", "http:///a", None),
        ("GET", "http://u@a/", None),
        ("GET", "http:/a", None),
        ("CONNECT", "a:443", None),
        ("CONNECT", "/", None),
    ] {
        let head = RequestHead {
            method,
            target: sent.as_bytes(),
            version: Version::Http11,
            fields: &[],
            body: BodyLength::None,
            authority: None,
        };
        let got = head.target();
        let got = got.map(|t| (t.authority, t.slash, std::str::from_utf8(t.text).expect("ASCII")));
        assert_eq!(got, expected, "{method} {sent}");
    }
}

#[test]
fn a_request_line_is_written_with_the_slash_that_it_lacks() {
    for (slash, text, expected) in [
        (false, "/a?b", "GET /a?b HTTP/1.1\r\n"),
        (true, "?b", "GET /?b HTTP/1.1\r\n"),
        (true, "", "GET / HTTP/1.1\r\n"),
        (false, "*", "GET * HTTP/1.1\r\n"),
    ] {
        let mut out = Vec::new();
        let target = Target { authority: None, slash, text: text.as_bytes() };
        let line = RequestLine { method: "GET", target, scheme: "http", authority: b"a" };
        out.request_line(line).expect("HTTP/1 can say anything");
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn a_status_line_is_in_the_clients_version() {
    for (version, reason, expected) in [
        (Version::Http10, &b"OK"[..], &b"HTTP/1.0 200 OK\r\n"[..]),
        (Version::Http11, b"OK", b"HTTP/1.1 200 OK\r\n"),
        (Version::Http11, b"", b"HTTP/1.1 200 \r\n"),
        (Version::Http11, b"\xe9", b"HTTP/1.1 200 \xe9\r\n"),
    ] {
        let mut out = Vec::new();
        out.status_line(version, StatusCode::OK, reason);
        assert_eq!(out, expected);
    }
}

#[test]
fn what_was_written_is_what_was_said() {
    let mut out = Vec::new();
    out.status_line(Version::Http11, StatusCode::NOT_FOUND, b"Not Found");
    out.field("A", b"1");
    out.field("a", b"");
    out.field("B", b"\xff");
    out.end();
    let got = response(&out, false, |head| {
        let fields = head.fields.iter().map(|field| (field.name.to_owned(), field.value.to_vec()));
        (head.status.as_u16(), head.reason.to_vec(), fields.collect::<Vec<_>>())
    });
    let fields = [("A", &b"1"[..]), ("a", b""), ("B", b"\xff")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
    assert_eq!(got, Ok(Some(((404, b"Not Found".to_vec(), fields.to_vec()), out.len()))));
}

#[test]
fn codings_are_just_chunked_or_more() {
    for (values, is_just, count, chunked, is_last) in [
        (&["chunked"][..], true, 1, 1, true),
        (&["Chunked"], true, 1, 1, true),
        (&["gzip, chunked"], false, 2, 1, true),
        (&["gzip", "chunked"], false, 2, 1, true),
        (&["chunked, gzip"], false, 2, 1, false),
        (&["chunked", "chunked"], false, 2, 2, true),
        (&[""], false, 0, 0, false),
        (&["identity"], false, 1, 0, false),
        (&["chunkedx"], false, 1, 0, false),
    ] {
        let mut codings = Codings::default();
        for value in values {
            codings.add(value.as_bytes());
        }
        assert!(codings.present);
        assert_eq!(codings.is_just_chunked(), is_just, "{values:?}");
        let got = (codings.count, codings.chunked, codings.chunked_is_last);
        assert_eq!(got, (count, chunked, is_last), "{values:?}");
    }
}
