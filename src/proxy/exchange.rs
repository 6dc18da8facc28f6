//! One request on one upstream connection: both directions at once, in the client's task.
//!
//! Polled by hand, because everything here happens at the same time: the upload, the answer, a
//! client that leaves, the time limits. One task for both connections saves the switches and the
//! channel that a task for each would cost (measured: benches/README.md).

use std::rc::Rc;
use std::task::{Context, Poll};

use ::h2::client::ResponseFuture;

use crate::http::rewrite::RequestError;
use crate::metrics::labels::ErrorToken;
use crate::net::timer::Timer;
use crate::net::transport::Transport;
use crate::proxy::body::{Delimiter, Pump, PumpError, Sink, SourceError, WireSink};
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::observe::Observation;
use crate::proxy::request::Request;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::{PooledConnection, Protocol};
use crate::proxy::worker::Worker;

use self::deadlines::HeadDeadline;
pub(super) use self::finish::is_refused;
use self::head::Answer;

mod begin;
mod deadlines;
mod finish;
mod h2;
mod head;
mod switch;

/// Why an exchange goes no further.
#[derive(Debug)]
pub enum ExchangeError {
    /// There was no answer, and the client can be told.
    Failed(ProxyError),
    /// The answer broke behind its head.
    Cut(ErrorToken),
    /// The client is gone.
    Gone,
    /// The client neither sends nor reads.
    Slow,
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

/// What is known of a request that got no answer on its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Processed {
    Unknown,
    /// The upstream says that it did nothing with it.
    Unprocessed,
    /// The connection ended under it.
    Lost,
}

/// One request and its answer.
pub struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    front: Downstream<'a>,
    request: Box<Request>,
    lease: PooledConnection,
    /// The answer that is expected on an HTTP/2 stream.
    response: Option<ResponseFuture>,
    fate: Processed,
    /// It was sent again already.
    retried: bool,
    upload: Pump,
    state: Upload,
    half_close: HalfClose,
    /// The answer's head so far, where it came in pieces.
    partial: Vec<u8>,
    /// What goes to an HTTP/1 client before the answer's head: interim answers.
    interim: Option<WireSink>,
    /// What an HTTP/2 client may still get of interim answers.
    interim_room_bytes: usize,
    /// We have said 100 ourselves.
    continued: bool,
    answer: Option<Answer>,
    tunnel: Option<Box<Tunnel>>,
    deadline: HeadDeadline,
    stall: deadlines::Stall,
    /// Fires when an HTTP/2 client should have read; none before it had to be waited for.
    reader: Option<Timer>,
}

impl<'a> Exchange<'a> {
    /// Gets ready to send `request`. An upstream that takes no stream shows in [`Self::poll_head`].
    pub fn new(
        worker: &'a Rc<Worker>,
        mut front: Downstream<'a>,
        mut request: Box<Request>,
        mut lease: PooledConnection,
    ) -> Box<Self> {
        let named = std::mem::take(&mut request.named);
        let source = front.source(request.body, named, worker.config.max_header_bytes);
        let (sink, response) = begin::begin(&mut lease, &mut request);
        let interim = front
            .wire()
            .map(|downstream| WireSink::new(&downstream.link, Vec::new(), Delimiter::Plain));
        let state = if request.expects_continue { Upload::Held } else { Upload::Running };
        let deadline = HeadDeadline::of(state, &worker.config.timeouts);
        request.observation.upstream_write_begun();
        Box::new(Self {
            worker,
            front,
            lease,
            response,
            fate: Processed::Unknown,
            retried: false,
            upload: Pump::new(source, sink),
            state,
            half_close: HalfClose::Open,
            partial: Vec::new(),
            interim,
            interim_room_bytes: worker.config.max_header_bytes,
            continued: false,
            answer: None,
            tunnel: None,
            deadline,
            stall: deadlines::Stall::new(),
            reader: None,
            request,
        })
    }

    /// Tells whether the request may be sent once more, on a fresh connection.
    ///
    /// Once, if no time limit struck; only if it was sent on a connection that had served another,
    /// and either nothing of it was written, or it is idempotent, has no body (not even an empty
    /// one, whose end was written) and got not a byte of an answer. A stream that the upstream says
    /// it did not process may go anywhere.
    ///
    /// # Source
    ///
    /// RFC 9110 §9.2.2, RFC 9112 §9.3.1.
    pub fn may_retry(&self, error: &ProxyError) -> bool {
        // What was waited for in vain would be waited for again; and one more try is enough.
        let is_final = matches!(
            error,
            ProxyError::ResponseTimeout | ProxyError::DownstreamBody | ProxyError::Request(_)
        );
        if self.retried || is_final {
            return false;
        }
        // An upstream that gave up because its client left has not lost the request.
        if self.half_close != HalfClose::Open {
            return false;
        }
        // The end of a body is no byte of it, but cannot be read a second time either.
        let has_body = self.request.has_body();
        let untouched = self.upload.bytes == 0 && !(has_body && self.upload.has_ended());
        let replayable = self.request.is_replayable();
        match &self.lease {
            PooledConnection::Wire(lease) => {
                let link = &lease.link;
                lease.is_reused() && !link.has_received() && (!link.has_sent() || replayable)
            }
            // RFC 9113 §8.7: refused streams, and those beyond a GOAWAY, were not processed.
            PooledConnection::Stream(lease) => {
                (self.fate == Processed::Unprocessed && untouched)
                    || (self.fate == Processed::Lost && lease.reused && replayable)
            }
        }
    }

    /// Sends the request again.
    pub fn retry(&mut self, mut lease: PooledConnection) {
        let retries = &self.worker.cold;
        if self.fate == Processed::Lost || self.link().is_some_and(Transport::has_sent) {
            retries.retries_no_response.increment(1);
        } else {
            retries.retries_not_sent.increment(1);
        }
        if let (Sink::Wire(sink), PooledConnection::Wire(lease)) = (&mut self.upload.sink, &lease) {
            sink.resend(&lease.link);
        } else {
            (self.upload.sink, self.response) = begin::begin(&mut lease, &mut self.request);
        }
        self.lease = lease;
        self.fate = Processed::Unknown;
        self.retried = true;
        if self.state != Upload::Held {
            self.enter(Upload::Running);
        }
    }

    /// The upstream's connection, where it is HTTP/1.
    fn link(&self) -> Option<&Transport> {
        match &self.lease {
            PooledConnection::Wire(lease) => Some(&lease.link),
            PooledConnection::Stream(_) => None,
        }
    }

    /// What the request is sent by, the client's side and what is recorded, while a retry is
    /// connected.
    pub fn front(&mut self) -> (Protocol, &mut Downstream<'a>, &mut Observation) {
        (self.request.protocol, &mut self.front, &mut self.request.observation)
    }

    /// Moves both directions until the answer's head was read and written to the client's sink.
    ///
    /// # Errors
    ///
    /// A [`ExchangeError`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if matches!(self.lease, PooledConnection::Stream(_)) && self.response.is_none() {
            // The connection took no stream. Nothing of the body is lost yet: it may go elsewhere.
            return Poll::Ready(Err(self.unanswered(None)));
        }
        self.poll_upload(cx)?;
        // Before the answer: whether its client was there to wait for it decides what is counted.
        self.poll_client(cx)?;
        if self.poll_interim(cx)?.is_ready() && self.poll_answer_head(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_deadline(cx)
    }

    /// Moves both directions until the answer was handed to the client's socket.
    ///
    /// # Errors
    ///
    /// A [`ExchangeError`].
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match self.poll_directions(cx) {
            Poll::Ready(Err(ExchangeError::Gone))
                if self.answer.as_ref().is_some_and(Answer::is_delivered) =>
            {
                Poll::Ready(Ok(()))
            }
            polled => polled,
        }
    }

    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.tunnel.is_some() {
            return self.poll_interim(cx);
        }
        match self.poll_upload(cx) {
            // The answer is on its way all the same; what is wrong with the upload ends with it.
            Ok(()) => {}
            Err(ExchangeError::Failed(_)) => self.enter(Upload::Refused),
            Err(stop) => return Poll::Ready(Err(stop)),
        }
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(Ok(()));
        };
        let moved = answer.pump.poll(cx, &mut self.worker.scratch.borrow_mut());
        let (sent, received) = (self.upload.bytes, answer.pump.bytes);
        self.request.observation.set_bytes(sent, received);
        match moved {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(PumpError::Sink(_io))) => return Poll::Ready(Err(ExchangeError::Gone)),
            Poll::Ready(Err(PumpError::Source(_))) if self.half_close != HalfClose::Open => {
                return Poll::Ready(Err(ExchangeError::Gone));
            }
            Poll::Ready(Err(PumpError::Source(SourceError::TrailersTooLarge))) => {
                return Poll::Ready(Err(ExchangeError::Cut(ErrorToken::HttpProtocolError)));
            }
            Poll::Ready(Err(PumpError::Source(
                SourceError::Io(_) | SourceError::Incomplete | SourceError::Malformed,
            ))) => {
                return Poll::Ready(Err(ExchangeError::Cut(ErrorToken::HttpResponseIncomplete)));
            }
            Poll::Pending => {}
        }
        self.poll_client(cx)?;
        Poll::Pending
    }

    /// The upload is in another state; what the answer's head may be late for depends on it.
    fn enter(&mut self, state: Upload) {
        self.state = state;
        if self.answer.is_none() {
            self.deadline = HeadDeadline::of(state, &self.worker.config.timeouts);
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match &mut self.interim {
            Some(sink) => sink.poll_flush(cx).map_err(|_io| ExchangeError::Gone),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        let result = match self.state {
            Upload::Complete | Upload::Refused => return Ok(()),
            Upload::Held => match self.upload.sink.poll_flush(cx) {
                Poll::Ready(Err(io)) => Poll::Ready(Err(PumpError::Sink(io))),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
            Upload::Running => self.upload.poll(cx, &mut self.worker.scratch.borrow_mut()),
        };
        match result {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.enter(Upload::Complete),
            // The answer may have been sent before the upstream stopped reading.
            Poll::Ready(Err(PumpError::Sink(_io))) => self.enter(Upload::Refused),
            Poll::Ready(Err(PumpError::Source(SourceError::Malformed))) => {
                return Err(ExchangeError::Failed(ProxyError::DownstreamBody));
            }
            Poll::Ready(Err(PumpError::Source(SourceError::TrailersTooLarge))) => {
                return Err(ExchangeError::Failed(ProxyError::Request(
                    RequestError::TrailersTooLarge,
                )));
            }
            Poll::Ready(Err(PumpError::Source(SourceError::Io(_) | SourceError::Incomplete))) => {
                return Err(ExchangeError::Gone);
            }
        }
        Ok(())
    }

    /// Tells whether the client may still be sending a body that nobody reads.
    pub(super) fn has_unread(&self) -> bool {
        self.state != Upload::Complete && !self.upload.has_ended()
    }
}
