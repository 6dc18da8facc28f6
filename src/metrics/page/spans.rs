//! Native buckets as protobuf has them: runs of buckets, and counts as differences.

use crate::metrics::proto::{BucketSpan, Histogram};

/// Buckets without a count that are written as such, because a run more would take more bytes.
const GAP: i32 = 2;

/// Writes counts of buckets, given in ascending order without those that are 0.
pub(super) fn write(counts: impl Iterator<Item = (i32, u64)>, message: &mut Histogram) {
    let (spans, deltas) = (&mut message.positive_span, &mut message.positive_delta);
    spans.clear();
    deltas.clear();
    let (mut next, mut previous) = (0, 0_i64);
    for (index, count) in counts {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= GAP => {
                for _ in 0..gap {
                    deltas.push(-previous);
                    previous = 0;
                    span.length += 1;
                }
                span.length += 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - previous);
        (next, previous) = (index + 1, count);
    }
}

#[cfg(test)]
pub(super) fn read(message: &Histogram) -> Vec<(i32, u64)> {
    let mut found = Vec::new();
    let (mut index, mut count) = (0, 0_i64);
    let mut deltas = message.positive_delta.iter();
    for span in &message.positive_span {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().expect("a count for each bucket");
            found.push((index, u64::try_from(count).expect("no count below 0")));
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None);
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            counts in proptest::collection::btree_map(-200_i32..200, 1_u64..1 << 40, 0..40),
        ) {
            let mut message = Histogram::default();
            write(counts.clone().into_iter(), &mut message);
            let found: BTreeMap<_, _> =
                read(&message).into_iter().filter(|(_, count)| *count > 0).collect();
            prop_assert_eq!(found, counts);
            // A run begins where more buckets than GAP are empty, and only there.
            prop_assert!(message.positive_span.iter().skip(1).all(|span| span.offset > GAP));
        }
    }
}
