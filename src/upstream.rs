//! Connections to the upstream: opening, pooling, retrying, and what their errors mean.
//!
//! One pool per worker. A connection carries one request at a time; an idle one is used again
//! while the upstream is expected to keep it open. A request is sent a second time only where
//! RFC 9110 §9.2.2 allows it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::error::ProxyError;
use crate::metrics::bump;
use crate::observe::Observation;
use crate::upload::RequestBody;
use crate::wire::{self, Wire, WireIo};
use crate::worker::{Tick, Worker};

pub use self::lease::Lease;

mod lease;

/// How long a connection may have been idle to carry a request that cannot be sent again. Shorter
/// than any server's keep-alive (Gunicorn takes whole seconds), long enough for busy ones.
const FRESH: Duration = Duration::from_millis(500);

/// How long a connection that was just returned may take to become ready. Its task has to run once;
/// one that takes longer is still writing what its upstream does not read.
const SETTLE: Duration = Duration::from_millis(5);

type Sender = http1::SendRequest<RequestBody>;

/// A connection to the upstream.
struct Connection {
    sender: Sender,
    wire: Rc<Wire>,
    reused: bool,
}

/// A connection that waits for a request.
struct Idle {
    connection: Connection,
    since: Tick,
    keep: Duration,
}

/// One worker's connections to the upstream.
pub struct Pool {
    worker: Rc<Worker>,
    resolver: wire::Resolver,
    builder: http1::Builder,
    /// Last in, first out: the warmest connection first, and the surplus ages.
    idle: RefCell<Vec<Idle>>,
    sweeping: Cell<bool>,
}

impl Pool {
    /// An empty pool.
    pub fn new(worker: &Rc<Worker>) -> Rc<Self> {
        let mut builder = http1::Builder::new();
        builder
            .max_header_size(worker.config.max_header_bytes)
            // RFC 9112 §5.1 and §5.2: a proxy removes such white space from a response.
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        Rc::new(Self {
            resolver: wire::Resolver::new(worker.config.upstream.clone()),
            worker: Rc::clone(worker),
            builder,
            idle: RefCell::default(),
            sweeping: Cell::new(false),
        })
    }

    /// Sends a request, once more on a fresh connection if a reused one turns out to be closed.
    ///
    /// # Errors
    ///
    /// A [`ProxyError`] for whatever kept the response head from arriving.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection that the request was sent on, which is the only
    /// way in HTTP/1 to tell the upstream that nobody waits.
    pub async fn send(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
        observation: &mut Observation,
    ) -> Result<(Response<Incoming>, Lease), ProxyError> {
        let upload = request.body().upload();
        let has_body = !request.body().is_end_stream();
        let replayable = !has_body && is_idempotent(request.method());
        if let Some(mut lease) = self.checkout(replayable).await {
            let copy = if has_body { None } else { Some(clone_head(&request)) };
            let mut failure = match lease.send(request, observation).await {
                Ok(response) => return Ok((response, lease)),
                Err(failure) => failure,
            };
            let cold = &self.worker.cold;
            request = match (failure.unsent.take(), copy) {
                (Some(unsent), _) => {
                    cold.retries_not_sent.increment(1);
                    unsent
                }
                // Not one byte of an answer: RFC 9112 §9.3.1 lets an idempotent request go again,
                // and any request of which nothing was written.
                (None, Some(copy))
                    if !lease.received()
                        && (replayable || !lease.sent())
                        && failure.error.is_some() =>
                {
                    cold.retries_no_response.increment(1);
                    copy
                }
                _ => return Err(failure.into_error(&lease, upload.as_deref())),
            };
        }
        let begun = self.worker.now();
        let mut lease = self.connect().await?;
        observation.connected_since(begun);
        match lease.send(request, observation).await {
            Ok(response) => Ok((response, lease)),
            Err(failure) => Err(failure.into_error(&lease, upload.as_deref())),
        }
    }

    /// Takes an idle connection that is open and ready, as far as can be known.
    ///
    /// For a request that cannot be sent a second time the kernel is asked, too, and only a
    /// connection that was busy just now is taken: a server that closes idle connections may
    /// decide to do so while the request is on its way, which no probe can see.
    async fn checkout(self: &Rc<Self>, replayable: bool) -> Option<Lease> {
        let limit = if replayable { Duration::MAX } else { FRESH };
        while let Some(mut connection) = self.pop(limit) {
            let ready = connection.sender.is_ready() || {
                let settled = tokio::time::timeout(SETTLE, connection.sender.ready());
                matches!(settled.await, Ok(Ok(())))
            };
            if ready && (replayable || !connection.wire.is_readable()) {
                bump(&self.worker.stats.reused);
                return Some(self.lease(connection));
            }
        }
        None
    }

    /// The last connection that is ready; failing that, the last that is still open. Not one that
    /// has been idle for `limit`.
    fn pop(&self, limit: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = self.worker.now();
        while idle.last().is_some_and(|last| last.connection.sender.is_closed()) {
            idle.pop();
        }
        let is_fresh = |entry: &Idle| self.idle_time(entry, now) < entry.keep.min(limit);
        // A connection becomes ready only after its task ran once more, so look for one that has.
        let ready = idle.iter().rposition(|e| e.connection.sender.is_ready() && is_fresh(e));
        let index = ready
            .or_else(|| idle.iter().rposition(|e| !e.connection.sender.is_closed() && is_fresh(e)));
        let entry = index.map(|index| idle.remove(index));
        self.worker
            .stats
            .upstream_idle
            .store(idle.len() as u64, std::sync::atomic::Ordering::Relaxed);
        entry.map(|entry| entry.connection)
    }

    fn idle_time(&self, entry: &Idle, now: Tick) -> Duration {
        Duration::from_nanos(self.worker.nanos_between(entry.since, now))
    }

    /// Opens a connection within `--connect-timeout`.
    async fn connect(self: &Rc<Self>) -> Result<Lease, ProxyError> {
        let worker = &self.worker;
        let begun = worker.now();
        let limit = worker.config.timeouts.connect;
        let result = match tokio::time::timeout(limit, self.resolver.connect()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ProxyError::ConnectionTimeout),
        };
        let nanos = worker.nanos_between(begun, worker.now());
        worker.stats.connect.record(&worker.stats.connect_bounds, nanos);
        let changed = worker.cold.connected(result.as_ref().map(drop).map_err(ProxyError::token));
        if changed {
            report(&worker.config.upstream, result.as_ref().err());
        }
        let wire = Wire::new(result?);
        let io = TokioIo::new(WireIo(Rc::clone(&wire)));
        let handshake = self.builder.handshake(io).await.map_err(ProxyError::Internal)?;
        let (sender, connection) = handshake;
        // Ends with the connection; what it fails with also reaches whoever waits for an answer.
        drop(tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        }));
        Ok(self.lease(Connection { sender, wire, reused: false }))
    }

    fn lease(self: &Rc<Self>, connection: Connection) -> Lease {
        bump(&self.worker.stats.upstream_active);
        connection.wire.begin_exchange();
        Lease { pool: Rc::clone(self), connection: Some(connection) }
    }

    fn put(self: &Rc<Self>, connection: Connection, keep: Duration) {
        let mut idle = self.idle.borrow_mut();
        idle.push(Idle { connection, since: self.worker.now(), keep });
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
            idle.retain(|entry| {
                !entry.connection.sender.is_closed() && self.idle_time(entry, now) < entry.keep
            });
            let open = idle.len() as u64;
            self.worker.stats.upstream_idle.store(open, std::sync::atomic::Ordering::Relaxed);
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
fn report(upstream: &crate::config::Upstream, error: Option<&ProxyError>) {
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

/// Methods that RFC 9110 §9.2.2 calls idempotent, and QUERY.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::OPTIONS
            | Method::TRACE
            | Method::PUT
            | Method::DELETE
            | Method::QUERY
    )
}

/// A copy of a request without body, kept until the first response byte.
fn clone_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
