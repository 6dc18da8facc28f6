//! From the upstream's name to a connected socket: looked up, reached over TCP, verified in TLS.
//!
//! Connecting is nothing else. What is spoken then, and whether the app has time to speak, is not
//! known here.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::net::address::{Host, LOOPBACK, Upstream};
use crate::net::tls::{Alpn, Connector, HandshakeError};
use crate::net::transport::{Socket, is_out_of_descriptors, notice_silence};

use self::race::{Addresses, Network};

mod race;

/// Why there is no connection.
///
/// Display describes this level only; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("the upstream refused the connection")]
    Refused(#[source] io::Error),
    /// The time was over: looking up, connecting and the handshake have one limit together.
    #[error("connecting to the upstream timed out")]
    Timeout,
    /// This side has no file descriptor or port left. Says nothing of the upstream.
    #[error("no resources left to connect to the upstream")]
    Exhausted(#[source] io::Error),
    /// The name did not resolve.
    #[error("the upstream's name did not resolve")]
    Name(#[source] io::Error),
    /// No way there.
    #[error("the upstream is unreachable")]
    Unreachable(#[source] io::Error),
    /// It was reached, but not verified or not understood.
    #[error("no TLS connection to the upstream")]
    Tls(#[source] HandshakeError),
}

impl ConnectError {
    /// Classifies the kernel's error.
    fn of(error: io::Error) -> Self {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, ConnectionRefused, TimedOut};
        let kind = error.kind();
        if kind == ConnectionRefused {
            Self::Refused(error)
        } else if kind == TimedOut {
            Self::Timeout
        } else if matches!(kind, AddrInUse | AddrNotAvailable) || is_out_of_descriptors(&error) {
            Self::Exhausted(error)
        } else {
            Self::Unreachable(error)
        }
    }
}

/// A new connection.
pub struct Dialled {
    /// The connection.
    pub socket: Socket,
    /// What ALPN chose, where TLS is spoken.
    pub alpn: Option<Alpn>,
}

/// Connects to one upstream. One per thread.
pub struct Dialer {
    upstream: Upstream,
    tls: Option<Connector>,
    limit: Duration,
    network: Rc<Tcp>,
    addresses: Rc<Addresses>,
}

impl Dialer {
    /// Has not looked yet. An https upstream needs `tls`; `limit` is that of one connection, from
    /// its name to the end of the handshake.
    pub fn new(upstream: Upstream, tls: Option<Connector>, limit: Duration) -> Self {
        let (host, port) = match upstream.host_and_port() {
            Some((host, port)) => (host.clone(), port),
            None => (Host::Loopback, 0),
        };
        let addresses = match &host {
            Host::Name(_) => Addresses::default(),
            Host::Address(ip) => Addresses::fixed(&[SocketAddr::new(*ip, port)]),
            Host::Loopback => Addresses::fixed(&LOOPBACK.map(|ip| SocketAddr::new(ip, port))),
        };
        let network = Rc::new(Tcp { host: host.name(), port });
        Self { upstream, tls, limit, network, addresses: Rc::new(addresses) }
    }

    /// Connects, and does the handshake with an https upstream, where `offer` is what ALPN may
    /// choose from. Runs within a [`LocalRuntime`](tokio::runtime::LocalRuntime).
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt. A name that is being looked up is remembered all
    /// the same, for the next.
    pub async fn dial(&self, offer: &[Alpn]) -> Result<Dialled, ConnectError> {
        let mut reached = false;
        let dialled = tokio::time::timeout(self.limit, self.attempt(offer, &mut reached)).await;
        let result = dialled.unwrap_or(Err(ConnectError::Timeout));
        if reached && result.is_err() {
            // Whoever accepts there is not the app, or is not well: the name may say otherwise.
            self.addresses.forget();
        }
        result
    }

    async fn attempt(&self, offer: &[Alpn], reached: &mut bool) -> Result<Dialled, ConnectError> {
        #[cfg(test)]
        if let Some(socket) = crate::net::transport::memory::connect().await {
            let socket = Socket::Memory(socket.map_err(ConnectError::of)?);
            return Ok(Dialled { socket, alpn: None });
        }
        if let Upstream::Unix(path) = &self.upstream {
            let socket = UnixStream::connect(path).await.map_err(ConnectError::of)?;
            return Ok(Dialled { socket: Socket::Unix(socket), alpn: None });
        }
        let socket = race::connect(&self.network, &self.addresses).await?;
        *reached = true;
        let Some(connector) = &self.tls else {
            return Ok(Dialled { socket: Socket::Tcp(socket), alpn: None });
        };
        let (stream, alpn) = connector.connect(socket, offer).await.map_err(ConnectError::Tls)?;
        Ok(Dialled { socket: Socket::TlsClient(Box::new(stream)), alpn: Some(alpn) })
    }
}

/// The real network.
struct Tcp {
    host: String,
    port: u16,
}

impl Network for Tcp {
    type Socket = TcpStream;

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        notice_silence(&socket)?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_errors_are_classified() {
        const EMFILE: i32 = 24;
        let of = |kind| ConnectError::of(io::Error::from(kind));
        assert!(matches!(of(io::ErrorKind::ConnectionRefused), ConnectError::Refused(_)));
        assert!(matches!(of(io::ErrorKind::TimedOut), ConnectError::Timeout));
        assert!(matches!(of(io::ErrorKind::NotFound), ConnectError::Unreachable(_)));
        assert!(matches!(of(io::ErrorKind::AddrNotAvailable), ConnectError::Exhausted(_)));
        let none_left = ConnectError::of(io::Error::from_raw_os_error(EMFILE));
        assert!(matches!(none_left, ConnectError::Exhausted(_)));
    }
}
