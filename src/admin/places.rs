//! Places for connections: who holds one, and who gives way.
//!
//! Guards the invariant that a newcomer always gets a place at once, whatever others do or leave
//! undone: probes decide whether a pod lives.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::answer::Reader;

/// Connections at one time: probes and scrapers, not users.
const MAX_PLACES: usize = 128;

/// What a newcomer has for its request before it may have to give way: a client on the same node
/// sends it within a fraction. So that a burst of connections does not push probes out, it is
/// taken at so many per time.
const FRESH: Duration = Duration::from_millis(5);

/// From connect to the first complete request head: probes and scrapers send theirs at once.
const FIRST_HEAD: Duration = Duration::from_secs(5);

/// From an answer to the next request head. Longer than common scrape intervals, so that a
/// scraper's connection is kept.
pub(super) const NEXT_HEAD: Duration = Duration::from_secs(130);

/// How long an answer may stay where it is because its reader takes nothing.
const PROGRESS: Duration = Duration::from_secs(10);

/// A reader that takes nothing for so long gives way to one that waits.
const STALLED: Duration = Duration::from_secs(1);

/// All places.
#[derive(Default)]
pub(super) struct Places {
    taken: RefCell<Vec<Rc<Place>>>,
}

/// A connection's place.
pub(super) struct Place {
    accepted: Instant,
    /// When it connected, sent a request or took bytes of an answer.
    active: Cell<Instant>,
    stage: Cell<Stage>,
    /// An answer waits for room in the socket.
    is_blocked: Cell<bool>,
    /// The page that is being sent.
    reader: Cell<Option<Reader>>,
    must_leave: Cell<bool>,
    changed: Notify,
}

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It has sent no request.
    Connected,
    /// It gets an answer.
    Answered,
    /// It waits in a hook, which has a limit of its own.
    Waiting,
    /// It is between two requests.
    Idle,
}

/// A place as long as it is held.
pub(super) struct Held {
    places: Rc<Places>,
    place: Rc<Place>,
}

impl Places {
    /// Takes a place. If there is none, somebody gives way.
    pub(super) fn take(self: &Rc<Self>) -> Held {
        let now = Instant::now();
        let place = Rc::new(Place {
            accepted: now,
            active: Cell::new(now),
            stage: Cell::new(Stage::Connected),
            is_blocked: Cell::new(false),
            reader: Cell::new(None),
            must_leave: Cell::new(false),
            changed: Notify::new(),
        });
        let mut taken = self.taken.borrow_mut();
        if let Some((index, oldest)) = next_to_leave(&taken) {
            // It is gone when its task has its turn; its place is free now.
            oldest.leave();
            taken.swap_remove(index);
        }
        taken.push(Rc::clone(&place));
        Held { places: Rc::clone(self), place }
    }

    /// Waits until a place can be taken without pushing out who has had no time for its request.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(super) async fn room(&self) {
        let fresh_until = {
            let taken = self.taken.borrow();
            next_to_leave(&taken).and_then(|(_, place)| {
                let is_new = place.stage.get() == Stage::Connected;
                is_new.then(|| place.accepted + FRESH)
            })
        };
        if let Some(until) = fresh_until {
            sleep_until(until).await;
        }
    }

    /// Waits until everybody who is here has had an answer, at most until then.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(super) async fn are_answered(&self, limit: Instant) {
        const LOOK: Duration = Duration::from_millis(5);
        let is_open = |place: &Rc<Place>| {
            matches!(place.stage.get(), Stage::Connected | Stage::Answered)
                || place.is_blocked.get()
        };
        while Instant::now() < limit && self.taken.borrow().iter().any(is_open) {
            sleep(LOOK).await;
        }
    }

    /// Has the reader of such a page leave that has taken nothing for the longest, if that is
    /// long.
    pub(super) fn oust_stalled(&self, kind: impl Fn(Reader) -> bool) {
        let taken = self.taken.borrow();
        let readers = taken.iter().filter(|place| place.reader.get().is_some_and(&kind));
        if let Some(place) = readers.min_by_key(|place| place.active.get())
            && place.active.get().elapsed() >= STALLED
        {
            place.leave();
        }
    }

    fn leave(&self, place: &Rc<Place>) {
        self.taken.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
    }
}

/// Who gives way to a newcomer, if somebody has to: who has been quiet for the longest. A hook does
/// not.
fn next_to_leave(taken: &[Rc<Place>]) -> Option<(usize, &Rc<Place>)> {
    let may_leave = taken.iter().enumerate().filter(|(_, p)| p.stage.get() != Stage::Waiting);
    may_leave.min_by_key(|(_, place)| place.active.get()).filter(|_| taken.len() >= MAX_PLACES)
}

impl Held {
    pub(super) fn place(&self) -> &Rc<Place> {
        &self.place
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.leave(&self.place);
    }
}

impl Place {
    /// A request head is here.
    pub(super) fn asked(&self) {
        self.active.set(Instant::now());
        self.enter(Stage::Answered);
    }

    /// Its answer is made of what a hook waits for.
    pub(super) fn waits(&self) {
        self.enter(Stage::Waiting);
    }

    /// A page is being sent from now on.
    pub(super) fn reads(&self, reader: Reader) {
        self.reader.set(Some(reader));
    }

    /// The answer is made, if not sent.
    pub(super) fn answered(&self) {
        self.reader.set(None);
        self.enter(Stage::Idle);
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.changed.notify_one();
    }

    fn leave(&self) {
        self.must_leave.set(true);
        self.changed.notify_one();
    }

    fn wrote(&self, blocked: bool) {
        if !blocked {
            self.active.set(Instant::now());
        }
        if self.is_blocked.replace(blocked) != blocked {
            self.changed.notify_one();
        }
    }

    /// Until when it may go on as it does.
    fn deadline(&self) -> Option<Instant> {
        let active = self.active.get();
        match self.stage.get() {
            _ if self.is_blocked.get() => Some(active + PROGRESS),
            Stage::Connected => Some(self.accepted + FIRST_HEAD),
            Stage::Answered => Some(active + PROGRESS),
            Stage::Waiting => None,
            Stage::Idle => Some(active + NEXT_HEAD),
        }
    }

    /// Resolves when the connection has to end: for a newcomer, or because it did nothing for too
    /// long.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits. To be awaited by one task at a time.
    pub(super) async fn must_end(&self) {
        while !self.must_leave.get() {
            let changed = self.changed.notified();
            match self.deadline() {
                Some(deadline) if deadline <= Instant::now() => return,
                // What changed is seen in the next round.
                Some(deadline) => drop(timeout_at(deadline, changed).await),
                None => changed.await,
            }
        }
    }
}

/// A connection that tells its place what is written.
pub(super) struct Watched<S> {
    socket: S,
    place: Rc<Place>,
}

impl<S> Watched<S> {
    pub(super) fn new(socket: S, place: &Rc<Place>) -> Self {
        Self { socket, place: Rc::clone(place) }
    }

    fn tell<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.place.wrote(polled.is_pending());
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.tell(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.tell(polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stage_has_its_time() {
        let second = Duration::from_secs(1);
        let ended = async |place: &Place| {
            let begun = Instant::now();
            place.must_end().await;
            begun.elapsed().as_secs()
        };
        let places = Rc::new(Places::default());
        let held = places.take();
        let place = Rc::clone(held.place());
        assert_eq!(ended(&place).await, 5, "no request");
        place.asked();
        assert_eq!(ended(&place).await, 10, "an answer that nobody takes");
        place.asked();
        place.answered();
        assert_eq!(ended(&place).await, 130, "no further request");
        place.wrote(true);
        place.asked();
        place.answered();
        assert_eq!(ended(&place).await, 10, "the end of an answer that nobody takes");
        place.wrote(false);
        place.asked();
        place.waits();
        let hook = tokio::time::timeout(1000 * second, place.must_end()).await;
        assert!(hook.is_err(), "a hook has its own limit");
    }

    #[tokio::test(start_paused = true)]
    async fn what_shortens_the_time_is_noticed_at_once() {
        let places = Rc::new(Places::default());
        let held = places.take();
        let place = Rc::clone(held.place());
        place.asked();
        place.answered();
        let begun = Instant::now();
        let asks = async {
            sleep(Duration::from_secs(2)).await;
            place.asked();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = place.must_end() => {}
            () = asks => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_quiet_gives_way_and_a_hook_does_not() {
        let places = Rc::new(Places::default());
        let tick = || tokio::time::advance(Duration::from_millis(1));
        let mut held = Vec::new();
        for _ in 0..MAX_PLACES {
            held.push(places.take());
            tick().await;
        }
        held[0].place().waits();
        held[1].place().asked();
        let newcomers = [places.take(), places.take()];
        let left: Vec<_> = (0..MAX_PLACES).filter(|n| held[*n].place().must_leave.get()).collect();
        assert_eq!(left, [2, 3]);
        assert_eq!(places.taken.borrow().len(), MAX_PLACES);
        held[2].place().must_end().await;
        drop((held, newcomers));
        assert!(places.taken.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_pushes_nobody_out_who_has_just_come() {
        for is_known in [false, true] {
            let places = Rc::new(Places::default());
            let held: Vec<_> = (0..MAX_PLACES).map(|_| places.take()).collect();
            if is_known {
                held[0].place().asked();
                held[0].place().answered();
            }
            let begun = Instant::now();
            places.room().await;
            let expected = if is_known { Duration::ZERO } else { FRESH };
            assert_eq!(begun.elapsed(), expected, "{is_known}");
            places.room().await;
            assert_eq!(begun.elapsed(), expected, "all have had their time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_reader_gives_way_to_another_of_its_kind() {
        let places = Rc::new(Places::default());
        let held = [places.take(), places.take(), places.take()];
        held[0].place().reads(Reader::Viewer);
        held[1].place().reads(Reader::Scraper);
        held[2].place().reads(Reader::Scraper);
        let left = || held.each_ref().map(|held| held.place().must_leave.get());
        let is_scraper = |reader| reader == Reader::Scraper;
        tokio::time::advance(STALLED / 10 * 9).await;
        places.oust_stalled(is_scraper);
        assert_eq!(left(), [false, false, false], "it may read on");
        held[1].place().wrote(false);
        tokio::time::advance(STALLED / 10).await;
        places.oust_stalled(is_scraper);
        assert_eq!(left(), [false, false, true]);
    }
}
