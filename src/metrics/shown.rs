//! What of the numbers is shown, and in which form.

use super::buckets::Histograms;

/// What a page has of what was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// In which form scrapers that take protobuf get histograms.
    pub histograms: Histograms,
    /// Whether `OpenMetrics` has a line for the birth of each counter and histogram.
    pub created_lines: bool,
}
