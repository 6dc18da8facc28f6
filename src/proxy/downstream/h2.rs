//! One HTTP/2 connection from a client: a task for each stream.
//!
//! The library owns the protocol, its flow control and its defences against floods; this owns the
//! limits, the drain, and the life of each stream's task.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::StatusCode;
use http::request::Parts;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::http::h1::{RequestHead, Version};
use crate::http::h2::{cookie, request_body, request_fields, stateless_block};
use crate::http::response::{OwnResponse, Persistence, write_own};
use crate::http::rewrite::Recipient;
use crate::metrics::{Shed, SidecarMetrics};
use crate::net::budget::Charge;
use crate::net::transport::TransportIo;
use crate::proxy::downstream::h2::watch::{RefusalBlock, Seen, Watched};
use crate::proxy::downstream::{ClientConnection, Downstream, Stream, close};
use crate::proxy::handle;
use crate::proxy::observe::{record_shed, record_unparsed};
use crate::proxy::request::Request;
use crate::proxy::upstream::{Pool, Turn};
use crate::proxy::worker::Worker;
use crate::shutdown::Guard;

pub(crate) mod room;
pub(crate) mod watch;

/// Streams at one time. RFC 9113 §6.5.2 recommends at least 100.
const MAX_STREAMS: u32 = 100;
/// Window of one stream: what a client may have on the way. The protocol's own default.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Window of a connection: that of all its streams together, so that only the app that does not
/// read an upload holds it back, and no other upload of the connection.
const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;
/// What a stream buffers before its sender has to wait: as much as its client's window takes. What
/// all of them have together is bounded by `SendQueue`. With a bound for each, a stream that drains
/// slowly would be filled with ever smaller frames.
const SEND_BUFFER_BYTES: usize = i32::MAX as usize;
/// What the heads of a connection's requests may take in sum, decoded, until they are answered;
/// beyond, streams are refused, which may be tried again.
const MAX_HEADS_BYTES: usize = 512 * 1024;
/// What a connection costs beside what it did in HTTP/1 (measured).
const CONNECTION_BYTES: usize = 18 * 1024;
/// What a running request costs beside its head (measured).
const STREAM_BYTES: usize = 6 * 1024;
/// What a field takes beside its bytes, as the library keeps it.
const FIELD_BYTES: usize = 104;
/// Streams that are taken before other tasks get a turn.
const STREAMS_PER_TURN: u32 = 16;
/// How long a client that floods, or breaks the protocol, has to read why its connection ends.
/// Nothing is read of it meanwhile.
const FAREWELL: Duration = Duration::from_millis(250);
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

/// What the end of a connection needs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// It carries something; the next look tells.
    Nothing,
    /// To ask the client to open no more streams.
    Ask,
    /// To tell the client the last stream that counts. A request that crosses this is above it and
    /// may be sent again (RFC 9113 §6.8).
    Tell,
    /// Not to wait any longer.
    End,
}

impl Stage {
    /// What is due when nothing has happened for [`Self::pause`]; `is_idle` if no stream is open.
    fn due(self, is_idle: bool) -> Due {
        match (self, is_idle) {
            (Self::Open, true) => Due::Ask,
            (Self::Asked, true) => Due::Tell,
            (Self::Open | Self::Asked, false) => Due::Nothing,
            (Self::Told, _) => Due::End,
        }
    }

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

/// A connection as the library has it.
type Http2Connection = Connection<Watched<TransportIo>, Bytes>;

/// What the tasks of one connection share.
struct Shared {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    downstream: ClientConnection,
    seen: Rc<Seen>,
    /// Tasks that run, also of streams that were reset.
    running: Cell<usize>,
    /// What the heads of their requests take.
    heads_bytes: Cell<usize>,
    /// The client has broken the protocol.
    broke: Cell<bool>,
    ended: Notify,
}

impl Shared {
    /// The client is to go elsewhere: others need its place, or a hook waits for that.
    fn is_sent_away(&self) -> bool {
        self.seen.holder().should_leave() || self.worker.waits.wants_close(self.downstream.opened)
    }

    /// Counts the requests that the library has refused by itself.
    fn count_refused(&self) {
        for status in self.seen.take_refused() {
            record_unparsed(&self.worker, self.downstream.peer, status);
        }
    }

    /// A charge for a request's head, if there is room for it.
    fn admit(&self, head_bytes: usize) -> Option<Charge> {
        let sum = self.heads_bytes.get() + head_bytes;
        let charge = self.seen.holder().charge();
        if sum > MAX_HEADS_BYTES || charge.try_set(STREAM_BYTES + head_bytes).is_err() {
            return None;
        }
        self.heads_bytes.set(sum);
        Some(charge)
    }

    /// The connection is ended, since it takes what others need.
    fn shed(&self, why: Shed) {
        self.count_refused();
        if why == Shed::Request {
            record_shed(&self.worker, self.downstream.peer);
        } else {
            self.worker.cold.shed(why, 1);
        }
    }

    /// Counts the request whose head made the library end the connection.
    fn count_begun(&self, status: u16) {
        for _ in 0..self.seen.take_begun() {
            record_unparsed(&self.worker, self.downstream.peer, status);
        }
    }

    /// What a client that is asked to leave may still have to read.
    fn owes(&self, connection: &Http2Connection) -> Owes {
        let carries = self.running.get() > 0 || connection.has_streams();
        if carries { Owes::Perhaps } else { Owes::Nothing }
    }

    /// The connection has failed.
    fn failed(&self, error: &h2::Error) {
        tracing::debug!(%error, "HTTP/2 connection ended");
        self.count_refused();
        self.broke.set(error.is_library());
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
struct Running(Rc<Shared>, usize);

impl Drop for Running {
    fn drop(&mut self) {
        let Self(shared, head_bytes) = self;
        shared.running.set(shared.running.get() - 1);
        shared.heads_bytes.set(shared.heads_bytes.get() - *head_bytes);
        if shared.running.get() == 0 {
            shared.seen.holder().rests();
        }
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
pub(crate) async fn serve(
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    downstream: ClientConnection,
    guard: Guard,
) {
    let holder = Rc::clone(downstream.transport.holder());
    let price = holder.charge();
    if price.try_set(CONNECTION_BYTES).is_err() {
        return worker.cold.shed(Shed::Connection, 1);
    }
    let seen = Seen::new(&holder);
    let Some(connection) = Box::pin(handshake(&worker, &downstream, &seen)).await else {
        return;
    };
    let shared = Rc::new(Shared {
        worker,
        pool,
        downstream,
        seen,
        running: Cell::new(0),
        heads_bytes: Cell::new(0),
        broke: Cell::new(false),
        ended: Notify::new(),
    });
    let _counted = CountedHttp2::new(&shared.worker);
    accept(&shared, connection, &guard).await;
    while shared.running.get() > 0 {
        shared.ended.notified().await;
    }
    if shared.seen.ends().is_some() || shared.broke.get() {
        tokio::time::sleep(FAREWELL).await;
    } else {
        close(&shared.downstream).await;
    }
}

/// Exchanges the first frames. Both what this needs and what it makes is on the heap: the task of
/// an idle connection must not hold room for each place that they pass through.
async fn handshake(
    worker: &Rc<Worker>,
    downstream: &ClientConnection,
    seen: &Rc<Seen>,
) -> Option<Box<Http2Connection>> {
    let max_header_bytes = worker.config.max_http2_header_bytes;
    let io = TransportIo::new(&downstream.transport, None);
    // Compression may have taken three eighths off (RFC 7541, Appendix B).
    let io = Watched::new(io, seen, max_header_bytes / 8 * 5, refusal_block(worker));
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
    match tokio::time::timeout(limit, builder.handshake(io)).await {
        Ok(Ok(connection)) => return Some(Box::new(connection)),
        Ok(Err(error)) => tracing::debug!(%error, "no HTTP/2 connection"),
        Err(_elapsed) => tracing::debug!("no HTTP/2 connection in time"),
    }
    None
}

/// How far the end of a connection is, and when the next step is due.
struct Ending {
    stage: Stage,
    /// What a client has not read yet would be lost if it sends something to a closed socket.
    owes: Owes,
    idle: Pin<Box<Sleep>>,
    idle_limit: Duration,
}

impl Ending {
    fn new(idle_limit: Duration) -> Self {
        let idle = Box::pin(tokio::time::sleep(idle_limit));
        Self { stage: Stage::Open, owes: Owes::Nothing, idle, idle_limit }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.idle.as_mut().reset(Instant::now() + stage.pause(self.idle_limit));
    }

    /// Asks the client to open no more streams, unless that was done.
    fn ask(&mut self, shared: &Shared, connection: &mut Http2Connection) {
        if self.stage == Stage::Open {
            self.owes = shared.owes(connection);
            self.enter(Stage::Asked);
            connection.graceful_shutdown();
        }
    }

    /// A stream was accepted.
    fn accepted(&mut self) {
        self.enter(self.stage);
        if self.stage != Stage::Open {
            self.owes = Owes::Perhaps;
        }
    }

    /// Takes the steps that are due. Ready when nothing is waited for any more.
    fn poll(
        &mut self,
        shared: &Shared,
        connection: &mut Http2Connection,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.stage != Stage::Told
            && let Some(why) = shared.seen.ends()
        {
            shared.shed(why);
            self.enter(Stage::Told);
            self.idle.as_mut().reset(Instant::now() + LEAVE_GRACE);
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
        }
        while self.idle.as_mut().poll(cx).is_ready() {
            // The library may still hold the end of an answer whose task is over.
            let is_idle = shared.running.get() == 0 && !connection.has_streams();
            let next = match self.stage.due(is_idle) {
                Due::Nothing => self.stage,
                Due::Ask => {
                    connection.graceful_shutdown();
                    Stage::Asked
                }
                Due::Tell => {
                    self.owes = Owes::Perhaps;
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    Stage::Told
                }
                Due::End => return Poll::Ready(()),
            };
            cx.waker().wake_by_ref();
            self.enter(next);
        }
        Poll::Pending
    }
}

/// Takes streams until the connection ends, has been idle for too long, or drains.
async fn accept(shared: &Rc<Shared>, mut connection: Box<Http2Connection>, guard: &Guard) {
    let mut ending = Ending::new(shared.worker.config.timeouts.idle);
    let mut taken: u32 = 0;
    loop {
        let mut is_new_turn = false;
        let next = poll_fn(|cx| {
            if std::mem::replace(&mut is_new_turn, true) {
                shared.seen.begin_turn();
            }
            // A hook waits for the traffic to go elsewhere; or the shutdown has begun.
            if guard.is_draining(cx) || shared.is_sent_away() {
                ending.ask(shared, &mut connection);
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
            ending.poll(shared, &mut connection, cx).map(|()| None)
        });
        match next.await {
            None => {
                shared.count_refused();
                return match ending.owes {
                    Owes::Nothing => {}
                    Owes::Perhaps => shared.downstream.mark_unread(),
                };
            }
            Some(Err(error)) => return shared.failed(&error),
            Some(Ok((request, respond))) => {
                shared.seen.accepted(respond.stream_id().as_u32());
                ending.accepted();
                spawn(shared, request, respond);
                taken = taken.wrapping_add(1);
                if taken.is_multiple_of(STREAMS_PER_TURN) {
                    tokio::task::yield_now().await;
                    shared.seen.begin_turn();
                }
            }
        }
    }
}

fn spawn(
    shared: &Rc<Shared>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let head_bytes = decoded_bytes(&parts);
    let Some(head) = shared.admit(head_bytes) else {
        record_shed(&shared.worker, shared.downstream.peer);
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    let turn = if shared.running.get() == 0 { Turn::First } else { Turn::Further };
    shared.running.set(shared.running.get() + 1);
    shared.seen.holder().works();
    let running = Running(Rc::clone(shared), head_bytes);
    drop(tokio::task::spawn_local(async move {
        let shared = &running.0;
        let request = parse(shared, &parts, &body);
        drop(parts);
        let client = Downstream::Http2(Box::new(Stream {
            respond,
            body: Some(body),
            seen: Rc::clone(&shared.seen),
            interim_room_bytes: shared.worker.config.max_header_bytes,
            head,
            turn,
        }));
        let handled = handle::handle(&shared.worker, &shared.pool, client, Box::new(request));
        let mut handled = pin!(Some(handled));
        poll_fn(|cx| match handled.as_mut().as_pin_mut() {
            Some(_) if shared.seen.holder().is_cut() => Poll::Ready(()),
            // What becomes of the connection is the library's affair.
            Some(handled) => handled.poll(cx).map(|_after| ()),
            None => Poll::Ready(()),
        })
        .await;
        shared.worker.shed(|| handled.set(None));
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

/// What a head takes as long as it is kept.
fn decoded_bytes(parts: &Parts) -> usize {
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len());
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    target + fields.sum::<usize>()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_step_by_step_and_not_while_it_carries_something() {
        let limit = Duration::from_secs(620);
        for (stage, pause, idle, busy) in [
            (Stage::Open, limit, Due::Ask, Due::Nothing),
            (Stage::Asked, LEAVE_GRACE, Due::Tell, Due::Nothing),
            (Stage::Told, limit, Due::End, Due::End),
        ] {
            assert_eq!(stage.pause(limit), pause, "{stage:?}");
            assert_eq!((stage.due(true), stage.due(false)), (idle, busy), "{stage:?}");
        }
    }

    fn future_bytes<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_an_idle_connection_has_no_room_for_what_it_is_done_with() {
        let bytes =
            future_bytes(|(worker, pool, client, guard)| serve(worker, pool, client, guard));
        assert!(bytes <= 1024, "{bytes}");
    }

    #[test]
    fn a_head_costs_its_fields_and_its_target_as_they_are_kept() {
        for (uri, fields, expected) in [
            ("http://a", &[][..], 1),
            ("http://a/", &[], 1),
            ("http://a/b?c=d", &[], 6),
            ("http://a/", &[("x", "12"), ("cookie", "")], 1 + 2 * FIELD_BYTES + 3 + 6),
            ("http://a/", &[("x", "1"), ("x", "1")], 1 + 2 * (FIELD_BYTES + 2)),
        ] {
            let mut request = http::Request::builder().uri(uri);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            assert_eq!(decoded_bytes(&parts), expected, "{uri} {fields:?}");
        }
    }
}
