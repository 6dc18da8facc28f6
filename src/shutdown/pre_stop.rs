//! Who waits for the traffic to end before the app is stopped: open GETs of `/wait-for-drain`.
//!
//! Shared by the metrics port, which opens waits, and the workers, which ask
//! [`PreStopHooks::wants_close`] once per response head. Not a shutdown: when the last wait ends,
//! everything is as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection that came during a wait is left alone. Clients that still come connect
/// again at once: to send each of them away after one request would cost a connection for each
/// request, and bring nobody elsewhere sooner.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// How many waits are open, and since when.
#[derive(Debug)]
pub struct PreStopHooks {
    open: AtomicUsize,
    made: Instant,
    /// When the first of those that are open began.
    since_nanos: AtomicU64,
}

/// One open wait. It ends when this drops, whatever ends the request that it belongs to.
#[derive(Debug)]
#[must_use = "the wait ends when this drops"]
pub struct PreStopHook(Arc<PreStopHooks>);

impl Default for PreStopHooks {
    fn default() -> Self {
        let (open, since_nanos) = <(AtomicUsize, AtomicU64)>::default();
        Self { open, made: Instant::now(), since_nanos }
    }
}

impl PreStopHooks {
    /// Opens a wait.
    pub fn open(self: &Arc<Self>) -> PreStopHook {
        if self.open.load(Relaxed) == 0 {
            let since = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.since_nanos.store(since, Relaxed);
        }
        self.open.fetch_add(1, Relaxed);
        PreStopHook(Arc::clone(self))
    }

    /// Tells whether the client of a connection that was opened then should go elsewhere with its
    /// next request. One relaxed load of a word that hardly ever changes, unless somebody waits.
    pub fn wants_close(&self, opened: Instant) -> bool {
        self.open.load(Relaxed) > 0 && self.is_old(opened)
    }

    #[cold]
    fn is_old(&self, opened: Instant) -> bool {
        let since = self.made + Duration::from_nanos(self.since_nanos.load(Relaxed));
        opened < since || opened.elapsed() >= LEFT_ALONE
    }
}

impl Drop for PreStopHook {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_close_while_at_least_one_wait_is_open() {
        let pass = tokio::time::advance;
        let waits = Arc::new(PreStopHooks::default());
        let before = Instant::now();
        pass(Duration::from_millis(1)).await;
        assert!(!waits.wants_close(before));
        let (first, second) = (waits.open(), waits.open());
        assert!(waits.wants_close(before));
        drop(first);
        assert!(waits.wants_close(before));
        drop(second);
        assert!(!waits.wants_close(before));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_meanwhile_is_left_alone_for_a_second() {
        let pass = tokio::time::advance;
        let waits = Arc::new(PreStopHooks::default());
        pass(Duration::from_secs(5)).await;
        let _open = waits.open();
        let opened = Instant::now();
        pass(LEFT_ALONE / 10 * 9).await;
        let _another = waits.open();
        assert!(!waits.wants_close(opened), "another wait changes nothing");
        pass(LEFT_ALONE / 10).await;
        assert!(waits.wants_close(opened));
    }
}
