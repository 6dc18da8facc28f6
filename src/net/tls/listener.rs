//! The listener's side: handshakes, and certificates that are replaced while it runs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::connector::roots_of;
use super::error::{Date, Fault, HandshakeError, LoadError};
use super::files::{self, Loaded};
use super::{Alpn, Identity, provider};
use crate::net::file::Stamp;

/// How often [`Listener::watch`] looks at the files. Two `stat` calls each; a renewed certificate
/// has days, not seconds. Polling sees what inotify does not: swapped symbolic links above the
/// file and network file systems.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

const CLIENT_CA: &str = "--metrics-client-ca";

/// What a look at the files led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reload {
    /// They are those in use.
    Unchanged,
    /// New handshakes get the new certificate.
    Replaced,
    /// The files cannot be used; the old certificate stays.
    Failed,
}

/// How handshakes ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Handshakes {
    /// Completed.
    pub ok: u64,
    /// Not within the time limit.
    pub timeout: u64,
    /// Failed for another reason, also by a client that left.
    pub failed: u64,
}

/// Ends TLS for clients. Shared by all workers; a handshake takes one read lock.
pub struct Listener {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    identity: Identity,
    limit: Duration,
    seen: Mutex<Seen>,
    last_reload_ok: AtomicBool,
    ok: AtomicU64,
    timeout: AtomicU64,
    failed: AtomicU64,
}

/// The certificate in use. The server name that a client asks for chooses nothing.
#[derive(Debug)]
struct Current {
    key: RwLock<Arc<CertifiedKey>>,
    not_after_seconds: AtomicI64,
}

/// The files at the last look.
struct Seen {
    stamps: [Option<Stamp>; 2],
    /// Why they could not be used then. Empty if they could.
    failure: String,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Listener {
    /// Loads certificate and key. `offer` is what ALPN may choose from, the preferred one first;
    /// `limit` is the time a client has for its handshake. Clients may show a certificate that
    /// leads to a root of `client_ca`, and need not: what that means is the port's to decide.
    /// These roots are read once.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a file cannot be read or used, or the certificate is not valid now.
    pub fn load(
        identity: Identity,
        client_ca: Option<&Path>,
        offer: &[Alpn],
        limit: Duration,
    ) -> Result<Self, LoadError> {
        // Before the files are read: a change in between is seen at the next look.
        let stamps = stamps(&identity);
        let loaded = files::load(&identity, now_seconds())?;
        if files::is_readable_by_all(&identity.key) {
            tracing::warn!(
                "{} {}: every user may read the private key; restrict its mode to 0600, or to 0440 for a mounted secret",
                identity.port.key_flag(),
                identity.key.display()
            );
        }
        let current = Arc::new(Current {
            key: RwLock::new(Arc::new(loaded.key)),
            not_after_seconds: AtomicI64::new(loaded.not_after_seconds),
        });
        let flag = identity.port.cert_flag();
        let setup = |error| LoadError::new(flag, &identity.cert, Fault::Setup(error));
        let clients = match client_ca {
            Some(file) => verifier_of(file)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = Alpn::offer(offer);
        // Sessions are kept by the clients, encrypted with keys that rotate, so that resuming
        // neither costs memory nor a lock that all workers share.
        config.ticketer = Ticketer::new().map_err(setup)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            identity,
            limit,
            seen: Mutex::new(Seen { stamps, failure: String::new() }),
            last_reload_ok: AtomicBool::new(true),
            ok: AtomicU64::new(0),
            timeout: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Does the handshake with a client that has connected. `last_words` is what one gets that
    /// speaks without TLS. Needs a runtime with a clock; a current-thread one is enough.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; the client got an alert if it could be sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn accept(
        &self,
        socket: TcpStream,
        last_words: impl FnOnce() -> Vec<u8>,
    ) -> Result<(TlsStream<TcpStream>, Alpn), HandshakeError> {
        match tokio::time::timeout(self.limit, self.handshake(socket, last_words)).await {
            Ok(Ok(stream)) => {
                self.ok.fetch_add(1, Relaxed);
                let alpn = Alpn::of(stream.get_ref().1.alpn_protocol());
                Ok((stream, alpn))
            }
            Ok(Err(error)) => {
                self.failed.fetch_add(1, Relaxed);
                Err(error)
            }
            Err(_elapsed) => {
                self.timeout.fetch_add(1, Relaxed);
                Err(HandshakeError::Timeout(self.limit))
            }
        }
    }

    /// A client that begins with a capital letter speaks without TLS, and gets words that it
    /// understands; an alert would be noise to it. Looking costs one system call, beside a
    /// handshake.
    async fn handshake(
        &self,
        socket: TcpStream,
        last_words: impl FnOnce() -> Vec<u8>,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let mut first = [0];
        if matches!(socket.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase() {
            // As well as it can be done: the client may be gone.
            let _told = socket.writable().await.and_then(|()| socket.try_write(&last_words()));
            // What is left unread at the end makes it a reset, which destroys the answer.
            let _read = socket.try_read(&mut vec![0; 16 * 1024]);
            return Err(HandshakeError::Plain);
        }
        let accepted = self.acceptor.accept(socket).await;
        accepted.map_err(|error| HandshakeError::of(error, "", ""))
    }

    /// Looks at the files, and takes them over if they changed. Connections are not touched.
    ///
    /// Files that cannot be used are looked at again every time, since the clock alone can make a
    /// certificate valid; the log says so once. Reads small files, so it belongs on a thread that
    /// serves no requests.
    pub fn reload(&self) -> Reload {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.identity);
        if seen.failure.is_empty() && seen.stamps == stamps {
            return Reload::Unchanged;
        }
        seen.stamps = stamps;
        match files::load(&self.identity, now_seconds()) {
            Ok(loaded) => {
                self.replace(loaded);
                seen.failure.clear();
                Reload::Replaced
            }
            Err(error) => {
                let failure = error.to_string();
                if failure != seen.failure {
                    tracing::error!(
                        error = failure,
                        "the changed certificate cannot be used; the old one stays"
                    );
                }
                seen.failure = failure;
                self.last_reload_ok.store(false, Relaxed);
                Reload::Failed
            }
        }
    }

    fn replace(&self, Loaded { key, not_after_seconds }: Loaded) {
        *self.current.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        self.current.not_after_seconds.store(not_after_seconds, Relaxed);
        self.last_reload_ok.store(true, Relaxed);
        let until = Date(not_after_seconds);
        tracing::info!(file = %self.identity.cert.display(), %until, "certificate reloaded");
    }

    /// Reloads changed files every [`RELOAD_INTERVAL`]. Never ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the watch, nothing else.
    pub async fn watch(&self) -> ! {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            self.reload();
        }
    }

    /// When the certificate in use expires, in seconds since the epoch.
    pub fn not_after_seconds(&self) -> i64 {
        self.current.not_after_seconds.load(Relaxed)
    }

    /// Tells whether the files, when they were last looked at, could be used.
    pub fn last_reload_ok(&self) -> bool {
        self.last_reload_ok.load(Relaxed)
    }

    /// How handshakes ended so far.
    pub fn handshakes(&self) -> Handshakes {
        Handshakes {
            ok: self.ok.load(Relaxed),
            timeout: self.timeout.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// Accepts certificates of these roots, and clients that show none.
fn verifier_of(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, LoadError> {
    let roots = Arc::new(roots_of(CLIENT_CA, file)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| LoadError::new(CLIENT_CA, file, Fault::Certificate(error.to_string())))
}

fn stamps(identity: &Identity) -> [Option<Stamp>; 2] {
    [Stamp::of(&identity.cert), Stamp::of(&identity.key)]
}

/// A clock before 1970 makes every certificate not yet valid, which is what it should do.
fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
