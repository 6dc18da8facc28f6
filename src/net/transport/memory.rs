//! A connection in memory, for tests: as the kernel's on loopback, but exact.
//!
//! Nothing here depends on the machine: how much is on the way, in which pieces it comes, and when
//! an end shows. What RFC 9293 and Linux say of FIN and RST holds: bytes that came before a reset
//! can be read, closing with unread bytes resets, and so does sending to somebody who has closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one side holds, and what was done to it.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one end")]
struct Side {
    inbox: VecDeque<u8>,
    /// How much the inbox takes.
    capacity: usize,
    /// How much one call moves, either way.
    piece: usize,
    /// What has come is not visible yet: the network holds it back.
    corked: bool,
    /// Nobody looks: what can be read does not show.
    paused: bool,
    /// The peer has sent its FIN.
    fin: bool,
    /// A reset that was not reported yet.
    error: Option<ErrorKind>,
    /// A reset has come.
    dead: bool,
    shut: bool,
    closed: bool,
    /// Closing sends a reset.
    aborts: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Side {
    fn is_readable(&self) -> bool {
        let shows = !self.paused && !self.corked;
        self.error.is_some() || self.dead || shows && (self.fin || !self.inbox.is_empty())
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn reset(&mut self) {
        self.error = Some(ErrorKind::ConnectionReset);
        self.dead = true;
        self.wake();
    }
}

type Sides = Rc<RefCell<[Side; 2]>>;

/// One end. Dropping it closes.
pub struct MemorySocket {
    view: MemoryView,
}

/// What a test does to a connection whose end somebody else owns.
#[derive(Clone)]
pub(crate) struct MemoryView {
    sides: Sides,
    own: usize,
}

/// Two connected ends; each has so much on the way to it, and moves so much in one call.
pub(crate) fn pair(ends: [(usize, usize); 2]) -> (MemorySocket, MemorySocket) {
    let sides = ends.map(|(capacity, piece)| Side { capacity, piece, ..Side::default() });
    let sides = Rc::new(RefCell::new(sides));
    let end = |own| MemorySocket { view: MemoryView { sides: Rc::clone(&sides), own } };
    (end(0), end(1))
}

impl MemoryView {
    fn with<T>(&self, run: impl FnOnce(&mut Side, &mut Side) -> T) -> T {
        let [one, other] = &mut *self.sides.borrow_mut();
        if self.own == 0 { run(one, other) } else { run(other, one) }
    }

    /// Whether what this end sends waits in the network, to come at once.
    pub(crate) fn cork(&self, corked: bool) {
        self.with(|_, peer| {
            peer.corked = corked;
            peer.wake();
        });
    }

    /// Whether this end looks away from what it could read.
    pub(crate) fn pause(&self, paused: bool) {
        self.with(|own, _| {
            own.paused = paused;
            own.wake();
        });
    }

    /// What comes first, `count` bytes or less if there is no more; it stays to be read.
    pub(crate) async fn peek(&self, count: usize) -> Vec<u8> {
        poll_fn(|cx| {
            self.with(|own, _| {
                if own.inbox.len() < count && !own.fin && !own.dead {
                    own.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(own.inbox.iter().take(count).copied().collect())
            })
        })
        .await
    }

    pub(super) fn is_readable(&self) -> bool {
        self.with(|own, _| own.is_readable())
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.with(|own, _| own.error.take()).map(io::Error::from)
    }

    fn poll_read(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|own, peer| {
            let shows = !own.paused && !own.corked;
            if shows && !own.inbox.is_empty() {
                let count = own.inbox.len().min(room.remaining()).min(own.piece);
                for byte in own.inbox.drain(..count) {
                    room.put_slice(&[byte]);
                }
                if let Some(writer) = peer.writer.take() {
                    writer.wake();
                }
            } else if let Some(error) = own.error.take() {
                return Poll::Ready(Err(error.into()));
            } else if !(own.dead || shows && own.fin) {
                own.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|own, peer| {
            if let Some(error) = own.error.take() {
                return Poll::Ready(Err(error.into()));
            }
            if own.dead || own.shut {
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            if peer.closed {
                own.reset();
                return Poll::Ready(Ok(bytes.len()));
            }
            let room = peer.capacity.saturating_sub(peer.inbox.len());
            let count = room.min(own.piece).min(bytes.len());
            if count == 0 && !bytes.is_empty() {
                own.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            peer.inbox.extend(&bytes[..count]);
            if let Some(reader) = peer.reader.take() {
                reader.wake();
            }
            Poll::Ready(Ok(count))
        })
    }

    fn shutdown(&self) {
        self.with(|own, peer| {
            own.shut = true;
            peer.fin = true;
            peer.wake();
        });
    }
}

impl MemorySocket {
    /// The same end, for whoever does not own it.
    pub(crate) fn view(&self) -> MemoryView {
        self.view.clone()
    }

    /// Has closing send a reset.
    pub(crate) fn abort(&self) {
        self.view.with(|own, _| own.aborts = true);
    }

    /// Reads; 0 at the end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = ReadBuf::new(buffer);
        poll_fn(|cx| self.view.poll_read(cx, &mut room)).await?;
        Ok(room.filled().len())
    }

    /// Writes everything.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.view.poll_write(cx, bytes)).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Sends a FIN.
    pub(crate) fn shutdown(&self) {
        self.view.shutdown();
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.view.with(|own, peer| {
            own.closed = true;
            if own.aborts || !own.inbox.is_empty() {
                peer.reset();
            } else {
                peer.fin = true;
                peer.wake();
            }
        });
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.view.poll_read(cx, room)
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.view.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match self.view.poll_write(cx, slice) {
                Poll::Ready(Ok(count)) => {
                    written += count;
                    if count < slice.len() {
                        break;
                    }
                }
                // What went before counts; this shows the next time.
                Poll::Ready(Err(_)) | Poll::Pending if written > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

/// How a new connection to the upstream goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) enum Reception {
    /// It is made.
    #[default]
    Accept,
    /// Nobody listens.
    Refuse,
    /// Nobody answers.
    Silence,
}

/// Where the connections to the upstream go that this thread opens, instead of the network.
#[derive(Default)]
pub(crate) struct MemoryUpstream {
    /// How the next ones go.
    pub(crate) reception: Reception,
    /// What each end of the next has on the way to it and moves in one call; the upstream's first.
    pub(crate) ends: [(usize, usize); 2],
    /// Ends of the upstream that it has not taken yet.
    pub(crate) waiting: VecDeque<MemorySocket>,
    /// Whom to wake for the next.
    pub(crate) acceptor: Option<Waker>,
}

thread_local! {
    static UPSTREAM: RefCell<Option<Rc<RefCell<MemoryUpstream>>>> = const { RefCell::new(None) };
}

/// Has this thread connect there from now on; `None`: to the network.
pub(crate) fn connect_to(upstream: Option<Rc<RefCell<MemoryUpstream>>>) {
    UPSTREAM.set(upstream);
}

/// Connects, if this thread does so in memory.
pub(crate) async fn connect() -> Option<io::Result<MemorySocket>> {
    let upstream = UPSTREAM.with_borrow(Clone::clone)?;
    let reception = upstream.borrow().reception;
    match reception {
        Reception::Refuse => return Some(Err(ErrorKind::ConnectionRefused.into())),
        Reception::Silence => std::future::pending().await,
        Reception::Accept => {}
    }
    let mut upstream = upstream.borrow_mut();
    let (theirs, ours) = pair(upstream.ends);
    upstream.waiting.push_back(theirs);
    if let Some(acceptor) = upstream.acceptor.take() {
        acceptor.wake();
    }
    Some(Ok(ours))
}
