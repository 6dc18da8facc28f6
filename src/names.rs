//! Names of paths from elsewhere: other replicas, a Prometheus that remembers, a file, the app.
//!
//! Nothing here is waited for: who serves goes on, and a source that is slow, wrong or away costs a
//! path that is new at most the time in which it would have been named anyway. Guards the invariant
//! that a source is bounded in time and bytes and teaches nothing that the detectors would hide.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::SidecarMetrics;
use crate::metrics::store::Store;
use crate::net::tls::HandshakeError;
use crate::paths::NameSet;

pub use self::source::{Reading, Source};

pub use self::decode::decode;
pub use self::described::App;

pub(crate) mod decode;
pub(crate) mod described;
pub(crate) mod http;
mod source;

/// Bytes that a source may have. A name has at most 200, so it is more than `--max-paths` allows.
pub const MAX_BYTES: usize = 1 << 20;

/// The least time from one reading to the next. It doubles with each that brings nothing new, so
/// that an app whose paths never end does not become a load for its Prometheus.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The time from one reading to the next if no path is without a name: names that others have found
/// meanwhile should be the same here before somebody compares.
const PERIOD: Duration = Duration::from_mins(5);

/// Why a source could not be read. Display is for a log line that names the source.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its name did not resolve.
    #[error("its name did not resolve: {0}")]
    Name(#[source] io::Error),
    /// Its name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// Nobody listens there, or no way leads there.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The app itself cannot be connected to.
    #[error("{0}")]
    Upstream(String),
    /// It was not verified, or does not speak TLS.
    #[error("no TLS connection: {0}")]
    Tls(String),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Slow(Duration),
    /// It does not speak HTTP, or left.
    #[error("the exchange broke: {0}")]
    Broken(#[source] io::Error),
    /// A target that cannot be asked for.
    #[error("the URL cannot be asked for")]
    Target,
    /// Another status than 200. Redirects are not followed.
    #[error("it answers {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    /// A coding that was not asked for.
    #[error("it answers in the coding `{0}`, which was not asked for")]
    Compressed(String),
    /// More than a list of names has.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// Neither JSON nor a list.
    #[error("{0}")]
    Form(&'static str),
    /// JSON that is broken, or another than is known.
    #[error("its JSON is not understood: {0}")]
    Json(String),
    /// The source says that something is wrong.
    #[error("it answers: {0}")]
    Told(String),
    /// Not a document of an API.
    #[error("{0}")]
    Document(String),
    /// A file that cannot be read.
    #[error("cannot be read: {0}")]
    File(#[source] io::Error),
    /// A file of credentials that cannot be used.
    #[error("the credentials in {0}: {1}")]
    Credentials(String, String),
}

fn hint(status: StatusCode) -> &'static str {
    if status.is_redirection() { ", and redirects are not followed" } else { "" }
}

impl ReadError {
    /// The upstream's words, of which `--upstream` is no matter here.
    fn tls(error: &HandshakeError) -> Self {
        Self::Tls(match error {
            HandshakeError::NameMismatch { name, presented } => {
                format!("its certificate is not for `{name}` but for {presented}")
            }
            HandshakeError::UnknownIssuer { roots } => format!(
                "its certificate is not signed by {roots}; give the certificate of its issuer as --names-ca"
            ),
            other => other.to_string().replace("the upstream's", "its"),
        })
    }
}

/// Asks all sources at once; what they said, and for each how it went.
///
/// # Cancel safety
///
/// Dropping the future ends all.
pub async fn read_all(sources: &[Source]) -> (NameSet, Vec<Result<usize, ReadError>>) {
    let mut asked = JoinSet::new();
    for (index, source) in sources.iter().cloned().enumerate() {
        asked.spawn_local(async move { (index, source.read().await) });
    }
    let mut names = NameSet::default();
    let mut results: Vec<_> = sources.iter().map(|_| Err(ReadError::NoAddress)).collect();
    while let Some(Ok((index, read))) = asked.join_next().await {
        let result = read.map(|reading| {
            names.merge(reading.names);
            reading.left_out
        });
        if let Some(slot) = results.get_mut(index) {
            *slot = result;
        }
    }
    (names, results)
}

/// Asks at once, and from then on before paths without a name get one; for as long as it is polled.
///
/// `is_described` turns true when the app's own description is pinned, or will not be: until then
/// nothing is named.
pub async fn follow(
    sources: Vec<Source>,
    store: Arc<Store>,
    cold: Arc<SidecarMetrics>,
    is_described: watch::Receiver<bool>,
) {
    let mut log = Log { failing: vec![false; sources.len()] };
    let read = async || {
        let (names, results) = read_all(&sources).await;
        for (index, result) in results.iter().enumerate() {
            cold.names_read(result.is_ok());
            log.tell(index, sources.get(index), result);
        }
        names
    };
    keep_asking(&store, is_described, read).await;
}

async fn keep_asking(
    store: &Store,
    mut is_described: watch::Receiver<bool>,
    mut read: impl AsyncFnMut() -> NameSet,
) {
    let random = RandomState::new();
    let mut pause = FIRST_PAUSE;
    for round in 0_u64.. {
        let asking = store.asking();
        let names = read().await;
        // An error means that nobody describes anything any more.
        let _described = is_described.wait_for(|is| *is).await;
        let adopted = store.answered(asking, &names);
        if adopted.new > 0 {
            tracing::info!(names = adopted.new, "names of paths were taken over from --names-from");
        }
        pause = if adopted.new > 0 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        let earliest = Instant::now() + pause;
        // Replicas that were started together do not ask together for ever.
        let jitter = u32::try_from(random.hash_one(round) % 128).unwrap_or(0);
        let period = PERIOD.mul_f64(0.75 + f64::from(jitter) / 256.0);
        if tokio::time::timeout(period, store.unnamed()).await.is_ok() {
            tokio::time::sleep_until(earliest).await;
        }
    }
}

/// Tells of each source when it fails, and when it is well again; not each time.
struct Log {
    failing: Vec<bool>,
}

impl Log {
    fn tell(&mut self, index: usize, source: Option<&Source>, result: &Result<usize, ReadError>) {
        let (Some(failing), Some(source)) = (self.failing.get_mut(index), source) else { return };
        match result {
            Ok(_) if std::mem::take(failing) => {
                tracing::info!(%source, "names of paths can be read again");
            }
            Ok(left_out) if *left_out > 0 => {
                tracing::debug!(%source, left_out, "some names are no templates and are left out");
            }
            Ok(_) => {}
            Err(error) if !std::mem::replace(failing, true) => {
                tracing::warn!(
                    %source, %error,
                    "names of paths cannot be read; they are learned meanwhile"
                );
            }
            Err(error) => tracing::debug!(%source, %error, "names of paths cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests;
