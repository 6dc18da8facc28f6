//! The same rules in both protocols: what a client may not say, what is too large, and what is no
//! request.

use std::time::Duration;

use redcar::config::{Config, UpstreamProtocol};
use redcar::http::Forwarded;

use crate::backend::{Backend, OK, eventually};
use crate::http2::{self, END_HEADERS, END_STREAM, Frames, HEADERS, block, fields, request};
use crate::sidecar::{Sidecar, address};

/// An app of HTTP/1 that is not asked whether it speaks HTTP/2.
fn before(backend: &Backend) -> Sidecar {
    Sidecar::with(backend, http1)
}

fn http1(config: &mut Config) {
    config.upstream_protocol = UpstreamProtocol::Http1;
}

const MODES: [Forwarded; 3] = [Forwarded::Append, Forwarded::Replace, Forwarded::Off];

/// Trailers that no app may get, in HTTP/2's spelling.
const SMUGGLED: [(&str, &str); 12] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil"),
    ("x-forwarded-user", "root"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("content_length", "9"),
    ("transfer_encoding", "chunked"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x.real.ip", "6.6.6.6"),
    ("authorization", "Basic x"),
    ("front-end-https", "on"),
];

#[test]
fn no_trailer_of_http1_says_what_only_a_head_may_say() {
    for mode in MODES {
        let backend = Backend::answering(OK);
        let sidecar = Sidecar::with(&backend, |config| config.forwarded = mode);
        let mut client = sidecar.client();
        let smuggled = SMUGGLED.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
             X-Sum: 7\r\n{smuggled}\r\n"
        ));
        assert_eq!(client.answer().status(), 200);
        sidecar.ends_after(1);
        let sent = backend.received_once();
        assert!(sent.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"), "{mode:?}: {sent:?}");
    }
}

#[test]
fn no_trailer_of_http2_says_what_only_a_head_may_say() {
    let with_sum = || {
        let mut trailers = fields(&SMUGGLED);
        trailers.insert("x-sum", "7".parse().unwrap());
        trailers
    };
    for mode in MODES {
        let backend = Backend::answering(OK);
        let sidecar = Sidecar::with(&backend, |config| {
            http1(config);
            config.forwarded = mode;
        });
        let mut client = http2::Client::connect(sidecar.address);
        let answer = client.ask(request("POST", "/"), Some(with_sum()));
        assert_eq!(answer.status, 200);
        sidecar.ends_after(1);
        let sent = backend.received_once();
        assert!(sent.ends_with("\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), "{mode:?}: {sent:?}");

        let backend = http2::Backend::answering(fields(&[]), "ok", fields(&[]));
        let sidecar = Sidecar::to(address(backend.address), |config| config.forwarded = mode);
        let mut client = http2::Client::connect(sidecar.address);
        let answer = client.ask(request("POST", "/"), Some(with_sum()));
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
        sidecar.ends_after(1);
        let received = backend.received();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].trailers, fields(&[("x-sum", "7")]), "{mode:?}");
    }
}

#[test]
fn trailers_of_an_answer_pass_without_those_that_are_for_heads() {
    let said = [
        ("grpc-status", "5"),
        ("grpc-message", "not found"),
        ("grpc-status-details-bin", "AAAA"),
        ("x-own", "1"),
    ];
    let mut trailers = fields(&said);
    trailers.extend(fields(&[("set-cookie", "a=b"), ("x-forwarded-for", "1"), ("location", "/")]));
    let backend = http2::Backend::answering(fields(&[]), "ok", trailers);
    let sidecar = Sidecar::to(address(backend.address), |_| {});
    let mut client = http2::Client::connect(sidecar.address);
    let answer = client.ask(request("GET", "/"), None);
    assert_eq!((answer.status, answer.reset), (200, None));
    assert_eq!(answer.trailers, fields(&said));
    sidecar.ends_after(1);
}

/// Trailers of so many bytes, and a gRPC status behind them.
fn large(bytes: usize) -> http::HeaderMap {
    let mut trailers = fields(&[("grpc-status-details-bin", &"A".repeat(bytes))]);
    trailers.insert("grpc-status", "5".parse().unwrap());
    trailers
}

#[test]
fn trailers_of_an_http2_answer_pass_whole_or_fail_loudly() {
    for (bytes, fails) in [(20_000, false), (60_000, false), (70_000, true), (1_000_000, true)] {
        let backend = http2::Backend::answering(fields(&[]), "ok", large(bytes));
        // To a client of HTTP/2.
        let sidecar = Sidecar::to(address(backend.address), |_| {});
        let mut client = http2::Client::connect(sidecar.address);
        let answer = client.ask(request("GET", "/"), None);
        assert_eq!((answer.status, answer.reset.is_some()), (200, fails), "{bytes}");
        if fails {
            sidecar.ends_with(200, "http_protocol_error");
        } else {
            assert_eq!(answer.trailers, large(bytes));
            sidecar.ends_after(1);
        }
        // To a client of HTTP/1.
        let http2 = |config: &mut Config| {
            config.upstream_protocol = UpstreamProtocol::Http2;
        };
        let sidecar = Sidecar::to(address(backend.address), http2);
        let mut client = sidecar.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
        let answer = client.answer_however_it_ends();
        assert_eq!((answer.status(), answer.cut.is_some()), (200, fails), "{bytes}");
        if fails {
            sidecar.ends_with(200, "http_protocol_error");
        } else {
            assert!(answer.trailers.contains("grpc-status: 5\r\n"), "{:?}", answer.trailers);
            sidecar.ends_after(1);
        }
    }
}

#[test]
fn a_large_head_of_an_http2_answer_is_a_502() {
    for bytes in [70_000, 1_000_000] {
        let backend = http2::Backend::answering(large(bytes), "ok", fields(&[]));
        let sidecar = Sidecar::to(address(backend.address), |_| {});
        let mut client = http2::Client::connect(sidecar.address);
        let answer = client.ask(request("GET", "/"), None);
        assert_eq!(answer.status, 502);
        sidecar.ends_with(502, "http_protocol_error");
    }
}

#[test]
fn trailers_of_an_http1_answer_pass_whole_or_fail_loudly() {
    for (bytes, fails) in [(20_000, false), (65_000, false), (70_000, true)] {
        let value = "A".repeat(bytes);
        let backend = Backend::closing_after(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
             X-Large: {value}\r\nX-Sum: 7\r\n\r\n"
        ));
        let sidecar = Sidecar::without_pool(&backend);
        let mut client = sidecar.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
        let answer = client.answer_however_it_ends();
        assert_eq!((answer.status(), answer.cut.is_some()), (200, fails), "{bytes}");
        let mut client = http2::Client::connect(sidecar.address);
        let http2_answer = client.ask(request("GET", "/"), None);
        assert_eq!(http2_answer.reset.is_some(), fails, "{bytes}: {http2_answer:?}");
        if fails {
            sidecar.requests(200).label("error", "http_protocol_error").eventually_is(2);
        } else {
            assert!(answer.trailers.ends_with("X-Sum: 7\r\n"));
            assert_eq!(http2_answer.trailers.get("x-sum").unwrap(), "7");
        }
        sidecar.ends_after(2);
    }
}

#[test]
fn large_trailers_of_a_request_are_a_431_and_never_complete_upstream() {
    // Some of each size compress to five eighths, some not at all.
    for (bytes, letter) in [(70_000, "0"), (70_000, "~"), (200_000, "0"), (200_000, "~")] {
        let backend = Backend::answering(OK);
        let sidecar = Sidecar::with(&backend, |config| {
            config.timeouts.upstream_idle = Duration::ZERO;
            // In HTTP/2 the limit is smaller unless it is set.
            config.max_http2_header_bytes = config.max_header_bytes;
        });
        let mut client = http2::Client::connect(sidecar.address);
        let trailers = fields(&[("x-large", &letter.repeat(bytes)), ("x-sum", "7")]);
        let answer = client.ask(request("POST", "/"), Some(trailers));
        // Beyond some frames the library ends the connection.
        let is_refused = answer.status == 431 || answer.reset.is_some() && bytes > 100_000;
        assert!(is_refused, "{bytes} {letter}: {answer:?}");

        let mut client = sidecar.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        );
        client.send_what_is_taken(format!("X-Large: {}\r\n\r\n", letter.repeat(bytes)));
        assert_eq!(client.answer().status(), 431, "{bytes} {letter}");
        client.sees_the_end();
        let answered = if answer.status == 431 { 2 } else { 1 };
        eventually("an error for each", || {
            let errors = sidecar.requests(431).label("error", "http_request_error").value();
            let gone = sidecar.requests(499).label("error", "downstream_aborted").value();
            errors > f64::from(answered) - 0.5 && errors + gone > 1.5
        });
        sidecar.ends_after(2);
        assert_eq!(backend.count("\r\n0\r\n"), 0);
    }
}

#[test]
fn trailers_of_a_request_below_the_limit_pass() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::without_pool(&backend);
    let value = "0".repeat(15_000);
    let mut client = http2::Client::connect(sidecar.address);
    let trailers = fields(&[("x-large", &value), ("x-sum", "7")]);
    assert_eq!(client.ask(request("POST", "/"), Some(trailers)).status, 200);
    let mut client = sidecar.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
         x-large: {value}\r\nx-sum: 7\r\n\r\n"
    ));
    assert_eq!(client.answer().status(), 200);
    sidecar.ends_after(2);
    assert_eq!(backend.count(&format!("\r\n0\r\nx-large: {value}\r\nx-sum: 7\r\n\r\n")), 2);
}

const PROTOCOL_ERROR: u32 = 1;

#[test]
fn a_malformed_head_of_http2_is_answered_with_400_and_counted() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    // So that `/` is known, and would be taken for the path of what has none.
    assert_eq!(sidecar.client().get("/").status(), 200);
    let mut frames = Frames::connect(sidecar.address, &[]);
    // The library refuses these by itself.
    let paths: [&[u8]; 8] =
        [b"/s?q=\"x\"<", b"/<b>", b"/a`b", b"/a b", b"", b"a", b"http://a/", b"/a\tb"];
    let mut stream = 1;
    for path in paths {
        frames.get(stream, path, &[]);
        let ending = frames.ending(stream);
        assert_eq!((ending.status, ending.reset), (Some(400), None), "{path:?}: {ending:?}");
        stream += 2;
    }
    let fields: [&[(&str, &[u8])]; 4] = [
        &[("connection", b"close")],
        &[("te", b"gzip")],
        &[("content-length", b"x")],
        &[(":status", b"200")],
    ];
    for more in fields {
        frames.get(stream, b"/", more);
        assert_eq!(frames.ending(stream).status, Some(400), "{more:?}");
        stream += 2;
    }
    // The sidecar refuses these.
    let fields: [&[(&str, &[u8])]; 4] =
        [&[("host", b"b")], &[("x", b" a")], &[("content-length", b"")], &[("host", b"a b")]];
    for more in fields {
        frames.get(stream, b"/", more);
        assert_eq!(frames.ending(stream).status, Some(400), "{more:?}");
        stream += 2;
    }
    for path in [&b"*"[..], b"?a"] {
        frames.get(stream, path, &[]);
        assert_eq!(frames.ending(stream).status, Some(400), "{path:?}");
        stream += 2;
    }
    // The connection lives on.
    frames.get(stream, b"/", &[]);
    assert_eq!(frames.ending(stream).status, Some(200));
    let all = sidecar.metric("http_requests_total");
    all.eventually_is(2 + 18);
    sidecar.metric("http_requests_total").label("path", "/").label("status", 200).eventually_is(2);
    sidecar.ends_after(20);
}

#[test]
fn a_malformed_head_of_http2_has_the_same_label_as_in_http1() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    assert_eq!(sidecar.client().get("/").status(), 200);
    let mut frames = Frames::connect(sidecar.address, &[]);
    frames.get(1, b"no-slash", &[]);
    frames.get(3, b"*", &[]);
    let connect = [(":method", &b"CONNECT"[..]), (":authority", b"a:443")];
    frames.send(HEADERS, END_STREAM | END_HEADERS, 5, &block(&connect));
    assert_eq!(frames.ending(1).status, Some(400));
    let mut frames = Frames::connect(sidecar.address, &[]);
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&connect));
    assert_eq!(frames.ending(1).status, Some(501));
    let requests = [
        ("CONNECT a:443", 501),
        ("GET foo", 400),
        ("GET ftp://x/a", 400),
        ("GET *", 400),
        ("GET /a#b", 400),
    ];
    for (request, status) in requests {
        let mut client = sidecar.client();
        client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{request}");
    }
    let unparsed = sidecar.metric("http_requests_total").label("path", "_UNPARSED");
    unparsed.label("error", "http_request_error").eventually_is(9);
    sidecar.metric("http_requests_total").label("path", "/").eventually_is(1);
    sidecar.ends_after(10);
}

#[test]
fn a_request_of_http2_needs_an_authority() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[]);
    let head = [(":method", &b"GET"[..]), (":scheme", b"http"), (":path", b"/x")];
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head));
    assert_eq!(frames.ending(1).status, Some(400));
    sidecar.requests(400).label("error", "http_request_error").eventually_is(1);
    let with_host = [head[0], head[1], head[2], ("host", b"b")];
    frames.send(HEADERS, END_STREAM | END_HEADERS, 3, &block(&with_host));
    assert_eq!(frames.ending(3).status, Some(200));
    sidecar.ends_after(2);
    assert_eq!(backend.received_once(), "GET /x HTTP/1.1\r\nhost: b\r\n\r\n");
}

#[test]
fn a_large_head_of_http2_is_a_431_and_counted() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[]);
    let send = |frames: &mut Frames, stream, bytes| {
        let value = "y".repeat(bytes);
        let head = [
            (":method", &b"GET"[..]),
            (":scheme", b"http"),
            (":path", b"/"),
            (":authority", b"a"),
            ("x", value.as_bytes()),
        ];
        frames.send_block(END_STREAM, stream, &block(&head));
        frames.ending(stream)
    };
    for (stream, bytes) in [(1, 16_400), (3, 17_000)] {
        assert_eq!(send(&mut frames, stream, bytes).status, Some(431), "{bytes}");
    }
    frames.get(5, b"/", &[]);
    assert_eq!(frames.ending(5).status, Some(200));
    // Beyond some frames the library ends the connection.
    assert!(send(&mut frames, 7, 1_000_000).connection_ended);
    let refused = sidecar.requests(431).label("path", "_UNPARSED");
    refused.label("error", "http_request_error").eventually_is(3);
    sidecar.ends_after(4);
}

#[test]
fn a_client_with_a_small_table_is_reset_and_counted() {
    // Our answer would have to change the size of the library's table.
    const HEADER_TABLE_SIZE: u16 = 1;
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[(HEADER_TABLE_SIZE, 0)]);
    frames.get(1, b"no-slash", &[]);
    let ending = frames.ending(1);
    assert_eq!((ending.status, ending.reset), (None, Some(PROTOCOL_ERROR)));
    // The sidecar's own refusals are answers of the library then.
    frames.get(3, b"/", &[("x", b" a")]);
    assert_eq!(frames.ending(3).status, Some(400));
    frames.get(5, b"/", &[]);
    assert_eq!(frames.ending(5).status, Some(200));
    sidecar.requests(400).label("path", "_UNPARSED").eventually_is(1);
    sidecar.requests(400).eventually_is(2);
    sidecar.ends_after(3);
}

#[test]
fn refused_streams_are_told_apart_from_those_that_pass_in_one_write() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[]);
    for stream in (1..40).step_by(2) {
        frames.get(stream, if stream % 4 == 1 { b"/" } else { b"no-slash" }, &[]);
    }
    for stream in (1..40).step_by(4) {
        assert_eq!(frames.ending(stream).status, Some(200));
    }
    sidecar.requests(200).eventually_is(10);
    sidecar.requests(400).label("path", "_UNPARSED").eventually_is(10);
    sidecar.ends_after(20);
}

#[test]
fn what_cannot_be_decoded_ends_the_connection_and_is_counted_once() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[]);
    frames.get(1, b"/a\xff", &[]);
    assert!(frames.ending(1).connection_ended);
    sidecar.requests(400).label("path", "_UNPARSED").eventually_is(1);
    sidecar.ends_after(1);
}

#[test]
fn a_fragment_never_reaches_the_app() {
    let backend = Backend::answering(OK);
    let sidecar = before(&backend);
    let mut frames = Frames::connect(sidecar.address, &[]);
    frames.get(1, b"/p#/../admin", &[]);
    // The library cuts it before anybody sees it.
    assert_eq!(frames.ending(1).status, Some(200));
    eventually("the request", || backend.count("GET ") == 1);
    assert_eq!(backend.received_once(), "GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.ends_after(1);
}

/// Files with a certificate for `localhost`, gone with the test.
struct Certificate(std::path::PathBuf);

impl Certificate {
    fn new() -> (Self, tokio_rustls::rustls::RootCertStore) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let folder = std::env::temp_dir().join(format!("redcar-it-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        (Self(folder), roots)
    }

    fn identity(&self) -> redcar::net::Identity {
        let file = |name| self.0.join(name);
        redcar::net::Identity {
            cert: file("cert.pem"),
            key: file("key.pem"),
            port: redcar::net::Port::Clients,
        }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn where_alpn_has_chosen_http2_nothing_else_is_served() {
    use std::io::{Read, Write};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned, crypto::ring};

    let (certificate, roots) = Certificate::new();
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        http1(config);
        config.tls.identity = Some(certificate.identity());
    });
    let builder =
        ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    let mut speak = |alpn: &[&[u8]], bytes: &[u8]| {
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let config = std::sync::Arc::new(config.clone());
        let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let socket = std::net::TcpStream::connect(sidecar.address).unwrap();
        socket.set_read_timeout(Some(crate::message::DEADLINE)).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(speak(&[b"h2"], get), "");
    assert_eq!(speak(&[b"h2", b"http/1.1"], get), "");
    assert_eq!(speak(&[b"h2"], b"PRI * HTTP/2.0\r\n\r\nXX"), "");
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        assert!(speak(alpn, get).starts_with("HTTP/1.1 200 OK\r\n"));
    }
    sidecar.requests(400).label("path", "_UNPARSED").eventually_is(3);
    sidecar.ends_after(5);
}
