//! One worker's part of the store: found without a lock, written by one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;

use super::{Key, RouteId, RouteRow, Row, Store};
use crate::buckets::Buckets;
use crate::paths::Name;

/// Slots of the cache from raw path to route: 16 KiB a worker.
const CACHE_SLOTS: usize = 1024;

/// One worker's part of the store. Not `Sync`: only its worker writes.
#[derive(Debug)]
pub struct Shard {
    store: Arc<Store>,
    rows: RefCell<HashMap<u64, Arc<Row>, RandomState>>,
    routes: RefCell<Vec<Option<Arc<RouteRow>>>>,
    names: RefCell<HashMap<Box<str>, RouteId, RandomState>>,
    cache: Box<[Cell<(u64, RouteId)>]>,
    hasher: RandomState,
    scratch: RefCell<String>,
}

impl Shard {
    /// A worker's part of `store`.
    pub fn new(store: Arc<Store>) -> Self {
        let pinned = store.namer.pinned().len();
        Self {
            store,
            rows: RefCell::default(),
            routes: RefCell::new(vec![None; RouteId::FIXED.len() + pinned]),
            names: RefCell::default(),
            cache: vec![Cell::new((0, RouteId::OTHER)); CACHE_SLOTS].into(),
            hasher: RandomState::default(),
            scratch: RefCell::default(),
        }
    }

    /// Finds the route of a raw path.
    ///
    /// # Shape
    ///
    /// Any path. A path seen lately costs one hash (the cache compares 64 bits of a randomly
    /// seeded hash instead of text); another costs the detectors. Allocates and locks only for a
    /// template that this worker has not met, and under overflow.
    pub fn resolve(&self, path: &str) -> RouteId {
        let hash = self.hasher.hash_one(path) | 1;
        let slot = usize::try_from(hash >> 32).unwrap_or(0) % CACHE_SLOTS;
        let Some(slot) = self.cache.get(slot) else {
            return RouteId::OTHER;
        };
        let (known, route) = slot.get();
        if known == hash {
            return route;
        }
        let Some(route) = self.resolve_new(path) else {
            self.store.path_overflows.fetch_add(1, Relaxed);
            return RouteId::OTHER;
        };
        slot.set((hash, route));
        route
    }

    fn resolve_new(&self, path: &str) -> Option<RouteId> {
        let mut scratch = self.scratch.borrow_mut();
        let name = match self.store.namer.name(path, &mut scratch) {
            Name::Pinned(index) => {
                let id = RouteId::FIXED.len() + index;
                return u32::try_from(id).ok().map(RouteId);
            }
            Name::Detected(name) => name,
        };
        if let Some(route) = self.names.borrow().get(name) {
            return Some(*route);
        }
        let route = self.store.intern(name)?;
        self.names.borrow_mut().insert(name.into(), route);
        Some(route)
    }

    /// The label value of a route. Locks: for access-log lines only.
    pub fn route_name(&self, route: RouteId) -> Arc<str> {
        let inner = self.store.lock();
        inner.routes.get(route.index()).map_or_else(|| "_OTHER".into(), |r| Arc::clone(&r.name))
    }

    /// Runs `record` on the row of `key`, or on the coarser one that stands in for it.
    pub fn with_row(&self, key: Key, record: impl FnOnce(&Row, &Buckets)) {
        let buckets = &self.store.limits.buckets;
        if let Some(row) = self.rows.borrow().get(&key.packed()) {
            return record(row, buckets);
        }
        let row = self.new_row(key);
        record(&row, buckets);
    }

    #[cold]
    fn new_row(&self, key: Key) -> Arc<Row> {
        let admitted = self.store.admit(key);
        if admitted != key {
            self.store.series_overflows.fetch_add(1, Relaxed);
        }
        let mut rows = self.rows.borrow_mut();
        let row = rows.entry(admitted.packed()).or_insert_with(|| self.store.add_row(admitted));
        Arc::clone(row)
    }

    /// Runs `record` on the per-path row of a route.
    pub fn with_route(&self, route: RouteId, record: impl FnOnce(&RouteRow, &Buckets)) {
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
}
