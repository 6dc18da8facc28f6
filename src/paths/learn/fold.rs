//! Judging words, folding a node, and forgetting what came to nothing.

use std::collections::{BTreeSet, HashMap};

use super::super::detect::is_service;
use super::super::files::known_extension;
use super::{Children, Learner, MAX_OPEN_NODES, Node, Spread};

impl Learner {
    /// Judges an uncommon word from how requests spread over it and its siblings.
    pub(super) fn is_word(&self, parent: usize, child: usize) -> bool {
        if is_service(&self.at(parent).name) || is_service(&self.at(child).name) {
            // Methods of a gRPC service, and the service itself.
            return true;
        }
        let spread = self.at(parent).spread;
        let (free, limit) = self.limits(parent);
        let few = spread.distinct < limit && !self.is_collection(parent);
        let comes_again = self.at(child).hits >= self.rules.named_hits;
        spread.distinct <= free || (comes_again && (few || !self.mostly_new(spread)))
    }

    /// Folds a node if too many of its children came only once, or if there are too many.
    pub(super) fn fold_if_needed(&mut self, node: usize) {
        let (_, limit) = self.limits(node);
        let at = self.at(node);
        let words = u32::try_from(at.words.len()).unwrap_or(u32::MAX);
        let is_full = at.folds.all.is_none() && words > self.rules.max_children;
        let is_many = at.folds.words.is_none()
            && at.spread.distinct >= limit
            && self.mostly_new(at.spread)
            && !is_service(&at.name);
        if is_full || is_many {
            self.fold(node, is_full);
        }
    }

    /// Tells whether the next word is rather a new one than one of those that came.
    fn mostly_new(&self, spread: Spread) -> bool {
        let Spread { distinct, once, hits, .. } = spread;
        let is_share =
            |percent: u32, of: u32| u64::from(once) * 100 >= u64::from(of) * u64::from(percent);
        // The second is Good and Turing's estimate of how likely the next one is new.
        is_share(self.rules.once_percent, distinct) && is_share(self.rules.new_percent, hits)
    }

    /// How many uncommon words are named without further evidence, and at how many a node folds.
    fn limits(&self, node: usize) -> (u32, u32) {
        let rules = &self.rules;
        let Spread { distinct, identifiers, codes, .. } = self.at(node).spread;
        if self.is_collection(node) {
            (rules.free_words_below_collection, rules.fold_words_below_collection)
        } else if identifiers * 2 > distinct {
            (rules.free_words, rules.fold_identifiers)
        } else if codes * 2 > distinct {
            (rules.free_words.min(rules.fold_codes), rules.fold_codes)
        } else {
            (rules.free_words, rules.fold_words)
        }
    }

    /// Makes all undecided words one: `{id}`; common ones only if there are too many of all.
    fn fold(&mut self, node: usize, is_full: bool) {
        self.age += 1;
        let age = Some(self.age);
        let undecided = self.undecided(node);
        let is_store = self.is_store(undecided.iter().map(|(word, _)| &**word));
        let folds = &mut self.at_mut(node).folds;
        folds.all = folds.all.or(age.filter(|_| is_full));
        folds.files = folds.files.or(age.filter(|_| is_store));
        for (_, child) in &undecided {
            if self.at(*child).hits >= self.rules.kept_hits {
                self.at_mut(*child).decided = true;
            }
        }
        self.fold_now(node);
    }

    /// Makes all undecided words values, since the last decision.
    pub(super) fn fold_now(&mut self, node: usize) {
        let age = self.age;
        self.at_mut(node).folds.words.get_or_insert(age);
        self.is_stale = true;
        self.changed = true;
        for (word, child) in self.undecided(node) {
            let Some(suffix) = self.stand_in(node, &word) else { continue };
            let into = self.value_or_new(node, suffix);
            self.at_mut(node).words.remove(&word);
            self.merge(child, into);
        }
    }

    /// Tells whether files have so many kinds that their extensions name no endpoints.
    fn is_store<'a>(&self, words: impl Iterator<Item = &'a str>) -> bool {
        let extensions: BTreeSet<_> =
            words.map(known_extension).filter(|e| !e.is_empty()).collect();
        extensions.len() >= self.rules.store_extensions as usize
    }

    fn undecided(&self, node: usize) -> Vec<(Box<str>, usize)> {
        let words = self.at(node).words.iter();
        let mut found: Vec<_> = words
            .filter(|(_, child)| !self.at(**child).decided)
            .map(|(word, child)| (word.clone(), *child))
            .collect();
        // The order of a hash map is random, and merging depends on it where it folds.
        found.sort_unstable();
        found
    }

    /// Takes what is known of `from` over to `into`.
    fn merge(&mut self, from: usize, into: usize) {
        let from = std::mem::take(self.at_mut(from));
        self.at_mut(into).hits = self.at(into).hits.saturating_add(from.hits);
        let mut values: Vec<_> = from.values.into_iter().collect();
        values.sort_unstable();
        for (suffix, child) in values {
            let own = self.value_or_new(into, &suffix);
            self.merge(child, own);
        }
        let mut words: Vec<_> = from.words.into_iter().collect();
        words.sort_unstable();
        for (word, child) in words {
            let hits = self.at(child).hits;
            if let Some(own) = self.word(into, &word) {
                self.count_again(into, own, hits);
                self.merge(child, own);
            } else if let Some(suffix) = self.stand_in(into, &word) {
                let own = self.value_or_new(into, suffix);
                self.merge(child, own);
            } else {
                self.at_mut(into).words.insert(word.clone(), child);
                self.count_new(into, &word, hits);
            }
        }
        self.fold_if_needed(into);
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
        let (words, values) = (node.words, node.values);
        kept.push(Node { words: HashMap::default(), values: HashMap::default(), ..node });
        let (words, values) = (self.keep_all(words, kept), self.keep_all(values, kept));
        let last = kept.get_mut(own)?;
        let is_leaf = words.is_empty() && values.is_empty();
        if is_leaf && !last.has_route && last.folds.words.is_none() && own != 0 {
            kept.truncate(own);
            return None;
        }
        (last.words, last.values) = (words, values);
        Some(own)
    }

    fn keep_all(&mut self, children: Children, kept: &mut Vec<Node>) -> Children {
        let mut children: Vec<_> = children.into_iter().collect();
        children.sort_unstable();
        let mut keep = |(name, child)| Some((name, self.keep(child, kept)?));
        children.into_iter().filter_map(&mut keep).collect()
    }
}
