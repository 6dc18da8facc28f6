//! Requests that ended before their path had a name.
//!
//! Until the next scrape, or for a minute, they are counted apart. Then they are added to the
//! route that their path has got meanwhile, or to `_UNMATCHED`. So no exported series ever has to
//! be renamed or lowered. Everything here happens under the store's lock: it is for paths that
//! nothing is known of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::inner::Inner;
use super::{Key, Limits, RouteId, RouteRow, Row, Store};
use crate::buckets::Buckets;

/// Names that may wait at one time; beyond, they are published early.
const MAX_NAMES: usize = 1024;

/// Rows that may wait at one time, 200 bytes each.
const MAX_ROWS: usize = 4096;

/// How long a name waits if nobody scrapes.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// What waits for a name.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    waiting: BTreeMap<u32, Waiting>,
    numbers: HashMap<Box<str>, u32, RandomState>,
    rows: usize,
    next: u32,
    since: Option<Instant>,
    /// What became of the numbers given out lately: a worker may just be about to use one.
    settled: HashMap<u32, RouteId, RandomState>,
}

/// The requests of one name.
#[derive(Debug)]
pub(super) struct Waiting {
    name: Box<str>,
    rows: Vec<(Key, Row)>,
    per_path: Option<RouteRow>,
}

impl Waiting {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn requests(&self) -> u64 {
        self.rows.iter().map(|(_, row)| row.durations.count()).sum()
    }
}

impl Deferred {
    /// The provisional route of a name, if it waits.
    pub(super) fn find(&self, name: &str) -> Option<RouteId> {
        self.numbers.get(name).map(|number| RouteId(number | RouteId::PROVISIONAL))
    }

    /// A provisional route for a name.
    pub(super) fn route_of(&mut self, name: &str) -> RouteId {
        if let Some(route) = self.find(name) {
            return route;
        }
        if self.is_full() {
            return RouteId::UNMATCHED;
        }
        let number = self.next;
        self.next = (self.next + 1) % RouteId::PROVISIONAL;
        self.since.get_or_insert_with(Instant::now);
        self.numbers.insert(name.into(), number);
        let waiting = Waiting { name: name.into(), rows: Vec::new(), per_path: None };
        self.waiting.insert(number, waiting);
        RouteId(number | RouteId::PROVISIONAL)
    }

    /// Tells whether there is no room for one name more.
    pub(super) fn is_full(&self) -> bool {
        self.numbers.len() >= MAX_NAMES || self.rows >= MAX_ROWS
    }

    /// Tells whether something has waited long enough.
    pub(super) fn is_overdue(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= MAX_WAIT)
    }

    /// Takes everything out, in the order in which it came.
    pub(super) fn take(&mut self) -> BTreeMap<u32, Waiting> {
        self.numbers.clear();
        self.settled.clear();
        self.rows = 0;
        self.since = None;
        std::mem::take(&mut self.waiting)
    }

    /// Remembers what became of a number.
    pub(super) fn settled(&mut self, number: u32, route: RouteId) {
        self.settled.insert(number, route);
    }

    /// Every name that waits, and its requests.
    pub(super) fn list(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// The name of a provisional route that still waits.
    pub(super) fn name_of(&self, route: RouteId) -> Option<&str> {
        let number = route.0 & !RouteId::PROVISIONAL;
        self.waiting.get(&number).map(|waiting| &*waiting.name)
    }

    /// What a provisional route has become.
    pub(super) fn outcome_of(&self, route: RouteId) -> RouteId {
        let number = route.0 & !RouteId::PROVISIONAL;
        self.settled.get(&number).copied().unwrap_or(RouteId::UNMATCHED)
    }

    fn waiting_mut(&mut self, route: RouteId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&(route.0 & !RouteId::PROVISIONAL))
    }

    fn row_mut(&mut self, key: Key, limits: &Limits) -> Option<&Row> {
        let rows = &mut self.waiting.get_mut(&(key.route.0 & !RouteId::PROVISIONAL))?.rows;
        let known = rows.iter().position(|(own, _)| *own == key);
        if known.is_none() {
            if self.rows >= MAX_ROWS {
                return None;
            }
            rows.push((key, Row::new(&limits.buckets, limits.exemplars)));
            self.rows += 1;
        }
        rows.get(known.unwrap_or(rows.len() - 1)).map(|(_, row)| row)
    }
}

impl Store {
    /// Records on the row of a provisional route; else tells which route to record on instead.
    pub(super) fn record_deferred(
        &self,
        key: Key,
        record: impl FnOnce(&Row, &Buckets),
    ) -> Result<(), RouteId> {
        let mut inner = self.lock();
        let Some(row) = inner.deferred.row_mut(key, &self.limits) else {
            return Err(inner.deferred.outcome_of(key.route));
        };
        record(row, &self.limits.buckets);
        Ok(())
    }

    /// The same for what is recorded per path.
    pub(super) fn record_deferred_path(
        &self,
        route: RouteId,
        record: impl FnOnce(&RouteRow, &Buckets),
    ) -> Result<(), RouteId> {
        let mut inner = self.lock();
        let outcome = inner.deferred.outcome_of(route);
        let waiting = inner.deferred.waiting_mut(route).ok_or(outcome)?;
        let row = waiting.per_path.get_or_insert_with(|| RouteRow::new(&self.limits.buckets));
        record(row, &self.limits.buckets);
        Ok(())
    }

    /// Adds what has waited to the rows of the store itself.
    pub(super) fn absorb(&self, inner: &mut Inner, route: RouteId, waiting: Waiting) {
        for (key, row) in waiting.rows {
            let key = self.admit_locked(inner, Key { route, ..key }, row.durations.count());
            self.own_row(inner, key).absorb(&row);
        }
        if let Some(row) = waiting.per_path {
            self.own_route_row(inner, route).absorb(&row);
        }
    }

    fn own_row(&self, inner: &mut Inner, key: Key) -> Arc<Row> {
        if let Some(row) = inner.own_rows.get(&key.packed()) {
            return Arc::clone(row);
        }
        let row = Arc::new(Row::new(&self.limits.buckets, self.limits.exemplars));
        if let Some(parts) = inner.row_mut(key) {
            parts.push(Arc::clone(&row));
        }
        inner.own_rows.insert(key.packed(), Arc::clone(&row));
        row
    }

    fn own_route_row(&self, inner: &mut Inner, route: RouteId) -> Arc<RouteRow> {
        if let Some(row) = inner.own_routes.get(&route) {
            return Arc::clone(row);
        }
        let row = Arc::new(RouteRow::new(&self.limits.buckets));
        if let Some(route) = inner.routes.get_mut(route.index()) {
            route.rows.push(Arc::clone(&row));
        }
        inner.own_routes.insert(route, Arc::clone(&row));
        row
    }
}
