//! Listening sockets, and how many connections the limit of open files pays for.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::StartError;
use super::memory::{affordable_bytes, limit_bytes};
use crate::config::{Config, ListenAddr};

/// Connections the kernel completes before we accept them. Beyond `somaxconn` it has no effect.
const BACKLOG: i32 = 4096;

/// When a silent client's kernel is first asked whether it is there, and how often then.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// File descriptors that are not for clients: both listeners, the runtimes' own, scrapers, and
/// connections that were refused and linger.
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

/// What a listener is called among others: its port, after its address if it has only one.
pub(super) fn name(listener: &TcpListener) -> io::Result<Arc<str>> {
    let address = listener.local_addr()?;
    let is_everywhere = address.ip().is_unspecified();
    let name = if is_everywhere { format!(":{}", address.port()) } else { address.to_string() };
    Ok(name.into())
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

/// What the limits of this machine pay for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affordable {
    /// The limit, if there is one.
    pub open_files: Option<usize>,
    /// Client connections at one time.
    pub connections: usize,
    /// The memory limit of the control group, if there is one.
    pub memory_bytes: Option<usize>,
    /// What may be kept for clients and the app.
    pub buffered_bytes: usize,
}

impl Affordable {
    /// Raises the soft limit of open files to the hard one, and lowers the number of connections to
    /// what that pays for: each may need one descriptor for itself and one for its upstream. What
    /// may be kept follows the memory limit, unless a flag says it.
    pub fn of(config: &Config) -> Self {
        let wanted = config.max_connections;
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Not allowed in some sandboxes; then the soft limit counts.
        let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
        let current = if is_raised { limit.maximum } else { limit.current };
        let open_files = current.and_then(|limit| usize::try_from(limit).ok());
        let paid_for =
            open_files.map(|files| (files.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1));
        let memory_bytes = limit_bytes();
        let affordable = || affordable_bytes(memory_bytes);
        Self {
            open_files,
            connections: paid_for.map_or(wanted, |paid_for| paid_for.min(wanted)),
            memory_bytes,
            buffered_bytes: config.max_buffered_bytes.unwrap_or_else(affordable),
        }
    }

    /// Tells how it is in one line; warns only where the difference could be felt.
    pub(super) fn tell(self, wanted: usize) {
        let Self { open_files, connections: max_connections, memory_bytes, .. } = self;
        let max_buffered_bytes = self.buffered_bytes;
        if max_connections < wanted / 10 * 9 {
            tracing::warn!(
                open_files,
                max_connections,
                memory_bytes,
                max_buffered_bytes,
                "the limit of open files allows fewer connections than --max-connections {wanted}"
            );
        } else {
            tracing::info!(
                open_files,
                max_connections,
                memory_bytes,
                max_buffered_bytes,
                "limits of this machine"
            );
        }
    }

    /// Descriptors for clients and the app together; `usize::MAX` where nothing limits them.
    pub(super) fn descriptors(self) -> usize {
        self.open_files.map_or(usize::MAX, |files| files.saturating_sub(RESERVED_DESCRIPTORS))
    }
}
