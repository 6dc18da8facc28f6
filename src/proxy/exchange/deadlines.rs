//! What an exchange waits for, and for how long.

use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::head::Answer;
use super::{Abort, Continue, ExchangeError, HalfClose, Sides, Upload};
use crate::config::Timeouts;
use crate::http::h1::{BodyLength, ResponseHead, Version};
use crate::net::timer::Timer;
use crate::proxy::body::Sink;
use crate::proxy::downstream::{ClientConnection, RESET_CHECK};
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::PooledConnection;

/// How long a client that waits for a 100 is kept waiting for the upstream's word: as long as curl
/// waits by itself.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How often it is looked within `--idle-timeout` whether bytes move: the limit strikes at most a
/// quarter later than it should.
const LOOKS: u32 = 4;

/// What is waited for, with a limit, before the answer's head. Each state of the upload has a timer
/// of its own or none, so that no timer outlives what it was armed for.
pub(super) struct HeadDeadline {
    of: Upload,
    wait: Wait,
}

enum Wait {
    /// For nothing.
    Nothing,
    /// For the upstream's word whether it wants the body; then the proxy says 100 itself.
    Continue(Timer),
    /// For the answer's head, within `--response-timeout`; then there is none.
    Response(Timer, Duration),
}

/// What is late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Late {
    Continue,
    Response,
}

impl HeadDeadline {
    /// What may be late from now on, while the upload is in `state`.
    pub(super) fn new(state: Upload, timeouts: &Timeouts) -> Self {
        let wait = match (state, timeouts.response) {
            (Upload::Held, _) => Wait::Continue(Timer::new(Instant::now() + CONTINUE_WAIT)),
            // The client is still sending; the upstream cannot be late yet.
            (Upload::Running, _) | (Upload::Complete | Upload::Refused, None) => Wait::Nothing,
            (Upload::Complete | Upload::Refused, Some(limit)) => {
                Wait::Response(Timer::new(Instant::now() + limit), limit)
            }
        };
        Self { of: state, wait }
    }

    /// Tells what is late now that the upload is in `state`. While the client holds up interim
    /// answers (`is_held_up`) nothing is read of the upstream: it may have answered long ago.
    fn late(
        &mut self,
        state: Upload,
        is_held_up: bool,
        timeouts: &Timeouts,
        cx: &mut Context<'_>,
    ) -> Option<Late> {
        if self.of != state {
            *self = Self::new(state, timeouts);
        }
        match &mut self.wait {
            Wait::Nothing => None,
            Wait::Continue(timer) => timer.has_fired(cx).then_some(Late::Continue),
            Wait::Response(timer, limit) => {
                while timer.has_fired(cx) {
                    if !is_held_up {
                        return Some(Late::Response);
                    }
                    timer.arm(Instant::now() + *limit);
                }
                None
            }
        }
    }
}

/// When bytes moved last.
pub(super) struct Stall {
    bytes: u64,
    since: Instant,
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { bytes: 0, since: Instant::now() }
    }

    /// Tells whether nothing has moved for `limit`.
    fn is_over(&mut self, limit: Duration, bytes: u64) -> bool {
        let now = Instant::now();
        if bytes != self.bytes {
            *self = Self { bytes, since: now };
        }
        now >= self.since + limit
    }

    /// Looks a few times within `limit`, by a timer that is armed when it is first asked.
    fn strikes(
        &mut self,
        timer: &mut Option<Timer>,
        limit: Duration,
        bytes: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), Abort> {
        let look = || Instant::now() + limit / LOOKS;
        let timer = timer.get_or_insert_with(|| Timer::new(look()));
        while timer.has_fired(cx) {
            if self.is_over(limit, bytes) {
                return Err(Abort::Slow);
            }
            timer.arm(look());
        }
        Ok(())
    }
}

impl Sides<'_> {
    /// Looks whether the client is still there, and for how long nothing has moved. `answer`, once
    /// there is one.
    pub(super) fn poll_client(
        &mut self,
        answer: Option<&mut Answer>,
        cx: &mut Context<'_>,
    ) -> Result<(), Abort> {
        let mut answer = answer;
        // While a body is read from the connection, its end tells.
        let reads = self.state == Upload::Running && !self.upload.has_ended();
        let gone = match (answer.as_deref_mut().map(|answer| &mut answer.pump.sink), reads) {
            (Some(Sink::Http2(sink)), _) => sink.poll_reset(cx),
            (Some(Sink::Http1(_) | Sink::None) | None, true)
                if self.downstream.http1().is_some() =>
            {
                Poll::Pending
            }
            (Some(Sink::Http1(_) | Sink::None) | None, _) => {
                self.downstream.poll_gone(cx, self.worker)
            }
        };
        if gone.is_ready() {
            return Err(Abort::Left);
        }
        self.poll_half_close(cx)?;
        match (self.downstream.http1(), answer) {
            (Some(client), answer) => self.poll_connection(client, answer.as_deref(), cx),
            (None, Some(answer)) => self.poll_reader(answer, cx),
            (None, None) => self.poll_sender(cx),
        }
    }

    /// Looks at an HTTP/1 client's connection, whenever its timer fires.
    fn poll_connection(
        &mut self,
        client: &ClientConnection,
        answer: Option<&Answer>,
        cx: &mut Context<'_>,
    ) -> Result<(), Abort> {
        let half_closed = client.transport.is_eof();
        let mut timer = client.timer.borrow_mut();
        if half_closed {
            timer.arm_by(Instant::now() + RESET_CHECK);
        }
        let timeouts = &self.worker.config.timeouts;
        while timer.has_fired(cx) {
            // A reader learns of a reset; here may be none, behind a FIN or while the upstream does
            // not take the body.
            if client.transport.take_error().is_some() {
                return Err(Abort::Left);
            }
            let answered = answer.map_or(0, |answer| answer.pump.bytes);
            let moved = self.upload.bytes + answered + self.downstream.interim_bytes();
            if self.stall.is_over(timeouts.idle, moved) && self.waits_for_client(answer) {
                return Err(Abort::Slow);
            }
            let pause = (timeouts.idle / LOOKS).min(timeouts.header);
            let pause = if half_closed { RESET_CHECK } else { pause };
            timer.arm(Instant::now() + pause);
        }
        Ok(())
    }

    /// Passes on that the client has ended its side, as far as the upstream's protocol can say it.
    ///
    /// HTTP/1 can: a FIN behind a whole request, on a connection that is this request's own. The
    /// upstream does then what it would do without a proxy: give up, or answer a client that may
    /// have half-closed only (RFC 9112 §9.6). HTTP/2 has no such word; its stream is cancelled.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Result<(), Abort> {
        let client = self.downstream.http1();
        if self.state == Upload::Held && client.is_some_and(|client| client.transport.is_eof()) {
            // It asks no more whether to send: it has sent the body already, or never will.
            self.state = Upload::Running;
            cx.waker().wake_by_ref();
        }
        let finished = client.and_then(|client| client.finished(self.worker));
        if finished.is_none() || self.half_close == HalfClose::Passed {
            return Ok(());
        }
        match (self.state, &self.upstream) {
            // The body's reader meets the end by itself.
            (Upload::Held | Upload::Running, _) => {}
            // What is waited for will not come.
            (Upload::Complete | Upload::Refused, PooledConnection::Http2(_)) => {
                return Err(Abort::Left);
            }
            // A kept connection that the upstream has closed meanwhile says nothing of this client:
            // the request is sent again, and its end behind it.
            (Upload::Complete | Upload::Refused, PooledConnection::Http1(connection))
                if self.half_close == HalfClose::Open
                    && connection.is_reused()
                    && !connection.transport.has_received()
                    && connection.transport.is_readable() => {}
            (Upload::Complete | Upload::Refused, PooledConnection::Http1(connection)) => {
                self.half_close = HalfClose::Passing;
                // An upstream that is gone already shows where its answer is read.
                if connection.transport.poll_shutdown(cx).is_ready() {
                    self.half_close = HalfClose::Passed;
                }
            }
        }
        Ok(())
    }

    /// An HTTP/2 client that reads nothing of its connection holds one to the upstream.
    fn poll_reader(&mut self, answer: &mut Answer, cx: &mut Context<'_>) -> Result<(), Abort> {
        if !answer.pump.sink.is_blocked() {
            return Ok(());
        }
        let limit = self.worker.config.timeouts.idle;
        let moved = answer.pump.bytes + self.downstream.taken_beside();
        self.stall.strikes(&mut answer.reader, limit, moved, cx)
    }

    /// An HTTP/2 client that stops within its upload does so, too; unless in a call, or behind the
    /// answer's head: it may be the app's turn.
    fn poll_sender(&mut self, cx: &mut Context<'_>) -> Result<(), Abort> {
        if self.request.is_grpc || !self.sends() {
            return Ok(());
        }
        let limit = self.worker.config.timeouts.idle;
        self.stall.strikes(&mut self.sender, limit, self.upload.bytes, cx)
    }

    /// It is the client's turn to send more of its upload.
    fn sends(&self) -> bool {
        self.state == Upload::Running && !self.upload.has_ended() && !self.upload.sink.is_blocked()
    }

    fn waits_for_client(&self, answer: Option<&Answer>) -> bool {
        self.sends()
            || self.downstream.holds_interim()
            || answer.is_some_and(|answer| answer.pump.sink.is_blocked())
    }

    /// Looks whether something is late before the answer's head is there.
    pub(super) fn poll_deadline(
        &mut self,
        deadline: &mut HeadDeadline,
        cx: &mut Context<'_>,
    ) -> Result<(), ExchangeError> {
        let is_held_up = self.downstream.holds_interim();
        match deadline.late(self.state, is_held_up, &self.worker.config.timeouts, cx) {
            None => Ok(()),
            Some(Late::Response) => Err(ProxyError::ResponseTimeout.into()),
            Some(Late::Continue) => {
                // Whoever waits longer has to be told, or both would wait for each other.
                self.said_continue = Continue::Proxy;
                self.state = Upload::Running;
                cx.waker().wake_by_ref();
                let head = ResponseHead {
                    status: StatusCode::CONTINUE,
                    reason: b"Continue",
                    version: Version::Http11,
                    fields: &[],
                    body: BodyLength::None,
                };
                self.send_interim(&head, cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn on_a_set_clock(test: impl Future<Output = ()>) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(test);
    }

    fn timeouts(response: Option<Duration>) -> Timeouts {
        Timeouts {
            connect: MS,
            header: MS,
            idle: MS,
            response,
            upstream_idle: MS,
            shutdown_delay: MS,
            shutdown: MS,
        }
    }

    /// What is late after so long in `state`, to the millisecond; nothing was late before.
    async fn becomes_late(
        deadline: &mut HeadDeadline,
        state: Upload,
        timeouts: &Timeouts,
        after: Duration,
    ) -> Option<Late> {
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(deadline.late(state, false, timeouts, &mut cx), None, "{state:?}");
        advance(after.saturating_sub(MS)).await;
        assert_eq!(deadline.late(state, false, timeouts, &mut cx), None, "{state:?}");
        // The timer wheel fires at the end of a millisecond.
        advance(MS).await;
        deadline.late(state, false, timeouts, &mut cx)
    }

    #[test]
    fn each_state_of_an_upload_has_a_deadline_of_its_own() {
        let limit = 700 * MS;
        for (state, response, after, expected) in [
            (Upload::Held, None, CONTINUE_WAIT, Some(Late::Continue)),
            (Upload::Held, Some(limit), CONTINUE_WAIT, Some(Late::Continue)),
            (Upload::Running, None, 1_000_000 * MS, None),
            (Upload::Running, Some(limit), 1_000_000 * MS, None),
            (Upload::Complete, None, 1_000_000 * MS, None),
            (Upload::Complete, Some(limit), limit, Some(Late::Response)),
            (Upload::Refused, None, 1_000_000 * MS, None),
            (Upload::Refused, Some(limit), limit, Some(Late::Response)),
        ] {
            on_a_set_clock(async {
                let timeouts = timeouts(response);
                let mut deadline = HeadDeadline::new(state, &timeouts);
                let late = becomes_late(&mut deadline, state, &timeouts, after).await;
                assert_eq!(late, expected, "{state:?} {response:?}");
            });
        }
    }

    #[test]
    fn no_deadline_outlives_the_state_that_it_was_for() {
        let states = [Upload::Held, Upload::Running, Upload::Complete, Upload::Refused];
        for before in states {
            for after in states.into_iter().filter(|after| *after != before) {
                on_a_set_clock(async {
                    let timeouts = timeouts(Some(2 * CONTINUE_WAIT));
                    let mut deadline = HeadDeadline::new(before, &timeouts);
                    let mut cx = Context::from_waker(Waker::noop());
                    advance(CONTINUE_WAIT.saturating_sub(MS)).await;
                    assert_eq!(deadline.late(before, false, &timeouts, &mut cx), None);
                    let (limit, expected) = match after {
                        Upload::Held => (CONTINUE_WAIT, Some(Late::Continue)),
                        Upload::Running => (100 * CONTINUE_WAIT, None),
                        Upload::Complete | Upload::Refused => {
                            (2 * CONTINUE_WAIT, Some(Late::Response))
                        }
                    };
                    let late = becomes_late(&mut deadline, after, &timeouts, limit).await;
                    assert_eq!(late, expected, "{before:?} {after:?}");
                });
            }
        }
    }

    #[test]
    fn an_upstream_is_not_late_while_the_client_holds_it_up() {
        on_a_set_clock(async {
            let timeouts = timeouts(Some(700 * MS));
            let mut deadline = HeadDeadline::new(Upload::Complete, &timeouts);
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                advance(700 * MS).await;
                assert_eq!(deadline.late(Upload::Complete, true, &timeouts, &mut cx), None);
            }
            advance(699 * MS).await;
            assert_eq!(deadline.late(Upload::Complete, false, &timeouts, &mut cx), None);
            advance(MS).await;
            let late = deadline.late(Upload::Complete, false, &timeouts, &mut cx);
            assert_eq!(late, Some(Late::Response));
        });
    }

    #[test]
    fn a_stall_is_over_its_limit_only_if_no_byte_has_moved() {
        on_a_set_clock(async {
            let mut stall = Stall::new();
            for (pause, bytes, expected) in [
                (699 * MS, 0, false),
                (MS, 0, true),
                (Duration::ZERO, 1, false),
                (699 * MS, 1, false),
                (MS, 2, false),
                (700 * MS, 2, true),
                (MS, 2, true),
                (MS, 3, false),
            ] {
                advance(pause).await;
                assert_eq!(stall.is_over(700 * MS, bytes), expected, "{pause:?} {bytes}");
            }
        });
    }
}
