//! Both sides of the module against each other, and against peers with other opinions.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};

use super::*;

/// A listener with a certificate of an authority, and a connector that trusts the authority.
fn both_sides(host: &str) -> (Scratch, Listener, Connector) {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let listener = listener(scratch.identity(&authority.sign(2020, 2099)));
    let ca = scratch.write("ca.pem", &authority.cert);
    let connector = Connector::load(host, Some(&ca)).expect("one root");
    (scratch, listener, connector)
}

/// A client that is not ours, and trusts the authority in `ca.pem`.
fn client(scratch: &Scratch, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let file = scratch.0.join("ca.pem");
    roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions the provider knows")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[test]
fn alpn_prefers_http2_and_without_a_choice_it_is_http1() {
    let (_scratch, listener, connector) = both_sides("localhost");
    run(async {
        for (offer, expected) in [
            (&[Alpn::Http1, Alpn::Http2][..], Alpn::Http2),
            (&[Alpn::Http2], Alpn::Http2),
            (&[Alpn::Http1], Alpn::Http1),
            (&[], Alpn::Http1),
        ] {
            let (_streams, alpn) = handshake(&listener, &connector, offer).await.expect("trust");
            assert_eq!(alpn, expected, "{offer:?}");
        }
    });
    assert_eq!(listener.handshakes(), Handshakes { ok: 4, timeout: 0, failed: 0 });
}

#[test]
fn a_client_that_speaks_none_of_the_protocols_gets_an_alert() {
    let (scratch, listener, _) = both_sides("localhost");
    let mut config = client(&scratch, &[&TLS13]);
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    run(async {
        let (near, far) = sockets().await;
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let (client, server) =
            tokio::join!(connector.connect(name, near), listener.accept(far, Vec::new));
        assert!(matches!(server, Err(HandshakeError::Protocol(_))), "{server:?}");
        let alert = client.expect_err("no protocol").downcast::<rustls::Error>().expect("TLS");
        let expected = rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(alert, rustls::Error::AlertReceived(expected));
    });
    assert_eq!(listener.handshakes().failed, 1);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_the_asked_name_is_ignored() {
    let (scratch, listener, _) = both_sides("localhost");
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let connector = TlsConnector::from(Arc::new(client(&scratch, &[version])));
        run(async {
            let (near, far) = sockets().await;
            let name = ServerName::try_from("localhost").expect("a name");
            let (client, server) =
                tokio::join!(connector.connect(name, near), listener.accept(far, Vec::new));
            assert_eq!(client.expect("trust").get_ref().1.protocol_version(), Some(expected));
            assert!(server.is_ok());
            let (near, far) = sockets().await;
            let other = ServerName::try_from("other.example").expect("a name");
            let (client, _) =
                tokio::join!(connector.connect(other, near), listener.accept(far, Vec::new));
            // The one certificate came, and the client refused it.
            let error = client.expect_err("another name").downcast::<rustls::Error>();
            assert!(matches!(error, Ok(rustls::Error::InvalidCertificate(_))), "{error:?}");
        });
    }
}

#[test]
fn bytes_go_both_ways_and_a_proper_close_is_a_clean_end() {
    // An address instead of a name: the certificate has it, too.
    let (_scratch, listener, connector) = both_sides("127.0.0.1");
    run(async {
        let ((mut client, mut server), _) =
            handshake(&listener, &connector, BOTH).await.expect("trust");
        client.write_all(b"ping").await.expect("open");
        client.flush().await.expect("open");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.expect("open");
        assert_eq!(&bytes, b"ping");
        server.write_all(b"pong").await.expect("open");
        server.shutdown().await.expect("open");
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("close_notify came");
        assert_eq!(all, b"pong");
    });
}

#[test]
fn a_close_without_close_notify_is_an_error_on_either_side() {
    let (_scratch, listener, connector) = both_sides("localhost");
    run(async {
        let mut all = Vec::new();
        let ((mut client, mut server), _) =
            handshake(&listener, &connector, BOTH).await.expect("trust");
        server.write_all(b"half").await.expect("open");
        server.flush().await.expect("open");
        drop(server);
        let error = client.read_to_end(&mut all).await.expect_err("truncated");
        assert_eq!((error.kind(), &*all), (ErrorKind::UnexpectedEof, &b"half"[..]));

        let ((mut client, mut server), _) =
            handshake(&listener, &connector, BOTH).await.expect("trust");
        client.write_all(b"half").await.expect("open");
        client.flush().await.expect("open");
        // The FIN alone, so that no unread ticket turns the close into a reset.
        client.get_mut().0.shutdown().await.expect("open");
        all.clear();
        let error = server.read_to_end(&mut all).await.expect_err("truncated");
        assert_eq!((error.kind(), &*all), (ErrorKind::UnexpectedEof, &b"half"[..]));
    });
}

#[test]
fn a_reload_changes_new_connections_and_leaves_open_ones_alone() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let listener = listener(scratch.identity(&authority.sign(2020, 2098)));
    let ca = scratch.write("ca.pem", &authority.cert);
    let connector = || Connector::load("localhost", Some(&ca)).expect("one root");
    let shown = |stream: &client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("verified").first().cloned()
    };
    run(async {
        let ((mut client, mut server), _) =
            handshake(&listener, &connector(), BOTH).await.expect("trust");
        scratch.identity(&authority.sign(2020, 2099));
        assert_eq!(listener.reload(), Reload::Replaced);
        let ((after, _), _) = handshake(&listener, &connector(), BOTH).await.expect("trust");
        assert_ne!(shown(&client), shown(&after));
        client.write_all(b"still here").await.expect("open");
        client.flush().await.expect("open");
        let mut bytes = [0; 10];
        server.read_exact(&mut bytes).await.expect("open");
        assert_eq!(&bytes, b"still here");
    });
}

#[test]
fn an_upstream_that_cannot_be_verified_is_refused_with_advice() {
    let (_scratch, listener, connector) = both_sides("app.example");
    let (stranger_files, stranger) = (Scratch::new(), Authority::new());
    let ca = stranger_files.write("ca.pem", &stranger.cert);
    let trusts_another = Connector::load("localhost", Some(&ca)).expect("one root");
    let error = |connector| run(handshake(&listener, connector, BOTH)).expect_err("no trust");
    let text = error(&connector).to_string();
    assert!(text.contains("not for `app.example` but for localhost, "), "{text}");
    let same_name_other_key = error(&trusts_another);
    let unknown = |error: &HandshakeError| matches!(error, HandshakeError::UnknownIssuer { .. });
    assert!(unknown(&same_name_other_key), "{same_name_other_key:?}");
    let other_name = Authority::named("another authority");
    let ca = stranger_files.write("other.pem", &other_name.cert);
    let wrong_issuer = error(&Connector::load("localhost", Some(&ca)).expect("one root"));
    assert!(unknown(&wrong_issuer), "{wrong_issuer:?}");
    let text = wrong_issuer.to_string();
    let words = format!("not signed by a certificate of {}", ca.display());
    assert!(text.contains(&words) && text.contains("--upstream-ca"), "{text}");
}

#[test]
fn a_certificate_that_signed_itself_is_its_own_root_unless_it_is_an_authoritys() {
    for (is_ca, expected) in [
        (IsCa::ExplicitNoCa, true),
        (IsCa::NoCa, true),
        (IsCa::Ca(BasicConstraints::Unconstrained), false),
    ] {
        let scratch = Scratch::new();
        let key = KeyPair::generate().expect("a key");
        let mut params = params(2020, 2099);
        params.is_ca = is_ca;
        let cert = params.self_signed(&key).expect("a certificate").pem();
        let identity = scratch.identity(&Pair { cert, key: key.serialize_pem() });
        let connector = Connector::load("localhost", Some(&identity.cert)).expect("one root");
        let result = run(handshake(&listener(identity), &connector, BOTH));
        match result {
            Ok(_) => assert!(expected),
            Err(HandshakeError::AuthorityAsServer) => assert!(!expected),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_upstream_with_an_expired_certificate_is_refused() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let ca = scratch.write("ca.pem", &authority.cert);
    let connector = Connector::load("localhost", Some(&ca)).expect("one root");
    let pair = authority.sign(2020, 2021);
    // Our own listener would not serve this one.
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("defaults")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("a certificate")],
            rustls::pki_types::PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key"),
        )
        .expect("a pair");
    config.alpn_protocols = Alpn::offer(BOTH);
    run(async {
        let (near, far) = sockets().await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (client, _) = tokio::join!(connector.connect(near, BOTH), acceptor.accept(far));
        let error = client.expect_err("expired");
        assert!(matches!(error, HandshakeError::Validity(_)), "{error:?}");
    });
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_dropped_in_time() {
    let scratch = Scratch::new();
    let identity = scratch.identity(&Pair::valid());
    let limit = Duration::from_millis(20);
    let listener = Listener::load(identity, None, BOTH, limit).expect("a valid pair");
    run(async {
        let (mut silent, far) = sockets().await;
        let result = listener.accept(far, Vec::new).await;
        assert!(matches!(result, Err(HandshakeError::Timeout(l)) if l == limit), "{result:?}");
        assert_eq!(silent.read(&mut [0]).await.expect("a plain close"), 0);
    });
    assert_eq!(listener.handshakes().timeout, 1);
}

#[test]
fn plain_http_and_early_closes_are_failed_handshakes() {
    let scratch = Scratch::new();
    let listener = listener(scratch.identity(&Pair::valid()));
    run(async {
        let (mut plain, far) = sockets().await;
        plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        let result = listener.accept(far, || b"ask with TLS".to_vec()).await;
        assert!(matches!(result, Err(HandshakeError::Plain)), "{result:?}");
        let mut told = String::new();
        plain.read_to_string(&mut told).await.expect("an answer and a plain close");
        assert_eq!(told, "ask with TLS");
        let (mut noise, far) = sockets().await;
        noise.write_all(&[0; 100]).await.expect("open");
        let result = listener.accept(far, Vec::new).await;
        assert!(matches!(result, Err(HandshakeError::Protocol(_))), "{result:?}");
        let (closed, far) = sockets().await;
        drop(closed);
        let result = listener.accept(far, Vec::new).await;
        assert!(matches!(result, Err(HandshakeError::Io(_))), "{result:?}");
    });
    assert_eq!(listener.handshakes().failed, 3);
}

#[test]
fn a_certificate_that_the_client_refuses_arrives_as_an_alert() {
    let (_scratch, listener, connector) = both_sides("app.example");
    run(async {
        let (near, far) = sockets().await;
        let (_refused, server) =
            tokio::join!(connector.connect(near, BOTH), listener.accept(far, Vec::new));
        // TLS 1.3: the server may be done before the client's alert arrives.
        if let Ok((mut stream, _)) = server {
            let error = stream.read(&mut [0]).await.expect_err("an alert");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        } else {
            assert!(matches!(server, Err(HandshakeError::Alert(_))), "{server:?}");
        }
    });
}
