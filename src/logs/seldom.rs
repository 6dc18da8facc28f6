//! Log lines that a peer can cause again and again: the first at once, then one a minute.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// From one line to the next.
const PAUSE: Duration = Duration::from_mins(1);

/// What the milliseconds are counted from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One place that logs, however many peers reach it. To be a `static` beside its line.
///
/// Cost of a line that is not written: one reading of the clock, no lock.
#[derive(Debug)]
pub struct Seldom {
    /// Milliseconds since [`BEGUN`] from which on the next line may be written.
    next_millis: AtomicU64,
    suppressed: AtomicU64,
}

/// A line may be written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Lines that were not, since the last one that was. A field of the line.
    pub suppressed: Option<NonZeroU64>,
}

impl Seldom {
    /// Nothing was written yet.
    #[expect(clippy::new_without_default, reason = "a static needs a constant")]
    pub const fn new() -> Self {
        Self { next_millis: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Tells whether the line may be written now; else counts it.
    pub fn due(&self) -> Option<Due> {
        self.due_at(BEGUN.elapsed())
    }

    fn due_at(&self, since: Duration) -> Option<Due> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, next) = (millis(since), self.next_millis.load(Relaxed));
        let is_due = now >= next
            // Of several threads that come at once, one.
            && self
                .next_millis
                .compare_exchange(next, now.saturating_add(millis(PAUSE)), Relaxed, Relaxed)
                .is_ok();
        if !is_due {
            self.suppressed.fetch_add(1, Relaxed);
            return None;
        }
        Some(Due { suppressed: NonZeroU64::new(self.suppressed.swap(0, Relaxed)) })
    }
}

/// A line that says which of two states something is in: one that differs from what was said last,
/// each state at most once a minute.
#[derive(Debug)]
pub(crate) struct Changes {
    /// 0 for nothing, 1 and 2 for the states.
    said: AtomicU8,
    lines: [Seldom; 2],
}

impl Changes {
    /// Nothing was said yet.
    pub(crate) const fn new() -> Self {
        Self { said: AtomicU8::new(0), lines: [const { Seldom::new() }; 2] }
    }

    /// Tells whether to say the state now. To be asked again while it lasts: what comes and goes
    /// too often to be said is right a minute later.
    pub(crate) fn is_due(&self, state: bool) -> bool {
        let [off, on] = &self.lines;
        let (line, number) = if state { (on, 2) } else { (off, 1) };
        self.said.load(Relaxed) != number
            && line.due().is_some()
            && self.said.swap(number, Relaxed) != number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_at_once_then_one_a_minute() {
        let line = Seldom::new();
        let due = |seconds| line.due_at(Duration::from_secs(seconds));
        let with = |count| Some(Due { suppressed: NonZeroU64::new(count) });
        assert_eq!(due(5), with(0));
        for _ in 0..20_000 {
            assert_eq!(due(6), None);
        }
        assert_eq!(due(64), None);
        assert_eq!(due(65), with(20_001));
        assert_eq!(due(1000), with(0));
    }

    #[test]
    fn what_comes_and_goes_is_said_once_and_what_stays_is_not_repeated() {
        let changes = Changes::new();
        let mut said = Vec::new();
        for round in 0..1000 {
            said.extend(
                [false, true].into_iter().filter(|s| changes.is_due(*s)).map(|s| (round, s)),
            );
        }
        assert_eq!(said, [(0, false), (0, true)]);
        for state in [false, true] {
            let changes = Changes::new();
            assert_eq!((0..100).filter(|_| changes.is_due(state)).count(), 1);
        }
    }

    #[test]
    fn of_all_threads_one_writes() {
        let line = Seldom::new();
        let written = std::thread::scope(|scope| {
            let line = &line;
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || (0..1000).filter_map(|_| line.due()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!((written, line.suppressed.load(Relaxed)), (1, 7999));
    }
}
