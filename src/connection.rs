//! Supervises one client connection around hyper: time limits, vanished clients, drain, and a
//! close that does not destroy the last answer.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use crate::body::ResponseBody;
use crate::downstream::{Delivery, Downstream, DownstreamIo};
use crate::drain::Guard;
use crate::forward;
use crate::observe::record_unparsed;
use crate::upstream::Pool;
use crate::worker::Worker;

pub use self::closing::close;

mod closing;

/// How long an idle connection may still send a request after the shutdown began.
///
/// A client that sent one just before it could know must not lose it; a second is many round
/// trips.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How a connection ended.
enum End {
    /// hyper is done.
    Done(hyper::Result<()>),
    /// A request head did not arrive in time.
    HeadTimeout,
    /// Nothing was under way for too long.
    Idle,
    /// The client's kernel sent a reset.
    Gone,
}

/// Leaves no request undecided, also when the connection's task is cut off.
struct Settle(Rc<Downstream>);

impl Drop for Settle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Serves a connection to its end. The guard keeps the shutdown waiting meanwhile.
pub async fn serve(
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    builder: http1::Builder,
    downstream: Rc<Downstream>,
    guard: Guard,
) {
    let _settle = Settle(Rc::clone(&downstream));
    let end = {
        let service = service_fn(|request: Request<Incoming>| {
            forward::handle(Rc::clone(&worker), Rc::clone(&pool), Rc::clone(&downstream), request)
        });
        let io = TokioIo::new(DownstreamIo(Rc::clone(&downstream)));
        let connection = builder.serve_connection(io, service);
        supervise(&worker, &downstream, &guard, connection).await
    };
    match end {
        End::Done(Ok(())) | End::Idle => {}
        End::Done(Err(error)) => {
            // With half a request behind the FIN the answer may still have arrived: ask the kernel.
            if !error.is_parse() && !error.is_incomplete_message() {
                // The answer could not be written: whoever sent the FIN is gone.
                downstream.decide(Delivery::Aborted);
            }
            answer_unparsed(&worker, &downstream, &error);
        }
        End::HeadTimeout => {
            record_unparsed(&worker, 408);
            downstream.try_answer(&raw_answer("408 Request Timeout"));
            downstream.mark_unread_upload();
        }
        End::Gone => downstream.decide(Delivery::Aborted),
    }
    close(&downstream).await;
}

async fn supervise<S, F>(
    worker: &Worker,
    downstream: &Downstream,
    guard: &Guard,
    connection: http1::Connection<TokioIo<DownstreamIo>, S>,
) -> End
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<ResponseBody>,
            Error = Infallible,
            Future = F,
        >,
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    let mut connection = pin!(connection);
    let mut closing = false;
    let mut deadlines = Deadlines::new(worker, downstream);
    poll_fn(|cx| {
        let draining = guard.is_draining(cx);
        if draining && !closing && deadlines.may_close(cx) {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(End::Done(result));
        }
        // The head may have come, or the answer ended, in this very poll.
        if draining && !closing && deadlines.may_close(cx) {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        if downstream.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        deadlines.poll(cx)
    })
    .await
}

/// The time limits of a connection, on one timer that is hardly ever moved.
///
/// A request costs no timer operation: the timer stays where it is, and only when it fires does
/// anybody look whether its moment has really come.
struct Deadlines<'a> {
    worker: &'a Worker,
    downstream: &'a Downstream,
    sleep: Pin<Box<Sleep>>,
    /// The timer knows whom to wake.
    armed: bool,
    opened: Instant,
    head_since: Option<Instant>,
    reset_check: bool,
    drain_sleep: Option<Pin<Box<Sleep>>>,
}

impl<'a> Deadlines<'a> {
    fn new(worker: &'a Worker, downstream: &'a Downstream) -> Self {
        let opened = Instant::now();
        let timeouts = &worker.config.timeouts;
        let first = opened + timeouts.header.min(timeouts.idle);
        let sleep = Box::pin(tokio::time::sleep_until(first));
        Self {
            worker,
            downstream,
            sleep,
            armed: false,
            opened,
            head_since: None,
            reset_check: false,
            drain_sleep: None,
        }
    }

    /// Tells whether a draining connection may be told to close without losing a request.
    ///
    /// While the response head is still to come: it will say so to the client. Once the head is
    /// out without a word of it, the client may send another request, which is served; then only
    /// silence ends the connection.
    fn may_close(&mut self, cx: &mut Context<'_>) -> bool {
        if self.downstream.is_in_flight() {
            self.drain_sleep = None;
            return self.downstream.awaits_head();
        }
        let sleep =
            self.drain_sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(DRAIN_GRACE)));
        sleep.as_mut().poll(cx).is_ready()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.follow_head();
        self.follow_half_close();
        // Polling a timer registers the waker anew; asking whether it is over does not.
        while (!self.armed || self.sleep.is_elapsed()) && self.sleep.as_mut().poll(cx).is_ready() {
            if self.reset_check && self.downstream.take_error().is_some() {
                return Poll::Ready(End::Gone);
            }
            let now = Instant::now();
            match self.next(now) {
                Ok(at) => self.arm(at),
                Err(end) => return Poll::Ready(end),
            }
        }
        self.armed = true;
        Poll::Pending
    }

    fn arm(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.armed = false;
    }

    /// A head that is not complete gets a deadline of its own.
    fn follow_head(&mut self) {
        match (self.downstream.is_head_begun(), self.head_since) {
            (true, None) => {
                let now = Instant::now();
                self.head_since = Some(now);
                let limit = now + self.worker.config.timeouts.header;
                if limit < self.sleep.deadline() {
                    self.arm(limit);
                }
            }
            (false, Some(_)) => self.head_since = None,
            _ => {}
        }
    }

    /// After a FIN a reset no longer wakes a reader, so it has to be looked for.
    fn follow_half_close(&mut self) {
        if self.downstream.is_half_closed() && !self.reset_check {
            self.reset_check = true;
            self.arm(Instant::now() + RESET_CHECK);
        }
    }

    /// When to look again, or what has run out.
    fn next(&self, now: Instant) -> Result<Instant, End> {
        let timeouts = &self.worker.config.timeouts;
        if self.reset_check {
            return Ok(now + RESET_CHECK);
        }
        if self.downstream.is_in_flight() {
            return Ok(now + timeouts.idle.min(timeouts.header));
        }
        let (limit, end) = if let Some(since) = self.head_since {
            (since + timeouts.header, End::HeadTimeout)
        } else if let Some(since) = self.downstream.idle_since() {
            let idle = self.worker.nanos_between(since, self.worker.now());
            let left = timeouts.idle.saturating_sub(Duration::from_nanos(idle));
            (now + left, End::Idle)
        } else {
            (self.opened + timeouts.header, End::Idle)
        };
        // Never later than the idle limit of a request that may end right now.
        if limit > now { Ok(limit.min(now + timeouts.idle)) } else { Err(end) }
    }
}

/// How often a half-closed connection is looked at while its request is served.
const RESET_CHECK: Duration = Duration::from_millis(100);

/// Counts what hyper answered by itself, or closed without a word.
fn answer_unparsed(worker: &Worker, downstream: &Downstream, error: &hyper::Error) {
    if error.is_parse_version_h2() {
        record_unparsed(worker, 505);
        downstream.try_answer(&raw_answer("505 HTTP Version Not Supported"));
    } else if error.is_parse_too_large() {
        // 414 or 431: hyper tells the two apart only in its Debug text.
        let is_uri = format!("{error:?}").contains("Uri");
        record_unparsed(worker, if is_uri { 414 } else { 431 });
    } else if error.is_parse() {
        record_unparsed(worker, 400);
    } else {
        tracing::debug!(%error, "client connection ended");
        return;
    }
    downstream.mark_unread_upload();
}

/// An answer for a connection that hyper does not serve.
pub fn raw_answer(status: &str) -> Vec<u8> {
    let reason = status.split_once(' ').map_or(status, |(_, reason)| reason);
    let retry = if status.starts_with("503") { "Retry-After: 1\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         {retry}Connection: close\r\n\r\n{reason}\n",
        reason.len() + 1
    )
    .into_bytes()
}
