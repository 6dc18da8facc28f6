//! Shutdown of one worker: who is still busy, and how they learn that it is time to end.
//!
//! Guards the invariant that every connection is known: [`Drain::finished`] resolves only when
//! each [`Guard`] is gone. One per worker, not `Sync`; no I/O, no clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

pub(crate) use self::pre_stop::PreStopHooks;

mod pre_stop;

/// The shutdown state of one worker.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    draining: Cell<bool>,
    cut: Cell<bool>,
    next: Cell<u64>,
    guards: RefCell<BTreeMap<u64, Option<Waker>>>,
    finished: Notify,
}

/// Something that a shutdown waits for.
#[derive(Debug)]
#[must_use = "the shutdown stops waiting when the guard drops"]
pub(crate) struct Guard {
    drain: Rc<Drain>,
    id: u64,
    registered: Cell<bool>,
}

impl Drain {
    /// Makes the shutdown wait until the guard drops.
    pub(crate) fn enter(self: &Rc<Self>) -> Guard {
        let id = self.next.get();
        self.next.set(id + 1);
        self.guards.borrow_mut().insert(id, None);
        Guard { drain: Rc::clone(self), id, registered: Cell::new(false) }
    }

    /// Begins the shutdown and wakes everything that is registered.
    pub(crate) fn start(&self) {
        self.draining.set(true);
        let wakers: Vec<Waker> =
            self.guards.borrow_mut().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells whether the shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Marks what ends from now on as cut off by the deadline.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
    }

    /// Tells whether the deadline has passed.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Waits until no guard is left.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(crate) async fn finished(&self) {
        while !self.guards.borrow().is_empty() {
            self.finished.notified().await;
        }
    }
}

impl Guard {
    /// Tells whether the shutdown has begun; if not, has the calling task woken when it does.
    ///
    /// The task's waker is kept from the first call on: to be called by one task only.
    pub(crate) fn is_draining(&self, cx: &Context<'_>) -> bool {
        if !self.registered.get() {
            self.registered.set(true);
            if let Some(slot) = self.drain.guards.borrow_mut().get_mut(&self.id) {
                *slot = Some(cx.waker().clone());
            }
        }
        self.drain.is_draining()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.guards.borrow_mut().remove(&self.id);
        if self.drain.guards.borrow().is_empty() {
            self.drain.finished.notify_one();
        }
    }
}
