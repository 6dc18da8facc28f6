use super::*;

fn named(decision: &Decision) -> &str {
    match decision {
        Decision::Named(label, _) => label,
        Decision::Open => "?",
    }
}

#[test]
fn common_words_and_values_are_named_at_once() {
    let mut learner = Learner::default();
    for name in ["/users/{id}", "/api/v1/settings", "/orders/{id}:cancel", "/", "*", "/{*rest}"] {
        assert_eq!(named(&learner.observe(name)), name);
    }
    assert_eq!(learner.observe("/frobnicate"), Decision::Open);
    assert_eq!(named(&learner.decide("/frobnicate")), "/frobnicate");
}

#[test]
fn a_route_keeps_its_paths_when_its_node_folds() {
    let mut learner = Learner::default();
    learner.observe("/users/torvalds/settings");
    let Decision::Named(_, place) = learner.decide("/users/torvalds/settings") else {
        panic!("not named");
    };
    learner.set_route(&place, 7);
    for name in ["qab", "qcd", "qef", "qgh", "qij", "qkl"] {
        learner.observe(&format!("/users/{name}/settings"));
    }
    let Decision::Named(label, place) = learner.decide("/users/qab/settings") else {
        panic!("not named");
    };
    assert_eq!(label, "/users/{id}/settings");
    learner.set_route(&place, 8);
    assert_eq!(learner.known().find("/users/torvalds/settings").map(|found| found.route), Some(7));
    assert_eq!(learner.known().find("/users/qzz/settings").map(|found| found.route), Some(8));
    // Younger than the folded route, so it does not take the path away from it.
    assert_eq!(learner.known().find("/users/torvalds").map(|found| found.route), None);
}

#[test]
fn what_was_not_decided_is_forgotten_when_there_is_too_much_of_it() {
    let mut learner = Learner::new(Rules { fold_words: u32::MAX, ..Rules::raw() });
    learner.observe("/kept");
    let Decision::Named(_, place) = learner.decide("/kept") else { panic!("not named") };
    learner.set_route(&place, 3);
    for number in 0..3 * MAX_OPEN_NODES {
        learner.observe(&format!("/w{number}"));
    }
    assert!(learner.nodes.len() <= 2 * MAX_OPEN_NODES);
    assert_eq!(learner.known().find("/kept").map(|found| found.route), Some(3));
}

#[test]
fn names_from_elsewhere_have_their_suffixes_and_words_that_look_like_values() {
    let mut learner = Learner::default();
    learner.begin_adopting();
    for (name, route) in [("/users/{id}", 1), ("/users/{id}.json", 2), ("/static/{*rest}.js", 3)] {
        assert!(learner.adopt(name, route), "{name}");
    }
    assert_eq!(learner.route_of("/users/{id}.json"), Some(2));
    for (name, route) in [
        ("/users/{id}.json", Some(2)),
        ("/static/{*rest}.js", Some(3)),
        ("/users/item1", Some(1)),
        ("/users/torvalds", None),
    ] {
        assert_eq!(learner.known().find(name).map(|found| found.route), route, "{name}");
    }
    assert!(learner.would_rename("/users/item1"));
    assert!(!learner.would_rename("/users/torvalds"));
    assert!(learner.adopt_fold("/users/{id}"));
    assert!(!learner.adopt_fold("/users/{id}"), "it has folded before");
    for (name, is_inside) in [
        ("/users/torvalds", true),
        ("/users/torvalds.json", true),
        ("/users/torvalds.csv", false),
        ("/users/{id}.csv", false),
        ("/static/{*rest}.css", false),
    ] {
        assert_eq!(learner.would_rename(name), is_inside, "{name}");
    }
    let mut folds = Vec::new();
    learner.known().each_fold(&mut |place| folds.push(place.to_owned()));
    assert_eq!(folds, ["/users/{id}"]);
}
