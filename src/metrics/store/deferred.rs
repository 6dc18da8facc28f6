//! Requests that ended before their path had a name.
//!
//! Until the next scrape, or for a minute, they are counted apart. Then they are added to the
//! route that their path has got meanwhile, or to `_UNMATCHED`. So no exported series ever has to
//! be renamed or lowered. Everything here happens under the store's lock: it is for paths that
//! nothing is known of.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::inner::Inner;
use super::{Key, Limits, RouteId, RouteRow, Row, Settled, Store};
use crate::metrics::buckets::Buckets;

/// Names that may wait at one time; beyond, they are published early.
const MAX_NAMES: usize = 1024;

/// Rows that may wait at one time, 200 bytes each.
const MAX_ROWS: usize = 4096;

/// How long a name waits if nobody scrapes.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// A path without a name, and the route that it becomes.
///
/// Whoever holds it finds that route, however many scrapes later: a connection that was switched
/// is recorded when it ends.
#[derive(PartialEq, Eq, Debug)]
pub struct Unnamed {
    name: Box<str>,
    /// Its place among those that wait, as long as it has no outcome.
    place: u64,
    /// Set once, under the store's lock, when it waits no longer.
    outcome: OnceLock<RouteId>,
}

impl Unnamed {
    /// The route that it has become, if it has.
    pub(super) fn outcome(&self) -> Option<RouteId> {
        self.outcome.get().copied()
    }

    /// What its name is until then.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// What waits for a name.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// In the order in which it came.
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<Box<str>, u64, RandomState>,
    /// The place of the next one. None is used twice.
    next: u64,
    rows: usize,
}

/// The requests of one path.
#[derive(Debug)]
pub(super) struct Waiting {
    path: Arc<Unnamed>,
    rows: Vec<(Key<()>, Row)>,
    per_path: Option<RouteRow>,
    since: Instant,
    /// Answers that said that it exists and that the learner was not told of yet.
    untold: u32,
}

impl Waiting {
    pub(super) fn name(&self) -> &str {
        &self.path.name
    }

    pub(super) fn requests(&self) -> u64 {
        self.rows.iter().map(|(_, row)| row.requests()).sum()
    }

    fn row(&mut self, key: Key<()>) -> Option<&Row> {
        self.rows.iter().find(|(own, _)| *own == key).map(|(_, row)| row)
    }
}

impl Deferred {
    /// A path that waits, by its name.
    pub(super) fn find(&self, name: &str) -> Option<Settled> {
        let waiting = self.waiting.get(self.places.get(name)?)?;
        Some(Settled::Waiting(Arc::clone(&waiting.path)))
    }

    /// Has a path wait for its name. There is room: see [`Self::is_full`].
    pub(super) fn add(&mut self, name: &str) -> Settled {
        if let Some(known) = self.find(name) {
            return known;
        }
        let place = self.next;
        self.next += 1;
        let path = Arc::new(Unnamed { name: name.into(), place, outcome: OnceLock::new() });
        self.places.insert(name.into(), place);
        let (rows, per_path, since) = (Vec::new(), None, Instant::now());
        let waiting = Waiting { path: Arc::clone(&path), rows, per_path, since, untold: 0 };
        self.waiting.insert(place, waiting);
        Settled::Waiting(path)
    }

    /// Has a path wait whose answer the learner is to be told of later.
    pub(super) fn add_untold(&mut self, name: &str) -> Settled {
        let settled = self.add(name);
        if let Settled::Waiting(path) = &settled {
            let untold = &mut self.waiting_mut(path).untold;
            *untold = untold.saturating_add(1);
        }
        settled
    }

    /// The place of the next path that will wait: all that wait now are before it.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// Places that are taken, before `end`.
    pub(super) fn places(&self, end: u64) -> Vec<u64> {
        self.waiting.range(..end).map(|(place, _)| *place).collect()
    }

    /// The name at a place, and what the learner is to be told of it now.
    pub(super) fn tell(&mut self, place: u64) -> Option<(Arc<Unnamed>, u32)> {
        let waiting = self.waiting.get_mut(&place)?;
        Some((Arc::clone(&waiting.path), std::mem::take(&mut waiting.untold)))
    }

    /// Requests of the path at a place.
    pub(super) fn requests(&self, place: u64) -> u64 {
        self.waiting.get(&place).map_or(0, Waiting::requests)
    }

    /// Takes one out. It is to be absorbed.
    pub(super) fn remove(&mut self, place: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&place)?;
        self.places.remove(&waiting.path.name);
        self.rows -= waiting.rows.len();
        Some(waiting)
    }

    /// Tells whether there is no room for one name or row more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_NAMES || self.rows >= MAX_ROWS
    }

    /// Tells whether something has waited long enough.
    pub(super) fn is_overdue(&self) -> bool {
        let oldest = self.waiting.values().next();
        oldest.is_some_and(|waiting| waiting.since.elapsed() >= MAX_WAIT)
    }

    /// Every path that waits, and its requests.
    pub(super) fn list(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    fn waiting_mut(&mut self, path: &Unnamed) -> &mut Waiting {
        self.waiting.get_mut(&path.place).expect("a path without an outcome waits at its place")
    }

    fn row(&mut self, path: &Unnamed, key: Key<()>, limits: &Limits) -> &Row {
        if self.waiting_mut(path).row(key).is_none() {
            self.rows += 1;
            let row = Row::new(&limits.buckets);
            self.waiting_mut(path).rows.push((key, row));
        }
        self.waiting_mut(path).row(key).expect("it was there or was added")
    }
}

impl Store {
    /// Records on the row of a path that waits; else tells which route to record on instead.
    pub(super) fn record_deferred(
        &self,
        path: &Unnamed,
        key: Key<()>,
        record: impl FnOnce(&Row, &Buckets),
    ) -> Result<(), RouteId> {
        let mut inner = self.lock();
        if inner.deferred.is_full() {
            self.publish_before(&mut inner, u64::MAX);
        }
        if let Some(route) = path.outcome() {
            return Err(route);
        }
        record(inner.deferred.row(path, key, &self.limits), &self.limits.buckets);
        Ok(())
    }

    /// The same for what is recorded per path.
    pub(super) fn record_deferred_path(
        &self,
        path: &Unnamed,
        record: impl FnOnce(&RouteRow, &Buckets),
    ) -> Result<(), RouteId> {
        let mut inner = self.lock();
        if let Some(route) = path.outcome() {
            return Err(route);
        }
        let row = &mut inner.deferred.waiting_mut(path).per_path;
        let row = row.get_or_insert_with(|| RouteRow::new(&self.limits.buckets));
        record(row, &self.limits.buckets);
        Ok(())
    }

    /// Adds what has waited to the rows of the store itself, and lets its holders know.
    pub(super) fn absorb(&self, inner: &mut Inner, route: RouteId, waiting: Waiting) {
        // Nobody else sets it: what was taken out is absorbed once.
        let _first = waiting.path.outcome.set(route);
        for (key, row) in waiting.rows {
            let key = self.admit_locked(inner, key.at(route), row.requests());
            own_row(inner, key, row);
        }
        if let Some(row) = waiting.per_path {
            own_route_row(inner, route, row);
        }
    }
}

/// Adds to the store's own row of a key, or makes it that row: it is as old as what it counts.
fn own_row(inner: &mut Inner, key: Key, row: Row) {
    if let Some(own) = inner.own_rows.get(&key.packed()) {
        return own.absorb(&row);
    }
    let row = Arc::new(row);
    if let Some(parts) = inner.row_mut(key) {
        parts.push(Arc::clone(&row));
    }
    inner.own_rows.insert(key.packed(), row);
}

/// The same for what is recorded per path.
fn own_route_row(inner: &mut Inner, route: RouteId, row: RouteRow) {
    if let Some(own) = inner.own_routes.get(&route) {
        return own.absorb(&row);
    }
    let row = Arc::new(row);
    if let Some(route) = inner.routes.get_mut(route.index()) {
        route.rows.push(Arc::clone(&row));
    }
    inner.own_routes.insert(route, row);
}
