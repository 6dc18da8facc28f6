use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use prost::Message;

use super::*;
use crate::metrics::buckets::Buckets;
use crate::metrics::labels::{ErrorToken, GrpcStatus, MethodId};
use crate::metrics::proto::{MetricFamily, MetricType};
use crate::metrics::store::{Lasting, Limits, Settled, Shard};
use crate::metrics::text::Float;
use crate::metrics::text::read::samples;
use crate::paths::Namer;

/// A sidecar with two workers that has counted a few requests.
fn sources(naming: Naming) -> Sources {
    let limits = Limits {
        max_paths: 10,
        max_series: 100,
        buckets: Buckets::new(&[0.005, 0.1, 1.0]).expect("bounds"),
        exemplars: false,
    };
    let store = Store::new(limits, Namer::default());
    let workers = [(); 2].map(|()| WorkerStats::new());
    for (number, worker) in (1..).zip(&workers) {
        let shard = Shard::new(Arc::clone(&store));
        for (path, status, millis) in
            [("/", 200, 3), ("/users/7", 200, 40), ("/users/8", 500, 2000), ("/chat", 101, 0)]
        {
            let route = shard.settle(&shard.resolve(path), status, true);
            let key = Key { route, method: MethodId(1), status, error: None, grpc: None };
            record(&shard, &key, number * millis * 1_000_000);
        }
        let route = shard.settle(&shard.resolve("/users/9"), 200, true);
        let base = Key { route, method: MethodId(3), status: 200, error: None, grpc: None };
        let error = Some(ErrorToken::DownstreamAborted);
        record(&shard, &Key { error, ..base.clone() }, 7);
        record(&shard, &Key { grpc: Some(GrpcStatus::parse(b"5")), ..base }, 70_000_000_000);
        worker.started.store(9 * number, Relaxed);
        worker.ended.store(8 * number, Relaxed);
        worker.reused.store(5, Relaxed);
        worker.streams_active.store(2, Relaxed);
        worker.overhead.record(&worker.overhead_bounds, 30_000 * number);
        worker.connect.record(&worker.connect_bounds, 130_000);
    }
    let cold = SidecarMetrics::new(100, 10, 1000);
    cold.connected(Ok(()));
    cold.connected(Err(ErrorToken::DnsError));
    Sources {
        store,
        cold,
        workers: workers.into(),
        methods: Methods::default(),
        naming,
        scheme: "http",
    }
}

fn record(shard: &Shard, key: &Key<Settled>, nanos: u64) {
    shard.with_row(key, |row, buckets| match key.status {
        101 => row.count_untimed(),
        _ => row.durations.record(buckets, nanos),
    });
    shard.with_route(&key.route, |row, buckets| {
        row.response_start.record(buckets, nanos / 2);
        row.add_bytes(1, 3);
        if key.status == 101 {
            row.record_lasting(Lasting::Upgrade, 61_000_000_000);
        }
    });
}

fn page(sources: &Sources, format: Format) -> Vec<u8> {
    Page::new(sources.clone(), format).flatten().collect()
}

fn text(sources: &Sources, format: Format) -> String {
    String::from_utf8(page(sources, format)).expect("text")
}

/// The lines about requests, and one histogram more. Other families come and go.
fn lines_of_requests(page: &str) -> String {
    let is_other = |line: &&str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        name.starts_with("process_")
            || name.starts_with("redcar_") && !name.starts_with("redcar_overhead")
    };
    let lines = page.lines().filter(|line| !is_other(line));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_text_formats_are_what_they_were() {
    for (naming, format, expected) in [
        (Naming::Default, Format::Text, include_str!("tests/default.txt")),
        (Naming::Default, Format::OpenMetrics, include_str!("tests/default.openmetrics")),
        (Naming::Flask, Format::Text, include_str!("tests/flask.txt")),
        (Naming::Otel, Format::Text, include_str!("tests/otel.txt")),
    ] {
        let page = lines_of_requests(&text(&sources(naming), format));
        assert!(page == expected, "{naming:?} {format:?}:\n{page}");
    }
}

fn families(page: &[u8]) -> Vec<MetricFamily> {
    let mut rest = page;
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push(MetricFamily::decode_length_delimited(&mut rest).expect("a family"));
    }
    found
}

type Series = (String, BTreeMap<String, String>);

/// The samples that a page in protobuf says, as text would name them.
fn said_by(families: &[MetricFamily]) -> BTreeMap<Series, f64> {
    let mut said = BTreeMap::new();
    for family in families {
        for metric in &family.metric {
            let labels: BTreeMap<_, _> =
                metric.label.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect();
            let mut say = |suffix: &str, le: Option<f64>, value: f64| {
                let mut labels = labels.clone();
                labels.extend(le.map(|le| ("le".to_owned(), Float(le).to_string())));
                assert_eq!(said.insert((format!("{}{suffix}", family.name), labels), value), None);
            };
            match family.r#type() {
                MetricType::Counter => say("", None, metric.counter.as_ref().expect("one").value),
                MetricType::Gauge => say("", None, metric.gauge.as_ref().expect("one").value),
                MetricType::Histogram => {
                    let histogram = metric.histogram.as_ref().expect("one");
                    let count = u32::try_from(histogram.sample_count).expect("few").into();
                    for bucket in &histogram.bucket {
                        let count = u32::try_from(bucket.cumulative_count).expect("few");
                        say("_bucket", Some(bucket.upper_bound), count.into());
                    }
                    say("_bucket", Some(f64::INFINITY), count);
                    say("_count", None, count);
                    say("_sum", None, histogram.sample_sum);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    said
}

#[test]
fn protobuf_says_what_text_says() {
    for naming in [Naming::Default, Naming::Flask, Naming::Otel] {
        let sources = sources(naming);
        let families = families(&page(&sources, Format::Protobuf));
        for family in &families {
            let known = naming.families().find(|known| known.name == family.name);
            assert_eq!(known.map(|known| known.help), Some(&*family.help));
        }
        let of_process = |name: &str| name.starts_with("process_");
        let mut said = said_by(&families);
        said.retain(|(name, _), _| !of_process(name));
        let text = text(&sources, Format::Text);
        let mut expected = BTreeMap::new();
        for sample in samples(&text).filter(|sample| !of_process(sample.name)) {
            let own = |(name, value): &(&str, std::borrow::Cow<'_, str>)| {
                ((*name).to_owned(), value.to_string())
            };
            let labels = sample.labels.iter().map(own).collect();
            expected.insert((sample.name.to_owned(), labels), sample.value);
        }
        assert_eq!(said, expected, "{naming:?}");
    }
}

#[test]
fn a_page_is_made_in_pieces_of_whole_families() {
    let sources = sources(Naming::Default);
    let shard = Shard::new(Arc::clone(&sources.store));
    for status in 100..600 {
        let route = Settled::Named(crate::metrics::store::RouteId::OTHER);
        let key = Key { route, method: MethodId(1), status, error: None, grpc: None };
        record(&shard, &key, 1);
    }
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let pieces: Vec<_> = Page::new(sources.clone(), format).collect();
        assert!(!pieces.iter().any(|piece| piece.len() > 4 * PIECE_BYTES));
        if format == Format::Protobuf {
            let names = pieces.iter().flat_map(|piece| families(piece)).map(|family| family.name);
            let mut names: Vec<_> = names.collect();
            let before = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), before);
        }
    }
}
