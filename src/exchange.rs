//! One request on one upstream connection: both directions at once, in the client's task.
//!
//! Polled by hand, because everything here happens at the same time: the upload, the answer, a
//! client that leaves, the time limits. One task for both connections saves the switches and the
//! channel that a task for each would cost (measured: benches/README.md).

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::downstream::{Connection, Downstream};
use crate::error::{CLIENT_CLOSED_REQUEST, ProxyError};
use crate::h1::BodyLength;
use crate::labels::ErrorToken;
use crate::observe::Observation;
use crate::pump::{Delimiter, Pump, PumpError, Sink, Source, SourceError};
use crate::request::{After, Request};
use crate::timer::Timer;
use crate::tunnel::Tunnel;
use crate::upstream::Lease;
use crate::worker::Worker;

mod answer;
mod finish;
mod limits;

/// How long a client that waits for a 100 is kept waiting for the upstream's word: as long as curl
/// waits by itself.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Why an exchange goes no further.
#[derive(Debug)]
pub enum Stop {
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
    /// The client waits for a 100.
    Held,
    Running,
    Complete,
    /// The upstream takes no more.
    Refused,
}

/// One request and its answer.
pub struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    downstream: &'a Downstream,
    request: Request,
    lease: Lease,
    upload: Pump,
    state: Upload,
    /// The answer's head so far, where it came in pieces.
    partial: Vec<u8>,
    /// What goes to the client before the answer's head: interim answers.
    interim: Sink,
    /// We have said 100 ourselves.
    continued: bool,
    answer: Option<answer::Answer>,
    tunnel: Option<Tunnel>,
    limit: Option<Timer>,
    stall: limits::Stall,
}

impl<'a> Exchange<'a> {
    /// Gets ready to send `request`.
    pub fn new(
        worker: &'a Rc<Worker>,
        downstream: &'a Downstream,
        mut request: Request,
        lease: Lease,
    ) -> Self {
        let head = std::mem::take(&mut request.head);
        let delimiter = match request.body {
            BodyLength::Chunked => Delimiter::Chunked,
            _ => Delimiter::Plain,
        };
        let named = std::mem::take(&mut request.named);
        let source = Source::new(&downstream.link, request.body, named);
        let upload = Pump::new(source, Sink::new(&lease.link, head, delimiter));
        let state = if request.expects_continue { Upload::Held } else { Upload::Running };
        let wait = if request.expects_continue { Some(CONTINUE_WAIT) } else { None };
        let limit = wait.or(worker.config.timeouts.response);
        request.observation.upstream_write_begun();
        Self {
            worker,
            downstream,
            lease,
            upload,
            state,
            partial: Vec::new(),
            interim: Sink::new(&downstream.link, Vec::new(), Delimiter::Plain),
            continued: false,
            answer: None,
            tunnel: None,
            limit: limit.map(|limit| Timer::new(Instant::now() + limit)),
            stall: limits::Stall::new(),
            request,
        }
    }

    /// What is recorded of the request.
    pub fn observation(&mut self) -> &mut Observation {
        &mut self.request.observation
    }

    /// Tells whether the request may be sent once more, on a fresh connection.
    ///
    /// Only if it was sent on a connection that had served another, and either nothing of it was
    /// written, or it is idempotent, has no body and got not a byte of an answer.
    ///
    /// # Source
    ///
    /// RFC 9110 §9.2.2, RFC 9112 §9.3.1.
    pub fn may_retry(&self) -> bool {
        let link = &self.lease.link;
        let replayable =
            self.request.idempotent && self.upload.bytes == 0 && self.upload.has_ended();
        self.lease.is_reused() && !link.has_received() && (!link.has_sent() || replayable)
    }

    /// Sends the request again.
    pub fn retry(&mut self, lease: Lease) {
        let retries = &self.worker.cold;
        if self.lease.link.has_sent() {
            retries.retries_no_response.increment(1);
        } else {
            retries.retries_not_sent.increment(1);
        }
        self.upload.sink.resend(&lease.link);
        self.lease = lease;
        if self.state != Upload::Held {
            self.state = Upload::Running;
        }
    }

    /// Moves both directions until the answer's head was read and written to the client's sink.
    ///
    /// # Errors
    ///
    /// A [`Stop`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        self.poll_upload(cx)?;
        // Before the answer: whether its client was there to wait for it decides what is counted.
        self.poll_client(cx)?;
        if self.interim.poll_flush(cx).map_err(|_io| Stop::Gone)?.is_ready()
            && self.poll_answer_head(cx)?.is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        self.poll_limit(cx)
    }

    /// Moves both directions until the answer was handed to the client's socket.
    ///
    /// # Errors
    ///
    /// A [`Stop`].
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        if self.tunnel.is_some() {
            return self.interim.poll_flush(cx).map_err(|_io| Stop::Gone);
        }
        match self.poll_upload(cx) {
            // The answer is on its way all the same; what is wrong with the upload ends with it.
            Ok(()) => {}
            Err(Stop::Failed(_)) => self.refuse_upload(),
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
            Poll::Ready(Err(PumpError::Sink(_io))) => return Poll::Ready(Err(Stop::Gone)),
            Poll::Ready(Err(PumpError::Source(_))) => {
                return Poll::Ready(Err(Stop::Cut(ErrorToken::HttpResponseIncomplete)));
            }
            Poll::Pending => {}
        }
        self.poll_client(cx)?;
        Poll::Pending
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Stop> {
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
            Poll::Ready(Ok(())) => {
                self.state = Upload::Complete;
                let limit = self.worker.config.timeouts.response;
                if let (Some(timer), Some(limit)) = (&mut self.limit, limit) {
                    // The upstream cannot be late before it has the whole request.
                    timer.arm(Instant::now() + limit);
                }
            }
            // The answer may have been sent before the upstream stopped reading.
            Poll::Ready(Err(PumpError::Sink(_io))) => self.refuse_upload(),
            Poll::Ready(Err(PumpError::Source(SourceError::Malformed))) => {
                return Err(Stop::Failed(ProxyError::DownstreamBody));
            }
            Poll::Ready(Err(PumpError::Source(SourceError::Io(_) | SourceError::Incomplete))) => {
                return Err(Stop::Gone);
            }
        }
        Ok(())
    }

    fn refuse_upload(&mut self) {
        self.state = Upload::Refused;
    }

    /// Tells whether the client may still be sending a body that nobody reads.
    fn has_unread(&self) -> bool {
        self.state != Upload::Complete && !self.upload.has_ended()
    }

    /// Ends an exchange that went wrong behind its head, or whose client is gone.
    pub fn stopped(mut self, stop: Stop) -> After {
        let answered = self.answer.as_ref().map(|answer| answer.is_delimited);
        match stop {
            Stop::Failed(error) => self.request.observation.set_error(error.token()),
            Stop::Cut(token) => self.request.observation.set_error(token),
            Stop::Slow => {
                self.request.observation.set_error(ErrorToken::DownstreamTimeout);
                if answered.is_none() {
                    self.request.observation.set_unsent_status(408);
                }
            }
            Stop::Gone => {
                self.request.observation.set_error(ErrorToken::DownstreamAborted);
                if answered.is_none() {
                    self.request.observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
                }
            }
        }
        self.request.observation.finish();
        if answered == Some(false) { After::Abort } else { After::Close }
    }

    /// Gives up before a head was sent: what was recorded, and whether a body is left unread.
    pub fn give_up(self) -> (Observation, bool) {
        let unread = self.has_unread();
        (self.request.observation, unread)
    }

    /// What becomes of the client's connection, as far as is known when the head is written.
    fn connection(&self, upstream_keeps: bool) -> Connection {
        let unread = self.has_unread();
        // A body that the client has held back may come or not: nobody could tell what is next.
        let lost = self.state == Upload::Held
            || (unread && (self.state == Upload::Refused || !upstream_keeps));
        if self.request.keep_alive && !lost && !self.worker.drain.is_draining() {
            Connection::Keep
        } else {
            Connection::Close
        }
    }
}
