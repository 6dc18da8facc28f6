//! A connection as bytes, on either side: its socket, and what was read ahead of its use.
//!
//! Owned by one task at a time, shared by the parts of that task; hence no lock. Knows nothing of
//! HTTP. Reading relies on that task polling with its own waker: a combinator with wakers of its
//! own must not stand between.

use std::cell::{Cell, RefCell};
use std::io::{Error, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::ReadBuf;
use tokio::task::coop::has_budget_remaining;

use crate::net::budget::{Holder, Kept, Level, SMALL_BYTES};
use crate::net::coalesce::coalesced;

pub(crate) use self::io::{Hearing, TransportIo, Verdict};
pub(crate) use self::pace::Pace;
pub(crate) use self::scratch::Scratch;
pub(crate) use self::socket::{Socket, is_out_of_descriptors, notice_silence};

mod io;
#[cfg(test)]
pub(crate) mod memory;
mod pace;
mod pipe;
mod scratch;
mod socket;

/// Bytes that may be read ahead while nobody wants them: some pipelined requests.
const MAX_AHEAD_BYTES: usize = 64 * 1024;

/// How much of that is read at a time.
const AHEAD_PIECE_BYTES: usize = 16 * 1024;

/// Room that an idle connection may keep for bytes read ahead.
const MAX_IDLE_ROOM_BYTES: usize = 512;

/// Bytes that one read takes, and so the most that is kept for a recipient that takes none of them.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Room in a recipient's socket for which passing is worth its system calls.
const LEAST_ROOM_BYTES: usize = 16 * 1024;

/// What came of passing bytes from one connection to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passed {
    /// So many were moved, at least one.
    Bytes(usize),
    /// There are no more.
    End,
    /// Nothing has come. The task is woken when something has.
    NotThere,
    /// The other takes none. The task is woken when it does.
    NotTaken,
    /// These two have to be read and written.
    Unable,
}

/// Which of two connections failed while bytes passed from one to the other.
#[derive(Debug)]
pub(crate) enum PassError {
    /// The one that they came from.
    From(Error),
    /// The one that they go to.
    To(Error),
}

/// One connection. Not `Sync`.
pub(crate) struct Transport {
    socket: RefCell<Socket>,
    /// Whose memory it uses.
    holder: Rc<Holder>,
    /// Read, but not used yet.
    ahead: RefCell<Kept>,
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
    /// Takes over a connected socket. What is kept of it is charged to `holder`.
    pub(crate) fn new(socket: Socket, holder: &Rc<Holder>) -> Self {
        Self {
            holder: Rc::clone(holder),
            buffers: socket.is_tls(),
            socket: RefCell::new(socket),
            ahead: RefCell::new(Kept::new(holder)),
            eof: Cell::new(false),
            sent: Cell::new(false),
            received: Cell::new(false),
            watched: Cell::new(false),
            patient: Cell::new(false),
        }
    }

    /// The peer may leave unread what is sent from now on: a body, or another protocol. Costs one
    /// system call, the first time.
    pub(crate) fn be_patient(&self) {
        if !self.patient.replace(true) {
            self.socket.borrow().be_patient();
        }
    }

    /// To whom is charged what is kept of it.
    pub(crate) fn holder(&self) -> &Rc<Holder> {
        &self.holder
    }

    /// Forgets what went over the connection before, and which task read it.
    pub(crate) fn begin_exchange(&self) {
        self.sent.set(false);
        self.received.set(false);
        self.change_reader();
    }

    /// Reads from the socket.
    fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.poll_watched(|socket| socket.poll_read(cx, room))
    }

    /// Looks for something to read. A task that waits already is not entered again while nothing
    /// came: each request asks several times.
    fn poll_watched<T>(&self, look: impl FnOnce(&mut Socket) -> Poll<T>) -> Poll<T> {
        let mut socket = self.socket.borrow_mut();
        if self.watched.get() && !socket.may_read() {
            return Poll::Pending;
        }
        let polled = look(&mut socket);
        // A task that has used up its turn is woken at once instead of being entered.
        self.watched.set(polled.is_pending() && has_budget_remaining());
        polled
    }

    /// Another task reads from now on.
    pub(crate) fn change_reader(&self) {
        self.watched.set(false);
    }

    /// Tells whether a byte was written since the exchange began.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent.get()
    }

    /// Tells whether a byte was read since the exchange began.
    pub(crate) fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Tells whether the peer has sent its FIN.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof.get()
    }

    /// Tells whether bytes were read that nobody has used.
    pub(crate) fn has_ahead(&self) -> bool {
        !self.ahead.borrow().is_empty()
    }

    /// Tells whether what was read that nobody has used holds an empty line behind something else:
    /// less can never become a request once the peer has sent its FIN.
    pub(crate) fn has_request_ahead(&self) -> bool {
        let ahead = self.ahead.borrow();
        let begins = ahead.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let rest = begins.and_then(|at| ahead.get(at..)).unwrap_or_default();
        rest.windows(2).any(|pair| pair == b"\n\n") || rest.windows(4).any(|end| end == b"\r\n\r\n")
    }

    /// How many bytes were read that nobody has used.
    pub(crate) fn ahead_bytes(&self) -> usize {
        self.ahead.borrow().len()
    }

    /// Gives bytes back that belong to whatever is read next; they go before all others.
    pub(crate) fn put_back(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.ahead.borrow_mut().prepend(bytes);
        }
    }

    /// Reads at most 64 KiB: first what was read ahead, then from the socket. 0 at the end.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let most = buffer.len().min(MAX_READ_BYTES);
        let (buffer, _) = buffer.split_at_mut(most);
        let taken = self.take_ahead(buffer);
        if taken > 0 || buffer.is_empty() {
            return Poll::Ready(Ok(taken));
        }
        if self.eof.get() {
            return Poll::Ready(Ok(0));
        }
        let mut room = ReadBuf::new(buffer);
        ready!(self.poll_socket(cx, &mut room))?;
        Poll::Ready(Ok(self.note_read(room.filled().len())))
    }

    /// Reads into a buffer that may be uninitialized, and so may have no memory yet: as
    /// [`Self::poll_read`] otherwise.
    ///
    /// # Errors
    ///
    /// The socket's.
    fn poll_read_buf(
        &self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.has_ahead() || self.eof.get() {
            let count = ready!(self.poll_read(cx, room.initialize_unfilled()))?;
            room.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = room.filled().len();
        ready!(self.poll_socket(cx, room))?;
        self.note_read(room.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    /// Takes note of how many bytes came; none are the end.
    fn note_read(&self, count: usize) -> usize {
        if count == 0 {
            self.eof.set(true);
        } else {
            self.received.set(true);
            self.holder.moves();
        }
        count
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
        ahead.consume(count, MAX_IDLE_ROOM_BYTES);
        count
    }

    /// Passes at most `most` bytes on to another connection, without a copy: as many as are there
    /// and as the other has room for, so that a recipient that does not read costs no memory here.
    /// What does not come through all the same is appended to `rest`, to be written before all
    /// others.
    ///
    /// # Errors
    ///
    /// Those of either socket.
    pub(crate) fn pass(
        &self,
        cx: &mut Context<'_>,
        to: &Self,
        most: usize,
        (scratch, rest): (&mut Scratch, &mut Vec<u8>),
    ) -> Result<Passed, PassError> {
        let is_plain = self.socket.borrow().is_plain() && to.socket.borrow().is_plain();
        if !is_plain || self.has_ahead() || self.eof.get() {
            return Ok(Passed::Unable);
        }
        let room = match to.socket.borrow().poll_room(cx) {
            Poll::Pending => return Ok(Passed::NotTaken),
            Poll::Ready(room) => room.map_err(PassError::To)?,
        };
        if room < LEAST_ROOM_BYTES {
            return Ok(Passed::Unable);
        }
        let most = most.min(room).min(scratch.most_bytes());
        let Some(pipe) = scratch.take_pipe() else {
            return Ok(Passed::Unable);
        };
        let count = match self.poll_watched(|socket| socket.poll_fill(cx, &pipe, most)) {
            Poll::Pending => {
                scratch.put_back(pipe);
                return Ok(Passed::NotThere);
            }
            Poll::Ready(count) => count.map_err(PassError::From)?,
        };
        if count == 0 {
            scratch.put_back(pipe);
            self.eof.set(true);
            return Ok(Passed::End);
        }
        self.received.set(true);
        let taken = to.socket.borrow().empty(&pipe, count).map_err(PassError::To)?;
        if taken > 0 {
            to.sent.set(true);
        }
        if taken < count {
            pipe.drain(count - taken, rest).map_err(PassError::To)?;
        }
        scratch.put_back(pipe);
        scratch.note(taken == count);
        Ok(Passed::Bytes(count))
    }

    /// Looks whether the peer is still there, while nobody reads: reads a little ahead.
    ///
    /// A FIN is noted and does not end anything: RFC 9112 §9.6 allows a client to half-close and
    /// wait for its answer. A reset does.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Error> {
        loop {
            let waiting = self.ahead.borrow().len();
            let is_much =
                waiting >= MAX_AHEAD_BYTES || (waiting > 0 && self.holder.level() != Level::Ample);
            if self.eof.get() || is_much {
                return Poll::Pending;
            }
            // A little is always read: it may be the end.
            let has_room = self.holder.admits(AHEAD_PIECE_BYTES);
            let piece = if has_room { AHEAD_PIECE_BYTES } else { SMALL_BYTES }.min(scratch.len());
            let mut room = ReadBuf::new(scratch.get_mut(..piece).unwrap_or_default());
            match self.poll_socket(cx, &mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) if room.filled().is_empty() => self.eof.set(true),
                Poll::Ready(Ok(())) => self.ahead.borrow_mut().extend(room.filled()),
            }
        }
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(crate) fn poll_write(
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
            self.holder.moves();
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
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.buffers { self.socket.borrow_mut().poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Tells whether the connection ends with a message of its own, before the FIN.
    pub(crate) fn has_closing_message(&self) -> bool {
        self.buffers
    }

    /// Writes what the socket takes at once; the rest is lost.
    pub(crate) fn try_write(&self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        // Best effort: the connection is closed next, whether or not this was written.
        let _written = self.socket.borrow_mut().poll_write(&mut cx, bytes);
    }

    /// Closes the sending direction.
    ///
    /// # Errors
    ///
    /// The connection is gone already.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.socket.borrow_mut().poll_shutdown(cx)
    }

    /// Tells whether an idle connection is of no more use, as far as is known without a system
    /// call: it has ended, or it has bytes that nobody asked for.
    pub(crate) fn is_spoilt(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        self.eof.get()
            || self.has_ahead()
            || (self.socket.borrow().may_read() && self.poll_read(&mut cx, &mut byte).is_ready())
    }

    /// Has the connection end with a reset: what was sent must not be taken for whole.
    pub(crate) fn abort(&self) {
        self.socket.borrow().abort();
    }

    /// Asks the kernel whether there is something to read: the end, or bytes that nobody asked
    /// for. Costs one system call.
    pub(crate) fn is_readable(&self) -> bool {
        self.socket.borrow().is_readable()
    }

    /// The socket's pending error: a reset that arrived after a FIN shows up only here.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.socket.borrow().take_error()
    }
}

#[cfg(test)]
mod tests;
