//! How a request gets its route: what workers look up, and what the answer decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;

use super::inner::Inner;
use super::{PathMode, RouteId, Settled, Store};
use crate::paths::{Decision, Known, Namer, Place};

/// What workers name paths with; replaced as a whole when it changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    pub(super) namer: Arc<Namer>,
    /// The routes of the pinned templates, in the namer's order.
    pub(super) pinned: Arc<[RouteId]>,
    pub(super) known: Arc<Known>,
    /// Counts the changes of the pinned templates.
    pub(super) pins: u64,
}

/// What an answer says about the existence of its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Evidence {
    /// The app knows it: it served it, or broke while it did.
    Exists,
    /// Perhaps: a redirect, a refusal.
    Hint,
    /// It does not exist, or the app was never asked.
    None,
}

impl Evidence {
    fn of(status: u16, answered_by_upstream: bool) -> Self {
        match status {
            _ if !answered_by_upstream => Self::None,
            400 | 404 | 414 | 502..=504 => Self::None,
            100..=299 | 500..=599 => Self::Exists,
            _ => Self::Hint,
        }
    }
}

/// Counts the hints for names that are not admitted yet.
#[derive(Debug, Default)]
pub(super) struct Gate {
    hints: HashMap<Box<str>, u8, RandomState>,
}

impl Gate {
    /// Hints that make up for one answer that says that the path exists.
    const HINTS: u8 = 5;
    /// Names whose hints are counted at one time.
    const NAMES: usize = 2048;

    /// Counts a hint; tells whether it was the one that was missing.
    fn admits(&mut self, name: &str) -> bool {
        if let Some(hints) = self.hints.get_mut(name) {
            *hints += 1;
            let enough = *hints >= Self::HINTS;
            if enough {
                self.hints.remove(name);
            }
            return enough;
        }
        if self.hints.len() >= Self::NAMES {
            self.hints.clear();
        }
        self.hints.insert(name.into(), 1);
        false
    }
}

impl Store {
    /// Names a request that has ended and whose path had no route when it began.
    pub(super) fn settle(&self, name: &str, status: u16, answered_by_upstream: bool) -> Settled {
        let evidence = Evidence::of(status, answered_by_upstream);
        let mut inner = self.lock();
        // Another worker may have learned it meanwhile. On a path that exists every status counts.
        if let Some(route) = inner.learner.known().find(name) {
            return Settled::Named(RouteId(route));
        }
        if let Some(known) = inner.deferred.find(name).filter(|_| evidence != Evidence::Exists) {
            return known;
        }
        if evidence == Evidence::None {
            return Settled::Named(RouteId::UNMATCHED);
        }
        if evidence == Evidence::Hint && !inner.gate.admits(name) {
            return Settled::Named(RouteId::UNMATCHED);
        }
        if inner.is_full() {
            self.path_overflows.fetch_add(1, Relaxed);
            return Settled::Named(RouteId::OTHER);
        }
        if inner.deferred.is_overdue() || inner.deferred.is_full() {
            self.publish_deferred(&mut inner);
        }
        let mut decision = inner.learner.observe(name);
        if inner.mode() == PathMode::Raw {
            decision = inner.learner.decide(name);
        }
        let settled = match decision {
            Decision::Named(label, place) => {
                Settled::Named(self.name_place(&mut inner, &label, &place, 1))
            }
            Decision::Open => inner.deferred.add(name),
        };
        self.spread(&mut inner);
        settled
    }

    /// The route of what the learner has named.
    fn name_place(&self, inner: &mut Inner, label: &str, place: &Place, requests: u64) -> RouteId {
        let Some(route) = inner.learned_route(label) else {
            self.path_overflows.fetch_add(requests, Relaxed);
            return RouteId::OTHER;
        };
        inner.learner.set_route(place, route.0);
        route
    }

    /// Lets the workers know what was learned, if anything was.
    fn spread(&self, inner: &mut Inner) {
        if inner.learner.take_changed() {
            let known = Arc::new(inner.learner.known().clone());
            inner.naming = Arc::new(Naming { known, ..(*inner.naming).clone() });
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// Names what has no name yet, for good; what is still open was `_UNMATCHED`.
    pub(super) fn publish_deferred(&self, inner: &mut Inner) {
        for waiting in inner.deferred.take() {
            let known = inner.learner.known().find(waiting.name());
            let route = match known {
                Some(route) => RouteId(route),
                None => self.name_now(inner, waiting.name(), waiting.requests()),
            };
            self.absorb(inner, route, waiting);
        }
        self.spread(inner);
    }

    fn name_now(&self, inner: &mut Inner, name: &str, requests: u64) -> RouteId {
        match inner.learner.decide(name) {
            Decision::Named(label, place) => self.name_place(inner, &label, &place, requests),
            Decision::Open => RouteId::UNMATCHED,
        }
    }
}
