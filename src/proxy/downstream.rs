//! A client's connection, as the requests on it see it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use tokio::time::Instant;

use crate::http::h1::{BodyLength, ResponseHead, Version};
use crate::http::h2::list_bytes;
use crate::http::response::{
    BodyEnd, Forwarded, OwnResponse, Persistence, write_forwarded, write_interim, write_own,
    write_switch,
};
use crate::http::rewrite::{Named, Recipient, ResponseFields};
use crate::net::budget::{Charge, Holder};
use crate::net::timer::Timer;
use crate::net::transport::{Socket, Transport};
use crate::proxy::body::{Delimiter, Http1Sink, Http1Source, Http2Sink, Http2Source, Sink, Source};
use crate::proxy::downstream::h2::watch::Seen;
use crate::proxy::upstream::Turn;
use crate::proxy::worker::{Tick, Worker};

pub(crate) use self::closing::close;

pub(crate) mod accept;
mod closing;
pub(crate) mod h1;
pub(crate) mod h2;

/// One client connection. Not `Sync`; owned by one task.
pub(crate) struct ClientConnection {
    /// The connection itself.
    pub transport: Rc<Transport>,
    /// The client's address; IPv4 also where the socket is IPv6.
    pub peer: IpAddr,
    /// The same as text, made once per connection.
    pub address: Box<str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// When it was accepted, or its handshake was done.
    pub opened: Instant,
    /// Fires when somebody should look at the time limits.
    pub timer: RefCell<Timer>,
    unread: Cell<bool>,
    /// When the client's FIN was noticed.
    finished: Cell<Option<Tick>>,
}

impl ClientConnection {
    /// Takes over an accepted socket.
    pub(crate) fn new(
        socket: Socket,
        peer: SocketAddr,
        first_look: Instant,
        holder: &Rc<Holder>,
    ) -> Self {
        let peer = peer.ip().to_canonical();
        let scheme = if matches!(socket, Socket::TlsServer(_)) { "https" } else { "http" };
        Self {
            transport: Rc::new(Transport::new(socket, holder)),
            peer,
            address: peer.to_string().into(),
            scheme,
            opened: Instant::now(),
            timer: RefCell::new(Timer::new(first_look)),
            unread: Cell::new(false),
            finished: Cell::new(None),
        }
    }

    /// Looks whether the client is still there, while nobody reads from it.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Error> {
        let polled = self.transport.poll_gone(cx, &mut worker.scratch.borrow_mut());
        if self.transport.is_eof() && self.finished.get().is_none() {
            self.finished.set(Some(worker.now()));
        }
        polled
    }

    /// When the client has ended its side (FIN, or `close_notify`), if it has, and if no further
    /// request came before that: a pipelined one tells that the client goes on behind its FIN.
    /// While the worker drains no further request is served, so that one tells nothing.
    ///
    /// Whether the client has only half-closed and waits, or has left altogether, cannot be known
    /// until something is sent to it.
    pub(crate) fn finished(&self, worker: &Worker) -> Option<Tick> {
        let goes_on = || !worker.drain.is_draining() && self.transport.has_request_ahead();
        self.finished.get().filter(|_| !goes_on())
    }

    /// Tells whether the client has ended its side within a body that nobody has begun to read.
    pub(crate) fn has_cut(&self, body: BodyLength) -> bool {
        let ahead = self.transport.ahead_bytes() as u64;
        self.transport.is_eof() && matches!(body, BodyLength::Known(bytes) if ahead < bytes)
    }

    /// Answers what is not served, as far as the socket takes it at once.
    pub(crate) fn turn_away(&self, worker: &Worker, response: &OwnResponse) {
        self.transport.try_write(&last_words(worker, response));
        self.mark_unread();
    }

    /// Tells whether an answer ends the connection, because the proxy ends or is about to.
    pub(crate) fn should_end(&self, worker: &Worker) -> bool {
        worker.drain.is_draining() || worker.waits.wants_close(self.opened)
    }

    /// The client may be sending what nobody reads.
    pub(crate) fn mark_unread(&self) {
        self.unread.set(true);
    }

    /// Tells whether closing now could destroy an answer that the client has not read yet.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.get()
    }
}

/// The client's side of one exchange.
pub(crate) enum Downstream<'a> {
    /// A whole HTTP/1 connection, one request at a time.
    Http1(Http1Client<'a>),
    /// One stream of an HTTP/2 connection.
    Http2(Box<Stream>),
}

/// An HTTP/1 connection during one request.
pub(crate) struct Http1Client<'a> {
    /// The connection.
    pub connection: &'a ClientConnection,
    /// Interim answers, once there was one: their bytes go before all others.
    interim: Option<Box<Http1Sink>>,
}

impl<'a> From<&'a ClientConnection> for Downstream<'a> {
    fn from(connection: &'a ClientConnection) -> Self {
        Self::Http1(Http1Client { connection, interim: None })
    }
}

impl Http1Client<'_> {
    /// Takes what the client has got the beginning of: ours must not come into its middle.
    pub(crate) fn take_begun(&mut self) -> Vec<u8> {
        self.interim.as_mut().map(|sink| sink.take_waiting()).unwrap_or_default()
    }

    fn interim(&mut self) -> &mut Http1Sink {
        self.interim.get_or_insert_with(|| {
            Box::new(Http1Sink::new(&self.connection.transport, Vec::new(), Delimiter::Plain))
        })
    }
}

/// One HTTP/2 stream from a client.
pub(crate) struct Stream {
    /// Sends the answer's head, once.
    pub respond: SendResponse<Bytes>,
    /// The request's body, until somebody forwards it.
    pub body: Option<RecvStream>,
    /// What was seen of its connection.
    pub seen: Rc<Seen>,
    /// What the client may still get of interim answers.
    pub interim_room_bytes: usize,
    /// What its head costs, as long as it or a copy is kept.
    #[expect(dead_code, reason = "held for its drop")]
    pub head: Charge,
    /// Whether others of its connection run.
    pub turn: Turn,
}

impl Stream {
    /// Refuses a malformed request: a bare 400, and a stream error (RFC 9113 §8.1.1). Tells whether
    /// that is done; otherwise it is to be answered like any other.
    pub(crate) fn refuse(&mut self) -> bool {
        let can = self.seen.answer_before_reset(self.respond.stream_id().as_u32());
        if can {
            self.respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        can
    }
}

impl<'a> Downstream<'a> {
    /// The connection, where it is HTTP/1.
    pub(crate) fn http1(&self) -> Option<&'a ClientConnection> {
        match self {
            Self::Http1(client) => Some(client.connection),
            Self::Http2(_) => None,
        }
    }

    /// To whom is charged what is kept for it.
    pub(crate) fn holder(&self) -> &Rc<Holder> {
        match self {
            Self::Http1(client) => client.connection.transport.holder(),
            Self::Http2(stream) => stream.seen.holder(),
        }
    }

    /// What its connection has taken of other answers beside: HTTP/2. Who waits for his turn on a
    /// connection that is read is not idle.
    pub(crate) fn taken_beside(&self) -> u64 {
        match self {
            Self::Http1(_) => 0,
            Self::Http2(stream) => stream.seen.queue.sent_bytes(),
        }
    }

    /// Which of its client's connections to the app it would have.
    pub(crate) fn turn(&self) -> Turn {
        match self {
            Self::Http1(_) => Turn::First,
            Self::Http2(stream) => stream.turn,
        }
    }

    /// The request's body.
    pub(crate) fn source(
        &mut self,
        length: BodyLength,
        named: Named,
        max_trailer_bytes: usize,
    ) -> Source {
        match self {
            Self::Http1(client) => {
                let transport = &client.connection.transport;
                Source::Http1(Http1Source::new(transport, length, named, max_trailer_bytes))
            }
            Self::Http2(stream) => match stream.body.take() {
                Some(body) => {
                    let seen = Some(Rc::clone(&stream.seen));
                    let charge = stream.seen.holder().charge();
                    Source::Http2(Box::new(Http2Source::new(
                        body,
                        max_trailer_bytes,
                        seen,
                        (charge, h2::STREAM_WINDOW_BYTES as usize),
                    )))
                }
                None => Source::None,
            },
        }
    }

    /// Looks whether the client is still there, before the answer's head was sent.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<()> {
        match self {
            Self::Http1(client) => client.connection.poll_gone(cx, worker).map(|_error| ()),
            Self::Http2(stream) => stream.respond.poll_reset(cx).map(|_reason| ()),
        }
    }

    /// Tells whether an HTTP/2 client has taken its request back already.
    pub(crate) fn is_cancelled(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match self {
            Self::Http1(_) => false,
            Self::Http2(stream) => stream.respond.poll_reset(&mut cx).is_ready(),
        }
    }

    /// Sends an interim answer (RFC 9110 §15.2), except to a client of HTTP/1.0.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(crate) fn send_interim(
        &mut self,
        head: &ResponseHead<'_>,
        to: Recipient,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        /// What a status takes of a list of fields: its name, three digits, and what RFC 9113
        /// §10.5.1 adds.
        const STATUS_BYTES: usize = 42;
        match self {
            Self::Http1(_) if to.version == Version::Http10 => Ok(()),
            Self::Http1(client) => {
                let mut out = Vec::with_capacity(256);
                write_interim(head, to, &mut out);
                client.interim().send(cx, &out, None)
            }
            Self::Http2(stream) => {
                let mut response = http::Response::new(());
                write_interim(head, to, &mut response);
                // Flow control does not hold these back. They are hints: what the client gets no
                // more of changes nothing about its answer.
                let size = list_bytes(response.headers()) + STATUS_BYTES;
                let Some(left) = stream.interim_room_bytes.checked_sub(size) else {
                    return Ok(());
                };
                stream.interim_room_bytes = left;
                stream.respond.send_informational(response).map_err(broken)
            }
        }
    }

    /// Writes what waits of interim answers, or of a 101.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(crate) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(Http1Client { interim: Some(sink), .. }) => sink.poll_flush(cx),
            Self::Http1(Http1Client { interim: None, .. }) | Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells whether interim answers wait for the client to read.
    pub(crate) fn holds_interim(&self) -> bool {
        match self {
            Self::Http1(client) => client.interim.as_ref().is_some_and(|sink| sink.is_blocked()),
            Self::Http2(_) => false,
        }
    }

    /// How much the client has taken of interim answers.
    pub(crate) fn interim_bytes(&self) -> u64 {
        match self {
            Self::Http1(client) => client.interim.as_ref().map_or(0, |sink| sink.written_bytes),
            Self::Http2(_) => 0,
        }
    }

    /// Puts a 101 behind the interim answers, if what it switches to `is_right`. Tells whether it
    /// did.
    pub(crate) fn put_switch(
        &mut self,
        head: &ResponseHead<'_>,
        to: Recipient,
        is_right: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let Self::Http1(client) = self else {
            return false;
        };
        let mut switch = Vec::with_capacity(256);
        if !write_switch(head, to, &mut switch).is_some_and(is_right) {
            return false;
        }
        let mut out = client.take_begun();
        out.append(&mut switch);
        client.interim().put(out);
        true
    }

    /// Sends the head of the app's answer, and returns where its body goes.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(crate) fn send_head<'h>(
        &mut self,
        head: &ResponseHead<'h>,
        to: Recipient,
        persistence: impl FnOnce(&ResponseFields<'h>) -> Persistence,
        date: impl FnOnce() -> Rc<str>,
    ) -> io::Result<(Forwarded<'h>, Sink)> {
        match self {
            Self::Http1(client) => {
                let mut out = client.take_begun();
                out.reserve(512);
                let written = write_forwarded(head, to, persistence, date, &mut out);
                let delimiter = match written.body_end {
                    BodyEnd::LastChunk => Delimiter::Chunked,
                    BodyEnd::Announced | BodyEnd::ConnectionEnd => Delimiter::Plain,
                };
                let sink = Http1Sink::new(&client.connection.transport, out, delimiter);
                Ok((written, Sink::Http1(sink)))
            }
            Self::Http2(stream) => {
                let mut response = http::Response::new(());
                // What becomes of the connection is its own affair.
                let keep = |_: &ResponseFields<'h>| Persistence::Keep;
                let written = write_forwarded(head, to, keep, date, &mut response);
                let ended = head.body.is_empty();
                let sent = stream.respond.send_response(response, ended).map_err(broken)?;
                let (seen, charge) = (Some(Rc::clone(&stream.seen)), stream.seen.holder().charge());
                Ok((written, Sink::Http2(Box::new(Http2Sink::new(sent, ended, seen, charge)))))
            }
        }
    }
}

fn broken(error: ::h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

/// A whole answer of the proxy's own, behind which the connection ends; for a client of which
/// nothing is known.
fn last_words(worker: &Worker, response: &OwnResponse) -> Vec<u8> {
    let to = Recipient { version: Version::Http11, to_head: false };
    let mut out = Vec::with_capacity(512);
    write_own(response, to, Persistence::Close, &worker.date(), &mut out);
    out.extend_from_slice(response.content(to).as_bytes());
    out
}

/// How often a half-closed connection is looked at while its request is served: after a FIN a
/// reset no longer wakes a reader.
pub(crate) const RESET_CHECK: Duration = Duration::from_millis(100);
