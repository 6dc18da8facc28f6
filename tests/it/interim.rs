//! 1xx answers and `Expect: 100-continue`: RFC 9110 §10.1.1 and §15.2.

use crate::backend::{Backend, Gate, OK};
use crate::sidecar::Sidecar;

const EXPECTS: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn interim_answers_pass_in_order_and_with_their_fields() {
    let backend = Backend::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nLink: </y>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         \r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let hints = client.head();
        assert_eq!((hints.status(), hints.all("link")), (103, vec!["</x>", "</y>"]));
        assert_eq!(hints.field("x-hop"), None);
        assert_eq!(client.head().status(), 102);
        assert_eq!(client.answer().text(), "ok");
    }
    sidecar.requests(200).without("error").eventually_is(2);
    sidecar.ends_after(2);
}

#[test]
fn an_interim_answer_arrives_before_the_final_one_is_there() {
    let gate = Gate::default();
    let answers = gate.clone();
    let backend = Backend::start(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
            answers.wait();
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 103);
    gate.open();
    assert_eq!(client.answer().text(), "ok");
    sidecar.ends_after(1);
}

#[test]
fn an_http_1_0_client_gets_no_interim_answer() {
    let backend = Backend::answering(format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"));
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    sidecar.ends_after(1);
}

#[test]
fn a_body_that_waits_for_100_is_not_sent_before_the_upstream_says_so() {
    let (asked, gate) = (Gate::default(), Gate::default());
    let (asks, says_so) = (asked.clone(), gate.clone());
    let backend = Backend::start(move |connection| {
        while let Some(head) = connection.head() {
            if head.field("expect") == Some("100-continue") {
                asks.open();
                says_so.wait();
                assert!(!connection.has_more(), "the body came before it was asked for");
                connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            connection.body(head);
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    // The client itself does not wait.
    client.send(format!("{EXPECTS}hi"));
    asked.wait();
    // Another request from end to end: meanwhile the one worker has seen that body.
    assert_eq!(sidecar.client().get("/").status(), 200);
    assert_eq!(backend.count("hi"), 0);
    gate.open();
    assert_eq!(client.head().status(), 100);
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(2);
    assert_eq!(backend.count("\r\n\r\nhi"), 1);
}

#[test]
fn a_final_answer_instead_of_100_ends_the_connection_and_the_body_is_never_sent() {
    let backend = Backend::start(|connection| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    // This client does not wait; its body must not be taken for a request.
    client.send(format!("{EXPECTS}hi"));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection")), (413, Some("close")));
    client.sees_the_end();
    assert_eq!(sidecar.client().get("/").status(), 413);
    sidecar.ends_after(2);
    assert_eq!(backend.count("hi"), 0);
    assert_eq!(backend.received().len(), 2, "that connection is not used again");
}

#[test]
fn an_upstream_that_says_nothing_gets_the_body_after_a_while() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send(EXPECTS);
    assert_eq!(client.head().status(), 100);
    client.send("hi");
    assert_eq!(client.answer().status(), 200);
    assert_eq!(client.get("/").status(), 200);
    sidecar.ends_after(2);
    assert_eq!(backend.count("\r\n\r\nhi"), 1);
}

#[test]
fn expect_of_an_http_1_0_client_is_ignored() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(1);
    assert_eq!(backend.count("Expect"), 0);
}

#[test]
fn an_expectation_that_nobody_knows_passes() {
    let backend =
        Backend::answering("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n");
    assert_eq!(client.answer().status(), 417);
    sidecar.ends_after(1);
    assert_eq!(backend.count("Expect: tea"), 1);
}
