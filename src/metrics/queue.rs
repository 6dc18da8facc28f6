//! What waits at the app's listening socket, as it was seen lately.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::catalogue::{
    ACCEPT_QUEUE, ACCEPT_QUEUE_LIMIT, ACCEPT_QUEUE_PEAK, LISTEN_DROPS,
};
use crate::metrics::text::sample;

/// The peak is that of so long. Not of the time since the last scrape: two Prometheus servers would
/// take it from each other, and each person who looks from both.
const PEAK_WINDOW: Duration = Duration::from_mins(1);

/// Looks of so long are kept as one.
const STEP: Duration = Duration::from_secs(1);

/// One look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Look {
    /// Connections that wait.
    pub(crate) connections: u64,
    /// So many may wait.
    pub(crate) limit: u64,
    /// Dropped by the kernel since the look before; not known of every kind of socket.
    pub(crate) dropped: Option<u64>,
}

/// What a scrape shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shown {
    connections: u64,
    limit: u64,
    peak: u64,
    /// Since the start.
    dropped: Option<u64>,
}

/// What was seen of the queue. Written by whoever looks, read by scrapes; no request comes here.
#[derive(Debug, Default)]
pub(crate) struct QueueLog(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// `None`: it cannot be seen now.
    last: Option<Look>,
    /// The highest of each step, the oldest first.
    peaks: VecDeque<(Instant, u64)>,
    dropped: Option<u64>,
}

impl QueueLog {
    /// Takes a look in; `None` if there was nothing to see.
    pub(crate) fn add(&self, look: Option<Look>, at: Instant) {
        let mut seen = self.lock();
        seen.last = look;
        let Some(Look { connections, dropped, .. }) = look else { return };
        if let Some(dropped) = dropped {
            seen.dropped = Some(seen.dropped.unwrap_or(0) + dropped);
        }
        match seen.peaks.back_mut() {
            Some((since, peak)) if at < *since + STEP => *peak = (*peak).max(connections),
            Some(_) | None => seen.peaks.push_back((at, connections)),
        }
        while seen.peaks.front().is_some_and(|(since, _)| *since + PEAK_WINDOW < at) {
            seen.peaks.pop_front();
        }
    }

    /// Writes the samples of what can be seen; where nothing can, 0 would say that nobody waits.
    pub(super) fn write(&self, out: &mut String) {
        let Some(Shown { connections, limit, peak, dropped }) = self.read() else { return };
        sample(out, ACCEPT_QUEUE.name, "", connections);
        sample(out, ACCEPT_QUEUE_LIMIT.name, "", limit);
        sample(out, ACCEPT_QUEUE_PEAK.name, "", peak);
        if let Some(dropped) = dropped {
            sample(out, LISTEN_DROPS.name, "", dropped);
        }
    }

    fn read(&self) -> Option<Shown> {
        let seen = self.lock();
        let Look { connections, limit, .. } = seen.last?;
        let peak = seen.peaks.iter().map(|(_, peak)| *peak).max().unwrap_or(connections);
        Some(Shown { connections, limit, peak, dropped: seen.dropped })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Numbers; half of them new does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(connections: u64, dropped: u64) -> Look {
        Look { connections, limit: 9, dropped: Some(dropped) }
    }

    #[test]
    fn a_peak_stays_for_a_minute_and_drops_add_up() {
        let (log, start) = (QueueLog::default(), Instant::now());
        assert_eq!(log.read(), None);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        log.add(Some(look(2, 0)), at(0));
        log.add(Some(look(7, 3)), at(0) + Duration::from_millis(250));
        log.add(Some(look(1, 1)), at(1));
        let shown =
            |connections, peak| Some(Shown { connections, limit: 9, peak, dropped: Some(4) });
        assert_eq!(log.read(), shown(1, 7));
        // Whoever reads takes nothing away.
        assert_eq!(log.read(), shown(1, 7));
        for second in 2..=60 {
            log.add(Some(look(0, 0)), at(second));
        }
        assert_eq!(log.read(), shown(0, 7));
        log.add(Some(look(0, 0)), at(61));
        assert_eq!(log.read(), shown(0, 1));
        assert!(log.lock().peaks.len() <= 62);
        log.add(None, at(62));
        assert_eq!(log.read(), None);
        log.add(Some(look(3, 0)), at(63));
        assert_eq!(log.read(), shown(3, 3));
    }
}
