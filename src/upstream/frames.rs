//! HTTP/2 connections to the upstream: many requests on each, more connections when that is not
//! enough.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::sync::Notify;

use super::Pool;
use crate::error::ProxyError;
use crate::metrics::{bump, drop_one};
use crate::wire::{FirstBytes, Link, LinkIo};

/// Window of one stream: what a sender may have on the way. Four round trips of a local network
/// at full speed.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What a stream buffers before its sender has to wait.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// One HTTP/2 connection.
struct Shared {
    send: SendRequest<Bytes>,
    /// Its task has ended, or the upstream will not take another stream.
    closed: Rc<Cell<bool>>,
    streams: Rc<Cell<usize>>,
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
pub struct StreamLease {
    pool: Rc<Pool>,
    /// Begins the stream.
    pub send: SendRequest<Bytes>,
    closed: Rc<Cell<bool>>,
    streams: Rc<Cell<usize>>,
    /// The connection served a request before.
    pub reused: bool,
}

impl StreamLease {
    /// The upstream wants no more streams on this connection.
    pub fn close(&self) {
        self.closed.set(true);
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        drop_one(&self.pool.worker.stats.upstream_active);
    }
}

impl Connections {
    /// A stream on a connection that has room for one.
    pub(super) fn checkout(&self, pool: &Rc<Pool>) -> Option<StreamLease> {
        let mut connections = self.open.borrow_mut();
        connections.retain(|shared| !shared.closed.get());
        let shared = connections
            .iter()
            .filter(|shared| shared.streams.get() < shared.send.current_max_send_streams())
            .min_by_key(|shared| shared.streams.get())?;
        bump(&pool.worker.stats.reused);
        Some(lease(pool, shared, true))
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

    /// Makes HTTP/2 of a connected socket. `None`: the upstream does not speak it.
    pub(super) async fn open(
        &self,
        pool: &Rc<Pool>,
        link: Rc<Link>,
    ) -> Result<Option<StreamLease>, ProxyError> {
        let first = Rc::new(FirstBytes::default());
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES);
        // No `max_header_list_size`: the library drops trailers beyond it in silence. Below its
        // 16 MiB it hands on all, and `exchange` and `pump` refuse what is beyond our limit.
        let io = LinkIo::new(&link, Some(&first));
        let handshake = builder.handshake::<_, Bytes>(io).await;
        let (send, connection) = handshake.map_err(|error| {
            let io = error.into_io().unwrap_or_else(|| std::io::ErrorKind::BrokenPipe.into());
            ProxyError::ConnectionTerminated(io)
        })?;
        let closed = Rc::new(Cell::new(false));
        let (ended, settled) = (Rc::clone(&closed), Rc::clone(&first));
        drop(tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream HTTP/2 connection ended");
            }
            ended.set(true);
            settled.settle(false);
        }));
        if !first.verdict().await {
            closed.set(true);
            return Ok(None);
        }
        let shared = Shared { send, closed, streams: Rc::default() };
        let lease = lease(pool, &shared, false);
        self.open.borrow_mut().push(shared);
        Ok(Some(lease))
    }

    /// Closes the connections that carry nothing.
    pub(super) fn close_idle(&self) {
        self.open.borrow_mut().clear();
    }
}

fn lease(pool: &Rc<Pool>, shared: &Shared, reused: bool) -> StreamLease {
    shared.streams.set(shared.streams.get() + 1);
    bump(&pool.worker.stats.upstream_active);
    StreamLease {
        pool: Rc::clone(pool),
        send: shared.send.clone(),
        closed: Rc::clone(&shared.closed),
        streams: Rc::clone(&shared.streams),
        reused,
    }
}
