use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use prost::Message;

use super::*;
use crate::metrics::buckets::{Buckets, Histograms, Native, SCHEMA};
use crate::metrics::labels::{ErrorToken, GrpcStatus, MethodId};
use crate::metrics::proto::{Histogram, MetricFamily, MetricType};
use crate::metrics::slo::Slos;
use crate::metrics::store::{Answer, Exemplar, Lasting, Limits, Settled, Shard};
use crate::metrics::text::read::samples;
use crate::metrics::text::{Float, Kind};
use crate::metrics::wire::Scheme;
use crate::metrics::{CATALOGUE, Resource, Without};
use crate::paths::Namer;

/// A sidecar with two workers that has counted a few requests.
fn sources(naming: Naming, histograms: Histograms) -> Sources {
    let buckets = Buckets::new(&[0.005, 0.1, 1.0]).expect("bounds");
    let limits = Limits {
        max_paths: 10,
        max_series: 100,
        buckets: match histograms {
            Histograms::Classic => buckets,
            Histograms::Native | Histograms::Both => buckets.with_native(Native::REQUEST),
        },
        exemplars: false,
        slos: Slos::default(),
    };
    let store = Store::new(limits, Namer::default());
    let workers = [(); 2].map(|()| WorkerStats::new());
    for (number, worker) in (1..).zip(&workers) {
        let shard = Shard::new(Arc::clone(&store));
        for (path, status, millis) in
            [("/", 200, 3), ("/users/7", 200, 40), ("/users/8", 500, 2000), ("/chat", 101, 0)]
        {
            let route = shard.settle(&shard.resolve(path), Answer::of_app(status));
            let key =
                Key { route, method: MethodId(1), status, error: None, grpc: None, wire: None };
            record(&shard, &key, number * millis * 1_000_000);
        }
        let route = shard.settle(&shard.resolve("/users/9"), Answer::of_app(200));
        let base =
            Key { route, method: MethodId(3), status: 200, error: None, grpc: None, wire: None };
        let error = Some(ErrorToken::DownstreamAborted);
        record(&shard, &Key { error, ..base.clone() }, 7);
        record(&shard, &Key { grpc: Some(GrpcStatus::parse(b"5")), ..base }, 70_000_000_000);
        worker.started.store(9 * number, Relaxed);
        worker.ended.store(8 * number, Relaxed);
        worker.reused.store(5, Relaxed);
        worker.streams_active.store(2, Relaxed);
        worker.active.begin(MethodId(1), Scheme::Https);
        if number == 2 {
            worker.active.begin(MethodId(1), Scheme::Https);
        }
        worker.overhead.record(&worker.overhead_bounds, 30_000 * number);
        worker.connect.record(&worker.connect_bounds, 130_000);
    }
    let cold = SidecarMetrics::new(100, 10, 1000);
    cold.connected(Ok(()));
    cold.connected(Err(ErrorToken::DnsError));
    Sources {
        first: Site { listener: None, store, cold, workers: workers.into() },
        further: Vec::new(),
        methods: Methods::default(),
        naming,
        shown: Shown { histograms, ..Shown::default() },
        scheme: "http",
        resource: Resource::default(),
    }
}

fn record(shard: &Shard, key: &Key<Settled>, nanos: u64) {
    shard.with_row(key, |row, buckets| match key.status {
        101 => row.count_untimed(),
        _ => row.durations.record(buckets, nanos),
    });
    shard.with_route(&key.route, |row, buckets| {
        row.time_to_response.record(buckets, nanos / 2);
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
        // The other names of the sidecar itself, which has a version.
        ["process_", "target_info"].iter().any(|other| name.starts_with(other))
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
        let page = lines_of_requests(&text(&sources(naming, Histograms::Both), format));
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

/// How many durations are in native buckets; all of them where there are none.
fn native_count(histogram: &Histogram) -> u64 {
    if histogram.schema == 0 {
        return histogram.sample_count;
    }
    let buckets = spans::read(histogram).into_iter().map(|(_, count)| count);
    histogram.zero_count + buckets.sum::<u64>()
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
                    assert_eq!(histogram.sample_count, native_count(histogram));
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some seconds, in whole nanoseconds"
)]
fn shortened(seconds: f64) -> f64 {
    sheet::short_double((seconds * 1e9).round() as u64)
}

#[test]
fn protobuf_says_what_text_says() {
    for (naming, histograms) in [
        (Naming::Default, Histograms::Classic),
        (Naming::Default, Histograms::Both),
        (Naming::Flask, Histograms::Both),
        (Naming::Otel, Histograms::Classic),
    ] {
        let sources = sources(naming, histograms);
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
            // Half a nanosecond is what a sum may differ by.
            let is_sum = sample.name.ends_with("_sum");
            let value = if is_sum { shortened(sample.value) } else { sample.value };
            assert!((value - sample.value).abs() < 0.6e-9);
            expected.insert((sample.name.to_owned(), labels), value);
        }
        assert_eq!(said, expected, "{naming:?}");
    }
}

#[test]
fn a_page_is_made_in_pieces_of_whole_families() {
    let sources = sources(Naming::Default, Histograms::Both);
    let shard = Shard::new(Arc::clone(&sources.first.store));
    for status in 100..600 {
        let route = Settled::Named(crate::metrics::store::RouteId::OTHER);
        let key = Key { route, method: MethodId(1), status, error: None, grpc: None, wire: None };
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

/// The histograms of a family.
fn histograms<'a>(families: &'a [MetricFamily], name: &str) -> Vec<&'a Histogram> {
    let family = families.iter().find(|family| family.name == name).expect("the family");
    family.metric.iter().filter_map(|metric| metric.histogram.as_ref()).collect()
}

#[test]
fn a_native_histogram_stands_alone_and_has_each_duration_in_its_bucket() {
    let sources = sources(Naming::Default, Histograms::Native);
    let families = families(&page(&sources, Format::Protobuf));
    let found = histograms(&families, "http_request_duration_seconds");
    for histogram in &found {
        assert_eq!((histogram.bucket.len(), histogram.schema), (0, SCHEMA));
        assert_eq!(histogram.sample_count, native_count(histogram));
    }
    // 3 and 6 ms: b^-68 is 2.76 ms, and each bucket reaches 9 % further.
    let index = |seconds: f64| {
        let index = (seconds.log2() * 8.0).ceil();
        (-200..200).find(|i| (f64::from(*i) - index).abs() < 0.1).expect("an index")
    };
    let counted = |at: usize| -> Vec<_> {
        spans::read(found[at]).into_iter().filter(|(_, count)| *count > 0).collect()
    };
    assert_eq!(counted(0), [(index(0.003), 1), (index(0.006), 1)]);
    assert_eq!(counted(1), [(index(0.04), 1), (index(0.08), 1)]);
    assert_eq!(counted(3), [(index(70.0), 2)]);
    // 7 ns are below the zero threshold.
    assert_eq!((counted(4), found[4].zero_count), (vec![], 2));
    // The other families have theirs.
    for name in ["redcar_overhead_seconds", "http_upgraded_connection_duration_seconds"] {
        assert!(histograms(&families, name).iter().all(|h| h.bucket.is_empty() && h.schema == 3));
    }
    // Text knows no other form.
    assert!(text(&sources, Format::Text).contains("http_request_duration_seconds_bucket{"));
}

#[test]
fn a_page_counts_the_time_series_that_a_reader_counts() {
    for format in [Format::Text, Format::OpenMetrics] {
        let mut sources = sources(Naming::Default, Histograms::Both);
        sources.shown.created_lines = true;
        let mut page = Page::new(sources.clone(), format);
        let text = String::from_utf8(page.by_ref().flatten().collect()).expect("text");
        assert_eq!(page.series(), text.lines().filter(|line| !line.starts_with('#')).count());
    }
    let series = |histograms| {
        let mut page = Page::new(sources(Naming::Default, histograms), Format::Protobuf);
        let families = families(&page.by_ref().flatten().collect::<Vec<_>>());
        let metrics: usize = families.iter().map(|family| family.metric.len()).sum();
        (page.series(), metrics)
    };
    let (native, metrics) = series(Histograms::Native);
    assert_eq!(native, metrics);
    let (classic, _) = series(Histograms::Classic);
    let (both, _) = series(Histograms::Both);
    let of_kind = CATALOGUE.iter().filter(|family| family.kind == Kind::Histogram);
    assert!(of_kind.count() > 0 && both > classic && classic > native);
}

#[test]
fn everything_that_grows_says_when_it_began() {
    let before = SystemTime::now();
    let mut sources = sources(Naming::Default, Histograms::Both);
    let families = families(&page(&sources, Format::Protobuf));
    let since = |at: SystemTime| at.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let (before, now) = (since(before).as_secs(), since(SystemTime::now()).as_secs());
    for metric in families.iter().flat_map(|family| &family.metric) {
        let created = match (&metric.counter, &metric.histogram) {
            (Some(counter), _) => counter.created_timestamp,
            (_, Some(histogram)) => histogram.created_timestamp,
            _ => continue,
        };
        let created = created.expect("a moment");
        assert!((before..=now).contains(&created.seconds.unsigned_abs()), "{metric:?}");
        assert_eq!(created.nanos, 0);
    }
    assert!(!text(&sources, Format::OpenMetrics).contains("_created"));
    sources.shown.created_lines = true;
    assert!(!text(&sources, Format::Text).contains("_created"));
    let open = text(&sources, Format::OpenMetrics);
    for line in [
        "http_requests_created{method=\"GET\",path=\"/\",status=\"200\"} 1",
        "http_request_duration_seconds_created{method=\"GET\",path=\"/\",status=\"200\"} 1",
        "http_response_body_bytes_created{path=\"/\"} 1",
        "redcar_upstream_connects_created{result=\"ok\"} 1",
        "process_cpu_seconds_created 1",
    ] {
        assert!(open.contains(line), "{line}\n{open}");
    }
    assert!(!open.contains("redcar_paths_created"), "a gauge has no birth");
}

/// The labels of a family's series, without `le`, in their order.
fn labels_of(text: &str, name: &str) -> Vec<String> {
    let found = samples(text).filter(|sample| sample.name == name).map(|sample| {
        let labels = sample.labels.iter().map(|(name, value)| format!("{name}={value}"));
        labels.collect::<Vec<_>>().join(" ")
    });
    found.collect()
}

#[test]
fn durations_are_split_by_the_chosen_labels_and_requests_by_all() {
    let mut sources = sources(Naming::Default, Histograms::Classic);
    let count = "http_request_duration_seconds_count";
    let total = |text: &str, name: &str| -> f64 {
        samples(text).filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    };
    let all = text(&sources, Format::Text);
    for (labels, expected) in [
        (
            "path,status_class",
            &[
                "path=/ status_class=2xx",
                "path=/users/{id} status_class=2xx",
                "path=/users/{id} status_class=5xx",
            ][..],
        ),
        (
            "status_class,method",
            &[
                "method=GET status_class=2xx",
                "method=GET status_class=5xx",
                "method=POST status_class=2xx",
            ],
        ),
        ("error", &["", "error=downstream_aborted"]),
        ("none", &[""]),
    ] {
        sources.shown.duration_labels = labels.parse().expect("a list");
        let page = text(&sources, Format::Text);
        assert_eq!(labels_of(&page, count), expected, "{labels}");
        assert!((total(&page, count) - total(&all, count)).abs() < 0.1, "{labels}");
        for name in ["http_requests_total", "http_time_to_response_seconds_count"] {
            assert_eq!(labels_of(&page, name), labels_of(&all, name), "{labels}");
        }
    }
}

#[test]
fn families_are_left_out_on_request_and_no_others() {
    let mut sources = sources(Naming::Default, Histograms::Both);
    let names: Vec<String> = [
        "http_time_to_response_seconds",
        "redcar_overhead_seconds",
        "redcar_paths",
        "process_open_fds",
    ]
    .map(str::to_owned)
    .into();
    let all = families(&page(&sources, Format::Protobuf));
    sources.shown.without = Without::new(&names, Naming::Default).expect("names");
    let rest = families(&page(&sources, Format::Protobuf));
    let of = |families: &[MetricFamily]| -> Vec<String> {
        families.iter().map(|family| family.name.clone()).collect()
    };
    let expected: Vec<_> = of(&all).into_iter().filter(|name| !names.contains(name)).collect();
    assert_eq!((of(&rest), expected.len() + names.len()), (expected.clone(), all.len()));
    let text = text(&sources, Format::Text);
    assert!(!names.iter().any(|name| text.contains(&format!("# TYPE {name} "))));
}

#[test]
fn traces_are_at_buckets_and_at_the_counter_of_errors() {
    let sources = sources(Naming::Default, Histograms::Both);
    let shard = Shard::new(Arc::clone(&sources.first.store));
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    for (status, trace_id, nanos, seconds) in
        [(200, 1, 20_000_000, 100), (200, 2, 10_000_000, 101), (500, 3, 3_000_000_000, 102)]
    {
        let route = shard.settle(&shard.resolve("/users/7"), Answer::of_app(status));
        let key = Key { route, method: MethodId(1), status, error: None, grpc: None, wire: None };
        shard.with_row(&key, |row, buckets| {
            row.durations.record(buckets, nanos);
            row.keep_exemplar(buckets, Exemplar { trace_id, nanos, at: at(seconds) });
        });
    }
    assert!(!text(&sources, Format::Text).contains("trace_id"));
    let open = text(&sources, Format::OpenMetrics);
    let marked: Vec<_> = open
        .lines()
        .filter_map(|line| line.split_once(" # "))
        .map(|(series, trace)| (series.split(' ').next().expect("a series"), trace))
        .collect();
    let labels = "method=\"GET\",path=\"/users/{id}\",status=";
    let trace = |id: u128, rest: &str| format!("{{trace_id=\"{id:032x}\"}} {rest}");
    assert_eq!(
        marked,
        [
            (
                &*format!("http_requests_total{{{labels}\"500\"}}"),
                &*trace(3, "3.000000000 102.000")
            ),
            // The slowest of its bucket.
            (
                &format!("http_request_duration_seconds_bucket{{{labels}\"200\",le=\"0.1\"}}"),
                &trace(1, "0.020000000 100.000")
            ),
            (
                &format!("http_request_duration_seconds_bucket{{{labels}\"500\",le=\"+Inf\"}}"),
                &trace(3, "3.000000000 102.000")
            ),
        ]
    );
    let families = families(&page(&sources, Format::Protobuf));
    let ids = |exemplars: &[crate::metrics::proto::Exemplar]| -> Vec<String> {
        exemplars.iter().map(|exemplar| exemplar.label[0].value.clone()).collect()
    };
    let native: Vec<_> = histograms(&families, "http_request_duration_seconds")
        .into_iter()
        .filter(|histogram| !histogram.exemplars.is_empty())
        .map(|histogram| ids(&histogram.exemplars))
        .collect();
    // Newest and slowest, the older first.
    let id = |number: u128| format!("{number:032x}");
    assert_eq!(native, [vec![id(1), id(2)], vec![id(3)]]);
    let counters = families.iter().find(|family| family.name == "http_requests_total");
    let exemplars =
        counters.expect("the family").metric.iter().filter_map(|metric| {
            metric.counter.as_ref().and_then(|counter| counter.exemplar.clone())
        });
    assert_eq!(ids(&exemplars.collect::<Vec<_>>()), [id(3)]);
}
