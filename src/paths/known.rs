//! What is learned for good: a tree that names paths without a lock.
//!
//! Immutable. The learner makes a new one whenever a route is added or a node folds; the workers
//! read the latest they have.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;

/// The learned routes, by segment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub(super) children: HashMap<Box<str>, Known, RandomState>,
    /// Words that are no child of their own are values: `{id}` stands for them.
    pub(super) folded: bool,
    /// How old the route is among the learned ones, and its number.
    pub(super) route: Option<(u32, u32)>,
}

impl Known {
    /// The route of a name that the detectors made, if it has one.
    ///
    /// Among all routes that match, the oldest wins. Routes are only added and nodes only fold, so
    /// the routes that match a path only become more, and its name never changes.
    ///
    /// # Shape
    ///
    /// `name` begins with `/`, or is `*`. No allocation; each node is visited at most once.
    pub fn find(&self, name: &str) -> Option<u32> {
        let found = self.find_below(Some(name.strip_prefix('/').unwrap_or(name)));
        found.map(|(_, route)| route)
    }

    /// Tells `found` every route, and whether one of its parameters stands for words, too.
    pub fn each_route(&self, found: &mut impl FnMut(u32, bool)) {
        self.each_below(false, found);
    }

    fn each_below(&self, folded: bool, found: &mut impl FnMut(u32, bool)) {
        if let Some((_, route)) = self.route {
            found(route, folded);
        }
        let mut children: Vec<_> = self.children.iter().collect();
        children.sort_unstable_by_key(|(name, _)| *name);
        for (name, child) in children {
            child.each_below(folded || (self.folded && &**name == ID), found);
        }
    }

    fn find_below(&self, rest: Option<&str>) -> Option<(u32, u32)> {
        let Some(rest) = rest else { return self.route };
        let (segment, below) = match rest.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (rest, None),
        };
        let below_child =
            |name: &str| self.children.get(name).and_then(|child| child.find_below(below));
        let literal = below_child(segment);
        if !self.folded || !may_fold(segment) {
            return literal;
        }
        match (literal, below_child(ID)) {
            (Some(literal), Some(folded)) => Some(literal.min(folded)),
            (literal, folded) => literal.or(folded),
        }
    }
}

/// Tells whether `{id}` of a folded node may stand for a segment.
pub(super) fn may_fold(segment: &str) -> bool {
    !segment.is_empty() && segment != ID && segment != "{*rest}"
}
