//! HTTP/2 connections to the upstream: many requests on each, more connections when that is not
//! enough.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Pool;
use super::counted::{Counted, Use};
use super::life::{Leave, Life};
use crate::metrics::bump;
use crate::net::transport::{Transport, TransportIo, Verdict};
use crate::proxy::error::ProxyError;

/// Window of one stream: what a sender may have on the way, and what is kept for a client that does
/// not read. Two of the largest segments of loopback: with one, an app that leaves Nagle's
/// algorithm on sends its last bytes only after a delayed acknowledgement, each time (1.6 MB/s,
/// measured).
pub(crate) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// Window of a connection: the largest there is (RFC 9113 §6.9.1), so that only streams hold their
/// senders back. With less, some streams whose clients do not read would hold up all others.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Streams of a connection at most, whatever the upstream allows: so many windows fit into the
/// connection's, twice. The library gives room back only when a part of it has been used.
const MAX_STREAMS: usize = (CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES / 2) as usize;

/// What a stream buffers before its sender has to wait.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long an idle connection may take to say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// One HTTP/2 connection.
pub(super) struct Shared {
    send: SendRequest<Bytes>,
    pub(super) life: Rc<Life>,
}

/// The HTTP/2 connections of one worker.
#[derive(Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Shared>>,
    opening: Cell<bool>,
    opened: Notify,
}

/// Somebody opens a connection that others may use.
pub(super) struct Opening<'a>(&'a Connections);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

/// One stream of an HTTP/2 connection, not yet begun.
pub(crate) struct PooledStream {
    /// Begins the stream.
    pub send: SendRequest<Bytes>,
    pub(super) life: Rc<Life>,
    /// The connection served a request before.
    pub reused: bool,
}

impl PooledStream {
    /// The upstream wants no more streams on this connection.
    pub(crate) fn close(&self) {
        self.life.close();
    }

    pub(super) fn life(&self) -> Rc<Life> {
        Rc::clone(&self.life)
    }
}

impl Drop for PooledStream {
    fn drop(&mut self) {
        self.life.stream_ends();
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        let allowed = self.send.current_max_send_streams().min(MAX_STREAMS);
        !self.life.is_closed() && self.life.streams() < allowed
    }

    fn stream(&self, reused: bool) -> PooledStream {
        self.life.stream_begins();
        PooledStream { send: self.send.clone(), life: Rc::clone(&self.life), reused }
    }
}

impl Connections {
    /// A stream on a connection that lives and has room for one.
    pub(super) fn checkout(&self, pool: &Pool) -> Option<PooledStream> {
        let connections = self.open.borrow();
        let usable = connections.iter().filter(|shared| shared.has_room());
        let proven = usable.filter(|shared| shared.life.is_proven());
        let shared = proven.min_by_key(|shared| shared.life.streams())?;
        bump(&pool.worker.stats.reused);
        Some(shared.stream(true))
    }

    /// Asks a connection that has been silent whether it lives.
    pub(super) async fn revive(&self, pool: &Pool) -> Option<PooledStream> {
        let silent = {
            let connections = self.open.borrow();
            let usable = connections.iter().filter(|shared| shared.has_room());
            let silent = usable.filter(|shared| shared.life.may_be_asked());
            silent.min_by_key(|shared| shared.life.streams()).map(|s| Rc::clone(&s.life))
        };
        if silent?.gives_a_sign().await { self.checkout(pool) } else { None }
    }

    /// Waits for a connection that is being opened, or says that the caller has to open one.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(super) async fn turn(&self) -> Option<Opening<'_>> {
        if self.opening.replace(true) {
            self.opened.notified().await;
            return None;
        }
        Some(Opening(self))
    }

    /// A stream on a new connection, and more for whoever comes.
    pub(super) fn offer(&self, shared: Shared) -> PooledStream {
        let stream = shared.stream(false);
        self.open.borrow_mut().push(shared);
        stream
    }

    /// A new connection for whoever comes.
    pub(super) fn add(&self, shared: Shared) {
        self.open.borrow_mut().push(shared);
    }

    fn remove(&self, life: &Rc<Life>) {
        self.open.borrow_mut().retain(|shared| !Rc::ptr_eq(&shared.life, life));
    }

    /// Closes the connections that carry nothing.
    pub(super) fn close_idle(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Makes HTTP/2 of a connected socket. Whether the upstream takes it as such, its first bytes will
/// tell. Dropping what is returned ends the connection.
pub(super) async fn open(pool: &Rc<Pool>, transport: Rc<Transport>) -> Result<Shared, ProxyError> {
    let life = Life::new(&transport, Counted::new(&pool.worker.stats, Use::Idle, None));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    // No `max_header_list_size`: the library drops trailers beyond it in silence. Below its 16 MiB
    // it hands on all, and `exchange` and `pump` refuse what is beyond our limit.
    let io = TransportIo::new(&transport, Some(&life.hearing));
    let handshake = builder.handshake::<_, Bytes>(io).await;
    let (send, connection) = handshake.map_err(|error| {
        let io = error.into_io().unwrap_or_else(|| std::io::ErrorKind::BrokenPipe.into());
        ProxyError::ConnectionTerminated(io)
    })?;
    drop(tokio::task::spawn_local(drive(Rc::clone(pool), connection, Rc::clone(&life))));
    Ok(Shared { send, life })
}

/// Moves a connection's frames until it ends or is to be left. Whoever waits on it then learns that
/// it is lost.
async fn drive(pool: Rc<Pool>, mut connection: Connection<TransportIo>, life: Rc<Life>) {
    let pings = connection.ping_pong();
    let idle_limit = pool.worker.config.timeouts.upstream_idle;
    let watch = async {
        match pings {
            Some(pings) => life.watch(pings, idle_limit).await,
            // Taken once, just above.
            None => std::future::pending().await,
        }
    };
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream HTTP/2 connection ended");
            }
        }
        leave = watch => {
            tracing::debug!(?leave, "upstream HTTP/2 connection is left");
            life.close();
            pool.streams.remove(&life);
            if leave == Leave::Idle {
                // Without a sender the library says goodbye and ends.
                let _ended = timeout(GOODBYE_LIMIT, &mut connection).await;
            }
        }
    }
    pool.streams.remove(&life);
    life.end();
    life.hearing.settle(Verdict::Nothing);
}
