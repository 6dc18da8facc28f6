//! Answers of our own: errors, and what Max-Forwards asks for.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::http::h1::Version;
use crate::http::rewrite::Fields;
use crate::metrics::labels::{CLIENT_CLOSED_REQUEST, ErrorToken};
use crate::proxy::body::{Delimiter, WireSink};
use crate::proxy::downstream::{
    ClientConnection, Connection, Downstream, Leftover, Stream, answer_head,
};
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
    version: Version,
    to_head: bool,
    keep_alive: bool,
    is_grpc: bool,
}

/// A short answer.
struct Local {
    status: (u16, &'static str),
    media_type: &'static str,
    text: String,
}

impl<'a> Reply<'a> {
    pub(super) fn to(worker: &'a Rc<Worker>, request: &Request) -> Self {
        Self {
            worker,
            version: request.version,
            to_head: request.to_head,
            keep_alive: request.keep_alive,
            is_grpc: request.is_grpc,
        }
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
        if matches!(error, ProxyError::DownstreamAborted) {
            observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
            let left = front.wire().and_then(|client| client.finished(self.worker));
            observation.finish_at(left.unwrap_or_else(|| self.worker.now()));
            return Disposition::Close;
        }
        let status = error.status();
        if self.is_grpc && matches!(front, Downstream::Stream(_)) {
            observation.set_grpc_status(Some(error.grpc_status().to_string().as_bytes()));
            observation.response_head_ready(200);
            observation.finish();
            return grpc_error(front, &error);
        }
        observation.response_head_ready(status);
        let is_malformed = matches!(error, ProxyError::Request(_)) && status == 400;
        if let Downstream::Stream(stream) = &mut front
            && is_malformed
            && stream.refuse()
        {
            observation.finish();
            return Disposition::Keep;
        }
        let known = http::StatusCode::from_u16(status).ok();
        let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let text = format!("{reason}: {error}\n");
        let media_type = "text/plain; charset=utf-8";
        let local = Local { status: (status, reason), media_type, text };
        // RFC 9112 §9.3: what is left of a body must not be read as a request.
        let closes = matches!(error, ProxyError::Request(_) | ProxyError::DownstreamBody);
        let leftover = Leftover { unread: leftover.unread || closes, ..leftover };
        let half_closed = match &front {
            Downstream::Wire(client) => client.finished(self.worker).map(|left| (*client, left)),
            Downstream::Stream(_) => None,
        };
        let Some((client, left)) = half_closed else {
            observation.finish();
            return self.send(front, local, leftover).await;
        };
        // Whether it waits or has left shows only now.
        let end = observation.now();
        let disposition = self.send(front, local, leftover).await;
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
        let local = Local { status: (200, "OK"), media_type, text };
        self.send(front, local, Leftover { unread, begun: Vec::new() }).await
    }

    async fn send(&self, front: Downstream<'_>, local: Local, leftover: Leftover) -> Disposition {
        match front {
            Downstream::Wire(downstream) => self.send_wire(downstream, local, leftover).await,
            Downstream::Stream(stream) => self.send_frames(*stream, local),
        }
    }

    async fn send_wire(
        &self,
        downstream: &ClientConnection,
        local: Local,
        leftover: Leftover,
    ) -> Disposition {
        let Leftover { unread, begun: mut out } = leftover;
        let leaves = self.worker.drain.is_draining() || self.worker.waits.wants_close();
        let keep = self.keep_alive && !unread && !leaves;
        let connection = if keep { Connection::Keep } else { Connection::Close };
        let content = (local.media_type, local.text.len());
        let head = answer_head(self.worker, self.version, local.status, connection, content);
        out.extend_from_slice(&head);
        if !self.to_head {
            out.extend_from_slice(local.text.as_bytes());
        }
        let mut sink = WireSink::new(&downstream.link, out, Delimiter::Plain);
        let sent = tokio::time::timeout(ANSWER_LIMIT, poll_fn(|cx| sink.poll_flush(cx))).await;
        if unread {
            downstream.mark_unread();
        }
        if keep && matches!(sent, Ok(Ok(()))) { Disposition::Keep } else { Disposition::Close }
    }

    fn send_frames(&self, mut stream: Stream, local: Local) -> Disposition {
        let mut response = http::Response::new(());
        let status = http::StatusCode::from_u16(local.status.0);
        *response.status_mut() = status.unwrap_or(http::StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.field("content-type", local.media_type.as_bytes());
        headers.field("content-length", local.text.len().to_string().as_bytes());
        if local.status.0 == 503 {
            headers.field("retry-after", b"1");
        }
        let mut date = Vec::with_capacity(32);
        self.worker.write_date(&mut date);
        headers.field("date", &date);
        let ended = self.to_head || local.text.is_empty();
        // If the client has reset the stream there is nobody to tell.
        if let Ok(mut body) = stream.respond.send_response(response, ended)
            && !ended
        {
            let _reset = body.send_data(Bytes::from(local.text), true);
        }
        Disposition::Keep
    }
}

/// A gRPC call learns of failures from its status, not from HTTP's.
///
/// # Source
///
/// gRPC over HTTP/2, "Responses": Trailers-Only.
fn grpc_error(front: Downstream<'_>, error: &ProxyError) -> Disposition {
    let Downstream::Stream(mut stream) = front else {
        return Disposition::Close;
    };
    let mut response = http::Response::new(());
    let headers = response.headers_mut();
    headers.field("content-type", b"application/grpc");
    headers.field("grpc-status", error.grpc_status().to_string().as_bytes());
    headers.field("grpc-message", error.to_string().as_bytes());
    // If the client has reset the stream there is nobody to tell.
    let _sent = stream.respond.send_response(response, true);
    Disposition::Keep
}
