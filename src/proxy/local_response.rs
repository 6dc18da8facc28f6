//! Answers of our own: errors, and what Max-Forwards asks for.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::http::response::{OwnResponse, Persistence, write_own};
use crate::http::rewrite::Recipient;
use crate::metrics::labels::{CLIENT_CLOSED_REQUEST, ErrorToken};
use crate::proxy::body::{Delimiter, WireSink};
use crate::proxy::downstream::{ClientConnection, Downstream, Leftover, Stream};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::is_refused;
use crate::proxy::observe::Observation;
use crate::proxy::request::{Disposition, LocalResponse, Request};
use crate::proxy::worker::Worker;

/// How long a client may take to read a short answer of ours.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How a request wants to be answered.
pub(super) struct Reply<'a> {
    worker: &'a Rc<Worker>,
    to: Recipient,
    keep_alive: bool,
    is_grpc: bool,
}

impl<'a> Reply<'a> {
    pub(super) fn to(worker: &'a Rc<Worker>, request: &Request) -> Self {
        Self { worker, to: request.to, keep_alive: request.keep_alive, is_grpc: request.is_grpc }
    }

    /// Answers what goes no further.
    pub(super) async fn here(
        &self,
        front: Downstream<'_>,
        here: LocalResponse,
        request: Box<Request>,
    ) -> Disposition {
        match here {
            LocalResponse::Refused(error) => {
                let leftover = Leftover { unread: true, begun: Vec::new() };
                self.error(front, ProxyError::Request(error), leftover, request.observation).await
            }
            LocalResponse::MaxForwards(trace) => {
                let unread = request.has_body();
                self.max_forwards(front, trace, unread, request.observation).await
            }
        }
    }

    /// Answers for the upstream: status, a line of text, and no internals.
    pub(super) async fn error(
        &self,
        mut front: Downstream<'_>,
        error: ProxyError,
        leftover: Leftover,
        mut observation: Observation,
    ) -> Disposition {
        tracing::debug!(%error, "request failed");
        observation.set_error(error.token());
        let Some(status) = error.answer() else {
            observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
            let left = front.wire().and_then(|client| client.finished(self.worker));
            observation.finish_at(left.unwrap_or_else(|| self.worker.now()));
            return Disposition::Close;
        };
        let own = if self.is_grpc && matches!(front, Downstream::Stream(_)) {
            let status = error.grpc_status();
            observation.set_grpc_status(Some(status.to_string().as_bytes()));
            OwnResponse::Grpc { status, message: error.to_string() }
        } else {
            OwnResponse::error(status, &error)
        };
        observation.response_head_ready(own.status().as_u16());
        if let Downstream::Stream(stream) = &mut front
            && matches!(error, ProxyError::Request(_))
            && own.status() == StatusCode::BAD_REQUEST
            && stream.refuse()
        {
            observation.finish();
            return Disposition::Keep;
        }
        // RFC 9112 §9.3: what is left of a body must not be read as a request.
        let closes = matches!(error, ProxyError::Request(_) | ProxyError::DownstreamBody);
        let leftover = Leftover { unread: leftover.unread || closes, ..leftover };
        let half_closed = match &front {
            Downstream::Wire(client) => client.finished(self.worker).map(|left| (*client, left)),
            Downstream::Stream(_) => None,
        };
        let Some((client, left)) = half_closed else {
            observation.finish();
            return self.send(front, &own, leftover).await;
        };
        // Whether it waits or has left shows only now.
        let end = observation.now();
        let disposition = self.send(front, &own, leftover).await;
        if is_refused(client).await {
            observation.set_error(ErrorToken::DownstreamAborted);
            observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
            observation.finish_at(left.min(end));
        } else {
            observation.finish_at(end);
        }
        disposition
    }

    /// Answers as the final recipient: OPTIONS with nothing, TRACE with the request.
    async fn max_forwards(
        &self,
        front: Downstream<'_>,
        trace: Option<String>,
        unread: bool,
        mut observation: Observation,
    ) -> Disposition {
        observation.response_head_ready(200);
        observation.finish();
        let media_type = if trace.is_some() { "message/http" } else { "text/plain" };
        let text = trace.unwrap_or_default();
        let own = OwnResponse::Text { status: StatusCode::OK, media_type, text };
        self.send(front, &own, Leftover { unread, begun: Vec::new() }).await
    }

    async fn send(
        &self,
        front: Downstream<'_>,
        own: &OwnResponse,
        leftover: Leftover,
    ) -> Disposition {
        match front {
            Downstream::Wire(downstream) => self.send_wire(downstream, own, leftover).await,
            Downstream::Stream(stream) => self.send_frames(*stream, own),
        }
    }

    async fn send_wire(
        &self,
        downstream: &ClientConnection,
        own: &OwnResponse,
        leftover: Leftover,
    ) -> Disposition {
        let Leftover { unread, begun: mut out } = leftover;
        let leaves =
            self.worker.drain.is_draining() || self.worker.waits.wants_close(downstream.opened);
        let keep = self.keep_alive && !unread && !leaves;
        let persistence = if keep { Persistence::Keep } else { Persistence::Close };
        write_own(own, self.to, persistence, &self.worker.date(), &mut out);
        out.extend_from_slice(own.content(self.to).as_bytes());
        let mut sink = WireSink::new(&downstream.link, out, Delimiter::Plain);
        let sent = tokio::time::timeout(ANSWER_LIMIT, poll_fn(|cx| sink.poll_flush(cx))).await;
        if unread {
            downstream.mark_unread();
        }
        if keep && matches!(sent, Ok(Ok(()))) { Disposition::Keep } else { Disposition::Close }
    }

    fn send_frames(&self, mut stream: Stream, own: &OwnResponse) -> Disposition {
        let mut head = http::Response::new(());
        write_own(own, self.to, Persistence::Keep, &self.worker.date(), &mut head);
        let content = own.content(self.to);
        // If the client has reset the stream there is nobody to tell.
        if let Ok(mut body) = stream.respond.send_response(head, content.is_empty())
            && !content.is_empty()
        {
            let _reset = body.send_data(Bytes::copy_from_slice(content.as_bytes()), true);
        }
        Disposition::Keep
    }
}
