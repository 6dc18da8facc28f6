//! The catalogue: every metric's name, type, labels and help; and the handles of the cold ones.
//!
//! No other module names a metric. `docs/metrics.md` and the HELP lines of a live scrape are held
//! equal to [`CATALOGUE`](super::CATALOGUE) by tests. The cold metrics (changed per connection,
//! not per request) go through the `metrics` facade; the hot family has its own store, `series`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use ::metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::Instant;

use crate::metrics::buckets::{Buckets, Native};
use crate::metrics::labels::ErrorToken;
use crate::metrics::store::HistogramRow;
use crate::metrics::wire::ActiveRequests;

use super::catalogue::{
    CONNECTS, DOWNSTREAM, DOWNSTREAM_TOTAL, EXCLUDED, Family, NAMES_READS, OVERFLOW,
    PATH_CONFLICTS, PATHS, PATHS_DIGEST, PATHS_LIMIT, REFUSED, RETRIES, REUSED, SERIES,
    SERIES_LIMIT, UP, UPSTREAM_CONNECTIONS,
};
use super::process::{ProcessMetrics, Shed};
use super::queue::{Look, QueueLog};
pub use super::reachability::Reachability;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit this build was made from, or `unknown`.
pub const REVISION: &str = env!("REDCAR_REVISION");
/// The compiler this build was made with.
pub const RUSTC: &str = env!("REDCAR_RUSTC");

/// Handles of the cold metrics of one listener, registered once.
pub struct SidecarMetrics {
    /// When the counters below began at 0.
    pub born: SystemTime,
    /// What all listeners have in common.
    pub(crate) process: Arc<ProcessMetrics>,
    connects_ok: Counter,
    connect_errors: Vec<Counter>,
    active: Gauge,
    idle: Gauge,
    reused: Counter,
    /// Retries of requests that provably never left us.
    pub retries_not_sent: Counter,
    /// Retries of idempotent requests that got not one byte back.
    pub retries_no_response: Counter,
    up: Gauge,
    /// What waits at the app's listening socket.
    pub(crate) queue: QueueLog,
    /// Whether the upstream can be connected to.
    pub upstream: Reachability,
    /// Open client connections that speak HTTP/1.
    pub downstream_http1: Gauge,
    /// Open client connections that speak HTTP/2.
    pub downstream_http2: Gauge,
    /// Accepted client connections that turned out to speak HTTP/2.
    pub downstream_http2_total: Counter,
    /// Accepted client connections; those that speak HTTP/1, and those that have said nothing.
    pub downstream_http1_total: Counter,
    /// Connections over `--max-connections`.
    pub refused_max_connections: Counter,
    /// Connections that could not be accepted, mostly for want of file descriptors.
    pub refused_accept_error: Counter,
    series: Gauge,
    paths: Gauge,
    paths_digest: Gauge,
    path_conflicts: Gauge,
    names_read: Counter,
    names_failed: Counter,
    overflow_paths: Counter,
    overflow_series: Counter,
    excluded: Counter,
    registrar: Registrar,
}

/// Values that are known only when somebody asks; set just before a scrape is rendered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collected {
    /// Rows of the hot family.
    pub series: usize,
    /// Learned paths.
    pub paths: usize,
    /// A hash of all names, below 2^52.
    pub paths_digest: u64,
    /// Names from elsewhere that wait for the next start.
    pub path_conflicts: usize,
    /// Requests whose path overflowed.
    pub path_overflows: u64,
    /// Requests whose row overflowed.
    pub series_overflows: u64,
}

impl std::fmt::Debug for SidecarMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SidecarMetrics")
    }
}

/// Registers families with one recorder and describes each once.
pub(super) struct Registrar {
    pub(super) recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Registrar {
    pub(super) const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

    /// With a recorder of its own, so that two sidecars in one process (as in tests), and two
    /// listeners of one, do not share numbers.
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Self { handle: recorder.handle(), recorder }
    }

    /// All that was registered, as text 0.0.4.
    pub(super) fn render(&self) -> String {
        // Keeps the exporter's own bookkeeping from growing; nothing else calls it.
        self.handle.run_upkeep();
        self.handle.render()
    }

    fn key(family: Family, label: Option<(&'static str, &'static str)>) -> Key {
        let labels: Vec<Label> = label.iter().map(|(k, v)| Label::new(*k, *v)).collect();
        Key::from_parts(family.name, labels)
    }

    pub(super) fn counter(
        &self,
        family: Family,
        label: Option<(&'static str, &'static str)>,
    ) -> Counter {
        self.recorder.describe_counter(family.name.into(), None, family.help.into());
        self.recorder.register_counter(&Self::key(family, label), &Self::METADATA)
    }

    pub(super) fn gauge(
        &self,
        family: Family,
        label: Option<(&'static str, &'static str)>,
    ) -> Gauge {
        self.recorder.describe_gauge(family.name.into(), None, family.help.into());
        self.recorder.register_gauge(&Self::key(family, label), &Self::METADATA)
    }
}

impl SidecarMetrics {
    /// Registers every cold metric; numbers of another call are others.
    pub fn new(max_series: usize, max_paths: usize, max_connections: usize) -> Arc<Self> {
        Self::of_listener(ProcessMetrics::new(max_connections), max_series, max_paths)
    }

    /// The same for a further listener of the same process.
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
    pub(crate) fn of_listener(
        process: Arc<ProcessMetrics>,
        max_series: usize,
        max_paths: usize,
    ) -> Arc<Self> {
        let to = Registrar::new();
        let error = |token: ErrorToken| to.counter(CONNECTS, Some(("result", token.as_str())));
        to.gauge(SERIES_LIMIT, None).set(max_series as f64);
        to.gauge(PATHS_LIMIT, None).set(max_paths as f64);
        Arc::new(Self {
            born: SystemTime::now(),
            process,
            connects_ok: to.counter(CONNECTS, Some(("result", "ok"))),
            connect_errors: Self::CONNECT_ERRORS.map(error).into(),
            active: to.gauge(UPSTREAM_CONNECTIONS, Some(("state", "active"))),
            idle: to.gauge(UPSTREAM_CONNECTIONS, Some(("state", "idle"))),
            reused: to.counter(REUSED, None),
            retries_not_sent: to.counter(RETRIES, Some(("reason", "not_sent"))),
            retries_no_response: to.counter(RETRIES, Some(("reason", "no_response"))),
            up: to.gauge(UP, None),
            queue: QueueLog::default(),
            upstream: Reachability::default(),
            downstream_http1: to.gauge(DOWNSTREAM, Some(("protocol", "http1"))),
            downstream_http1_total: to.counter(DOWNSTREAM_TOTAL, Some(("protocol", "http1"))),
            downstream_http2: to.gauge(DOWNSTREAM, Some(("protocol", "http2"))),
            downstream_http2_total: to.counter(DOWNSTREAM_TOTAL, Some(("protocol", "http2"))),
            refused_max_connections: to.counter(REFUSED, Some(("reason", "max_connections"))),
            refused_accept_error: to.counter(REFUSED, Some(("reason", "accept_error"))),
            series: to.gauge(SERIES, None),
            paths: to.gauge(PATHS, None),
            paths_digest: to.gauge(PATHS_DIGEST, None),
            path_conflicts: to.gauge(PATH_CONFLICTS, None),
            names_read: to.counter(NAMES_READS, Some(("result", "ok"))),
            names_failed: to.counter(NAMES_READS, Some(("result", "failed"))),
            overflow_paths: to.counter(OVERFLOW, Some(("reason", "max_paths"))),
            overflow_series: to.counter(OVERFLOW, Some(("reason", "max_series"))),
            excluded: to.counter(EXCLUDED, None),
            registrar: to,
        })
    }

    /// Shows the queue of an app that stands beside its sidecar, empty: what a forecast of a page's
    /// size has to count, since that is where most sidecars are.
    pub fn see_an_empty_queue(&self) {
        let look = Look { connections: 0, limit: 0, dropped: Some(0) };
        self.queue.add(Some(look), Instant::now());
    }

    const CONNECT_ERRORS: [ErrorToken; 8] = [
        ErrorToken::ConnectionRefused,
        ErrorToken::ConnectionTimeout,
        ErrorToken::ConnectionLimitReached,
        ErrorToken::DnsError,
        ErrorToken::DestinationUnavailable,
        ErrorToken::TlsProtocolError,
        ErrorToken::TlsCertificateError,
        ErrorToken::TlsAlertReceived,
    ];

    /// Counts an attempt to connect to the upstream.
    pub fn connected(&self, result: Result<(), ErrorToken>) {
        match result {
            Ok(()) => self.connects_ok.increment(1),
            Err(token) => {
                let index = Self::CONNECT_ERRORS.iter().position(|known| *known == token);
                if let Some(counter) = index.and_then(|index| self.connect_errors.get(index)) {
                    counter.increment(1);
                }
            }
        }
    }

    /// Counts what had to go so that others have room.
    pub(crate) fn shed(&self, what: Shed, count: u64) {
        self.process.shed(what, count);
    }

    /// A source of names was read.
    pub fn names_read(&self, success: bool) {
        if success { &self.names_read } else { &self.names_failed }.increment(1);
    }

    /// Sets what is derived from elsewhere, then renders the cold metrics of this listener as text
    /// 0.0.4.
    #[expect(clippy::cast_precision_loss, reason = "counts, and a hash below 2^52")]
    pub fn render(&self, collected: Collected, workers: &[Arc<WorkerStats>]) -> String {
        let sum = |read: fn(&WorkerStats) -> &AtomicU64| -> u64 {
            workers.iter().map(|worker| read(worker).load(Relaxed)).sum()
        };
        self.up.set(if self.upstream.is_up() { 1.0 } else { 0.0 });
        self.series.set(collected.series as f64);
        self.paths.set(collected.paths as f64);
        self.paths_digest.set(collected.paths_digest as f64);
        self.path_conflicts.set(collected.path_conflicts as f64);
        self.overflow_paths.absolute(collected.path_overflows);
        self.overflow_series.absolute(collected.series_overflows);
        self.active.set(sum(|w| &w.upstream_active) as f64);
        self.idle.set(sum(|w| &w.upstream_idle) as f64);
        self.reused.absolute(sum(|w| &w.reused));
        self.excluded.absolute(sum(|w| &w.excluded));
        let mut text = self.registrar.render();
        self.queue.write(&mut text);
        text
    }
}

/// What one worker counts per request or per connection. Written by that worker only.
#[derive(Debug)]
pub struct WorkerStats {
    /// Requests whose head was read.
    pub started: AtomicU64,
    /// Requests that ended.
    pub ended: AtomicU64,
    /// Requests that ended and were left out of the metrics.
    pub excluded: AtomicU64,
    /// Requests on a reused upstream connection.
    pub reused: AtomicU64,
    /// Upstream connections in use.
    pub upstream_active: AtomicU64,
    /// Upstream connections in the pool.
    pub upstream_idle: AtomicU64,
    /// Switched connections that are open.
    pub upgraded_active: AtomicU64,
    /// Event streams that are open.
    pub streams_active: AtomicU64,
    /// Time inside the sidecar.
    pub overhead: HistogramRow,
    /// Time to connect.
    pub connect: HistogramRow,
    /// Bounds of `overhead`.
    pub overhead_bounds: Buckets,
    /// Bounds of `connect`.
    pub connect_bounds: Buckets,
    /// Requests under way, where the names tell how they came.
    pub active: ActiveRequests,
}

impl WorkerStats {
    /// All zero.
    ///
    /// # Panics
    ///
    /// Never: the bounds are constants that a test parses.
    pub fn new() -> Arc<Self> {
        let overhead_bounds = Buckets::constant(&Buckets::OVERHEAD, Native::SHORT);
        let connect_bounds = Buckets::constant(&Buckets::CONNECT, Native::SHORT);
        Arc::new(Self {
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            excluded: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            upstream_active: AtomicU64::new(0),
            upstream_idle: AtomicU64::new(0),
            upgraded_active: AtomicU64::new(0),
            streams_active: AtomicU64::new(0),
            overhead: HistogramRow::new(&overhead_bounds),
            connect: HistogramRow::new(&connect_bounds),
            overhead_bounds,
            connect_bounds,
            active: ActiveRequests::default(),
        })
    }

    /// Requests that started and did not end. `ended` is read first, so it is never negative.
    pub fn in_flight(&self) -> u64 {
        let ended = self.ended.load(Relaxed);
        self.started.load(Relaxed).saturating_sub(ended)
    }
}

/// Adds one to a counter that only the calling thread writes.
pub fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// Takes one from a counter that only the calling thread writes.
pub fn drop_one(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).saturating_sub(1), Relaxed);
}
