//! Judging words, folding a node, and forgetting what came to nothing.

use std::collections::HashMap;

use super::super::detect::is_service;
use super::{Learner, MAX_OPEN_NODES, Node, Words, stand_in};

impl Learner {
    /// Judges an uncommon word from how requests spread over it and its siblings.
    pub(super) fn is_word(&self, parent: usize, child: usize) -> bool {
        if is_service(&self.at(parent).name) || is_service(&self.at(child).name) {
            // Methods of a gRPC service, and the service itself.
            return true;
        }
        let words = self.at(parent).words;
        let (free, limit) = self.limits(parent);
        let few = words.distinct < limit && !self.is_collection(parent);
        let comes_again = self.at(child).hits >= self.rules.named_hits;
        words.distinct <= free || (comes_again && (few || !self.mostly_once(words)))
    }

    /// Too many children that each came once.
    pub(super) fn should_fold(&self, node: usize) -> bool {
        let words = self.at(node).words;
        let (_, limit) = self.limits(node);
        let children = u32::try_from(self.at(node).children.len()).unwrap_or(u32::MAX);
        let many =
            words.distinct >= limit && self.mostly_once(words) && !is_service(&self.at(node).name);
        self.at(node).folded.is_none() && (many || children > self.rules.max_children)
    }

    pub(super) fn mostly_once(&self, words: Words) -> bool {
        u64::from(words.once) * 100
            >= u64::from(words.distinct) * u64::from(self.rules.once_percent)
    }

    /// How many uncommon words are named without further evidence, and at how many a node folds.
    pub(super) fn limits(&self, node: usize) -> (u32, u32) {
        let rules = &self.rules;
        if self.is_collection(node) {
            (rules.free_words_below_collection, rules.fold_words_below_collection)
        } else {
            (rules.free_words, rules.fold_words)
        }
    }

    /// Tells whether words below a node are rather values: `/users`.
    pub(super) fn is_collection(&self, node: usize) -> bool {
        let name = &self.at(node).name;
        name.ends_with('s') && !name.ends_with("ss")
    }

    /// Makes all undecided children one: `{id}`.
    pub(super) fn fold(&mut self, node: usize) {
        self.age += 1;
        let age = self.age;
        self.at_mut(node).folded = Some(age);
        self.is_stale = true;
        self.changed = true;
        for (name, child) in self.undecided_children(node) {
            let Some(stand_in) = stand_in(&name) else { continue };
            let into = self.child(node, stand_in);
            let into = into.unwrap_or_else(|| self.add_child(node, stand_in, true));
            self.at_mut(into).decided = true;
            self.at_mut(node).children.remove(&name);
            self.merge(child, into);
        }
    }

    fn undecided_children(&self, node: usize) -> Vec<(Box<str>, usize)> {
        let children = self.at(node).children.iter();
        let mut found: Vec<_> = children
            .filter(|(name, child)| !self.at(**child).decided && stand_in(name).is_some())
            .map(|(name, child)| (name.clone(), *child))
            .collect();
        // The order of a hash map is random, and merging depends on it where it folds.
        found.sort_unstable();
        found
    }

    /// Takes what is known of `from` over to `into`.
    fn merge(&mut self, from: usize, into: usize) {
        let from = std::mem::take(self.at_mut(from));
        self.at_mut(into).hits = self.at(into).hits.saturating_add(from.hits);
        let mut children: Vec<_> = from.children.into_iter().collect();
        children.sort_unstable();
        for (name, child) in children {
            let hits = self.at(child).hits;
            if let Some(own) = self.child(into, &name) {
                self.count_again(into, own, hits);
                self.merge(child, own);
            } else if let Some(stand_in) = self.stand_in(into, &name) {
                let own = self.child(into, stand_in);
                let own = own.unwrap_or_else(|| self.add_child(into, stand_in, true));
                self.merge(child, own);
            } else {
                self.at_mut(into).children.insert(name.clone(), child);
                self.count_new(into, &name, hits);
            }
        }
        if self.should_fold(into) {
            self.fold(into);
        }
    }

    /// Drops every node that is not on the way to a route; what nodes counted stays.
    pub(super) fn forget(&mut self) {
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
        let is_needed = !links.is_empty() || last.has_route || last.folded.is_some();
        if !is_needed && own != 0 {
            kept.truncate(own);
            return None;
        }
        last.children = links;
        Some(own)
    }
}
