//! The store of the hot family: one row per path × method × status × error.
//!
//! Every worker has a [`Shard`] of its own and is the only one that writes to its rows, with
//! plain relaxed loads and stores: no lock, no contended cache line, no allocation for a request
//! whose row exists. The admin thread reads all shards through the [`Store`]. Guards the
//! invariant that rows and paths are bounded, whatever clients send.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::buckets::Buckets;
use crate::labels::{ErrorToken, MethodId};
use crate::paths::{Namer, Template};

pub use self::list::{ListedPath, PathKind, PathState};
pub use self::row::{Exemplar, HistogramRow, HistogramTotals, RouteRow, Row};
pub use self::shard::Shard;

mod list;
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
    const FIXED: [&'static str; 2] = ["_OTHER", "_UNPARSED"];

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What identifies a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Which path.
    pub route: RouteId,
    /// Which method.
    pub method: MethodId,
    /// Three digits, never 0.
    pub status: u16,
    /// Why the upstream did not answer whole, if it did not.
    pub error: Option<ErrorToken>,
}

impl Key {
    /// One integer: route 32 bits, status 10, error 5, method 6.
    fn packed(self) -> u64 {
        let error = self.error.map_or(0, |token| token as u64);
        u64::from(self.route.0)
            | u64::from(self.status.min(999)) << 32
            | error << 42
            | u64::from(self.method.0) << 47
    }

    /// The row that takes over when only the path is one too many.
    fn without_route(self) -> Self {
        Self { route: RouteId::OTHER, ..self }
    }

    /// One of nine rows that are always there: nothing is ever dropped uncounted.
    fn only_class(self) -> Self {
        let status = self.status / 100 * 100;
        Self { route: RouteId::OTHER, method: MethodId::OTHER, status, error: None }
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
}

/// What all workers share: which rows and routes exist. Locked only to add one, or to list them.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    namer: Namer,
    inner: Mutex<Inner>,
    paths_full: AtomicBool,
    /// Requests whose path became `_OTHER`.
    pub path_overflows: AtomicU64,
    /// Requests whose row was one too many.
    pub series_overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    rows: Vec<(Key, Vec<Arc<Row>>)>,
    row_index: HashMap<u64, usize, RandomState>,
    routes: Vec<Route>,
    route_index: HashMap<Arc<str>, RouteId, RandomState>,
    learned: usize,
}

/// A route and its per-worker rows.
#[derive(Clone, Debug)]
pub struct Route {
    /// The label value.
    pub name: Arc<str>,
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
    /// An empty store; pinned templates get the first routes and are exempt from `max_paths`.
    pub fn new(limits: Limits, namer: Namer) -> Arc<Self> {
        let mut inner = Inner::default();
        let pinned = namer.pinned().iter().map(Template::as_str);
        for name in RouteId::FIXED.into_iter().chain(pinned) {
            inner.add_route(name);
        }
        Arc::new(Self {
            limits,
            namer,
            inner: Mutex::new(inner),
            paths_full: AtomicBool::new(false),
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

    /// Copies what exists. Cost: one reference count per row and worker.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot { rows: inner.rows.clone(), routes: inner.routes.clone() }
    }

    /// A panic while the lock is held leaves the tables consistent: each is only pushed to.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or adds the route of a template that this worker does not know yet.
    fn intern(&self, name: &str) -> Option<RouteId> {
        let mut inner = self.lock();
        if let Some(route) = inner.route_index.get(name) {
            return Some(*route);
        }
        if inner.learned >= self.limits.max_paths {
            drop(inner);
            if !self.paths_full.swap(true, Relaxed) {
                let max_paths = self.limits.max_paths;
                tracing::warn!(max_paths, "--max-paths is reached: new paths count as _OTHER");
            }
            return None;
        }
        inner.learned += 1;
        Some(inner.add_route(name))
    }

    /// Decides which row stands for `key`, and makes sure that it exists.
    ///
    /// The last eighth of the budget is for rows without a path, so that method and status are
    /// kept when there are too many paths.
    fn admit(&self, key: Key) -> Key {
        let mut inner = self.lock();
        let limit = self.limits.max_series.saturating_sub(CLASS_ROWS);
        let reserve = limit / 8;
        let fits = |inner: &Inner, key: Key, limit: usize| {
            inner.rows.len() < limit || inner.row_index.contains_key(&key.packed())
        };
        let admitted = if fits(&inner, key, limit - reserve) {
            key
        } else if fits(&inner, key.without_route(), limit) {
            key.without_route()
        } else {
            key.only_class()
        };
        inner.row_mut(admitted);
        admitted
    }

    fn add_row(&self, key: Key) -> Arc<Row> {
        let row = Arc::new(Row::new(&self.limits.buckets, self.limits.exemplars));
        if let Some(parts) = self.lock().row_mut(key) {
            parts.push(Arc::clone(&row));
        }
        row
    }

    fn add_route_row(&self, route: RouteId) -> Arc<RouteRow> {
        let row = Arc::new(RouteRow::new(&self.limits.buckets));
        if let Some(route) = self.lock().routes.get_mut(route.index()) {
            route.rows.push(Arc::clone(&row));
        }
        row
    }
}

impl Inner {
    fn add_route(&mut self, name: &str) -> RouteId {
        let id = RouteId(u32::try_from(self.routes.len()).unwrap_or(0));
        let name: Arc<str> = name.into();
        self.routes.push(Route { name: Arc::clone(&name), rows: Vec::new() });
        self.route_index.insert(name, id);
        id
    }

    /// The per-worker parts of a row, which is added if it does not exist.
    fn row_mut(&mut self, key: Key) -> Option<&mut Vec<Arc<Row>>> {
        let next = self.rows.len();
        let index = *self.row_index.entry(key.packed()).or_insert(next);
        if index == next {
            self.rows.push((key, Vec::new()));
        }
        self.rows.get_mut(index).map(|(_, parts)| parts)
    }
}

#[cfg(test)]
mod tests;
