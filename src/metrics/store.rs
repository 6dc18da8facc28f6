//! The store of the hot family: one row per path × method × status × error.
//!
//! Every worker has a [`Shard`] of its own and is the only one that writes to its rows, with
//! plain relaxed loads and stores: no lock, no contended cache line, no allocation for a request
//! whose row exists. The admin thread reads all shards through the [`Store`]. Guards the
//! invariant that rows and paths are bounded, whatever clients send.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::metrics::buckets::Buckets;
use crate::metrics::labels::{ErrorToken, GrpcStatus, MethodId};
use crate::metrics::slo::{SloCounts, SloResult, Slos};
use crate::metrics::wire::Wire;
use crate::paths::{Namer, PathMode, Template, TemplateError};

use self::inner::Inner;
use self::naming::Proven;

pub(crate) use self::deferred::Unnamed;
pub use self::list::meaning_of;
pub(crate) use self::list::{ListedPath, PathKind, PathState};
pub use self::naming::Answer;
pub use self::row::HistogramTotals;
pub(crate) use self::row::{
    Exemplar, HistogramRow, LASTING_BOUNDS, Lasting, RouteRow, Row, Traces,
};
pub use self::shard::{Resolved, Settled, Shard};

mod adopt;
mod deferred;
mod inner;
mod list;
mod naming;
mod row;
mod shard;

/// Index of a route, which is what a `path` label names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(u32);

impl RouteId {
    /// A path that came after `--max-paths` was reached.
    pub const OTHER: Self = Self(0);
    /// A request whose head did not parse: it has no path.
    pub const UNPARSED: Self = Self(1);
    /// A path that nothing is known of: no template, no answer that says that it exists.
    pub const UNMATCHED: Self = Self(2);
    /// Every path, with `--paths off`.
    pub const ALL: Self = Self(3);
    const FIXED: [&'static str; 4] = ["_OTHER", "_UNPARSED", "_UNMATCHED", "_ALL"];

    /// Tells whether it is no path, but one of the names for all the rest.
    pub(super) fn is_reserved(self) -> bool {
        self.index() < Self::FIXED.len()
    }

    /// Its place in a [`Snapshot`]'s routes.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What identifies a row; with a [`Settled`] route, what is recorded on one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key<R = RouteId> {
    /// Which path.
    pub route: R,
    /// Which method.
    pub method: MethodId,
    /// Three digits, never 0.
    pub status: u16,
    /// Why the upstream did not answer whole, if it did not.
    pub error: Option<ErrorToken>,
    /// How the gRPC call ended, if it was one.
    pub grpc: Option<GrpcStatus>,
    /// How it came, where the names tell that apart.
    pub wire: Option<Wire>,
}

impl<R> Key<R> {
    /// The same at another route.
    fn at<S>(&self, route: S) -> Key<S> {
        let Self { method, status, error, grpc, wire, .. } = *self;
        Key { route, method, status, error, grpc, wire }
    }
}

impl Key {
    /// One integer: route 32 bits, status 10, error 5, method 6, gRPC 5, the way it came 4.
    fn packed(self) -> u64 {
        let error = self.error.map_or(0, |token| token as u64);
        u64::from(self.route.0)
            | u64::from(self.status.min(999)) << 32
            | error << 42
            | u64::from(self.method.0) << 47
            | self.grpc.map_or(0, GrpcStatus::packed) << 53
            | self.wire.map_or(0, Wire::packed) << 58
    }

    /// The row that takes over when only the path is one too many.
    fn without_route(self) -> Self {
        Self { route: RouteId::OTHER, ..self }
    }

    /// One of nine rows that are always there: nothing is ever dropped uncounted.
    fn only_class(self) -> Self {
        let status = self.status / 100 * 100;
        let (route, method) = (RouteId::OTHER, MethodId::OTHER);
        Self { route, method, status, error: None, grpc: None, wire: None }
    }
}

/// Rows kept back for [`Key::only_class`]: one per first digit of a status.
const CLASS_ROWS: usize = 9;

/// Limits and shapes of a [`Store`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Paths that are not pinned.
    pub max_paths: usize,
    /// Rows of the hot family.
    pub max_series: usize,
    /// Bounds of the duration histograms.
    pub buckets: Buckets,
    /// Whether rows keep exemplars.
    pub exemplars: bool,
    /// What requests are judged by.
    pub slos: Slos,
}

/// What all workers share: which rows and routes exist. Locked only to add one, to learn, or to
/// list them.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    inner: Mutex<Inner>,
    /// Counts the changes of what names paths; a worker that sees another number looks anew.
    generation: AtomicU64,
    /// A path has no name, and somebody else is to be asked for it: see [`Self::ask_for_names`].
    unnamed: Notify,
    proven: Proven,
    /// Requests whose path became `_OTHER`.
    pub path_overflows: AtomicU64,
    /// Requests whose row was one too many.
    pub series_overflows: AtomicU64,
}

/// A route and its per-worker rows.
#[derive(Clone, Debug)]
pub struct Route {
    /// The label value.
    pub name: Arc<str>,
    /// Where the name comes from.
    pub kind: PathKind,
    /// When it was first published, here or elsewhere, in seconds since the epoch.
    pub since_seconds: u64,
    /// One per worker that met it.
    pub rows: Vec<Arc<RouteRow>>,
}

/// What exists at one moment, for the admin thread to read without holding the lock.
#[derive(Debug)]
pub struct Snapshot {
    /// Every row with its per-worker parts, in the order of creation.
    pub rows: Vec<(Key, Vec<Arc<Row>>)>,
    /// Every route, indexed by [`RouteId`].
    pub routes: Vec<Route>,
}

impl Snapshot {
    /// The label value of a route.
    pub fn route_name(&self, route: RouteId) -> &str {
        self.routes.get(route.index()).map_or("_OTHER", |route| &route.name)
    }
}

impl Store {
    /// An empty store; pinned templates are exempt from `max_paths`.
    ///
    /// Needs no server: [`Shard`] names and counts, [`Self::list_paths`] tells what was learned.
    pub fn new(limits: Limits, namer: Namer) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner::new(&limits, namer)),
            limits,
            generation: AtomicU64::new(0),
            unnamed: Notify::new(),
            proven: Proven::default(),
            path_overflows: AtomicU64::new(0),
            series_overflows: AtomicU64::new(0),
        })
    }

    /// The limits given at the start.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many paths that are not pinned have a name of their own.
    pub fn learned_paths(&self) -> usize {
        self.lock().learned
    }

    /// Publishes: names what has no name yet, for good, and copies what exists.
    ///
    /// Cost: one reference count per row and worker.
    pub fn snapshot(&self) -> Snapshot {
        let mut inner = self.lock();
        self.publish_at_scrape(&mut inner);
        Snapshot { rows: inner.rows.clone(), routes: inner.routes.clone() }
    }

    /// Replaces the pinned templates while requests run.
    ///
    /// Routes whose template is gone keep what they counted and take no new requests. However many
    /// templates there are, the lock is held for a few at a time.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Conflict`]; then nothing has changed.
    pub fn replace_pinned(&self, templates: &[Template]) -> Result<(), TemplateError> {
        const AT_A_TIME: usize = 1024;
        let namer = Namer::new(templates)?.with_mode(self.lock().mode());
        let mut pinned = Vec::with_capacity(namer.pinned().len());
        for some in namer.pinned().chunks(AT_A_TIME) {
            let mut inner = self.lock();
            pinned.extend(some.iter().map(|template| inner.pinned_route(template.as_str())));
        }
        let before = self.lock().pin(namer, pinned.into());
        self.generation.fetch_add(1, Relaxed);
        drop(before);
        Ok(())
    }

    /// A panic while the lock is held leaves the tables consistent: each is only pushed to.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides which row stands for `key`, and makes sure that it exists.
    fn admit(&self, key: Key) -> Key {
        self.admit_locked(&mut self.lock(), key, 1)
    }

    fn admit_locked(&self, inner: &mut Inner, key: Key, requests: u64) -> Key {
        let admitted = inner.admit(key, self.limits.max_series);
        if admitted != key {
            self.series_overflows.fetch_add(requests, Relaxed);
        }
        admitted
    }

    fn add_row(&self, key: Key) -> Arc<Row> {
        let row = Arc::new(Row::new(&self.limits.buckets));
        if let Some(parts) = self.lock().row_mut(key) {
            parts.push(Arc::clone(&row));
        }
        row
    }

    /// Counts of objectives for one worker more.
    fn add_slo_counts(&self) -> Arc<SloCounts> {
        let counts = Arc::new(SloCounts::new(&self.limits.slos));
        self.lock().slo_counts.push(Arc::clone(&counts));
        counts
    }

    /// All workers' requests of an objective with a result.
    pub fn slo_requests(&self, index: usize, result: SloResult) -> u64 {
        self.lock().slo_counts.iter().map(|counts| counts.count(index, result)).sum()
    }

    fn add_route_row(&self, route: RouteId) -> Arc<RouteRow> {
        let row = Arc::new(RouteRow::new(&self.limits.buckets));
        if let Some(route) = self.lock().routes.get_mut(route.index()) {
            route.rows.push(Arc::clone(&row));
        }
        row
    }
}

#[cfg(test)]
mod tests;
