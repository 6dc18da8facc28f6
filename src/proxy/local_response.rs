//! Answers of our own: errors, and what Max-Forwards asks for.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::http::response::{OwnResponse, Persistence, write_own};
use crate::http::rewrite::Recipient;
use crate::proxy::body::{Delimiter, Http1Sink};
use crate::proxy::downstream::{Downstream, Http1Client, Stream};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::is_refused;
use crate::proxy::observe::{Ending, Observation, Outcome, ResponseHead};
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

    /// Answers what the proxy answers itself.
    pub(super) async fn here(
        &self,
        downstream: Downstream<'_>,
        why: LocalResponse,
        request: Box<Request>,
    ) -> Disposition {
        match why {
            LocalResponse::Refused(error) => {
                self.error(downstream, ProxyError::Request(error), true, request.observation).await
            }
            LocalResponse::MaxForwards(trace) => {
                let has_unread = request.has_body();
                self.max_forwards(downstream, trace, has_unread, request.observation).await
            }
        }
    }

    /// Answers for the upstream: status, a line of text, and no internals. `has_unread`: the client
    /// may still be sending a body that nobody reads.
    pub(super) async fn error(
        &self,
        mut downstream: Downstream<'_>,
        error: ProxyError,
        has_unread: bool,
        mut observation: Observation,
    ) -> Disposition {
        tracing::debug!(%error, "request failed");
        let half_closed = downstream
            .http1()
            .and_then(|client| client.finished(self.worker).map(|left| (client, left)));
        let Some(status) = error.answer() else {
            let end = half_closed.map_or_else(|| self.worker.now(), |(_, left)| left);
            let ending = Ending::ClientLeft(ResponseHead::Unseen);
            observation.record(Outcome { ending, end });
            return Disposition::Close;
        };
        let own = if self.is_grpc && matches!(downstream, Downstream::Http2(_)) {
            let status = error.grpc_status();
            observation.set_grpc_status(Some(status.to_string().as_bytes()));
            OwnResponse::Grpc { status, message: error.to_string() }
        } else {
            OwnResponse::error(status, &error)
        };
        observation.response_head_ready(own.status().as_u16());
        let ending = Ending::Failed(error.token());
        if let Downstream::Http2(stream) = &mut downstream
            && matches!(error, ProxyError::Request(_))
            && own.status() == StatusCode::BAD_REQUEST
            && stream.refuse()
        {
            observation.record_now(ending);
            return Disposition::Keep;
        }
        // RFC 9112 §9.3: what is left of a body must not be read as a request.
        let closes = matches!(error, ProxyError::Request(_) | ProxyError::DownstreamBody);
        let has_unread = has_unread || closes;
        let Some((client, left)) = half_closed else {
            observation.record_now(ending);
            return self.send(downstream, &own, has_unread).await;
        };
        // Whether it waits or has left shows only now.
        let end = observation.now();
        observation.foresee(ending);
        let disposition = self.send(downstream, &own, has_unread).await;
        observation.record(if is_refused(client).await {
            let ending = Ending::ClientLeft(ResponseHead::Unseen);
            Outcome { ending, end: left.min(end) }
        } else {
            Outcome { ending, end }
        });
        disposition
    }

    /// Answers as the final recipient: OPTIONS with nothing, TRACE with the request.
    async fn max_forwards(
        &self,
        downstream: Downstream<'_>,
        trace: Option<String>,
        has_unread: bool,
        mut observation: Observation,
    ) -> Disposition {
        observation.response_head_ready(200);
        observation.record_now(Ending::Answered);
        let media_type = if trace.is_some() { "message/http" } else { "text/plain" };
        let text = trace.unwrap_or_default();
        let own = OwnResponse::Text { status: StatusCode::OK, media_type, text };
        self.send(downstream, &own, has_unread).await
    }

    async fn send(
        &self,
        downstream: Downstream<'_>,
        own: &OwnResponse,
        has_unread: bool,
    ) -> Disposition {
        match downstream {
            Downstream::Http1(client) => self.send_http1(client, own, has_unread).await,
            Downstream::Http2(stream) => self.send_http2(*stream, own),
        }
    }

    async fn send_http1(
        &self,
        mut client: Http1Client<'_>,
        own: &OwnResponse,
        has_unread: bool,
    ) -> Disposition {
        let ends = has_unread || client.connection.should_end(self.worker);
        let keep = self.keep_alive && !ends;
        let persistence = if keep { Persistence::Keep } else { Persistence::Close };
        let mut out = client.take_begun();
        write_own(own, self.to, persistence, &self.worker.date(), &mut out);
        out.extend_from_slice(own.content(self.to).as_bytes());
        let mut sink = Http1Sink::new(&client.connection.transport, out, Delimiter::Plain);
        let sent = tokio::time::timeout(ANSWER_LIMIT, poll_fn(|cx| sink.poll_flush(cx))).await;
        if has_unread {
            client.connection.mark_unread();
        }
        if keep && matches!(sent, Ok(Ok(()))) { Disposition::Keep } else { Disposition::Close }
    }

    fn send_http2(&self, mut stream: Stream, own: &OwnResponse) -> Disposition {
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
