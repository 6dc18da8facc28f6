//! Learning which segments of a path are words of the app and which are values.
//!
//! A trie of the names that the detectors made of admitted requests. Each node sees how its
//! children are spread: many children that each came once are values, and the node folds; few
//! that come again and again are the app's own words. Pure: no clock, no lock. Guards the
//! invariants that what was decided stays decided, and that memory is bounded.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;
use super::files::known_extension;
use super::known::{Age, Folds, Known, stand_in};
use super::locales::is_rare_locale;
use super::vocabulary::{is_collection, is_common_word};

pub use self::rules::Rules;

mod adopt;
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
    /// `{id}`, perhaps with a verb or an extension, or a word.
    name: Box<str>,
    words: Children,
    /// What stands for values, by what follows the `{id}`.
    values: Children,
    /// Admitted requests that came through here.
    hits: u32,
    decided: bool,
    folds: Folds,
    has_route: bool,
    spread: Spread,
}

type Children = HashMap<Box<str>, usize, RandomState>;

/// How requests spread over a node's children that are uncommon words.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    distinct: u32,
    /// Of these, the ones that came only once.
    once: u32,
    /// Of these, the ones that are written as programs write names.
    identifiers: u32,
    /// Of these, the ones that are written as people write codes and numbers.
    codes: u32,
    /// Requests for all of them.
    hits: u32,
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
        let root = Node { decided: true, folds: rules.folds(), ..Node::default() };
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
            node = match segment.strip_prefix(ID) {
                Some(suffix) => self.take_value(node, suffix),
                None => self.take_word(node, segment),
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
        self.hang(place, route);
    }

    /// Hangs a route into the tree, as old as the last decision.
    fn hang(&mut self, place: &Place, route: u32) {
        let parents = std::iter::once(0).chain(place.0.iter().copied());
        let mut known = std::mem::take(&mut self.known);
        let way = place.0.iter().zip(parents);
        let way = way.map(|(node, parent)| (&*self.at(*node).name, self.at(parent).folds));
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
        known.fold(self.at(node).folds);
        for (is_value, name, below) in known.children_mut() {
            let children = if is_value { &self.at(node).values } else { &self.at(node).words };
            if let Some(child) = children.get(name) {
                self.tell_folds(*child, below);
            }
        }
    }

    /// What follows the `{id}` that stands for a word, if it is a value here.
    fn stand_in<'a>(&self, node: usize, word: &'a str) -> Option<&'a str> {
        let suffix = stand_in(word)?;
        let at = self.at(node);
        // It is what it looks like only beside others: a single `no` may be anything.
        let is_alone = is_rare_locale(word) && !at.values.contains_key(suffix);
        let is_collection = self.is_collection(node);
        // What is common is a name of its own as long as no route matches it.
        let folded = at.folds.of(word, is_collection, is_collection);
        (!is_alone && folded.is_some()).then_some(suffix)
    }

    /// Follows a name; where a child is open, judges it if that is asked for.
    fn look(&mut self, name: &str, judge: bool) -> Decision {
        let (mut node, mut label) = (0, String::with_capacity(name.len() + 8));
        let mut place = Vec::new();
        for segment in segments(name) {
            let next = match segment.strip_prefix(ID) {
                Some(suffix) => self.value(node, suffix),
                None => self.look_word(node, segment, judge),
            };
            let Some(next) = next else { return Decision::Open };
            let next_node = self.at_mut(next);
            next_node.decided = true;
            label.push('/');
            label.push_str(&next_node.name);
            place.push(next);
            node = next;
        }
        if name == "*" {
            label.remove(0);
        }
        Decision::Named(label, Place(place))
    }

    fn look_word(&self, node: usize, word: &str, judge: bool) -> Option<usize> {
        let literal = self.word(node, word);
        let decided = literal.filter(|child| self.at(*child).decided);
        let value = || self.value(node, self.stand_in(node, word)?);
        decided.or_else(value).or_else(|| {
            literal.filter(|child| {
                let is_sure = self.at(*child).hits >= SURE_HITS;
                (judge || is_sure) && self.is_word(node, *child)
            })
        })
    }

    /// Counts a request at a word, or at what stands for it.
    fn take_word(&mut self, node: usize, word: &str) -> usize {
        let literal = self.word(node, word);
        if let Some(child) = literal.filter(|child| self.at(*child).decided) {
            return self.take_again(node, child);
        }
        if let Some(suffix) = self.stand_in(node, word) {
            return self.take_value(node, suffix);
        }
        let child = if let Some(child) = literal {
            self.take_again(node, child)
        } else {
            let child = self.add_word(node, word);
            self.at_mut(child).hits = 1;
            self.count_new(node, word, 1);
            child
        };
        self.fold_if_needed(node);
        // It may have become one of the values by that.
        let found = self.word(node, word);
        found.or_else(|| self.value(node, stand_in(word)?)).unwrap_or(child)
    }

    /// Counts a request at what stands for a value.
    fn take_value(&mut self, node: usize, suffix: &str) -> usize {
        let values = &self.at(node).values;
        let has_room = values.len() < MAX_CHILDREN || values.contains_key(suffix);
        let child = self.value_or_new(node, if has_room { suffix } else { "" });
        let hits = &mut self.at_mut(child).hits;
        *hits = hits.saturating_add(1);
        child
    }

    /// Counts a request at a word that exists.
    fn take_again(&mut self, node: usize, child: usize) -> usize {
        self.count_again(node, child, 1);
        let hits = &mut self.at_mut(child).hits;
        *hits = hits.saturating_add(1);
        child
    }

    fn count_new(&mut self, node: usize, word: &str, hits: u32) {
        if !is_plain(word) {
            let spread = &mut self.at_mut(node).spread;
            spread.distinct += 1;
            spread.once += u32::from(hits == 1);
            spread.identifiers += u32::from(is_identifier(word));
            spread.codes += u32::from(is_code(word));
            spread.hits = spread.hits.saturating_add(hits);
        }
    }

    fn count_again(&mut self, node: usize, child: usize, hits: u32) {
        if !is_plain(&self.at(child).name) {
            let is_second = hits > 0 && self.at(child).hits == 1;
            let spread = &mut self.at_mut(node).spread;
            spread.hits = spread.hits.saturating_add(hits);
            spread.once = spread.once.saturating_sub(u32::from(is_second));
        }
    }

    fn add_word(&mut self, node: usize, word: &str) -> usize {
        let child = self.add(word.into(), is_plain(word));
        self.at_mut(node).words.insert(word.into(), child);
        child
    }

    fn value_or_new(&mut self, node: usize, suffix: &str) -> usize {
        if let Some(child) = self.value(node, suffix) {
            return child;
        }
        self.add_value(node, self.at(node).folds.suffix(suffix))
    }

    fn add_value(&mut self, node: usize, suffix: &str) -> usize {
        let child = self.add(format!("{ID}{suffix}").into(), true);
        self.at_mut(node).values.insert(suffix.into(), child);
        child
    }

    fn add(&mut self, name: Box<str>, decided: bool) -> usize {
        self.nodes.push(Node { name, decided, folds: self.rules.folds(), ..Node::default() });
        self.nodes.len() - 1
    }

    fn word(&self, node: usize, word: &str) -> Option<usize> {
        self.at(node).words.get(word).copied()
    }

    fn value(&self, node: usize, suffix: &str) -> Option<usize> {
        let at = self.at(node);
        at.values.get(at.folds.suffix(suffix)).copied()
    }

    /// Tells whether words below a node are rather values: `/users`.
    fn is_collection(&self, node: usize) -> bool {
        is_collection(&self.at(node).name)
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
    name.strip_prefix('/').unwrap_or(name).split('/')
}

/// Words that are named at once: common ones, and what programs write for operations of theirs.
fn is_plain(word: &str) -> bool {
    word.is_empty() || stand_in(word).is_none() || is_common_word(word)
}

/// Tells whether a word is written as programs write names: `postMessage`, `chat.postMessage`.
fn is_identifier(word: &str) -> bool {
    let has_hump = word.as_bytes().windows(2).any(|pair| match pair {
        [a, b] => a.is_ascii_lowercase() && b.is_ascii_uppercase(),
        _ => false,
    });
    let is_dotted = word.contains('.') && known_extension(word).is_empty();
    has_hump || is_dotted
}

/// Tells whether a word is written as people write codes and numbers: `BER`, `john23`.
fn is_code(word: &str) -> bool {
    let stem = word.strip_suffix(known_extension(word)).unwrap_or(word);
    let is_shouted = stem.len() >= 2 && stem.bytes().all(|b| b.is_ascii_uppercase());
    is_shouted || stem.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
