//! What is learned for good: a tree that names paths without a lock.
//!
//! Immutable. The learner makes a new one whenever a route is added or a node folds; the workers
//! read the latest they have.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ID;
use super::files::known_extension;
use super::locales::is_rare_locale;
use super::vocabulary::{is_collection, is_common_word, is_numbered};

/// The learned routes, by segment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    words: Children,
    /// What stands for values, by what follows the `{id}`: nothing, a verb, an extension.
    values: Children,
    /// Words below are values rather than names: it is called `/users`.
    is_collection: bool,
    folds: Folds,
    /// When the route was added, and its number.
    route: Option<(Age, u32)>,
}

type Children = HashMap<Box<str>, Known, RandomState>;

/// Orders what was decided: the later, the higher.
pub(super) type Age = u32;

/// Since when words that have no child of their own are values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Folds {
    /// Those that look like values beside others: numbered ones below `/users`, rare locales.
    pub(super) alike: Option<Age>,
    /// Words that are not common.
    pub(super) words: Option<Age>,
    /// Common ones, too: there were too many of them.
    pub(super) all: Option<Age>,
    /// Extensions say nothing: there are files of any kind.
    pub(super) files: Option<Age>,
}

/// The route of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Since when it matches.
    since: Age,
    /// Its number.
    pub route: u32,
    /// Its first segment could be any word: the root folds.
    pub is_any_word: bool,
}

impl Known {
    /// The route of a name that the detectors made, if it has one.
    ///
    /// Among all routes that match, the one wins that has matched the longest: since it was added,
    /// or since the nodes on the way to it fold. Routes are only added and nodes only fold, so
    /// what comes later never takes a path away from its route: a path's name never changes.
    /// Of those that have matched equally long, because they were adopted together, the one wins
    /// that has a literal where the other has a parameter, segment by segment.
    ///
    /// # Shape
    ///
    /// `name` begins with `/`, or is `*`. No allocation; each node is visited at most once.
    pub fn find(&self, name: &str) -> Option<Found> {
        let (first, below) = cut(name.strip_prefix('/').unwrap_or(name));
        let (word, value) = self.branches(first, below, 0, true);
        let value = value.map(|found| Found { is_any_word: !first.starts_with(ID), ..found });
        older(word, value)
    }

    /// Tells whether there is a route that would lose paths to `name` if both had been known from
    /// the beginning: one that has a parameter at the first place where they differ.
    ///
    /// # Shape
    ///
    /// `name`: as for [`Self::find`], with `{id}` where any segment may stand. Visits at most what
    /// is below its parameters.
    pub(super) fn has_inside(&self, name: &str) -> bool {
        self.has_inside_below(Some(name.strip_prefix('/').unwrap_or(name)), false, true)
    }

    /// The route of exactly this place.
    pub(super) fn at(&self, name: &str) -> Option<u32> {
        let mut segments = name.strip_prefix('/').unwrap_or(name).split('/');
        let node = segments.try_fold(self, |node, segment| match segment.strip_prefix(ID) {
            Some(suffix) => node.values.get(suffix),
            None => node.words.get(segment),
        })?;
        node.route.map(|(_, route)| route)
    }

    fn has_inside_below(&self, rest: Option<&str>, is_inside: bool, is_root: bool) -> bool {
        let Some(rest) = rest else { return is_inside && self.route.is_some() };
        let (segment, below) = cut(rest);
        let has = |child: Option<&Self>, is_inside| {
            child.is_some_and(|child| child.has_inside_below(below, is_inside, false))
        };
        // Where extensions say nothing, `{id}` stands for files, too.
        let as_file = |suffix: &str| {
            let is_file = self.folds.files.is_some() && suffix.starts_with('.');
            has(self.values.get("").filter(|_| is_file), true)
        };
        if let Some(suffix) = segment.strip_prefix(ID) {
            if has(self.values.get(suffix), is_inside) || as_file(suffix) {
                return true;
            }
            // Once an earlier segment has decided, all that can be the same path counts.
            let values = self.values.iter().filter(|(own, _)| &***own != suffix);
            let mut others = self.words.values().chain(values.map(|(_, child)| child));
            return is_inside && others.any(|child| has(Some(child), true));
        }
        if has(self.words.get(segment), is_inside) {
            return true;
        }
        let folded = self.folds.of(segment, self.is_collection, !is_root);
        let suffix = stand_in(segment).filter(|_| folded.is_some());
        suffix.is_some_and(|suffix| has(self.values.get(suffix), true) || as_file(suffix))
    }

    fn find_below(&self, rest: Option<&str>, since: Age) -> Option<Found> {
        let Some(rest) = rest else {
            let (added, route) = self.route?;
            return Some(Found { since: added.max(since), route, is_any_word: false });
        };
        let (segment, below) = cut(rest);
        let (word, value) = self.branches(segment, below, since, false);
        older(word, value)
    }

    /// The route that begins with this very word, and the one for which it is a value.
    fn branches(
        &self,
        segment: &str,
        below: Option<&str>,
        since: Age,
        is_root: bool,
    ) -> (Option<Found>, Option<Found>) {
        let value =
            |suffix: &str, from: Age| self.values.get(suffix)?.find_below(below, since.max(from));
        // Where extensions say nothing, a file is a value like others.
        let file = |suffix: &str| value("", self.folds.files.filter(|_| suffix.starts_with('.'))?);
        if let Some(suffix) = segment.strip_prefix(ID) {
            return (None, older(value(suffix, 0), file(suffix)));
        }
        let word = self.words.get(segment);
        let word = word.and_then(|child| child.find_below(below, since));
        let suffix = stand_in(segment).filter(|_| !self.values.is_empty());
        let value = suffix.and_then(|suffix| {
            // At the root, what is common is the app's own, whenever it comes.
            let folded = self.folds.of(segment, self.is_collection, !is_root)?;
            older(value(suffix, folded), file(suffix))
        });
        (word, value)
    }

    /// Adds a route below the nodes of `way`: each one's name, and how its parent folds.
    pub(super) fn insert<'a>(
        &mut self,
        way: impl Iterator<Item = (&'a str, Folds)>,
        route: (Age, u32),
    ) {
        let mut node = self;
        for (name, folds) in way {
            node.fold(folds);
            node = match name.strip_prefix(ID) {
                Some(suffix) => node.values.entry(suffix.into()).or_default(),
                None => node.words.entry(name.into()).or_default(),
            };
            node.is_collection = is_collection(name);
        }
        node.route.get_or_insert(route);
    }

    pub(super) fn fold(&mut self, folds: Folds) {
        self.folds = self.folds.or(folds);
    }

    /// Every child: whether it stands for values, its name or suffix, and itself.
    pub(super) fn children_mut(&mut self) -> impl Iterator<Item = (bool, &str, &mut Self)> {
        let words = self.words.iter_mut().map(|(name, child)| (false, &**name, child));
        words.chain(self.values.iter_mut().map(|(suffix, child)| (true, &**suffix, child)))
    }

    /// Tells `found` every place that folds, up to its parameter: `/users/{id}`.
    pub fn each_fold(&self, found: &mut impl FnMut(&str)) {
        self.each_fold_below(&mut String::new(), found);
    }

    fn each_fold_below(&self, place: &mut String, found: &mut impl FnMut(&str)) {
        let length = place.len();
        if self.folds.words.is_some() {
            place.push('/');
            place.push_str(ID);
            found(place);
            place.truncate(length);
        }
        for (is_value, name, child) in self.sorted() {
            place.push('/');
            place.push_str(if is_value { ID } else { "" });
            place.push_str(name);
            child.each_fold_below(place, found);
            place.truncate(length);
        }
    }

    /// Every child, as [`Self::children_mut`] tells it: words first, each by name.
    fn sorted(&self) -> Vec<(bool, &str, &Self)> {
        let words = self.words.iter().map(|(name, child)| (false, &**name, child));
        let values = self.values.iter().map(|(suffix, child)| (true, &**suffix, child));
        let mut children: Vec<_> = words.chain(values).collect();
        children.sort_unstable_by_key(|(is_value, name, _)| (*is_value, *name));
        children
    }

    /// Tells `found` every route, and whether one of its parameters stands for words, too.
    pub fn each_route(&self, found: &mut impl FnMut(u32, bool)) {
        self.each_below(false, found);
    }

    fn each_below(&self, folded: bool, found: &mut impl FnMut(u32, bool)) {
        if let Some((_, route)) = self.route {
            found(route, folded);
        }
        for (is_value, _, child) in self.sorted() {
            child.each_below(folded || (self.folds.words.is_some() && is_value), found);
        }
    }
}

impl Folds {
    /// Since when a word is a value here, if it is; common ones are only where that is said.
    pub(super) fn of(self, word: &str, is_collection: bool, takes_common: bool) -> Option<Age> {
        if (is_rare_locale(word) && !is_common_word(word)) || (is_collection && is_numbered(word)) {
            return self.alike.or(self.words);
        }
        let words = self.words?;
        if takes_common || !is_common_word(word) { Some(words) } else { self.all }
    }

    /// What is kept of what follows an `{id}`.
    pub(super) fn suffix(self, suffix: &str) -> &str {
        if self.files.is_some() && suffix.starts_with('.') { "" } else { suffix }
    }

    fn or(self, other: Self) -> Self {
        Self {
            alike: self.alike.or(other.alike),
            words: self.words.or(other.words),
            all: self.all.or(other.all),
            files: self.files.or(other.files),
        }
    }
}

/// The one that has matched longer; of equally old ones the first, which says more of the path.
fn older(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    match (one, other) {
        (Some(one), Some(other)) if other.since < one.since => Some(other),
        (Some(one), Some(_)) => Some(one),
        (one, other) => one.or(other),
    }
}

fn cut(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, below)) => (segment, Some(below)),
        None => (path, None),
    }
}

/// What stands for a word where it is a value: what follows the `{id}`, so that it is found
/// without a copy.
pub(super) fn stand_in(word: &str) -> Option<&str> {
    // Programs write operations of their own so: `_search`, `-`.
    if word.is_empty() || word.starts_with(['{', '_', '*']) || word == "-" {
        return None;
    }
    let verb = word.find(':').and_then(|colon| word.get(colon..));
    // Of `Special:Search` both is the page's name.
    let is_verb =
        |verb: &&str| !word.starts_with(|c: char| c.is_ascii_uppercase()) && is_common_word(verb);
    match verb.filter(is_verb) {
        Some(verb) if verb.len() == word.len() => None,
        Some(verb) => Some(verb),
        None => Some(known_extension(word)),
    }
}
