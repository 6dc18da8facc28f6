//! Every ending of a request is recorded exactly once, with the status and error that it had.

use std::net::TcpListener;

use crate::backend::{Backend, Connection, Gate, OK};
use crate::message::{End, Message};
use crate::sidecar::{Sidecar, address};

/// One GET on fresh connections; the answer however it ends.
fn get_from(
    script: impl Fn(&mut Connection) + Send + Sync + 'static,
) -> (Message, Sidecar, Backend) {
    let backend = Backend::start(script);
    let sidecar = Sidecar::without_pool(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer_however_it_ends();
    (answer, sidecar, backend)
}

/// One GET that is answered with these bytes and a FIN.
fn get_answered(bytes: &'static str) -> (Message, Sidecar, Backend) {
    get_from(move |connection| {
        if connection.request().is_some() {
            connection.send(bytes);
        }
    })
}

#[test]
fn a_whole_answer_has_no_error() {
    let (answer, sidecar, _backend) = get_answered(OK);
    assert_eq!((answer.text(), answer.cut), ("ok", None));
    sidecar
        .requests(200)
        .label("method", "GET")
        .label("path", "/")
        .without("error")
        .eventually_is(1);
    sidecar.metric("http_time_to_response_seconds_count").label("path", "/").eventually_is(1);
    sidecar.metric("redcar_overhead_seconds_count").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn a_refused_connection_is_a_502() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = address(listener.local_addr().unwrap());
    drop(listener);
    let sidecar = Sidecar::to(upstream, |_| {});
    let mut client = sidecar.client();
    let answer = client.get("/");
    assert_eq!(answer.status(), 502);
    assert!(answer.field("content-type").unwrap().starts_with("text/plain"), "{answer:?}");
    assert!(!answer.text().contains("127.0.0.1"), "no internals: {answer:?}");
    // The connection to the client is as good as before.
    assert_eq!(client.get("/").status(), 502);
    let counted = sidecar.requests(502).label("error", "connection_refused");
    counted.eventually_is(2);
    sidecar.metric("redcar_upstream_up").eventually_is(0);
    sidecar.ends_after(2);
}

#[test]
fn a_reset_before_the_head_is_a_502() {
    let (answer, sidecar, backend) = get_from(|connection| {
        if connection.request().is_some() {
            connection.reset();
        }
    });
    assert_eq!(answer.status(), 502);
    sidecar.ends_with(502, "connection_terminated");
    assert_eq!(backend.count("GET "), 1, "not sent twice on a fresh connection");
}

#[test]
fn an_end_before_the_head_is_a_502() {
    let (answer, sidecar, backend) = get_answered("");
    assert_eq!(answer.status(), 502);
    sidecar.ends_with(502, "connection_terminated");
    assert_eq!(backend.count("GET "), 1, "not sent twice on a fresh connection");
}

#[test]
fn an_end_inside_the_head_is_a_502() {
    for bytes in
        ["H", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nX: y\r\n"]
    {
        let (answer, sidecar, _backend) = get_answered(bytes);
        assert_eq!(answer.status(), 502, "{bytes:?}");
        sidecar.ends_with(502, "http_response_incomplete");
    }
}

#[test]
fn a_head_that_is_not_http_is_a_502() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 two hundred OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "\r\n\r\n{\"not\": \"http\"}\r\n\r\n",
    ] {
        let (answer, sidecar, _backend) = get_answered(bytes);
        assert_eq!(answer.status(), 502, "{bytes:?}");
        sidecar.ends_with(502, "http_protocol_error");
    }
}

#[test]
fn a_head_beyond_the_limit_is_a_502() {
    let (answer, sidecar, _backend) = get_from(|connection| {
        if connection.request().is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)));
        }
    });
    assert_eq!(answer.status(), 502);
    sidecar.ends_with(502, "http_protocol_error");
}

#[test]
fn a_cut_body_of_announced_length_is_cut_for_the_client_too() {
    let (answer, sidecar, _backend) =
        get_answered("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!((answer.status(), answer.text()), (200, "hello"));
    assert_ne!(answer.cut, None);
    sidecar.ends_with(200, "http_response_incomplete");
}

#[test]
fn a_body_that_never_begins_is_cut_after_its_head() {
    let (answer, sidecar, _backend) = get_answered("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    assert_eq!((answer.status(), answer.text()), (200, ""));
    assert_ne!(answer.cut, None);
    sidecar.ends_with(200, "http_response_incomplete");
}

#[test]
fn a_cut_chunked_body_is_cut_for_the_client_too() {
    for body in ["5\r\nhello\r\n", "5\r\nhe", "5\r\nhello\r\n0\r\n", ""] {
        let head = "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n";
        let backend = Backend::closing_after(format!("{head}{body}"));
        let sidecar = Sidecar::without_pool(&backend);
        let mut client = sidecar.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer_however_it_ends();
        assert_eq!((answer.status(), answer.field("x")), (200, Some("y")), "{body:?}");
        assert_ne!(answer.cut, None, "{body:?}: {answer:?}");
        sidecar.ends_with(200, "http_response_incomplete");
    }
}

#[test]
fn a_malformed_chunk_cuts_the_answer() {
    let (answer, sidecar, _backend) =
        get_answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n");
    assert_eq!((answer.status(), answer.text()), (200, "ok"));
    assert_ne!(answer.cut, None);
    sidecar.ends_with(200, "http_response_incomplete");
}

#[test]
fn a_reset_inside_the_body_cuts_the_answer() {
    let gate = Gate::default();
    let head_read = gate.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            head_read.wait();
            connection.reset();
        }
    });
    let sidecar = Sidecar::without_pool(&backend);
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.take(5), b"hello");
    gate.open();
    client.sees_the_end();
    sidecar.ends_with(200, "http_response_incomplete");
}

/// A backend that holds its answer until `answers` opens, and opens `asked` before.
fn holding(asked: &Gate, answers: &Gate, gone: &Gate) -> Backend {
    let (asked, answers, gone) = (asked.clone(), answers.clone(), gone.clone());
    Backend::start(move |connection| {
        if connection.request().is_some() {
            asked.open();
            answers.wait();
            connection.send(OK);
            connection.sees_the_end();
            gone.open();
        }
    })
}

#[test]
fn a_client_that_resets_before_the_head_is_a_499_and_the_backend_is_told() {
    let (asked, open, gone) = (Gate::default(), Gate::default(), Gate::default());
    let told = gone.clone();
    let signal = asked.clone();
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            signal.open();
            connection.sees_the_end();
            told.open();
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.wait();
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    client.reset();
    gone.wait();
    open.open();
    sidecar.ends_with(499, "downstream_aborted");
}

#[test]
fn a_client_that_closes_before_the_head_is_a_499() {
    let (asked, answers, gone) = (Gate::default(), Gate::default(), Gate::default());
    let backend = holding(&asked, &answers, &gone);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.wait();
    drop(client);
    answers.open();
    sidecar.ends_with(499, "downstream_aborted");
}

#[test]
fn a_client_that_half_closes_gets_its_answer() {
    let (asked, answers, gone) = (Gate::default(), Gate::default(), Gate::default());
    let backend = holding(&asked, &answers, &gone);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    client.finish_sending();
    asked.wait();
    answers.open();
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(client.sees_the_end(), End::Fin);
    sidecar.requests(200).without("error").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn half_a_request_behind_an_answered_one_does_not_make_it_an_abort() {
    let (asked, answers, gone) = (Gate::default(), Gate::default(), Gate::default());
    let backend = holding(&asked, &answers, &gone);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /half");
    asked.wait();
    client.finish_sending();
    answers.open();
    assert_eq!(client.answer().text(), "ok");
    sidecar.requests(200).without("error").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn a_client_that_leaves_after_the_head_is_an_abort_with_the_status_it_saw() {
    for with_reset in [true, false] {
        let gate = Gate::default();
        let told = gate.clone();
        let backend = Backend::start(move |connection| {
            if connection.request().is_some() {
                connection.send("HTTP/1.1 203 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
                let endless = b"400\r\n".iter().chain([b'x'; 0x400].iter()).chain(b"\r\n");
                let endless: Vec<u8> = endless.copied().collect();
                while std::io::Write::write_all(&mut connection.socket(), &endless).is_ok() {}
                told.open();
            }
        });
        let sidecar = Sidecar::before(&backend);
        let mut client = sidecar.client();
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().status(), 203);
        if with_reset {
            client.reset();
        } else {
            drop(client);
        }
        gate.wait();
        sidecar.ends_with(203, "downstream_aborted");
    }
}

#[test]
fn a_client_that_leaves_inside_its_body_is_a_499_and_the_upload_never_completes() {
    for fields in
        ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        for with_reset in [true, false] {
            let (begun, gone) = (Gate::default(), Gate::default());
            let (signal, told) = (begun.clone(), gone.clone());
            let backend = Backend::start(move |connection| {
                if connection.head().is_some() {
                    signal.open();
                    connection.sees_the_end();
                    told.open();
                }
            });
            let sidecar = Sidecar::before(&backend);
            let mut client = sidecar.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}"));
            begun.wait();
            if with_reset {
                client.reset();
            } else {
                drop(client);
            }
            gone.wait();
            sidecar.ends_with(499, "downstream_aborted");
            assert_eq!(backend.count("\r\n0\r\n\r\n"), 0);
        }
    }
}

#[test]
fn a_body_longer_than_announced_is_the_next_request() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi and more\r\n\r\n");
    assert_eq!((client.answer().status(), client.answer().status()), (200, 400));
    client.sees_the_end();
    sidecar.ends_after(2);
    assert_eq!(backend.count("more"), 0);
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502() {
    let (answer, sidecar, _backend) = get_answered(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    );
    assert_eq!(answer.status(), 502);
    sidecar.ends_with(502, "http_upgrade_failed");
}

#[test]
fn bytes_after_a_complete_answer_reach_nobody() {
    let backend = Backend::start(|connection| {
        while connection.request().is_some() {
            let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            connection.send(format!("{OK}{evil}"));
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(sidecar.client().get("/").text(), "ok");
    }
    sidecar.ends_after(10);
    assert_eq!(backend.received().len(), 10, "no such connection is used again");
}

#[test]
fn an_early_answer_is_read_though_the_upload_goes_on() {
    const LENGTH: usize = 16 << 20;
    let backend = Backend::start(|connection| {
        if connection.head().is_some() {
            connection.send(
                "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
            );
        }
    });
    let sidecar = Sidecar::without_pool(&backend);
    let mut client = sidecar.client();
    client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let sending = client.send_in_background(vec![b'x'; LENGTH]);
    assert!(sending.join().unwrap(), "the whole upload was taken");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (413, "big"));
    drop(client);
    sidecar.requests(413).without("error").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn a_client_that_closes_before_a_head_that_comes_in_pieces_is_a_499() {
    let (asked, answers, gone) = (Gate::default(), Gate::default(), Gate::default());
    let (signal, go, told) = (asked.clone(), answers.clone(), gone.clone());
    let backend = Backend::start(move |connection| {
        if connection.request().is_some() {
            signal.open();
            go.wait();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
            // Until the sidecar has heard that nobody reads.
            let piece = [b'x'; 1000];
            while std::io::Write::write_all(&mut connection.socket(), &piece).is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            told.open();
        }
    });
    let sidecar = Sidecar::before(&backend);
    let mut client = sidecar.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.wait();
    drop(client);
    answers.open();
    gone.wait();
    sidecar.ends_with(499, "downstream_aborted");
}
