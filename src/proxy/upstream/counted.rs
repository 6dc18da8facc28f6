//! A connection in the gauge, for as long as it is open.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::spare::FurtherPlace;
use crate::metrics::{WorkerStats, bump, drop_one};

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// It carries a request, or several.
    Active,
    Idle,
}

/// Counts one connection under what it does. Whoever owns the connection owns this.
pub(super) struct Counted {
    stats: Arc<WorkerStats>,
    now: Cell<Use>,
    /// It is one more than its client has to itself.
    _further: Option<FurtherPlace>,
}

impl Counted {
    pub(super) fn new(stats: &Arc<WorkerStats>, now: Use, further: Option<FurtherPlace>) -> Self {
        bump(gauge(stats, now));
        Self { stats: Arc::clone(stats), now: Cell::new(now), _further: further }
    }

    pub(super) fn set(&self, now: Use) {
        let before = self.now.replace(now);
        if before != now {
            drop_one(gauge(&self.stats, before));
            bump(gauge(&self.stats, now));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        drop_one(gauge(&self.stats, self.now.get()));
    }
}

fn gauge(stats: &WorkerStats, of: Use) -> &AtomicU64 {
    match of {
        Use::Active => &stats.upstream_active,
        Use::Idle => &stats.upstream_idle,
    }
}
