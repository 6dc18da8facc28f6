//! The accept loop: takes connections, spreads them over the workers, never dies.

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
use crate::net::transport::{Socket, is_out_of_descriptors};
use crate::proxy::downstream::h1;
use crate::proxy::downstream::{ClientConnection, close};
use crate::proxy::upstream::Pool;
use crate::proxy::worker::Worker;

/// What a worker is told by another thread.
#[derive(Debug)]
pub enum Command {
    /// Serve this connection.
    Serve(std::net::TcpStream, SocketAddr),
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

/// A worker as the accept loop sees it.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    /// Where to send it connections.
    pub commands: UnboundedSender<Command>,
    /// How many connections it has.
    pub connections: Arc<AtomicUsize>,
}

/// Serves connections on one worker.
#[derive(Clone)]
pub struct Acceptor {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    connections: Arc<AtomicUsize>,
}

/// Counts a connection as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Acceptor {
    /// Prepares to serve.
    pub fn new(worker: &Rc<Worker>, pool: &Rc<Pool>, connections: &Arc<AtomicUsize>) -> Self {
        let (worker, pool) = (Rc::clone(worker), Rc::clone(pool));
        Self { worker, pool, connections: Arc::clone(connections) }
    }

    /// Serves a connection that `connections` counts already.
    pub fn serve(&self, socket: TcpStream, peer: SocketAddr) {
        let counted = Counted(Arc::clone(&self.connections));
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
    pub fn serve_handed_over(&self, socket: std::net::TcpStream, peer: SocketAddr) {
        match TcpStream::from_std(socket) {
            Ok(socket) => self.serve(socket, peer),
            Err(error) => {
                self.connections.fetch_sub(1, Relaxed);
                tracing::debug!(%error, "a connection could not be taken over");
            }
        }
    }

    /// Turns a connection away with a 503.
    fn refuse(&self, socket: TcpStream, peer: SocketAddr) {
        self.worker.cold.refused_max_connections.increment(1);
        let downstream = ClientConnection::new(Socket::Tcp(socket), peer, Instant::now());
        let full = OwnResponse::error(StatusCode::SERVICE_UNAVAILABLE, &"too many connections");
        downstream.turn_away(&self.worker, &full);
        drop(tokio::task::spawn_local(async move {
            // Short: whoever is over the limit must not hold a descriptor for long.
            let close = close(&downstream);
            let _elapsed = tokio::time::timeout(Duration::from_secs(1), close).await;
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

/// Connections accepted before other tasks get a turn.
const YIELD_AFTER: u64 = 32;

/// Accepts until the shutdown begins, then whatever waits in the backlog.
pub async fn run(
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
    if total >= acceptor.worker.config.max_connections {
        return acceptor.refuse(socket, peer);
    }
    let fewest = workers.iter().enumerate().min_by_key(|(index, worker)| {
        // Among equals this worker itself, which saves a wake-up.
        (worker.connections.load(Relaxed), *index != own)
    });
    let Some((index, worker)) = fewest else {
        return;
    };
    worker.connections.fetch_add(1, Relaxed);
    if index == own {
        return acceptor.serve(socket, peer);
    }
    let sent = socket.into_std().map(|socket| worker.commands.send(Command::Serve(socket, peer)));
    if !matches!(sent, Ok(Ok(()))) {
        // The worker is gone, which happens only while the process ends.
        worker.connections.fetch_sub(1, Relaxed);
    }
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
    /// descriptor left. Neither may end the loop (RUSTSEC-2024-0376 did).
    async fn wait(&mut self, worker: &Worker, error: &io::Error) {
        worker.cold.refused_accept_error.increment(1);
        if !is_out_of_descriptors(error) {
            tracing::debug!(%error, "a connection could not be accepted");
            return;
        }
        // Clients can come and go so that each failure is the first one.
        if let Some(due) = NO_DESCRIPTORS.due() {
            let suppressed = due.suppressed;
            let what = "no file descriptors left; clients wait until there are";
            tracing::warn!(%error, suppressed, "{what}");
        }
        let wait = Self::FIRST.saturating_mul(1 << self.failures.min(8)).min(Self::LONGEST);
        self.failures += 1;
        tokio::time::sleep(wait).await;
    }
}
