use super::*;
use crate::http::h1::{parse_response, slots};
use crate::http::head::Fields;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const VERSIONS: [Version; 3] = [Version::Http10, Version::Http11, Version::Http2];

fn to(version: Version) -> Recipient {
    Recipient { version, to_head: false }
}

/// A head as its recipient gets it: in HTTP/2 as its library shows it.
fn written(version: Version, write: &dyn Fn(&mut Vec<u8>, &mut http::Response<()>)) -> String {
    let (mut bytes, mut response) = (Vec::new(), http::Response::new(()));
    write(&mut bytes, &mut response);
    if version != Version::Http2 {
        return String::from_utf8(bytes).expect("a head in ASCII");
    }
    let mut text = format!("{}\r\n", response.status().as_str()).into_bytes();
    for field in crate::http::h2::fields(response.headers()) {
        text.field(field.name, field.value);
    }
    text.end();
    String::from_utf8(text).expect("a head in ASCII")
}

/// What a client of `version` gets of the app's `head`, and how its body ends.
fn forwarded(head: &str, to: Recipient, keep: Persistence) -> (String, BodyEnd, Persistence) {
    let mut slots = slots();
    let head = format!("{head}\r\n");
    let parsed = parse_response(head.as_bytes(), &mut slots, to.to_head).expect("a head");
    let (head, _) = parsed.expect("complete");
    let got = std::cell::Cell::new(None);
    let text = written(to.version, &|bytes, response| {
        let (keep, date) = (|_: &ResponseFields<'_>| keep, || DATE.into());
        let forwarded = if to.version == Version::Http2 {
            write_forwarded(&head, to, keep, date, response)
        } else {
            write_forwarded(&head, to, keep, date, bytes)
        };
        got.set(Some((forwarded.body_end, forwarded.persistence)));
    });
    let (body_end, persistence) = got.get().expect("written");
    (text, body_end, persistence)
}

#[test]
fn the_end_of_a_body_is_announced_as_the_clients_version_can() {
    use BodyEnd::{Announced, ConnectionEnd, LastChunk};
    for (head, ends, framing) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            [Announced; 3],
            ["Content-Length: 3\r\n", "Content-Length: 3\r\n", "content-length: 3\r\n"],
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            [ConnectionEnd, LastChunk, Announced],
            ["", "Transfer-Encoding: chunked\r\n", ""],
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            [ConnectionEnd, LastChunk, Announced],
            ["", "Transfer-Encoding: chunked\r\n", ""],
        ),
        ("HTTP/1.1 204 No Content\r\n", [Announced; 3], [""; 3]),
        ("HTTP/1.1 304 Not Modified\r\n", [Announced; 3], [""; 3]),
    ] {
        for ((version, end), framing) in VERSIONS.into_iter().zip(ends).zip(framing) {
            let (text, got, persistence) = forwarded(head, to(version), Persistence::Keep);
            let fields = text.split_once("\r\n").expect("a line").1;
            let closes = if end == ConnectionEnd { Persistence::Close } else { Persistence::Keep };
            assert_eq!((got, persistence), (end, closes), "{version:?} {head}");
            assert!(fields.starts_with(framing), "{version:?} {text}");
            let framings = ["content-length", "transfer-encoding"];
            let count = framings.map(|name| text.to_lowercase().matches(name).count());
            assert_eq!(count.iter().sum::<usize>(), usize::from(!framing.is_empty()), "{text}");
        }
    }
}

#[test]
fn a_connection_is_spoken_of_where_the_version_does_not_say_so_by_itself() {
    use Persistence::{Close, Keep};
    for (version, persistence, expected) in [
        (Version::Http10, Keep, Some("keep-alive")),
        (Version::Http10, Close, None),
        (Version::Http11, Keep, None),
        (Version::Http11, Close, Some("close")),
        (Version::Http2, Keep, None),
        (Version::Http2, Close, None),
    ] {
        let said = expected.map(|expected| format!("Connection: {expected}\r\n"));
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
        let own = OwnResponse::error(StatusCode::BAD_GATEWAY, &"why");
        for text in
            [forwarded(head, to(version), persistence).0, ours(&own, to(version), persistence)]
        {
            let line = text.lines().find(|line| line.to_lowercase().starts_with("connection:"));
            let line = line.map(|line| format!("{line}\r\n"));
            assert_eq!(line, said, "{version:?} {persistence:?} {text}");
        }
    }
}

#[test]
fn a_426_says_what_it_asks_for() {
    use Persistence::{Close, Keep};
    let head = |status| format!("HTTP/1.1 {status} x\r\nUpgrade: tea/1\r\nContent-Length: 0\r\n");
    for (status, version, persistence, expected) in [
        (426, Version::Http11, Keep, "Connection: Upgrade\r\nUpgrade: tea/1\r\n"),
        (426, Version::Http11, Close, "Connection: close, Upgrade\r\nUpgrade: tea/1\r\n"),
        (426, Version::Http2, Keep, ""),
        (200, Version::Http11, Keep, ""),
        (200, Version::Http11, Close, "Connection: close\r\n"),
    ] {
        let (text, ..) = forwarded(&head(status), to(version), persistence);
        let length = if version == Version::Http2 {
            "content-length: 0\r\n"
        } else {
            "Content-Length: 0\r\n"
        };
        let fields = text.split_once(length).expect("a length").1;
        let date = if version == Version::Http2 { "date" } else { "Date" };
        assert_eq!(fields, format!("{expected}{date}: {DATE}\r\n\r\n"), "{status} {version:?}");
    }
}

#[test]
fn a_date_is_added_where_there_is_none() {
    for version in VERSIONS {
        for (date, expected) in [("", DATE), ("Date: then\r\n", "then"), ("dAtE: \r\n", "")] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{date}");
            let (text, ..) = forwarded(&head, to(version), Persistence::Keep);
            let dates = text.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("date").then(|| value.trim())
            });
            assert_eq!(dates.collect::<Vec<_>>(), [expected], "{version:?} {date:?}");
        }
    }
}

#[test]
fn a_head_of_http2_that_ended_its_stream_has_a_length_in_http1() {
    let status = StatusCode::OK;
    let version = Version::Http2;
    let head =
        ResponseHead { status, reason: b"OK", version, fields: &[], body: BodyLength::Known(0) };
    for (version, expected) in [(Version::Http10, 1), (Version::Http11, 1), (Version::Http2, 0)] {
        let keep = |_: &ResponseFields<'_>| Persistence::Keep;
        let text = written(version, &|bytes, response| {
            let _written = if version == Version::Http2 {
                write_forwarded(&head, to(version), keep, || DATE.into(), response)
            } else {
                write_forwarded(&head, to(version), keep, || DATE.into(), bytes)
            };
        });
        assert_eq!(text.matches("Content-Length: 0\r\n").count(), expected, "{text}");
    }
}

fn ours(own: &OwnResponse, to: Recipient, persistence: Persistence) -> String {
    written(to.version, &|bytes, response| {
        if to.version == Version::Http2 {
            write_own(own, to, persistence, DATE, response);
        } else {
            write_own(own, to, persistence, DATE, bytes);
        }
    })
}

#[test]
fn an_answer_of_our_own_is_whole_in_both_protocols() {
    let own = OwnResponse::error(StatusCode::SERVICE_UNAVAILABLE, &"nobody there");
    let content = "Service Unavailable: nobody there\n";
    assert_eq!(
        ours(&own, to(Version::Http11), Persistence::Close),
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nRetry-After: 1\r\nConnection: close\r\nDate: {DATE}\r\n\r\n",
            content.len()
        )
    );
    assert_eq!(
        ours(&own, to(Version::Http2), Persistence::Keep),
        format!(
            "503\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             retry-after: 1\r\ndate: {DATE}\r\n\r\n",
            content.len()
        )
    );
    assert!(ours(&own, to(Version::Http10), Persistence::Close).starts_with("HTTP/1.0 503 "));
    for (to_head, expected) in [(false, content), (true, "")] {
        assert_eq!(own.content(Recipient { version: Version::Http11, to_head }), expected);
    }
}

#[test]
fn only_a_503_says_when_to_try_again() {
    for status in [400, 408, 413, 431, 500, 501, 502, 503, 504, 505] {
        let status = StatusCode::from_u16(status).expect("a status");
        let text =
            ours(&OwnResponse::error(status, &"why"), to(Version::Http11), Persistence::Close);
        assert_eq!(text.contains("Retry-After"), status == 503, "{text}");
    }
}

#[test]
fn a_call_that_failed_has_its_status_and_no_content() {
    let own = OwnResponse::Grpc { status: 14, message: "nobody there".to_owned() };
    assert_eq!(own.status(), StatusCode::OK);
    assert_eq!(own.content(to(Version::Http2)), "");
    assert_eq!(
        ours(&own, to(Version::Http2), Persistence::Keep),
        format!(
            "200\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n\
             grpc-message: nobody there\r\ndate: {DATE}\r\n\r\n"
        )
    );
}

#[test]
fn interim_answers_have_no_field_of_ours() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 3\r\nConnection: y\r\n\
        Y: 1\r\n\r\n";
    let mut slots = slots();
    let (head, _) = parse_response(bytes, &mut slots, false).expect("a head").expect("complete");
    for (version, expected) in [
        (Version::Http11, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        (Version::Http2, "103\r\nlink: </x>\r\n\r\n"),
    ] {
        let text = written(version, &|bytes, response| {
            write_interim(&head, to(version), bytes);
            write_interim(&head, to(version), response);
        });
        assert_eq!(text, expected);
    }
}

#[test]
fn a_101_says_what_it_switches_to() {
    for (upgrade, expected) in [("Upgrade: a, b\r\n", Some(&b"a, b"[..])), ("", None)] {
        let bytes = format!("HTTP/1.1 101 Go\r\n{upgrade}Connection: upgrade\r\nX: 1\r\n\r\n");
        let mut slots = slots();
        let parsed = parse_response(bytes.as_bytes(), &mut slots, false);
        let (head, _) = parsed.expect("a head").expect("complete");
        let mut out = Vec::new();
        assert_eq!(write_switch(&head, to(Version::Http11), &mut out), expected);
        let own = if expected.is_some() { "Connection: Upgrade\r\nUpgrade: a, b\r\n" } else { "" };
        assert_eq!(out, format!("HTTP/1.1 101 Go\r\nX: 1\r\n{own}\r\n").as_bytes());
    }
}

#[test]
fn a_bare_answer_has_no_content() {
    let own = OwnResponse::Bare(StatusCode::BAD_REQUEST);
    assert_eq!(own.content(to(Version::Http2)), "");
    assert_eq!(
        ours(&own, to(Version::Http2), Persistence::Keep),
        format!("400\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n")
    );
}
