//! One HTTP/2 connection from a client: a task for each stream.
//!
//! The library owns the protocol, its flow control and its defences against floods; this owns the
//! limits, the drain, and the life of each stream's task.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::StatusCode;
use http::request::Parts;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::h1::{RequestHead, Version};
use crate::http::h2::{cookie, request_body, request_fields, stateless_block};
use crate::http::response::{OwnResponse, Persistence, write_own};
use crate::http::rewrite::Recipient;
use crate::metrics::SidecarMetrics;
use crate::net::transport::TransportIo;
use crate::proxy::downstream::h2::watch::{RefusalBlock, Seen, Watched};
use crate::proxy::downstream::{ClientConnection, Downstream, Stream, close};
use crate::proxy::handle;
use crate::proxy::observe::record_unparsed;
use crate::proxy::request::Request;
use crate::proxy::upstream::Pool;
use crate::proxy::worker::Worker;
use crate::shutdown::Guard;

pub(crate) mod watch;

/// Streams at one time. RFC 9113 §6.5.2 recommends at least 100.
const MAX_STREAMS: u32 = 100;
/// Window of one stream: what a client may have on the way. The protocol's own default.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Window of a connection: that of all its streams together, so that only the app that does not
/// read an upload holds it back, and no other upload of the connection.
const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;
/// What a stream buffers before its sender has to wait.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that a client may reset before they were looked at; beyond, the connection ends. A
/// browser that leaves a page cancels all that it has open in one segment.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;

/// How long a client may take to acknowledge a GOAWAY.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// How far the end of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Open,
    /// It was told to open no more streams, and may not have heard yet.
    Asked,
    /// It was told the last stream that counts, and carries none; the library ends it as soon as
    /// the client has taken the last bytes.
    Told,
}

/// Whether the client may still have to read something when the library has ended the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owes {
    /// It has acknowledged what was sent behind the last answer.
    Nothing,
    /// An answer was on its way when the connection was asked to end, or nothing is acknowledged.
    Perhaps,
}

impl Stage {
    /// How long nothing may happen before the next step is taken.
    fn pause(self, idle_limit: Duration) -> Duration {
        match self {
            // A client that reads nothing is as idle as one that sends nothing. A shutdown has a
            // limit of its own.
            Self::Open | Self::Told => idle_limit,
            Self::Asked => LEAVE_GRACE,
        }
    }
}

/// What the tasks of one connection share.
struct Shared {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    downstream: ClientConnection,
    seen: Rc<Seen>,
    /// Tasks that run, also of streams that were reset.
    running: Cell<usize>,
    ended: Notify,
}

impl Shared {
    fn is_sent_away(&self) -> bool {
        self.worker.waits.wants_close(self.downstream.opened)
    }

    /// Counts the requests that the library has refused by itself.
    fn count_refused(&self) {
        for status in self.seen.take_refused() {
            record_unparsed(&self.worker, self.downstream.peer, status);
        }
    }

    /// Counts the request whose head made the library end the connection.
    fn count_begun(&self, status: u16) {
        for _ in 0..self.seen.take_begun() {
            record_unparsed(&self.worker, self.downstream.peer, status);
        }
    }

    /// What a client that is asked to leave may still have to read.
    fn owes(&self, connection: &Connection<Watched<TransportIo>, Bytes>) -> Owes {
        let carries = self.running.get() > 0 || connection.has_streams();
        if carries { Owes::Perhaps } else { Owes::Nothing }
    }

    /// The connection has failed.
    fn failed(&self, error: &h2::Error) {
        tracing::debug!(%error, "HTTP/2 connection ended");
        self.count_refused();
        match error.reason() {
            _ if !error.is_library() => {}
            // The library reads no more than a few frames of one head.
            Some(Reason::ENHANCE_YOUR_CALM) => self.count_begun(431),
            _ => self.count_begun(400),
        }
        self.downstream.mark_unread();
    }
}

/// Counts a task as long as it lives.
struct Running(Rc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.ended.notify_one();
    }
}

/// Moves a connection from the gauge of HTTP/1, which every connection begins in, to its own.
struct CountedHttp2(Arc<SidecarMetrics>);

impl CountedHttp2 {
    fn new(worker: &Worker) -> Self {
        let cold = Arc::clone(&worker.cold);
        cold.downstream_http2_total.increment(1);
        cold.downstream_http2.increment(1.0);
        cold.downstream_http1.decrement(1.0);
        Self(cold)
    }
}

impl Drop for CountedHttp2 {
    fn drop(&mut self) {
        self.0.downstream_http2.decrement(1.0);
        self.0.downstream_http1.increment(1.0);
    }
}

/// Serves a connection whose client speaks HTTP/2 to its end.
pub async fn serve(worker: Rc<Worker>, pool: Rc<Pool>, downstream: ClientConnection, guard: Guard) {
    let max_header_bytes = worker.config.max_header_bytes;
    // Compression may have taken three eighths off (RFC 7541, Appendix B).
    let seen = Rc::new(Seen::default());
    let io = TransportIo::new(&downstream.link, None);
    let io = Watched::new(io, &seen, max_header_bytes / 8 * 5, refusal_block(&worker));
    let max_header_bytes = u32::try_from(max_header_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_header_list_size(max_header_bytes);
    let limit = worker.config.timeouts.header;
    let connection = match tokio::time::timeout(limit, builder.handshake(io)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "no HTTP/2 connection"),
        Err(_elapsed) => return tracing::debug!("no HTTP/2 connection in time"),
    };
    let (running, ended) = (Cell::new(0), Notify::new());
    let shared = Rc::new(Shared { worker, pool, downstream, seen, running, ended });
    let _counted = CountedHttp2::new(&shared.worker);
    accept(&shared, connection, &guard).await;
    while shared.running.get() > 0 {
        shared.ended.notified().await;
    }
    close(&shared.downstream).await;
}

/// Takes streams until the connection ends, has been idle for too long, or drains.
async fn accept(
    shared: &Rc<Shared>,
    mut connection: Connection<Watched<TransportIo>, Bytes>,
    guard: &Guard,
) {
    let idle_limit = shared.worker.config.timeouts.idle;
    let mut stage = Stage::Open;
    let mut idle = pin!(tokio::time::sleep(idle_limit));
    // What a client has not read yet would be lost if it sends something to a closed socket.
    let mut owes = Owes::Nothing;
    loop {
        let next = poll_fn(|cx| {
            // A hook waits for the traffic to go elsewhere; or the shutdown has begun.
            if stage == Stage::Open && (guard.is_draining(cx) || shared.is_sent_away()) {
                stage = Stage::Asked;
                owes = shared.owes(&connection);
                idle.as_mut().reset(Instant::now() + LEAVE_GRACE);
                connection.graceful_shutdown();
            }
            // A reset stream counts as long as its task runs: resetting is no way around a limit.
            let full = shared.running.get() >= 2 * MAX_STREAMS as usize;
            if !full && let Poll::Ready(stream) = connection.poll_accept(cx) {
                return Poll::Ready(stream);
            }
            if !full {
                shared.count_refused();
            }
            if full && let Poll::Ready(result) = connection.poll_closed(cx) {
                return Poll::Ready(result.err().map(Err));
            }
            while idle.as_mut().poll(cx).is_ready() {
                // The library may still hold the end of an answer whose task is over.
                let is_idle = shared.running.get() == 0 && !connection.has_streams();
                match stage {
                    Stage::Open if is_idle => {
                        stage = Stage::Asked;
                        connection.graceful_shutdown();
                    }
                    // A request that crosses this GOAWAY is above its last stream: it may be sent
                    // again (RFC 9113 §6.8).
                    Stage::Asked if is_idle => {
                        stage = Stage::Told;
                        owes = Owes::Perhaps;
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                    }
                    Stage::Told => return Poll::Ready(None),
                    Stage::Open | Stage::Asked => {}
                }
                cx.waker().wake_by_ref();
                idle.as_mut().reset(Instant::now() + stage.pause(idle_limit));
            }
            Poll::Pending
        });
        match next.await {
            None => {
                shared.count_refused();
                return match owes {
                    Owes::Nothing => {}
                    Owes::Perhaps => shared.downstream.mark_unread(),
                };
            }
            Some(Err(error)) => return shared.failed(&error),
            Some(Ok((request, respond))) => {
                shared.seen.accepted(respond.stream_id().as_u32());
                idle.as_mut().reset(Instant::now() + stage.pause(idle_limit));
                if stage != Stage::Open {
                    owes = Owes::Perhaps;
                }
                spawn(shared, request, respond);
            }
        }
    }
}

fn spawn(shared: &Rc<Shared>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    shared.running.set(shared.running.get() + 1);
    let running = Running(Rc::clone(shared));
    drop(tokio::task::spawn_local(async move {
        let shared = &running.0;
        let (parts, body) = request.into_parts();
        let request = parse(shared, &parts, &body);
        let front = Downstream::Http2(Box::new(Stream {
            respond,
            body: Some(body),
            seen: Rc::clone(&shared.seen),
            interim_room_bytes: shared.worker.config.max_header_bytes,
        }));
        // What becomes of the connection is the library's affair.
        let _after = handle::handle(&shared.worker, &shared.pool, front, Box::new(request)).await;
    }));
}

/// Makes the answer to what the library refuses as malformed.
fn refusal_block(worker: &Rc<Worker>) -> RefusalBlock {
    let worker = Rc::clone(worker);
    Box::new(move || {
        let mut head = http::Response::new(());
        let to = Recipient { version: Version::Http2, to_head: false };
        let bare = OwnResponse::Bare(StatusCode::BAD_REQUEST);
        write_own(&bare, to, Persistence::Keep, &worker.date(), &mut head);
        stateless_block(&head)
    })
}

/// Makes a request of a stream's head. One that is malformed is answered with 400 and counted, as
/// in HTTP/1; RFC 9113 §8.1.1 allows an answer.
fn parse(shared: &Rc<Shared>, parts: &Parts, body: &RecvStream) -> Request {
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let cookie = cookie(&parts.headers);
    let fields = request_fields(&parts.headers, cookie.as_deref());
    let head = RequestHead {
        method: parts.method.as_str(),
        target: target.as_bytes(),
        version: Version::Http2,
        fields: &fields,
        body: request_body(&parts.headers, body.is_end_stream()),
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
    };
    let ClientConnection { peer, address, scheme, .. } = &shared.downstream;
    Request::new(&shared.worker, &shared.pool, (*peer, address, scheme), &head)
}
