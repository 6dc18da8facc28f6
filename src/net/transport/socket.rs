//! The kinds of socket that a connection may have.

use std::io::{Error, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

#[cfg(test)]
use super::memory::MemorySocket;
use super::pipe::Pipe;

/// How long a peer's kernel may leave bytes unanswered before it counts as lost. The peer is next
/// door, and its kernel answers however busy its program is; five are sent again by then.
const UNANSWERED_LIMIT: Duration = Duration::from_secs(5);

/// How long a peer may leave a body unread once its buffers are full, which the kernel counts as
/// unanswered, too. nginx's `proxy_send_timeout`.
const UNREAD_LIMIT: Duration = Duration::from_mins(1);

/// When a peer that says nothing is first asked whether it is there, and how often then: its kernel
/// answers for it. A lost one is found after twice the time.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A connected socket.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
    /// TLS with a client.
    TlsServer(Box<server::TlsStream<TcpStream>>),
    /// TLS with the upstream.
    TlsClient(Box<client::TlsStream<TcpStream>>),
    /// None at all, in tests.
    #[cfg(test)]
    Memory(MemorySocket),
}

/// Runs the same on whatever socket it is.
macro_rules! each {
    ($socket:expr, $inner:ident => $run:expr) => {
        match $socket {
            Self::Tcp($inner) => $run,
            Self::Unix($inner) => $run,
            Self::TlsServer($inner) => $run,
            Self::TlsClient($inner) => $run,
            #[cfg(test)]
            Self::Memory($inner) => $run,
        }
    };
}

/// The same where there are only the kernel's own sockets.
macro_rules! plain {
    ($socket:expr, $inner:ident => $run:expr) => {
        match $socket {
            Self::Tcp($inner) => $run,
            Self::Unix($inner) => $run,
            Self::TlsServer(_) | Self::TlsClient(_) => Err(ErrorKind::Unsupported.into()).into(),
            #[cfg(test)]
            Self::Memory(_) => Err(ErrorKind::Unsupported.into()).into(),
        }
    };
}

impl Socket {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_read(cx, buffer))
    }

    /// How many bytes the socket is sure to take at once; not for TLS.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        loop {
            ready!(plain!(self, socket => socket.poll_write_ready(cx)))?;
            match plain!(self, socket => socket.try_io(Interest::WRITABLE, || room(socket))) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                room => return Poll::Ready(room),
            }
        }
    }

    /// Fills a pipe with what the socket has; 0 at the end. Not for TLS.
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        pipe: &Pipe,
        most: usize,
    ) -> Poll<std::io::Result<usize>> {
        loop {
            ready!(plain!(self, socket => socket.poll_read_ready(cx)))?;
            let fill = plain!(self, socket => {
                socket.try_io(Interest::READABLE, || pipe.fill(socket, most))
            });
            match fill {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                count => return Poll::Ready(count),
            }
        }
    }

    /// Empties a pipe of `count` bytes, as far as the socket takes them at once. Not for TLS.
    pub(super) fn empty(&self, pipe: &Pipe, count: usize) -> std::io::Result<usize> {
        let taken = plain!(self, socket => {
            socket.try_io(Interest::WRITABLE, || pipe.empty_into(socket, count))
        });
        match taken {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            taken => taken,
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        // There is nearly always room, and then nobody has to be woken.
        if let Self::Tcp(socket) = self {
            match socket.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        each!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if let Self::Tcp(socket) = self {
            match socket.try_write_vectored(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        each!(self, socket => Pin::new(socket).poll_write_vectored(cx, slices))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }

    /// Tells whether reading is worth a try, as far as is known without a system call.
    pub(super) fn may_read(&self) -> bool {
        let ready = || Ok(());
        match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, ready).is_ok(),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, ready).is_ok(),
            // What was decrypted already does not show.
            Self::TlsServer(_) | Self::TlsClient(_) => true,
            #[cfg(test)]
            Self::Memory(socket) => socket.view().is_readable(),
        }
    }

    pub(super) fn be_patient(&self) {
        if let Some(os) = self.os()
            && !matches!(self, Self::Unix(_))
        {
            // If it cannot, an app that does not read is lost early, which is seen.
            let _set = os.set_tcp_user_timeout(Some(UNREAD_LIMIT));
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::TlsServer(_) | Self::TlsClient(_))
    }

    /// Tells whether what is sent is what the kernel has.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    /// Has the connection end with a reset.
    pub(super) fn abort(&self) {
        #[cfg(test)]
        if let Self::Memory(socket) = self {
            return socket.abort();
        }
        if let Some(os) = self.os() {
            // If it cannot, the connection ends with a FIN.
            let _set = os.set_linger(Some(Duration::ZERO));
        }
    }

    /// Asks the kernel whether there is something to read, or the end.
    pub(super) fn is_readable(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match self.os().map(|os| os.peek(&mut byte)) {
            Some(Err(error)) => error.kind() != ErrorKind::WouldBlock,
            Some(Ok(_)) => true,
            None => self.may_read(),
        }
    }

    /// Takes the pending error.
    pub(super) fn take_error(&self) -> Option<Error> {
        #[cfg(test)]
        if let Self::Memory(socket) = self {
            return socket.view().take_error();
        }
        self.os()?.take_error().unwrap_or_else(Some)
    }

    /// The kernel's socket, if there is one.
    #[cfg_attr(not(test), expect(clippy::unnecessary_wraps, reason = "in tests there may be none"))]
    pub(super) fn os(&self) -> Option<SockRef<'_>> {
        Some(match self {
            Self::Tcp(socket) => SockRef::from(socket),
            Self::Unix(socket) => SockRef::from(socket),
            Self::TlsServer(socket) => SockRef::from(socket.get_ref().0),
            Self::TlsClient(socket) => SockRef::from(socket.get_ref().0),
            #[cfg(test)]
            Self::Memory(_) => return None,
        })
    }
}

/// Bytes that a socket has room for, if it is writable.
///
/// The kernel says that a socket is writable while at least a third of its room is free (TCP), or
/// three quarters (Unix). Each piece of a message takes a little more than its bytes.
///
/// # Source
///
/// Linux `sk_stream_is_writeable`, `unix_writable`.
fn room(socket: impl AsFd) -> std::io::Result<usize> {
    let mut look = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut look, Some(&Timespec::default()))? == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    Ok(SockRef::from(&socket).send_buffer_size()? / 4)
}

/// Has the kernel notice that a peer was lost in silence: its power, its network, a firewall that
/// has forgotten the connection. Without it what is sent is sent again for a quarter of an hour,
/// and who only waits waits for ever.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn notice_silence(socket: &TcpStream) -> std::io::Result<()> {
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNANSWERED_LIMIT))
}

/// Tells whether an error means that this process (EMFILE) or machine (ENFILE) has no file
/// descriptor left.
pub(crate) fn is_out_of_descriptors(error: &Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
