//! One worker's part of the store: found without a lock, written by one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;

use super::naming::{Answer, Naming};
use super::{Key, PathMode, RouteId, RouteRow, Row, Store, Unnamed};
use crate::metrics::buckets::Buckets;
use crate::metrics::slo::{Ended, SloCounts, SloSet};
use crate::paths::{Found, Name};

/// Slots of the cache from raw path to route: 16 KiB a worker.
const CACHE_SLOTS: usize = 1024;

/// A slot of it that holds nothing: no hash is 0.
const EMPTY: (u64, RouteId, SloSet) = (0, RouteId::OTHER, SloSet::NONE);

/// What the head of a request says about its route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// The path has a route.
    Known(RouteId),
    /// The path has this route if its first segment is one that the app knows, see
    /// [`Shard::settle`]. Holds the name that the detectors made.
    AnyWord(Found, Box<str>),
    /// Nothing is known of the path; how it is answered decides, see [`Shard::settle`]. Holds the
    /// name that the detectors made.
    Pending(Box<str>),
}

/// What a request is counted under when it has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settled {
    /// A route, for good.
    Named(RouteId),
    /// The route that the path will have got at the next scrape.
    Waiting(Arc<Unnamed>),
}

/// One worker's part of the store. Not `Sync`: only its worker writes.
#[derive(Debug)]
pub struct Shard {
    store: Arc<Store>,
    rows: RefCell<HashMap<u64, Arc<Row>, RandomState>>,
    routes: RefCell<Vec<Option<Arc<RouteRow>>>>,
    naming: RefCell<Arc<Naming>>,
    generation: Cell<u64>,
    cache: Box<[Cell<(u64, RouteId, SloSet)>]>,
    hasher: RandomState,
    scratch: RefCell<String>,
    slo_counts: Arc<SloCounts>,
}

impl Shard {
    /// A worker's part of `store`.
    pub fn new(store: Arc<Store>) -> Self {
        let generation = Cell::new(store.generation.load(Relaxed));
        let naming = RefCell::new(Arc::clone(&store.lock().naming));
        let slo_counts = store.add_slo_counts();
        Self {
            store,
            rows: RefCell::default(),
            routes: RefCell::default(),
            naming,
            generation,
            cache: vec![Cell::new(EMPTY); CACHE_SLOTS].into(),
            hasher: RandomState::default(),
            scratch: RefCell::default(),
            slo_counts,
        }
    }

    /// Finds the route of a raw path, or what will become one.
    ///
    /// # Shape
    ///
    /// Any path. A path seen lately costs one hash (the cache compares 64 bits of a randomly
    /// seeded hash instead of text); another of a known route costs the detectors and a look-up.
    /// Neither locks or allocates; a path of no known route allocates its name.
    pub fn resolve(&self, path: &str) -> Resolved {
        self.resolve_judged(path).0
    }

    /// The same, and which objectives a request for it is about.
    pub fn resolve_judged(&self, path: &str) -> (Resolved, SloSet) {
        if self.store.generation.load(Relaxed) != self.generation.get() {
            self.refresh();
        }
        let hash = self.hasher.hash_one(path) | 1;
        let slot = usize::try_from(hash >> 32).unwrap_or(0) % CACHE_SLOTS;
        let Some(slot) = self.cache.get(slot) else {
            return (Resolved::Known(RouteId::OTHER), SloSet::NONE);
        };
        let (known, route, about) = slot.get();
        if known == hash {
            return (Resolved::Known(route), about);
        }
        let (resolved, about) = (self.resolve_new(path), self.store.limits.slos.about(path));
        if let Resolved::Known(route) = resolved {
            slot.set((hash, route, about));
        }
        (resolved, about)
    }

    /// Counts a request that has ended for the objectives that it is about. Neither locks nor
    /// allocates.
    pub fn judge(&self, about: SloSet, ended: &Ended) {
        self.slo_counts.record(&self.store.limits.slos, about, ended);
    }

    fn resolve_new(&self, path: &str) -> Resolved {
        let naming = self.naming.borrow();
        let mode = naming.namer.mode();
        if mode == PathMode::Off {
            return Resolved::Known(RouteId::ALL);
        }
        let mut scratch = self.scratch.borrow_mut();
        let name = match naming.namer.name(path, &mut scratch) {
            Name::Pinned(index) => {
                let route = naming.pinned.get(index).copied();
                return Resolved::Known(route.unwrap_or(RouteId::OTHER));
            }
            Name::Detected(name) => name,
        };
        if mode == PathMode::Pinned {
            return Resolved::Known(RouteId::UNMATCHED);
        }
        match naming.known.find(name) {
            Some(found) if found.is_any_word && !self.store.proven.has(name) => {
                Resolved::AnyWord(found, name.into())
            }
            Some(found) => Resolved::Known(RouteId(found.route)),
            None => Resolved::Pending(name.into()),
        }
    }

    /// Takes over what names paths now.
    #[cold]
    fn refresh(&self) {
        // Read first: a change in between is then seen once more, not missed.
        self.generation.set(self.store.generation.load(Relaxed));
        let latest = Arc::clone(&self.store.lock().naming);
        if latest.pins != self.naming.borrow().pins {
            // What is learned only adds names; other templates change them.
            for slot in &self.cache {
                slot.set(EMPTY);
            }
        }
        self.naming.replace(latest);
    }

    /// The route of a request that has ended with this answer.
    ///
    /// Only what was answered by the app can say that a path exists. Locks if the path had no
    /// route and the answer does not say that there is none.
    pub fn settle(&self, resolved: &Resolved, answer: Answer) -> Settled {
        match resolved {
            Resolved::Known(route) => Settled::Named(*route),
            Resolved::AnyWord(found, name) => self.store.settle_found(*found, name, answer),
            Resolved::Pending(name) => self.store.settle(name, answer),
        }
    }

    /// The label value of a route. Locks: for access-log lines only.
    pub fn route_name(&self, route: &Settled) -> Arc<str> {
        let inner = self.store.lock();
        let named = match route {
            Settled::Named(route) => *route,
            Settled::Waiting(path) => match path.outcome() {
                Some(route) => route,
                None => return path.name().into(),
            },
        };
        inner.routes.get(named.index()).map_or_else(|| "_OTHER".into(), |r| Arc::clone(&r.name))
    }

    /// Runs `record` on the row of `key`, or on the coarser one that stands in for it.
    pub fn with_row(&self, key: &Key<Settled>, record: impl FnOnce(&Row, &Buckets)) {
        match &key.route {
            Settled::Named(route) => self.with_named_row(key.at(*route), record),
            Settled::Waiting(path) => self.with_deferred_row(path, key.at(()), record),
        }
    }

    fn with_named_row(&self, key: Key, record: impl FnOnce(&Row, &Buckets)) {
        let buckets = &self.store.limits.buckets;
        if let Some(row) = self.rows.borrow().get(&key.packed()) {
            return record(row, buckets);
        }
        let row = self.new_row(key);
        record(&row, buckets);
    }

    #[cold]
    fn with_deferred_row(&self, path: &Unnamed, key: Key<()>, record: impl FnOnce(&Row, &Buckets)) {
        let mut record = Some(record);
        let outcome = self.store.record_deferred(path, key, |row, buckets| {
            if let Some(record) = record.take() {
                record(row, buckets);
            }
        });
        if let (Err(route), Some(record)) = (outcome, record) {
            self.with_named_row(key.at(route), record);
        }
    }

    #[cold]
    fn new_row(&self, key: Key) -> Arc<Row> {
        let admitted = self.store.admit(key);
        let mut rows = self.rows.borrow_mut();
        let row = rows.entry(admitted.packed()).or_insert_with(|| self.store.add_row(admitted));
        Arc::clone(row)
    }

    /// Runs `record` on the per-path row of a route.
    pub fn with_route(&self, route: &Settled, record: impl FnOnce(&RouteRow, &Buckets)) {
        match route {
            Settled::Named(route) => self.with_named_route(*route, record),
            Settled::Waiting(path) => self.with_deferred_route(path, record),
        }
    }

    fn with_named_route(&self, route: RouteId, record: impl FnOnce(&RouteRow, &Buckets)) {
        let buckets = &self.store.limits.buckets;
        if let Some(Some(row)) = self.routes.borrow().get(route.index()) {
            return record(row, buckets);
        }
        let row = self.store.add_route_row(route);
        let mut routes = self.routes.borrow_mut();
        if routes.len() <= route.index() {
            routes.resize(route.index() + 1, None);
        }
        if let Some(slot) = routes.get_mut(route.index()) {
            record(slot.insert(row), buckets);
        }
    }

    #[cold]
    fn with_deferred_route(&self, path: &Unnamed, record: impl FnOnce(&RouteRow, &Buckets)) {
        let mut record = Some(record);
        let outcome = self.store.record_deferred_path(path, |row, buckets| {
            if let Some(record) = record.take() {
                record(row, buckets);
            }
        });
        if let (Err(route), Some(record)) = (outcome, record) {
            self.with_named_route(route, record);
        }
    }
}
