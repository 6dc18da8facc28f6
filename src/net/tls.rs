//! TLS on both sides: the listener's certificate and the verified connection to the upstream.
//!
//! rustls with one provider, `ring`. TLS 1.2 and 1.3; no renegotiation, no early data (0-RTT);
//! client certificates on the metrics port only. The stream of a handshake is tokio-rustls's own.
//!
//! # Truncation
//!
//! A peer that closes without `close_notify` is an error of kind
//! [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof) at the read that meets it, never a clean
//! end. A body that ends with its connection can therefore not be cut short unseen. RFC 8446 §6.1
//! requires the alert; RFC 9112 §9.8 says what its lack means for a body.
//!
//! # Writing
//!
//! A write may end in the session's buffer (64 KiB at most), so whoever waits for an answer has to
//! flush first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use self::connector::Connector;
pub(crate) use self::error::LoadError;
pub use self::error::{Date, HandshakeError};
pub(crate) use self::listener::{Listener, RELOAD_INTERVAL};

mod connector;
mod error;
mod files;
mod listener;
mod pinned;

/// The files that flags name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// The listener's certificate and key; without them it speaks plain HTTP.
    pub identity: Option<Identity>,
    /// Roots to verify the upstream with, instead of the system's.
    pub upstream_ca: Option<PathBuf>,
}

/// What the files became; an end without TLS is `None`.
#[derive(Clone, Debug, Default)]
pub struct TlsContexts {
    /// Ends TLS for clients.
    pub listener: Option<Arc<Listener>>,
    /// Begins TLS to the upstream.
    pub connector: Option<Connector>,
}

impl TlsContexts {
    /// Loads what the flags ask for. `upstream` is the host of an https upstream; `offer` and
    /// `limit` are those of [`Listener::load`].
    ///
    /// # Errors
    ///
    /// The first [`LoadError`].
    pub fn load(
        files: &Files,
        upstream: Option<&str>,
        offer: &[Alpn],
        limit: Duration,
    ) -> Result<Self, LoadError> {
        let listener = files.identity.clone().map(|it| Listener::load(it, None, offer, limit));
        let connector = upstream.map(|host| Connector::load(host, files.upstream_ca.as_deref()));
        Ok(Self {
            listener: listener.transpose()?.map(Arc::new),
            connector: connector.transpose()?,
        })
    }
}

/// A certificate and its key, as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The certificate first, then its intermediates, as PEM.
    pub cert: PathBuf,
    /// One private key as PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// Whose port they are for.
    pub port: Port,
}

/// A port that may speak TLS: what its flags are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// The one that clients connect to.
    Clients,
    /// The metrics port.
    Metrics,
    /// Somebody's metrics port, which we read: who we are.
    Reader,
}

impl Port {
    const fn cert_flag(self) -> &'static str {
        match self {
            Self::Clients => "--tls-cert",
            Self::Metrics => "--metrics-tls-cert",
            Self::Reader => "--cert",
        }
    }

    const fn key_flag(self) -> &'static str {
        match self {
            Self::Clients => "--tls-key",
            Self::Metrics => "--metrics-tls-key",
            Self::Reader => "--key",
        }
    }
}

/// What is spoken inside TLS.
///
/// # Source
///
/// RFC 7301; RFC 9113 §3.2: HTTP/2 inside TLS only where ALPN chose it. So a peer without ALPN
/// speaks HTTP/1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alpn {
    /// `http/1.1`, or no choice was made.
    Http1,
    /// `h2`.
    Http2,
}

impl Alpn {
    /// The protocol's name on the wire.
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// What was agreed on. rustls accepts nothing that was not offered.
    fn of(chosen: Option<&[u8]>) -> Self {
        if chosen == Some(Self::Http2.as_bytes()) { Self::Http2 } else { Self::Http1 }
    }

    /// The list to offer, the preferred one first.
    fn offer(list: &[Self]) -> Vec<Vec<u8>> {
        list.iter().map(|alpn| alpn.as_bytes().to_vec()).collect()
    }
}

/// The one provider. Given to every configuration, so that no process-wide default is needed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests;
