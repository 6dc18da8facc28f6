//! The metrics of requests under the names of `prometheus_flask_exporter`.

use std::collections::BTreeMap;

use super::{Items, Page, Part};
use crate::metrics::store::Key;
use crate::metrics::text::{label, sample};
use crate::metrics::{self, Family, VERSION};

pub(super) const PARTS: &[Part] = &[
    Part {
        of: metrics::FLASK_DURATION,
        items: Items::Groups,
        write: |page, out, index| {
            let key = page.group(index).next()?.0;
            let path = page.snapshot.route_name(key.route);
            let method = page.sources.methods.name(key.method);
            page.labels = labels(&[("method", method), ("path", path)], key.status);
            page.durations(out, metrics::FLASK_DURATION, index);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_TOTAL,
        items: Items::Once,
        write: |page, out, _| {
            page.totals(out, metrics::FLASK_TOTAL, |_| true);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_EXCEPTIONS,
        items: Items::Once,
        write: |page, out, _| {
            // A 500 that the sidecar made says nothing of the app.
            let is_app_s = |key: Key| key.status == 500 && key.error.is_none();
            page.totals(out, metrics::FLASK_EXCEPTIONS, is_app_s);
            Some(())
        },
    },
    Part {
        of: metrics::FLASK_INFO,
        items: Items::Once,
        write: |_, out, _| {
            let mut labels = String::new();
            label(&mut labels, "version", &format!("redcar-{VERSION}"));
            sample(out, metrics::FLASK_INFO.name, &labels, 1);
            Some(())
        },
    },
];

fn labels(first: &[(&str, &str)], status: u16) -> String {
    let mut out = String::new();
    for (name, value) in first {
        label(&mut out, name, value);
        out.push(',');
    }
    label(&mut out, "status", &status.to_string());
    out
}

impl Page {
    /// Requests by method and status over all paths: as many lines as there are such pairs.
    fn totals(&self, out: &mut String, of: Family, counts: fn(Key) -> bool) {
        let mut totals = BTreeMap::new();
        for (key, parts) in self.snapshot.rows.iter().filter(|(key, _)| counts(*key)) {
            let count: u64 = parts.iter().map(|row| row.requests()).sum();
            *totals.entry((self.sources.methods.name(key.method), key.status)).or_insert(0) +=
                count;
        }
        for ((method, status), count) in totals {
            sample(out, of.name, &labels(&[("method", method)], status), count);
        }
    }
}
