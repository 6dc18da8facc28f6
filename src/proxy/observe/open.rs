//! What stays open for long after its request was counted.

use std::rc::Rc;

use crate::metrics::store::{Lasting, Settled};
use crate::metrics::{bump, drop_one};
use crate::proxy::worker::{Tick, Worker};

/// A connection that was switched to another protocol, as long as it is open.
#[must_use = "the connection counts as closed when the guard drops"]
pub(crate) struct OpenConnection {
    worker: Rc<Worker>,
    /// `None`: its request is kept out of the metrics.
    route: Option<Settled>,
    since: Tick,
}

impl OpenConnection {
    pub(super) fn new(worker: Rc<Worker>, route: Option<Settled>, since: Tick) -> Self {
        bump(&worker.stats.upgraded_active);
        Self { worker, route, since }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        drop_one(&self.worker.stats.upgraded_active);
        lasted(&self.worker, self.route.as_ref(), Lasting::Upgrade, self.since, self.worker.now());
    }
}

/// Records how long something was open.
pub(super) fn lasted(
    worker: &Worker,
    route: Option<&Settled>,
    kind: Lasting,
    since: Tick,
    end: Tick,
) {
    if let Some(route) = route {
        let nanos = worker.nanos_between(since, end);
        worker.shard.with_route(route, |row, _buckets| row.record_lasting(kind, nanos));
    }
}
