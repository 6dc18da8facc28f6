//! What naming and recording cost a request: nanoseconds and allocations.
//!
//!     cargo bench --bench record
//!
//! The counting allocator is the benchmark's own; the proxy does not pay for it.
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the line above")]

use std::cell::Cell;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use redcar::buckets::Buckets;
use redcar::h1::{parse_request, slots};
use redcar::headers::{Forwarded, Peer, prepare_request};
use redcar::labels::Methods;
use redcar::paths::{Namer, Template};
use redcar::series::{Key, Limits, RouteId, Shard, Store};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn shard(templates: &[&str]) -> Shard {
    let templates: Vec<Template> =
        templates.iter().map(|text| text.parse().expect("a template")).collect();
    let limits = Limits {
        max_paths: 500,
        max_series: 5000,
        buckets: Buckets::new(&Buckets::REQUEST).expect("bounds"),
        exemplars: false,
    };
    Shard::new(Store::new(limits, Namer::new(&templates).expect("no conflict")))
}

/// A path that the same client just asked for.
#[divan::bench]
fn name_a_path_seen(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    bencher.bench_local(|| shard.resolve(black_box("/api/v1/users/profile/settings")));
}

/// A path never seen, of a template that is known: another id every time.
#[divan::bench]
fn name_a_path_new(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let paths: Vec<String> =
        (0..100_000).map(|id| format!("/api/v1/users/{}/orders/{id}", id * 7 + 1000)).collect();
    let next = Cell::new(0);
    bencher.bench_local(|| {
        next.set((next.get() + 1) % paths.len());
        shard.resolve(black_box(&paths[next.get()]))
    });
}

/// A path never seen, of a pinned template.
#[divan::bench]
fn name_a_path_new_and_pinned(bencher: Bencher<'_, '_>) {
    let shard = shard(&["/api/v1/users/{user}/orders/{order}", "/api/v1/{*rest}"]);
    let paths: Vec<String> =
        (0..100_000).map(|id| format!("/api/v1/users/u{id}/orders/{id}")).collect();
    let next = Cell::new(0);
    bencher.bench_local(|| {
        next.set((next.get() + 1) % paths.len());
        shard.resolve(black_box(&paths[next.get()]))
    });
}

/// All that the metrics of a warm request cost: two clock readings, name, method, row, histogram.
#[divan::bench]
fn record_a_warm_request(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let methods = Methods::default();
    let clock = quanta::Clock::new();
    bencher.bench_local(|| {
        let begun = clock.raw();
        let key = Key {
            route: shard.resolve(black_box("/api/v1/users/profile/settings")),
            method: methods.resolve(black_box("GET")),
            status: 200,
            error: None,
        };
        let nanos = clock.delta_as_nanos(begun, clock.raw());
        shard.with_row(key, |row, buckets| row.durations.record(buckets, nanos));
    });
}

/// The per-path part: time to the head, and bytes.
#[divan::bench]
fn record_per_path(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let route: RouteId = shard.resolve("/api/v1/users");
    bencher.bench_local(|| {
        shard.with_route(black_box(route), |row, buckets| {
            row.response_start.record(buckets, 1000);
            row.add_bytes(0, 512);
        });
    });
}

/// Parsing a browser's GET and writing it anew for the upstream.
#[divan::bench]
fn rewrite_a_request(bencher: Bencher<'_, '_>) {
    let head =
        b"GET /api/v1/users?x=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Mozilla/5.0\r\n\
        Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
        Cookie: session=abcdef\r\n\r\n";
    let peer =
        Peer { address: "192.0.2.7", scheme: "http", forwarded: Forwarded::Append, via: false };
    bencher.bench_local(|| {
        let mut room = slots();
        let (head, _) = parse_request(black_box(head), &mut room).ok().flatten()?;
        let mut out = Vec::with_capacity(512);
        prepare_request(&head, peer, &mut out).ok()?;
        Some(out)
    });
}

/// One scrape's text of 5,000 series, on one worker.
#[divan::bench(sample_count = 20)]
fn render_5000_series(bencher: Bencher<'_, '_>) {
    let limits = Limits {
        max_paths: 5000,
        max_series: 6000,
        buckets: Buckets::new(&Buckets::REQUEST).expect("bounds"),
        exemplars: false,
    };
    let store = Store::new(limits, Namer::default());
    let shard = Shard::new(Arc::clone(&store));
    let methods = Methods::default();
    for index in 0..5000 {
        let word: String = format!("{index:04}").bytes().map(|b| char::from(b + 49)).collect();
        let route = shard.resolve(&format!("/api/{word}"));
        let key = Key { route, method: methods.resolve("GET"), status: 200, error: None };
        shard.with_row(key, |row, buckets| row.durations.record(buckets, 1_000_000));
    }
    let sources = redcar::render::Sources {
        store,
        cold: redcar::metrics::Cold::new(6000, 5000),
        workers: vec![redcar::metrics::WorkerStats::new()],
        methods,
    };
    bencher.bench_local(|| {
        let page = redcar::render::Page::new(sources.clone(), redcar::exposition::Format::Text);
        page.map(|piece| piece.len()).sum::<usize>()
    });
}
