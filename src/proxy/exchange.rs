//! One request on one upstream connection: both directions at once, in the client's task.
//!
//! Polled by hand, because everything here happens at the same time: the upload, the answer, a
//! client that leaves, the time limits. One task for both connections saves the switches and the
//! channel that a task for each would cost (measured: benches/README.md).

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::http::rewrite::RequestError;
use crate::net::budget::Kept;
use crate::net::timer::Timer;
use crate::proxy::body::{Pump, PumpError, Sink, SourceError};
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::observe::Observation;
use crate::proxy::request::Request;
use crate::proxy::upstream::{PooledConnection, Protocol};
use crate::proxy::worker::Worker;

use self::begin::begin;
use self::deadlines::{HeadDeadline, Stall};
use self::head::{Answer, HeadReader};
use self::retry::{Attempt, Processed};

pub(super) use self::finish::{Finished, is_refused};
pub(crate) use self::retry::RetryReason;

mod begin;
mod deadlines;
mod finish;
mod head;
mod retry;

/// Why there is no answer yet, and will be none of the upstream.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The client can be told.
    Failed(Failure),
    /// There is nobody to tell.
    Aborted(Abort),
}

/// Why the upstream has not answered.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the client is told.
    pub error: ProxyError,
    processed: Processed,
}

/// Why an exchange ends early without an answer of the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Abort {
    /// The upstream's answer ended before its end.
    Incomplete,
    /// The upstream's answer has something behind its head that is not HTTP.
    Malformed,
    /// The client is gone.
    Left,
    /// The client neither sends nor reads.
    Slow,
}

impl From<ProxyError> for ExchangeError {
    fn from(error: ProxyError) -> Self {
        Self::Failed(Failure { error, processed: Processed::Unknown })
    }
}

impl From<Abort> for ExchangeError {
    fn from(abort: Abort) -> Self {
        Self::Aborted(abort)
    }
}

/// How far the request's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Upload {
    /// The client waits for a 100, and nothing of the body is read.
    Held,
    /// The client sends.
    Running,
    /// The upstream's connection has taken all of it.
    Complete,
    /// The upstream takes no more.
    Refused,
}

/// How far it was passed on to the upstream that the client has ended its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HalfClose {
    /// The client's side is open, or the request is not whole.
    Open,
    /// The upstream's connection is being told.
    Passing,
    /// The upstream knows; whether it still answers is its own decision.
    Passed,
}

/// Who has told the client to go on with its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Continue {
    /// The upstream, or nobody.
    Upstream,
    /// The proxy: the upstream's own word would be a second one.
    Proxy,
}

/// How far an answer is.
enum Phase {
    /// Its head has not come.
    AwaitingHead(AwaitingHead),
    /// Its head was written to the client's sink, and the body follows. On the heap: it is handed
    /// up through all that read its head.
    Streaming(Box<Answer>),
    /// It is a 101 on its way to the client. Behind it both connections leave HTTP.
    Switching,
}

/// What is needed until the answer's head has come.
struct AwaitingHead {
    reader: HeadReader,
    deadline: HeadDeadline,
}

/// What an exchange has in all its phases: both sides, and the upload.
struct Sides<'a> {
    worker: &'a Rc<Worker>,
    downstream: Downstream<'a>,
    request: Box<Request>,
    upstream: PooledConnection,
    attempt: Attempt,
    upload: Pump,
    state: Upload,
    half_close: HalfClose,
    said_continue: Continue,
    stall: Stall,
    /// Fires when an HTTP/2 client should have sent more; none before it had to be waited for.
    sender: Option<Timer>,
}

/// One request and its answer.
pub(crate) struct Exchange<'a> {
    sides: Sides<'a>,
    phase: Phase,
}

impl<'a> Exchange<'a> {
    /// Gets ready to send `request`. An upstream that takes no stream shows in [`Self::poll_head`].
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        mut downstream: Downstream<'a>,
        mut request: Box<Request>,
        mut upstream: PooledConnection,
    ) -> Box<Self> {
        let named = std::mem::take(&mut request.named);
        let source = downstream.source(request.body, named, worker.config.max_header_bytes);
        let (sink, reader) = begin(&mut upstream, &mut request, downstream.holder());
        let state = if request.expects_continue { Upload::Held } else { Upload::Running };
        let deadline = HeadDeadline::new(state, &worker.config.timeouts);
        request.observation.upstream_write_begun();
        let sides = Sides {
            worker,
            downstream,
            request,
            upstream,
            attempt: Attempt::First,
            upload: Pump::new(source, sink),
            state,
            half_close: HalfClose::Open,
            said_continue: Continue::Upstream,
            stall: Stall::new(),
            sender: None,
        };
        Box::new(Self { sides, phase: Phase::AwaitingHead(AwaitingHead { reader, deadline }) })
    }

    /// Why the request may be sent once more, on a fresh connection, if it may.
    pub(crate) fn retry_reason(&self, failure: &Failure) -> Option<RetryReason> {
        self.sides.retry_reason(failure)
    }

    /// Sends the request again.
    pub(crate) fn retry(&mut self, mut upstream: PooledConnection, reason: RetryReason) {
        let Self { sides, phase } = self;
        match reason {
            RetryReason::NoResponse => sides.worker.cold.retries_no_response.increment(1),
            RetryReason::NotSent | RetryReason::NotTaken => {
                sides.worker.cold.retries_not_sent.increment(1);
            }
        }
        let reader = if let (Sink::Http1(sink), PooledConnection::Http1(connection)) =
            (&mut sides.upload.sink, &upstream)
        {
            sink.resend(&connection.transport);
            HeadReader::Http1(Kept::new(sides.downstream.holder()))
        } else {
            let (sink, reader) =
                begin(&mut upstream, &mut sides.request, sides.downstream.holder());
            sides.upload.sink = sink;
            reader
        };
        sides.upstream = upstream;
        if reason != RetryReason::NotTaken {
            sides.attempt = Attempt::Second;
        }
        if sides.state != Upload::Held {
            sides.state = Upload::Running;
        }
        let deadline = HeadDeadline::new(sides.state, &sides.worker.config.timeouts);
        *phase = Phase::AwaitingHead(AwaitingHead { reader, deadline });
    }

    /// What the request is sent by, the client's side and what is recorded, while a retry is
    /// connected.
    pub(crate) fn connecting(&mut self) -> (Protocol, &mut Downstream<'a>, &mut Observation) {
        let Sides { request, downstream, .. } = &mut self.sides;
        (request.protocol, downstream, &mut request.observation)
    }

    /// Moves both directions until the answer's head was read and written to the client's sink.
    ///
    /// # Errors
    ///
    /// An [`ExchangeError`].
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match &mut self.phase {
            Phase::AwaitingHead(awaiting) => {
                self.phase = ready!(self.sides.poll_head(awaiting, cx))?;
                Poll::Ready(Ok(()))
            }
            Phase::Streaming(_) | Phase::Switching => Poll::Ready(Ok(())),
        }
    }

    /// Moves both directions until the answer was handed to the client's socket.
    ///
    /// # Errors
    ///
    /// An [`Abort`].
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Abort>> {
        match &mut self.phase {
            Phase::Streaming(answer) => match self.sides.poll_body(answer, cx) {
                Poll::Ready(Err(Abort::Left)) if answer.is_delivered() => Poll::Ready(Ok(())),
                polled => polled,
            },
            Phase::Switching => self.sides.downstream.poll_interim(cx).map_err(|_io| Abort::Left),
            Phase::AwaitingHead(_) => {
                debug_assert!(false, "a body is polled before its head");
                Poll::Ready(Err(Abort::Incomplete))
            }
        }
    }
}

impl Sides<'_> {
    fn poll_head(
        &mut self,
        awaiting: &mut AwaitingHead,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Phase, ExchangeError>> {
        let AwaitingHead { reader, deadline } = awaiting;
        if matches!(reader, HeadReader::NoStream) {
            // Nothing of the body is lost yet: it may go elsewhere.
            return Poll::Ready(Err(self.unanswered(None)));
        }
        self.poll_upload(cx)?;
        // Before the answer: whether its client was there to wait for it decides what is counted.
        self.poll_client(None, cx)?;
        if self.downstream.poll_interim(cx).map_err(|_io| Abort::Left)?.is_ready()
            && let Poll::Ready(phase) = self.poll_answer_head(reader, cx)?
        {
            return Poll::Ready(Ok(phase));
        }
        self.poll_deadline(deadline, cx)?;
        Poll::Pending
    }

    fn poll_body(&mut self, answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Result<(), Abort>> {
        match self.poll_upload(cx) {
            // The answer is on its way all the same; what is wrong with the upload ends with it.
            Ok(()) => {}
            Err(ExchangeError::Failed(_)) => self.state = Upload::Refused,
            Err(ExchangeError::Aborted(abort)) => return Poll::Ready(Err(abort)),
        }
        let moved = answer.pump.poll(cx, &mut self.worker.scratch.borrow_mut());
        self.request.observation.set_bytes(self.upload.bytes, answer.pump.bytes);
        match moved {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                return Poll::Ready(Err(self.answer_broke(&error)));
            }
            Poll::Pending => {}
        }
        self.poll_client(Some(answer), cx)?;
        Poll::Pending
    }

    /// What it means that an answer's body does not go on.
    fn answer_broke(&self, error: &PumpError) -> Abort {
        match error {
            PumpError::Sink(_) => Abort::Left,
            // The upstream gave up because its client has left.
            PumpError::Source(_) if self.half_close != HalfClose::Open => Abort::Left,
            PumpError::Source(SourceError::TrailersTooLarge) => Abort::Malformed,
            PumpError::Source(
                SourceError::Io | SourceError::Incomplete | SourceError::Malformed,
            ) => Abort::Incomplete,
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        let moved = match self.state {
            Upload::Complete | Upload::Refused => return Ok(()),
            Upload::Held => match self.upload.sink.poll_flush(cx) {
                Poll::Ready(Err(io)) => Poll::Ready(Err(PumpError::Sink(io))),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
            Upload::Running => self.upload.poll(cx, &mut self.worker.scratch.borrow_mut()),
        };
        match moved {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.state = Upload::Complete,
            // The answer may have been sent before the upstream stopped reading.
            Poll::Ready(Err(PumpError::Sink(_io))) => self.state = Upload::Refused,
            Poll::Ready(Err(PumpError::Source(error))) => {
                return Err(match error {
                    SourceError::Malformed => ProxyError::DownstreamBody.into(),
                    SourceError::TrailersTooLarge => {
                        ProxyError::Request(RequestError::TrailersTooLarge).into()
                    }
                    SourceError::Io | SourceError::Incomplete => Abort::Left.into(),
                });
            }
        }
        Ok(())
    }

    /// Tells whether the client may still be sending a body that nobody reads.
    fn has_unread(&self) -> bool {
        self.state != Upload::Complete && !self.upload.has_ended()
    }
}
