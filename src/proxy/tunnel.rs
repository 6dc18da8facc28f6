//! Another protocol on both connections, after a 101: bytes, both ways, until both sides end.
//!
//! Each direction ends by itself: a FIN of one side is passed on, and the other side may go on
//! sending (RFC 9110 §7.8 leaves that to the protocol).

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::net::budget::{Charge, Holder};
use crate::net::timer::Timer;
use crate::net::transport::{Pace, PassError, Passed, Scratch, Transport};
use crate::net::turn::give_way;
use crate::proxy::observe::{Observation, OpenConnection};
use crate::proxy::upstream::PooledHttp1;
use crate::proxy::worker::Worker;

/// Pieces moved before other tasks of the worker get a turn, and the sockets are looked at.
const PIECES_PER_TURN: usize = 4;

/// One direction.
struct Direction {
    from: Rc<Transport>,
    to: Rc<Transport>,
    waiting: Vec<u8>,
    /// For what waits.
    charge: Charge,
    at: usize,
    pace: Pace,
    ended: bool,
}

/// Two connections that were spliced.
pub(crate) struct Tunnel {
    up: Direction,
    down: Direction,
    upstream: Option<PooledHttp1>,
    open: Option<OpenConnection>,
}

impl Direction {
    fn new(from: &Rc<Transport>, to: &Rc<Transport>, holder: &Rc<Holder>) -> Self {
        let (from, to) = (Rc::clone(from), Rc::clone(to));
        let charge = holder.charge();
        Self { from, to, waiting: Vec::new(), charge, at: 0, pace: Pace::Read, ended: false }
    }

    /// Moves bytes until the end, which is passed on.
    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<std::io::Result<()>> {
        for _ in 0..PIECES_PER_TURN {
            while let Some(waiting) = self.waiting.get(self.at..).filter(|w| !w.is_empty()) {
                self.at += ready!(self.to.poll_write(cx, &[IoSlice::new(waiting)]))?;
            }
            // Its room is needed seldom.
            self.waiting = Vec::new();
            self.charge.set(0);
            self.at = 0;
            ready!(self.to.poll_flush(cx))?;
            if self.ended {
                return self.to.poll_shutdown(cx);
            }
            if self.pace == Pace::Pass {
                let (to, rest) = (&self.to, &mut self.waiting);
                let passed = self
                    .from
                    .pass(cx, to, usize::MAX, (scratch, rest))
                    .map_err(|(PassError::From(error) | PassError::To(error))| error)?;
                self.charge.set(self.waiting.capacity());
                self.pace = Pace::after_pass(passed, !self.waiting.is_empty());
                match passed {
                    Passed::Bytes(_) => continue,
                    Passed::End => {
                        self.ended = true;
                        continue;
                    }
                    Passed::NotThere | Passed::NotTaken => return Poll::Pending,
                    Passed::Unable => {}
                }
            }
            let most = self.charge.holder().piece_bytes(scratch.len()).min(scratch.len());
            let (scratch, _) = scratch.split_at_mut(most);
            let count = ready!(self.from.poll_read(cx, scratch))?;
            if count == 0 {
                self.ended = true;
                continue;
            }
            let (bytes, _) = scratch.split_at(count);
            let written = match self.to.poll_write(cx, &[IoSlice::new(bytes)]) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.waiting.extend_from_slice(bytes.get(written..).unwrap_or_default());
            self.charge.set(self.waiting.capacity());
            self.pace = Pace::after_read(count, written < count);
        }
        give_way(cx);
        Poll::Pending
    }
}

impl Tunnel {
    /// Gets ready to splice a client's connection with an upstream's.
    pub(crate) fn new(downstream: &Rc<Transport>, upstream: &Rc<Transport>) -> Self {
        let holder = downstream.holder();
        let up = Direction::new(downstream, upstream, holder);
        let down = Direction::new(upstream, downstream, holder);
        Self { up, down, upstream: None, open: None }
    }

    /// The 101 was sent: the request ends here, the connection lives on.
    #[must_use]
    pub(crate) fn started(
        mut self: Box<Self>,
        observation: Observation,
        upstream: PooledHttp1,
    ) -> Box<Self> {
        self.upstream = Some(upstream);
        self.open = Some(observation.switched());
        self
    }

    /// Moves bytes until both directions have ended, or one has failed.
    pub(crate) async fn run(mut self, worker: &Worker) {
        let (mut up, mut down) = (false, false);
        let pause = worker.config.timeouts.idle.min(worker.config.timeouts.header);
        let mut timer = Timer::new(Instant::now() + pause);
        poll_fn(|cx| {
            let mut scratch = worker.scratch.borrow_mut();
            for (way, ended) in [(&mut self.up, &mut up), (&mut self.down, &mut down)] {
                if *ended {
                    continue;
                }
                match way.poll(cx, &mut scratch) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => *ended = true,
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "an upgraded connection broke");
                        return Poll::Ready(());
                    }
                }
            }
            if up && down {
                return Poll::Ready(());
            }
            while timer.has_fired(cx) {
                // Nobody reads from a side that the other does not take from, nor behind a FIN.
                if self.up.from.take_error().or(self.down.from.take_error()).is_some() {
                    return Poll::Ready(());
                }
                timer.arm(Instant::now() + pause);
            }
            Poll::Pending
        })
        .await;
        drop(self.upstream);
        drop(self.open);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::net::budget::{Budget, Holders};
    use crate::net::transport::Socket;
    use crate::net::transport::memory::{MemorySocket, pair};

    const WIDE: (usize, usize) = (1 << 20, usize::MAX);

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// One direction, from a peer to one that has room for so much at a time.
    fn direction(room: usize) -> (Direction, MemorySocket, MemorySocket) {
        let holder = Holders::new(Budget::new(1 << 30)).open();
        let ((from, sender), (to, recipient)) = (pair([WIDE, WIDE]), pair([WIDE, (room, room)]));
        let transport = |socket| Rc::new(Transport::new(Socket::Memory(socket), &holder));
        (Direction::new(&transport(from), &transport(to), &holder), sender, recipient)
    }

    fn sends(peer: &MemorySocket, bytes: &[u8]) {
        let sent = std::pin::pin!(peer.write_all(bytes)).poll(&mut cx());
        assert!(matches!(sent, Poll::Ready(Ok(()))));
    }

    /// What has come, and whether the end has.
    fn takes(peer: &MemorySocket) -> (Vec<u8>, bool) {
        let (mut all, mut room) = (Vec::new(), [0; 100]);
        loop {
            let read = std::pin::pin!(peer.read(&mut room)).poll(&mut cx());
            match read {
                Poll::Ready(Ok(0)) => return (all, true),
                Poll::Ready(Ok(count)) => all.extend_from_slice(&room[..count]),
                Poll::Ready(Err(_)) | Poll::Pending => return (all, false),
            }
        }
    }

    #[test]
    fn what_the_other_side_does_not_take_waits_and_its_sender_with_it() {
        let mut scratch = Scratch::new();
        let (mut way, sender, recipient) = direction(4);
        sends(&sender, b"0123456789");
        assert!(way.poll(&mut cx(), &mut scratch).is_pending());
        assert_eq!((way.waiting.as_slice(), way.pace), (&b"456789"[..], Pace::Pass));
        sends(&sender, b"abc");
        sender.shutdown();
        assert!(way.poll(&mut cx(), &mut scratch).is_pending());
        assert!(way.from.poll_read(&mut cx(), &mut [0; 1]).is_ready(), "the rest was not read");
        let mut got = Vec::new();
        let end = loop {
            let (more, is_end) = takes(&recipient);
            assert!(more.len() <= 4);
            got.extend(more);
            if is_end {
                break way.poll(&mut cx(), &mut scratch);
            }
            let _polled = way.poll(&mut cx(), &mut scratch);
        };
        assert_eq!(got, b"0123456789bc", "the test has taken one byte itself");
        assert!(matches!(end, Poll::Ready(Ok(()))));
    }

    #[test]
    fn what_is_taken_at_once_is_read_again_and_an_end_is_passed_on_once_all_is_out() {
        let mut scratch = Scratch::new();
        let (mut way, sender, recipient) = direction(1 << 16);
        sends(&sender, b"hello");
        assert!(way.poll(&mut cx(), &mut scratch).is_pending());
        assert_eq!((takes(&recipient), way.pace), ((b"hello".to_vec(), false), Pace::Read));
        sends(&sender, b"bye");
        sender.shutdown();
        assert!(matches!(way.poll(&mut cx(), &mut scratch), Poll::Ready(Ok(()))));
        assert_eq!(takes(&recipient), (b"bye".to_vec(), true));
    }

    #[test]
    fn a_side_that_breaks_ends_both() {
        let mut scratch = Scratch::new();
        let (mut way, sender, _recipient) = direction(4);
        sender.abort();
        drop(sender);
        assert!(matches!(way.poll(&mut cx(), &mut scratch), Poll::Ready(Err(_))));
    }
}
