//! Answers of our own: errors, and what Max-Forwards asks for.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use crate::downstream::{Connection, Downstream, answer_head};
use crate::error::{CLIENT_CLOSED_REQUEST, ProxyError};
use crate::h1::Version;
use crate::observe::Observation;
use crate::pump::{Delimiter, Sink};
use crate::request::After;
use crate::worker::Worker;

/// How long a client may take to read a short answer of ours.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// To whom an answer of our own goes.
pub(super) struct Reply<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) downstream: &'a Downstream,
    pub(super) version: Version,
    pub(super) to_head: bool,
    pub(super) keep_alive: bool,
}

/// A short answer.
struct Local {
    status: (u16, &'static str),
    media_type: &'static str,
    text: String,
}

impl Reply<'_> {
    /// Answers for the upstream: status, a line of text, and no internals.
    pub(super) async fn error(
        &self,
        error: ProxyError,
        unread: bool,
        mut observation: Observation,
    ) -> After {
        tracing::debug!(%error, "request failed");
        observation.set_error(error.token());
        if matches!(error, ProxyError::DownstreamAborted) {
            observation.set_unsent_status(CLIENT_CLOSED_REQUEST);
            observation.finish();
            return After::Close;
        }
        let status = error.status();
        observation.response_head_ready(status);
        observation.finish();
        let known = http::StatusCode::from_u16(status).ok();
        let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let text = format!("{reason}: {error}\n");
        let local =
            Local { status: (status, reason), media_type: "text/plain; charset=utf-8", text };
        // RFC 9112 §9.3: what is left of a body must not be read as a request.
        self.send(local, unread || matches!(error, ProxyError::Request(_))).await
    }

    /// Answers as the final recipient: OPTIONS with nothing, TRACE with the request.
    pub(super) async fn max_forwards(
        &self,
        trace: Option<String>,
        unread: bool,
        mut observation: Observation,
    ) -> After {
        observation.response_head_ready(200);
        observation.finish();
        let media_type = if trace.is_some() { "message/http" } else { "text/plain" };
        let text = trace.unwrap_or_default();
        self.send(Local { status: (200, "OK"), media_type, text }, unread).await
    }

    async fn send(&self, local: Local, unread: bool) -> After {
        let keep = self.keep_alive && !unread && !self.worker.drain.is_draining();
        let connection = if keep { Connection::Keep } else { Connection::Close };
        let mut out = Vec::with_capacity(256);
        answer_head(self.worker, &mut out, self.version, local.status, connection);
        let retry = if local.status.0 == 503 { "Retry-After: 1\r\n" } else { "" };
        let rest = format!(
            "Content-Type: {}\r\nContent-Length: {}\r\n{retry}\r\n",
            local.media_type,
            local.text.len()
        );
        out.extend_from_slice(rest.as_bytes());
        if !self.to_head {
            out.extend_from_slice(local.text.as_bytes());
        }
        let mut sink = Sink::new(&self.downstream.link, out, Delimiter::Plain);
        let sent = tokio::time::timeout(ANSWER_LIMIT, poll_fn(|cx| sink.poll_flush(cx))).await;
        if unread {
            self.downstream.mark_unread();
        }
        if keep && matches!(sent, Ok(Ok(()))) { After::Keep } else { After::Close }
    }
}
