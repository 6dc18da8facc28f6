//! Connections to the upstream: opening and pooling.
//!
//! One pool per worker. A connection carries one request at a time; an idle one is used again
//! while the upstream is expected to keep it open.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::config::{Upstream, UpstreamProtocol};
use crate::error::ProxyError;
use crate::metrics::bump;
use crate::resolve::{ConnectError, Dialer, Dialled};
use crate::tls::Alpn;
use crate::wire::{Link, Socket};
use crate::worker::{Tick, Worker};

pub use self::frames::StreamLease;
pub use self::lease::WireLease;

mod frames;
mod lease;

/// What a request is sent on. Dropping it tells the upstream that nobody waits.
pub enum Lease {
    /// An HTTP/1 connection of its own.
    Wire(WireLease),
    /// A stream of a shared HTTP/2 connection.
    Stream(Box<StreamLease>),
}

impl Lease {
    /// Tells whether the connection served a request before.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Wire(lease) => lease.is_reused(),
            Self::Stream(lease) => lease.reused,
        }
    }
}

/// What a request should be sent by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN.
    Http2,
}

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
    /// Host of a request that names none.
    pub(crate) authority: Box<str>,
    dialer: Dialer,
    /// Last in, first out: the warmest connection first, and the surplus ages.
    idle: RefCell<Vec<Idle>>,
    sweeping: Cell<bool>,
    streams: frames::Connections,
    /// Whether the upstream speaks HTTP/2, as far as is known.
    speaks_http2: Cell<Option<bool>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            authority: worker.config.upstream.authority().into(),
            dialer: Dialer::new(
                worker.config.upstream.clone(),
                worker.tls.connector.clone(),
                worker.config.timeouts.connect,
            ),
            worker: Rc::clone(worker),
            idle: RefCell::default(),
            sweeping: Cell::new(false),
            streams: frames::Connections::default(),
            speaks_http2: Cell::new(None),
        })
    }

    /// Which protocol a request is sent by: what its client spoke, unless `--upstream-protocol`
    /// says otherwise or the upstream turned out not to speak HTTP/2.
    pub fn protocol(&self, is_http2: bool) -> Protocol {
        match self.worker.config.upstream_protocol {
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::Auto if is_http2 && self.speaks_http2.get() != Some(false) => {
                Protocol::Http2
            }
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => Protocol::Http1,
        }
    }

    /// Takes an idle connection that is open, as far as can be known.
    ///
    /// For a request that cannot be sent a second time (not `replayable`) the kernel is asked,
    /// too, and only a connection that was busy just now is taken: a server that closes idle
    /// connections may decide to do so while the request is on its way, which no probe can see.
    pub fn checkout(self: &Rc<Self>, protocol: Protocol, replayable: bool) -> Option<Lease> {
        if protocol == Protocol::Http2 {
            return self.streams.checkout(self).map(|lease| Lease::Stream(Box::new(lease)));
        }
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
        Some(Lease::Wire(self.lease(link, true)))
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
    pub async fn connect(self: &Rc<Self>, protocol: Protocol) -> Result<Lease, ProxyError> {
        let worker = &self.worker;
        let begun = worker.now();
        let limit = worker.config.timeouts.connect;
        let result = match tokio::time::timeout(limit, self.open(protocol)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ProxyError::ConnectionTimeout),
        };
        if let Ok(lease) = &result
            && lease.is_reused()
        {
            // Somebody else opened it meanwhile.
            return result;
        }
        let nanos = worker.nanos_between(begun, worker.now());
        worker.stats.connect.record(&worker.stats.connect_bounds, nanos);
        let changed = worker.cold.connected(result.as_ref().map(drop).map_err(ProxyError::token));
        if changed {
            report(&worker.config.upstream, result.as_ref().err());
        }
        if result.is_err() {
            // Whatever comes back may be another program.
            self.speaks_http2.set(None);
        }
        result
    }

    async fn open(self: &Rc<Self>, protocol: Protocol) -> Result<Lease, ProxyError> {
        while protocol == Protocol::Http2 && self.protocol(true) == Protocol::Http2 {
            // Many streams that begin at once need one connection, not one each.
            match self.streams.turn().await {
                Some(_opening) => return self.open_http2().await,
                None => {
                    if let Some(lease) = self.checkout(protocol, true) {
                        return Ok(lease);
                    }
                }
            }
        }
        let (socket, _) = self.socket(&[Alpn::Http1]).await?;
        Ok(Lease::Wire(self.lease(Rc::new(Link::new(socket)), false)))
    }

    /// Connects and finds out whether the upstream speaks HTTP/2.
    async fn open_http2(self: &Rc<Self>) -> Result<Lease, ProxyError> {
        let is_forced = self.worker.config.upstream_protocol == UpstreamProtocol::Http2;
        let (socket, alpn) = self.socket(&[Alpn::Http2, Alpn::Http1]).await?;
        let link = Rc::new(Link::new(socket));
        if alpn != Some(Alpn::Http1) {
            if let Some(lease) = self.streams.open(self, Rc::clone(&link)).await? {
                self.speaks_http2.set(Some(true));
                return Ok(Lease::Stream(Box::new(lease)));
            }
            if is_forced {
                return Err(ProxyError::Protocol("it does not speak HTTP/2"));
            }
        }
        tracing::info!("the upstream does not speak HTTP/2; it gets HTTP/1.1");
        self.speaks_http2.set(Some(false));
        let (socket, _) = self.socket(&[Alpn::Http1]).await?;
        Ok(Lease::Wire(self.lease(Rc::new(Link::new(socket)), false)))
    }

    async fn socket(&self, offer: &[Alpn]) -> Result<(Socket, Option<Alpn>), ProxyError> {
        let Dialled { socket, alpn } = self.dialer.dial(offer).await?;
        Ok((socket, alpn))
    }

    fn lease(self: &Rc<Self>, link: Rc<Link>, reused: bool) -> WireLease {
        bump(&self.worker.stats.upstream_active);
        link.begin_exchange();
        WireLease { pool: Rc::clone(self), link, released: false, reused }
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
        self.streams.close_idle();
    }

    /// Tries once to connect, and closes the connection: a waiting one would occupy a worker of
    /// an app that serves one connection at a time, as Gunicorn's sync workers do.
    ///
    /// # Errors
    ///
    /// Why the upstream cannot be reached.
    pub async fn try_connect(self: &Rc<Self>) -> Result<(), ProxyError> {
        self.connect(self.protocol(false)).await.map(drop)
    }
}

impl From<ConnectError> for ProxyError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(error) => Self::ConnectionRefused(error),
            ConnectError::Timeout => Self::ConnectionTimeout,
            ConnectError::Exhausted(error) => Self::ConnectionLimitReached(error),
            ConnectError::Name(error) => Self::Dns(error),
            ConnectError::Unreachable(error) => Self::DestinationUnavailable(error),
            ConnectError::Tls(error) => Self::Tls(error),
        }
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
