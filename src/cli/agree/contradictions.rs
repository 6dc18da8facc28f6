//! Which names of a fleet give one path two labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use redcar::config::shape;

/// The names of all instances.
pub(super) struct Fleet {
    names: BTreeMap<String, BTreeSet<String>>,
    /// Places whose words are values, and on which instances.
    folds: BTreeMap<String, BTreeSet<String>>,
}

/// Two names for one path.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Contradiction {
    /// They differ only in the names of their parameters.
    Same(String, String),
    /// What has the first name on some instances has the second on so many of all.
    Inside(String, String, usize, usize),
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(one, other) => write!(f, "{one:40} names the same paths as {other}"),
            Self::Inside(one, other, count, all) => {
                write!(f, "{one:40} is {other} on {count} of {all} instances")
            }
        }
    }
}

impl Fleet {
    /// Takes pairs of name and instance.
    pub(super) fn new(names: Vec<(String, String)>, folds: Vec<(String, String)>) -> Self {
        let grouped = |pairs: Vec<(String, String)>| {
            let mut grouped: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (name, instance) in pairs.into_iter().filter(|(name, _)| name.starts_with('/')) {
                grouped.entry(name).or_default().insert(instance);
            }
            grouped
        };
        Self { names: grouped(names), folds: grouped(folds) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many names there are, and on how many instances.
    pub(super) fn size(&self) -> (usize, usize) {
        let instances: BTreeSet<_> = self.names.values().flatten().collect();
        (self.names.len(), instances.len())
    }

    /// All pairs of names that contradict one another.
    pub(super) fn contradictions(&self) -> Vec<Contradiction> {
        let (_, all) = self.size();
        let mut by_length: BTreeMap<usize, Vec<(&String, &BTreeSet<String>)>> = BTreeMap::new();
        for entry in &self.names {
            by_length.entry(entry.0.split('/').count()).or_default().push(entry);
        }
        let mut found = Vec::new();
        for names in by_length.values() {
            for (one, of_one) in names {
                for (other, of_other) in names {
                    if one < other && shape(one) == shape(other) {
                        found.push(Contradiction::Same((*one).clone(), (*other).clone()));
                    }
                    let Some(places) = places_inside(one, other) else { continue };
                    // There words are values, and nobody has said that this one is none.
                    let folds = |instance: &&String| {
                        let has =
                            |place| self.folds.get(place).is_some_and(|i| i.contains(*instance));
                        places.iter().all(has)
                    };
                    let lost = of_other.difference(of_one).filter(folds).count();
                    if lost > 0 {
                        let (one, other) = ((*one).clone(), (*other).clone());
                        found.push(Contradiction::Inside(one, other, lost, all));
                    }
                }
            }
        }
        found
    }
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

/// Where the first name has words and the second parameters, if that is all that differs.
fn places_inside(one: &str, other: &str) -> Option<Vec<String>> {
    let mut places = Vec::new();
    let mut way = String::new();
    for (a, b) in one.split('/').skip(1).zip(other.split('/').skip(1)) {
        way.push('/');
        match (is_parameter(a), is_parameter(b)) {
            (true, true) => way.push_str("{id}"),
            (false, false) if a == b => way.push_str(a),
            (false, true) => {
                way.push_str("{id}");
                places.push(way.clone());
            }
            (true | false, false) => return None,
        }
    }
    (!places.is_empty()).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &[&str])]) -> Vec<(String, String)> {
        let pair = |(name, instances): &(&str, &[&str])| {
            let name = (*name).to_owned();
            instances.iter().map(|i| (name.clone(), (*i).to_owned())).collect::<Vec<_>>()
        };
        of.iter().flat_map(pair).collect()
    }

    #[test]
    fn a_word_that_is_a_value_elsewhere_is_one() {
        let names = [
            ("/shops/berlin", &["a"][..]),
            ("/shops/{id}", &["a", "b", "c"]),
            ("/shops/{id}/berlin/{id}", &["a"]),
            ("/shops/{id}/{id}/{id}", &["b"]),
            ("_OTHER", &["a"]),
        ];
        let fleet = Fleet::new(pairs(&names), pairs(&[("/shops/{id}", &["b", "c"])]));
        assert_eq!(fleet.size(), (4, 3));
        let inside = Contradiction::Inside("/shops/berlin".into(), "/shops/{id}".into(), 2, 3);
        assert_eq!(fleet.contradictions(), [inside]);
    }

    #[test]
    fn a_word_beside_a_parameter_is_none() {
        let names = [("/users/me", &["a"][..]), ("/users/{id}", &["a", "b"]), ("/{id}", &["b"])];
        assert_eq!(Fleet::new(pairs(&names), vec![]).contradictions(), []);
        // `a` folds, but knows the word.
        let folds = pairs(&[("/users/{id}", &["a"])]);
        assert_eq!(Fleet::new(pairs(&names), folds).contradictions(), []);
    }

    #[test]
    fn two_names_of_parameters_are_one() {
        let names = [("/users/{id}", &["a"][..]), ("/users/{name}", &["b"]), ("/users", &["b"])];
        let found = Fleet::new(pairs(&names), vec![]).contradictions();
        assert_eq!(found, [Contradiction::Same("/users/{id}".into(), "/users/{name}".into())]);
    }
}
