//! The set of names that the replicas of a service share.
//!
//! A state-based CRDT: a map from template to the second of its first publication, and a set of
//! places. Merging is union with the earlier second, so it is commutative, associative and
//! idempotent, and replicas that have heard of the same names have the same set, in whatever order
//! they heard. Which label a path gets from a set is a pure function of it:
//! [`super::Learner::adopt`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{ID, Template, detect};

/// When a name was first published, in seconds since the epoch, as far as anybody knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Since(u64);

impl Since {
    /// Nobody knows: later than every second.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// A known second.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The second, if it is known.
    pub fn known(self) -> Option<u64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

/// Names with the second of their first publication, and the places whose words are values.
///
/// `/users/{id}` alone says that numbers and the like were seen below `/users`. That the place has
/// folded, so that words are values there, too, is a second fact: without it `/users/{id}` would
/// swallow each word that a new version of the app brings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NameSet {
    names: BTreeMap<Template, Since>,
    /// Places, up to the parameter: `/users/{id}`.
    folds: BTreeSet<Template>,
}

impl NameSet {
    /// Adds a name; of one that is there already the earlier second stays.
    pub fn insert(&mut self, template: Template, since: Since) {
        match self.names.entry(template) {
            Entry::Vacant(entry) => {
                entry.insert(since);
            }
            Entry::Occupied(mut entry) => {
                let earlier = since.min(*entry.get());
                entry.insert(earlier);
            }
        }
    }

    /// Adds a place whose words are values, given up to its parameter: `/users/{id}`.
    pub fn insert_fold(&mut self, place: Template) {
        self.folds.insert(place);
    }

    /// Takes each parameter of each name to stand for words, too: for what cannot tell.
    pub fn fold_all(&mut self) {
        for template in self.names.keys() {
            let text = template.as_str();
            let ends = text.match_indices('}').map(|(at, _)| at + 1);
            let places = ends.filter_map(|end| text.get(..end)?.parse().ok());
            self.folds.extend(places);
        }
    }

    /// Takes all of another set in.
    pub fn merge(&mut self, other: Self) {
        for (template, since) in other.names {
            self.insert(template, since);
        }
        self.folds.extend(other.folds);
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = (&Template, Since)> {
        self.names.iter().map(|(template, since)| (template, *since))
    }

    /// The names, the oldest first; of equal age in the order of the alphabet.
    pub fn by_age(&self) -> Vec<(&Template, Since)> {
        let mut names: Vec<_> = self.iter().collect();
        names.sort_by_key(|(_, since)| *since);
        names
    }

    /// The places whose words are values, in the order of the alphabet.
    pub fn folds(&self) -> impl Iterator<Item = &Template> {
        self.folds.iter()
    }
}

impl FromIterator<(Template, Since)> for NameSet {
    fn from_iter<I: IntoIterator<Item = (Template, Since)>>(names: I) -> Self {
        let mut set = Self::default();
        for (template, since) in names {
            set.insert(template, since);
        }
        set
    }
}

/// Bits of a digest: what a double, as which Prometheus stores it, holds exactly.
const DIGEST_BITS: u32 = 52;

/// A hash of a set of labels, the same on every machine and in every build, whatever the order.
///
/// # Shape
///
/// Less than 2^52. Each label is to be told once.
pub fn digest<'a>(labels: impl Iterator<Item = &'a str>) -> u64 {
    let sum = labels.map(hash).fold(0, u64::wrapping_add);
    sum & ((1 << DIGEST_BITS) - 1)
}

/// FNV-1a, whose low bits are then mixed by what ends `SplitMix64`: sums of it are still spread.
fn hash(label: &str) -> u64 {
    let fnv = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A name that the detectors could have made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Learnable {
    /// The name in the detectors' form: each parameter is `{id}`.
    pub name: String,
    /// A path that it stands for.
    pub example: String,
}

/// The form in which traffic would have brought a template, if traffic could have brought it.
///
/// Whatever else stands in a template from elsewhere would never match, or is something that the
/// detectors hide: a number, a token, an address. Never panics.
pub fn learnable(template: &Template) -> Option<Learnable> {
    const VALUE: &str = "123";
    let (mut name, mut example) = (String::new(), String::new());
    let mut rest = template.as_str();
    while let Some((text, after)) = rest.split_once('{') {
        let (parameter, tail) = after.split_once('}')?;
        name.push_str(text);
        example.push_str(text);
        example.push_str(VALUE);
        rest = tail;
        if !parameter.starts_with('*') {
            name.push_str(ID);
            continue;
        }
        name.push_str("{*rest}");
        // Static files: pictures and the like have one label.
        if rest == ".{ext}" {
            name.push_str(rest);
            example.push_str(".png");
            rest = "";
        }
    }
    name.push_str(rest);
    example.push_str(rest);
    let mut detected = String::new();
    detect(&example, &mut detected);
    (detected == name).then_some(Learnable { name, example })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::Learner;
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().expect("a template")
    }

    /// Names that meet each other: words, values and tails at few places.
    fn names() -> impl Strategy<Value = NameSet> {
        let segment = prop_oneof![
            "item1|no|awort:cancel|awort[.]csv",
            Just("{id}.csv".to_owned()),
            Just("{id}:cancel".to_owned()),
            "[abc]wort",
            Just("{id}".to_owned()),
            Just("settings".to_owned())
        ];
        let name = vec(segment, 1..4).prop_map(|parts| template(&format!("/{}", parts.join("/"))));
        let since = prop_oneof![Just(Since::UNKNOWN), (0..5_u64).prop_map(Since::seconds)];
        (vec((name, since), 0..8), 0..3).prop_map(|(names, folds)| {
            let mut set: NameSet = names.into_iter().collect();
            match folds {
                0 => {}
                1 => set.insert_fold(template("/{id}")),
                _ => set.fold_all(),
            }
            set
        })
    }

    fn merged(sets: &[&NameSet]) -> NameSet {
        let mut all = NameSet::default();
        for set in sets {
            all.merge((*set).clone());
        }
        all
    }

    /// The label that a replica with this set gives to a path, if the set has one for it.
    fn label(set: &NameSet, path: &str) -> Option<String> {
        let mut learner = Learner::default();
        let mut labels = Vec::new();
        for (template, _) in set.by_age() {
            let Some(learnable) = learnable(template) else { continue };
            let route = u32::try_from(labels.len()).expect("few");
            if learner.adopt(&learnable.name, route) {
                labels.push(template.as_str().to_owned());
            }
        }
        for place in set.folds() {
            learner.adopt_fold(place.as_str());
        }
        let mut name = String::new();
        detect(path, &mut name);
        let found = learner.known().find(&name)?;
        Some(labels[found.route as usize].clone())
    }

    const SEGMENTS: &str =
        "[abc]wort|7|settings|item1|no|7[.]csv|7:cancel|bwort:cancel|bwort[.]csv";

    proptest! {
        #[test]
        fn merging_is_a_join(a in names(), b in names(), c in names()) {
            prop_assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
            prop_assert_eq!(merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
            prop_assert_eq!(merged(&[&a, &a]), a.clone());
            prop_assert_eq!(merged(&[&a, &merged(&[&a, &b])]), merged(&[&a, &b]));
        }

        #[test]
        fn replicas_with_the_same_set_have_the_same_labels(
            a in names(),
            b in names(),
            path in vec(SEGMENTS, 1..4),
        ) {
            let path = format!("/{}", path.join("/"));
            prop_assert_eq!(label(&merged(&[&a, &b]), &path), label(&merged(&[&b, &a]), &path));
        }

        #[test]
        fn a_name_of_a_set_stands_for_itself(set in names()) {
            for (template, _) in set.iter() {
                let path = template.as_str().replace("{id}", "7");
                prop_assert_eq!(label(&set, &path), Some(template.as_str().to_owned()));
            }
        }

        #[test]
        fn any_template_is_learnable_or_not(text in "/[a-z0-9{}*./:-]{0,40}") {
            if let Ok(template) = text.parse::<Template>() {
                let _learnable = learnable(&template);
            }
        }
    }

    #[test]
    fn a_literal_comes_before_a_parameter_segment_by_segment() {
        let mut set: NameSet = ["/shops/{id}", "/shops/berlin", "/{id}/b", "/a/{id}", "/a/b/c"]
            .map(|name| (template(name), Since::UNKNOWN))
            .into_iter()
            .collect();
        assert_eq!(label(&set, "/shops/ulm"), None, "a word is no value unless the place folds");
        assert_eq!(label(&set, "/shops/7").as_deref(), Some("/shops/{id}"));
        set.fold_all();
        for (path, expected) in [
            ("/shops/berlin", "/shops/berlin"),
            ("/shops/ulm", "/shops/{id}"),
            ("/shops/7", "/shops/{id}"),
            ("/a/b", "/a/{id}"),
            ("/wx/b", "/{id}/b"),
            ("/a/b/c", "/a/b/c"),
        ] {
            assert_eq!(label(&set, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn of_two_names_for_the_same_paths_the_older_one_counts() {
        let of = |a, b| {
            let names = [("/users/{id}", a), ("/users/{name}", b)];
            let names = names.map(|(name, since)| (template(name), Since::seconds(since)));
            label(&names.into_iter().collect(), "/users/7").expect("a label")
        };
        assert_eq!((of(1, 2), of(2, 1)), ("/users/{id}".to_owned(), "/users/{name}".to_owned()));
    }

    #[test]
    fn only_what_traffic_could_have_brought_is_learnable() {
        for (text, name) in [
            ("/", "/"),
            ("/users/{name}/keys", "/users/{id}/keys"),
            ("/orders/{id}:cancel", "/orders/{id}:cancel"),
            ("/exports/{id}.csv", "/exports/{id}.csv"),
            ("/static/{*path}.js", "/static/{*rest}.js"),
            ("/media/{*rest}.{ext}", "/media/{*rest}.{ext}"),
            ("/shop.v1.Orders/ListOrders", "/shop.v1.Orders/ListOrders"),
        ] {
            let found = learnable(&template(text)).expect(text);
            assert_eq!(found.name, name);
        }
        for text in [
            "/users/42",
            "/reset/eyJhbGciOiJIUzI1NiJ9",
            "/u/anna@example.org",
            "/files/{*rest}",
            "/files/{*rest}.csv",
            "/static/{id}.js",
            "/compare/{a}...{b}",
            "/item-{id}",
            "/pa%20th",
        ] {
            assert_eq!(learnable(&template(text)), None, "{text}");
        }
    }

    #[test]
    fn a_digest_tells_sets_apart_and_knows_no_order() {
        let of = |names: &[&str]| digest(names.iter().copied());
        assert_eq!(of(&["/a", "/b"]), of(&["/b", "/a"]));
        assert_ne!(of(&["/a", "/b"]), of(&["/a", "/c"]));
        assert_ne!(of(&["/a"]), of(&["/a", "/a/"]));
        assert_eq!(of(&[]), 0);
        // What a double holds exactly, and the same in every build: replicas compare it.
        let digest = of(&["/users/{id}", "/orders"]);
        assert!(digest < 1 << 52);
        assert_eq!(digest, 3_708_124_249_884_619);
    }
}
