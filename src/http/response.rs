//! Every response head that a client gets: the app's, interim ones, a 101, and the proxy's own.
//!
//! Answers one question: what does the proxy itself say in a response? `end` writes it, for all
//! final responses and for both protocols.

use std::fmt::Display;
use std::rc::Rc;

use http::StatusCode;

use super::h1::{BodyLength, ResponseHead, Version};
use super::head::ResponseWriter;
use super::rewrite::{Recipient, ResponseFields, prepare_response};

/// What becomes of the client's connection after a response (RFC 9112 §9.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// Another request may come.
    Keep,
    /// It is closed.
    Close,
}

/// What tells the client where the body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyEnd {
    /// Its length, or the stream's end.
    Announced,
    /// The last chunk.
    LastChunk,
    /// The end of the connection: a body that was cut looks whole.
    ConnectionEnd,
}

impl BodyEnd {
    fn of(body: BodyLength, version: Version) -> Self {
        match (body, version) {
            (BodyLength::None | BodyLength::Known(_), _) | (_, Version::Http2) => Self::Announced,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => Self::LastChunk,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => Self::ConnectionEnd,
        }
    }
}

/// A response of the app whose head was written.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// What its head said.
    pub fields: ResponseFields<'a>,
    /// How its body has to be sent.
    pub body_end: BodyEnd,
    /// What the client was told of its connection.
    pub persistence: Persistence,
}

/// A short response of the proxy's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OwnResponse {
    /// No content.
    Bare(StatusCode),
    /// Some lines of text.
    Text {
        /// The status.
        status: StatusCode,
        /// The content's media type.
        media_type: &'static str,
        /// The content.
        text: String,
    },
    /// A failed gRPC call, which learns of it from its own status and not from HTTP's:
    /// Trailers-Only in "gRPC over HTTP/2".
    Grpc {
        /// The call's status.
        status: u8,
        /// Why it failed.
        message: String,
    },
}

impl OwnResponse {
    /// Why a request failed, in a line.
    pub(crate) fn error(status: StatusCode, message: &impl Display) -> Self {
        let text = format!("{}: {message}\n", reason(status));
        Self::Text { status, media_type: "text/plain; charset=utf-8", text }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Bare(status) | Self::Text { status, .. } => *status,
            Self::Grpc { .. } => StatusCode::OK,
        }
    }

    /// The content that goes behind the head; none to HEAD.
    pub(crate) fn content(&self, to: Recipient) -> &str {
        match self {
            Self::Text { text, .. } if !to.to_head => text,
            Self::Bare(_) | Self::Text { .. } | Self::Grpc { .. } => "",
        }
    }
}

/// Writes an interim response of the app, or a 100 of the proxy's own. Not for HTTP/1.0.
///
/// # Source
///
/// RFC 9110 §15.2.
pub(crate) fn write_interim(head: &ResponseHead<'_>, to: Recipient, out: &mut impl ResponseWriter) {
    out.status_line(to.version, head.status, head.reason);
    prepare_response(head, to, out);
    out.end();
}

/// Writes the app's 101. Returns what it switches to.
pub(crate) fn write_switch<'a>(
    head: &ResponseHead<'a>,
    to: Recipient,
    out: &mut impl ResponseWriter,
) -> Option<&'a [u8]> {
    out.status_line(to.version, head.status, head.reason);
    let fields = prepare_response(head, to, out);
    if let Some(protocols) = fields.upgrade {
        out.field("Connection", b"Upgrade");
        out.field("Upgrade", protocols);
    }
    out.end();
    fields.upgrade
}

/// Writes the head of the app's final response.
///
/// `persistence` decides about the client's connection where the body's end leaves a choice; `date`
/// is asked only where the app has sent none.
pub fn write_forwarded<'a>(
    head: &ResponseHead<'a>,
    to: Recipient,
    persistence: impl FnOnce(&ResponseFields<'a>) -> Persistence,
    date: impl FnOnce() -> Rc<str>,
    out: &mut impl ResponseWriter,
) -> Forwarded<'a> {
    out.status_line(to.version, head.status, head.reason);
    let fields = prepare_response(head, to, out);
    let body_end = BodyEnd::of(head.body, to.version);
    if body_end == BodyEnd::LastChunk {
        out.field("Transfer-Encoding", b"chunked");
    }
    if head.body == BodyLength::Known(0) && !fields.has_length && to.version != Version::Http2 {
        // An HTTP/2 head that ended its stream.
        out.field("Content-Length", b"0");
    }
    let persistence = match body_end {
        BodyEnd::ConnectionEnd => Persistence::Close,
        BodyEnd::Announced | BodyEnd::LastChunk => persistence(&fields),
    };
    // RFC 9110 §15.5.22: a 426 has to say which protocols it asks for.
    let upgrade = fields.upgrade.filter(|_| head.status == StatusCode::UPGRADE_REQUIRED);
    let date = (!fields.has_date).then(date);
    end(out, to.version, persistence, upgrade, date.as_deref());
    Forwarded { fields, body_end, persistence }
}

/// Writes the head of a response of the proxy's own.
pub(crate) fn write_own(
    response: &OwnResponse,
    to: Recipient,
    persistence: Persistence,
    date: &str,
    out: &mut impl ResponseWriter,
) {
    let status = response.status();
    out.status_line(to.version, status, reason(status).as_bytes());
    match response {
        OwnResponse::Bare(_) => out.field("Content-Length", b"0"),
        OwnResponse::Text { media_type, text, .. } => {
            out.field("Content-Type", media_type.as_bytes());
            out.field("Content-Length", text.len().to_string().as_bytes());
        }
        OwnResponse::Grpc { status, message } => {
            out.field("Content-Type", b"application/grpc");
            out.field("grpc-status", status.to_string().as_bytes());
            out.field("grpc-message", message.as_bytes());
        }
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        out.field("Retry-After", b"1");
    }
    end(out, to.version, persistence, None, Some(date));
}

/// What the proxy says in every final response, the app's and its own.
fn end(
    out: &mut impl ResponseWriter,
    version: Version,
    persistence: Persistence,
    upgrade: Option<&[u8]>,
    date: Option<&str>,
) {
    use Persistence::{Close, Keep};
    if let Some(protocols) = upgrade {
        let value: &[u8] = if persistence == Close { b"close, Upgrade" } else { b"Upgrade" };
        out.field("Connection", value);
        out.field("Upgrade", protocols);
    } else {
        match (persistence, version) {
            (Close, Version::Http11) => out.field("Connection", b"close"),
            (Keep, Version::Http10) => out.field("Connection", b"keep-alive"),
            // The version's default.
            (Keep, Version::Http11) | (Close, Version::Http10) | (_, Version::Http2) => {}
        }
    }
    if let Some(date) = date {
        out.field("Date", date.as_bytes());
    }
    out.end();
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

#[cfg(test)]
mod tests;
