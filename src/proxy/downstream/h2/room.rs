//! What one HTTP/2 connection may take: of memory for what its streams wait to send, and of turns
//! for frames that carry nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::net::budget::{Charge, Holder};

/// What the streams of a connection may have waiting to be sent, in sum: as much as a socket takes
/// in a few milliseconds. Beyond, nothing more is read of the app for them.
const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// What a frame costs that waits, beside its bytes: a client may open its windows byte by byte.
const FRAME_COST: usize = 320;

/// What is charged for them goes in steps, so that not every frame touches the account.
const STEP_BYTES: usize = 16 * 1024;

/// Data that the library has been given and has not written.
///
/// All of it has been granted by the client's windows, so that it waits for the socket alone: a
/// stream whose client does not read has nothing here, and holds up no other.
#[derive(Debug)]
pub(crate) struct SendQueue {
    streams: RefCell<Vec<Queued>>,
    total_bytes: Cell<usize>,
    /// What the socket has taken so far.
    sent_bytes: Cell<u64>,
    charge: Charge,
    waiting: RefCell<Vec<Waker>>,
}

/// What one stream has in the library.
#[derive(Debug)]
struct Queued {
    stream: u32,
    bytes: usize,
    frames: usize,
    piece_bytes: usize,
}

impl Queued {
    /// The library keeps a piece until its last byte is written, and something for each frame.
    fn cost(&self) -> usize {
        if self.bytes == 0 { 0 } else { self.bytes + self.piece_bytes + self.frames * FRAME_COST }
    }
}

impl SendQueue {
    pub(super) fn new(holder: &Rc<Holder>) -> Self {
        Self {
            streams: RefCell::default(),
            total_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
            charge: holder.charge(),
            waiting: RefCell::default(),
        }
    }

    /// The library was given data of a stream, out of a piece of `piece_bytes`.
    pub(crate) fn add(&self, stream: u32, bytes: usize, piece_bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut streams = self.streams.borrow_mut();
        let found = streams.iter_mut().find(|queued| queued.stream == stream);
        let (before, after) = if let Some(queued) = found {
            let before = queued.cost();
            queued.bytes += bytes;
            queued.frames += 1;
            queued.piece_bytes = queued.piece_bytes.max(piece_bytes);
            (before, queued.cost())
        } else {
            let queued = Queued { stream, bytes, frames: 1, piece_bytes };
            let cost = queued.cost();
            streams.push(queued);
            (0, cost)
        };
        self.change(self.total_bytes.get() + after - before);
    }

    /// The library has written data of a stream.
    pub(super) fn sent(&self, stream: u32, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
        self.remove(stream, bytes);
    }

    /// How much was written so far, of all streams.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.get()
    }

    fn remove(&self, stream: u32, bytes: usize) {
        let mut streams = self.streams.borrow_mut();
        let Some(at) = streams.iter().position(|queued| queued.stream == stream) else {
            return;
        };
        let Some(queued) = streams.get_mut(at) else {
            return;
        };
        let before = queued.cost();
        queued.bytes = queued.bytes.saturating_sub(bytes);
        queued.frames = queued.frames.saturating_sub(1);
        let after = queued.cost();
        if after == 0 {
            streams.swap_remove(at);
        }
        self.change(self.total_bytes.get() + after - before);
    }

    /// The stream was reset: the library has forgotten what it had of it.
    pub(super) fn forget(&self, stream: u32) {
        self.remove(stream, usize::MAX);
    }

    /// Tells whether nothing more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.total_bytes.get() >= MAX_QUEUED_BYTES
    }

    /// Waits until the sum allows more.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        let waits = |waker: &Waker| waker.will_wake(cx.waker());
        if !waiting.iter().any(waits) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn change(&self, total_bytes: usize) {
        self.total_bytes.set(total_bytes);
        let is_small = total_bytes < STEP_BYTES;
        self.charge.set(if is_small { 0 } else { total_bytes.next_multiple_of(STEP_BYTES) });
        // Half, so that a stream finds room for more than a piece.
        if total_bytes < MAX_QUEUED_BYTES / 2 && !self.waiting.borrow().is_empty() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Frames that carry nothing are paid for by those that do, as in Envoy's limits, and by time: a
/// client may ask on an idle connection whether we live.
#[derive(Debug)]
pub(super) struct Patience {
    credit: Cell<u32>,
    since: Cell<Instant>,
}

impl Patience {
    const MOST: u32 = 1000;
    /// For each frame that carries something: two windows are opened for it, or more.
    const PER_USEFUL: u32 = 10;
    const PER_SECOND: u64 = 100;

    pub(super) fn new() -> Self {
        Self { credit: Cell::new(Self::MOST), since: Cell::new(Instant::now()) }
    }

    /// A frame has carried something.
    pub(super) fn restore(&self) {
        self.credit.set((self.credit.get() + Self::PER_USEFUL).min(Self::MOST));
    }

    /// A frame has carried nothing. `false`: it was one too many.
    pub(super) fn spend(&self) -> bool {
        if self.credit.get() == 0 {
            let now = Instant::now();
            let millis = (now - self.since.get()).as_millis();
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            let earned = millis.saturating_mul(Self::PER_SECOND) / 1000;
            self.credit.set(u32::try_from(earned).unwrap_or(Self::MOST).min(Self::MOST));
            self.since.set(now);
        }
        let credit = self.credit.get();
        self.credit.set(credit.saturating_sub(1));
        credit > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::net::budget::{Budget, Holders};

    struct Woken;

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    #[test]
    fn streams_wait_for_each_others_data_and_not_for_readers() {
        let holders = Holders::new(Budget::new(1 << 30));
        let holder = holders.open();
        let queue = SendQueue::new(&holder);
        let waker: Waker = std::sync::Arc::new(Woken).into();
        let cx = Context::from_waker(&waker);
        queue.add(1, 100, 100);
        assert_eq!(holder.bytes(), 0, "a small answer costs nothing");
        queue.add(1, 100_000, 10_000);
        queue.add(3, 200_000, 10_000);
        assert_eq!(queue.total_bytes.get(), 320_100 + 3 * FRAME_COST);
        assert_eq!(holder.bytes(), 327_680);
        assert!(queue.poll_room(&cx).is_pending());
        assert!(queue.poll_room(&cx).is_pending());
        assert_eq!(queue.waiting.borrow().len(), 1);
        queue.sent(1, 60_000);
        assert!(queue.poll_room(&cx).is_ready());
        queue.forget(3);
        assert_eq!(queue.total_bytes.get(), 50_100 + FRAME_COST);
        assert!(queue.waiting.borrow().is_empty());
        queue.sent(1, 50_000);
        queue.sent(5, 50_000);
        assert_eq!((queue.total_bytes.get(), holder.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_are_paid_for() {
        let patience = Patience::new();
        for _ in 0..Patience::MOST {
            assert!(patience.spend());
        }
        assert!(!patience.spend());
        patience.restore();
        assert_eq!((0..20).filter(|_| patience.spend()).count(), 10);
        advance(Duration::from_secs(1)).await;
        assert_eq!((0..200).filter(|_| patience.spend()).count(), 100);
        // One question a minute, for ever.
        for _ in 0..10_000 {
            advance(Duration::from_mins(1)).await;
            assert!(patience.spend());
        }
    }
}
