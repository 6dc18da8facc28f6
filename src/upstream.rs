//! Connections to the upstream: opening and pooling.
//!
//! One pool per worker. A connection carries one request at a time; an idle one is used again
//! while the upstream is expected to keep it open.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::config::Upstream;
use crate::error::ProxyError;
use crate::metrics::bump;
use crate::resolve::Resolver;
use crate::tls::Alpn;
use crate::wire::{Link, Socket};
use crate::worker::{Tick, Worker};

pub use self::lease::Lease;

mod lease;

/// How long a connection may have been idle to carry a request that cannot be sent again. Shorter
/// than any server's keep-alive (Gunicorn takes whole seconds), long enough for busy ones.
const FRESH: Duration = Duration::from_millis(500);

/// A connection that waits for a request.
struct Idle {
    link: Rc<Link>,
    since: Tick,
    keep: Duration,
}

/// One worker's connections to the upstream.
pub struct Pool {
    worker: Rc<Worker>,
    resolver: Resolver,
    /// Last in, first out: the warmest connection first, and the surplus ages.
    idle: RefCell<Vec<Idle>>,
    sweeping: Cell<bool>,
}

impl Pool {
    /// An empty pool.
    pub fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            resolver: Resolver::new(worker.config.upstream.clone()),
            worker: Rc::clone(worker),
            idle: RefCell::default(),
            sweeping: Cell::new(false),
        })
    }

    /// Takes an idle connection that is open, as far as can be known.
    ///
    /// For a request that cannot be sent a second time (not `replayable`) the kernel is asked,
    /// too, and only a connection that was busy just now is taken: a server that closes idle
    /// connections may decide to do so while the request is on its way, which no probe can see.
    pub fn checkout(self: &Rc<Self>, replayable: bool) -> Option<Lease> {
        let limit = if replayable { Duration::MAX } else { FRESH };
        let now = self.worker.now();
        let mut idle = self.idle.borrow_mut();
        let link = loop {
            let Some(entry) = idle.pop() else { break None };
            if entry.link.is_spoilt() || self.idle_time(&entry, now) >= entry.keep {
                continue;
            }
            if self.idle_time(&entry, now) >= limit {
                // All below have been idle for longer.
                idle.push(entry);
                break None;
            }
            if replayable || !entry.link.is_readable() {
                break Some(entry.link);
            }
        };
        self.worker.stats.upstream_idle.store(idle.len() as u64, Relaxed);
        drop(idle);
        let link = link?;
        bump(&self.worker.stats.reused);
        Some(self.lease(link, true))
    }

    fn idle_time(&self, entry: &Idle, now: Tick) -> Duration {
        Duration::from_nanos(self.worker.nanos_between(entry.since, now))
    }

    /// Opens a connection within `--connect-timeout`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub async fn connect(self: &Rc<Self>) -> Result<Lease, ProxyError> {
        let worker = &self.worker;
        let begun = worker.now();
        let limit = worker.config.timeouts.connect;
        let result = match tokio::time::timeout(limit, self.open()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ProxyError::ConnectionTimeout),
        };
        let nanos = worker.nanos_between(begun, worker.now());
        worker.stats.connect.record(&worker.stats.connect_bounds, nanos);
        let changed = worker.cold.connected(result.as_ref().map(drop).map_err(ProxyError::token));
        if changed {
            report(&worker.config.upstream, result.as_ref().err());
        }
        Ok(self.lease(Rc::new(Link::new(result?)), false))
    }

    /// Connects, and does the handshake with an https upstream.
    async fn open(&self) -> Result<Socket, ProxyError> {
        let socket = self.resolver.connect().await?;
        match (socket, &self.worker.tls.connector) {
            (Socket::Tcp(socket), Some(connector)) => {
                let connected = connector.connect(socket, &[Alpn::Http1]).await;
                let (stream, _alpn) = connected.map_err(ProxyError::Tls)?;
                Ok(Socket::TlsClient(Box::new(stream)))
            }
            (socket, _) => Ok(socket),
        }
    }

    fn lease(self: &Rc<Self>, link: Rc<Link>, reused: bool) -> Lease {
        bump(&self.worker.stats.upstream_active);
        link.begin_exchange();
        Lease { pool: Rc::clone(self), link, released: false, reused }
    }

    fn put(self: &Rc<Self>, link: Rc<Link>, keep: Duration) {
        let mut idle = self.idle.borrow_mut();
        idle.push(Idle { link, since: self.worker.now(), keep });
        bump(&self.worker.stats.upstream_idle);
        if !self.sweeping.replace(true) {
            drop(tokio::task::spawn_local(Rc::clone(self).sweep()));
        }
    }

    /// Closes idle connections when their time is over, until none is left.
    async fn sweep(self: Rc<Self>) {
        let interval =
            self.worker.config.timeouts.upstream_idle.max(Duration::from_millis(100)) / 2;
        loop {
            tokio::time::sleep(interval).await;
            let now = self.worker.now();
            let mut idle = self.idle.borrow_mut();
            idle.retain(|entry| !entry.link.is_spoilt() && self.idle_time(entry, now) < entry.keep);
            self.worker.stats.upstream_idle.store(idle.len() as u64, Relaxed);
            if idle.is_empty() {
                self.sweeping.set(false);
                return;
            }
        }
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Tries once to connect, and closes the connection: a waiting one would occupy a worker of
    /// an app that serves one connection at a time, as Gunicorn's sync workers do.
    ///
    /// # Errors
    ///
    /// Why the upstream cannot be reached.
    pub async fn try_connect(self: &Rc<Self>) -> Result<(), ProxyError> {
        self.connect().await.map(drop)
    }
}

/// Says so when the upstream comes or goes; not for every request in between.
fn report(upstream: &Upstream, error: Option<&ProxyError>) {
    match error {
        None => tracing::info!(%upstream, "the upstream is reachable"),
        Some(error) => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(
                %upstream,
                %error,
                cause = cause.as_deref().unwrap_or("none"),
                "the upstream is not reachable; requests get an error until it is"
            );
        }
    }
}
