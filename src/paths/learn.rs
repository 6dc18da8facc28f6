//! Learning which segments of a path are words of the app and which are values.
//!
//! A trie of the names that the detectors made of admitted requests. Each node sees how its
//! children are spread: many children that each came once are values, and the node folds; few
//! that come again and again are the app's own words. Pure: no clock, no lock. Guards the
//! invariants that what was decided stays decided, and that memory is bounded.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;
use super::known::{Age, Known, child_name, stand_in};
use super::vocabulary::is_word_of_apis;

pub use self::rules::Rules;

mod fold;
mod rules;

/// What the learner says of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is called so; [`Learner::set_route`] takes the place.
    Named(String, Place),
    /// Nobody knows yet.
    Open,
}

/// Where a route hangs in the learner's tree. Valid until the next call that learns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place(Vec<usize>);

/// Nodes without a route that may exist; beyond, they are forgotten.
///
/// About 200 bytes each: 3 MiB.
const MAX_OPEN_NODES: usize = 16_384;

/// What a learner knows about one place of a path.
#[derive(Debug, Default)]
struct Node {
    name: Box<str>,
    children: HashMap<Box<str>, usize, RandomState>,
    /// Admitted requests that came through here.
    hits: u32,
    decided: bool,
    folded: Option<Age>,
    has_route: bool,
    words: Words,
}

/// How requests spread over a node's children that are uncommon words.
#[derive(Clone, Copy, Debug, Default)]
struct Words {
    distinct: u32,
    /// Of these, the ones that came only once.
    once: u32,
}

/// Learns from admitted requests, and decides what paths are called.
#[derive(Debug)]
pub struct Learner {
    nodes: Vec<Node>,
    rules: Rules,
    /// Number of nodes at which those without a decision are forgotten.
    forget_at: usize,
    /// Counts decisions.
    age: Age,
    known: Known,
    /// A node has folded that `known` does not know of.
    is_stale: bool,
    changed: bool,
}

impl Default for Learner {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Learner {
    /// A learner that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        let root = Node { decided: true, ..Node::default() };
        Self {
            nodes: vec![root],
            rules,
            forget_at: MAX_OPEN_NODES,
            age: 0,
            known: Known::default(),
            is_stale: false,
            changed: false,
        }
    }

    /// Takes in one admitted request by the name that the detectors made.
    ///
    /// # Shape
    ///
    /// `name`: what [`super::Namer::name`] detected, and no route matches. O(segments), except when
    /// a node folds.
    pub fn observe(&mut self, name: &str) -> Decision {
        if self.nodes.len() > self.forget_at {
            self.forget();
        }
        let mut node = 0;
        self.at_mut(node).hits = self.at(node).hits.saturating_add(1);
        for segment in segments(name) {
            let literal = self.child(node, segment).filter(|child| self.at(*child).decided);
            let stand_in_name =
                self.stand_in(node, segment).filter(|_| !self.is_own(node, segment));
            node = match (literal, stand_in_name) {
                (Some(child), _) => self.take_known(node, child),
                (None, Some(stand_in)) => self.take_value(node, stand_in),
                (None, None) => {
                    let child = self.take_word(node, segment);
                    if self.should_fold(node) {
                        self.fold(node);
                        let stand_in = stand_in(segment).unwrap_or(segment);
                        let found = self.child(node, segment);
                        found.or_else(|| self.child(node, stand_in)).unwrap_or(child)
                    } else {
                        child
                    }
                }
            };
        }
        self.look(name, false)
    }

    /// Decides now what a name is called, as far as what was seen allows.
    pub fn decide(&mut self, name: &str) -> Decision {
        self.look(name, true)
    }

    /// Remembers the route of a place.
    pub fn set_route(&mut self, place: &Place, route: u32) {
        self.age += 1;
        let parents = std::iter::once(0).chain(place.0.iter().copied());
        let mut known = std::mem::take(&mut self.known);
        let way = place.0.iter().zip(parents);
        let way = way.map(|(node, parent)| (&*self.at(*node).name, self.at(parent).folded));
        known.insert(way, (self.age, route));
        self.known = known;
        if let Some(last) = place.0.last() {
            self.at_mut(*last).has_route = true;
        }
        self.changed = true;
    }

    /// What is learned for good.
    pub fn known(&mut self) -> &Known {
        if std::mem::take(&mut self.is_stale) {
            let mut known = std::mem::take(&mut self.known);
            self.tell_folds(0, &mut known);
            self.known = known;
        }
        &self.known
    }

    /// Tells whether [`Self::known`] has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn tell_folds(&self, node: usize, known: &mut Known) {
        known.fold(self.at(node).folded);
        for (name, below) in known.children_mut() {
            if let Some(child) = self.child(node, name) {
                self.tell_folds(child, below);
            }
        }
    }

    /// The name of the child that stands for a segment, if the node is folded.
    fn stand_in<'a>(&self, node: usize, segment: &'a str) -> Option<&'a str> {
        self.at(node).folded.and_then(|_| stand_in(segment))
    }

    /// Follows a name; where a child is open, judges it if that is asked for.
    fn look(&mut self, name: &str, judge: bool) -> Decision {
        let (mut node, mut label) = (0, String::with_capacity(name.len() + 8));
        let mut place = Vec::new();
        for segment in segments(name) {
            let literal = self.child(node, segment);
            let decided = literal.filter(|child| self.at(*child).decided);
            let stand_in = self.stand_in(node, segment);
            let next = match (decided, stand_in) {
                (Some(child), _) => Some(child),
                (None, Some(stand_in)) => self.child(node, stand_in),
                (None, None) => literal.filter(|child| {
                    let is_sure = self.at(*child).hits >= SURE_HITS;
                    (judge || is_sure) && self.is_word(node, *child)
                }),
            };
            let Some(next) = next else { return Decision::Open };
            let next_node = self.at_mut(next);
            next_node.decided = true;
            label.push('/');
            label.push_str(if next_node.name.starts_with(':') { ID } else { "" });
            label.push_str(&next_node.name);
            place.push(next);
            node = next;
        }
        if name == "*" {
            label.remove(0);
        }
        Decision::Named(label, Place(place))
    }

    /// A common word is one of the app's own even beside values, as long as no route matches it.
    fn is_own(&self, node: usize, segment: &str) -> bool {
        let children = u32::try_from(self.at(node).children.len()).unwrap_or(u32::MAX);
        let has_room = children < self.rules.max_children;
        has_room && !self.is_collection(node) && is_word_of_apis(segment)
    }

    /// Counts a request at a child that exists.
    fn take_known(&mut self, node: usize, child: usize) -> usize {
        self.count_again(node, child, 1);
        let hits = &mut self.at_mut(child).hits;
        *hits = hits.saturating_add(1);
        child
    }

    /// Counts a request at what stands for a value.
    fn take_value(&mut self, node: usize, name: &str) -> usize {
        let children = &self.at(node).children;
        let has_room = children.len() < MAX_CHILDREN || children.contains_key(name);
        let name = if has_room { name } else { ID };
        let child = self.child(node, name).unwrap_or_else(|| self.add_child(node, name, true));
        self.take_known(node, child)
    }

    /// Counts a request at a child that may be new.
    fn take_word(&mut self, node: usize, segment: &str) -> usize {
        if let Some(child) = self.child(node, segment) {
            return self.take_known(node, child);
        }
        let child = self.add_child(node, segment, is_plain(segment));
        self.at_mut(child).hits = 1;
        self.count_new(node, segment, 1);
        child
    }

    fn count_new(&mut self, node: usize, segment: &str, hits: u32) {
        if !is_plain(segment) {
            let words = &mut self.at_mut(node).words;
            words.distinct += 1;
            words.once += u32::from(hits == 1);
        }
    }

    fn count_again(&mut self, node: usize, child: usize, hits: u32) {
        if hits > 0 && self.at(child).hits == 1 && !is_plain(&self.at(child).name) {
            let words = &mut self.at_mut(node).words;
            words.once = words.once.saturating_sub(1);
        }
    }

    fn add_child(&mut self, node: usize, name: &str, decided: bool) -> usize {
        let child = self.nodes.len();
        self.nodes.push(Node { name: name.into(), decided, ..Node::default() });
        self.at_mut(node).children.insert(name.into(), child);
        child
    }

    fn child(&self, node: usize, name: &str) -> Option<usize> {
        self.at(node).children.get(name).copied()
    }

    #[expect(clippy::indexing_slicing, reason = "nodes are only dropped with all links to them")]
    fn at(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    #[expect(clippy::indexing_slicing, reason = "nodes are only dropped with all links to them")]
    fn at_mut(&mut self, node: usize) -> &mut Node {
        &mut self.nodes[node]
    }
}

/// Requests with which a word need not wait for a scrape.
const SURE_HITS: u32 = 20;

/// Children of a folded node; beyond, verbs count as `{id}`.
const MAX_CHILDREN: usize = 1000;

fn segments(name: &str) -> impl Iterator<Item = &str> {
    name.strip_prefix('/').unwrap_or(name).split('/').map(child_name)
}

/// Segments that are named at once: parameters, and words that many APIs have.
fn is_plain(segment: &str) -> bool {
    segment.is_empty() || segment == "*" || segment.starts_with('{') || is_word_of_apis(segment)
}

#[cfg(test)]
mod tests;
