//! An app inside TLS: one handshake decides what is spoken, and that connection is used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use redcar::config::{Config, Upstream, UpstreamProtocol};
use redcar::net::Files;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::backend::{OK, Tally};
use crate::frames::{Client, run};
use crate::sidecar::Sidecar;

/// An app that answers in HTTP/1.1, whatever it was asked in.
struct App {
    address: SocketAddr,
    handshakes: Tally,
    requests: Tally,
    ca: PathBuf,
}

impl App {
    /// `alpn` is what it chooses from; one without any ignores what it is offered.
    fn start(name: &str, alpn: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let ca = std::env::temp_dir().join(format!("redcar-it-{}-{name}.pem", std::process::id()));
        std::fs::write(&ca, certificate.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            handshakes: Tally::default(),
            requests: Tally::default(),
            ca,
        };
        let (handshakes, requests) = (app.handshakes.clone(), app.requests.clone());
        std::thread::spawn(move || {
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
            runtime.block_on(serve(listener, config, handshakes, requests));
        });
        app
    }

    fn sidecar(&self, change: impl FnOnce(&mut Config)) -> Sidecar {
        let (host, port) = (self.address.ip().to_string().as_str().into(), self.address.port());
        Sidecar::to(Upstream::Tls { host, port }, |config| {
            config.tls = Files { upstream_ca: Some(self.ca.clone()), ..Files::default() };
            change(config);
        })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.ca);
    }
}

async fn serve(
    listener: std::net::TcpListener,
    config: ServerConfig,
    handshakes: Tally,
    requests: Tally,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, handshakes, requests) =
            (acceptor.clone(), handshakes.clone(), requests.clone());
        tokio::task::spawn_local(async move {
            let Ok(mut stream) = acceptor.accept(socket).await else {
                return;
            };
            handshakes.add(1);
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    requests.add(1);
                    head.clear();
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        });
    }
}

#[test]
fn an_app_without_http2_gets_the_request_on_the_connection_that_found_out() {
    for (name, alpn) in [("old", &[][..]), ("h1", &["http/1.1"])] {
        let app = App::start(name, alpn);
        let sidecar = app.sidecar(|_| {});
        let before = app.handshakes.get();
        run(async {
            let client = Client::connect(sidecar.address).await;
            for _ in 0..3 {
                assert_eq!(client.get("/").await, (200, "ok".to_owned()));
            }
        });
        assert_eq!((app.handshakes.get() - before, app.requests.get()), (1, 3), "{name}");
        sidecar.ends_after(3);
    }
}

#[test]
fn an_app_without_the_http2_that_is_demanded_gets_neither_requests_nor_a_handshake_for_each() {
    for (name, alpn) in [("old-forced", &[][..]), ("h1-forced", &["http/1.1"])] {
        let app = App::start(name, alpn);
        let sidecar = app.sidecar(|config| config.upstream_protocol = UpstreamProtocol::Http2);
        let mut client = sidecar.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").status(), 502);
        }
        assert_eq!(app.requests.get(), 0, "{name}");
        // One at the start, then one a second at most; twenty requests take less than ten.
        assert!(app.handshakes.get() < 12, "{} handshakes", app.handshakes.get());
        sidecar.metric("redcar_upstream_up").eventually_is(1);
        sidecar.requests(502).label("error", "http_protocol_error").eventually_is(20);
        sidecar.ends_after(20);
    }
}
