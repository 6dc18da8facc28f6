//! Lengths, chunks, trailers: RFC 9112 §6 and §7.

use crate::backend::{Backend, OK};
use crate::message::Message;
use crate::sidecar::Sidecar;

fn answer_for(answer: &str) -> Message {
    let backend = Backend::closing_after(answer.to_owned());
    let sidecar = Sidecar::without_pool(&backend);
    let answer = sidecar.client().get("/");
    sidecar.ends_after(1);
    answer
}

#[test]
fn request_trailers_arrive_where_trailer_announces_them() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Hop\r\n\
         Connection: x-hop\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\nX-Hop: 1\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    let sent = backend.received_once();
    assert!(sent.contains("\r\nTrailer: X-Sum, X-Hop\r\n"), "{sent:?}");
    assert!(sent.ends_with("\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"), "{sent:?}");
}

#[test]
fn response_trailers_arrive_at_a_client_that_takes_them() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=1\r\n\r\n",
    );
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text(), &*answer.trailers), ("ok", "X-Sum: 7\r\n"));
    assert_eq!(answer.field("trailer"), Some("X-Sum"));
    // A client that did not say so gets the body, and a next answer that starts where it should.
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    sidecar.ends_after(3);
}

#[test]
fn a_response_with_both_framings_loses_content_length() {
    // Trap 2: a stale Content-Length would cut the body, or split it into two answers.
    let answer = answer_for(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(answer.field("content-length"), None);
    assert_eq!((answer.text(), answer.all("transfer-encoding")), ("hello", vec!["chunked"]));
}

#[test]
fn a_connection_that_had_a_response_with_both_framings_is_not_used_again() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    assert_eq!((client.get("/").text(), client.get("/").text()), ("", ""));
    sidecar.ends_after(2);
    assert_eq!(backend.received().len(), 2, "connections");
}

#[test]
fn a_repeated_content_length_becomes_one() {
    for fields in ["Content-Length: 5, 5\r\n", "Content-Length: 5\r\nContent-Length: 5\r\n"] {
        let answer = answer_for(&format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello"));
        assert_eq!((answer.all("content-length"), answer.text()), (vec!["5"], "hello"));
    }
}

#[test]
fn an_empty_item_of_a_repeated_content_length_is_not_the_length() {
    let answer = answer_for("HTTP/1.1 200 OK\r\nContent-Length: , 2\r\n\r\nok");
    assert_eq!((answer.all("content-length"), answer.text()), (vec!["2"], "ok"));
}

#[test]
fn a_bodiless_status_has_no_transfer_encoding_even_for_head() {
    for (status, coding) in [("204 No Content", None), ("304 Not Modified", Some("chunked"))] {
        let backend = Backend::answering(format!(
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n\
             HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().field("transfer-encoding"), None, "103");
        assert_eq!(client.head().field("transfer-encoding"), coding, "{status}");
        sidecar.ends_after(1);
    }
}

#[test]
fn a_contradicting_or_invalid_content_length_is_a_bad_answer() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        let backend = Backend::closing_after(format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello"));
        let sidecar = Sidecar::without_pool(&backend);
        assert_eq!(sidecar.client().get("/").status(), 502, "{fields:?}");
        sidecar.ends_with(502, "http_protocol_error");
    }
}

#[test]
fn a_coding_that_we_would_lose_is_a_bad_answer() {
    for coding in ["gzip, chunked", "chunked\r\nTransfer-Encoding: chunked", "gzip"] {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n");
        let backend = Backend::closing_after(format!("{head}0\r\n\r\n"));
        let sidecar = Sidecar::without_pool(&backend);
        assert_eq!(sidecar.client().get("/").status(), 502, "{coding:?}");
        sidecar.ends_with(502, "http_protocol_error");
    }
}

#[test]
fn a_folded_line_of_an_answer_is_unfolded() {
    let answer =
        answer_for("HTTP/1.1 200 OK\r\nX-Fold: a\r\n  b\r\n\tc\r\nContent-Length: 2\r\n\r\nok");
    let value = answer.field("x-fold").unwrap();
    assert_eq!(value.split_ascii_whitespace().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(!answer.head.contains("\r\n ") && !answer.head.contains("\r\n\t"), "{answer:?}");
    assert_eq!(answer.text(), "ok");
}

#[test]
fn white_space_before_a_colon_of_an_answer_is_removed() {
    let answer = answer_for("HTTP/1.1 200 OK\r\nX-Y : z\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!((answer.field("x-y"), answer.text()), (Some("z"), "ok"));
}

#[test]
fn a_body_that_ends_with_the_connection_becomes_chunks() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n"] {
        let backend = Backend::closing_after(format!("{head}until the end"));
        let sidecar = Sidecar::without_pool(&backend);
        let mut client = sidecar.client();
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!(answer.all("transfer-encoding"), ["chunked"], "{head:?}");
            assert_eq!(answer.text(), "until the end");
        }
        sidecar.requests(200).without("error").eventually_is(2);
        sidecar.ends_after(2);
    }
}

#[test]
fn a_body_that_ends_with_the_connection_reaches_an_http_1_0_client() {
    let backend = Backend::closing_after("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    let sidecar = Sidecar::without_pool(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.field("transfer-encoding"), answer.text()), (None, "until the end"));
    sidecar.ends_after(1);
}

#[test]
fn equal_content_lengths_of_a_request_become_one() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    assert_eq!(
        backend.received_once(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    );
}
