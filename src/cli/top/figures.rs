//! Figures from counters: rates, shares and quantiles.

use std::time::Duration;

use crate::cli::scrape::page::{Reason, Row};
use crate::cli::scrape::quantiles::{QUANTILES, quantile};

/// One line of the table, or its sum.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Figure {
    pub(super) method: String,
    pub(super) path: String,
    /// Requests per second.
    pub(super) rate: f64,
    /// Since the start.
    pub(super) total: f64,
    /// Share of requests, 0 to 1.
    pub(super) errors: f64,
    /// Seconds, in the order of p50, p95 and p99.
    pub(super) quantiles: [Option<f64>; 3],
    /// There was a request in the window; otherwise errors and quantiles are since the start.
    pub(super) recent: bool,
}

/// Everything that is shown.
#[derive(Default, Debug)]
pub(super) struct Figures {
    pub(super) all: Figure,
    pub(super) rows: Vec<Figure>,
    /// Who and why, in the window, since the start.
    pub(super) reasons: Vec<(Reason, f64, f64)>,
    /// Seconds of the window.
    pub(super) elapsed: f64,
    /// The highest bound that a duration is compared with, in seconds.
    pub(super) highest: Option<f64>,
    pub(super) in_flight: Option<f64>,
    pub(super) up: Option<f64>,
    pub(super) draining: bool,
    pub(super) overflow: f64,
    pub(super) uptime: Option<Duration>,
}

/// The figures of a row that was `before` some seconds ago.
pub(super) fn figure(
    row: &Row,
    before: &Row,
    (elapsed, since_start): (f64, bool),
    bounds: &[f64],
) -> Figure {
    let added = (row.total - before.total).max(0.0);
    let recent = added > 0.0;
    let old = |position: usize| before.buckets.get(position).copied().unwrap_or(0.0);
    let (count, errors, buckets) = if recent && !since_start {
        let buckets = row.buckets.iter().enumerate().map(|(i, now)| now - old(i)).collect();
        (added, row.errors - before.errors, buckets)
    } else {
        (row.total, row.errors, row.buckets.clone())
    };
    Figure {
        rate: if elapsed > 0.0 { added / elapsed } else { 0.0 },
        total: row.total,
        errors: if count > 0.0 { (errors / count).clamp(0.0, 1.0) } else { 0.0 },
        quantiles: QUANTILES.map(|q| Some(quantile(q, &buckets, bounds)?.estimate)),
        recent,
        ..Figure::default()
    }
}
