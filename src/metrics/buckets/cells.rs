//! Where a duration is counted: cells so fine that both forms of a histogram are sums of them.
//!
//! The bounds of the buckets of our choice and, where they are wanted, those of native buckets cut
//! the line of durations into cells. One increment of one cell counts for both forms exactly.

use super::native::Native;

/// Bins per power of two: 4 bits of a duration behind its first.
const BINS: usize = 16;

/// Bins of all durations.
const ALL_BINS: usize = (64 - 3) * BINS;

/// The bin of a duration: found by its leading bits alone.
fn bin(nanos: u64) -> usize {
    let exponent = 63 - (nanos | 1).leading_zeros() as usize;
    match exponent.checked_sub(4) {
        Some(shift) => (shift + 1) * BINS + ((nanos >> shift) & 15) as usize,
        None => (nanos & 15) as usize,
    }
}

/// The shortest duration of a bin.
fn lowest(bin: usize) -> u64 {
    let rest = (bin % BINS) as u64;
    match (bin / BINS).checked_sub(1) {
        Some(shift) => (16 + rest) << shift,
        None => rest,
    }
}

/// Which buckets a cell belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Home {
    /// The bucket of our choice, from 0.
    pub(super) classic: u16,
    /// The native bucket: 0 is the zero bucket.
    pub(super) native: u16,
}

/// The cells of a histogram.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Cells {
    /// Upper bounds, ascending, in nanoseconds. The last cell has none.
    bounds_nanos: Box<[u64]>,
    /// How many bounds lie below each bin; one entry more for the end.
    starts: Box<[u16]>,
    homes: Box<[Home]>,
}

impl Cells {
    /// Cuts at these bounds, which ascend.
    pub(super) fn new(classic_nanos: &[u64], native: Option<Native>) -> Self {
        let native_nanos: Vec<u64> = native.into_iter().flat_map(Native::bounds_nanos).collect();
        let mut bounds_nanos = [classic_nanos, &native_nanos].concat();
        bounds_nanos.sort_unstable();
        bounds_nanos.dedup();
        let below = |bounds: &[u64], nanos: u64| {
            // At most some hundreds.
            u16::try_from(bounds.partition_point(|bound| *bound < nanos)).unwrap_or(u16::MAX)
        };
        let home = |nanos: u64| Home {
            classic: below(classic_nanos, nanos),
            native: below(&native_nanos, nanos),
        };
        let homes = bounds_nanos.iter().copied().chain([u64::MAX]).map(home).collect();
        let starts = (0..ALL_BINS).map(|bin| below(&bounds_nanos, lowest(bin)));
        let starts = starts.chain([below(&bounds_nanos, u64::MAX)]).collect();
        Self { bounds_nanos: bounds_nanos.into(), starts, homes }
    }

    pub(super) fn len(&self) -> usize {
        self.homes.len()
    }

    /// The cell of a duration.
    pub(super) fn find(&self, nanos: u64) -> usize {
        let bin = bin(nanos);
        let (Some(from), Some(to)) = (self.starts.get(bin), self.starts.get(bin + 1)) else {
            return 0;
        };
        let (from, to) = (usize::from(*from), usize::from(*to));
        let near = self.bounds_nanos.get(from..to).unwrap_or_default();
        from + near.partition_point(|bound| *bound < nanos)
    }

    /// The buckets of each cell, in order.
    pub(super) fn homes(&self) -> impl Iterator<Item = Home> {
        self.homes.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bins_follow_one_another_without_a_gap() {
        for bin_number in 0..ALL_BINS {
            let first = lowest(bin_number);
            assert_eq!(bin(first), bin_number);
            assert!(first == 0 || bin(first - 1) == bin_number - 1);
        }
        assert_eq!(bin(u64::MAX), ALL_BINS - 1);
    }

    proptest! {
        #[test]
        fn a_duration_is_counted_where_a_look_at_all_bounds_would_count_it(
            mut classic in proptest::collection::vec(1_u64..100_000_000_000, 1..64),
            nanos in prop_oneof![any::<u64>(), 0_u64..200_000_000_000, 0_u64..100_000],
            with_native: bool,
        ) {
            classic.sort_unstable();
            classic.dedup();
            let native = with_native.then_some(Native::REQUEST);
            let cells = Cells::new(&classic, native);
            for nanos in classic.iter().flat_map(|bound| [*bound, bound + 1]).chain([nanos]) {
                let home = cells.homes().nth(cells.find(nanos)).expect("a cell");
                let naive = classic.iter().filter(|bound| **bound < nanos).count();
                prop_assert_eq!(usize::from(home.classic), naive);
                let bounds = native.into_iter().flat_map(Native::bounds_nanos);
                let naive = bounds.filter(|bound| *bound < nanos).count();
                prop_assert_eq!(usize::from(home.native), naive);
            }
        }
    }
}
