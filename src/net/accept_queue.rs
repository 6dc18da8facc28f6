//! How many connections wait until the app accepts them: the kernel tells it to anybody.
//!
//! A busy app does not know who waits for it. Linux does: the queue and the limit of each socket
//! that listens, within one network namespace, without a privilege (`NETLINK_SOCK_DIAG`, which
//! `ss -l` shows). Nothing here is done for a request.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use crate::net::address::{Host, LOOPBACK, Upstream};

use self::diag::{Diag, Listening};

mod diag;

/// What waits at the app's listening sockets, all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Connections that were made and not accepted.
    pub connections: u64,
    /// So many may wait.
    pub limit: u64,
    /// Connections that the kernel has dropped since the last look. Not known of Unix sockets,
    /// where clients wait instead.
    pub dropped: Option<u64>,
}

/// Why a queue is not seen.
#[derive(Debug, thiserror::Error)]
pub enum Unseen {
    /// Only its own kernel knows it.
    #[error("{0} is on another host, or in another network namespace")]
    Elsewhere(IpAddr),
    /// The name did not resolve.
    #[error("its name did not resolve")]
    Name(#[source] io::Error),
    /// The app is not up, or listens where this side does not see it.
    #[error("no socket listens there in this network namespace")]
    NobodyListens,
    /// A sandbox or an old kernel.
    #[error("the kernel does not tell")]
    Kernel(#[source] io::Error),
}

/// Looks at the queue of one upstream.
#[derive(Debug)]
pub struct AcceptQueue {
    upstream: Upstream,
    /// Of a name, until nobody listens there any more.
    resolved: Vec<SocketAddr>,
    /// Drops of each socket at the last look. `None` before the first.
    drops: Option<BTreeMap<u32, u32>>,
    /// The Unix socket's number in the kernel, and the file that it was bound to.
    unix: Option<(u32, diag::File)>,
}

impl AcceptQueue {
    /// Has not looked yet.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, resolved: Vec::new(), drops: None, unix: None }
    }

    /// Looks once. Blocks: on the kernel for less than a millisecond, on a name for as long as that
    /// takes.
    ///
    /// # Errors
    ///
    /// [`Unseen`] says why there is nothing to see.
    pub fn look(&mut self) -> Result<Waiting, Unseen> {
        if let Upstream::Unix(path) = &self.upstream {
            let (number, waiting) = unix(path, self.unix)?;
            self.unix = Some(number);
            return Ok(waiting);
        }
        let found = self.addresses().and_then(|addresses| tcp(&addresses));
        let found = found.inspect_err(|_| self.resolved.clear())?;
        let sum =
            |of: fn(&Listening) -> u32| found.iter().map(|socket| u64::from(of(socket))).sum();
        let waiting = Waiting {
            connections: sum(|socket| socket.waiting),
            limit: sum(|socket| socket.limit),
            dropped: Some(self.dropped(&found)),
        };
        Ok(waiting)
    }

    /// What each socket has dropped since the last look; a new one, all of it. What was before the
    /// first look is not ours to count.
    fn dropped(&mut self, found: &[Listening]) -> u64 {
        let now: BTreeMap<_, _> =
            found.iter().map(|socket| (socket.number, socket.drops)).collect();
        let since = |before: &BTreeMap<u32, u32>| {
            let of = |(number, drops): (&u32, &u32)| {
                let before = before.get(number).copied().unwrap_or(0);
                u64::from(drops.wrapping_sub(before))
            };
            now.iter().map(of).sum()
        };
        let dropped = self.drops.as_ref().map_or(0, since);
        self.drops = Some(now);
        dropped
    }

    fn addresses(&mut self) -> Result<Vec<SocketAddr>, Unseen> {
        let Some((host, port)) = self.upstream.host_and_port() else {
            return Err(Unseen::NobodyListens);
        };
        Ok(match host {
            Host::Loopback => LOOPBACK.map(|ip| SocketAddr::new(ip, port)).into(),
            Host::Address(ip) => vec![SocketAddr::new(*ip, port)],
            Host::Name(name) => {
                if self.resolved.is_empty() {
                    let found = (name.as_str(), port).to_socket_addrs().map_err(Unseen::Name)?;
                    self.resolved = found.collect();
                }
                self.resolved.clone()
            }
        })
    }
}

/// The listening sockets that take connections to these addresses.
fn tcp(addresses: &[SocketAddr]) -> Result<Vec<Listening>, Unseen> {
    let is_here = |address: &&SocketAddr| is_own(address.ip());
    let here: Vec<_> = addresses.iter().filter(is_here).collect();
    let Some(port) = here.first().map(|address| address.port()) else {
        let elsewhere = addresses.first().map(|address| Unseen::Elsewhere(address.ip()));
        return Err(elsewhere.unwrap_or(Unseen::NobodyListens));
    };
    let listening = Diag::open().and_then(|mut diag| diag.tcp(port)).map_err(Unseen::Kernel)?;
    let mut found: Vec<Listening> = Vec::new();
    for address in here {
        let ip = address.ip().to_canonical();
        let exact = |socket: &&Listening| socket.ip.to_canonical() == ip;
        let any = |socket: &&Listening| takes_all(socket, ip);
        // The kernel prefers the socket with the address.
        let of_address: Vec<_> = listening.iter().filter(exact).collect();
        let serving =
            if of_address.is_empty() { listening.iter().filter(any).collect() } else { of_address };
        for socket in serving {
            if !found.iter().any(|known| known.number == socket.number) {
                found.push(*socket);
            }
        }
    }
    if found.is_empty() { Err(Unseen::NobodyListens) } else { Ok(found) }
}

/// A socket on all addresses; one of IPv6 takes IPv4 unless it was told not to.
fn takes_all(socket: &Listening, ip: IpAddr) -> bool {
    socket.ip.is_unspecified()
        && match (socket.ip, ip) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
            (IpAddr::V6(_), IpAddr::V4(_)) => !socket.is_v6_only,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
}

/// Whether an address is one of this network namespace: then it can be bound.
fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

type Number = (u32, diag::File);

/// The Unix socket that listens at a path. Its number is kept, so that the kernel does not go
/// through all sockets each time.
fn unix(path: &Path, known: Option<Number>) -> Result<(Number, Waiting), Unseen> {
    let file = diag::File::at(path).map_err(|_| Unseen::NobodyListens)?;
    let mut diag = Diag::open().map_err(Unseen::Kernel)?;
    let known = known.filter(|(_, before)| *before == file).map(|(number, _)| number);
    let again = known.and_then(|number| diag.unix_again(number).ok()).flatten();
    let found = match again {
        Some(socket) => Some(socket),
        None => diag.unix(path, file).map_err(Unseen::Kernel)?,
    };
    let socket = found.ok_or(Unseen::NobodyListens)?;
    let (connections, limit) = (socket.waiting.into(), socket.limit.into());
    Ok(((socket.number, file), Waiting { connections, limit, dropped: None }))
}

#[cfg(test)]
mod tests;
