//! The upstream's side: a connection whose certificate was verified.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned, WantsVerifier,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::error::{Fault, HandshakeError, LoadError};
use super::pinned::Pinned;
use super::{Alpn, Identity, Port, files, provider};

const CA: &str = "--upstream-ca";
const READERS_CA: &str = "--ca";

/// Speaks TLS to one upstream and verifies that it is the one. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    client: TlsConnector,
    name: ServerName<'static>,
    /// Whom we trust, in words.
    roots: Arc<str>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Connector {
    /// Prepares connections to `host`, a DNS name or an address without brackets. Its certificate
    /// has to lead to a root of `ca`, or to one of the system's (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` replace those, as in OpenSSL). Roots are read once.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if there is no root, or the host is no name.
    pub fn load(host: &str, ca: Option<&Path>) -> Result<Self, LoadError> {
        Self::verifying(host, &format!("--upstream https://{host}"), (CA, ca), None)
    }

    /// Prepares to ask `host` for names of paths, verified as [`Self::load`] does, with the roots
    /// of the flag `ca.0`; `place` is the flag and its value that name the host.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn of_source(
        host: &str,
        place: &str,
        ca: (&str, Option<&Path>),
    ) -> Result<Self, LoadError> {
        Self::verifying(host, place, ca, None)
    }

    /// Prepares to read the metrics port of `host`, verified as [`Self::load`] does; `identity` is
    /// shown if it is asked for.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and for files of `identity` that cannot be used.
    pub fn of_reader(
        host: &str,
        ca: Option<&Path>,
        identity: Option<&Identity>,
    ) -> Result<Self, LoadError> {
        Self::verifying(host, &format!("https://{host}"), (READERS_CA, ca), identity)
    }

    /// Prepares to ask the sidecar that serves this certificate (PEM), by whatever name: the one
    /// that it shows has to be the same.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if the file cannot be used.
    pub fn of_own(cert: &Path) -> Result<Self, LoadError> {
        let place = Port::Metrics.cert_flag();
        let leaf = files::certificates(place, cert)?.into_iter().next();
        let leaf = leaf.ok_or_else(|| LoadError::new(place, cert, Fault::Empty))?;
        let setup = |error| LoadError::new(place, cert, Fault::Setup(error));
        let config = builder()
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(leaf)))
            .with_no_client_auth();
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let roots = format!("{place} {}", cert.display()).into();
        Ok(Self { client: TlsConnector::from(Arc::new(config)), name, roots })
    }

    fn verifying(
        host: &str,
        place: &str,
        (flag, ca): (&str, Option<&Path>),
        identity: Option<&Identity>,
    ) -> Result<Self, LoadError> {
        let failed = |fault| LoadError { place: place.to_owned(), fault };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failed(Fault::Name(host.to_owned())))?;
        let (roots, words) = match ca {
            Some(file) => (roots_of(flag, file)?, format!("a certificate of {}", file.display())),
            None => (system_roots().map_err(failed)?, "one of the system's roots".to_owned()),
        };
        let builder = builder().map_err(|error| failed(Fault::Setup(error)))?;
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            Some(identity) => builder.with_client_cert_resolver(files::shown(identity)?),
            None => builder.with_no_client_auth(),
        };
        Ok(Self { client: TlsConnector::from(Arc::new(config)), name, roots: words.into() })
    }

    /// The same for a socket that blocks; the handshake comes with the first byte.
    ///
    /// # Errors
    ///
    /// The library's, of its settings.
    pub fn blocking(
        &self,
        socket: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, rustls::Error> {
        let session = ClientConnection::new(Arc::clone(self.client.config()), self.name.clone())?;
        Ok(StreamOwned::new(session, socket))
    }

    /// Does the handshake on a connected socket. `offer` is what ALPN may choose from, the
    /// preferred one first. The caller sets the time limit.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`], with advice where the upstream's certificate is the reason.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn connect<S>(
        &self,
        socket: S,
        offer: &[Alpn],
    ) -> Result<(TlsStream<S>, Alpn), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connecting = self.client.with_alpn(Alpn::offer(offer));
        match connecting.connect(self.name.clone(), socket).await {
            Ok(stream) => {
                let alpn = Alpn::of(stream.get_ref().1.alpn_protocol());
                Ok((stream, alpn))
            }
            Err(error) => Err(HandshakeError::of(error, &self.name.to_str(), &self.roots)),
        }
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

/// All certificates of a flag's file, as roots.
pub(super) fn roots_of(flag: &str, file: &Path) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for (index, root) in files::certificates(flag, file)?.into_iter().enumerate() {
        let added = roots.add(root);
        added.map_err(|error| LoadError::new(flag, file, Fault::Root(index + 1, error)))?;
    }
    Ok(roots)
}

/// The system's roots. One that cannot be parsed is passed over, as every TLS library does.
fn system_roots() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _ignored) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(Fault::NoSystemRoots(reason))
}
