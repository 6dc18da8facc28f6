//! Histogram bounds: parsing, and where a duration is counted.
//!
//! Bounds are kept in whole nanoseconds, so that recording compares integers. No I/O, no clock.

use std::str::FromStr;

use crate::metrics::text::Float;

use self::cells::Cells;
pub use self::native::Native;
pub(crate) use self::native::SCHEMA;

mod cells;
mod native;

/// Most bounds a histogram may have; each costs a line per series in every scrape.
pub(crate) const MAX_BOUNDS: usize = 64;

const NANOS_PER_SECOND: f64 = 1e9;

/// The form in which scrapers that take protobuf get histograms. Text always has bounds of our
/// choice, since it knows no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Histograms {
    /// Buckets with bounds of our choice.
    #[default]
    Classic,
    /// Native buckets.
    Native,
    /// Both.
    Both,
}

/// Upper bounds of a histogram, ascending; `+Inf` is implied. And native buckets beside them, if
/// they are wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct Buckets {
    bounds_nanos: Box<[u64]>,
    labels: Box<[Box<str>]>,
    native: Option<Native>,
    cells: Cells,
}

/// Why a list of bounds is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BucketsError {
    /// The list is empty.
    #[error("the list of bucket bounds is empty; give seconds, for example `0.1,0.5,1`")]
    Empty,
    /// Not a number, or not a usable one.
    #[error("`{0}` is not a positive number of seconds; give for example `0.1,0.5,1`")]
    NotANumber(String),
    /// Not larger than the bound before it.
    #[error("bucket bounds must ascend: `{1}` stands after `{0}`")]
    Unsorted(String, String),
    /// More than [`MAX_BOUNDS`].
    #[error("at most {MAX_BOUNDS} bucket bounds are supported, this list has {0}")]
    TooMany(usize),
}

impl Buckets {
    /// Default bounds of request durations, in seconds.
    ///
    /// A superset of the Python client's and of OpenTelemetry's HTTP bounds, so that old and new
    /// series aggregate; reaches down to 1 ms and past Gunicorn's 30 s worker timeout.
    pub const REQUEST: [f64; 18] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
        10.0, 30.0, 60.0,
    ];

    /// Bounds of request durations in the profiles `flask` and `otel`, in seconds.
    ///
    /// # Source
    ///
    /// `prometheus_client`'s `Histogram.DEFAULT_BUCKETS` and `OpenTelemetry`'s advice for
    /// `http.server.request.duration` are the same.
    pub const LIBRARIES: [f64; 14] =
        [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

    /// Bounds of the time spent inside the sidecar, in seconds: microseconds, not milliseconds.
    pub const LASTING: [f64; 8] = [1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0];
    /// Bounds of the time inside the sidecar.
    pub const OVERHEAD: [f64; 10] = [
        0.000_010, 0.000_025, 0.000_050, 0.000_100, 0.000_250, 0.000_500, 0.001, 0.0025, 0.005,
        0.010,
    ];

    /// Bounds of connecting to the upstream, in seconds: loopback to the 3 s time limit.
    pub const CONNECT: [f64; 10] =
        [0.000_050, 0.000_100, 0.000_250, 0.000_500, 0.001, 0.005, 0.025, 0.1, 1.0, 3.0];

    /// Takes bounds in seconds.
    ///
    /// # Errors
    ///
    /// [`BucketsError`] unless there is at least one and each is positive and above the last.
    pub fn new(seconds: &[f64]) -> Result<Self, BucketsError> {
        if seconds.is_empty() {
            return Err(BucketsError::Empty);
        }
        if seconds.len() > MAX_BOUNDS {
            return Err(BucketsError::TooMany(seconds.len()));
        }
        let mut bounds_nanos: Vec<u64> = Vec::with_capacity(seconds.len());
        let mut previous = 0.0;
        for &bound in seconds {
            let text = || Float(bound).to_string();
            // A year is beyond any request, and keeps the conversion exact.
            if !(bound > 0.0 && bound <= 31_536_000.0) || bound * NANOS_PER_SECOND < 1.0 {
                return Err(BucketsError::NotANumber(text()));
            }
            let nanos = to_nanos(bound);
            if bounds_nanos.last().is_some_and(|last| nanos <= *last) {
                return Err(BucketsError::Unsorted(Float(previous).to_string(), text()));
            }
            bounds_nanos.push(nanos);
            previous = bound;
        }
        let labels = seconds.iter().map(|s| Float(*s).to_string().into()).collect();
        let cells = Cells::new(&bounds_nanos, None);
        Ok(Self { bounds_nanos: bounds_nanos.into(), labels, native: None, cells })
    }

    /// The same with native buckets beside them.
    #[must_use]
    pub fn with_native(self, native: Native) -> Self {
        let cells = Cells::new(&self.bounds_nanos, Some(native));
        Self { native: Some(native), cells, ..self }
    }

    /// Constant bounds, with native buckets beside them.
    ///
    /// # Panics
    ///
    /// If they are no bounds; a test holds those below.
    pub(super) fn constant(seconds: &[f64], native: Native) -> Self {
        Self::new(seconds).expect("constant bounds ascend").with_native(native)
    }

    /// How many buckets there are, `+Inf` included.
    pub fn len(&self) -> usize {
        self.bounds_nanos.len() + 1
    }

    /// Always false: there is the `+Inf` bucket.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bucket that a duration belongs to: the first whose bound is not below it.
    ///
    /// # Shape
    ///
    /// Any `nanos` → `0..self.len()`. A binary search over at most [`MAX_BOUNDS`].
    pub fn index(&self, nanos: u64) -> usize {
        self.bounds_nanos.partition_point(|bound| *bound < nanos)
    }

    /// How many cells durations are counted in.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The cell of a duration.
    ///
    /// # Shape
    ///
    /// Any `nanos` → `0..self.cells()`. A look into a table, and a search among the bounds nearby.
    pub fn cell(&self, nanos: u64) -> usize {
        self.cells.find(nanos)
    }

    /// The native buckets, if there are any.
    pub fn native(&self) -> Option<Native> {
        self.native
    }

    /// Adds up cells to the buckets of our choice, `+Inf` last.
    pub fn in_buckets(&self, cells: &[u64]) -> Vec<u64> {
        let mut buckets = vec![0; self.len()];
        for (home, count) in self.cells.homes().zip(cells) {
            if let Some(bucket) = buckets.get_mut(usize::from(home.classic)) {
                *bucket += count;
            }
        }
        buckets
    }

    /// Adds up cells to native buckets: those that are not empty, in ascending order. Bucket 0 is
    /// the zero bucket.
    pub fn in_native<'a>(&'a self, cells: &'a [u64]) -> impl Iterator<Item = (u16, u64)> + 'a {
        let mut counts = self.cells.homes().zip(cells).filter(|(_, count)| **count > 0).peekable();
        std::iter::from_fn(move || {
            let (home, count) = counts.next()?;
            let mut sum = *count;
            while let Some((_, count)) = counts.next_if(|(next, _)| next.native == home.native) {
                sum += count;
            }
            Some((home.native, sum))
        })
    }

    /// The bounds in seconds, the last one infinite.
    #[expect(clippy::cast_precision_loss, reason = "a year of nanoseconds is below 2^55")]
    pub fn upper_bounds(&self) -> impl Iterator<Item = f64> {
        let seconds = self.bounds_nanos.iter().map(|nanos| *nanos as f64 / NANOS_PER_SECOND);
        seconds.chain([f64::INFINITY])
    }

    /// The `le` values, the last one `+Inf`.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| &**label).chain(["+Inf"])
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has checked that the bound is positive and at most a year"
)]
fn to_nanos(seconds: f64) -> u64 {
    (seconds * NANOS_PER_SECOND).round() as u64
}

impl FromStr for Buckets {
    type Err = BucketsError;

    fn from_str(text: &str) -> Result<Self, BucketsError> {
        if text.trim().is_empty() {
            return Err(BucketsError::Empty);
        }
        let parse = |item: &str| {
            item.trim().parse().map_err(|_| BucketsError::NotANumber(item.trim().to_owned()))
        };
        let seconds: Vec<f64> = text.split(',').map(parse).collect::<Result<_, _>>()?;
        Self::new(&seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let buckets: Buckets = "0.1, 1,2.5".parse().expect("a list");
        assert_eq!(buckets.labels().collect::<Vec<_>>(), ["0.1", "1.0", "2.5", "+Inf"]);
        for (nanos, index) in
            [(0, 0), (100_000_000, 0), (100_000_001, 1), (1_000_000_000, 1), (u64::MAX, 3)]
        {
            assert_eq!(buckets.index(nanos), index, "{nanos}");
        }
    }

    #[test]
    fn a_list_that_is_no_list_of_bounds_says_why() {
        for (text, word) in [
            ("", "empty"),
            (" ", "empty"),
            ("1,0.5", "ascend"),
            ("1,1", "ascend"),
            ("1,x", "`x`"),
            ("0", "positive"),
            ("-1", "positive"),
            ("NaN", "positive"),
            ("inf", "positive"),
            ("1,,2", "``"),
        ] {
            let error = text.parse::<Buckets>().expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let many = vec!["1"; 65].join(",");
        assert!(many.parse::<Buckets>().expect_err("too many").to_string().contains("65"));
    }

    #[test]
    fn the_defaults_are_lists_of_bounds() {
        for bounds in [
            &Buckets::REQUEST[..],
            &Buckets::LIBRARIES,
            &Buckets::OVERHEAD,
            &Buckets::CONNECT,
            &Buckets::LASTING,
        ] {
            assert!(Buckets::new(bounds).is_ok());
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in ".{0,40}") {
            if let Ok(buckets) = text.parse::<Buckets>() {
                prop_assert!(buckets.index(u64::MAX) < buckets.len());
            }
        }

        #[test]
        fn both_forms_are_exact(
            durations in proptest::collection::vec(
                prop_oneof![0_u64..1_000_000, 0_u64..100_000_000_000, any::<u64>()], 0..60),
            custom in proptest::collection::btree_set(1_u32..1_000_000_000, 1..20),
        ) {
            let custom: Vec<_> = custom.into_iter().map(|micros| f64::from(micros) / 1e6).collect();
            let buckets = Buckets::new(&custom).expect("bounds").with_native(Native::REQUEST);
            let mut cells = vec![0; buckets.cells()];
            let mut classic = vec![0; buckets.len()];
            for nanos in &durations {
                cells[buckets.cell(*nanos)] += 1;
                classic[buckets.index(*nanos)] += 1;
            }
            prop_assert_eq!(buckets.in_buckets(&cells), classic);
            let mut naive = std::collections::BTreeMap::new();
            for nanos in &durations {
                let bound = Native::REQUEST.bounds_nanos().position(|bound| *nanos <= bound);
                let bucket = bound.unwrap_or(Native::REQUEST.bounds_nanos().count());
                *naive.entry(u16::try_from(bucket).expect("few")).or_insert(0) += 1;
            }
            let native: Vec<_> = buckets.in_native(&cells).collect();
            prop_assert_eq!(native, naive.into_iter().collect::<Vec<_>>());
        }
    }
}
