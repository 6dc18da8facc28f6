//! A client's connection: its socket, and what its parts tell each other about the request.
//!
//! hyper owns the protocol; this owns the socket, so that the supervisor in `connection` can see
//! what hyper cannot: whether a client that sent a FIN is gone or only done sending.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::coalesce::coalesced;
use crate::worker::Tick;

/// What to do once the kernel knows whether the client received its answer.
pub type Verdict = Box<dyn FnOnce(Delivery)>;

/// Whether an answer to a half-closed client arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Nothing says that it did not.
    Delivered,
    /// The client's kernel answered with a reset: nobody was there to read.
    Aborted,
}

/// One client connection. Not `Sync`; shared by the tasks of one worker.
pub struct Downstream {
    socket: RefCell<TcpStream>,
    peer: IpAddr,
    peer_field: HeaderValue,
    in_flight: Cell<bool>,
    head_sent: Cell<bool>,
    uploading: Cell<bool>,
    unread_upload: Cell<bool>,
    half_closed: Cell<bool>,
    head_begun: Cell<bool>,
    idle_since: Cell<Option<Tick>>,
    deferred: RefCell<Option<Verdict>>,
}

impl Downstream {
    /// Takes over an accepted socket.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> Rc<Self> {
        let peer = peer.ip().to_canonical();
        let peer_field = HeaderValue::from_str(&peer.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Rc::new(Self {
            socket: RefCell::new(socket),
            peer,
            peer_field,
            in_flight: Cell::new(false),
            head_sent: Cell::new(false),
            uploading: Cell::new(false),
            unread_upload: Cell::new(false),
            half_closed: Cell::new(false),
            head_begun: Cell::new(false),
            idle_since: Cell::new(None),
            deferred: RefCell::new(None),
        })
    }

    /// The client's address; IPv4 also where the socket is IPv6.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The client's address as a field value, made once per connection.
    pub fn peer_field(&self) -> &HeaderValue {
        &self.peer_field
    }

    /// A request head was read.
    pub(crate) fn request_started(&self) {
        self.in_flight.set(true);
        // hyper read a head, so whatever was left of the last body is consumed.
        self.unread_upload.set(false);
        self.head_sent.set(false);
        self.head_begun.set(false);
    }

    /// The request ended, at this time.
    pub(crate) fn request_ended(&self, at: Tick) {
        self.in_flight.set(false);
        self.idle_since.set(Some(at));
    }

    /// A request body is being forwarded.
    pub(crate) fn upload_started(&self) {
        self.uploading.set(true);
    }

    /// The body was forwarded whole, or is not wanted any more.
    pub(crate) fn upload_ended(&self, complete: bool) {
        self.uploading.set(false);
        if !complete {
            self.unread_upload.set(true);
        }
    }

    /// The client may be sending a body that nobody reads.
    pub fn mark_unread_upload(&self) {
        self.unread_upload.set(true);
    }

    /// Tells whether closing now could destroy an answer that the client has not read yet.
    pub fn has_unread_upload(&self) -> bool {
        self.unread_upload.get()
    }

    /// Tells whether a request is being served.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.get()
    }

    /// The response head is on its way: it cannot say `Connection: close` any more.
    pub(crate) fn response_begun(&self) {
        self.head_sent.set(true);
    }

    /// Tells whether a request waits for its response head.
    pub fn awaits_head(&self) -> bool {
        self.in_flight.get() && !self.head_sent.get()
    }

    /// Tells whether part of a request head was read.
    pub fn is_head_begun(&self) -> bool {
        self.head_begun.get()
    }

    /// When the last request ended, if there was one.
    pub fn idle_since(&self) -> Option<Tick> {
        self.idle_since.get()
    }

    /// Tells whether the client has sent a FIN while its request was served.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed.get()
    }

    /// Leaves the ending of a request to [`Self::decide`]; dropping `verdict` counts as aborted.
    pub(crate) fn defer(&self, verdict: Verdict) {
        // A half-closed client sends no second request, but one may have been pipelined; then the
        // first was delivered as far as anybody can tell.
        if let Some(earlier) = self.deferred.borrow_mut().replace(verdict) {
            earlier(Delivery::Delivered);
        }
    }

    /// Tells whether a request's ending waits for the kernel's word.
    pub fn has_deferred(&self) -> bool {
        self.deferred.borrow().is_some()
    }

    /// Forgets the request that waits, which counts it as aborted. Breaks the cycle between the
    /// connection and its observation when the connection's task is dropped.
    pub fn abandon(&self) {
        let verdict = self.deferred.borrow_mut().take();
        drop(verdict);
    }

    /// Ends the request that waits, if one does.
    pub fn decide(&self, delivery: Delivery) {
        let verdict = self.deferred.borrow_mut().take();
        if let Some(verdict) = verdict {
            verdict(delivery);
        }
    }

    /// Looks whether the client is still there while its request is served.
    ///
    /// hyper does not read while it waits for an answer (with `half_close`), so this peeks. A FIN
    /// is noted and does not end anything: RFC 9112 §9.6 allows a client to half-close and wait
    /// for its answer. A reset does.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.in_flight.get() || self.uploading.get() || self.half_closed.get() {
            return Poll::Pending;
        }
        let mut byte = [0];
        match self.socket.borrow().poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => {
                self.half_closed.set(true);
                Poll::Pending
            }
            // A pipelined request: what comes behind it cannot be seen.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
        }
    }

    /// The socket's pending error: a reset that arrived after a FIN shows up only here.
    pub fn take_error(&self) -> Option<io::Error> {
        match self.socket.borrow().take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    /// Writes a whole short answer if the socket takes it at once; else the client gets none.
    pub fn try_answer(&self, answer: &[u8]) {
        // Best effort: the connection is closed next, whether or not this was written.
        let _written = self.socket.borrow().try_write(answer);
    }

    /// Closes the sending direction.
    ///
    /// # Errors
    ///
    /// The connection is gone already.
    pub async fn shutdown(self: &Rc<Self>) -> io::Result<()> {
        let mut io = DownstreamIo(Rc::clone(self));
        std::future::poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await
    }

    /// Reads and discards until the client closes.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub async fn discard(self: &Rc<Self>, scratch: &mut [u8]) -> io::Result<usize> {
        let mut io = DownstreamIo(Rc::clone(self));
        let mut buffer = ReadBuf::new(scratch);
        std::future::poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }
}

/// The socket as hyper uses it.
pub struct DownstreamIo(pub Rc<Downstream>);

impl AsyncRead for DownstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut *self.0.socket.borrow_mut()).poll_read(cx, buffer);
        let downstream = &self.0;
        // The rest of an upload whose answer is complete already is no head.
        let is_head = !downstream.in_flight.get()
            && !downstream.uploading.get()
            && !downstream.unread_upload.get();
        if is_head && buffer.filled().len() > before {
            downstream.head_begun.set(true);
        }
        result
    }
}

impl AsyncWrite for DownstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.socket.borrow_mut();
        if let Some(written) = coalesced(bufs, |bytes| Pin::new(&mut *socket).poll_write(cx, bytes))
        {
            return written;
        }
        Pin::new(&mut *socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
