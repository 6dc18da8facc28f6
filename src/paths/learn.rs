//! Learning which segments of a path are words of the app and which are values.
//!
//! A trie of the names that the detectors made of admitted requests. Each node sees how its
//! children are spread: many children that each came once are values, and the node folds; few
//! that come again and again are the app's own words. Pure: no clock, no lock. Guards the
//! invariants that what was decided stays decided, and that memory is bounded.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;
use super::known::{Known, may_fold};
use super::vocabulary::is_word_of_apis;

/// The numbers that learning depends on, chosen by the evaluation in `benches/paths`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// Uncommon words that a node names without further evidence.
    pub free_words: u32,
    /// The same below a collection, such as `/users`: there, words are rather values.
    pub free_words_below_collection: u32,
    /// Uncommon words at which a node is looked at, and folds if most came only once.
    pub fold_words: u32,
    /// The same below a collection.
    pub fold_words_below_collection: u32,
    /// Of the uncommon words, how many must have come only once to fold: percent.
    pub once_percent: u32,
    /// Requests with which an uncommon word is named among many that come again.
    pub named_hits: u32,
    /// Children at which a node folds whatever they are.
    pub max_children: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            free_words: 8,
            free_words_below_collection: 3,
            fold_words: 20,
            fold_words_below_collection: 8,
            once_percent: 50,
            named_hits: 3,
            max_children: 300,
        }
    }
}

/// What the learner says of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is called so; the number stands for its place, see [`Learner::set_route`].
    Named(String, Place),
    /// Nobody knows yet.
    Open,
}

/// Where a route hangs in the learner's tree. Valid until the next call that learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(usize);

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
    folded: bool,
    /// How old the route is, and its number.
    route: Option<(u32, u32)>,
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
    routes: u32,
    changed: bool,
}

impl Default for Learner {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Rules {
    /// Every word is named at once, and no node folds.
    pub fn raw() -> Self {
        Self {
            free_words: u32::MAX,
            free_words_below_collection: u32::MAX,
            fold_words: u32::MAX,
            fold_words_below_collection: u32::MAX,
            max_children: u32::MAX,
            ..Self::default()
        }
    }
}

impl Learner {
    /// A learner that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        let root = Node { decided: true, ..Node::default() };
        Self { nodes: vec![root], rules, forget_at: MAX_OPEN_NODES, routes: 0, changed: false }
    }

    /// Takes in one admitted request by the name that the detectors made.
    ///
    /// # Shape
    ///
    /// `name`: what [`super::Namer::name`] detected. O(segments), except when a node folds.
    pub fn observe(&mut self, name: &str) -> Decision {
        if self.nodes.len() > self.forget_at {
            self.forget();
        }
        let mut node = 0;
        for segment in segments(name) {
            let is_value = self.at(node).folded && may_fold(segment);
            let literal = self.child(node, segment).filter(|child| self.at(*child).decided);
            node = match literal {
                Some(child) => self.hit(child),
                None if is_value => self.take_child(node, ID),
                None => {
                    self.take_word(node, segment);
                    if self.should_fold(node) {
                        self.fold(node);
                    }
                    let found = self.child(node, segment).or_else(|| self.child(node, ID));
                    found.unwrap_or(0)
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
    pub fn set_route(&mut self, place: Place, route: u32) {
        if self.at(place.0).route.is_none() {
            self.at_mut(place.0).route = Some((self.routes, route));
            self.routes += 1;
            self.changed = true;
        }
    }

    /// Tells whether [`Self::known`] has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is learned for good.
    pub fn known(&self) -> Known {
        self.known_below(0)
    }

    fn known_below(&self, node: usize) -> Known {
        let node = self.at(node);
        let mut known = Known { folded: node.folded, route: node.route, ..Known::default() };
        for (name, child) in &node.children {
            if self.at(*child).decided {
                let below = self.known_below(*child);
                if below.route.is_some() || !below.children.is_empty() {
                    known.children.insert(name.clone(), below);
                }
            }
        }
        known
    }

    /// Follows a name; where a child is open, judges it if that is asked for.
    fn look(&mut self, name: &str, judge: bool) -> Decision {
        let (mut node, mut label) = (0, String::with_capacity(name.len() + 8));
        for segment in segments(name) {
            let literal = self.child(node, segment);
            let decided = |child: &usize| self.at(*child).decided;
            let (next, text) = if let Some(child) = literal.filter(decided) {
                (child, segment)
            } else if self.at(node).folded && may_fold(segment) {
                let Some(child) = self.child(node, ID) else { return Decision::Open };
                (child, ID)
            } else {
                let Some(child) = literal.filter(|child| judge && self.is_word(node, *child))
                else {
                    return Decision::Open;
                };
                self.at_mut(child).decided = true;
                (child, segment)
            };
            label.push('/');
            label.push_str(text);
            node = next;
        }
        if name == "*" {
            label.remove(0);
        }
        Decision::Named(label, Place(node))
    }

    /// Judges an uncommon word from how requests spread over it and its siblings.
    fn is_word(&self, parent: usize, child: usize) -> bool {
        let words = self.at(parent).words;
        let free = if self.is_collection(parent) {
            self.rules.free_words_below_collection
        } else {
            self.rules.free_words
        };
        let come_again = words.once * 100 < words.distinct * self.rules.once_percent;
        words.distinct <= free || (come_again && self.at(child).hits >= self.rules.named_hits)
    }

    /// Too many children that each came once.
    fn should_fold(&self, node: usize) -> bool {
        let words = self.at(node).words;
        let limit = if self.is_collection(node) {
            self.rules.fold_words_below_collection
        } else {
            self.rules.fold_words
        };
        let mostly_once = words.once * 100 >= words.distinct * self.rules.once_percent;
        let children = u32::try_from(self.at(node).children.len()).unwrap_or(u32::MAX);
        (words.distinct >= limit && mostly_once) || children > self.rules.max_children
    }

    /// Tells whether words below a node are rather values: `/users`, or beside other values.
    fn is_collection(&self, node: usize) -> bool {
        let node = self.at(node);
        let is_plural = node.name.ends_with('s') && !node.name.ends_with("ss");
        is_plural || node.children.get(ID).is_some_and(|child| self.at(*child).hits > 0)
    }

    /// Makes all undecided children one: `{id}`.
    fn fold(&mut self, node: usize) {
        self.at_mut(node).folded = true;
        self.changed = true;
        let undecided: Vec<_> = self.undecided_children(node);
        let target = self.child(node, ID).unwrap_or_else(|| self.add_child(node, ID, true));
        self.at_mut(target).decided = true;
        for (name, child) in undecided {
            self.at_mut(node).children.remove(&name);
            self.merge(child, target);
        }
    }

    fn undecided_children(&self, node: usize) -> Vec<(Box<str>, usize)> {
        let children = self.at(node).children.iter();
        let mut found: Vec<_> = children
            .filter(|(name, child)| !self.at(**child).decided && may_fold(name))
            .map(|(name, child)| (name.clone(), *child))
            .collect();
        // The order of a hash map is random, and merging depends on it where it folds.
        found.sort_unstable();
        found
    }

    /// Takes what is known of `from` over to `into`.
    fn merge(&mut self, from: usize, into: usize) {
        let from = std::mem::take(self.at_mut(from));
        self.at_mut(into).hits += from.hits;
        let mut children: Vec<_> = from.children.into_iter().collect();
        children.sort_unstable();
        for (name, child) in children {
            if self.at(into).folded && may_fold(&name) && self.child(into, &name).is_none() {
                let target = self.child(into, ID).unwrap_or_else(|| self.add_child(into, ID, true));
                self.merge(child, target);
            } else if let Some(own) = self.child(into, &name) {
                self.count_again(into, own, self.at(child).hits);
                self.merge(child, own);
            } else {
                let hits = self.at(child).hits;
                self.at_mut(into).children.insert(name.clone(), child);
                self.count_new(into, &name, hits);
            }
        }
        if self.should_fold(into) && !self.at(into).folded {
            self.fold(into);
        }
    }

    /// Counts a request at a child that may be new.
    fn take_word(&mut self, node: usize, segment: &str) {
        match self.child(node, segment) {
            Some(child) => {
                self.count_again(node, child, 1);
                self.hit(child);
            }
            None => {
                let decided = is_plain(segment);
                let child = self.add_child(node, segment, decided);
                self.hit(child);
                self.count_new(node, segment, 1);
            }
        }
    }

    fn take_child(&mut self, node: usize, name: &str) -> usize {
        let child = self.child(node, name).unwrap_or_else(|| self.add_child(node, name, true));
        self.hit(child)
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

    fn hit(&mut self, node: usize) -> usize {
        let hits = &mut self.at_mut(node).hits;
        *hits = hits.saturating_add(1);
        node
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

    /// Drops every node that is not on the way to a route; what nodes counted stays.
    fn forget(&mut self) {
        let mut kept = Vec::new();
        self.keep(0, &mut kept);
        self.forget_at = kept.len() + MAX_OPEN_NODES;
        self.nodes = kept;
    }

    fn keep(&mut self, node: usize, kept: &mut Vec<Node>) -> Option<usize> {
        let node = std::mem::take(self.at_mut(node));
        let own = kept.len();
        let mut children: Vec<_> = node.children.into_iter().collect();
        children.sort_unstable();
        kept.push(Node { children: HashMap::default(), ..node });
        let mut links = HashMap::default();
        for (name, child) in children {
            if let Some(child) = self.keep(child, kept) {
                links.insert(name, child);
            }
        }
        let last = kept.get_mut(own)?;
        if links.is_empty() && last.route.is_none() && !last.folded && own != 0 {
            kept.truncate(own);
            return None;
        }
        last.children = links;
        Some(own)
    }
}

fn segments(name: &str) -> impl Iterator<Item = &str> {
    name.strip_prefix('/').unwrap_or(name).split('/')
}

/// Segments that are named at once: parameters, and words that many APIs have.
fn is_plain(segment: &str) -> bool {
    segment.is_empty() || segment.starts_with('{') || is_word_of_apis(segment)
}

#[cfg(test)]
mod tests;
