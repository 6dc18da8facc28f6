//! Native buckets: their bounds follow from a factor, so that they need no names.
//!
//! # Source
//!
//! Prometheus' native histograms: bucket `i` of schema `s` holds what is above `b^(i-1)` and at
//! most `b^i`, with `b = 2^(2^-s)`; what is at most the zero threshold is in the zero bucket.

/// Each bucket reaches 9 % further than the one before: 8 for each power of two.
pub(crate) const SCHEMA: i32 = 3;

const PER_OCTAVE: u16 = 1 << SCHEMA;

/// 2^(n/8), n from 0 to 7.
const STEPS: [f64; PER_OCTAVE as usize] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
];

/// Where the buckets of a histogram begin and end. Longer durations count in the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Native {
    /// The zero threshold as a power of two of seconds. Whole, so that it stays a bound when a
    /// reader halves the resolution.
    low: i32,
    octaves: u16,
}

impl Native {
    /// Requests: 61 µs to 4.5 h.
    pub const REQUEST: Self = Self { low: -14, octaves: 28 };
    /// Times inside the sidecar, and of connecting: 1 µs to 64 s.
    pub const SHORT: Self = Self { low: -20, octaves: 26 };
    /// What stays open for long: 62 ms to 12 days.
    pub const LASTING: Self = Self { low: -4, octaves: 24 };

    /// The zero threshold, in seconds.
    pub fn zero_threshold(self) -> f64 {
        2_f64.powi(self.low)
    }

    /// The number that Prometheus gives to a bucket. Buckets are counted from 0, which is the zero
    /// bucket and has none.
    pub fn index(self, bucket: u16) -> Option<i32> {
        (bucket > 0).then(|| self.low * i32::from(PER_OCTAVE) + i32::from(bucket))
    }

    /// The upper bounds of all buckets but the last, the zero bucket's first. A duration of whole
    /// nanoseconds is at most such a bound if it is at most the true one.
    pub(super) fn bounds_nanos(self) -> impl Iterator<Item = u64> {
        let Self { low, octaves } = self;
        (0..octaves * PER_OCTAVE).map(move |bucket| {
            let (octave, step) = (bucket / PER_OCTAVE, usize::from(bucket % PER_OCTAVE));
            let step = STEPS.get(step).copied().unwrap_or(1.0);
            to_whole(2_f64.powi(low + i32::from(octave)) * step * 1e9)
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounds are positive and at most some days"
)]
fn to_whole(nanos: f64) -> u64 {
    nanos.floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_the_factor() {
        for native in [Native::REQUEST, Native::SHORT, Native::LASTING] {
            let bounds: Vec<_> = native.bounds_nanos().collect();
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            for (bucket, nanos) in (0..).zip(bounds) {
                let power = f64::from(native.low) + f64::from(bucket) / 8.0;
                let exact = power.exp2() * 1e9;
                #[expect(clippy::cast_precision_loss, reason = "a test of some days at most")]
                let difference = exact - nanos as f64;
                assert!((-0.01..1.01).contains(&difference), "{bucket}: {difference}");
            }
        }
        assert_eq!(Native::REQUEST.index(0), None);
        // Bucket 8 of schema 3 is what is above 2^(7/8) s and at most 2 s.
        let of_two_seconds =
            Native::REQUEST.bounds_nanos().position(|nanos| nanos == 2_000_000_000);
        let bucket = u16::try_from(of_two_seconds.expect("a whole power")).expect("small");
        assert_eq!(Native::REQUEST.index(bucket), Some(8));
    }
}
