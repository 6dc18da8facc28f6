//! Figures from counters: rates, shares and quantiles.

use std::time::Duration;

use super::page::{Reason, Row};

/// The quantiles that are shown.
const QUANTILES: [f64; 3] = [0.50, 0.95, 0.99];

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
        quantiles: QUANTILES.map(|q| quantile(q, &buckets, bounds)),
        recent,
        ..Figure::default()
    }
}

/// Interpolates as Prometheus' `histogram_quantile` does: linear within the bucket, the last
/// finite bound for what is above it. `None` without observations.
///
/// # Shape
///
/// `buckets`: cumulative, in the order of `bounds`, which ascend. Never panics.
fn quantile(q: f64, buckets: &[f64], bounds: &[f64]) -> Option<f64> {
    let count = buckets.last().copied().filter(|count| *count > 0.0)?;
    let rank = q * count;
    let index = buckets.iter().position(|value| *value >= rank)?;
    let previous = index.checked_sub(1);
    let lower = previous.and_then(|index| bounds.get(index)).copied();
    let upper = *bounds.get(index)?;
    if upper.is_infinite() {
        return lower;
    }
    let below = previous.and_then(|index| buckets.get(index)).copied().unwrap_or(0.0);
    let inside = buckets.get(index)? - below;
    let from = lower.unwrap_or(0.0);
    Some(if inside > 0.0 { from + (upper - from) * ((rank - below) / inside) } else { from })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_interpolated_as_prometheus_does() {
        let bounds = [0.1, 0.5, 1.0, f64::INFINITY];
        // Values as histogram_quantile of Prometheus 2.42 gives them.
        for (q, buckets, expected) in [
            (0.5, [10.0, 10.0, 10.0, 10.0], Some(0.05)),
            (0.95, [0.0, 10.0, 20.0, 20.0], Some(0.95)),
            (0.99, [0.0, 0.0, 0.0, 5.0], Some(1.0)),
            (0.5, [4.0, 8.0, 8.0, 8.0], Some(0.1)),
            (0.5, [0.0; 4], None),
        ] {
            let found = quantile(q, &buckets, &bounds);
            let near = match (found, expected) {
                (Some(found), Some(expected)) => f64::abs(found - expected) < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(near, "{q} {buckets:?}: {found:?} is not {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn any_buckets_have_a_quantile_within_the_bounds_or_none(
            q in 0.0..1.0_f64,
            buckets in prop::collection::vec(-5.0..1e9_f64, 0..6),
            bounds in 0_usize..6,
        ) {
            let bounds = [0.1, 0.2, 0.4, 0.8, f64::INFINITY, 2.0].get(..bounds).unwrap();
            let mut sorted = buckets.clone();
            sorted.sort_by(f64::total_cmp);
            let found = quantile(q, &sorted, bounds);
            prop_assert!(found.is_none_or(|found| found <= 2.0));
            let _unsorted = quantile(q, &buckets, bounds);
        }
    }
}
