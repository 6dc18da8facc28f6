//! What naming and recording cost a request: nanoseconds and allocations.
//!
//!     cargo bench --bench record
//!
//! The counting allocator is the benchmark's own; the proxy does not pay for it.
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the line above")]

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use flate2::Compression;
use flate2::write::GzEncoder;
use redcar::http::{Forwarded, Peer, parse_request, prepare_request, slots};
use redcar::metrics::{
    Answer, Buckets, Format, Histograms, Key, Limits, MethodId, Methods, Naming, Native, Page,
    Resolved, Resource, Settled, Shard, Shown, SidecarMetrics, Site, Slos, Sources, Store,
    WorkerStats,
};
use redcar::paths::{Namer, PathMode, Template};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn shard(templates: &[&str]) -> Shard {
    let templates: Vec<Template> =
        templates.iter().map(|text| text.parse().expect("a template")).collect();
    let namer = Namer::new(&templates).expect("no conflict");
    Shard::new(Store::new(limits(Histograms::Classic), namer))
}

fn store_and_shard() -> (Arc<Store>, Shard) {
    let store = Store::new(limits(Histograms::Classic), Namer::default());
    (Arc::clone(&store), Shard::new(store))
}

fn limits(histograms: Histograms) -> Limits {
    let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
    Limits {
        max_paths: 500,
        max_series: 5000,
        buckets: match histograms {
            Histograms::Classic => buckets,
            Histograms::Native | Histograms::Both => buckets.with_native(Native::REQUEST),
        },
        exemplars: false,
        slos: Slos::default(),
    }
}

/// Names a path and has it answered with 200, as a whole request does.
fn serve(shard: &Shard, path: &str) -> Settled {
    let route = shard.settle(&shard.resolve(path), Answer::of_app(200));
    let key =
        Key { route, method: MethodId::OTHER, status: 200, error: None, grpc: None, wire: None };
    shard.with_row(&key, |row, buckets| row.durations.record(buckets, 1_000_000));
    key.route
}

/// A path that the same client just asked for.
#[divan::bench]
fn name_a_path_seen(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    serve(&shard, "/api/v1/users/profile/settings");
    bencher.bench_local(|| shard.resolve(black_box("/api/v1/users/profile/settings")));
}

/// A path never seen, of a template that is known: another id every time.
#[divan::bench]
fn name_a_path_new(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let paths: Vec<String> =
        (0..100_000).map(|id| format!("/api/v1/users/{}/orders/{id}", id * 7 + 1000)).collect();
    serve(&shard, "/api/v1/users/1/orders/1");
    let next = Cell::new(0);
    bencher.bench_local(|| {
        next.set((next.get() + 1) % paths.len());
        shard.resolve(black_box(&paths[next.get()]))
    });
}

/// A word never seen where words are values: another user name every time.
#[divan::bench]
fn name_a_word_new(bencher: Bencher<'_, '_>) {
    let (store, shard) = store_and_shard();
    let name = |mut id: u32| {
        let mut name = String::from("x");
        for _ in 0..5 {
            name.push(char::from(b"bcdfghjklm"[(id % 10) as usize]));
            id /= 10;
        }
        format!("/api/v1/users/{name}/orders")
    };
    let paths: Vec<String> = (0..100_000).map(name).collect();
    for path in paths.iter().take(50) {
        serve(&shard, path);
    }
    store.snapshot();
    let next = Cell::new(0);
    bencher.bench_local(|| {
        next.set((next.get() + 1) % paths.len());
        let resolved = shard.resolve(black_box(&paths[next.get()]));
        assert!(matches!(resolved, Resolved::Known(_)));
    });
}

/// A scanner's word that the app does not know: named and settled as `_UNMATCHED`.
#[divan::bench]
fn name_what_is_not_there(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let paths: Vec<String> = (0..100_000).map(|id| format!("/scan{id}/wp-login.php")).collect();
    let next = Cell::new(0);
    bencher.bench_local(|| {
        next.set((next.get() + 1) % paths.len());
        shard.settle(&shard.resolve(black_box(&paths[next.get()])), Answer::of_app(404))
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

/// All that the metrics of a warm request cost: two clock readings, name, method, row, histogram;
/// with buckets of our choice only, and with native ones beside them.
#[divan::bench(args = [Histograms::Classic, Histograms::Both])]
fn record_a_warm_request(bencher: Bencher<'_, '_>, histograms: Histograms) {
    let shard = Shard::new(Store::new(limits(histograms), Namer::default()));
    let methods = Methods::default();
    let clock = quanta::Clock::new();
    serve(&shard, "/api/v1/users/profile/settings");
    bencher.bench_local(|| {
        let begun = clock.raw();
        let resolved = shard.resolve(black_box("/api/v1/users/profile/settings"));
        let key = Key {
            route: shard.settle(&resolved, Answer::of_app(200)),
            method: methods.resolve(black_box("GET")),
            status: 200,
            error: None,
            grpc: None,
            wire: None,
        };
        let nanos = clock.delta_as_nanos(begun, clock.raw());
        shard.with_row(&key, |row, buckets| row.durations.record(buckets, nanos));
    });
}

/// The per-path part: time to the head, and bytes.
#[divan::bench]
fn record_per_path(bencher: Bencher<'_, '_>) {
    let shard = shard(&[]);
    let route = serve(&shard, "/api/v1/users");
    bencher.bench_local(|| {
        shard.with_route(black_box(&route), |row, buckets| {
            row.time_to_response.record(buckets, 1000);
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
    let peer = Peer {
        address: "192.0.2.7",
        scheme: "http",
        forwarded: Forwarded::Append,
        via: false,
        upstream: "app:8080",
    };
    bencher.bench_local(|| {
        let mut room = slots();
        let (head, _) = parse_request(black_box(head), &mut room).ok().flatten()?;
        let mut out = Vec::with_capacity(512);
        prepare_request(&head, peer, &mut out).ok()?;
        Some(out)
    });
}

/// What a page is made of: rows on paths of their own, of one worker.
fn sources(rows: usize, paths: usize, histograms: Histograms) -> Sources {
    let limits = Limits { max_paths: 5000, max_series: 6000, ..limits(histograms) };
    let store = Store::new(limits, Namer::default().with_mode(PathMode::Raw));
    let shard = Shard::new(Arc::clone(&store));
    for index in 0..rows {
        let name = format!("{:04}", index % paths);
        let word: String = name.bytes().map(|byte| char::from(byte + 49)).collect();
        let route = shard.settle(&shard.resolve(&format!("/api/{word}")), Answer::of_app(200));
        let status = u16::try_from(200 + index / paths).expect("few");
        let key =
            Key { route, method: MethodId::OTHER, status, error: None, grpc: None, wire: None };
        for request in 1..200 {
            // Around 10 ms, as of a path that does one thing.
            let nanos = 4_000_000 + 40_000 * (request * request);
            shard.with_row(&key, |row, buckets| row.durations.record(buckets, nanos));
            shard.with_route(&key.route, |row, buckets| {
                row.time_to_response.record(buckets, nanos);
                row.add_bytes(10, 1000);
            });
        }
    }
    Sources {
        first: Site {
            listener: None,
            store,
            cold: SidecarMetrics::new(6000, 5000, 1000),
            workers: vec![WorkerStats::new()],
        },
        further: Vec::new(),
        methods: Methods::default(),
        naming: Naming::Default,
        shown: Shown { histograms, ..Shown::default() },
        scheme: "http",
        resource: Resource::default(),
    }
}

const PAGES: [(Format, Histograms); 4] = [
    (Format::Text, Histograms::Classic),
    (Format::Protobuf, Histograms::Classic),
    (Format::Protobuf, Histograms::Native),
    (Format::Protobuf, Histograms::Both),
];

#[expect(clippy::print_stderr, reason = "for whoever runs the benchmark")]
fn render(bencher: Bencher<'_, '_>, rows: usize, paths: usize, index: usize, gzip: bool) {
    let (format, histograms) = PAGES[index];
    let sources = sources(rows, paths, histograms);
    let render = || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(format.gzip_level()));
        let mut bytes = 0;
        let mut page = Page::new(sources.clone(), format);
        for piece in page.by_ref() {
            bytes += piece.len();
            if gzip {
                encoder.write_all(&piece).expect("a vector takes all");
            }
        }
        let compressed = encoder.finish().expect("a vector takes all").len();
        (if gzip { compressed } else { bytes }, page.series())
    };
    let (bytes, series) = render();
    eprintln!("{format:?} {histograms:?}: {bytes} bytes, {series} time series");
    bencher.bench_local(render);
}

/// One scrape of 5,000 rows on as many paths.
#[divan::bench(sample_count = 20, args = [0, 1, 2, 3])]
fn render_5000_rows(bencher: Bencher<'_, '_>, page: usize) {
    render(bencher, 5000, 5000, page, false);
}

/// One scrape of a usual pod: 120 rows on 30 paths.
#[divan::bench(sample_count = 200, args = [0, 1, 2, 3])]
fn render_120_rows(bencher: Bencher<'_, '_>, page: usize) {
    render(bencher, 120, 30, page, false);
}

/// The same, compressed.
#[divan::bench(sample_count = 200, args = [0, 1, 2, 3])]
fn render_120_rows_with_gzip(bencher: Bencher<'_, '_>, page: usize) {
    render(bencher, 120, 30, page, true);
}
