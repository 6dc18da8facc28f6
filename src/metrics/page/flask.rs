//! The metrics of requests under the names of `prometheus_flask_exporter`.

use std::collections::BTreeMap;

use super::sheet::{Number, Sheet};
use super::{Items, Page, Part, born};
use crate::metrics::store::Key;
use crate::metrics::{self, VERSION};

pub(super) const PARTS: &[Part] = &[
    Part {
        of: metrics::FLASK_DURATION,
        items: Items::Groups,
        write: |page, out, index| {
            let key = page.group(Items::Groups, index).next()?.0;
            page.labels.clear();
            page.labels.push("method", page.sources.methods.name(key.method));
            page.labels.push("path", page.view.snapshot.route_name(key.route));
            page.labels.push("status", &key.status.to_string());
            page.durations(out, index);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_TOTAL,
        items: Items::Once,
        write: |page, out, _| {
            page.totals(out, |_| true);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_EXCEPTIONS,
        items: Items::Once,
        write: |page, out, _| {
            // A 500 that the sidecar made says nothing of the app.
            let is_app_s = |key: Key| key.status == 500 && key.error.is_none();
            page.totals(out, is_app_s);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_INFO,
        items: Items::Once,
        write: |page, out, _| {
            page.labels.clear();
            page.labels.push("version", &format!("redcar-{VERSION}"));
            out.sample(&page.labels, Number::Whole(1), None);
            Some(())
        },
    },
];

impl Page {
    /// Requests by method and status over all paths: as many lines as there are such pairs.
    fn totals(&mut self, out: &mut Sheet, counts: fn(Key) -> bool) {
        let mut totals = BTreeMap::new();
        for (key, parts) in self.view.snapshot.rows.iter().filter(|(key, _)| counts(*key)) {
            let method = self.sources.methods.name(key.method);
            let (count, oldest) = totals.entry((method, key.status)).or_insert((0, None));
            *count += parts.iter().map(|row| row.requests()).sum::<u64>();
            *oldest = born(std::iter::once(parts)).into_iter().chain(*oldest).min();
        }
        for ((method, status), (count, born)) in totals {
            self.labels.clear();
            self.labels.push("method", method);
            self.labels.push("status", &status.to_string());
            out.sample(&self.labels, Number::Whole(count), born);
        }
    }
}
