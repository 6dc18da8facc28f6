//! Cold metrics of the process: what is one, however many ports it serves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use ::metrics::{Counter, Gauge, Key, Label, Recorder};

use super::catalogue::{
    ACCESS_LOG_DROPPED, BUFFERED, BUFFERED_LIMIT, BUILD_INFO, DOWNSTREAM_LIMIT, DRAINING,
    LOG_DROPPED, ROUTES_RELOAD, ROUTES_RELOAD_TIMESTAMP, SCRAPE_DURATION, SHED,
};
use super::sidecar::{REVISION, RUSTC, Registrar, VERSION};
use super::tls::{ReadTls, TlsMetrics};

/// Asks for a number of bytes.
pub(crate) type ReadBytes = Box<dyn Fn() -> usize + Send + Sync>;

/// What had to go so that others have room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shed {
    /// A request, or a part of its head; it got 503, or `REFUSED_STREAM`.
    Request,
    /// A new connection.
    Connection,
    /// A connection that was idle.
    Idle,
    /// A connection that held much and moved little.
    Large,
    /// A connection whose frames carried nothing.
    Flood,
}

impl Shed {
    /// All reasons, in the order of their numbers.
    const ALL: [Self; 5] = [Self::Request, Self::Connection, Self::Idle, Self::Large, Self::Flood];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Connection => "connection",
            Self::Idle => "idle",
            Self::Large => "large",
            Self::Flood => "flood",
        }
    }
}

/// Handles of the process' metrics, registered once.
pub struct ProcessMetrics {
    shed: [Counter; Shed::ALL.len()],
    buffered: Gauge,
    buffered_limit: Gauge,
    read_buffered: OnceLock<ReadBytes>,
    log_dropped: Counter,
    /// Lines of the program's own log that were lost, once there is one.
    pub(crate) log_lost: OnceLock<Arc<AtomicU64>>,
    access_log_dropped: Counter,
    /// Access-log lines that were lost, once there is an access log.
    pub(crate) access_log_lost: OnceLock<Arc<AtomicU64>>,
    reload_success: Gauge,
    reload_timestamp: Gauge,
    /// Set after each scrape.
    pub(crate) scrape_duration: Gauge,
    /// Set by the shutdown.
    pub(crate) draining: Gauge,
    /// Without `--tls-cert` these do not exist: an expiry of 0 would raise alarms.
    tls: OnceLock<TlsMetrics>,
    registrar: Registrar,
}

impl std::fmt::Debug for ProcessMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessMetrics")
    }
}

impl ProcessMetrics {
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    pub(super) fn new(max_connections: usize) -> Arc<Self> {
        let to = Registrar::new();
        to.gauge(DOWNSTREAM_LIMIT, None).set(max_connections as f64);
        let build = [("version", VERSION), ("revision", REVISION), ("rustc", RUSTC)];
        let build: Vec<Label> = build.into_iter().map(|(k, v)| Label::new(k, v)).collect();
        to.recorder.describe_gauge(BUILD_INFO.name.into(), None, BUILD_INFO.help.into());
        let build = Key::from_parts(BUILD_INFO.name, build);
        to.recorder.register_gauge(&build, &Registrar::METADATA).set(1.0);
        Arc::new(Self {
            shed: Shed::ALL.map(|shed| to.counter(SHED, Some(("reason", shed.as_str())))),
            buffered: to.gauge(BUFFERED, None),
            buffered_limit: to.gauge(BUFFERED_LIMIT, None),
            read_buffered: OnceLock::new(),
            log_dropped: to.counter(LOG_DROPPED, None),
            log_lost: OnceLock::new(),
            access_log_dropped: to.counter(ACCESS_LOG_DROPPED, None),
            access_log_lost: OnceLock::new(),
            reload_success: to.gauge(ROUTES_RELOAD, None),
            reload_timestamp: to.gauge(ROUTES_RELOAD_TIMESTAMP, None),
            scrape_duration: to.gauge(SCRAPE_DURATION, None),
            draining: to.gauge(DRAINING, None),
            tls: OnceLock::new(),
            registrar: to,
        })
    }

    /// Counts what had to go so that others have room.
    pub(crate) fn shed(&self, what: Shed, count: u64) {
        if let Some(counter) = self.shed.get(what as usize) {
            counter.increment(count);
        }
    }

    /// From now on shows how many bytes are kept for peers, of `limit_bytes` at most.
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    pub(crate) fn show_buffered(&self, limit_bytes: usize, read: ReadBytes) {
        self.buffered_limit.set(limit_bytes as f64);
        self.read_buffered.get_or_init(|| read);
    }

    /// The files of routes were read, at the start or again. A failure leaves the time as it is.
    pub(crate) fn reloaded(&self, success: bool) {
        self.reload_success.set(if success { 1.0 } else { 0.0 });
        if success {
            let now = UNIX_EPOCH.elapsed().unwrap_or_default();
            self.reload_timestamp.set(now.as_secs_f64());
        }
    }

    /// From now on shows what this listener says of its certificate and handshakes.
    pub(crate) fn show_tls(&self, read: ReadTls) {
        self.tls.get_or_init(|| TlsMetrics::new(&self.registrar, read));
    }

    /// Sets what is derived from elsewhere, then renders all of them as text 0.0.4.
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    pub(super) fn render(&self) -> String {
        for (counter, lost) in
            [(&self.log_dropped, &self.log_lost), (&self.access_log_dropped, &self.access_log_lost)]
        {
            counter.absolute(lost.get().map_or(0, |lost| lost.load(Relaxed)));
        }
        self.buffered.set(self.read_buffered.get().map_or(0, |read| read()) as f64);
        if let Some(tls) = self.tls.get() {
            tls.collect();
        }
        self.registrar.render()
    }
}
