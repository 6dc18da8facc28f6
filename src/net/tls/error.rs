//! What is wrong with a file, and why a handshake failed.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// Why the files of a flag cannot be used. Display names flag, file and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct LoadError {
    /// The flag and its value.
    pub place: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl LoadError {
    pub(super) fn new(flag: &str, file: &Path, fault: Fault) -> Self {
        Self { place: format!("{flag} {}", file.display()), fault }
    }
}

/// What is wrong with a certificate, a key or a set of roots.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The kernel's reason.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// No byte in it.
    #[error("the file is empty")]
    Empty,
    /// More than any chain of certificates needs.
    #[error("larger than 1 MiB, so this is not a PEM file of certificates or a key")]
    TooLarge,
    /// Nothing of what was looked for.
    #[error("no {0} in it; give PEM, which begins with a line like `-----BEGIN {1}-----`")]
    Missing(&'static str, &'static str),
    /// PEM that does not decode.
    #[error("damaged PEM: {}", damage(.0))]
    Pem(pem::Error),
    /// More than one private key.
    #[error("{0} private keys in it; leave only the one that belongs to the certificate")]
    SeveralKeys(usize),
    /// A key behind a pass phrase.
    #[error("the key is encrypted; decrypt it first, for example with `openssl pkey`")]
    EncryptedKey,
    /// A kind of key that the provider does not know, or too short a one.
    #[error(
        "the key cannot be used: {0}; give RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
    )]
    Key(rustls::Error),
    /// Certificate and key belong to different pairs.
    #[error("not the private key of {0}; give the pair that was issued together")]
    Mismatch(String),
    /// DER that is not a certificate.
    #[error("not an X.509 certificate: {0}")]
    Certificate(String),
    /// Its time has not come.
    #[error("the certificate is not valid before {0}; check the clock, or give one valid now")]
    NotYetValid(Date),
    /// Its time is over.
    #[error("the certificate expired at {0}; renew it")]
    Expired(Date),
    /// A root that cannot be one.
    #[error("certificate {0} of the file cannot be a root: {1}")]
    Root(usize, rustls::Error),
    /// No root at all.
    #[error(
        "the system has no root certificates to verify it with{0}; install them (Debian: ca-certificates) or give --upstream-ca FILE"
    )]
    NoSystemRoots(String),
    /// A host that no certificate can name.
    #[error("`{0}` is not a name that a certificate can have")]
    Name(String),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The library shows the lines that it misses as numbers.
fn damage(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker: line } => {
            format!("the end of `{}` is missing", String::from_utf8_lossy(line).escape_debug())
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` begins nothing", String::from_utf8_lossy(line).escape_debug())
        }
        other => other.to_string(),
    }
}

/// A moment of a certificate, in seconds since the epoch; shown as a date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date(pub i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The last second of the year 9999.
        const LAST: u64 = 253_402_300_799;
        match u64::try_from(self.0) {
            Ok(seconds) if seconds <= LAST => {
                let at = UNIX_EPOCH + Duration::from_secs(seconds);
                humantime::format_rfc3339_seconds(at).fmt(f)
            }
            _ => write!(f, "second {} since 1970", self.0),
        }
    }
}

/// Why a handshake failed. Each closes the connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client took too long.
    #[error("the TLS handshake was not finished within {0:?}")]
    Timeout(Duration),
    /// A client that took the port for one without TLS.
    #[error("the client spoke HTTP without TLS")]
    Plain,
    /// The peer closed, or the network broke.
    #[error("the connection ended during the TLS handshake")]
    Io(#[source] io::Error),
    /// The peer gave up, and said why.
    #[error("the peer ended the TLS handshake with the alert {0:?}")]
    Alert(AlertDescription),
    /// The upstream's certificate is for others.
    #[error(
        "the upstream's certificate is not for `{name}` but for {presented}; name the upstream as its certificate does"
    )]
    NameMismatch {
        /// The host of `--upstream`.
        name: String,
        /// What the certificate names.
        presented: String,
    },
    /// Nobody we trust signed the upstream's certificate.
    #[error(
        "the upstream's certificate is not signed by {roots}; give the certificate of its issuer as --upstream-ca"
    )]
    UnknownIssuer {
        /// The file, or the system.
        roots: String,
    },
    /// The upstream shows the certificate of an authority, perhaps one of our own roots.
    #[error(
        "the upstream's certificate is marked as an authority's (CA:TRUE), which no server's may be; issue one with CA:FALSE"
    )]
    AuthorityAsServer,
    /// The upstream's certificate is out of date.
    #[error("the upstream's certificate is expired or not yet valid")]
    Validity(#[source] rustls::Error),
    /// The upstream's certificate cannot be verified for another reason.
    #[error("the upstream's certificate cannot be verified")]
    Certificate(#[source] rustls::Error),
    /// The peer does not speak TLS as we do, if it speaks TLS.
    #[error("the TLS handshake failed")]
    Protocol(#[source] rustls::Error),
}

impl HandshakeError {
    /// Sorts the error of a handshake. `name` and `roots` are what the peer was verified with.
    pub(super) fn of(error: io::Error, name: &str, roots: &str) -> Self {
        use CertificateError as C;
        let error = match error.downcast::<rustls::Error>() {
            Ok(error) => error,
            Err(error) => return Self::Io(error),
        };
        let rustls::Error::InvalidCertificate(fault) = &error else {
            return match error {
                rustls::Error::AlertReceived(alert) => Self::Alert(alert),
                other => Self::Protocol(other),
            };
        };
        let name = name.to_owned();
        match fault {
            C::NotValidForNameContext { presented, .. } => {
                let presented = names(presented);
                Self::NameMismatch { name, presented }
            }
            C::NotValidForName => Self::NameMismatch { name, presented: "others".to_owned() },
            // A root with the issuer's name, but of another key: an authority that was made anew.
            C::UnknownIssuer | C::BadSignature => Self::UnknownIssuer { roots: roots.to_owned() },
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. } => Self::Validity(error),
            // The verifier's own error has no name that rustls exports.
            C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::AuthorityAsServer
            }
            _ => Self::Certificate(error),
        }
    }
}

/// The names of a certificate, which rustls shows as `DnsName("app")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    match presented {
        [] => "no name at all".to_owned(),
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}
