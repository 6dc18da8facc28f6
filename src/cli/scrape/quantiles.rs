//! Quantiles of durations that were counted in buckets.

/// The quantiles that are shown.
pub(crate) const QUANTILES: [f64; 3] = [0.50, 0.95, 0.99];

/// What they are called.
pub(crate) const QUANTILE_NAMES: [&str; 3] = ["p50", "p95", "p99"];

/// Where a quantile is, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Quantile {
    /// As Prometheus' `histogram_quantile` has it: linear within the bucket, the last finite bound
    /// for what is above it.
    pub(crate) estimate: f64,
    /// The bounds of the bucket it is in: all that is certain. The upper one may be infinite.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Finds a quantile. `None` without observations.
///
/// # Shape
///
/// `buckets`: cumulative, in the order of `bounds`, which ascend. Never panics.
pub(crate) fn quantile(q: f64, buckets: &[f64], bounds: &[f64]) -> Option<Quantile> {
    let count = buckets.last().copied().filter(|count| *count > 0.0)?;
    let rank = q * count;
    let index = buckets.iter().position(|value| *value >= rank)?;
    let previous = index.checked_sub(1);
    let lower = previous.and_then(|index| bounds.get(index)).copied();
    let low = lower.unwrap_or(0.0);
    let high = *bounds.get(index)?;
    if high.is_infinite() {
        return lower.map(|low| Quantile { estimate: low, low, high });
    }
    let below = previous.and_then(|index| buckets.get(index)).copied().unwrap_or(0.0);
    let inside = buckets.get(index)? - below;
    let share = if inside > 0.0 { (rank - below) / inside } else { 0.0 };
    Some(Quantile { estimate: low + (high - low) * share, low, high })
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
            let found = quantile(q, &buckets, &bounds).map(|found| found.estimate);
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
            prop_assert!(found.is_none_or(|found| found.estimate <= 2.0));
            let _unsorted = quantile(q, &buckets, bounds);
        }

        /// The oracle is the sorted list of what was observed.
        #[test]
        fn the_true_quantile_is_within_its_bounds(
            mut observed in prop::collection::vec(0.001..5.0_f64, 1..200),
            which in 0_usize..3,
        ) {
            let bounds = [0.01, 0.1, 0.5, 1.0, 2.5, f64::INFINITY];
            let below = |bound: f64| observed.iter().filter(|value| **value <= bound).count();
            let count = |n: usize| f64::from(u32::try_from(n).unwrap());
            let buckets: Vec<_> = bounds.iter().map(|bound| count(below(*bound))).collect();
            observed.sort_by(f64::total_cmp);
            let q = QUANTILES[which];
            let rank = (1..=observed.len()).find(|rank| count(*rank) >= q * count(observed.len()));
            let truth = observed[rank.unwrap() - 1];
            let found = quantile(q, &buckets, &bounds).unwrap();
            prop_assert!(found.low < truth && truth <= found.high, "{truth}: {found:?}");
            prop_assert!(found.low <= found.estimate && found.estimate <= found.high);
        }
    }
}
