//! Names from elsewhere: other replicas, a Prometheus that remembers, the app's own description.
//!
//! While others are asked, a path without a name waits, and the learner hears of it only when they
//! have answered. So what is decided here is decided with the names that all the others have.

use super::inner::Inner;
use super::{PathKind, PathMode, RouteId, Store};
use crate::paths::{Learnable, Name, NameSet, Since, Template, learnable};

/// Names that may wait for the next start. Only their number is told.
const MAX_CONFLICTS: usize = 10_000;

/// How many times `max_paths` names are looked at.
const LOOKED_AT: usize = 2;

/// A question under way: which paths it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asking {
    end: u64,
}

/// What an answer has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Names, and places whose words are values, that were not known here.
    pub new: usize,
    /// Names that traffic could not have brought, which are left out.
    pub refused: usize,
}

impl Store {
    /// From now on paths without a name wait until [`Self::answered`] says that others were asked;
    /// with `false` no longer, and what waits is told to the learner.
    ///
    /// They wait as long as without anybody to ask, a minute or for [`Self::snapshot`] at most, if
    /// nobody answers.
    pub fn ask_for_names(&self, asks: bool) {
        let mut inner = self.lock();
        inner.asks = asks;
        if !asks {
            let end = inner.deferred.end();
            self.tell_learner(&mut inner, end);
        }
    }

    /// Waits until there is a reason to ask.
    ///
    /// # Cancel safety
    ///
    /// Safe. For one caller at a time.
    pub async fn unnamed(&self) {
        self.unnamed.notified().await;
    }

    /// Begins to ask, on behalf of all paths that wait now.
    pub fn asking(&self) -> Asking {
        Asking { end: self.lock().deferred.end() }
    }

    /// Takes in what others know, and then names what they were asked for.
    ///
    /// Nothing that is published is renamed: a name that would do so is counted and waits for the
    /// next start. Of the others the oldest come first, up to `max_paths`. Only `--paths learn`
    /// takes names from elsewhere.
    ///
    /// # Shape
    ///
    /// Holds the lock for about a microsecond a name.
    pub fn answered(&self, asking: Asking, names: &NameSet) -> Adopted {
        let folds = names.folds();
        // What needs no lock is done without it; what could not be taken over is not looked at.
        let most = self.limits.max_paths.saturating_mul(LOOKED_AT);
        let mut adopted = Adopted::default();
        let names: Vec<_> = names.by_age().into_iter().take(most).collect();
        let candidates = names.into_iter().filter_map(|(template, since)| {
            let found = learnable(template);
            adopted.refused += usize::from(found.is_none());
            Some(Candidate { template, since, learnable: found? })
        });
        let candidates: Vec<_> = candidates.collect();
        let places: Vec<_> = folds.take(most).filter_map(learnable).collect();
        let mut inner = self.lock();
        if inner.mode() == PathMode::Learn {
            adopted.new = adopt(&mut inner, candidates, &places);
        }
        self.tell_learner(&mut inner, asking.end);
        let scraped = inner.scraped_before.min(asking.end);
        self.publish_before(&mut inner, scraped);
        adopted
    }

    /// A hash of the names in force, see [`crate::paths::digest`], and how many names from
    /// elsewhere wait for the next start.
    pub fn agreement(&self) -> (u64, usize) {
        let mut inner = self.lock();
        (inner.digest(), inner.conflicts.len())
    }

    fn tell_learner(&self, inner: &mut Inner, end: u64) {
        for place in inner.deferred.places(end) {
            let route = self.name_waiting(inner, place, false);
            self.take_out(inner, place, route);
        }
        self.spread(inner);
    }
}

/// A name from elsewhere that could have come from traffic.
struct Candidate<'a> {
    template: &'a Template,
    since: Since,
    learnable: Learnable,
}

/// Takes over what fits; tells how many names and places were not known.
fn adopt(inner: &mut Inner, candidates: Vec<Candidate<'_>>, places: &[Learnable]) -> usize {
    let (mut chosen, mut scratch) = (Vec::new(), String::new());
    for candidate in candidates {
        let Candidate { template, since, learnable: Learnable { name, example } } = &candidate;
        if let Some(route) = inner.route_index.get(template.as_str()).copied() {
            earlier(inner, route, *since);
        } else if let Name::Pinned(_) = inner.naming.namer.name(example, &mut scratch) {
            // A pinned template comes first, whatever others say.
        } else if would_rename(inner, name, *since) {
            if inner.conflicts.len() < MAX_CONFLICTS {
                inner.conflicts.insert(template.as_str().into());
            }
        } else {
            chosen.push(candidate);
        }
    }
    let mut new = 0;
    inner.learner.begin_adopting();
    for Candidate { template, since, learnable: Learnable { name, .. } } in chosen {
        // Of two that differ only in the names of their parameters, the older was there first.
        if inner.learner.route_of(&name).is_some() {
            continue;
        }
        let Some(route) = adopted_route(inner, template, since) else { break };
        inner.learner.adopt(&name, route.0);
        new += 1;
    }
    for place in places {
        new += usize::from(inner.learner.adopt_fold(&place.name));
    }
    new
}

fn adopted_route(inner: &mut Inner, template: &Template, since: Since) -> Option<RouteId> {
    let route = inner.learned_route(template.as_str())?;
    earlier(inner, route, since);
    Some(route)
}

/// Tells whether a name would take over paths that are published under another.
fn would_rename(inner: &mut Inner, name: &str, since: Since) -> bool {
    if let Some(own) = inner.learner.route_of(name) {
        // For the same paths the older one counts; one of unknown age is not older.
        let own = inner.routes.get(RouteId(own).index()).map_or(0, |route| route.since_seconds);
        return since.known().is_some_and(|since| since < own);
    }
    inner.learner.would_rename(name)
}

/// A name was published elsewhere before it was here.
fn earlier(inner: &mut Inner, route: RouteId, since: Since) {
    if let Some(known) = inner.routes.get_mut(route.index())
        && known.kind != PathKind::Reserved
        && let Some(since) = since.known()
    {
        known.since_seconds = known.since_seconds.min(since);
    }
}
