use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use crate::metrics::slo::{Ended, Slo};

fn store(max_paths: usize, max_series: usize) -> Arc<Store> {
    let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
    let limits = Limits { max_paths, max_series, buckets, exemplars: false, slos: Slos::default() };
    let pinned = ["/users/{name}".parse().expect("a template")];
    Store::new(limits, Namer::new(&pinned).expect("no conflict"))
}

fn key<R>(route: R, status: u16) -> Key<R> {
    Key { route, method: MethodId(1), status, error: None, grpc: None, wire: None }
}

const fn named(route: RouteId) -> Settled {
    Settled::Named(route)
}

/// The route of a path that the app has answered with 200.
fn served(shard: &Shard, path: &str) -> Settled {
    shard.settle(&shard.resolve(path), Answer::of_app(200))
}

/// Serves one request whole.
fn serve(shard: &Shard, path: &str, status: u16) -> Settled {
    let route = shard.settle(&shard.resolve(path), Answer::of_app(status));
    let key = key(route, status);
    count(shard, &key);
    shard.with_route(&key.route, |row, buckets| {
        row.time_to_response.record(buckets, 7);
        row.add_bytes(1, 2);
    });
    key.route
}

fn count(shard: &Shard, key: &Key<Settled>) {
    shard.with_row(key, |row, buckets| row.durations.record(buckets, 5));
}

fn total(snapshot: &Snapshot) -> u64 {
    let parts = snapshot.rows.iter().flat_map(|(_, parts)| parts);
    parts.map(|row| HistogramTotals::of([&row.durations]).count()).sum()
}

/// Requests by path label, as a scrape would show them.
fn page(store: &Store) -> BTreeMap<(String, u16), u64> {
    let snapshot = store.snapshot();
    let mut page = BTreeMap::new();
    for (key, parts) in &snapshot.rows {
        let count = HistogramTotals::of(parts.iter().map(|row| &row.durations)).count();
        *page.entry((snapshot.route_name(key.route).to_owned(), key.status)).or_default() += count;
    }
    page
}

fn labels(store: &Store) -> Vec<String> {
    page(store).into_keys().map(|(label, _)| label).collect()
}

#[test]
fn a_path_is_the_same_route_on_every_worker() {
    let store = store(10, 100);
    let (a, b) = (Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store)));
    assert_eq!(served(&a, "/items/1"), served(&b, "/items/2"));
    assert_eq!(a.resolve("/items/1"), a.resolve("/items/1?q=1"));
    assert_ne!(served(&a, "/items/1"), served(&a, "/status"));
    let pinned = a.resolve("/users/bob");
    assert_eq!(pinned, b.resolve("/users/alice"));
    assert_eq!(pinned, Resolved::Known(RouteId(4)));
    assert_eq!(store.snapshot().route_name(RouteId(4)), "/users/{name}");
    assert_eq!(store.learned_paths(), 2);
}

#[test]
fn paths_beyond_the_cap_are_other_and_known_ones_stay() {
    let store = store(2, 100);
    let shard = Shard::new(Arc::clone(&store));
    let known = served(&shard, "/status");
    served(&shard, "/settings");
    assert_eq!(served(&shard, "/accounts"), named(RouteId::OTHER));
    assert_eq!(known, named(RouteId(5)));
    assert_eq!(shard.resolve("/status"), Resolved::Known(RouteId(5)));
    // A worker that comes late still finds what others know.
    assert_eq!(Shard::new(Arc::clone(&store)).resolve("/status"), Resolved::Known(RouteId(5)));
    assert!(matches!(shard.resolve("/users/x"), Resolved::Known(_)), "pinned paths are exempt");
    assert_eq!(store.path_overflows.load(Relaxed), 1);
}

#[test]
fn rows_stay_under_the_cap_and_every_request_is_counted() {
    let store = store(1000, 100);
    let shards = [Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store))];
    let mut sent = 0;
    for shard in &shards {
        for path in 0..200 {
            let route = served(shard, &format!("/list/{}", "users/".repeat(path % 13)));
            for status in (100..1000).step_by(7) {
                count(shard, &key(route.clone(), status));
                sent += 1;
            }
        }
    }
    let snapshot = store.snapshot();
    assert!(snapshot.rows.len() <= 100, "{}", snapshot.rows.len());
    assert_eq!(total(&snapshot), sent);
    assert!(store.series_overflows.load(Relaxed) > 0);
    assert!(snapshot.rows.iter().any(|(key, _)| key.route == RouteId::OTHER && key.status == 200));
}

#[test]
fn keys_that_differ_are_packed_differently() {
    let base = key(RouteId(7), 200);
    let others = [
        key(RouteId(8), 200),
        key(RouteId(7), 201),
        Key { method: MethodId(2), ..base },
        Key { error: Some(ErrorToken::DnsError), ..base },
        Key { error: Some(ErrorToken::DownstreamTimeout), method: MethodId(61), ..base },
    ];
    for other in others {
        assert_ne!(base.packed(), other.packed());
    }
}

#[test]
fn a_warm_request_allocates_nothing_for_its_metrics() {
    let store = store(10, 100);
    let shard = Shard::new(Arc::clone(&store));
    let record = || {
        for path in ["/a/b/c", "/users/bob", "/orders/7"] {
            serve(&shard, path, 200);
        }
    };
    record();
    // From here on the names are settled.
    store.snapshot();
    record();
    let counted = allocation_counter::measure(|| {
        record();
        // Another id of a known template is warm, too.
        shard.resolve("/orders/8");
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_warm_request_allocates_nothing_to_be_judged() {
    let slo = Slo {
        name: "checkout".into(),
        path: "/checkout/**".parse().expect("a glob"),
        latency: Some(std::time::Duration::from_millis(1)),
        objective: 0.99,
    };
    let slos = Slos::new(vec![slo]).expect("an objective");
    let limits = Limits { slos, ..store(10, 100).limits().clone() };
    let store = Store::new(limits, Namer::default());
    let shards = [Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store))];
    let serve = |shard: &Shard, path: &str, nanos| {
        let (resolved, about) = shard.resolve_judged(path);
        shard.settle(&resolved, Answer::of_app(200));
        shard.judge(about, &Ended { status: 200, error: None, grpc: None, nanos: Some(nanos) });
    };
    for shard in &shards {
        serve(shard, "/checkout/pay", 1_000_000);
        serve(shard, "/cart", 2_000_000);
    }
    store.snapshot();
    serve(&shards[0], "/checkout/pay", 1_000_001);
    let counted = allocation_counter::measure(|| {
        serve(&shards[0], "/checkout/pay", 1);
        serve(&shards[0], "/cart", 1);
    });
    assert_eq!(counted.count_total, 0);
    // All workers' together.
    let judged = |result| store.slo_requests(0, result);
    assert_eq!(SloResult::ALL.map(judged), [3, 1, 0, 0]);
}

#[test]
fn a_row_is_as_old_as_the_first_request_that_it_counts() {
    let store = store(10, 100);
    let shard = Shard::new(Arc::clone(&store));
    let before = SystemTime::now();
    assert!(matches!(serve(&shard, "/berlin", 200), Settled::Waiting(_)));
    let counted = SystemTime::now();
    // Here the path gets its name, and what has waited its row.
    let born = || {
        let snapshot = store.snapshot();
        let (_, parts) = snapshot.rows.first().expect("a row");
        parts.first().expect("a part").durations.born()
    };
    let first = born();
    assert!((before..=counted).contains(&first));
    serve(&shard, "/berlin", 200);
    assert_eq!(born(), first);
}

mod agreeing_tests;
mod kinds_tests;
mod learning_tests;
