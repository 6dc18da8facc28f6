//! One request on one connection: sending it, and what its failure means.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Connection, Pool};
use crate::error::ProxyError;
use crate::metrics::drop_one;
use crate::observe::Observation;
use crate::upload::{RequestBody, Upload, UploadFailure};

/// An upstream connection in use. Dropping it closes the connection.
pub struct Lease {
    pub(super) pool: Rc<Pool>,
    pub(super) connection: Option<Connection>,
}

/// Why an attempt to send failed.
pub(super) struct Failure {
    /// `None`: `--response-timeout` is over.
    pub(super) error: Option<hyper::Error>,
    /// The request, if hyper can prove that nothing of it was sent.
    pub(super) unsent: Option<Request<RequestBody>>,
}

impl Failure {
    /// Classifies by what was received, because hyper's errors have no public kind.
    pub(super) fn into_error(self, lease: &Lease, upload: Option<&Upload>) -> ProxyError {
        match upload.and_then(Upload::failure) {
            Some(UploadFailure::Aborted) => return ProxyError::DownstreamAborted,
            Some(UploadFailure::Malformed) => return ProxyError::DownstreamBody,
            None => {}
        }
        let Some(error) = self.error else {
            return ProxyError::ResponseTimeout;
        };
        if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
            ProxyError::Protocol(error)
        } else if error.is_user() {
            ProxyError::Internal(error)
        } else if lease.received() {
            ProxyError::ResponseIncomplete(error)
        } else {
            ProxyError::ConnectionTerminated(error)
        }
    }
}

impl Lease {
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
        observation: &mut Observation,
    ) -> Result<Response<Incoming>, Failure> {
        let limit = self.pool.worker.config.timeouts.response;
        let Some(connection) = &mut self.connection else {
            return Err(Failure { error: None, unsent: Some(request) });
        };
        observation.upstream_write_begun();
        let upload = request.body().upload();
        let answer = connection.sender.try_send_request(request);
        let result = match limit {
            None => answer.await,
            Some(limit) => match within(limit, upload.as_deref(), answer).await {
                Some(result) => result,
                None => return Err(Failure { error: None, unsent: None }),
            },
        };
        result.map_err(|mut failure| {
            let unsent = failure.take_message();
            Failure { error: Some(failure.into_error()), unsent }
        })
    }

    /// Tells whether a byte of the answer arrived.
    pub(super) fn received(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.wire.has_received())
    }

    /// Tells whether a byte of the request was written.
    pub(super) fn sent(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.wire.has_sent())
    }

    /// Returns the connection to the pool: the exchange is complete in both directions.
    ///
    /// `keep_alive_seconds` is what the upstream announced; half a second less is used, so that
    /// the upstream does not close while the next request is on its way.
    pub fn release(mut self, keep_alive_seconds: Option<u64>) {
        const MARGIN: Duration = Duration::from_millis(500);
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        drop_one(&self.pool.worker.stats.upstream_active);
        let announced = keep_alive_seconds.map(Duration::from_secs);
        let limit = self.pool.worker.config.timeouts.upstream_idle;
        let keep = announced.map_or(limit, |announced| announced.saturating_sub(MARGIN).min(limit));
        if keep.is_zero() || connection.sender.is_closed() || self.pool.worker.drain.is_cut() {
            return;
        }
        connection.reused = true;
        self.pool.put(connection, keep);
    }
}

/// Waits for an answer until `limit` after the end of the upload. `None`: it did not come.
async fn within<T>(
    limit: Duration,
    upload: Option<&Upload>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + limit;
    loop {
        if let Ok(result) = tokio::time::timeout_at(deadline, answer.as_mut()).await {
            return Some(result);
        }
        let now = Instant::now();
        deadline = match upload.map(Upload::completed_at) {
            // The client is still sending; the upstream cannot be late yet.
            Some(None) => now + limit,
            Some(Some(at)) if at + limit > now => at + limit,
            _ => return None,
        };
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.connection.is_some() {
            drop_one(&self.pool.worker.stats.upstream_active);
        }
    }
}
