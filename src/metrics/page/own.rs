//! The metrics of requests under our own names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use super::sheet::{Number, Observed, Sheet};
use super::{Items, Page, Part};
use crate::metrics::store::{
    HistogramRow, HistogramTotals, Key, LASTING_BOUNDS, Lasting, RouteRow,
};
use crate::metrics::{self, DurationLabel, DurationLabels, WorkerStats};

pub(super) const PARTS: &[Part] = &[
    Part { of: metrics::REQUESTS, items: Items::Groups, write: Page::requests },
    Part {
        of: metrics::DURATION,
        items: Items::Durations,
        write: |page, out, index| {
            page.duration_labels(index)?;
            page.durations(out, index);
            Some(())
        },
    },
    Part { of: metrics::TIME_TO_RESPONSE, items: Items::Routes, write: Page::times_to_response },
    Part {
        of: metrics::REQUEST_BYTES,
        items: Items::Routes,
        write: |page, out, index| page.bytes(out, index, |row| row.bytes().0),
    },
    Part {
        of: metrics::RESPONSE_BYTES,
        items: Items::Routes,
        write: |page, out, index| page.bytes(out, index, |row| row.bytes().1),
    },
    Part {
        of: metrics::UPGRADED_DURATION,
        items: Items::Routes,
        write: |page, out, index| page.lasting(out, index, Lasting::Upgrade),
    },
    Part {
        of: metrics::STREAM_DURATION,
        items: Items::Routes,
        write: |page, out, index| page.lasting(out, index, Lasting::Stream),
    },
    Part {
        of: metrics::UPGRADED_ACTIVE,
        items: Items::Once,
        write: |page, out, _| {
            out.sample(&page.labels, page.total_of(|worker| &worker.upgraded_active), None);
            Some(())
        },
    },
    Part {
        of: metrics::STREAMS_ACTIVE,
        items: Items::Once,
        write: |page, out, _| {
            out.sample(&page.labels, page.total_of(|worker| &worker.streams_active), None);
            Some(())
        },
    },
    Part {
        of: metrics::IN_FLIGHT,
        items: Items::Once,
        write: |page, out, _| {
            out.sample(&page.labels, page.in_flight(), None);
            Some(())
        },
    },
];

impl Page {
    fn duration_labels(&mut self, index: usize) -> Option<()> {
        let key = self.group(Items::Durations, index).next()?.0;
        self.row_labels(key, self.sources.shown.duration_labels);
        Some(())
    }

    fn row_labels(&mut self, key: Key, split_by: DurationLabels) {
        self.labels.clear();
        for label in DurationLabel::ALL.into_iter().filter(|label| split_by.has(*label)) {
            let name = label.as_str();
            match label {
                DurationLabel::Method => {
                    self.labels.push(name, self.sources.methods.name(key.method));
                }
                DurationLabel::Path => {
                    self.labels.push(name, self.view.snapshot.route_name(key.route));
                }
                DurationLabel::Status => self.labels.push(name, &key.status.to_string()),
                DurationLabel::StatusClass => {
                    self.labels.push(name, &format!("{}xx", key.status / 100));
                }
                DurationLabel::Error => {
                    if let Some(error) = key.error {
                        self.labels.push(name, error.as_str());
                    }
                }
                DurationLabel::GrpcStatus => {
                    if let Some(status) = key.grpc {
                        self.labels.push(name, status.as_str());
                    }
                }
            }
        }
    }

    fn requests(&mut self, out: &mut Sheet, index: usize) -> Option<()> {
        let key = self.group(Items::Groups, index).next()?.0;
        self.row_labels(key, DurationLabels::default());
        let requests = Number::Whole(self.requests_of(index));
        let is_error = key.status >= 500 || key.error.is_some();
        let traces = if is_error { self.traces(Items::Groups, index) } else { Vec::new() };
        let newest = traces.into_iter().map(|traces| traces.newest).max_by_key(|trace| trace.at);
        out.counter(&self.labels, requests, self.born(Items::Groups, index), newest);
        Some(())
    }

    /// Puts the label of a route in place and lends its rows.
    fn route_rows(&mut self, index: usize) -> Option<impl Iterator<Item = &RouteRow>> {
        let route = self.view.snapshot.routes.get(*self.view.routes.get(index)?)?;
        self.labels.clear();
        self.labels.push("path", &route.name);
        Some(route.rows.iter().map(|row| &**row))
    }

    fn times_to_response(&mut self, out: &mut Sheet, index: usize) -> Option<()> {
        let rows: Vec<_> = self.route_rows(index)?.map(|row| &row.time_to_response).collect();
        let (totals, born) = (HistogramTotals::of(rows.iter().copied()), born(&rows));
        let bounds = &self.view.site.store.limits().buckets;
        let of = Observed { bounds, totals: &totals, born, traces: &[] };
        out.histogram(&self.labels, &of);
        Some(())
    }

    /// What stayed open for long on a path, if anything did.
    fn lasting(&mut self, out: &mut Sheet, index: usize, kind: Lasting) -> Option<()> {
        let rows: Vec<_> = self.route_rows(index)?.filter_map(|row| row.lasting(kind)).collect();
        let (totals, born) = (HistogramTotals::of(rows.iter().copied()), born(&rows));
        if totals.count() > 0 {
            let of = Observed { bounds: &LASTING_BOUNDS, totals: &totals, born, traces: &[] };
            out.histogram(&self.labels, &of);
        }
        Some(())
    }

    fn total_of(&self, read: fn(&WorkerStats) -> &AtomicU64) -> Number {
        Number::Whole(self.view.site.workers.iter().map(|worker| read(worker).load(Relaxed)).sum())
    }

    fn bytes(&mut self, out: &mut Sheet, index: usize, read: fn(&RouteRow) -> u64) -> Option<()> {
        let rows = self.route_rows(index)?;
        let (sum, born) = rows.fold((0, None), |(sum, born), row| {
            (sum + read(row), born.or(Some(row.time_to_response.born())))
        });
        out.sample(&self.labels, Number::Whole(sum), born);
        Some(())
    }
}

/// When the first of these began to count.
fn born(rows: &[&HistogramRow]) -> Option<SystemTime> {
    rows.first().map(|row| row.born())
}
