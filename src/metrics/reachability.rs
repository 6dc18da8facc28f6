//! Whether the upstream can be connected to: one truth for all threads.

use std::pin::pin;
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
    /// How often it has come, or come back.
    arrivals: AtomicU64,
    arrival: Notify,
}

impl Default for Reachability {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(0),
            doubted: AtomicBool::new(true),
            attempts: AtomicU64::new(0),
            doubt: Notify::new(),
            arrivals: AtomicU64::new(0),
            arrival: Notify::new(),
        }
    }
}

impl Reachability {
    /// An attempt has ended.
    pub fn seen(&self, is_up: bool) {
        self.attempts.fetch_add(1, Relaxed);
        let state = if is_up { UP } else { DOWN };
        let before = self.state.swap(state, Relaxed);
        if is_up {
            self.doubted.store(false, Relaxed);
            if before != UP {
                self.arrivals.fetch_add(1, Relaxed);
                self.arrival.notify_waiters();
            }
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

    /// Waits until it has come more often than `known`, and tells how often it has. With 0, until
    /// it has been there at all.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub async fn arrives_after(&self, known: u64) -> u64 {
        loop {
            let mut arrival = pin!(self.arrival.notified());
            // Before the look, so that what comes in between is heard.
            arrival.as_mut().enable();
            let arrivals = self.arrivals.load(Relaxed);
            if arrivals > known {
                return arrivals;
            }
            arrival.await;
        }
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
