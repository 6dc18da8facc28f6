//! The list of routes that exist, for people and for pinning.

use std::sync::Arc;

use super::{HistogramTotals, RouteId, Store};

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
}

impl Store {
    /// Every route that exists, by name. For people: sums up all rows.
    pub fn list_paths(&self) -> Vec<ListedPath> {
        let snapshot = self.snapshot();
        let mut hits = vec![0; snapshot.routes.len()];
        for (key, parts) in &snapshot.rows {
            let totals = HistogramTotals::of(parts.iter().map(|row| &row.durations));
            if let Some(hits) = hits.get_mut(key.route.index()) {
                *hits += totals.count();
            }
        }
        let pinned = RouteId::FIXED.len() + self.namer.pinned().len();
        let listed = snapshot.routes.into_iter().zip(hits).enumerate();
        let mut listed: Vec<_> = listed
            .map(|(index, (route, hits))| {
                let kind = match index {
                    _ if index < RouteId::FIXED.len() => PathKind::Reserved,
                    _ if index < pinned => PathKind::Pinned,
                    _ => PathKind::Learned,
                };
                ListedPath { template: route.name, kind, state: PathState::Published, hits }
            })
            .collect();
        listed.sort_by(|a, b| a.template.cmp(&b.template));
        listed
    }
}
