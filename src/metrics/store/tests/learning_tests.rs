//! What the store learns, publishes and never takes back.

use proptest::prelude::*;

use super::*;

fn learning(mode: PathMode) -> (Arc<Store>, Shard) {
    let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
    let limits = Limits {
        max_paths: 50,
        max_series: 1000,
        buckets,
        exemplars: false,
        slos: Slos::default(),
    };
    let store = Store::new(limits, Namer::default().with_mode(mode));
    (Arc::clone(&store), Shard::new(store))
}

/// A word that no vocabulary has, different for each number.
fn word(mut number: u32) -> String {
    let mut word = String::from("w");
    for _ in 0..6 {
        word.push(char::from(b"bakelimoru"[(number % 10) as usize]));
        number /= 10;
    }
    word
}

#[test]
fn only_an_answer_that_says_that_a_path_exists_names_it() {
    let (store, shard) = learning(PathMode::Learn);
    for status in [404, 400, 414, 502, 503, 504] {
        serve(&shard, "/settings", status);
    }
    // What we answered ourselves says nothing of the app.
    let unasked = shard
        .settle(&shard.resolve("/settings"), Answer { is_of_app: false, ..Answer::of_app(200) });
    assert_eq!(unasked, named(RouteId::UNMATCHED));
    for _ in 0..4 {
        serve(&shard, "/accounts", 403);
    }
    assert_eq!(labels(&store), ["_UNMATCHED"; 7]);
    serve(&shard, "/accounts", 403);
    serve(&shard, "/settings", 500);
    // On a path that is known every status counts.
    serve(&shard, "/settings", 404);
    let page = page(&store);
    assert_eq!(page.get(&("/accounts".to_owned(), 403)), Some(&1));
    assert_eq!(page.get(&("/settings".to_owned(), 500)), Some(&1));
    assert_eq!(page.get(&("/settings".to_owned(), 404)), Some(&1));
}

#[test]
fn a_word_is_named_by_the_first_scrape_with_all_its_requests() {
    let (store, shard) = learning(PathMode::Learn);
    serve(&shard, "/frobnicate", 200);
    serve(&shard, "/frobnicate", 404);
    let listed = store.list_paths();
    let waits = listed.iter().find(|path| &*path.template == "/frobnicate").expect("listed");
    assert_eq!((waits.state, waits.hits), (PathState::Provisional, 2));
    assert_eq!(page(&store).get(&("/frobnicate".to_owned(), 404)), Some(&1));
    let snapshot = store.snapshot();
    let bytes: u64 = snapshot.routes.iter().flat_map(|r| &r.rows).map(|row| row.bytes().1).sum();
    assert_eq!(bytes, 4);
    assert!(matches!(shard.resolve("/frobnicate"), Resolved::Known(_)));
}

/// How long what is open for long was, by path label.
fn lasting(store: &Store, kind: Lasting) -> Vec<(String, u64)> {
    let routes = store.snapshot().routes;
    let counts = routes.iter().map(|route| {
        let rows = route.rows.iter().filter_map(|row| row.lasting(kind));
        (route.name.to_string(), HistogramTotals::of(rows).count())
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_is_open_for_long_ends_under_the_route_of_its_request() {
    for scrapes in [0, 1, 2, 5] {
        let (store, shard) = learning(PathMode::Learn);
        let other = Shard::new(Arc::clone(&store));
        let open: Vec<_> = [("/frobnicate", 101), ("/users/7", 101), ("/zwiebel/7/kuchen", 200)]
            .map(|(path, status)| serve(&shard, path, status))
            .into();
        for scrape in 0..scrapes {
            store.snapshot();
            // Others take the places of those that waited.
            serve(&other, &format!("/{}", word(scrape)), 200);
        }
        for (route, kind) in open.iter().zip([Lasting::Upgrade, Lasting::Upgrade, Lasting::Stream])
        {
            shard.with_route(route, |row, _| row.record_lasting(kind, 5_000_000_000));
        }
        let upgrades = [("/users/{id}".to_owned(), 1), ("/frobnicate".to_owned(), 1)];
        let mut found = lasting(&store, Lasting::Upgrade);
        found.sort_by(|a, b| b.cmp(a));
        assert_eq!(found, upgrades, "{scrapes} scrapes");
        let streams = [("/zwiebel/{id}/kuchen".to_owned(), 1)];
        assert_eq!(lasting(&store, Lasting::Stream), streams, "{scrapes} scrapes");
        for (route, (label, _)) in open.iter().zip([&upgrades[1], &upgrades[0], &streams[0]]) {
            assert_eq!(*shard.route_name(route), **label);
        }
    }
}

#[test]
fn a_path_whose_rows_are_too_many_to_wait_keeps_its_route() {
    let (store, shard) = learning(PathMode::Learn);
    let open = serve(&shard, "/frobnicate", 200);
    let mut sent = 0;
    for method in 1..=62 {
        for status in 200..300 {
            let key = Key { method: MethodId(method), ..key(open.clone(), status) };
            count(&shard, &key);
            sent += 1;
        }
    }
    assert!(labels(&store).iter().all(|label| label == "/frobnicate" || label == "_OTHER"));
    assert_eq!(total(&store.snapshot()), sent + 1);
}

#[test]
fn hits_count_what_is_not_timed_before_and_after_its_path_is_named() {
    let (store, shard) = learning(PathMode::Learn);
    let hits = |path: &str| {
        let listed = store.list_paths();
        listed.iter().find(|listed| &*listed.template == path).map(|listed| listed.hits)
    };
    let route = served(&shard, "/frobnicate");
    for status in [101, 200] {
        shard.with_row(&key(route.clone(), status), |row, _| row.count_untimed());
    }
    count(&shard, &key(route, 200));
    assert_eq!(hits("/frobnicate"), Some(3));
    store.snapshot();
    assert_eq!(hits("/frobnicate"), Some(3));
}

#[test]
fn many_words_that_come_once_are_one_parameter() {
    let (store, shard) = learning(PathMode::Learn);
    for number in 0..200 {
        serve(&shard, &format!("/users/{}/settings", word(number)), 200);
    }
    store.snapshot();
    let listed = store.list_paths();
    let folded = listed.iter().find(|path| &*path.template == "/users/{id}/settings");
    let folded = folded.expect("listed");
    assert_eq!((folded.state, folded.hits), (PathState::Folded, 200));
    assert!(matches!(shard.resolve("/users/wnever/settings"), Resolved::Known(_)));
}

#[test]
fn few_words_that_come_again_keep_their_names() {
    let (store, shard) = learning(PathMode::Learn);
    for number in 0..3000 {
        serve(&shard, &format!("/api/{}", word(number % 30 * number % 30)), 200);
    }
    assert!(labels(&store).iter().all(|label| label != "/api/{id}"), "{:?}", labels(&store));
}

#[test]
fn a_verb_survives_the_fold() {
    let (store, shard) = learning(PathMode::Learn);
    for number in 0..50 {
        serve(&shard, &format!("/machines/{}:cancel", word(number)), 200);
    }
    assert_eq!(page(&store).get(&("/machines/{id}:cancel".to_owned(), 200)), Some(&50));
}

#[test]
fn the_modes_name_as_they_say() {
    for (mode, path, label) in [
        (PathMode::Off, "/users/7", "_ALL"),
        (PathMode::Pinned, "/users/7", "_UNMATCHED"),
        (PathMode::Raw, "/users/7/caf\u{e9}", "/users/7/caf%C3%A9"),
        (PathMode::Raw, "/u/bob@example.com/x", "/u/{id}/x"),
        (PathMode::Learn, "/users/7", "/users/{id}"),
    ] {
        let (store, shard) = learning(mode);
        serve(&shard, path, 200);
        assert_eq!(labels(&store), [label], "{mode:?}");
    }
    let (store, shard) = learning(PathMode::Raw);
    for number in 0..100 {
        serve(&shard, &format!("/{number}"), if number % 2 == 0 { 200 } else { 404 });
    }
    assert_eq!(store.learned_paths(), 50);
    assert_eq!(page(&store).get(&("_UNMATCHED".to_owned(), 404)), Some(&50));
}

#[test]
fn pins_are_replaced_while_requests_run() {
    let (store, shard) = learning(PathMode::Learn);
    let templates = |texts: &[&str]| -> Vec<Template> {
        texts.iter().map(|text| text.parse().expect("a template")).collect()
    };
    serve(&shard, "/teams/7", 200);
    store.replace_pinned(&templates(&["/teams/{team}", "/{*rest}"])).expect("no conflict");
    serve(&shard, "/teams/7", 404);
    let conflict = store.replace_pinned(&templates(&["/x/{a}", "/x/{b}"]));
    assert!(matches!(conflict, Err(TemplateError::Conflict(..))));
    serve(&shard, "/teams/8", 404);
    store.replace_pinned(&templates(&["/{*rest}"])).expect("no conflict");
    serve(&shard, "/teams/9", 404);
    let page = page(&store);
    assert_eq!(page.get(&("/teams/{id}".to_owned(), 200)), Some(&1));
    assert_eq!(page.get(&("/teams/{team}".to_owned(), 404)), Some(&2));
    assert_eq!(page.get(&("/{*rest}".to_owned(), 404)), Some(&1));
    let listed = store.list_paths();
    let retired = listed.iter().find(|path| &*path.template == "/teams/{team}").expect("listed");
    assert_eq!((retired.kind, retired.state), (PathKind::Pinned, PathState::Retired));
}

/// Kinds of secrets and personal data that stand in paths of real systems.
const SECRETS: [&str; 14] = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    "T0AKZQWRT",
    "BAKZQWRTX",
    "XyZaBcDeFgHiJkLmNoPqRsTu",
    "bob@example.com",
    "bob%40example.com",
    "c5d2xk-9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "ghp_abCDefGHijKLmnOPqrSTuvWXyzABcdEFghIJ",
    "sk_live_aBcDeFgHiJkLmNoPqRsTuVwX",
    "AKIAIOSFODNNEXAMPLE",
    "kjhgqwxzpvbnmtrd",
    "dGhpcyBpcyBzZWNyZXQ",
    "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc",
];

#[test]
fn secrets_never_become_labels() {
    for mode in [PathMode::Learn, PathMode::Raw] {
        let (store, shard) = learning(mode);
        for secret in SECRETS {
            for path in [format!("/reset/{secret}"), format!("/services/{secret}/hook")] {
                // Used again and again, as webhook keys are.
                for _ in 0..10 {
                    serve(&shard, &path, 200);
                }
                store.snapshot();
            }
        }
        let listed = store.list_paths();
        for path in listed {
            let leaks = SECRETS.iter().any(|secret| path.template.contains(secret));
            assert!(!leaks, "{mode:?}: {}", path.template);
        }
    }
}

#[test]
fn hostile_paths_fill_neither_memory_nor_names() {
    let (store, shard) = learning(PathMode::Learn);
    let record = |range: std::ops::Range<u32>| {
        for number in range {
            let (a, b) = (word(number), word(number.wrapping_mul(7919)));
            let path = match number % 5 {
                0 => format!("/{a}"),
                1 => format!("/{a}/{b}.php"),
                2 => format!("/api/{a}:{b}"),
                3 => format!("/{a}/{}", "x/".repeat((number % 20) as usize)),
                _ => format!("/users/{a}/{b}?q={number}"),
            };
            serve(&shard, &path, [200, 404, 403, 500, 302][(number / 5 % 5) as usize]);
            if number % 10_000 == 0 {
                store.snapshot();
            }
        }
    };
    record(0..60_000);
    let kept = allocation_counter::measure(|| record(60_000..120_000)).bytes_current;
    assert!(kept < 1 << 20, "{kept} bytes");
    assert!(store.learned_paths() <= 50);
}

/// What may happen: a request, a scrape, or a reload.
#[derive(Clone, Debug)]
enum Event {
    Request(String, u16),
    Scrape,
    Pin(Vec<&'static str>),
}

fn event() -> impl Strategy<Value = Event> {
    let segment = prop_oneof![
        3 => "[a-z]{1,3}".prop_map(|word| word),
        2 => prop::sample::select(vec!["users", "settings", "x:cancel", "7", "8:get", "a.js", ""])
            .prop_map(str::to_owned),
    ];
    let path = prop::collection::vec(segment, 1..5).prop_map(|s| format!("/{}", s.join("/")));
    let status = prop::sample::select(vec![200, 200, 200, 204, 404, 403, 500, 503]);
    let pins = prop::sample::subsequence(vec!["/users/{user}", "/{*rest}", "/settings"], 0..3);
    prop_oneof![
        60 => (path, status).prop_map(|(path, status)| Event::Request(path, status)),
        3 => Just(Event::Scrape),
        1 => pins.prop_map(Event::Pin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Names, folds, caps and reloads: whatever was on a page stays, and only grows. No request is
    /// lost, and between reloads no path changes a name that it has.
    #[test]
    fn no_published_series_is_ever_renamed_or_lowered(
        events in prop::collection::vec(event(), 1..1500),
    ) {
        let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
        let slos = Slos::default();
        let limits = Limits { max_paths: 40, max_series: 120, buckets, exemplars: false, slos };
        let store = Store::new(limits, Namer::default());
        let shards = [Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store))];
        let mut before = BTreeMap::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut sent = 0;
        for (index, event) in events.into_iter().enumerate() {
            match event {
                Event::Request(path, status) => {
                    let shard = &shards[index % 2];
                    let route = serve(shard, &path, status);
                    sent += 1;
                    if matches!(route, Settled::Named(route) if route > RouteId::ALL) {
                        let name = shard.route_name(&route).to_string();
                        let known = names.entry(path).or_insert_with(|| name.clone());
                        prop_assert_eq!(&*known, &name);
                    }
                }
                Event::Scrape => {
                    let now = page(&store);
                    for (series, count) in before {
                        let after = now.get(&series).copied().unwrap_or(0);
                        prop_assert!(after >= count, "{series:?} fell from {count} to {after}");
                    }
                    before = now;
                }
                Event::Pin(texts) => {
                    let texts = texts.into_iter().map(|text| text.parse().expect("a template"));
                    store.replace_pinned(&texts.collect::<Vec<_>>()).expect("no conflict");
                    names.clear();
                }
            }
        }
        let total: u64 = page(&store).values().sum();
        prop_assert_eq!(total, sent);
    }
}
