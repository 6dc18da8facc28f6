use super::*;

fn store(max_paths: usize, max_series: usize) -> Arc<Store> {
    let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
    let limits = Limits { max_paths, max_series, buckets, exemplars: false };
    let pinned = ["/users/{name}".parse().expect("a template")];
    Store::new(limits, Namer::new(&pinned).expect("no conflict"))
}

fn key(route: RouteId, status: u16) -> Key {
    Key { route, method: MethodId(1), status, error: None }
}

fn count(shard: &Shard, key: Key) {
    shard.with_row(key, |row, buckets| row.durations.record(buckets, 5));
}

fn total(snapshot: &Snapshot) -> u64 {
    let parts = snapshot.rows.iter().flat_map(|(_, parts)| parts);
    parts.map(|row| HistogramTotals::of([&row.durations]).count()).sum()
}

#[test]
fn a_path_is_the_same_route_on_every_worker() {
    let store = store(10, 100);
    let (a, b) = (Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store)));
    assert_eq!(a.resolve("/x/1"), b.resolve("/x/2"));
    assert_eq!(a.resolve("/x/1"), a.resolve("/x/1?q=1"));
    assert_ne!(a.resolve("/x/1"), a.resolve("/y"));
    let pinned = a.resolve("/users/bob");
    assert_eq!(pinned, b.resolve("/users/alice"));
    assert_eq!(store.snapshot().route_name(pinned), "/users/{name}");
    assert_eq!(store.learned_paths(), 2);
}

#[test]
fn paths_beyond_the_cap_are_other_and_known_ones_stay() {
    let store = store(2, 100);
    let shard = Shard::new(Arc::clone(&store));
    let known = shard.resolve("/a");
    shard.resolve("/b");
    assert_eq!(shard.resolve("/c"), RouteId::OTHER);
    assert_eq!(shard.resolve("/a"), known);
    // A worker that comes late still finds what others know.
    assert_eq!(Shard::new(Arc::clone(&store)).resolve("/a"), known);
    assert_ne!(shard.resolve("/users/x"), RouteId::OTHER, "pinned paths are exempt");
    assert_eq!(store.path_overflows.load(Relaxed), 1);
}

#[test]
fn rows_stay_under_the_cap_and_every_request_is_counted() {
    let store = store(1000, 100);
    let shards = [Shard::new(Arc::clone(&store)), Shard::new(Arc::clone(&store))];
    let mut sent = 0;
    for shard in &shards {
        for path in 0..200 {
            let route = shard.resolve(&format!("/{}", "w".repeat(path % 40 + 1)));
            for status in (100..1000).step_by(7) {
                count(shard, key(route, status));
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
            let route = shard.resolve(path);
            count(&shard, key(route, 200));
            shard.with_route(route, |row, buckets| row.response_start.record(buckets, 7));
        }
        // Another id of a known template is warm, too.
        shard.resolve("/orders/8");
    };
    record();
    let counted = allocation_counter::measure(record);
    assert_eq!(counted.count_total, 0);
}
