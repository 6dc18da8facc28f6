//! Whether the upstream can be connected to: one truth for all threads.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Values of `Reachability::state`; 0 is unknown.
const UP: u8 = 1;
const DOWN: u8 = 2;

/// What the last attempt to connect told.
#[derive(Debug)]
pub struct Reachability {
    state: AtomicU8,
    /// Somebody should look: it is down, unknown, or was given up before it could tell.
    doubted: AtomicBool,
    attempts: AtomicU64,
    doubt: Notify,
}

impl Default for Reachability {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(0),
            doubted: AtomicBool::new(true),
            attempts: AtomicU64::new(0),
            doubt: Notify::new(),
        }
    }
}

impl Reachability {
    /// An attempt has ended.
    pub fn seen(&self, is_up: bool) {
        self.attempts.fetch_add(1, Relaxed);
        let state = if is_up { UP } else { DOWN };
        self.state.store(state, Relaxed);
        if is_up {
            self.doubted.store(false, Relaxed);
        } else {
            self.doubt();
        }
    }

    /// An attempt was given up before it told anything, as by a client that leaves.
    pub fn doubt(&self) {
        self.doubted.store(true, Relaxed);
        self.doubt.notify_one();
    }

    /// Tells whether the last attempt succeeded.
    pub fn is_up(&self) -> bool {
        self.state.load(Relaxed) == UP
    }

    /// Tells whether somebody should look.
    pub fn is_doubted(&self) -> bool {
        self.doubted.load(Relaxed)
    }

    /// Attempts that told something, by anybody.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// Waits until somebody should look. One caller.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub async fn doubted(&self) {
        while !self.is_doubted() {
            self.doubt.notified().await;
        }
    }
}
