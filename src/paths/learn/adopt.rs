//! Names that were learned elsewhere.
//!
//! What is adopted together is equally old, so that literals come before parameters whatever the
//! order in which it came.

use super::super::ID;
use super::{Learner, Place, segments};

impl Learner {
    /// Begins a new set: what is adopted from now on is younger than all that is known.
    pub fn begin_adopting(&mut self) {
        self.age += 1;
    }

    /// Takes a name over with a route, unless it has one.
    ///
    /// # Shape
    ///
    /// `name`: see [`super::super::learnable`]. Whether it takes paths from what is published is
    /// asked before: [`Self::would_rename`].
    pub fn adopt(&mut self, name: &str, route: u32) -> bool {
        let (mut node, mut place) = (0, Vec::new());
        for segment in segments(name) {
            let child = match segment.strip_prefix(ID) {
                Some(suffix) => self.adopt_value(node, suffix),
                None => self.word(node, segment).unwrap_or_else(|| {
                    // Somebody has seen it often enough to name it.
                    self.count_new(node, segment, 2);
                    self.add_word(node, segment)
                }),
            };
            self.at_mut(child).decided = true;
            place.push(child);
            node = child;
        }
        if self.at(node).has_route {
            return false;
        }
        self.hang(&Place(place), route);
        true
    }

    /// The child of exactly this suffix, even where extensions say nothing.
    fn adopt_value(&mut self, node: usize, suffix: &str) -> usize {
        let known = self.at(node).values.get(suffix).copied();
        known.unwrap_or_else(|| self.add_value(node, suffix))
    }

    /// Folds a place, given up to its parameter, as others have: its words are values from now on.
    /// A place that no name leads to is left alone. Tells whether it has folded by that.
    pub fn adopt_fold(&mut self, place: &str) -> bool {
        let Some((way, ID)) = place.rsplit_once('/') else { return false };
        let mut node = 0;
        for segment in way.split('/').skip(1) {
            let children = self.at(node);
            let child = match segment.strip_prefix(ID) {
                Some(suffix) => children.values.get(suffix),
                None => children.words.get(segment),
            };
            let Some(child) = child else { return false };
            node = *child;
        }
        let folds = self.at(node).folds.words.is_none();
        if folds {
            self.fold_now(node);
        }
        folds
    }

    /// The route of exactly this name.
    pub fn route_of(&mut self, name: &str) -> Option<u32> {
        self.known().at(name)
    }

    /// Tells whether the name, if it had been known from the beginning, would name paths that are
    /// published under another.
    pub fn would_rename(&mut self, name: &str) -> bool {
        self.known().has_inside(name)
    }
}
