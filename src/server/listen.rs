//! Listening sockets, and how many connections the limit of open files pays for.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::StartError;
use crate::config::ListenAddr;

/// Connections the kernel completes before we accept them. Beyond `somaxconn` it has no effect.
const BACKLOG: i32 = 4096;

/// When a silent client's kernel is first asked whether it is there, and how often then.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// File descriptors that are not for clients: both listeners, the runtimes' own, scrapers.
const RESERVED_DESCRIPTORS: usize = 160;

/// Takes the socket that there is for a flag, or binds its address.
pub(super) fn open(
    flag: &str,
    inherited: Option<TcpListener>,
    address: ListenAddr,
) -> Result<TcpListener, StartError> {
    let Some(listener) = inherited else { return bind(flag, address) };
    let prepared = prepare(&SockRef::from(&listener));
    prepared.map_err(|source| StartError { what: format!("the socket for {flag}"), source })?;
    Ok(listener)
}

/// What both kinds of socket need.
fn prepare(socket: &Socket) -> io::Result<()> {
    // Accepted sockets inherit it, at no cost: a client that lost its power or its network would
    // otherwise hold an idle tunnel, event stream or call for ever.
    let patience = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&patience)?;
    socket.set_nonblocking(true)
}

fn bind(flag: &str, address: ListenAddr) -> Result<TcpListener, StartError> {
    let result =
        match address {
            ListenAddr::Socket(socket) => bind_socket(socket, false),
            ListenAddr::Port(port) => bind_socket((Ipv6Addr::UNSPECIFIED, port).into(), true)
                .or_else(|error| match error.kind() {
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                    // No IPv6 on this host.
                    _ => bind_socket((Ipv4Addr::UNSPECIFIED, port).into(), false),
                }),
        };
    result.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => format!("; give another port with {flag}"),
            io::ErrorKind::PermissionDenied => format!("; give a port above 1023 with {flag}"),
            io::ErrorKind::AddrNotAvailable => "; this host does not have that address".to_owned(),
            _ => String::new(),
        };
        StartError { what: format!("cannot listen on {address} ({flag}){hint}"), source }
    })
}

fn bind_socket(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT. Not SO_REUSEPORT: a second
    // process on the same port has to fail, not to take half of the connections.
    socket.set_reuse_address(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the soft limit of open files to the hard one, and lowers the number of connections to
/// what that pays for: each may need one descriptor for itself and one for its upstream.
pub(super) fn affordable_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Not allowed in some sandboxes; then the soft limit counts.
    let current =
        if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let Some(descriptors) = current.and_then(|limit| usize::try_from(limit).ok()) else {
        return wanted;
    };
    let affordable = (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1);
    if affordable < wanted {
        tracing::warn!(
            descriptors,
            max_connections = affordable,
            "the limit of open files allows fewer connections than --max-connections {wanted}"
        );
    }
    wanted.min(affordable)
}
