//! Certificates are made for each test; sockets are pipes in memory or loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{client, server};

use super::error::Fault;
use super::listener::{Handshakes, Reload};
use super::*;

mod handshakes;
mod loading;

/// A directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("redcar-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// Writes beside and renames, as whoever renews certificates should.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let (beside, file) = (self.0.join("new"), self.0.join(name));
        std::fs::write(&beside, text).expect("a file");
        std::fs::rename(&beside, &file).expect("the same directory");
        file
    }

    fn identity(&self, pair: &Pair) -> Identity {
        let cert = self.write("cert.pem", &pair.cert);
        Identity { cert, key: self.write("key.pem", &pair.key), port: Port::Clients }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("a directory of ours");
    }
}

/// A certificate with its key, as PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn valid() -> Self {
        Self::between(2020, 2099)
    }

    /// Self-signed for `localhost` and 127.0.0.1, from one January to another.
    fn between(from: i32, until: i32) -> Self {
        Self::with_key(&KeyPair::generate().expect("a key"), from, until)
    }

    fn with_key(key: &KeyPair, from: i32, until: i32) -> Self {
        let cert = params(from, until).self_signed(key).expect("a certificate");
        Self { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn params(from: i32, until: i32) -> CertificateParams {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("two names");
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

/// An authority, and how it signs.
struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate").pem();
        Self { cert, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, from: i32, until: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params(from, until).signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

const BOTH: &[Alpn] = &[Alpn::Http2, Alpn::Http1];
const LIMIT: Duration = Duration::from_secs(10);

fn listener(identity: Identity) -> Listener {
    Listener::load(identity, None, BOTH, LIMIT).expect("a valid pair")
}

/// A connected pair of sockets.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (connected.expect("loopback"), accepted.expect("loopback").0)
}

type Connected = (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>);

/// A handshake between both sides of this module, on the calling runtime.
async fn handshake(
    listener: &Listener,
    connector: &Connector,
    offer: &[Alpn],
) -> Result<(Connected, Alpn), HandshakeError> {
    let (near, far) = sockets().await;
    let (client, server) =
        tokio::join!(connector.connect(near, offer), listener.accept(far, Vec::new));
    let (client, alpn) = client?;
    let (server, seen_by_server) = server?;
    assert_eq!(alpn, seen_by_server);
    Ok(((client, server), alpn))
}

fn run<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(body)
}
