//! PEM files → certificates and keys that fit each other.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys};
use x509_cert::der::{DateTime, Decode};

use super::error::{Date, Fault, LoadError};
use super::{Identity, provider};
use crate::net::file;

/// A chain of certificates with its key needs some 10 KiB, all public roots some 250 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// A certificate with its key, ready to serve.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: CertifiedKey,
    /// When the leaf expires, in seconds since the epoch.
    pub(super) not_after_seconds: i64,
}

/// Reads certificate and key and checks that they fit each other and are valid at `now_seconds`.
///
/// Only the leaf's dates are checked: chains with an expired cross-signed root are in use.
pub(super) fn load(identity: &Identity, now_seconds: i64) -> Result<Loaded, LoadError> {
    let (cert_flag, key_flag) = (identity.port.cert_flag(), identity.port.key_flag());
    let chain = certificates(cert_flag, &identity.cert)?;
    let of_cert = |fault| LoadError::new(cert_flag, &identity.cert, fault);
    let leaf = chain.first().ok_or_else(|| of_cert(Fault::Empty))?;
    let not_after_seconds = valid_until(leaf, now_seconds).map_err(of_cert)?;
    let of_key = |fault| LoadError::new(key_flag, &identity.key, fault);
    let key = private_key(&read(key_flag, &identity.key)?).map_err(of_key)?;
    let mismatch = || of_key(Fault::Mismatch(format!("{cert_flag} {}", identity.cert.display())));
    let signing = provider().key_provider.load_private_key(key);
    let key = CertifiedKey::new(chain, signing.map_err(|error| of_key(Fault::Key(error)))?);
    match key.keys_match() {
        Ok(()) => Ok(Loaded { key, not_after_seconds }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(mismatch()),
        Err(error) => Err(of_cert(Fault::Certificate(error.to_string()))),
    }
}

/// What a client shows of itself.
pub(super) fn shown(identity: &Identity) -> Result<Arc<SingleCertAndKey>, LoadError> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    load(identity, now_seconds).map(|loaded| Arc::new(SingleCertAndKey::from(loaded.key)))
}

/// Tells whether every user of the system may read a file.
pub(super) fn is_readable_by_all(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|about| about.mode() & 0o004 != 0)
}

/// All certificates of a PEM file, at least one; other sections are passed over.
pub(super) fn certificates(
    flag: &str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let text = read(flag, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_none) => Err(LoadError::new(flag, file, Fault::Missing("certificate", "CERTIFICATE"))),
        Err(error) => Err(LoadError::new(flag, file, Fault::Pem(error))),
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    if is_encrypted(text) {
        return Err(Fault::EncryptedKey);
    }
    let mut found = PrivateKeyDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(Fault::Pem)?;
    let count = found.len();
    match found.pop() {
        Some(key) if count == 1 => Ok(key),
        Some(_one_of_several) => Err(Fault::SeveralKeys(count)),
        None => Err(Fault::Missing("private key", "PRIVATE KEY")),
    }
}

/// A key with a pass phrase: PKCS#8, or the older form of OpenSSL, which RFC 1421 §4.6 has.
fn is_encrypted(text: &[u8]) -> bool {
    let has = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"\nProc-Type: 4,ENCRYPTED")
}

/// Checks a certificate's dates; returns the end of its validity.
fn valid_until(leaf: &CertificateDer<'_>, now_seconds: i64) -> Result<i64, Fault> {
    let leaf = x509_cert::Certificate::from_der(leaf)
        .map_err(|error| Fault::Certificate(error.to_string()))?;
    let validity = leaf.tbs_certificate().validity();
    let seconds = |at: DateTime| i64::try_from(at.unix_duration().as_secs()).unwrap_or(i64::MAX);
    let (begin, end) =
        (seconds(validity.not_before.to_date_time()), seconds(validity.not_after.to_date_time()));
    if now_seconds < begin {
        return Err(Fault::NotYetValid(Date(begin)));
    }
    if now_seconds > end {
        return Err(Fault::Expired(Date(end)));
    }
    Ok(end)
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, LoadError> {
    let mut text = Vec::new();
    let result = file::open(file).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut text));
    let fault = match result {
        Err(error) => Fault::Unreadable(error),
        Ok(0) => Fault::Empty,
        Ok(_) if text.len() as u64 > MAX_BYTES => Fault::TooLarge,
        Ok(_) => return Ok(text),
    };
    Err(LoadError::new(flag, file, fault))
}
