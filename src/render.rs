//! The page of a scrape, made in pieces of about 64 KiB.
//!
//! Deterministic order; HELP and TYPE once per family; nothing but the current piece in memory.

use std::fmt::Write;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::buckets::Buckets;
use crate::exposition::{Format, Millis, Nanos, family, label, sample};
use crate::labels::{ErrorToken, Methods};
use crate::metrics::{self, Cold, Family, WorkerStats};
use crate::series::{Exemplar, HistogramTotals, Key, RouteRow, Row, Snapshot, Store};

mod rest;

/// Bytes after which a piece is handed over.
const PIECE_BYTES: usize = 64 * 1024;

/// Everything a page is made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The hot family.
    pub store: Arc<Store>,
    /// The cold metrics.
    pub cold: Arc<Cold>,
    /// The workers' counters.
    pub workers: Vec<Arc<WorkerStats>>,
    /// The names of methods.
    pub methods: Methods,
}

/// A page under way: an iterator over its pieces.
#[derive(Debug)]
pub struct Page {
    sources: Sources,
    format: Format,
    snapshot: Snapshot,
    /// Row numbers in the order of their labels.
    rows: Vec<usize>,
    /// Route numbers in the order of their names.
    routes: Vec<usize>,
    stage: Stage,
    position: usize,
    labels: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Requests,
    Durations,
    ResponseStarts,
    RequestBytes,
    ResponseBytes,
    Rest,
    Done,
}

impl Page {
    /// Takes stock of what exists now.
    pub fn new(sources: Sources, format: Format) -> Self {
        let snapshot = sources.store.snapshot();
        let mut rows: Vec<usize> = (0..snapshot.rows.len()).collect();
        rows.sort_by_cached_key(|index| {
            snapshot.rows.get(*index).map(|(key, _)| {
                let route = snapshot.route_name(key.route).to_owned();
                (route, sources.methods.name(key.method).to_owned(), key.status, key.error)
            })
        });
        let mut routes: Vec<usize> = (0..snapshot.routes.len()).collect();
        routes.retain(|index| snapshot.routes.get(*index).is_some_and(|r| !r.rows.is_empty()));
        routes.sort_by_key(|index| snapshot.routes.get(*index).map(|route| &*route.name));
        let (stage, labels) = (Stage::Requests, String::new());
        Self { sources, format, snapshot, rows, routes, stage, position: 0, labels }
    }

    /// Goes to `next` after the stage's last item; writes the family's head before its first.
    fn step(
        &mut self,
        out: &mut String,
        of: Family,
        (items, next): (fn(&Self) -> &[usize], Stage),
        write: impl Fn(&mut Self, &mut String, usize) -> Option<()>,
    ) {
        if self.position == 0 {
            family(out, self.format, of.name, of.kind, of.help);
        }
        if let Some(index) = items(self).get(self.position).copied() {
            // An index that is gone would be a line less, never a panic.
            let _written = write(self, out, index);
            self.position += 1;
        } else {
            self.position = 0;
            self.stage = next;
        }
    }

    fn advance(&mut self, out: &mut String) {
        let rows: fn(&Self) -> &[usize] = |page| &page.rows;
        let routes: fn(&Self) -> &[usize] = |page| &page.routes;
        match self.stage {
            Stage::Requests => {
                self.step(out, metrics::REQUESTS, (rows, Stage::Durations), Self::requests);
            }
            Stage::Durations => {
                self.step(out, metrics::DURATION, (rows, Stage::ResponseStarts), Self::durations);
            }
            Stage::ResponseStarts => {
                let of = metrics::RESPONSE_START;
                self.step(out, of, (routes, Stage::RequestBytes), Self::response_starts);
            }
            Stage::RequestBytes => {
                let of = metrics::REQUEST_BYTES;
                self.step(out, of, (routes, Stage::ResponseBytes), |page, out, index| {
                    page.bytes(out, index, of, |row| row.bytes().0)
                });
            }
            Stage::ResponseBytes => {
                let of = metrics::RESPONSE_BYTES;
                self.step(out, of, (routes, Stage::Rest), |page, out, index| {
                    page.bytes(out, index, of, |row| row.bytes().1)
                });
            }
            Stage::Rest => {
                self.rest(out);
                self.stage = Stage::Done;
            }
            Stage::Done => {}
        }
    }

    fn row_labels(&mut self, index: usize) -> Option<&(Key, Vec<Arc<Row>>)> {
        let found = self.snapshot.rows.get(index)?;
        let key = found.0;
        self.labels.clear();
        label(&mut self.labels, "method", self.sources.methods.name(key.method));
        self.labels.push(',');
        label(&mut self.labels, "path", self.snapshot.route_name(key.route));
        self.labels.push(',');
        label(&mut self.labels, "status", &key.status.to_string());
        if let Some(error) = key.error {
            self.labels.push(',');
            label(&mut self.labels, "error", ErrorToken::as_str(error));
        }
        Some(found)
    }

    fn requests(&mut self, out: &mut String, index: usize) -> Option<()> {
        let (_, parts) = self.row_labels(index)?;
        let count = HistogramTotals::of(parts.iter().map(|row| &row.durations)).count();
        sample(out, metrics::REQUESTS.name, &self.labels, count);
        Some(())
    }

    fn durations(&mut self, out: &mut String, index: usize) -> Option<()> {
        let store = Arc::clone(&self.sources.store);
        let with_exemplars = self.format == Format::OpenMetrics && store.limits().exemplars;
        let (_, parts) = self.row_labels(index)?;
        let totals = HistogramTotals::of(parts.iter().map(|row| &row.durations));
        let exemplar = |bucket| {
            let latest = parts.iter().filter_map(|row| row.exemplar(bucket));
            if with_exemplars { latest.max_by_key(|exemplar| exemplar.at) } else { None }
        };
        let exemplars: Vec<_> = (0..totals.buckets.len()).map(exemplar).collect();
        let name = metrics::DURATION.name;
        histogram(out, (name, &self.labels), &store.limits().buckets, &totals, &exemplars);
        Some(())
    }

    fn route_labels(&mut self, index: usize) -> Option<&[Arc<RouteRow>]> {
        let route = self.snapshot.routes.get(index)?;
        self.labels.clear();
        label(&mut self.labels, "path", &route.name);
        Some(&route.rows)
    }

    fn response_starts(&mut self, out: &mut String, index: usize) -> Option<()> {
        let store = Arc::clone(&self.sources.store);
        let totals =
            HistogramTotals::of(self.route_labels(index)?.iter().map(|row| &row.response_start));
        let name = metrics::RESPONSE_START.name;
        histogram(out, (name, &self.labels), &store.limits().buckets, &totals, &[]);
        Some(())
    }

    fn bytes(
        &mut self,
        out: &mut String,
        index: usize,
        of: Family,
        read: fn(&RouteRow) -> u64,
    ) -> Option<()> {
        let sum: u64 = self.route_labels(index)?.iter().map(|row| read(row)).sum();
        sample(out, of.name, &self.labels, sum);
        Some(())
    }
}

impl Iterator for Page {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while out.len() < PIECE_BYTES && self.stage != Stage::Done {
            self.advance(&mut out);
        }
        if out.is_empty() { None } else { Some(out) }
    }
}

/// Writes the lines of one histogram. `exemplars` is empty or has one entry per bucket.
fn histogram(
    out: &mut String,
    (name, labels): (&str, &str),
    bounds: &Buckets,
    totals: &HistogramTotals,
    exemplars: &[Option<Exemplar>],
) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut cumulative = 0;
    for (index, le) in bounds.labels().enumerate() {
        cumulative += totals.buckets.get(index).copied().unwrap_or(0);
        for part in [name, "_bucket{", labels, comma, "le=\"", le, "\"} "] {
            out.push_str(part);
        }
        let mut digits = itoa::Buffer::new();
        out.push_str(digits.format(cumulative));
        if let Some(Some(exemplar)) = exemplars.get(index) {
            push_exemplar(out, exemplar);
        }
        out.push('\n');
    }
    let suffixed = |suffix| format!("{name}{suffix}");
    sample(out, &suffixed("_sum"), labels, Nanos(totals.sum_nanos));
    sample(out, &suffixed("_count"), labels, cumulative);
}

fn push_exemplar(out: &mut String, exemplar: &Exemplar) {
    let Ok(trace_id) = std::str::from_utf8(&exemplar.trace_id) else {
        return;
    };
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    out.push_str(" # {");
    label(out, "trace_id", trace_id);
    // Writing to a String cannot fail.
    let _ = write!(out, "}} {} {}", Nanos(exemplar.nanos), Millis(at));
}
