//! The upstream's side: a connection whose certificate was verified.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::error::{Fault, HandshakeError, LoadError};
use super::{Alpn, files, provider};

const CA: &str = "--upstream-ca";

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
        let of_upstream = |fault| LoadError { place: format!("--upstream https://{host}"), fault };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| of_upstream(Fault::Name(host.to_owned())))?;
        let (roots, words) = match ca {
            Some(file) => (roots_of(file)?, format!("a certificate of {}", file.display())),
            None => (system_roots().map_err(of_upstream)?, "one of the system's roots".to_owned()),
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| of_upstream(Fault::Setup(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { client: TlsConnector::from(Arc::new(config)), name, roots: words.into() })
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

fn roots_of(file: &Path) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for (index, root) in files::certificates(CA, file)?.into_iter().enumerate() {
        let added = roots.add(root);
        added.map_err(|error| LoadError::new(CA, file, Fault::Root(index + 1, error)))?;
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
