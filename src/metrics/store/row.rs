//! The rows themselves: arrays of counters with one writer each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use crate::metrics::buckets::{Buckets, Native};

/// Adds to a counter that only the calling thread writes: a load and a store, no bus lock.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Cells that are allocated together, with the first duration in one of them. A path's durations
/// lie close to one another: with native buckets two or three blocks of sixteen are used.
const BLOCK: usize = 16;

type Block = [AtomicU64; BLOCK];

/// A histogram of one writer: counts in the cells of its bounds, and the sum in nanoseconds.
#[derive(Debug)]
pub struct HistogramRow {
    blocks: Box<[OnceLock<Box<Block>>]>,
    sum_nanos: AtomicU64,
    born: SystemTime,
}

impl HistogramRow {
    /// An empty histogram with these bounds.
    pub fn new(bounds: &Buckets) -> Self {
        let blocks = (0..bounds.cells().div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        Self { blocks, sum_nanos: AtomicU64::new(0), born: SystemTime::now() }
    }

    /// Counts one duration. To be called by the owning thread only; `bounds` are those of `new`.
    ///
    /// Allocates with the first duration of a block, which is at most once for sixteen cells.
    pub fn record(&self, bounds: &Buckets, nanos: u64) {
        let cell = bounds.cell(nanos);
        if let Some(block) = self.blocks.get(cell / BLOCK)
            && let Some(count) = block.get_or_init(Box::default).get(cell % BLOCK)
        {
            bump(count, 1);
        }
        bump(&self.sum_nanos, nanos);
    }

    /// When it began to count.
    pub fn born(&self) -> SystemTime {
        self.born
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        let counts = self.blocks.iter().filter_map(OnceLock::get).flat_map(|block| block.iter());
        counts.map(|count| count.load(Relaxed)).sum()
    }

    /// Adds what another histogram of the same bounds counted. By the owning thread only.
    fn absorb(&self, other: &Self) {
        for (own, other) in self.blocks.iter().zip(&other.blocks) {
            let Some(other) = other.get() else { continue };
            for (own, other) in own.get_or_init(Box::default).iter().zip(other.iter()) {
                bump(own, other.load(Relaxed));
            }
        }
        bump(&self.sum_nanos, other.sum_nanos.load(Relaxed));
    }

    /// Adds what was counted so far to `totals`.
    pub fn add_to(&self, totals: &mut HistogramTotals) {
        totals.cells.resize(self.blocks.len() * BLOCK, 0);
        for (totals, block) in totals.cells.chunks_mut(BLOCK).zip(&self.blocks) {
            let Some(block) = block.get() else { continue };
            for (total, count) in totals.iter_mut().zip(block.iter()) {
                *total += count.load(Relaxed);
            }
        }
        totals.sum_nanos = totals.sum_nanos.wrapping_add(self.sum_nanos.load(Relaxed));
    }
}

/// The sum of histograms over all workers.
#[derive(Clone, Debug, Default)]
pub struct HistogramTotals {
    /// Counts in the cells of its bounds, and perhaps some zeros behind.
    pub cells: Vec<u64>,
    /// Sum of all durations, in nanoseconds.
    pub sum_nanos: u64,
}

impl HistogramTotals {
    /// Sums up one histogram's per-worker parts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a HistogramRow>) -> Self {
        let mut totals = Self::default();
        for part in parts {
            part.add_to(&mut totals);
        }
        totals
    }

    /// How many durations were counted: the sum of the cells, always.
    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }
}

/// A trace to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exemplar {
    /// Of a W3C `traceparent`.
    pub trace_id: u128,
    /// The observed duration, in nanoseconds.
    pub nanos: u64,
    /// When it was observed.
    pub at: SystemTime,
}

/// The traces of one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traces {
    /// Which bucket of our choice.
    pub bucket: usize,
    /// The last request with a trace.
    pub newest: Exemplar,
    /// The slowest request with a trace for [`Self::KEPT`].
    pub slowest: Exemplar,
}

impl Traces {
    /// How long the slowest stays the slowest against newer ones. Nobody keeps the traces of last
    /// week, and Prometheus takes none that is older than one it has.
    pub const KEPT: Duration = Duration::from_mins(1);

    fn add(&mut self, other: &Self) {
        let is_over =
            other.slowest.at.duration_since(self.slowest.at).is_ok_and(|since| since > Self::KEPT);
        if is_over || other.slowest.nanos >= self.slowest.nanos {
            self.slowest = other.slowest;
        }
        if other.newest.at >= self.newest.at {
            self.newest = other.newest;
        }
    }

    /// Adds to those of the same bucket.
    fn add_to(&self, all: &mut Vec<Self>) {
        match all.iter_mut().find(|own| own.bucket == self.bucket) {
            Some(own) => own.add(self),
            None => all.push(*self),
        }
    }
}

/// One row of the hot family on one worker.
#[derive(Debug)]
pub struct Row {
    /// Durations of requests that are timed.
    pub durations: HistogramRow,
    /// Requests that are only counted: upgrades and event streams. A chat that is open for an
    /// hour is no slow request.
    untimed: AtomicU64,
    /// Of the buckets that have any: empty unless requests come with traces.
    traces: Mutex<Vec<Traces>>,
}

impl Row {
    pub(super) fn new(bounds: &Buckets) -> Self {
        let (durations, untimed) = (HistogramRow::new(bounds), AtomicU64::new(0));
        Self { durations, untimed, traces: Mutex::default() }
    }

    /// Counts a request that is not timed. To be called by the owning thread only.
    pub fn count_untimed(&self) {
        bump(&self.untimed, 1);
    }

    /// Requests that are only counted.
    pub fn untimed(&self) -> u64 {
        self.untimed.load(Relaxed)
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.durations.count() + self.untimed()
    }

    /// Keeps an exemplar for its bucket, unless the admin thread is just reading them. To be called
    /// by the owning thread only. Allocates with the first of a bucket.
    pub fn keep_exemplar(&self, bounds: &Buckets, exemplar: Exemplar) {
        if let Ok(mut traces) = self.traces.try_lock() {
            let bucket = bounds.index(exemplar.nanos);
            Traces { bucket, newest: exemplar, slowest: exemplar }.add_to(&mut traces);
        }
    }

    /// Adds what another row counted. To be called by the owning thread only.
    pub(super) fn absorb(&self, other: &Self) {
        self.durations.absorb(&other.durations);
        bump(&self.untimed, other.untimed());
        if let Ok(mut traces) = self.traces.lock() {
            other.add_traces_to(&mut traces);
        }
    }

    /// Adds its traces to those of other rows, one entry for each bucket.
    pub fn add_traces_to(&self, all: &mut Vec<Traces>) {
        if let Ok(traces) = self.traces.lock() {
            for own in traces.iter() {
                own.add_to(all);
            }
        }
    }
}

/// What stays open for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// A connection that was switched to another protocol.
    Upgrade,
    /// An event stream.
    Stream,
}

/// Bounds of the durations of what stays open for long: a second to a day.
pub(crate) static LASTING_BOUNDS: LazyLock<Buckets> =
    LazyLock::new(|| Buckets::constant(&Buckets::LASTING, Native::LASTING));

/// What is counted per path only, on one worker.
#[derive(Debug)]
pub struct RouteRow {
    lasting: [OnceLock<Box<HistogramRow>>; 2],
    /// Time to the response head.
    pub time_to_response: HistogramRow,
    request_body_bytes: AtomicU64,
    response_body_bytes: AtomicU64,
}

impl RouteRow {
    pub(super) fn new(bounds: &Buckets) -> Self {
        Self {
            lasting: [const { OnceLock::new() }; 2],
            time_to_response: HistogramRow::new(bounds),
            request_body_bytes: AtomicU64::new(0),
            response_body_bytes: AtomicU64::new(0),
        }
    }

    /// Counts how long something was open. To be called by the owning thread only.
    pub fn record_lasting(&self, kind: Lasting, nanos: u64) {
        if let Some(slot) = self.lasting.get(kind as usize) {
            slot.get_or_init(|| Box::new(HistogramRow::new(&LASTING_BOUNDS)))
                .record(&LASTING_BOUNDS, nanos);
        }
    }

    /// How long things were open; `None` if nothing ever was.
    pub fn lasting(&self, kind: Lasting) -> Option<&HistogramRow> {
        self.lasting.get(kind as usize)?.get().map(|row| &**row)
    }

    /// Adds what another row counted. To be called by the owning thread only.
    pub(super) fn absorb(&self, other: &Self) {
        for (own, other) in self.lasting.iter().zip(&other.lasting) {
            if let Some(other) = other.get() {
                own.get_or_init(|| Box::new(HistogramRow::new(&LASTING_BOUNDS))).absorb(other);
            }
        }
        self.time_to_response.absorb(&other.time_to_response);
        let (request, response) = other.bytes();
        self.add_bytes(request, response);
    }

    /// Counts forwarded body bytes. To be called by the owning thread only.
    pub fn add_bytes(&self, request: u64, response: u64) {
        bump(&self.request_body_bytes, request);
        bump(&self.response_body_bytes, response);
    }

    /// Request and response body bytes so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.request_body_bytes.load(Relaxed), self.response_body_bytes.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(trace_id: u128, nanos: u64, seconds: u64) -> Exemplar {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Exemplar { trace_id, nanos, at }
    }

    fn traces_of(rows: &[&Row]) -> Vec<(usize, u128, u128)> {
        let mut all = Vec::new();
        for row in rows {
            row.add_traces_to(&mut all);
        }
        all.sort_by_key(|traces| traces.bucket);
        all.iter().map(|own| (own.bucket, own.newest.trace_id, own.slowest.trace_id)).collect()
    }

    #[test]
    fn each_bucket_keeps_its_newest_and_its_slowest_trace_of_a_minute() {
        let bounds = Buckets::new(&[1.0]).expect("a bound");
        let (row, other) = (Row::new(&bounds), Row::new(&bounds));
        assert_eq!(traces_of(&[&row]), []);
        for (trace, nanos, at) in [(1, 500, 10), (2, 900, 11), (3, 100, 12)] {
            row.keep_exemplar(&bounds, exemplar(trace, nanos, at));
        }
        assert_eq!(traces_of(&[&row]), [(0, 3, 2)]);
        // Another worker has the newest, and the only one of the other bucket.
        other.keep_exemplar(&bounds, exemplar(4, 700, 13));
        other.keep_exemplar(&bounds, exemplar(5, 2_000_000_000, 9));
        assert_eq!(traces_of(&[&row, &other]), [(0, 4, 2), (1, 5, 5)]);
        assert_eq!(traces_of(&[&other, &row]), [(0, 4, 2), (1, 5, 5)]);
        // After a minute the slowest is no longer the slowest.
        row.keep_exemplar(&bounds, exemplar(6, 50, 71));
        assert_eq!(traces_of(&[&row]), [(0, 6, 2)]);
        row.keep_exemplar(&bounds, exemplar(7, 40, 72));
        assert_eq!(traces_of(&[&row]), [(0, 7, 7)]);
        row.absorb(&other);
        assert_eq!(traces_of(&[&row]), [(0, 7, 4), (1, 5, 5)]);
    }
}
