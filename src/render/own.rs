//! The metrics of requests under our own names.

use super::{Items, Page, Part, histogram};
use crate::exposition::{label, sample};
use crate::labels::ErrorToken;
use crate::metrics::{self, Family};
use crate::series::{HistogramTotals, RouteRow};

pub(super) const PARTS: &[Part] = &[
    Part { of: metrics::REQUESTS, items: Items::Groups, write: Page::requests },
    Part {
        of: metrics::DURATION,
        items: Items::Groups,
        write: |page, out, index| {
            page.row_labels(index)?;
            page.durations(out, metrics::DURATION, index);
            Some(())
        },
    },
    Part { of: metrics::RESPONSE_START, items: Items::Routes, write: Page::response_starts },
    Part {
        of: metrics::REQUEST_BYTES,
        items: Items::Routes,
        write: |page, out, index| {
            page.bytes(out, index, metrics::REQUEST_BYTES, |row| row.bytes().0)
        },
    },
    Part {
        of: metrics::RESPONSE_BYTES,
        items: Items::Routes,
        write: |page, out, index| {
            page.bytes(out, index, metrics::RESPONSE_BYTES, |row| row.bytes().1)
        },
    },
    Part {
        of: metrics::IN_FLIGHT,
        items: Items::Once,
        write: |page, out, _| {
            sample(out, metrics::IN_FLIGHT.name, "", page.in_flight());
            Some(())
        },
    },
];

impl Page {
    fn row_labels(&mut self, index: usize) -> Option<()> {
        let key = self.group(index).next()?.0;
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
        Some(())
    }

    fn requests(&mut self, out: &mut String, index: usize) -> Option<()> {
        self.row_labels(index)?;
        sample(out, metrics::REQUESTS.name, &self.labels, self.durations_of(index).count());
        Some(())
    }

    /// Puts the label of a route in place and lends its rows.
    fn route_rows(&mut self, index: usize) -> Option<impl Iterator<Item = &RouteRow>> {
        let route = self.snapshot.routes.get(*self.routes.get(index)?)?;
        self.labels.clear();
        label(&mut self.labels, "path", &route.name);
        Some(route.rows.iter().map(|row| &**row))
    }

    fn response_starts(&mut self, out: &mut String, index: usize) -> Option<()> {
        let rows = self.route_rows(index)?;
        let totals = HistogramTotals::of(rows.map(|row| &row.response_start));
        let name = metrics::RESPONSE_START.name;
        let bounds = &self.sources.store.limits().buckets;
        histogram(out, (name, &self.labels), bounds, &totals, &[]);
        Some(())
    }

    fn bytes(
        &mut self,
        out: &mut String,
        index: usize,
        of: Family,
        read: fn(&RouteRow) -> u64,
    ) -> Option<()> {
        let sum: u64 = self.route_rows(index)?.map(read).sum();
        sample(out, of.name, &self.labels, sum);
        Some(())
    }
}
