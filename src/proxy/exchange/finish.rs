//! The end of an exchange: who gets which connection back, and whether the client got its answer.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use h2::Reason;

use super::{Exchange, ExchangeError, HalfClose, Upload};
use crate::http::response::{BodyEnd, Persistence};
use crate::metrics::labels::{CLIENT_CLOSED_REQUEST, ErrorToken};
use crate::proxy::body::{Sink, WireSink};
use crate::proxy::downstream::{ClientConnection, Downstream, Leftover};
use crate::proxy::observe::Observation;
use crate::proxy::request::Disposition;
use crate::proxy::upstream::PooledConnection;
use crate::proxy::worker::Worker;

/// How long a half-closed client's kernel gets to refuse the answer. In a pod or a rack the
/// reset comes within a millisecond; beyond that the answer counts as delivered.
const DELIVERY_GRACE: Duration = Duration::from_millis(250);

/// How long the rest of an upload may take once it has been answered; nginx's `lingering_time`.
const REST_LIMIT: Duration = Duration::from_secs(30);

impl<'a> Exchange<'a> {
    /// Ends an exchange that went wrong behind its head, or whose client is gone.
    pub fn stopped(mut self: Box<Self>, stop: ExchangeError) -> Disposition {
        let answered = self.answer.as_ref().map(|answer| answer.body_end);
        self.note_bytes();
        let mut end = self.request.observation.now();
        match stop {
            ExchangeError::Failed(error) => self.request.observation.set_error(error.token()),
            ExchangeError::Cut(token) => self.request.observation.set_error(token),
            ExchangeError::Slow => {
                self.request.observation.set_error(ErrorToken::DownstreamTimeout);
                if answered.is_none() {
                    self.request.observation.set_unsent_status(408);
                }
            }
            ExchangeError::Gone => {
                end = self
                    .front
                    .wire()
                    .and_then(|client| client.finished(self.worker))
                    .unwrap_or(end);
                self.request.observation.set_error(ErrorToken::DownstreamAborted);
                // Whoever had sent its FIN before there was a head has not seen one.
                if self.answer.as_ref().is_none_or(|answer| answer.half_closed_before_head) {
                    self.request.observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
                }
            }
        }
        if let Some(Sink::Frames(sink)) = self.answer.map(|answer| answer.pump.sink).as_mut() {
            // The head is out: only a reset tells that the rest will not come.
            sink.reset(Reason::INTERNAL_ERROR);
        }
        self.request.observation.finish_at(end);
        match answered {
            Some(BodyEnd::ConnectionEnd) => Disposition::Abort,
            Some(BodyEnd::Announced | BodyEnd::LastChunk) | None => Disposition::Close,
        }
    }

    /// Gives up before a head was sent.
    pub fn give_up(mut self: Box<Self>) -> (Downstream<'a>, Observation, Leftover) {
        self.note_bytes();
        let begun = self.interim.as_mut().map(WireSink::take_waiting).unwrap_or_default();
        let leftover = Leftover { unread: self.has_unread(), begun };
        (self.front, self.request.observation, leftover)
    }

    /// Notes what of both bodies was forwarded until now.
    fn note_bytes(&mut self) {
        let answered = self.answer.as_ref().map_or(0, |answer| answer.pump.bytes);
        self.request.observation.set_bytes(self.upload.bytes, answered);
    }

    /// What becomes of the client's connection, as far as is known when the head is written.
    pub(super) fn persistence(&self, upstream_keeps: bool) -> Persistence {
        let unread = self.has_unread();
        // A body that the client has held back may come or not: nobody could tell what is next.
        let lost = self.state == Upload::Held
            || (unread && (self.state == Upload::Refused || !upstream_keeps));
        let leaves = self.worker.drain.is_draining()
            || matches!(&self.front, Downstream::Wire(downstream)
                if self.worker.waits.wants_close(downstream.opened));
        if self.request.keep_alive && !lost && !leaves {
            Persistence::Keep
        } else {
            Persistence::Close
        }
    }

    /// Ends an exchange whose answer was handed over whole.
    pub async fn complete(mut self: Box<Self>) -> Disposition {
        if let Some(tunnel) = self.tunnel.take() {
            let PooledConnection::Wire(lease) = self.lease else {
                return Disposition::Close;
            };
            return Disposition::Switched(tunnel.started(self.request.observation, lease));
        }
        let Some(answer) = self.answer.take() else {
            return Disposition::Close;
        };
        let end = self.request.observation.now();
        let mut persistence = answer.persistence;
        // An upstream that answers without the body may take what follows of it for a request, and
        // the next client would get the answer to that.
        let was_whole = self.state == Upload::Complete;
        if self.has_unread() {
            persistence = Box::pin(self.rest_of_upload(persistence)).await;
            self.request.observation.set_bytes(self.upload.bytes, answer.pump.bytes);
        }
        if self.request.is_grpc {
            let status = answer.pump.source.trailer("grpc-status");
            self.request.observation.set_grpc_status(status.as_deref());
        }
        let Self { request, lease, front, half_close, .. } = *self;
        let mut observation = request.observation;
        let may_reuse = was_whole && half_close == HalfClose::Open && answer.upstream_keeps;
        match lease {
            PooledConnection::Wire(lease) if may_reuse => lease.release(answer.keep_alive_seconds),
            lease => drop(lease),
        }
        let Downstream::Wire(downstream) = front else {
            observation.finish_at(end);
            return Disposition::Keep;
        };
        let mut end = end;
        let left = left(downstream, observation.worker()).await;
        let finished = downstream.finished(observation.worker());
        if left || finished.is_some() && Box::pin(is_refused(downstream)).await {
            observation.set_error(ErrorToken::DownstreamAborted);
            if answer.half_closed_before_head {
                observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
            }
            end = finished.map_or(end, |finished| finished.min(end));
        }
        observation.finish_at(end);
        match persistence {
            Persistence::Keep => Disposition::Keep,
            Persistence::Close => Disposition::Close,
        }
    }

    /// Forwards what is left of the body, so that the connection can be used again.
    async fn rest_of_upload(&mut self, persistence: Persistence) -> Persistence {
        if persistence == Persistence::Keep {
            let rest = poll_fn(|cx| match (self.poll_upload(cx), self.state) {
                (Ok(()), Upload::Held | Upload::Running) => Poll::Pending,
                (Ok(()), Upload::Complete) => Poll::Ready(Ok(())),
                (Ok(()), Upload::Refused) => Poll::Ready(Err(ExchangeError::Gone)),
                (Err(stop), _) => Poll::Ready(Err(stop)),
            });
            if matches!(tokio::time::timeout(REST_LIMIT, rest).await, Ok(Ok(()))) {
                return Persistence::Keep;
            }
        }
        if let Some(downstream) = self.front.wire() {
            downstream.mark_unread();
        }
        Persistence::Close
    }
}

/// Tells whether the client has left with a reset; notes its FIN, if that came meanwhile.
async fn left(downstream: &ClientConnection, worker: &Worker) -> bool {
    poll_fn(|cx| Poll::Ready(downstream.poll_gone(cx, worker).is_ready())).await
}

/// Tells whether a client that has sent its FIN refuses the answer: it closed altogether, and its
/// kernel answers our bytes with a reset.
pub(crate) async fn is_refused(downstream: &ClientConnection) -> bool {
    const INTERVAL: Duration = Duration::from_millis(10);
    let link = &downstream.link;
    let reset = async {
        while link.take_error().is_none() {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(DELIVERY_GRACE, reset).await.is_ok()
}
