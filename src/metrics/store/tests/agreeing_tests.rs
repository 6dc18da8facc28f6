//! Replicas that ask each other before they name anything.

use proptest::prelude::*;

use super::*;
use crate::paths::{NameSet, Since};

fn replica(max_paths: usize) -> (Arc<Store>, Shard) {
    let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
    let limits =
        Limits { max_paths, max_series: 1000, buckets, exemplars: false, slos: Slos::default() };
    let store = Store::new(limits, Namer::default());
    store.ask_for_names(true);
    (Arc::clone(&store), Shard::new(store))
}

fn set(names: &[(&str, u64)]) -> NameSet {
    let name = |(name, since): &(&str, u64)| (name.parse().expect("a template"), *since);
    let names = names.iter().map(name).map(|(name, since)| (name, Since::seconds(since)));
    let mut set: NameSet = names.collect();
    set.fold_all();
    set
}

/// What a replica tells others.
fn told(store: &Store) -> NameSet {
    let listed = store.list_paths().into_iter().filter_map(|path| {
        Some((path.template.parse().ok()?, Since::seconds(path.since_seconds?)))
    });
    let mut told: NameSet = listed.collect();
    for place in store.list_folds() {
        told.insert_fold(place.parse().expect("a template"));
    }
    told
}

/// The name of one that is known.
fn name(store: &Store, shard: &Shard, path: &str) -> Option<String> {
    match shard.resolve(path) {
        Resolved::Known(route) => Some(store.snapshot().route_name(route).to_owned()),
        Resolved::AnyWord(found, _) => {
            Some(store.snapshot().route_name(RouteId(found.route)).to_owned())
        }
        Resolved::Pending(_) => None,
    }
}

#[test]
fn a_path_waits_until_others_were_asked_and_then_has_their_name() {
    let (store, shard) = replica(50);
    // A common word, which would be named at once, and shops, which would be names of their own.
    for path in ["/settings", "/shops/berlin", "/shops/berlin", "/shops/ulm"] {
        assert!(matches!(serve(&shard, path, 200), Settled::Waiting(_)), "{path}");
    }
    assert!(page(&store).is_empty(), "a scrape does not name what nobody was asked for");
    let asking = store.asking();
    let late = serve(&shard, "/later", 200);
    let adopted =
        store.answered(asking, &set(&[("/shops/{id}", 7), ("/reset/x1x2x3x4x5x6x7x8", 7)]));
    assert_eq!((adopted.new, adopted.refused), (2, 1));
    assert_eq!(late, serve(&shard, "/later", 200), "still waits");
    let page = page(&store);
    assert_eq!(page.get(&("/shops/{id}".to_owned(), 200)), Some(&3));
    assert_eq!(page.get(&("/settings".to_owned(), 200)), Some(&1));
    assert_eq!(page.len(), 2, "{page:?}");
    let listed = store.list_paths();
    let shops = listed.iter().find(|path| &*path.template == "/shops/{id}").expect("listed");
    assert_eq!((shops.since_seconds, shops.kind), (Some(7), PathKind::Learned));
}

#[test]
fn without_an_answer_what_a_scrape_has_seen_is_named_as_usual() {
    let (store, shard) = replica(50);
    serve(&shard, "/frobnicate", 200);
    store.snapshot();
    serve(&shard, "/quux", 200);
    store.answered(store.asking(), &NameSet::default());
    assert_eq!(labels(&store), ["/frobnicate"]);
    // Scraped now.
    store.answered(store.asking(), &NameSet::default());
    assert_eq!(labels(&store), ["/frobnicate", "/quux"]);
    // Nobody asks any more.
    serve(&shard, "/waldo", 200);
    store.ask_for_names(false);
    assert_eq!(labels(&store), ["/frobnicate", "/quux", "/waldo"]);
}

#[test]
fn what_waits_has_the_templates_that_are_pinned_meanwhile() {
    let (store, shard) = replica(50);
    for path in ["/shops/berlin", "/shops/7", "/settings"] {
        serve(&shard, path, 200);
    }
    store.replace_pinned(&["/shops/{shop}".parse().expect("a template")]).expect("no conflict");
    store.ask_for_names(false);
    let page = page(&store);
    assert_eq!(page.get(&("/shops/{shop}".to_owned(), 200)), Some(&2), "{page:?}");
    assert_eq!(page.len(), 2);
}

#[test]
fn nothing_published_is_renamed_and_conflicts_are_counted() {
    let (store, shard) = replica(50);
    store.answered(store.asking(), &set(&[("/shops/{id}", 9), ("/{id}/b", 9)]));
    serve(&shard, "/shops/berlin", 200);
    serve(&shard, "/ax/b", 200);
    let before = labels(&store);
    assert_eq!(before, ["/shops/{id}", "/{id}/b"]);
    let names = [
        // Would take over some of the paths of a name.
        ("/shops/berlin", 1),
        // Would take over its paths, because it is older.
        ("/shops/{shop}", 1),
        ("/ax/{id}", 1),
        // Would not.
        ("/shops/{id}/opening-hours", 1),
        ("/{tenant}/b", 20),
    ];
    store.answered(store.asking(), &set(&names));
    assert_eq!(store.agreement().1, 3);
    for (path, label) in [
        ("/shops/berlin", "/shops/{id}"),
        ("/ax/b", "/{id}/b"),
        ("/shops/ulm/opening-hours", "/shops/{id}/opening-hours"),
    ] {
        assert_eq!(name(&store, &shard, path).as_deref(), Some(label));
    }
    // The next start has the other names, whoever tells them.
    let mut all = told(&store);
    all.merge(set(&names));
    let (store, shard) = replica(50);
    store.answered(store.asking(), &all);
    assert_eq!(store.agreement().1, 0);
    for (path, label) in [("/shops/berlin", "/shops/berlin"), ("/shops/ulm", "/shops/{shop}")] {
        assert_eq!(name(&store, &shard, path).as_deref(), Some(label));
    }
}

#[test]
fn the_oldest_names_are_adopted_up_to_the_limit() {
    let (store, shard) = replica(2);
    store.answered(store.asking(), &set(&[("/a", 30), ("/b", 10), ("/c", 20)]));
    assert_eq!(store.learned_paths(), 2);
    assert_eq!(name(&store, &shard, "/a"), None);
    assert_eq!(name(&store, &shard, "/b").as_deref(), Some("/b"));
}

#[test]
fn replicas_with_the_same_names_show_the_same_digest() {
    let (a, _) = replica(50);
    let (b, shard) = replica(50);
    assert_eq!(a.agreement().0, b.agreement().0);
    a.answered(a.asking(), &set(&[("/x", 1), ("/y", 2)]));
    b.answered(b.asking(), &set(&[("/y", 2)]));
    assert_ne!(a.agreement().0, b.agreement().0);
    b.answered(b.asking(), &set(&[("/x", 5)]));
    assert_eq!(a.agreement().0, b.agreement().0);
    serve(&shard, "/settings", 200);
    b.answered(b.asking(), &NameSet::default());
    assert_ne!(a.agreement().0, b.agreement().0);
}

#[test]
fn what_waits_too_long_is_named_without_an_answer() {
    let (store, shard) = replica(50);
    let letter = |number: usize| char::from(b"bakelimoru"[number % 10]);
    let sent = 2000;
    for number in 0..2000 {
        let word: String = [1, 10, 100, 1000].map(|power| letter(number / power)).iter().collect();
        serve(&shard, &format!("/w{word}"), 200);
    }
    assert!(store.learned_paths() > 0, "there is no room for more to wait");
    store.answered(store.asking(), &NameSet::default());
    store.snapshot();
    store.answered(store.asking(), &NameSet::default());
    assert_eq!(total(&store.snapshot()), sent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Replicas that hear of each other before they name anything never disagree, whatever the
    /// order of their traffic, as long as one asks after the other. Not yet where a place is
    /// a store of files for one of them: that is not told.
    #[test]
    fn replicas_that_ask_in_turn_agree(requests in proptest::collection::vec(
        (0..3_usize, "/(shops|users|wx|about)(/[abcdefg]wort|/[0-9]{1,2}|/settings){0,2}"),
        1..80,
    )) {
        let replicas = [replica(50), replica(50), replica(50)];
        let ask = |store: &Store| {
            store.snapshot();
            let asking = store.asking();
            let mut all = NameSet::default();
            for (other, _) in &replicas {
                all.merge(told(other));
            }
            store.answered(asking, &all);
        };
        for (index, (to, path)) in requests.iter().enumerate() {
            let (store, shard) = &replicas[*to];
            serve(shard, path, 200);
            if index % 7 == 0 {
                ask(store);
            }
        }
        for (store, _) in &replicas {
            ask(store);
        }
        for (_, path) in &requests {
            let names: Vec<_> =
                replicas.iter().filter_map(|(store, shard)| name(store, shard, path)).collect();
            prop_assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {names:?}");
        }
    }
}
