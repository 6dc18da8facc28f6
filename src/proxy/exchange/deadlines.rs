//! What an exchange waits for, and for how long.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::{Exchange, ExchangeError, HalfClose, Upload};
use crate::config::Timeouts;
use crate::http::h1::{BodyLength, ResponseHead, Version};
use crate::net::timer::Timer;
use crate::proxy::body::{Sink, WireSink};
use crate::proxy::downstream::RESET_CHECK;
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::PooledConnection;

/// How long a client that waits for a 100 is kept waiting for the upstream's word: as long as curl
/// waits by itself.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What is waited for, with a limit, before the answer's head.
pub(super) enum HeadDeadline {
    /// Nothing.
    None,
    /// The upstream's word whether it wants the body; then the proxy says 100 itself.
    Continue(Timer),
    /// The answer's head, within `--response-timeout`; then there is none.
    Response(Timer),
}

/// When bytes moved last.
pub(super) struct Stall {
    bytes: u64,
    since: Instant,
}

impl Exchange<'_> {
    /// Looks whether the client is still there, and for how long nothing has moved.
    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        let answered = match &mut self.answer {
            Some(answer) => match &mut answer.pump.sink {
                Sink::Frames(sink) => Some(sink.poll_reset(cx)),
                _ => None,
            },
            None => None,
        };
        // While a body is read from the connection, its end tells.
        let reads = self.state == Upload::Running && !self.upload.has_ended();
        let gone = match (answered, self.front.wire()) {
            (Some(gone), _) => gone,
            (None, Some(_)) if reads => Poll::Pending,
            _ => self.front.poll_gone(cx, self.worker),
        };
        if gone.is_ready() {
            return Err(ExchangeError::Gone);
        }
        self.poll_half_close(cx)?;
        let Some(downstream) = self.front.wire() else {
            return self.poll_reader(cx);
        };
        let half_closed = downstream.link.is_eof();
        let mut timer = downstream.timer.borrow_mut();
        if half_closed {
            timer.arm_by(Instant::now() + RESET_CHECK);
        }
        while timer.has_fired(cx) {
            // A reader learns of a reset; here may be none, behind a FIN or while the upstream does
            // not take the body.
            if downstream.link.take_error().is_some() {
                return Err(ExchangeError::Gone);
            }
            let interim = self.interim.as_ref().map_or(0, |sink| sink.written_bytes);
            let answered = self.answer.as_ref().map_or(0, |answer| answer.pump.bytes);
            let moved = self.upload.bytes + answered + interim;
            let is_over = self.stall.is_over(&self.worker.config.timeouts.idle, moved);
            if is_over && self.waits_for_client() {
                return Err(ExchangeError::Slow);
            }
            let timeouts = &self.worker.config.timeouts;
            let pause = if half_closed { RESET_CHECK } else { timeouts.idle.min(timeouts.header) };
            timer.arm(Instant::now() + pause);
        }
        Ok(())
    }

    /// Passes on that the client has ended its side, as far as the upstream's protocol can say it.
    ///
    /// HTTP/1 can: a FIN behind a whole request, on a connection that is this request's own. The
    /// upstream does then what it would do without a proxy: give up, or answer a client that may
    /// have half-closed only (RFC 9112 §9.6). HTTP/2 has no such word; its stream is cancelled.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        let finished = self.front.wire().and_then(|client| client.finished(self.worker));
        if finished.is_none() || self.half_close == HalfClose::Passed {
            return Ok(());
        }
        match (self.state, &self.lease) {
            // The body's reader meets the end by itself.
            (Upload::Running, _) => {}
            // What is waited for will not come.
            (Upload::Held, _)
            | (Upload::Complete | Upload::Refused, PooledConnection::Stream(_)) => {
                return Err(ExchangeError::Gone);
            }
            // A kept connection that the upstream has closed meanwhile says nothing of this client:
            // the request is sent again, and its end behind it.
            (Upload::Complete | Upload::Refused, PooledConnection::Wire(lease))
                if self.half_close == HalfClose::Open
                    && lease.is_reused()
                    && !lease.link.has_received()
                    && lease.link.is_readable() => {}
            (Upload::Complete | Upload::Refused, PooledConnection::Wire(lease)) => {
                self.half_close = HalfClose::Passing;
                // An upstream that is gone already shows where its answer is read.
                if lease.link.poll_shutdown(cx).is_ready() {
                    self.half_close = HalfClose::Passed;
                }
            }
        }
        Ok(())
    }

    /// An HTTP/2 client that never opens its window holds a connection to the upstream. One that
    /// only sends nothing may have a call open in which it is the app's turn.
    fn poll_reader(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        let Some(answer) = self.answer.as_ref().filter(|answer| answer.pump.sink.is_blocked())
        else {
            return Ok(());
        };
        let (limit, moved) = (self.worker.config.timeouts.idle, answer.pump.bytes);
        let timer = self.reader.get_or_insert_with(|| Timer::new(Instant::now() + limit));
        while timer.has_fired(cx) {
            if self.stall.is_over(&limit, moved) {
                return Err(ExchangeError::Slow);
            }
            timer.arm(Instant::now() + limit);
        }
        Ok(())
    }

    fn waits_for_client(&self) -> bool {
        let sends = self.state == Upload::Running
            && !self.upload.has_ended()
            && !self.upload.sink.is_blocked();
        let hints = self.interim.as_ref().is_some_and(WireSink::is_blocked);
        sends || hints || self.answer.as_ref().is_some_and(|answer| answer.pump.sink.is_blocked())
    }

    /// Looks whether something is late before the answer's head is there.
    pub(super) fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ExchangeError>> {
        match &mut self.deadline {
            HeadDeadline::None => Poll::Pending,
            HeadDeadline::Continue(timer) => {
                if timer.has_fired(cx) {
                    // Whoever waits longer has to be told, or both would wait for each other.
                    self.continued = true;
                    self.enter(Upload::Running);
                    let fields = &[];
                    self.send_interim(
                        cx,
                        &ResponseHead {
                            status: http::StatusCode::CONTINUE,
                            reason: b"Continue",
                            version: Version::Http11,
                            fields,
                            body: BodyLength::None,
                        },
                    )?;
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            HeadDeadline::Response(timer) => {
                while timer.has_fired(cx) {
                    let blocked = self.interim.as_ref().is_some_and(WireSink::is_blocked);
                    let Some(limit) = self.worker.config.timeouts.response.filter(|_| blocked)
                    else {
                        return Poll::Ready(Err(ExchangeError::Failed(
                            ProxyError::ResponseTimeout,
                        )));
                    };
                    // The client holds up interim answers, so nothing is read of the upstream: it
                    // may have answered long ago.
                    timer.arm(Instant::now() + limit);
                }
                Poll::Pending
            }
        }
    }
}

impl HeadDeadline {
    /// What may be late while the upload is in `state`. Each state has a timer of its own or none,
    /// so that no timer outlives what it was armed for.
    pub(super) fn of(state: Upload, timeouts: &Timeouts) -> Self {
        match state {
            Upload::Held => Self::Continue(Timer::new(Instant::now() + CONTINUE_WAIT)),
            // The client is still sending; the upstream cannot be late yet.
            Upload::Running => Self::None,
            Upload::Complete | Upload::Refused => match timeouts.response {
                Some(limit) => Self::Response(Timer::new(Instant::now() + limit)),
                None => Self::None,
            },
        }
    }
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { bytes: 0, since: Instant::now() }
    }

    /// Tells whether nothing has moved for `limit`.
    fn is_over(&mut self, limit: &Duration, bytes: u64) -> bool {
        let now = Instant::now();
        if bytes != self.bytes {
            *self = Self { bytes, since: now };
        }
        now >= self.since + *limit
    }
}
