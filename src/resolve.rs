//! From the upstream's name to a connected socket.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpStream, UnixStream};

use crate::config::Upstream;
use crate::error::ProxyError;
use crate::wire::Socket;

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
