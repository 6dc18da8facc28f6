//! The list of routes that exist, for people and for pinning.

use std::sync::Arc;

use super::{Route, RouteId, Store};

/// Where a route's name comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PathKind {
    /// From `--route` or a file.
    Pinned,
    /// From traffic.
    Learned,
    /// Not a path: begins with `_`.
    Reserved,
}

/// How far a route has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PathState {
    /// Not exported yet: the next scrape decides what it is called.
    Provisional,
    /// Exported under this name for as long as the process lives.
    Published,
    /// Published, and one of its `{id}` stands for words, too: their number said that they are
    /// values.
    Folded,
    /// Was pinned until a reload: keeps what it counted, takes no new requests.
    Retired,
}

/// One route, as [`Store::list_paths`] tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedPath {
    /// The label value.
    pub template: Arc<str>,
    /// Where the name comes from.
    pub kind: PathKind,
    /// How far it has come.
    pub state: PathState,
    /// Requests that ended under this name.
    pub hits: u64,
    /// When the name was first published, here or elsewhere, in seconds since the epoch; `None` if
    /// it is not published yet, or reserved.
    pub since_seconds: Option<u64>,
}

/// What a label that is no path stands for.
pub fn meaning_of(label: &str) -> Option<&'static str> {
    match label {
        "_OTHER" => Some("came after --max-paths or --max-series was reached"),
        "_UNPARSED" => Some("heads that could not be parsed"),
        "_UNMATCHED" => Some("no template, and no answer yet that shows that it exists"),
        "_ALL" => Some("every path, with --paths off"),
        _ => None,
    }
}

impl Store {
    /// The places whose words are values, each up to its parameter, in the order of the alphabet.
    pub fn list_folds(&self) -> Vec<String> {
        let naming = Arc::clone(&self.lock().naming);
        let mut folds = Vec::new();
        naming.known.each_fold(&mut |place| folds.push(place.to_owned()));
        folds
    }

    /// Every route that exists, and what may become one, by name. For people: sums up all rows.
    /// Publishes nothing.
    pub fn list_paths(&self) -> Vec<ListedPath> {
        let inner = self.lock();
        let (rows, routes) = (inner.rows.clone(), inner.routes.clone());
        let naming = Arc::clone(&inner.naming);
        let provisional = inner.deferred.list().map(|waiting| ListedPath {
            template: waiting.name().into(),
            kind: PathKind::Learned,
            state: PathState::Provisional,
            hits: waiting.requests(),
            since_seconds: None,
        });
        let mut listed: Vec<_> = provisional.collect();
        drop(inner);
        let state = |route: &Route| match route.kind {
            PathKind::Pinned => PathState::Retired,
            PathKind::Learned | PathKind::Reserved => PathState::Published,
        };
        let mut states: Vec<_> = routes.iter().map(state).collect();
        for route in naming.pinned.iter() {
            if let Some(state) = states.get_mut(route.index()) {
                *state = PathState::Published;
            }
        }
        naming.known.each_route(&mut |route, folded| {
            let state = states.get_mut(RouteId(route).index());
            if let Some(state) = state.filter(|state| folded && **state == PathState::Published) {
                *state = PathState::Folded;
            }
        });
        let mut hits = vec![0; routes.len()];
        for (key, parts) in &rows {
            if let Some(hits) = hits.get_mut(key.route.index()) {
                *hits += parts.iter().map(|row| row.requests()).sum::<u64>();
            }
        }
        listed.extend(routes.into_iter().zip(states).zip(hits).map(|((route, state), hits)| {
            let (template, kind) = (route.name, route.kind);
            let since_seconds = (kind != PathKind::Reserved).then_some(route.since_seconds);
            ListedPath { template, kind, state, hits, since_seconds }
        }));
        listed.sort_by(|a, b| a.template.cmp(&b.template));
        listed
    }
}
