//! The tables behind the store's lock: routes, rows and their budgets.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use foldhash::fast::RandomState;

use super::deferred::Deferred;
use super::naming::{Gate, Naming};
use super::{CLASS_ROWS, Key, Limits, PathKind, PathMode, Route, RouteId, RouteRow, Row};
use crate::metrics::slo::SloCounts;
use crate::paths::{Learner, Namer, Template, digest};

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) rows: Vec<(Key, Vec<Arc<Row>>)>,
    row_index: HashMap<u64, usize, RandomState>,
    pub(super) routes: Vec<Route>,
    pub(super) route_index: HashMap<Arc<str>, RouteId, RandomState>,
    /// Routes that came from traffic: what `max_paths` limits.
    pub(super) learned: usize,
    max_paths: usize,
    pub(super) learner: Learner,
    pub(super) gate: Gate,
    pub(super) naming: Arc<Naming>,
    pub(super) deferred: Deferred,
    /// Paths without a name wait until others were asked for it.
    pub(super) asks: bool,
    /// A scrape has come since the paths at the places before this one began to wait.
    pub(super) scraped_before: u64,
    /// Names from elsewhere that wait for the next start: they would rename what is published.
    pub(super) conflicts: BTreeSet<Box<str>>,
    /// The digest of the names in force, for this many routes and changes of the pinned ones.
    digest: (usize, u64, u64),
    /// Rows of the store itself, for what was recorded before it had a name.
    pub(super) own_rows: HashMap<u64, Arc<Row>, RandomState>,
    pub(super) own_routes: HashMap<RouteId, Arc<RouteRow>, RandomState>,
    /// How requests did against objectives, of each worker.
    pub(super) slo_counts: Vec<Arc<SloCounts>>,
}

impl Inner {
    pub(super) fn new(limits: &Limits, namer: Namer) -> Self {
        let mut inner = Self {
            rows: Vec::new(),
            row_index: HashMap::default(),
            routes: Vec::new(),
            route_index: HashMap::default(),
            learned: 0,
            max_paths: limits.max_paths,
            learner: Learner::new(namer.rules()),
            gate: Gate::default(),
            naming: Arc::default(),
            deferred: Deferred::default(),
            asks: false,
            scraped_before: 0,
            conflicts: BTreeSet::new(),
            digest: (0, 0, 0),
            own_rows: HashMap::default(),
            own_routes: HashMap::default(),
            slo_counts: Vec::new(),
        };
        for name in RouteId::FIXED {
            inner.add_route(name, PathKind::Reserved);
        }
        let templates = namer.pinned().iter().map(Template::as_str);
        let pinned: Vec<_> = templates.map(|name| inner.pinned_route(name)).collect();
        inner.pin(namer, pinned.into());
        inner
    }

    pub(super) fn mode(&self) -> PathMode {
        self.naming.namer.mode()
    }

    /// Makes the namer's templates, whose routes are `pinned`, the pinned ones. Returns what named
    /// paths until now.
    pub(super) fn pin(&mut self, namer: Namer, pinned: Arc<[RouteId]>) -> Arc<Naming> {
        let naming = Arc::new(Naming {
            namer: Arc::new(namer),
            pinned,
            known: Arc::clone(&self.naming.known),
            pins: self.naming.pins + 1,
        });
        std::mem::replace(&mut self.naming, naming)
    }

    /// Finds or adds the route of a template.
    pub(super) fn pinned_route(&mut self, name: &str) -> RouteId {
        match self.route_index.get(name).copied() {
            Some(route) => {
                if let Some(known) = self.routes.get_mut(route.index()) {
                    known.kind = PathKind::Pinned;
                }
                route
            }
            None => self.add_route(name, PathKind::Pinned),
        }
    }

    /// A digest of the names in force: pinned ones, and learned ones that are not reserved.
    pub(super) fn digest(&mut self) -> u64 {
        let (routes, pins) = (self.routes.len(), self.naming.pins);
        if (self.digest.0, self.digest.1) != (routes, pins) {
            let pinned = self.naming.pinned.iter().filter_map(|r| self.routes.get(r.index()));
            let learned = self.routes.iter().filter(|route| route.kind == PathKind::Learned);
            let names = pinned.chain(learned).map(|route| &*route.name);
            self.digest = (routes, pins, digest(names));
        }
        self.digest.2
    }

    /// Tells whether `max_paths` is reached.
    pub(super) fn is_full(&self) -> bool {
        self.learned >= self.max_paths
    }

    /// Finds or adds the route of a learned label, unless there are too many.
    pub(super) fn learned_route(&mut self, name: &str) -> Option<RouteId> {
        if let Some(route) = self.route_index.get(name) {
            return Some(*route);
        }
        if self.is_full() {
            return None;
        }
        self.learned += 1;
        if self.is_full() {
            let max_paths = self.max_paths;
            tracing::warn!(max_paths, "--max-paths is reached: new paths count as _OTHER");
        }
        Some(self.add_route(name, PathKind::Learned))
    }

    fn add_route(&mut self, name: &str, kind: PathKind) -> RouteId {
        let id = RouteId(u32::try_from(self.routes.len()).unwrap_or(0));
        let name: Arc<str> = name.into();
        let since_seconds = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let route = Route { name: Arc::clone(&name), kind, since_seconds, rows: Vec::new() };
        self.routes.push(route);
        self.route_index.insert(name, id);
        id
    }

    /// Decides which row stands for `key`, and makes sure that it exists.
    ///
    /// The last eighth of the budget is for rows without a path, so that method and status are
    /// kept when there are too many paths.
    pub(super) fn admit(&mut self, key: Key, max_series: usize) -> Key {
        let limit = max_series.saturating_sub(CLASS_ROWS);
        let reserve = limit / 8;
        let fits = |key: Key, limit: usize| {
            self.rows.len() < limit || self.row_index.contains_key(&key.packed())
        };
        let admitted = if fits(key, limit - reserve) {
            key
        } else if fits(key.without_route(), limit) {
            key.without_route()
        } else {
            key.only_class()
        };
        self.row_mut(admitted);
        admitted
    }

    /// The per-worker parts of a row, which is added if it does not exist.
    pub(super) fn row_mut(&mut self, key: Key) -> Option<&mut Vec<Arc<Row>>> {
        let next = self.rows.len();
        let index = *self.row_index.entry(key.packed()).or_insert(next);
        if index == next {
            self.rows.push((key, Vec::new()));
        }
        self.rows.get_mut(index).map(|(_, parts)| parts)
    }
}
