//! The rows themselves: arrays of counters with one writer each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::SystemTime;

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

/// A trace to look at for one bucket.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// 32 hex digits of a W3C `traceparent`.
    pub trace_id: [u8; 32],
    /// The observed duration, in nanoseconds.
    pub nanos: u64,
    /// When it was observed.
    pub at: SystemTime,
}

/// One row of the hot family on one worker.
#[derive(Debug)]
pub struct Row {
    /// Durations of requests that are timed.
    pub durations: HistogramRow,
    /// Requests that are only counted: upgrades and event streams. A chat that is open for an
    /// hour is no slow request.
    untimed: AtomicU64,
    exemplars: Option<Box<[Mutex<Option<Exemplar>>]>>,
}

impl Row {
    pub(super) fn new(bounds: &Buckets, exemplars: bool) -> Self {
        let slots = || (0..bounds.len()).map(|_| Mutex::new(None)).collect();
        Self {
            durations: HistogramRow::new(bounds),
            untimed: AtomicU64::new(0),
            exemplars: exemplars.then(slots),
        }
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

    /// Keeps an exemplar for its bucket, unless the admin thread is just reading that one.
    pub fn keep_exemplar(&self, bounds: &Buckets, exemplar: Exemplar) {
        let slots = self.exemplars.as_deref().unwrap_or_default();
        let slot = slots.get(bounds.index(exemplar.nanos)).map(Mutex::try_lock);
        if let Some(Ok(mut slot)) = slot {
            *slot = Some(exemplar);
        }
    }

    /// Adds what another row counted. To be called by the owning thread only.
    pub(super) fn absorb(&self, other: &Self) {
        self.durations.absorb(&other.durations);
        bump(&self.untimed, other.untimed());
        let slots = self.exemplars.as_deref().unwrap_or_default();
        for (bucket, slot) in slots.iter().enumerate() {
            if let (Ok(mut slot), Some(exemplar)) = (slot.lock(), other.exemplar(bucket)) {
                *slot = Some(exemplar);
            }
        }
    }

    /// The latest exemplar of a bucket.
    pub fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.as_ref()?.get(bucket)?.lock().ok()?.clone()
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
pub static LASTING_BOUNDS: LazyLock<Buckets> =
    LazyLock::new(|| Buckets::constant(&Buckets::LASTING, Native::LASTING));

/// What is counted per path only, on one worker.
#[derive(Debug)]
pub struct RouteRow {
    lasting: [OnceLock<Box<HistogramRow>>; 2],
    /// Time to the response head.
    pub response_start: HistogramRow,
    request_body_bytes: AtomicU64,
    response_body_bytes: AtomicU64,
}

impl RouteRow {
    pub(super) fn new(bounds: &Buckets) -> Self {
        Self {
            lasting: [const { OnceLock::new() }; 2],
            response_start: HistogramRow::new(bounds),
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
        self.response_start.absorb(&other.response_start);
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
