//! The socket to the upstream: name resolution, connecting, and what went over it.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::coalesce::coalesced;
use crate::config::Upstream;
use crate::error::ProxyError;

/// A connected socket.
pub enum Socket {
    /// TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

/// Finds the upstream's addresses and connects to the first that answers.
///
/// Addresses are remembered until connecting fails; then the name is resolved again, so that an
/// app that came back under another address is found.
pub struct Resolver {
    upstream: Upstream,
    addresses: RefCell<Rc<[SocketAddr]>>,
}

impl Resolver {
    /// A resolver that has not looked yet.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, addresses: RefCell::default() }
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// The last address's error; or that the name does not resolve.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub async fn connect(&self) -> Result<Socket, ProxyError> {
        let (host, port) = match &self.upstream {
            Upstream::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(ProxyError::from_connect)?;
                return Ok(Socket::Unix(socket));
            }
            Upstream::Tcp { host, port } | Upstream::Tls { host, port } => (host.as_str(), *port),
        };
        let known = Rc::clone(&self.addresses.borrow());
        let known_result = connect_any(&known).await;
        if known_result.is_ok() {
            return known_result;
        }
        let found = tokio::net::lookup_host((host, port)).await.map_err(ProxyError::Dns)?;
        let found: Rc<[SocketAddr]> = found.collect();
        if found == known && !known.is_empty() {
            return known_result;
        }
        *self.addresses.borrow_mut() = Rc::clone(&found);
        connect_any(&found).await
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<Socket, ProxyError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(ProxyError::from_connect)?;
                return Ok(Socket::Tcp(socket));
            }
            Err(error) => last = error,
        }
    }
    Err(ProxyError::from_connect(last))
}

/// A socket that remembers whether anything went over it since the exchange began.
pub struct Wire {
    socket: RefCell<Socket>,
    sent: Cell<bool>,
    received: Cell<bool>,
}

impl Wire {
    /// Takes over a connected socket.
    pub fn new(socket: Socket) -> Rc<Self> {
        let (sent, received) = (Cell::new(false), Cell::new(false));
        Rc::new(Self { socket: RefCell::new(socket), sent, received })
    }

    /// Forgets what went over the socket before.
    pub fn begin_exchange(&self) {
        self.sent.set(false);
        self.received.set(false);
    }

    /// Tells whether a byte was written since the exchange began.
    pub fn has_sent(&self) -> bool {
        self.sent.get()
    }

    /// Tells whether a byte was read since the exchange began.
    pub fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Asks the kernel whether an idle connection has something to read: its end, or bytes that
    /// nobody asked for. Either way it is of no more use. Costs one system call.
    pub fn is_readable(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match &*self.socket.borrow() {
            Socket::Tcp(socket) => SockRef::from(socket).peek(&mut byte),
            Socket::Unix(socket) => SockRef::from(socket).peek(&mut byte),
        };
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The socket as hyper uses it.
pub struct WireIo(pub Rc<Wire>);

impl AsyncRead for WireIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = match &mut *self.0.socket.borrow_mut() {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        };
        if buffer.filled().len() > before {
            self.0.received.set(true);
        }
        result
    }
}

impl WireIo {
    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.0.sent.set(true);
        }
        result
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut *self.0.socket.borrow_mut() {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        };
        self.written(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.socket.borrow_mut();
        let single = coalesced(bufs, |bytes| match &mut *socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        });
        if let Some(written) = single {
            return self.written(written);
        }
        let result = match &mut *socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        };
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have no buffer of their own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.socket.borrow_mut() {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
