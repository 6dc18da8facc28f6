//! One HTTP/1 connection to the upstream in use.

use std::rc::Rc;
use std::time::Duration;

use super::Pool;
use super::counted::Counted;
use crate::net::transport::Transport;

/// An HTTP/1 connection in use. Dropping it closes the connection, which is the only way in
/// HTTP/1 to tell the upstream that nobody waits.
pub(crate) struct PooledHttp1 {
    pub(super) pool: Rc<Pool>,
    /// The connection.
    pub transport: Rc<Transport>,
    pub(super) counted: Counted,
    /// It served a request before.
    pub(super) reused: bool,
}

impl PooledHttp1 {
    /// Tells whether the connection served a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns the connection to the pool: the exchange is complete in both directions.
    ///
    /// `keep_alive_seconds` is what the upstream announced; half a second less is used, so that
    /// the upstream does not close while the next request is on its way.
    pub(crate) fn release(self, keep_alive_seconds: Option<u64>) {
        const MARGIN: Duration = Duration::from_millis(500);
        let Self { pool, transport, counted, .. } = self;
        let announced = keep_alive_seconds.map(Duration::from_secs);
        let limit = pool.worker.config.timeouts.upstream_idle;
        let keep = announced.map_or(limit, |announced| announced.saturating_sub(MARGIN).min(limit));
        if keep.is_zero()
            || transport.is_eof()
            || transport.has_ahead()
            || pool.worker.drain.is_cut()
        {
            return;
        }
        pool.put(transport, counted, keep);
    }
}
