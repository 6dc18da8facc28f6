//! The accept loop: takes connections, spreads them over the workers, never dies.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tokio::time::Instant;

use crate::http::response::OwnResponse;
use crate::logs::seldom::Seldom;
use crate::metrics::Shed;
use crate::net::transport::{Socket, is_out_of_descriptors};
use crate::proxy::downstream::h1;
use crate::proxy::downstream::{ClientConnection, close};
use crate::proxy::upstream::{ClientPlace, Pool};
use crate::proxy::worker::Worker;

/// What a worker is told by another thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this connection.
    Serve {
        /// The number of the listener that it came by.
        site: usize,
        /// The connection.
        socket: std::net::TcpStream,
        /// Whose it is.
        peer: SocketAddr,
        /// Whether there is a place for it.
        place: Place,
    },
    /// Begin the shutdown.
    Drain {
        /// Dropped once this worker accepts nothing more.
        closed: oneshot::Sender<()>,
        /// Dropped once this worker has nothing left to do.
        ended: oneshot::Sender<()>,
        /// When to cut off what is left.
        deadline: Instant,
    },
}

/// Whether there is a place for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// There is one.
    Free,
    /// All are taken: the oldest idle connection gives way, or this one is refused.
    Taken,
}

/// A worker as the accept loop sees it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHandle {
    /// Where to send it connections.
    pub commands: UnboundedSender<Command>,
    /// How many connections it has.
    pub connections: Arc<AtomicUsize>,
}

/// Serves the connections of one listener on one worker.
#[derive(Clone)]
pub(crate) struct Acceptor {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    /// The number of the listener.
    site: usize,
    /// How many the worker has, of all listeners.
    connections: Arc<AtomicUsize>,
    /// Connections that were refused and whose close lingers.
    lingering: Rc<Cell<usize>>,
}

/// Counts a connection as long as it lives.
struct Counted(Arc<AtomicUsize>, #[expect(dead_code, reason = "held")] ClientPlace);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Acceptor {
    /// Prepares to serve what comes by the listener of this number.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        pool: &Rc<Pool>,
        site: usize,
        connections: &Arc<AtomicUsize>,
    ) -> Self {
        let (worker, pool) = (Rc::clone(worker), Rc::clone(pool));
        Self { worker, pool, site, connections: Arc::clone(connections), lingering: Rc::default() }
    }

    /// Serves a connection that `connections` counts already, unless all places are taken and
    /// nobody gives way.
    pub(crate) fn serve(&self, socket: TcpStream, peer: SocketAddr, place: Place) {
        let descriptors = self.worker.descriptors.client();
        let counted = Counted(Arc::clone(&self.connections), descriptors);
        if place == Place::Taken {
            if !self.worker.holders.make_place() {
                drop(counted);
                return self.refuse(socket, peer);
            }
            self.worker.cold.shed(Shed::Idle, 1);
        }
        let cold = Arc::clone(&self.worker.cold);
        cold.downstream_http1.increment(1.0);
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let guard = self.worker.drain.enter();
        let (worker, pool) = (Rc::clone(&self.worker), Rc::clone(&self.pool));
        drop(tokio::task::spawn_local(async move {
            let _counted = counted;
            let _gauge = OpenGauge(cold);
            // Made here: a task would have room for a future that is handed in, and for where it
            // is awaited.
            h1::serve(worker, pool, (Socket::Tcp(socket), peer), guard).await;
        }));
    }

    /// Serves a connection that another worker accepted.
    pub(crate) fn serve_handed_over(
        &self,
        socket: std::net::TcpStream,
        peer: SocketAddr,
        place: Place,
    ) {
        match TcpStream::from_std(socket) {
            Ok(socket) => self.serve(socket, peer, place),
            Err(error) => {
                self.connections.fetch_sub(1, Relaxed);
                tracing::debug!(%error, "a connection could not be taken over");
            }
        }
    }

    /// Turns a connection away with a 503.
    fn refuse(&self, socket: TcpStream, peer: SocketAddr) {
        self.worker.cold.refused_max_connections.increment(1);
        let nobody = self.worker.holders.of_nobody();
        let downstream = ClientConnection::new(Socket::Tcp(socket), peer, Instant::now(), &nobody);
        let full = OwnResponse::error(StatusCode::SERVICE_UNAVAILABLE, &"too many connections");
        downstream.turn_away(&self.worker, &full);
        if self.lingering.get() >= MAX_LINGERING {
            return;
        }
        self.lingering.set(self.lingering.get() + 1);
        let lingering = Rc::clone(&self.lingering);
        drop(tokio::task::spawn_local(async move {
            // Short: whoever is over the limit must not hold a descriptor for long.
            let close = close(&downstream);
            let _elapsed = tokio::time::timeout(Duration::from_secs(1), close).await;
            lingering.set(lingering.get() - 1);
        }));
    }
}

/// The gauge of open connections, decremented also when a task panics.
struct OpenGauge(Arc<crate::metrics::SidecarMetrics>);

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.downstream_http1.decrement(1.0);
    }
}

/// Refused connections of a worker whose close may linger; they are in no other limit.
const MAX_LINGERING: usize = 32;

/// Connections accepted before other tasks get a turn.
const YIELD_AFTER: u64 = 32;

/// Accepts until the shutdown begins, then whatever waits in the backlog.
pub(crate) async fn run(
    listener: TcpListener,
    acceptor: Acceptor,
    workers: Vec<WorkerHandle>,
    own: usize,
) {
    let mut backoff = Backoff::default();
    let mut accepted_count = 0_u64;
    let guard = acceptor.worker.drain.enter();
    loop {
        let accepted = std::future::poll_fn(|cx| {
            let draining = guard.is_draining(cx);
            match listener.poll_accept(cx) {
                std::task::Poll::Pending if draining => std::task::Poll::Ready(None),
                poll => poll.map(Some),
            }
        });
        // Without tokio's budget, which would make a full backlog look empty.
        match tokio::task::unconstrained(accepted).await {
            None => return,
            Some(Ok((socket, peer))) => {
                backoff = Backoff::default();
                place(socket, peer, &acceptor, &workers, own);
                accepted_count += 1;
                if accepted_count.is_multiple_of(YIELD_AFTER) {
                    tokio::task::yield_now().await;
                }
            }
            Some(Err(error)) => backoff.wait(&acceptor.worker, &error).await,
        }
    }
}

/// Gives a connection to the worker that has the fewest.
fn place(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: &Acceptor,
    workers: &[WorkerHandle],
    own: usize,
) {
    let total: usize = workers.iter().map(|worker| worker.connections.load(Relaxed)).sum();
    let load = |worker: &WorkerHandle| worker.connections.load(Relaxed);
    let candidates = workers.iter().enumerate();
    // Among equals this worker itself, which saves a wake-up.
    let is_full = total >= acceptor.worker.config.max_connections
        || !acceptor.worker.descriptors.has_room_for_client();
    let (chosen, place) = if is_full {
        (candidates.max_by_key(|(index, worker)| (load(worker), *index == own)), Place::Taken)
    } else {
        (candidates.min_by_key(|(index, worker)| (load(worker), *index != own)), Place::Free)
    };
    let Some((index, worker)) = chosen else {
        return;
    };
    worker.connections.fetch_add(1, Relaxed);
    if index == own {
        return acceptor.serve(socket, peer, place);
    }
    let site = acceptor.site;
    let serve = |socket| worker.commands.send(Command::Serve { site, socket, peer, place });
    let sent = socket.into_std().map(serve);
    if !matches!(sent, Ok(Ok(()))) {
        // The worker is gone, which happens only while the process ends.
        worker.connections.fetch_sub(1, Relaxed);
    }
}

/// Tells whether a connection, not this process, is why it could not be accepted (accept(2)): the
/// next one may be fine. Whatever else it is would come again at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    const ENONET: i32 = 64;
    const EPROTO: i32 = 71;
    const ENOPROTOOPT: i32 = 92;
    const EOPNOTSUPP: i32 = 95;
    const EHOSTDOWN: i32 = 112;
    let kind = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    );
    let codes = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, EHOSTDOWN];
    kind || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

static NO_DESCRIPTORS: Seldom = Seldom::new();

/// Waits longer after each failure to accept.
#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    /// An error of accept is either the peer's (gone before it was accepted) or ours: no file
    /// descriptor, no memory. Neither may end the loop (RUSTSEC-2024-0376 did).
    async fn wait(&mut self, worker: &Worker, error: &io::Error) {
        worker.cold.refused_accept_error.increment(1);
        if is_of_the_peer(error) {
            tracing::debug!(%error, "a connection could not be accepted");
            return;
        }
        // Clients can come and go so that each failure is the first one.
        if let Some(due) = NO_DESCRIPTORS.due() {
            let suppressed = due.suppressed;
            let what = if is_out_of_descriptors(error) { "file descriptors" } else { "resources" };
            tracing::warn!(%error, suppressed, "no {what} left; clients wait until there are");
        }
        tokio::time::sleep(self.next_pause()).await;
    }

    fn next_pause(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(8)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_to_accept_is_waited_out_twice_as_long_up_to_a_second() {
        let mut backoff = Backoff::default();
        for millis in [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000] {
            assert_eq!(backoff.next_pause(), Duration::from_millis(millis));
        }
    }

    #[test]
    fn only_what_the_peer_did_is_tried_again_at_once() {
        // EINVAL, ENOMEM, ENFILE, EMFILE, ENOBUFS.
        for code in [22, 12, 23, 24, 105] {
            assert!(!is_of_the_peer(&io::Error::from_raw_os_error(code)), "{code}");
        }
        let [econnaborted, eproto, eintr, eperm, ehostunreach, etimedout] =
            [103, 71, 4, 1, 113, 110];
        for code in [econnaborted, eproto, eintr, eperm, ehostunreach, etimedout] {
            assert!(is_of_the_peer(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
