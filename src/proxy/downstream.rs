//! A client's connection, as the requests on it see it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use tokio::time::Instant;

use crate::http::h1::{BodyLength, Version};
use crate::http::response::{OwnResponse, Persistence, write_own};
use crate::http::rewrite::{Named, Recipient};
use crate::net::timer::Timer;
use crate::net::transport::{Socket, Transport};
use crate::proxy::body::{FrameSource, Source, WireSource};
use crate::proxy::downstream::h2::watch::Seen;
use crate::proxy::worker::{Tick, Worker};

pub use self::closing::close;

pub mod accept;
mod closing;
pub mod h1;
pub mod h2;

/// One client connection. Not `Sync`; owned by one task.
pub struct ClientConnection {
    /// The connection itself.
    pub link: Rc<Transport>,
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
    pub fn new(socket: Socket, peer: SocketAddr, first_look: Instant) -> Self {
        let peer = peer.ip().to_canonical();
        let scheme = if matches!(socket, Socket::TlsServer(_)) { "https" } else { "http" };
        Self {
            link: Rc::new(Transport::new(socket)),
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
    pub fn poll_gone(&self, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Error> {
        let polled = self.link.poll_gone(cx, &mut worker.scratch.borrow_mut());
        if self.link.is_eof() && self.finished.get().is_none() {
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
    pub fn finished(&self, worker: &Worker) -> Option<Tick> {
        let goes_on = || !worker.drain.is_draining() && self.link.has_request_ahead();
        self.finished.get().filter(|_| !goes_on())
    }

    /// Tells whether the client has ended its side within a body that nobody has begun to read.
    pub fn has_cut(&self, body: BodyLength) -> bool {
        let ahead = self.link.ahead_bytes() as u64;
        self.link.is_eof() && matches!(body, BodyLength::Known(bytes) if ahead < bytes)
    }

    /// Answers what is not served, as far as the socket takes it at once.
    pub fn turn_away(&self, worker: &Worker, response: &OwnResponse) {
        self.link.try_write(&last_words(worker, response));
        self.mark_unread();
    }

    /// The client may be sending what nobody reads.
    pub fn mark_unread(&self) {
        self.unread.set(true);
    }

    /// Tells whether closing now could destroy an answer that the client has not read yet.
    pub fn has_unread(&self) -> bool {
        self.unread.get()
    }
}

/// What a request that got no answer has left on its client's connection.
#[derive(Default)]
pub struct Leftover {
    /// The client may still be sending a body that nobody reads.
    pub unread: bool,
    /// What the client has got the beginning of: an interim answer. Ours must not come into its
    /// middle.
    pub begun: Vec<u8>,
}

/// The client's side of one exchange.
pub enum Downstream<'a> {
    /// A whole HTTP/1 connection, one request at a time.
    Wire(&'a ClientConnection),
    /// One stream of an HTTP/2 connection.
    Stream(Box<Stream>),
}

/// One HTTP/2 stream from a client.
pub struct Stream {
    /// Sends the answer's head, once.
    pub respond: SendResponse<Bytes>,
    /// The request's body, until somebody forwards it.
    pub body: Option<RecvStream>,
    /// What was seen of its connection.
    pub seen: Rc<Seen>,
}

impl Stream {
    /// Refuses a malformed request: a bare 400, and a stream error (RFC 9113 §8.1.1). Tells whether
    /// that is done; otherwise it is to be answered like any other.
    pub fn refuse(&mut self) -> bool {
        let can = self.seen.answer_before_reset(self.respond.stream_id().as_u32());
        if can {
            self.respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        can
    }
}

impl Downstream<'_> {
    /// The connection, where it is HTTP/1.
    pub fn wire(&self) -> Option<&ClientConnection> {
        match self {
            Self::Wire(downstream) => Some(downstream),
            Self::Stream(_) => None,
        }
    }

    /// The request's body.
    pub fn source(&mut self, length: BodyLength, named: Named, max_trailer_bytes: usize) -> Source {
        match self {
            Self::Wire(downstream) => {
                let source = WireSource::new(&downstream.link, length, named, max_trailer_bytes);
                Source::Wire(source)
            }
            Self::Stream(stream) => match stream.body.take() {
                Some(body) => {
                    let seen = Some(Rc::clone(&stream.seen));
                    Source::Frames(Box::new(FrameSource::new(body, max_trailer_bytes, seen)))
                }
                None => Source::None,
            },
        }
    }

    /// Looks whether the client is still there, before the answer's head was sent.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<()> {
        match self {
            Self::Wire(downstream) => downstream.poll_gone(cx, worker).map(|_error| ()),
            Self::Stream(stream) => stream.respond.poll_reset(cx).map(|_reason| ()),
        }
    }
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
pub const RESET_CHECK: Duration = Duration::from_millis(100);
