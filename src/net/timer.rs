//! One timer per connection, hardly ever moved.
//!
//! A request costs no timer operation: the timer stays where it is, and only when it fires does
//! anybody look whether its moment has really come.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

/// A timer that its owner asks, and that wakes its owner's task.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// The timer knows whom to wake.
    armed: bool,
}

impl Timer {
    /// Fires at `at`.
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at)), armed: false }
    }

    /// When it fires.
    pub(crate) fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// Moves it.
    pub(crate) fn arm(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.armed = false;
    }

    /// Moves it if it would fire later than `at`.
    pub(crate) fn arm_by(&mut self, at: Instant) {
        if at < self.deadline() {
            self.arm(at);
        }
    }

    /// Tells whether it has fired; whoever hears so has to arm it again. Else the calling task is
    /// woken when it does.
    pub(crate) fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        // Polling a timer registers the waker anew; asking whether it is over does not.
        if self.armed && !self.sleep.is_elapsed() {
            return false;
        }
        self.armed = true;
        self.sleep.as_mut().poll(cx).is_ready()
    }
}
