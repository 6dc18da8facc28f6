//! One page, summed up by method and path.

use std::collections::BTreeMap;
use std::sync::Arc;

use redcar::metrics;
use redcar::metrics::{ErrorToken, Sample, Side, samples};
use tokio::time::Instant;

/// Rows that are kept of a page, three times what a sidecar has by default. The rest is left out.
const MAX_ROWS: usize = 15_000;

/// Bytes that are kept of a method and of a path.
const MAX_LABEL_BYTES: usize = 512;

/// Bounds that are kept, `+Inf` included: as many as a sidecar may have.
const MAX_BOUNDS: usize = 65;

/// What a naming profile calls things. An empty name is one that the profile does not have.
struct Names {
    requests: &'static str,
    buckets: &'static str,
    in_flight: &'static str,
    /// Labels: method, path, status, error.
    labels: [&'static str; 4],
}

const PROFILES: [Names; 3] = [
    Names {
        requests: "http_requests_total",
        buckets: "http_request_duration_seconds_bucket",
        in_flight: "http_requests_in_flight",
        labels: ["method", "path", "status", "error"],
    },
    Names {
        requests: "http_server_request_duration_seconds_count",
        buckets: "http_server_request_duration_seconds_bucket",
        in_flight: "http_server_active_requests",
        labels: ["http_request_method", "http_route", "http_response_status_code", "error_type"],
    },
    Names {
        requests: "flask_http_request_duration_seconds_count",
        buckets: "flask_http_request_duration_seconds_bucket",
        in_flight: "",
        labels: ["method", "path", "status", ""],
    },
];

/// Method and path.
pub(crate) type Key = (String, String);

/// Why requests failed: who, and the `error` label or `5xx` for the app's own answer.
pub(crate) type Reason = (Side, String);

/// Counters of one method and path, or of all.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Row {
    pub(crate) total: f64,
    pub(crate) errors: f64,
    /// Cumulative, in the order of the page's bounds.
    pub(crate) buckets: Vec<f64>,
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) at: Instant,
    pub(crate) rows: BTreeMap<Key, Arc<Row>>,
    pub(crate) all: Row,
    pub(crate) reasons: BTreeMap<Reason, f64>,
    /// Upper bounds of the buckets.
    pub(crate) bounds: Vec<f64>,
    pub(crate) in_flight: Option<f64>,
    pub(crate) up: Option<f64>,
    pub(crate) draining: bool,
    pub(crate) overflow: f64,
    /// Seconds since the epoch.
    pub(crate) started: Option<f64>,
}

impl Page {
    /// Sums a page up. Never panics.
    pub(crate) fn of(text: &str, at: Instant) -> Self {
        let found = |names: &&Names| samples(text).any(|sample| sample.name == names.requests);
        let [usual, ..] = &PROFILES;
        let names = PROFILES.iter().find(found).unwrap_or(usual);
        let mut page = Self {
            at,
            rows: BTreeMap::new(),
            all: Row::default(),
            reasons: BTreeMap::new(),
            bounds: Vec::new(),
            in_flight: None,
            up: None,
            draining: false,
            overflow: 0.0,
            started: None,
        };
        for sample in samples(text).filter(|sample| sample.value >= 0.0 && sample.value.is_finite())
        {
            page.add(&sample, names);
        }
        page
    }

    fn add(&mut self, sample: &Sample<'_>, names: &Names) {
        let value = sample.value;
        match sample.name {
            name if name == names.requests => self.add_requests(sample, names),
            name if name == names.buckets => self.add_bucket(sample, names),
            name if name == names.in_flight => {
                self.in_flight = Some(self.in_flight.unwrap_or_default() + value);
            }
            // Of several apps the worst.
            name if name == metrics::UP.name => self.up = Some(self.up.unwrap_or(value).min(value)),
            name if name == metrics::DRAINING.name => self.draining = value > 0.0,
            name if name == metrics::OVERFLOW.name => self.overflow += value,
            name if name == metrics::PROCESS_START.name => self.started = Some(value),
            _ => {}
        }
    }

    fn row(&mut self, sample: &Sample<'_>, names: &Names) -> Option<&mut Row> {
        let [method, path, ..] = names.labels;
        // A path of one app is none of the other's.
        let path = match (sample.label("listener"), sample.label(path)) {
            ("", path) => short(path),
            (listener, path) => short(&format!("{listener} {path}")),
        };
        let key = (short(sample.label(method)), path);
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            return None;
        }
        Some(Arc::make_mut(self.rows.entry(key).or_default()))
    }

    fn add_requests(&mut self, sample: &Sample<'_>, names: &Names) {
        let [.., status, error] = names.labels;
        let is_5xx = sample.label(status).starts_with('5');
        // OpenTelemetry writes the status where there is no better word.
        let error = sample.label(error);
        let error = if error.bytes().all(|byte| byte.is_ascii_digit()) { "" } else { error };
        let reason = match ErrorToken::from_name(error) {
            Some(token) => Some((token.side(), error.to_owned())),
            None if !error.is_empty() => Some((Side::Sidecar, short(error))),
            None => is_5xx.then(|| (Side::App, "5xx".to_owned())),
        };
        let failed = is_5xx || reason.as_ref().is_some_and(|(side, _)| *side != Side::Client);
        if let Some(reason) = reason
            && (self.reasons.len() < MAX_ROWS || self.reasons.contains_key(&reason))
        {
            *self.reasons.entry(reason).or_default() += sample.value;
        }
        let errors = if failed { sample.value } else { 0.0 };
        self.all.total += sample.value;
        self.all.errors += errors;
        if let Some(row) = self.row(sample, names) {
            row.total += sample.value;
            row.errors += errors;
        }
    }

    fn add_bucket(&mut self, sample: &Sample<'_>, names: &Names) {
        let Some(bound) = sample.label("le").parse().ok().filter(|le: &f64| !le.is_nan()) else {
            return;
        };
        let known = self.bounds.iter().position(|known| known.total_cmp(&bound).is_eq());
        let position = known.unwrap_or(self.bounds.len());
        if position >= MAX_BOUNDS {
            return;
        }
        if known.is_none() {
            self.bounds.push(bound);
        }
        raise(&mut self.all, position, sample.value);
        if let Some(row) = self.row(sample, names) {
            raise(row, position, sample.value);
        }
    }
}

fn raise(row: &mut Row, position: usize, value: f64) {
    if row.buckets.len() <= position {
        row.buckets.resize(position + 1, 0.0);
    }
    if let Some(bucket) = row.buckets.get_mut(position) {
        *bucket += value;
    }
}

/// At most [`MAX_LABEL_BYTES`] of a label, in whole characters.
fn short(label: &str) -> String {
    label
        .split_at_checked(label.floor_char_boundary(MAX_LABEL_BYTES))
        .map_or(label, |(l, _)| l)
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redcar::metrics::CATALOGUE;

    use super::*;

    #[test]
    fn the_names_of_the_default_profile_are_those_of_the_catalogue() {
        let [names, ..] = &PROFILES;
        let buckets = names.buckets.trim_end_matches("_bucket");
        for name in [names.requests, buckets, names.in_flight] {
            assert!(CATALOGUE.iter().any(|family| family.name == name), "{name}");
        }
    }

    #[test]
    fn a_page_of_each_profile_says_the_same() {
        for Names { requests, buckets, labels, .. } in &PROFILES {
            let [method, path, status, error] = labels;
            let route = format!("{method}=\"GET\",{path}=\"/\"");
            // The Flask profile cannot tell whose 502 it is.
            let error = if error.is_empty() { "x" } else { error };
            let text = format!(
                "{requests}{{{route},{status}=\"200\"}} 3\n\
                 {requests}{{{route},{status}=\"502\",{error}=\"connection_refused\"}} 1\n\
                 {buckets}{{{route},le=\"+Inf\"}} 4\n"
            );
            let page = Page::of(&text, Instant::now());
            let row = Row { total: 4.0, errors: 1.0, buckets: vec![4.0] };
            assert_eq!(page.rows.len(), 1, "{text}");
            assert_eq!(page.rows.values().next().map(|row| &**row), Some(&row));
            assert_eq!((page.all, page.bounds), (row, vec![f64::INFINITY]));
        }
    }

    #[test]
    fn paths_of_several_listeners_are_kept_apart_and_the_rest_is_added_up() {
        let of = |port: u16, count: u16, up: u16| {
            let listener = format!("listener=\":{port}\"");
            format!(
                "http_requests_total{{{listener},method=\"GET\",path=\"/\",status=\"200\"}} {count}\n\
                 http_requests_in_flight{{{listener}}} {count}\n\
                 redcar_upstream_up{{{listener}}} {up}\n"
            )
        };
        let text = of(7001, 3, 0) + &of(7002, 4, 1);
        let page = Page::of(&text, Instant::now());
        let rows: Vec<_> = page.rows.iter().map(|((_, path), row)| (&**path, row.total)).collect();
        assert_eq!(rows, [(":7001 /", 3.0), (":7002 /", 4.0)]);
        assert_eq!((page.all.total, page.in_flight, page.up), (7.0, Some(7.0), Some(0.0)));
    }

    #[test]
    fn who_failed_is_told_apart_and_a_client_is_no_error() {
        let text = "http_requests_total{status=\"500\"} 1\n\
            http_requests_total{status=\"502\",error=\"connection_refused\"} 2\n\
            http_requests_total{status=\"499\",error=\"downstream_aborted\"} 4\n\
            http_requests_total{status=\"404\"} 8\n";
        let page = Page::of(text, Instant::now());
        assert!((page.all.errors - 3.0).abs() < 0.1 && (page.all.total - 15.0).abs() < 0.1);
        let reasons: Vec<_> = page.reasons.iter().map(|((s, r), n)| (*s, &**r, *n)).collect();
        let expected = [
            (Side::App, "5xx", 1.0),
            (Side::App, "connection_refused", 2.0),
            (Side::Client, "downstream_aborted", 4.0),
        ];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn a_hostile_page_is_kept_within_bounds() {
        let line = |n: usize| {
            format!(
                "http_requests_total{{path=\"{n}{}\"}} 1\n\
                 http_request_duration_seconds_bucket{{path=\"0\",le=\"{n}\"}} 1\n",
                "\u{202e}".repeat(300)
            )
        };
        let text: String = (0..MAX_ROWS + 100).map(line).collect();
        let page = Page::of(&text, Instant::now());
        assert_eq!((page.rows.len(), page.bounds.len()), (MAX_ROWS, MAX_BOUNDS));
        assert!(page.rows.keys().all(|(_, path)| path.len() <= MAX_LABEL_BYTES));
    }

    proptest! {
        #[test]
        fn any_page_is_read(
            body: String,
            lines in "(http_requests_total\\{path=\"[a\\\\]?\"\\} [0-9e+-]{1,3}\n){0,5}",
        ) {
            let _read = Page::of(&body, Instant::now());
            let _read = Page::of(&lines, Instant::now());
        }
    }
}
