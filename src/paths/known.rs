//! What is learned for good: a tree that names paths without a lock.
//!
//! Immutable. The learner makes a new one whenever a route is added or a node folds; the workers
//! read the latest they have.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;
use super::vocabulary::is_word_of_apis;

/// The learned routes, by segment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    children: HashMap<Box<str>, Known, RandomState>,
    /// When it was decided that words which are no child of their own are values.
    folded: Option<Age>,
    /// When the route was added, and its number.
    route: Option<(Age, u32)>,
}

/// Orders what was decided: the later, the higher.
pub(super) type Age = u32;

/// A route that matches, since when, and when it was added.
type Match = (Age, Age, u32);

impl Known {
    /// The route of a name that the detectors made, if it has one.
    ///
    /// Among all routes that match, the one wins that has matched the longest: since it was added,
    /// or since the nodes on the way to it fold. Routes are only added and nodes only fold, so
    /// what comes later never takes a path away from its route: a path's name never changes.
    ///
    /// # Shape
    ///
    /// `name` begins with `/`, or is `*`. No allocation; each node is visited at most once.
    pub fn find(&self, name: &str) -> Option<u32> {
        let found = self.find_below(Some(name.strip_prefix('/').unwrap_or(name)), 0);
        found.map(|(_, _, route)| route)
    }

    fn find_below(&self, rest: Option<&str>, since: Age) -> Option<Match> {
        let Some(rest) = rest else {
            return self.route.map(|(age, route)| (age.max(since), age, route));
        };
        let (segment, below) = match rest.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (rest, None),
        };
        let literal = self.children.get(child_name(segment));
        let literal = literal.and_then(|child| child.find_below(below, since));
        let Some((folded, stand_in)) = self.folded.zip(stand_in(segment)) else {
            return literal;
        };
        let child = self.children.get(stand_in);
        let value = child.and_then(|child| child.find_below(below, since.max(folded)));
        match (literal, value) {
            (Some(literal), Some(value)) => Some(literal.min(value)),
            (literal, value) => literal.or(value),
        }
    }

    /// Adds a route below the nodes of `way`: each one's name, and since when its parent folds.
    pub(super) fn insert<'a>(
        &mut self,
        way: impl Iterator<Item = (&'a str, Option<Age>)>,
        route: (Age, u32),
    ) {
        let mut node = self;
        for (name, folded) in way {
            node.folded = node.folded.or(folded);
            node = node.children.entry(name.into()).or_default();
        }
        node.route.get_or_insert(route);
    }

    pub(super) fn fold(&mut self, since: Option<Age>) {
        self.folded = self.folded.or(since);
    }

    pub(super) fn children_mut(&mut self) -> impl Iterator<Item = (&str, &mut Self)> {
        self.children.iter_mut().map(|(name, child)| (&**name, child))
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
            let is_value = name.starts_with(ID) || name.starts_with(':');
            child.each_below(folded || (self.folded.is_some() && is_value), found);
        }
    }
}

/// What the child of a segment is called: `{id}:cancel` is `:cancel`, see [`stand_in`].
pub(super) fn child_name(segment: &str) -> &str {
    match segment.strip_prefix(ID) {
        Some(verb) if verb.starts_with(':') => verb,
        _ => segment,
    }
}

/// The child that stands for a segment where the node is folded: `{id}`, or `{id}:cancel`.
///
/// A child is called by what follows the `{id}`, if it is a verb: so it is found without a copy.
pub(super) fn stand_in(segment: &str) -> Option<&str> {
    if segment.is_empty() || segment == ID || segment == "{*rest}" {
        return None;
    }
    let verb = segment.find(':').and_then(|colon| segment.get(colon..));
    match verb.filter(|verb| is_word_of_apis(verb)) {
        Some(verb) if verb.len() == segment.len() => None,
        Some(verb) => Some(verb),
        None => Some(ID),
    }
}
