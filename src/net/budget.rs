//! What is kept for peers, in bytes: one account for the process, and what each connection has of
//! it.
//!
//! A buffer whose size a peer chooses is charged while it is kept, so that all together have a
//! ceiling. Sums are relaxed atomics that move only when something larger than [`SMALL_BYTES`] is
//! kept: a small request that meets no delay touches none. One [`Holders`] per worker, not `Sync`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

pub(crate) use self::kept::Kept;
pub(crate) use self::pieces::Pieces;

mod kept;
mod pieces;

/// What is smaller is part of its connection's own price.
pub(crate) const SMALL_BYTES: usize = 1024;

/// What one connection may hold when there is little room for all.
const FAIR_BYTES: usize = 64 * 1024;

/// The same when there is none left: an HTTP/2 connection without streams, and a little.
const LEAST_BYTES: usize = 32 * 1024;

/// Calls of [`Holders::relieve`] without a byte after which an idle connection may be ended:
/// whoever only pauses between two requests keeps his.
const IDLE_ROUNDS: u32 = 20;

/// How full the account is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// There is room for all.
    Ample,
    /// Beyond the low mark: who holds much gets no more.
    Scarce,
    /// Beyond the high mark: who holds much has to go.
    Spent,
}

/// The account of the process.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    high: usize,
    scarce: Notify,
}

/// There is no room for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the budget of buffered bytes is used up")]
pub(crate) struct Full;

impl Budget {
    /// An account of `high` bytes.
    pub(crate) fn new(high: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), high, scarce: Notify::new() })
    }

    /// What is held, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// The high mark, in bytes.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.high
    }

    /// The low mark.
    fn low(&self) -> usize {
        self.high / 4 * 3
    }

    /// How full it is.
    pub(crate) fn level(&self) -> Level {
        match self.held_bytes() {
            held if held < self.low() => Level::Ample,
            held if held < self.high => Level::Scarce,
            _ => Level::Spent,
        }
    }

    /// What has to be given back until there is room for all again.
    pub(crate) fn excess_bytes(&self) -> usize {
        self.held_bytes().saturating_sub(self.low())
    }

    /// Waits until room gets scarce.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(crate) async fn until_scarce(&self) {
        loop {
            let scarce = self.scarce.notified();
            if self.level() != Level::Ample {
                return;
            }
            scarce.await;
        }
    }

    /// Tells whether who holds `holds` may have `more`. Small holders get on while others make
    /// room, up to an eighth beyond the high mark.
    fn admits(&self, holds: usize, more: usize) -> bool {
        let after = self.held_bytes().saturating_add(more);
        let share = if after < self.low() {
            return true;
        } else if after < self.high {
            FAIR_BYTES
        } else {
            LEAST_BYTES
        };
        after < self.high + self.high / 8 && holds + more <= share
    }

    fn change(&self, from: usize, to: usize) {
        if to < from {
            self.held.fetch_sub(from - to, Relaxed);
            return;
        }
        let before = self.held.fetch_add(to - from, Relaxed);
        for mark in [self.low(), self.high] {
            if before < mark && before + (to - from) >= mark {
                self.scarce.notify_waiters();
            }
        }
    }
}

/// What a connection is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Nothing,
    /// To end if it is idle.
    Leave,
    /// To end at once.
    Cut,
}

/// One connection's part of the account.
#[derive(Debug)]
pub(crate) struct Holder {
    all: Rc<Holders>,
    index: Cell<usize>,
    bytes: Cell<usize>,
    ask: Cell<Ask>,
    waker: RefCell<Option<Waker>>,
    /// When it became idle, as a number that only grows; 0 while it is not.
    idle: Cell<u64>,
    moved: Cell<bool>,
    /// Rounds in which nothing moved.
    quiet: Cell<u32>,
}

impl Holder {
    /// What it holds, in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// How full the account is.
    pub(crate) fn level(&self) -> Level {
        self.all.budget.level()
    }

    /// Tells whether it may hold `more`.
    pub(crate) fn admits(&self, more: usize) -> bool {
        more <= SMALL_BYTES || self.all.budget.admits(self.bytes.get(), more)
    }

    /// How much of `wanted` bytes should be read at once for a recipient that may leave them lying.
    pub(crate) fn piece_bytes(&self, wanted: usize) -> usize {
        const SCARCE_PIECE_BYTES: usize = 16 * 1024;
        const LEAST_PIECE_BYTES: usize = 4 * 1024;
        match self.level() {
            Level::Ample => wanted,
            _ if self.admits(SCARCE_PIECE_BYTES) => wanted.min(SCARCE_PIECE_BYTES),
            Level::Scarce | Level::Spent => wanted.min(LEAST_PIECE_BYTES),
        }
    }

    /// How much should be read at first of what may have to wait for one of its streams, before it
    /// is known whether it does.
    pub(crate) fn first_piece_bytes(&self) -> usize {
        const LIKELY_BYTES: usize = 16 * 1024;
        const LEAST_PIECE_BYTES: usize = 2 * 1024;
        if self.bytes.get() > FAIR_BYTES { LEAST_PIECE_BYTES } else { LIKELY_BYTES }
    }

    /// A charge of nothing so far.
    pub(crate) fn charge(self: &Rc<Self>) -> Charge {
        Charge { holder: Rc::clone(self), bytes: Cell::new(0) }
    }

    /// It waits for its peer to ask for something.
    pub(crate) fn rests(&self) {
        let all = &self.all;
        all.order.set(all.order.get() + 1);
        self.idle.set(all.order.get());
    }

    /// It does something for its peer.
    pub(crate) fn works(&self) {
        self.idle.set(0);
        self.moved.set(true);
    }

    /// Bytes went over it.
    pub(crate) fn moves(&self) {
        self.moved.set(true);
    }

    /// Tells whether it should end, since it is idle and others need its place.
    pub(crate) fn should_leave(&self) -> bool {
        match self.ask.get() {
            Ask::Nothing => false,
            // A request that came meanwhile counts more.
            Ask::Leave if self.idle.get() == 0 => {
                self.ask.set(Ask::Nothing);
                false
            }
            Ask::Leave | Ask::Cut => true,
        }
    }

    /// Tells whether it was cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.ask.get() == Ask::Cut
    }

    /// Does `work` until it ends, or until this holder is cut off: then `None`, and the caller
    /// drops what is left of it. To be called by the connection's own task.
    pub(crate) async fn unless_cut<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        poll_fn(|cx| self.poll_unless_cut(cx, work.as_mut())).await
    }

    fn poll_unless_cut<T>(
        &self,
        cx: &mut Context<'_>,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Poll<Option<T>> {
        if self.is_cut() {
            return Poll::Ready(None);
        }
        if self.waker.borrow().is_none() {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        work.poll(cx).map(Some)
    }

    fn asks(&self, ask: Ask) {
        self.ask.set(ask);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Tells whether it may be asked to end: it is idle, and not between two requests.
    fn may_leave(&self) -> bool {
        let is_idle = self.idle.get() > 0 && self.quiet.get() >= IDLE_ROUNDS;
        is_idle && self.ask.get() == Ask::Nothing
    }

    /// How gladly it is let go of: by what it holds, and for how long it has not moved.
    fn weight(&self) -> usize {
        self.bytes.get().saturating_mul(1 + self.quiet.get() as usize)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.all.forget(self.index.get());
    }
}

/// What one buffer costs. Only a [`Holder`] hands it out; what it was set to is given back when it
/// drops.
#[derive(Debug)]
pub(crate) struct Charge {
    holder: Rc<Holder>,
    bytes: Cell<usize>,
}

impl Charge {
    /// It is `bytes` now. What is small costs nothing.
    pub(crate) fn set(&self, bytes: usize) {
        let bytes = if bytes <= SMALL_BYTES { 0 } else { bytes };
        let before = self.bytes.get();
        if bytes != before {
            self.bytes.set(bytes);
            self.holder.all.budget.change(before, bytes);
            self.holder.bytes.set(self.holder.bytes.get() + bytes - before);
        }
    }

    /// The same, if there is room for it.
    ///
    /// # Errors
    ///
    /// [`Full`]; it is what it was.
    pub(crate) fn try_set(&self, bytes: usize) -> Result<(), Full> {
        let before = self.bytes.get();
        if bytes > before && !self.holder.admits(bytes - before) {
            return Err(Full);
        }
        self.set(bytes);
        Ok(())
    }

    /// Whose it is.
    pub(crate) fn holder(&self) -> &Rc<Holder> {
        &self.holder
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// How many connections were let go of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Relieved {
    /// Idle ones, which were asked to end.
    pub idle: u64,
    /// Those that held much and moved little; they were cut off.
    pub cut: u64,
}

/// The connections of one worker.
#[derive(Debug)]
pub(crate) struct Holders {
    budget: Arc<Budget>,
    open: RefCell<Vec<Weak<Holder>>>,
    order: Cell<u64>,
    /// The oldest idle ones when somebody last looked, the oldest last.
    oldest: RefCell<Vec<(u64, Weak<Holder>)>>,
}

impl Holders {
    /// No connections so far.
    pub(crate) fn new(budget: Arc<Budget>) -> Rc<Self> {
        Rc::new(Self {
            budget,
            open: RefCell::default(),
            order: Cell::new(0),
            oldest: RefCell::default(),
        })
    }

    /// The account of the process.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A connection begins. It is idle.
    pub(crate) fn open(self: &Rc<Self>) -> Rc<Holder> {
        let mut open = self.open.borrow_mut();
        let holder = Rc::new(self.holder(open.len()));
        holder.rests();
        open.push(Rc::downgrade(&holder));
        holder
    }

    /// What no client can be asked for: of connections to the app.
    pub(crate) fn of_nobody(self: &Rc<Self>) -> Rc<Holder> {
        Rc::new(self.holder(usize::MAX))
    }

    fn holder(self: &Rc<Self>, index: usize) -> Holder {
        Holder {
            all: Rc::clone(self),
            index: Cell::new(index),
            bytes: Cell::new(0),
            ask: Cell::new(Ask::Nothing),
            waker: RefCell::default(),
            idle: Cell::new(0),
            moved: Cell::new(true),
            quiet: Cell::new(0),
        }
    }

    fn forget(&self, index: usize) {
        let mut open = self.open.borrow_mut();
        if index < open.len() {
            open.swap_remove(index);
        }
        if let Some(moved) = open.get(index).and_then(Weak::upgrade) {
            moved.index.set(index);
        }
    }

    /// Asks the connection to end that has been idle for longest. `false`: none is idle.
    ///
    /// Who is next is looked up for many at once: a flood of newcomers must not look through all
    /// connections for each.
    pub(crate) fn make_place(&self) -> bool {
        if self.next_idle() {
            return true;
        }
        self.look_up_idle();
        self.next_idle()
    }

    fn next_idle(&self) -> bool {
        while let Some((since, holder)) = self.oldest.borrow_mut().pop() {
            if let Some(holder) = holder.upgrade()
                && holder.idle.get() == since
                && holder.ask.get() == Ask::Nothing
            {
                holder.asks(Ask::Leave);
                return true;
            }
        }
        false
    }

    fn look_up_idle(&self) {
        const AT_ONCE: usize = 64;
        let mut found: Vec<(u64, Weak<Holder>)> = Vec::new();
        for weak in self.open.borrow().iter() {
            if let Some(holder) = weak.upgrade()
                && holder.idle.get() > 0
                && holder.ask.get() == Ask::Nothing
            {
                found.push((holder.idle.get(), Weak::clone(weak)));
            }
        }
        found.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        let first = found.len().saturating_sub(AT_ONCE);
        *self.oldest.borrow_mut() = found.split_off(first);
    }

    /// Gives room back, where room is scarce: by ending idle connections, the oldest first, and by
    /// cutting off those that hold most and move least. One of `workers` that all do so.
    ///
    /// Between the marks only who holds much and has not moved for `stalled_rounds` calls is cut
    /// off; beyond the high one whoever holds most. Many that hold little are much, too.
    pub(crate) fn relieve(&self, workers: usize, stalled_rounds: u32) -> Relieved {
        let mut relieved = Relieved::default();
        let mut holders: Vec<Rc<Holder>> =
            self.open.borrow().iter().filter_map(Weak::upgrade).collect();
        for holder in &holders {
            let quiet = holder.quiet.get().saturating_add(1);
            holder.quiet.set(if holder.moved.replace(false) { 0 } else { quiet });
        }
        let level = self.budget.level();
        if level == Level::Ample {
            return relieved;
        }
        let workers = workers.max(1);
        holders.retain(|holder| !holder.is_cut());
        holders.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.weight()));
        let mut excess = self.budget.excess_bytes().div_ceil(workers);
        for holder in holders.iter().filter(|holder| holder.bytes.get() >= LEAST_BYTES) {
            let is_stalled = holder.quiet.get() >= stalled_rounds;
            if excess > 0 && (level == Level::Spent || is_stalled) {
                holder.asks(Ask::Cut);
                relieved.cut += 1;
                excess = excess.saturating_sub(holder.bytes.get());
            }
        }
        let mut idle: Vec<_> = holders.iter().filter(|holder| holder.may_leave()).collect();
        idle.sort_unstable_by_key(|holder| holder.idle.get());
        for holder in idle {
            if excess == 0 {
                break;
            }
            holder.asks(Ask::Leave);
            relieved.idle += 1;
            excess = excess.saturating_sub(holder.bytes.get());
        }
        // What is left of it is in small amounts: only as far as it has to be.
        let mut beyond = excess.saturating_sub((self.budget.high - self.budget.low()) / workers);
        for holder in holders.iter().filter(|holder| holder.ask.get() == Ask::Nothing) {
            if beyond == 0 {
                break;
            }
            holder.asks(Ask::Cut);
            relieved.cut += 1;
            beyond = beyond.saturating_sub(holder.bytes.get());
        }
        relieved
    }
}

#[cfg(test)]
mod tests;
