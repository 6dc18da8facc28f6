//! A connection as bytes, on either side: its socket, and what was read ahead of its use.
//!
//! Owned by one task at a time, shared by the parts of that task; hence no lock. Knows nothing of
//! HTTP. Reading relies on that task polling with its own waker: a combinator with wakers of its
//! own must not stand between.

use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::task::coop::has_budget_remaining;

use crate::net::coalesce::coalesced;

pub use self::io::{Hearing, TransportIo, Verdict};
pub use self::socket::{Socket, is_out_of_descriptors, notice_silence};

mod io;
mod socket;

/// Bytes that may be read ahead while nobody wants them: some pipelined requests.
const MAX_AHEAD_BYTES: usize = 64 * 1024;

/// Room that an idle connection may keep for bytes read ahead.
const MAX_IDLE_ROOM_BYTES: usize = 512;

/// One connection. Not `Sync`.
pub struct Transport {
    socket: RefCell<Socket>,
    /// Read, but not used yet.
    ahead: RefCell<Vec<u8>>,
    /// The peer has sent its FIN.
    eof: Cell<bool>,
    sent: Cell<bool>,
    received: Cell<bool>,
    /// The socket knows whom to wake when there is something to read.
    watched: Cell<bool>,
    /// The socket has a buffer of its own: TLS.
    buffers: bool,
    /// The peer may take its time to read.
    patient: Cell<bool>,
}

impl Transport {
    /// Takes over a connected socket.
    pub fn new(socket: Socket) -> Self {
        Self {
            buffers: socket.is_tls(),
            socket: RefCell::new(socket),
            ahead: RefCell::default(),
            eof: Cell::new(false),
            sent: Cell::new(false),
            received: Cell::new(false),
            watched: Cell::new(false),
            patient: Cell::new(false),
        }
    }

    /// The peer may leave unread what is sent from now on: a body, or another protocol. Costs one
    /// system call, the first time.
    pub fn be_patient(&self) {
        if !self.patient.replace(true) {
            self.socket.borrow().be_patient();
        }
    }

    /// Forgets what went over the connection before, and which task read it.
    pub fn begin_exchange(&self) {
        self.sent.set(false);
        self.received.set(false);
        self.change_reader();
    }

    /// Reads from the socket. A task that waits already is not entered again while nothing came:
    /// each request asks several times.
    fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut socket = self.socket.borrow_mut();
        if self.watched.get() && !socket.may_read() {
            return Poll::Pending;
        }
        let polled = socket.poll_read(cx, room);
        // A task that has used up its turn is woken at once instead of being entered.
        self.watched.set(polled.is_pending() && has_budget_remaining());
        polled
    }

    /// Another task reads from now on.
    pub fn change_reader(&self) {
        self.watched.set(false);
    }

    /// Tells whether a byte was written since the exchange began.
    pub fn has_sent(&self) -> bool {
        self.sent.get()
    }

    /// Tells whether a byte was read since the exchange began.
    pub fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Tells whether the peer has sent its FIN.
    pub fn is_eof(&self) -> bool {
        self.eof.get()
    }

    /// Tells whether bytes were read that nobody has used.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.borrow().is_empty()
    }

    /// Tells whether what was read that nobody has used holds an empty line behind something else:
    /// less can never become a request once the peer has sent its FIN.
    pub fn has_request_ahead(&self) -> bool {
        let ahead = self.ahead.borrow();
        let begins = ahead.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let rest = begins.and_then(|at| ahead.get(at..)).unwrap_or_default();
        rest.windows(2).any(|pair| pair == b"\n\n") || rest.windows(4).any(|end| end == b"\r\n\r\n")
    }

    /// How many bytes were read that nobody has used.
    pub fn ahead_bytes(&self) -> usize {
        self.ahead.borrow().len()
    }

    /// Gives bytes back that belong to whatever is read next; they go before all others.
    pub fn put_back(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut ahead = self.ahead.borrow_mut();
            if ahead.is_empty() {
                ahead.extend_from_slice(bytes);
            } else {
                ahead.splice(..0, bytes.iter().copied());
            }
        }
    }

    /// Reads: first what was read ahead, then from the socket. 0 at the end.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = self.take_ahead(buffer);
        if taken > 0 || buffer.is_empty() {
            return Poll::Ready(Ok(taken));
        }
        if self.eof.get() {
            return Poll::Ready(Ok(0));
        }
        let mut room = ReadBuf::new(buffer);
        ready!(self.poll_socket(cx, &mut room))?;
        let count = room.filled().len();
        if count == 0 {
            self.eof.set(true);
        } else {
            self.received.set(true);
        }
        Poll::Ready(Ok(count))
    }

    fn take_ahead(&self, buffer: &mut [u8]) -> usize {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.is_empty() {
            return 0;
        }
        let count = ahead.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), ahead.get(..count)) {
            to.copy_from_slice(from);
        }
        ahead.drain(..count);
        if ahead.is_empty() && ahead.capacity() > MAX_IDLE_ROOM_BYTES {
            *ahead = Vec::new();
        }
        count
    }

    /// Looks whether the peer is still there, while nobody reads: reads a little ahead.
    ///
    /// A FIN is noted and does not end anything: RFC 9112 §9.6 allows a client to half-close and
    /// wait for its answer. A reset does.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub fn poll_gone(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Error> {
        loop {
            let waiting = self.ahead.borrow().len();
            if self.eof.get() || waiting >= MAX_AHEAD_BYTES {
                return Poll::Pending;
            }
            let mut room = ReadBuf::new(scratch);
            match self.poll_socket(cx, &mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) if room.filled().is_empty() => self.eof.set(true),
                Poll::Ready(Ok(())) => self.ahead.borrow_mut().extend_from_slice(room.filled()),
            }
        }
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let mut socket = self.socket.borrow_mut();
        let single = coalesced(slices, |bytes| socket.poll_write(cx, bytes));
        let written = match single {
            Some(written) => written,
            None => socket.poll_write_vectored(cx, slices),
        };
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.sent.set(true);
            if self.buffers
                && let Poll::Ready(Err(error)) = socket.poll_flush(cx)
            {
                return Poll::Ready(Err(error));
            }
        }
        written
    }

    /// Hands what was written to the kernel; only TLS keeps anything back.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.buffers { self.socket.borrow_mut().poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Tells whether the connection ends with a message of its own, before the FIN.
    pub fn has_closing_message(&self) -> bool {
        self.buffers
    }

    /// Writes what the socket takes at once; the rest is lost.
    pub fn try_write(&self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        // Best effort: the connection is closed next, whether or not this was written.
        let _written = self.socket.borrow_mut().poll_write(&mut cx, bytes);
    }

    /// Closes the sending direction.
    ///
    /// # Errors
    ///
    /// The connection is gone already.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.socket.borrow_mut().poll_shutdown(cx)
    }

    /// Tells whether an idle connection is of no more use, as far as is known without a system
    /// call: it has ended, or it has bytes that nobody asked for.
    pub fn is_spoilt(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        self.eof.get()
            || self.has_ahead()
            || (self.socket.borrow().may_read() && self.poll_read(&mut cx, &mut byte).is_ready())
    }

    /// Has the connection end with a reset: what was sent must not be taken for whole.
    pub fn abort(&self) {
        // If it cannot, the connection ends with a FIN.
        let _set = self.socket.borrow().os().set_linger(Some(Duration::ZERO));
    }

    /// Asks the kernel whether there is something to read: the end, or bytes that nobody asked
    /// for. Costs one system call.
    pub fn is_readable(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = self.socket.borrow().os().peek(&mut byte);
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The socket's pending error: a reset that arrived after a FIN shows up only here.
    pub fn take_error(&self) -> Option<Error> {
        match self.socket.borrow().os().take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }
}
