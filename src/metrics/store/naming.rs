//! How a request gets its route: what workers look up, and what the answer decides.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;

use super::inner::Inner;
use super::{PathMode, RouteId, Settled, Store};
use crate::paths::{Decision, Found, Known, Name, Namer, Place};

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

/// An answer, as far as it says whether its path exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The app gave it, not the sidecar.
    pub is_of_app: bool,
    /// It leads to the same path in another spelling: with TLS, with a slash at the end.
    pub is_respelling: bool,
}

impl Answer {
    /// An answer of the app that is no redirect to the same path.
    pub fn of_app(status: u16) -> Self {
        Self { status, is_of_app: true, is_respelling: false }
    }

    /// Tells whether the app says that there is no such path.
    fn denies(self) -> bool {
        self.is_of_app && self.status == 404
    }
}

/// What an answer says about the existence of its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Evidence {
    /// The app knows it: it served it, or broke while it did, or it is as it was.
    Exists,
    /// Perhaps: a redirect, a refusal.
    Hint,
    /// It does not exist, or the app was never asked, or said only how it would like to be asked.
    None,
}

impl Evidence {
    fn of(answer: Answer) -> Self {
        match answer.status {
            _ if !answer.is_of_app => Self::None,
            400 | 404 | 414 | 502..=504 => Self::None,
            300..=399 if answer.is_respelling => Self::None,
            // 303 tells where to see what has been done.
            100..=299 | 303 | 304 | 500..=599 => Self::Exists,
            _ => Self::Hint,
        }
    }
}

/// First segments that the app has answered to otherwise than with 404, where the root folds.
///
/// Else every word that a scanner tries would be one of the app's. Hashes: one that is taken for
/// another, or a set that is full, lets a 404 count under a label that it does not belong to.
#[derive(Debug)]
pub(super) struct Proven {
    bits: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Proven {
    fn default() -> Self {
        let bits = std::iter::repeat_with(AtomicU64::default).take(Self::WORDS).collect();
        Self { bits, hasher: RandomState::default() }
    }
}

impl Proven {
    /// 64 KiB: one in ten is taken for another with 50,000 names.
    const WORDS: usize = 8192;

    fn bit(&self, name: &str) -> Option<(&AtomicU64, u64)> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let first = name.split_once('/').map_or(name, |(first, _)| first);
        let hash = self.hasher.hash_one(first);
        let word = usize::try_from(hash >> 32).unwrap_or(0) % Self::WORDS;
        Some((self.bits.get(word)?, 1 << (hash % 64)))
    }

    pub(super) fn add(&self, name: &str) {
        if let Some((word, bit)) = self.bit(name)
            && word.load(Relaxed) & bit == 0
        {
            word.fetch_or(bit, Relaxed);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.bit(name).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
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
    pub(super) fn settle(&self, name: &str, answer: Answer) -> Settled {
        let evidence = Evidence::of(answer);
        if evidence != Evidence::None {
            self.proven.add(name);
        }
        let mut inner = self.lock();
        // Another worker may have learned it meanwhile. On a path that exists every status counts.
        if let Some(found) = inner.learner.known().find(name) {
            return self.settle_found(found, name, answer);
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
            self.publish_before(&mut inner, u64::MAX);
        }
        if inner.asks {
            self.unnamed.notify_one();
            return inner.deferred.add_untold(name);
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

    /// The route of a name that matches one, if the path may be one of those.
    pub(super) fn settle_found(&self, found: Found, name: &str, answer: Answer) -> Settled {
        if found.is_any_word {
            if !answer.denies() {
                self.proven.add(name);
            } else if !self.proven.has(name) {
                return Settled::Named(RouteId::UNMATCHED);
            }
        }
        Settled::Named(RouteId(found.route))
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
    pub(super) fn spread(&self, inner: &mut Inner) {
        if inner.learner.take_changed() {
            let known = Arc::new(inner.learner.known().clone());
            inner.naming = Arc::new(Naming { known, ..(*inner.naming).clone() });
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// What a scrape is about to show is named, for good; where others are asked for names first,
    /// it is shown by the next one.
    pub(super) fn publish_at_scrape(&self, inner: &mut Inner) {
        if inner.asks && !inner.deferred.is_overdue() {
            inner.scraped_before = inner.deferred.end();
            if inner.deferred.list().next().is_some() {
                self.unnamed.notify_one();
            }
        } else {
            self.publish_before(inner, u64::MAX);
        }
    }

    /// Names what has waited at the places before `end`; what is still open then was `_UNMATCHED`.
    pub(super) fn publish_before(&self, inner: &mut Inner, end: u64) {
        for place in inner.deferred.places(end) {
            let route = self.name_waiting(inner, place, true);
            self.take_out(inner, place, route);
        }
        self.spread(inner);
    }

    /// Tells the learner what it was not told of a path that waits, and what it is called then; if
    /// the learner has to `decide`, there always is an answer.
    pub(super) fn name_waiting(
        &self,
        inner: &mut Inner,
        place: u64,
        decide: bool,
    ) -> Option<RouteId> {
        /// With so many a word is named in any case.
        const ENOUGH: u32 = 32;
        let (path, untold) = inner.deferred.tell(place)?;
        // Templates may have been pinned meanwhile: the app has described itself.
        let mut scratch = String::new();
        if let Name::Pinned(index) = inner.naming.namer.name(path.name(), &mut scratch) {
            return inner.naming.pinned.get(index).copied();
        }
        if let Some(found) = inner.learner.known().find(path.name()) {
            return Some(RouteId(found.route));
        }
        let mut decision = Decision::Open;
        for _ in 0..untold.min(ENOUGH) {
            decision = inner.learner.observe(path.name());
            if decision != Decision::Open {
                break;
            }
        }
        if decide && decision == Decision::Open {
            decision = inner.learner.decide(path.name());
        }
        match decision {
            Decision::Named(label, place_of_route) => {
                let requests = inner.deferred.requests(place);
                Some(self.name_place(inner, &label, &place_of_route, requests))
            }
            Decision::Open => decide.then_some(RouteId::UNMATCHED),
        }
    }

    /// Counts what has waited under its route, if it has one.
    pub(super) fn take_out(&self, inner: &mut Inner, place: u64, route: Option<RouteId>) {
        if let Some(route) = route
            && let Some(waiting) = inner.deferred.remove(place)
        {
            self.absorb(inner, route, waiting);
        }
    }
}
