//! The end of an exchange: who gets which connection back, and whether the client got its answer.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use h2::Reason;

use super::{Abort, Exchange, HalfClose, Phase, Sides, Upload};
use crate::http::response::{BodyEnd, Persistence};
use crate::proxy::body::Sink;
use crate::proxy::downstream::{ClientConnection, Downstream};
use crate::proxy::observe::{Ending, Observation, Outcome, ResponseHead};
use crate::proxy::request::{Disposition, Request};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::PooledConnection;
use crate::proxy::worker::Worker;

/// How long a half-closed client's kernel gets to refuse the answer. In a pod or a rack the
/// reset comes within a millisecond; beyond that the answer counts as delivered.
const DELIVERY_GRACE: Duration = Duration::from_millis(250);

/// How long the rest of an upload may take once it has been answered; nginx's `lingering_time`.
const REST_LIMIT: Duration = Duration::from_secs(30);

/// What an exchange leaves behind.
pub(crate) enum Finished {
    /// A request that is to be recorded, and its client's connection.
    Ended(Box<Request>, Outcome, Disposition),
    /// Two connections that have left HTTP, one of them the client's.
    Switched(Box<Tunnel>),
}

impl<'a> Exchange<'a> {
    /// Ends an exchange that has answered its client, or that was aborted.
    ///
    /// It stays on the heap until its parts go separate ways: what an idle connection keeps room
    /// for has room for this, too.
    pub(crate) async fn finish(self: Box<Self>, result: Result<(), Abort>) -> Finished {
        match (result, &self.phase) {
            (Ok(()), Phase::Streaming(_)) => self.complete().await,
            (Ok(()), Phase::Switching) => self.switched(),
            (Ok(()), Phase::AwaitingHead(_)) => {
                debug_assert!(false, "an answer is whole that has not begun");
                self.aborted(Abort::Incomplete)
            }
            (Err(abort), _) => self.aborted(abort),
        }
    }

    /// Gives up before a head was sent. Tells also whether the client may still be sending a body
    /// that nobody reads.
    pub(crate) fn give_up(mut self: Box<Self>) -> (Downstream<'a>, Observation, bool) {
        let sides = &mut self.sides;
        sides.request.observation.set_bytes(sides.upload.bytes, 0);
        let has_unread = sides.has_unread();
        (self.sides.downstream, self.sides.request.observation, has_unread)
    }

    /// Ends an exchange that went wrong behind its head, or whose client is gone.
    fn aborted(mut self: Box<Self>, abort: Abort) -> Finished {
        let Self { sides, phase } = &mut *self;
        let mut end = sides.request.observation.now();
        let (head, answered, disposition) = match phase {
            Phase::AwaitingHead(_) | Phase::Switching => {
                (ResponseHead::Unseen, 0, Disposition::Close)
            }
            Phase::Streaming(answer) => {
                if let Sink::Http2(sink) = &mut answer.pump.sink {
                    // The head is out: only a reset tells that the rest will not come.
                    sink.reset(Reason::INTERNAL_ERROR);
                }
                let disposition = match answer.body_end {
                    BodyEnd::ConnectionEnd => Disposition::Abort,
                    BodyEnd::Announced | BodyEnd::LastChunk => Disposition::Close,
                };
                (answer.head, answer.pump.bytes, disposition)
            }
        };
        sides.request.observation.set_bytes(sides.upload.bytes, answered);
        let ending = match (abort, phase) {
            (Abort::Incomplete, _) => Ending::AnswerIncomplete,
            (Abort::Malformed, _) => Ending::AnswerMalformed,
            (Abort::Slow, Phase::Streaming(_)) => Ending::ClientSlow(ResponseHead::Seen),
            (Abort::Slow, Phase::AwaitingHead(_) | Phase::Switching) => {
                Ending::ClientSlow(ResponseHead::Unseen)
            }
            (Abort::Left, _) => {
                let client = sides.downstream.http1();
                end = client.and_then(|client| client.finished(sides.worker)).unwrap_or(end);
                // Whoever had sent its FIN before there was a head has not seen one.
                Ending::ClientLeft(head)
            }
        };
        Finished::Ended(self.sides.request, Outcome { ending, end }, disposition)
    }

    /// Ends an exchange whose 101 was handed over.
    fn switched(self: Box<Self>) -> Finished {
        let request = self.sides.request;
        match (self.sides.downstream.http1(), self.sides.upstream) {
            (Some(client), PooledConnection::Http1(connection)) => {
                let tunnel = Box::new(Tunnel::new(&client.transport, &connection.transport));
                Finished::Switched(tunnel.started(request.observation, connection))
            }
            (None, _) | (_, PooledConnection::Http2(_)) => {
                debug_assert!(false, "HTTP/2 has no upgrade");
                let end = request.observation.now();
                let outcome = Outcome { ending: Ending::AnswerMalformed, end };
                Finished::Ended(request, outcome, Disposition::Close)
            }
        }
    }

    /// Ends an exchange whose answer was handed over whole.
    async fn complete(mut self: Box<Self>) -> Finished {
        let Self { sides, phase } = &mut *self;
        let Phase::Streaming(answer) = phase else {
            return self.aborted(Abort::Incomplete);
        };
        let mut end = sides.request.observation.now();
        let mut persistence = answer.persistence;
        // An upstream that answers without the body may take what follows of it for a request, and
        // the next client would get the answer to that.
        let was_whole = sides.state == Upload::Complete;
        // The end of a body may have come, but wait for an upstream that has not read it yet.
        let waits = sides.state == Upload::Running && persistence == Persistence::Keep;
        if waits || sides.has_unread() {
            persistence = Box::pin(sides.rest_of_upload(persistence)).await;
            sides.request.observation.set_bytes(sides.upload.bytes, answer.pump.bytes);
        }
        if sides.request.is_grpc {
            let status = answer.pump.source.trailer("grpc-status");
            sides.request.observation.set_grpc_status(status.as_deref());
        }
        let may_reuse = was_whole && sides.half_close == HalfClose::Open && answer.upstream_keeps;
        let (head, keep_alive_seconds) = (answer.head, answer.keep_alive_seconds);
        let (worker, client) = (sides.worker, sides.downstream.http1());
        match self.sides.upstream {
            PooledConnection::Http1(connection) if may_reuse => {
                connection.release(keep_alive_seconds);
            }
            upstream => drop(upstream),
        }
        let mut ending = Ending::Answered;
        let disposition = match (client, persistence) {
            (None, _) | (Some(_), Persistence::Keep) => Disposition::Keep,
            (Some(_), Persistence::Close) => Disposition::Close,
        };
        if let Some(client) = client {
            let has_left = left(client, worker).await;
            let finished = client.finished(worker);
            if has_left || finished.is_some() && Box::pin(is_refused(client)).await {
                ending = Ending::ClientLeft(head);
                end = finished.map_or(end, |finished| finished.min(end));
            }
        }
        Finished::Ended(self.sides.request, Outcome { ending, end }, disposition)
    }
}

impl Sides<'_> {
    /// Tells whether the client's connection may go on as far as it and the proxy are concerned.
    pub(super) fn wants_to_keep(&self) -> bool {
        let client = self.downstream.http1();
        self.request.keep_alive && !client.is_some_and(|client| client.should_end(self.worker))
    }

    /// Forwards what is left of the body, so that the connection can be used again.
    async fn rest_of_upload(&mut self, persistence: Persistence) -> Persistence {
        if persistence == Persistence::Keep {
            let rest = poll_fn(|cx| match (self.poll_upload(cx), self.state) {
                (Ok(()), Upload::Held | Upload::Running) => Poll::Pending,
                (Ok(()), Upload::Complete) => Poll::Ready(Persistence::Keep),
                (Ok(()), Upload::Refused) | (Err(_), _) => Poll::Ready(Persistence::Close),
            });
            if let Ok(Persistence::Keep) = tokio::time::timeout(REST_LIMIT, rest).await {
                return Persistence::Keep;
            }
        }
        if let Some(client) = self.downstream.http1() {
            client.mark_unread();
        }
        Persistence::Close
    }
}

/// What becomes of the client's connection, as far as is known when the head is written: `wants`,
/// whether it may go on at all; `state` of the upload, and whether some of it is `unread`.
pub(super) fn persistence(
    wants: bool,
    state: Upload,
    unread: bool,
    upstream_keeps: bool,
) -> Persistence {
    let is_lost = match state {
        // A body that the client has held back may come or not: nobody could tell what is next.
        Upload::Held => true,
        Upload::Refused => unread,
        // An upstream that closes will not take the rest.
        Upload::Running => unread && !upstream_keeps,
        Upload::Complete => false,
    };
    if wants && !is_lost { Persistence::Keep } else { Persistence::Close }
}

/// Tells whether the client has left with a reset; notes its FIN, if that came meanwhile.
async fn left(client: &ClientConnection, worker: &Worker) -> bool {
    poll_fn(|cx| Poll::Ready(client.poll_gone(cx, worker).is_ready())).await
}

/// Tells whether a client that has sent its FIN refuses the answer: it closed altogether, and its
/// kernel answers our bytes with a reset.
pub(crate) async fn is_refused(client: &ClientConnection) -> bool {
    const INTERVAL: Duration = Duration::from_millis(10);
    let reset = async {
        while client.transport.take_error().is_none() {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(DELIVERY_GRACE, reset).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_only_if_nobody_wonders_what_comes_next_on_it() {
        use Persistence::{Close, Keep};
        // The upload, whether some is unread, and what follows if the upstream closes, or keeps.
        for (state, unread, closes, keeps) in [
            (Upload::Held, true, Close, Close),
            (Upload::Held, false, Close, Close),
            (Upload::Running, true, Close, Keep),
            (Upload::Running, false, Keep, Keep),
            (Upload::Refused, true, Close, Close),
            (Upload::Refused, false, Keep, Keep),
            (Upload::Complete, false, Keep, Keep),
            (Upload::Complete, true, Keep, Keep),
        ] {
            for (upstream_keeps, expected) in [(false, closes), (true, keeps)] {
                let got = persistence(true, state, unread, upstream_keeps);
                assert_eq!(got, expected, "{state:?} {unread} {upstream_keeps}");
                assert_eq!(persistence(false, state, unread, upstream_keeps), Close);
            }
        }
    }
}
