//! Reading one source: a URL, the replicas behind a name, or a file.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::decode::{Decoded, decode};
use super::http::{Question, get};
use super::{MAX_BYTES, ReadError};
use crate::config::names::{Credentials, NameSource, NamesFrom, SourceUrl};
use crate::net::file;
use crate::net::tls::{Alpn, Connector, LoadError};
use crate::paths::NameSet;

/// How long a source may take, from its name to the last byte.
const LIMIT: Duration = Duration::from_secs(2);

/// Replicas asked at one time, chosen at random where there are more: names spread through them to
/// all the others.
const MAX_REPLICAS: usize = 8;

/// A source that can be asked. Shown as it was given.
#[derive(Clone, Debug)]
pub struct Source {
    from: NameSource,
    tls: Option<Connector>,
    credentials: Option<Credentials>,
}

/// What a source said.
#[derive(Debug, Default)]
pub struct Reading {
    /// Its names.
    pub names: NameSet,
    /// Entries that are no templates.
    pub left_out: usize,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.from.fmt(f)
    }
}

impl Source {
    /// Gets ready to ask; roots are read once.
    ///
    /// # Errors
    ///
    /// [`LoadError`] for roots that cannot be used.
    pub fn prepare(names_from: &NamesFrom) -> Result<Vec<Self>, LoadError> {
        let sources = names_from.sources.iter();
        let prepared = sources.map(|from| {
            let tls = match from {
                NameSource::Url(url) if url.is_tls => {
                    let place = format!("--names-from {url}");
                    let ca = ("--names-ca", names_from.ca.as_deref());
                    Some(Connector::of_source(&url.host.name(), &place, ca)?)
                }
                NameSource::Url(_) | NameSource::File(_) => None,
            };
            Ok(Self { from: from.clone(), tls, credentials: names_from.credentials.clone() })
        });
        prepared.collect()
    }

    /// The same, asked for what one listener of several knows.
    pub(crate) fn of_listener(&self, name: &str, is_first: bool) -> Self {
        Self { from: self.from.of_listener(name, is_first), ..self.clone() }
    }

    /// Asks, for 2 s at most.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; of several replicas one that answers is enough.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connections.
    pub async fn read(&self) -> Result<Reading, ReadError> {
        let read = async {
            match &self.from {
                NameSource::File(file) => {
                    let file = file.clone();
                    let read = tokio::task::spawn_blocking(move || read_file(&file, MAX_BYTES));
                    let bytes = read.await.map_err(|_| ReadError::Form("reading it failed"))??;
                    Ok(complete(decode(&bytes)?, None))
                }
                NameSource::Url(url) if url.asks_replicas() => self.read_replicas(url).await,
                NameSource::Url(url) => self.read_prometheus(url).await,
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or(Err(ReadError::Slow(LIMIT)))
    }

    /// The raw answer of a URL, for questions of another kind.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn fetch(&self, limit: Duration, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let NameSource::Url(url) = &self.from else { return Err(ReadError::Target) };
        let fetched = async {
            let target = url.target(SystemTime::now());
            let question =
                Question { max_bytes, ..question(url, target, self.authorization().await?) };
            self.ask_first(&look_up(url).await?, &question).await
        };
        tokio::time::timeout(limit, fetched).await.unwrap_or(Err(ReadError::Slow(limit)))
    }

    async fn read_prometheus(&self, url: &SourceUrl) -> Result<Reading, ReadError> {
        let now = SystemTime::now();
        let authorization = self.authorization().await?;
        let addresses: Vec<_> = look_up(url).await?;
        let ask = async |target| {
            let question = question(url, target, authorization.clone());
            self.ask_first(&addresses, &question).await
        };
        let decoded = decode(&ask(url.target(now)).await?)?;
        let folds = match url.folds_target(now) {
            // Who cannot tell which places fold fails: then all do, as in a list of routes.
            Some(target) if !decoded.names.is_empty() => {
                ask(target).await.and_then(|answer| decode(&answer)).ok()
            }
            _ => None,
        };
        Ok(complete(decoded, folds))
    }

    async fn read_replicas(&self, url: &SourceUrl) -> Result<Reading, ReadError> {
        let question = question(url, url.target(SystemTime::now()), self.authorization().await?);
        let mut addresses = look_up(url).await?;
        let random = RandomState::new();
        addresses.sort_by_cached_key(|address| random.hash_one(address));
        let mut asked = JoinSet::new();
        for address in addresses.into_iter().take(MAX_REPLICAS) {
            let (source, question) = (self.clone(), question.clone());
            asked.spawn_local(async move { source.ask(address, &question).await });
        }
        let (mut reading, mut answers, mut failed) = (Reading::default(), 0, None);
        let mut add = |result: Result<Vec<u8>, ReadError>| match result.and_then(|a| decode(&a)) {
            Ok(decoded) => {
                let one = complete(decoded, None);
                reading.names.merge(one.names);
                reading.left_out += one.left_out;
                answers += 1;
            }
            Err(error) => failed = Some(error),
        };
        let all = async {
            while let Some(result) = asked.join_next().await {
                if let Ok(result) = result {
                    add(result);
                }
            }
        };
        // One that is silent must not take away what the others have said.
        let patience = LIMIT.mul_f64(0.9);
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        if answers > 0 {
            return Ok(reading);
        }
        Err(match failed {
            Some(error) if in_time => error,
            _ => ReadError::Slow(LIMIT),
        })
    }

    async fn ask_first(
        &self,
        addresses: &[SocketAddr],
        question: &Question,
    ) -> Result<Vec<u8>, ReadError> {
        let mut last = ReadError::NoAddress;
        for address in addresses {
            match self.ask(*address, question).await {
                Err(error @ ReadError::Connect(_)) => last = error,
                result => return result,
            }
        }
        Err(last)
    }

    async fn ask(&self, address: SocketAddr, question: &Question) -> Result<Vec<u8>, ReadError> {
        let stream = TcpStream::connect(address).await.map_err(ReadError::Connect)?;
        match &self.tls {
            None => get(stream, question).await,
            Some(connector) => {
                let connected = connector.connect(stream, &[Alpn::Http1]).await;
                let (stream, _) = connected.map_err(|error| ReadError::tls(&error))?;
                get(stream, question).await
            }
        }
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ReadError> {
        const MAX_SECRET_BYTES: usize = 16 * 1024;
        let Some(credentials) = self.credentials.clone() else { return Ok(None) };
        let (Credentials::Token(file) | Credentials::Basic(file)) = &credentials;
        let file: PathBuf = file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read_file(&file, MAX_SECRET_BYTES);
            bytes.map_err(|error| {
                ReadError::Credentials(file.display().to_string(), error.to_string())
            })
        });
        let bytes = read.await.map_err(|_| ReadError::Form("reading the credentials failed"))??;
        let secret = bytes.trim_ascii();
        let text = match &credentials {
            Credentials::Token(_) => [b"Bearer ", secret].concat(),
            Credentials::Basic(_) => [b"Basic ", base64(secret).as_bytes()].concat(),
        };
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| {
            let (Credentials::Token(file) | Credentials::Basic(file)) = &credentials;
            ReadError::Credentials(file.display().to_string(), "it is no line of text".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn question(url: &SourceUrl, target: String, authorization: Option<HeaderValue>) -> Question {
    Question {
        authority: url.authority(),
        target,
        purpose: "names",
        accept: "application/json",
        authorization,
        max_bytes: MAX_BYTES,
    }
}

/// Puts names and the places that fold together.
fn complete(mut decoded: Decoded, folds: Option<Decoded>) -> Reading {
    match folds {
        Some(folds) => {
            for (place, _) in folds.names.iter() {
                decoded.names.insert_fold(place.clone());
            }
        }
        None if !decoded.tells_folds => decoded.names.fold_all(),
        None => {}
    }
    Reading { names: decoded.names, left_out: decoded.left_out }
}

async fn look_up(url: &SourceUrl) -> Result<Vec<SocketAddr>, ReadError> {
    let found = tokio::net::lookup_host((url.host.name(), url.port)).await;
    let mut addresses: Vec<_> = found.map_err(ReadError::Name)?.collect();
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    if addresses.is_empty() { Err(ReadError::NoAddress) } else { Ok(addresses) }
}

fn read_file(path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let limit = max_bytes as u64 + 1;
    let opened = file::open(path).map_err(ReadError::File)?;
    opened.take(limit).read_to_end(&mut bytes).map_err(ReadError::File)?;
    if bytes.len() > max_bytes { Err(ReadError::TooLarge(max_bytes)) } else { Ok(bytes) }
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4_usize {
            let digit = (group >> (18 - 6 * place)) & 63;
            let digit = DIGITS.get(digit as usize).copied().filter(|_| place <= chunk.len());
            text.push(digit.map_or('=', char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_rfc_4648_says() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_file_has_to_be_one_and_not_too_large() {
        assert!(matches!(read_file(Path::new("/dev/zero"), 10), Err(ReadError::File(_))));
        assert!(matches!(read_file(Path::new("/proc"), 10), Err(ReadError::File(_))));
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(matches!(read_file(&manifest, 10), Err(ReadError::TooLarge(10))));
        assert!(read_file(&manifest, MAX_BYTES).is_ok());
    }
}
