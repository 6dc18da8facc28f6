//! Connections to the upstream: opening and pooling.
//!
//! One pool per worker. A connection carries one request at a time; an idle one is used again
//! while the upstream is expected to keep it open.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Upstream, UpstreamProtocol};
use crate::metrics::labels::ErrorToken;
use crate::metrics::{SidecarMetrics, bump};
use crate::net::budget::Holder;
use crate::net::connect::{ConnectError, Dialer, Dialled};
use crate::net::tls::Alpn;
use crate::net::transport::{Transport, Verdict};
use crate::proxy::error::ProxyError;
use crate::proxy::worker::{Tick, Worker};

use self::counted::{Counted, Use};
use self::speech::{Speech, VERDICT_LIMIT, VERDICT_WAIT};

pub(crate) use self::h1::PooledHttp1;
pub(crate) use self::h2::{PooledStream, STREAM_WINDOW_BYTES};
pub(crate) use self::spare::{ClientPlace, Descriptors};

mod counted;
mod h1;
mod h2;
mod life;
mod prober;
mod spare;
mod speech;

/// What a request is sent on. Dropping it tells the upstream that nobody waits.
pub(crate) enum PooledConnection {
    /// An HTTP/1 connection of its own.
    Http1(PooledHttp1),
    /// A stream of a shared HTTP/2 connection.
    Http2(Box<PooledStream>),
}

impl PooledConnection {
    /// Tells whether the connection served a request before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reused(),
            Self::Http2(stream) => stream.reused,
        }
    }

    /// The upstream may leave unread what is sent from now on, and is not lost for it.
    pub(crate) fn be_patient(&self) {
        match self {
            Self::Http1(connection) => connection.transport.be_patient(),
            Self::Http2(stream) => stream.life.be_patient(),
        }
    }
}

/// What a request should be sent by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN; HTTP/1.1 as long as that is not decided.
    Http2,
    /// HTTP/2, unless the upstream is known not to speak it: there is no gRPC in HTTP/1.1.
    Grpc,
}

/// Which of a client's connections to the app one would be, of those that it has at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// The one that each client has to itself.
    First,
    /// One more, for another stream.
    Further,
}

/// How long a connection may have been idle to carry a request that cannot be sent again. Shorter
/// than any server's keep-alive (Gunicorn takes whole seconds), long enough for busy ones.
const FRESH: Duration = Duration::from_millis(500);

/// A connection that waits for a request.
struct Idle {
    transport: Rc<Transport>,
    counted: Counted,
    since: Tick,
    keep: Duration,
}

/// One worker's connections to the upstream.
pub(crate) struct Pool {
    worker: Rc<Worker>,
    /// Of what is kept for the app, apart from what its clients hold.
    holder: Rc<Holder>,
    /// Host of a request that names none.
    pub(crate) authority: Box<str>,
    dialer: Dialer,
    /// Last in, first out: the warmest connection first, and the surplus ages.
    idle: RefCell<Vec<Idle>>,
    sweeping: Cell<bool>,
    streams: h2::Connections,
    speech: Speech,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(worker: &Rc<Worker>) -> Rc<Self> {
        let config = &worker.config;
        let (upstream, tls) = (config.upstream.clone(), worker.tls.connector.clone());
        Rc::new(Self {
            authority: config.upstream.authority().into(),
            dialer: Dialer::new(upstream, tls, config.timeouts.connect),
            speech: Speech::new(config.upstream_protocol),
            worker: Rc::clone(worker),
            holder: worker.holders.of_nobody(),
            idle: RefCell::default(),
            sweeping: Cell::new(false),
            streams: h2::Connections::default(),
        })
    }

    /// Which protocol a request is prepared for: what its client spoke, unless
    /// `--upstream-protocol` says otherwise or the upstream turned out not to speak HTTP/2.
    pub(crate) fn protocol(&self, is_http2: bool) -> Protocol {
        self.speech.protocol(is_http2)
    }

    /// Takes an idle connection that is open, as far as can be known.
    pub(crate) fn checkout(
        self: &Rc<Self>,
        protocol: Protocol,
        replayable: bool,
    ) -> Option<PooledConnection> {
        if protocol != Protocol::Http1 {
            if let Some(stream) = self.streams.checkout(self) {
                return Some(PooledConnection::Http2(Box::new(stream)));
            }
            if self.speech.goes_by_http2(protocol) {
                return None;
            }
        }
        self.checkout_http1(replayable).map(PooledConnection::Http1)
    }

    /// Takes an idle HTTP/1 connection.
    ///
    /// For a request that cannot be sent a second time (not `replayable`) the kernel is asked,
    /// too, and only a connection that was busy just now is taken: a server that closes idle
    /// connections may decide to do so while the request is on its way, which no probe can see.
    fn checkout_http1(self: &Rc<Self>, replayable: bool) -> Option<PooledHttp1> {
        let limit = if replayable { Duration::MAX } else { FRESH };
        let now = self.worker.now();
        let mut idle = self.idle.borrow_mut();
        let entry = loop {
            let entry = idle.pop()?;
            if entry.transport.is_spoilt() || self.idle_time(&entry, now) >= entry.keep {
                continue;
            }
            if self.idle_time(&entry, now) >= limit {
                // All below have been idle for longer.
                idle.push(entry);
                return None;
            }
            if replayable || !entry.transport.is_readable() {
                break entry;
            }
        };
        drop(idle);
        bump(&self.worker.stats.reused);
        entry.counted.set(Use::Active);
        Some(self.in_use(entry.transport, entry.counted, true))
    }

    fn idle_time(&self, entry: &Idle, now: Tick) -> Duration {
        Duration::from_nanos(self.worker.nanos_between(entry.since, now))
    }

    /// Opens a connection, or finds one that was opened meanwhile.
    ///
    /// A further one for the same client waits until there is a file descriptor for it, as long as
    /// connecting may take.
    ///
    /// Connecting is TCP and TLS, within `--connect-timeout`; what the app says then, and when, is
    /// no matter of connecting.
    ///
    /// # Errors
    ///
    /// Why there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        protocol: Protocol,
        turn: Turn,
    ) -> Result<PooledConnection, ProxyError> {
        let mut over = pin!(tokio::time::sleep(self.worker.config.timeouts.connect));
        while self.speech.goes_by_http2(protocol) {
            // Many streams that begin at once need one connection, not one each. Whoever waits for
            // another that connects, connects.
            let turn = tokio::select! {
                turn = self.streams.turn() => turn,
                () = &mut over => return Err(ProxyError::ConnectionTimeout),
            };
            if let Some(stream) = self.streams.checkout(self) {
                return Ok(PooledConnection::Http2(Box::new(stream)));
            }
            if turn.is_none() {
                continue;
            }
            if let Some(stream) = self.streams.revive(self).await {
                return Ok(PooledConnection::Http2(Box::new(stream)));
            }
            match self.open_http2(protocol).await? {
                Some(upstream) => return Ok(upstream),
                None => break,
            }
        }
        if protocol != Protocol::Http1
            && let Some(connection) = self.checkout_http1(false)
        {
            return Ok(PooledConnection::Http1(connection));
        }
        let further = match turn {
            Turn::First => None,
            Turn::Further => {
                let place = self.worker.descriptors.further(self.worker.config.timeouts.connect);
                Some(place.await.map_err(ProxyError::ConnectionLimitReached)?)
            }
        };
        let Dialled { socket, .. } = self.dial(&[Alpn::Http1]).await?;
        let transport = Rc::new(Transport::new(socket, &self.holder));
        let counted = Counted::new(&self.worker.stats, Use::Active, further);
        Ok(PooledConnection::Http1(self.in_use(transport, counted, false)))
    }

    /// Connects for HTTP/2. `None`: the request goes by HTTP/1.1, on another connection.
    async fn open_http2(
        self: &Rc<Self>,
        protocol: Protocol,
    ) -> Result<Option<PooledConnection>, ProxyError> {
        self.speech.still_refused()?;
        let Dialled { socket, alpn } = self.dial(BOTH).await?;
        let transport = Rc::new(Transport::new(socket, &self.holder));
        match alpn {
            Some(Alpn::Http2) => {
                self.speech.learned(Verdict::Http2);
                let stream = self.streams.offer(h2::open(self, transport).await?);
                return Ok(Some(PooledConnection::Http2(Box::new(stream))));
            }
            Some(Alpn::Http1) => {
                self.speech.learned(Verdict::Other);
                self.speech.refuse()?;
                return Ok(Some(PooledConnection::Http1(self.fresh(transport))));
            }
            None => {}
        }
        let shared = h2::open(self, transport).await?;
        let hearing = Rc::clone(&shared.life.hearing);
        let verdict = tokio::time::timeout(VERDICT_WAIT, hearing.verdict()).await.ok();
        if let Some(verdict) = verdict {
            self.speech.learned(verdict);
        }
        match verdict {
            Some(Verdict::Other) => self.speech.refuse().map(|()| None),
            Some(Verdict::Nothing) if self.speech.is_forced() => {
                let closed = std::io::ErrorKind::UnexpectedEof.into();
                Err(ProxyError::ConnectionTerminated(closed))
            }
            Some(Verdict::Nothing) => Ok(None),
            None if !self.speech.needs_no_verdict(protocol) => {
                self.speech.asking();
                drop(tokio::task::spawn_local(Rc::clone(self).hear_later(shared)));
                Ok(None)
            }
            None | Some(Verdict::Http2) => {
                let stream = self.streams.offer(shared);
                if verdict.is_none() {
                    drop(tokio::task::spawn_local(Rc::clone(self).hear_of(stream.life())));
                }
                Ok(Some(PooledConnection::Http2(Box::new(stream))))
            }
        }
    }

    /// Waits for the first bytes of an upstream that is busy, on a connection that carries nothing.
    async fn hear_later(self: Rc<Self>, shared: h2::Shared) {
        let heard = tokio::time::timeout(VERDICT_LIMIT, shared.life.hearing.verdict()).await;
        let verdict = heard.unwrap_or(Verdict::Nothing);
        self.speech.learned(verdict);
        if verdict == Verdict::Http2 {
            self.streams.add(shared);
        }
    }

    /// Waits for the first bytes on a connection that is in use already.
    async fn hear_of(self: Rc<Self>, life: Rc<life::Life>) {
        let verdict = life.hearing.verdict().await;
        self.speech.learned(verdict);
        if verdict != Verdict::Http2 {
            life.close();
        }
    }

    /// Connects, which is counted and tells whether the upstream is up.
    async fn dial(&self, offer: &[Alpn]) -> Result<Dialled, ProxyError> {
        let worker = &self.worker;
        let begun = worker.now();
        let mut doubt = Doubt(Some(&worker.cold));
        let result = self.dialer.dial(offer).await.map_err(ProxyError::from);
        doubt.0 = None;
        let nanos = worker.nanos_between(begun, worker.now());
        worker.stats.connect.record(&worker.stats.connect_bounds, nanos);
        worker.cold.connected(result.as_ref().map(drop).map_err(ProxyError::token));
        self.seen(result.as_ref().err());
        result
    }

    /// What an attempt tells of the upstream.
    fn seen(&self, error: Option<&ProxyError>) {
        if error.is_some_and(|error| error.token() == ErrorToken::ConnectionLimitReached) {
            // That is this process's trouble, not the upstream's.
            return;
        }
        self.worker.cold.upstream.seen(error.is_none());
        if self.worker.said_of_upstream.is_due(error.is_none()) {
            say(&self.worker.config.upstream, error);
        }
        if error.is_some() {
            self.speech.forget();
        }
    }

    fn fresh(self: &Rc<Self>, transport: Rc<Transport>) -> PooledHttp1 {
        self.in_use(transport, Counted::new(&self.worker.stats, Use::Active, None), false)
    }

    fn in_use(
        self: &Rc<Self>,
        transport: Rc<Transport>,
        counted: Counted,
        reused: bool,
    ) -> PooledHttp1 {
        transport.begin_exchange();
        PooledHttp1 { pool: Rc::clone(self), transport, counted, reused }
    }

    fn put(self: &Rc<Self>, transport: Rc<Transport>, counted: Counted, keep: Duration) {
        counted.set(Use::Idle);
        self.idle.borrow_mut().push(Idle { transport, counted, since: self.worker.now(), keep });
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
            idle.retain(|entry| {
                !entry.transport.is_spoilt() && self.idle_time(entry, now) < entry.keep
            });
            if idle.is_empty() {
                self.sweeping.set(false);
                return;
            }
        }
    }

    /// Closes all idle connections.
    pub(crate) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.streams.close_idle();
    }

    /// Keeps an eye on the upstream while nobody asks for it; for the process, not for each worker.
    /// Ends with the drain.
    pub(crate) async fn watch_upstream(self: Rc<Self>) {
        let worker = &self.worker;
        let is_draining = || worker.drain.is_draining();
        prober::keep_trying(&worker.cold.upstream, is_draining, || self.probe()).await;
    }

    /// Tries once to connect, and closes the connection: a waiting one would occupy a worker of
    /// an app that serves one connection at a time, as Gunicorn's sync workers do.
    ///
    /// Only the first is counted: attempts are those of requests, and their errors users' errors.
    async fn probe(&self) {
        let offer = match self.worker.config.upstream_protocol {
            UpstreamProtocol::Http1 => &[Alpn::Http1],
            UpstreamProtocol::Auto | UpstreamProtocol::Http2 => BOTH,
        };
        if self.worker.cold.upstream.attempts() == 0 {
            // It is logged.
            let _reachable = self.dial(offer).await;
        } else {
            let result = self.dialer.dial(offer).await.map_err(ProxyError::from);
            self.seen(result.as_ref().err());
        }
    }
}

/// What an upstream may choose from inside TLS where HTTP/2 would do.
const BOTH: &[Alpn] = &[Alpn::Http2, Alpn::Http1];

/// An attempt to connect that has told nothing yet. If it is given up, as by a client that leaves,
/// somebody else has to look: nobody would notice an app that answers none in time.
struct Doubt<'a>(Option<&'a SidecarMetrics>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(cold) = self.0 {
            cold.upstream.doubt();
        }
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

/// Says that the upstream has come or gone; not for every request in between, and not each time if
/// it does so again and again.
fn say(upstream: &Upstream, error: Option<&ProxyError>) {
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
