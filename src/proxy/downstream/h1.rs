//! One client connection: its requests one after the other, its time limits, its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, Sleep};

use crate::http::h1::{HeadError, parse_request, slots};
use crate::http::response::OwnResponse;
use crate::metrics::Shed;
use crate::net::budget::{Holder, Pieces};
use crate::net::tls::Alpn;
use crate::net::transport::Socket;
use crate::proxy::downstream::h2;
use crate::proxy::downstream::{ClientConnection, close, last_words};
use crate::proxy::handle;
use crate::proxy::observe::{record_shed, record_unparsed};
use crate::proxy::request::{Disposition, Request};
use crate::proxy::upstream::Pool;
use crate::proxy::worker::{Tick, Worker};
use crate::shutdown::Guard;

/// How long an idle connection may still send a request after the shutdown began.
///
/// A client that sent one just before it could know must not lose it; a second is many round
/// trips.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Bytes of a target; beyond, 414. hyper's limit is the same.
const MAX_TARGET_BYTES: usize = 65_534;

/// What a client begins an HTTP/2 connection with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection costs while nothing larger is kept for it (measured), and what one does during
/// a TLS handshake, and behind it.
const CONNECTION_BYTES: usize = 3 * 1024;
const HANDSHAKE_BYTES: usize = 32 * 1024;
const TLS_BYTES: usize = 28 * 1024;

/// What comes next on a connection.
enum Event {
    /// A request.
    Request(Box<Request>),
    /// What was read is no request.
    Refused(HeadError),
    /// There is no room for what was read.
    Overloaded,
    /// The client speaks HTTP/2.
    Http2,
    /// Nothing more, or nothing in time.
    End,
}

/// Serves an accepted connection to its end. The guard keeps the shutdown waiting meanwhile.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    (socket, peer): (Socket, SocketAddr),
    guard: Guard,
) {
    let holder = worker.holders.open();
    let conversation = converse(Rc::clone(&worker), pool, (socket, peer), guard, &holder);
    let mut conversation = Box::pin(conversation);
    if holder.unless_cut(conversation.as_mut()).await.is_none() {
        worker.shed(|| drop(conversation));
    }
}

async fn converse(
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    (socket, peer): (Socket, SocketAddr),
    guard: Guard,
    holder: &Rc<Holder>,
) {
    let price = holder.charge();
    price.set(CONNECTION_BYTES);
    if worker.tls.listener.is_some() && price.try_set(HANDSHAKE_BYTES).is_err() {
        return worker.cold.shed(Shed::Connection, 1);
    }
    let (socket, alpn) = match (&worker.tls.listener, socket) {
        (Some(listener), Socket::Tcp(socket)) => {
            match Box::pin(listener.accept(socket, || needs_tls(&worker))).await {
                Ok((stream, alpn)) => {
                    price.set(TLS_BYTES);
                    (Socket::TlsServer(Box::new(stream)), Some(alpn))
                }
                Err(error) => {
                    // Counted by the listener. It is no request.
                    tracing::debug!(%error, "a client's handshake failed");
                    return;
                }
            }
        }
        (_, socket) => (socket, None),
    };
    let timeouts = &worker.config.timeouts;
    let first_look = Instant::now() + timeouts.header.min(timeouts.idle);
    let downstream = ClientConnection::new(socket, peer, first_look, holder);
    let mut requests = Requests::new(&worker, &pool, &downstream, &guard);
    requests.is_http2 = alpn == Some(Alpn::Http2);
    let mut is_first = true;
    loop {
        let event = poll_fn(|cx| requests.poll_next(cx)).await;
        if is_first && !matches!(event, Event::Http2) {
            worker.cold.downstream_http1_total.increment(1);
        }
        is_first = false;
        let request = match event {
            Event::Request(request) => {
                holder.works();
                request
            }
            Event::Overloaded => {
                record_shed(&worker, peer.ip().to_canonical());
                let overloaded = OwnResponse::error(StatusCode::SERVICE_UNAVAILABLE, &"overloaded");
                downstream.turn_away(&worker, &overloaded);
                break;
            }
            Event::Refused(error) => {
                refuse(&worker, &downstream, error);
                break;
            }
            Event::Http2 => {
                // On the heap, as other ways a connection may go: an idle one must not hold their
                // room.
                return Box::pin(h2::serve(worker, pool, downstream, guard)).await;
            }
            Event::End => break,
        };
        // On the heap, as long as there is a request.
        let handled = handle::handle(&worker, &pool, (&downstream).into(), request);
        match Box::pin(handled).await {
            Disposition::Keep => {
                requests.idle_since = Some(worker.now());
                holder.rests();
            }
            Disposition::Close => break,
            Disposition::Abort => return downstream.transport.abort(),
            Disposition::Switched(tunnel) => {
                Box::pin(tunnel.run(&worker)).await;
                return;
            }
        }
    }
    // What it has of a head is of no more use, and closing may take its time.
    drop(requests);
    Box::pin(close(&downstream)).await;
}

/// Reads the requests of a connection.
struct Requests<'a> {
    worker: &'a Rc<Worker>,
    pool: &'a Pool,
    downstream: &'a ClientConnection,
    guard: &'a Guard,
    /// ALPN has chosen HTTP/2.
    is_http2: bool,
    /// A head so far, where it came in pieces.
    partial: Pieces,
    opened: Instant,
    head_since: Option<Instant>,
    idle_since: Option<Tick>,
    grace: Option<std::pin::Pin<Box<Sleep>>>,
}

impl<'a> Requests<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        pool: &'a Pool,
        downstream: &'a ClientConnection,
        guard: &'a Guard,
    ) -> Self {
        let opened = Instant::now();
        Self {
            worker,
            pool,
            downstream,
            guard,
            is_http2: false,
            partial: Pieces::new(downstream.transport.holder()),
            opened,
            head_since: None,
            idle_since: None,
            grace: None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let worker = self.worker;
            let mut scratch = worker.scratch.borrow_mut();
            let count = match self.downstream.transport.poll_read(cx, scratch.head_room()) {
                Poll::Pending => break,
                // A FIN in the middle of a head is the client's decision, too.
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::End),
                Poll::Ready(Ok(count)) => count,
            };
            let (read, _) = scratch.split_at(count);
            let event = if self.partial.is_empty() {
                self.take(read)
            } else if read.contains(&b'\n') || self.partial.len() + read.len() > self.limit() {
                let bytes = self.partial.take_with(read);
                self.take(&bytes)
            } else {
                // Without a new line no head has become complete: a client that sends single
                // bytes must not have everything parsed anew for each.
                self.partial.try_extend(read).err().map(|_full| Event::Overloaded)
            };
            if let Some(event) = event {
                return Poll::Ready(event);
            }
        }
        let should_leave = self.downstream.transport.holder().should_leave();
        if self.partial.is_empty() && (should_leave || self.is_over(cx)) {
            return Poll::Ready(Event::End);
        }
        self.poll_limits(cx)
    }

    fn limit(&self) -> usize {
        self.worker.config.max_header_bytes
    }

    /// Makes an event of what was read so far, or keeps it.
    fn take(&mut self, bytes: &[u8]) -> Option<Event> {
        let is_first = self.idle_since.is_none();
        if is_first && (self.is_http2 || bytes.starts_with(b"PRI")) {
            if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
                self.downstream.transport.put_back(bytes);
                return Some(Event::Http2);
            }
            if PREFACE.starts_with(bytes) {
                return self.keep(bytes);
            }
            if self.is_http2 {
                // RFC 9113 §3.4. An answer in HTTP/1 would be one more protocol that nobody chose.
                let status = HeadError::Malformed.status();
                record_unparsed(self.worker, self.downstream.peer, status.as_u16());
                return Some(Event::End);
            }
        }
        let bytes = behind_empty_lines(bytes);
        if bytes.is_empty() {
            self.head_since = None;
            return None;
        }
        let mut slots = slots();
        let refused = match parse_request(bytes, &mut slots) {
            Ok(Some((head, size))) if size <= self.limit() => {
                if head.target.len() > MAX_TARGET_BYTES {
                    return Some(Event::Refused(HeadError::TargetTooLong));
                }
                if !self.downstream.transport.holder().admits(bytes.len()) {
                    return Some(Event::Overloaded);
                }
                self.head_since = None;
                let ClientConnection { peer, address, scheme, .. } = self.downstream;
                let client = (*peer, &**address, *scheme);
                let request = Request::new(self.worker, self.pool, client, &head);
                let (_, behind) = bytes.split_at(size);
                self.downstream.transport.put_back(behind);
                return Some(Event::Request(Box::new(request)));
            }
            Ok(None) if bytes.len() <= self.limit() => {
                return self.keep(bytes);
            }
            Ok(_) => beyond(self.limit(), bytes),
            Err(error) => error,
        };
        Some(Event::Refused(refused))
    }

    /// Keeps the beginning of a head.
    fn keep(&mut self, bytes: &[u8]) -> Option<Event> {
        if self.partial.try_extend(bytes).is_err() {
            return Some(Event::Overloaded);
        }
        self.downstream.transport.holder().works();
        if self.head_since.is_none() {
            let now = Instant::now();
            self.head_since = Some(now);
            let limit = now + self.worker.config.timeouts.header;
            self.downstream.timer.borrow_mut().arm_by(limit);
        }
        None
    }

    /// Tells whether a draining connection has been silent for long enough.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.guard.is_draining(cx) {
            return false;
        }
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(DRAIN_GRACE)));
        grace.as_mut().poll(cx).is_ready()
    }

    fn poll_limits(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut timer = self.downstream.timer.borrow_mut();
        while timer.has_fired(cx) {
            let now = Instant::now();
            let (limit, event) = self.next_limit(now);
            if limit <= now {
                return Poll::Ready(event);
            }
            timer.arm(limit);
        }
        Poll::Pending
    }

    /// When patience ends, and what happens then.
    fn next_limit(&self, now: Instant) -> (Instant, Event) {
        let timeouts = &self.worker.config.timeouts;
        if let Some(since) = self.head_since {
            (since + timeouts.header, Event::Refused(HeadError::Timeout))
        } else if let Some(since) = self.idle_since {
            let idle = self.worker.nanos_between(since, self.worker.now());
            let left = timeouts.idle.saturating_sub(Duration::from_nanos(idle));
            (now + left, Event::End)
        } else {
            (self.opened + timeouts.header, Event::End)
        }
    }
}

/// RFC 9112 §2.2: empty lines before a request are ignored. They do not begin it: some clients
/// send one behind the last request.
fn behind_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}

/// Which part of a head beyond `limit` is too long: RFC 9112 §3, RFC 6585 §5.
fn beyond(limit: usize, bytes: &[u8]) -> HeadError {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.get(..limit.min(MAX_TARGET_BYTES)) {
        None => HeadError::TooLarge,
        Some(start) if start.contains(&b' ') => HeadError::TargetTooLong,
        Some(_) => HeadError::MethodTooLong,
    }
}

/// What a client is told that does not know of TLS.
fn needs_tls(worker: &Worker) -> Vec<u8> {
    let hint = "this port speaks HTTPS; ask it with https";
    last_words(worker, &OwnResponse::error(StatusCode::BAD_REQUEST, &hint))
}

/// Counts and answers what is no request.
fn refuse(worker: &Worker, downstream: &ClientConnection, error: HeadError) {
    let status = error.status();
    record_unparsed(worker, downstream.peer, status.as_u16());
    downstream.turn_away(worker, &OwnResponse::error(status, &error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_before_a_request_are_no_part_of_it() {
        for (bytes, expected) in [
            ("", ""),
            ("\r\n", ""),
            ("\n\r\n\n", ""),
            ("\r\n\r\nGET", "GET"),
            ("GET\r\n", "GET\r\n"),
            ("\r", "\r"),
            ("\rG", "\rG"),
            ("\n\r", "\r"),
            (" \r\n", " \r\n"),
        ] {
            assert_eq!(behind_empty_lines(bytes.as_bytes()), expected.as_bytes(), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_is_too_long_because_of_its_longest_part() {
        let line = |method: usize, target: usize| {
            format!("{} {} HTTP/1.1\r\n", "A".repeat(method), "a".repeat(target))
        };
        for (head, limit, expected) in [
            (line(3, 5) + &"A: b\r\n".repeat(20), 100, HeadError::TooLarge),
            (line(3, 200), 100, HeadError::TargetTooLong),
            (line(200, 5), 100, HeadError::MethodTooLong),
            (line(100, 5), 100, HeadError::MethodTooLong),
            (line(99, 5), 100, HeadError::TargetTooLong),
            (line(3, 70_000), 1_000_000, HeadError::TargetTooLong),
            (line(70_000, 5), 1_000_000, HeadError::MethodTooLong),
        ] {
            let got = beyond(limit, head.as_bytes());
            assert_eq!(got, expected, "{limit} {head:.20}");
        }
    }
}
