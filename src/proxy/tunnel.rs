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
