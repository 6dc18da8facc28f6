//! Who waits for the traffic to end before the app is stopped: open GETs of `/wait-for-drain`.
//!
//! Shared by the metrics port, which opens waits, and the workers, which ask
//! [`PreStopHooks::wants_close`] once per response head. Not a shutdown: when the last wait ends,
//! everything is as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many waits are open.
#[derive(Debug, Default)]
pub struct PreStopHooks(AtomicUsize);

/// One open wait. It ends when this drops, whatever ends the request that it belongs to.
#[derive(Debug)]
#[must_use = "the wait ends when this drops"]
pub struct PreStopHook(Arc<PreStopHooks>);

impl PreStopHooks {
    /// Opens a wait.
    pub fn open(self: &Arc<Self>) -> PreStopHook {
        self.0.fetch_add(1, Relaxed);
        PreStopHook(Arc::clone(self))
    }

    /// Tells whether a response should ask its client to close the connection, so that the next
    /// request goes elsewhere. One relaxed load of a word that hardly ever changes.
    pub fn wants_close(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Drop for PreStopHook {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_close_while_at_least_one_wait_is_open() {
        let waits = Arc::new(PreStopHooks::default());
        assert!(!waits.wants_close());
        let (first, second) = (waits.open(), waits.open());
        assert!(waits.wants_close());
        drop(first);
        assert!(waits.wants_close());
        drop(second);
        assert!(!waits.wants_close());
    }
}
