//! A response's head on its way to the client.

use std::borrow::Cow;

use super::names::Kinds;
use super::{ConnectionOptions, Fields, Kind, Named, to_owned};
use crate::http::h1::{BodyLength, ResponseHead, Version, items, plain_length};

/// What a response head says beside what is forwarded.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one head")]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseFields<'a> {
    /// Fields named by Connection, to be dropped from trailers too.
    pub named: Named,
    /// Whether the upstream keeps its connection; in HTTP/2 no head says otherwise.
    pub keep_alive: bool,
    /// Seconds of `Keep-Alive: timeout=N`: how long the upstream keeps an idle connection.
    pub keep_alive_seconds: Option<u64>,
    /// The protocol of a 101, or those that a 426 asks for.
    pub upgrade: Option<&'a [u8]>,
    /// A Content-Length was written.
    pub has_length: bool,
    /// There is a Date field already.
    pub has_date: bool,
    /// `text/event-stream`: a stream that may stay open for hours.
    pub is_event_stream: bool,
}

/// Who gets a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The client's version.
    pub version: Version,
    /// The request was HEAD.
    pub to_head: bool,
}

/// Rewrites a response head: `out` gets the fields that pass, without framing and Connection,
/// which depend on the client's side.
///
/// # Source
///
/// RFC 9110 §7.6.1; RFC 9112 §6.1 and §6.3: a message with both Transfer-Encoding and
/// Content-Length must lose the latter; RFC 9110 §8.6 and RFC 9112 §6.1: 1xx and 204 have
/// neither.
pub(crate) fn prepare_response<'a>(
    head: &ResponseHead<'a>,
    to: Recipient,
    out: &mut impl Fields,
) -> ResponseFields<'a> {
    let mut connection = ConnectionOptions::default();
    let mut result = ResponseFields::default();
    let (mut is_chunked, mut has_known) = (false, false);
    let kinds = Kinds::of(head.fields);
    for (kind, field) in kinds.with(head.fields) {
        match kind {
            Kind::Connection => connection.add(field.value),
            Kind::KeepAlive => result.keep_alive_seconds = keep_alive_seconds(field.value),
            Kind::Upgrade => result.upgrade = Some(field.value),
            Kind::TransferEncoding => is_chunked = true,
            Kind::ContentLength => has_known = true,
            Kind::Date => result.has_date = true,
            Kind::ContentType => result.is_event_stream = is_event_stream(field.value),
            _ => {}
        }
    }
    let has_framing = !matches!(head.status.as_u16(), 100..=199 | 204);
    let has_length = has_framing && !is_chunked;
    let mut length_written = false;
    for (kind, field) in kinds.with(head.fields) {
        match kind {
            Kind::ContentLength => {
                if has_length && !length_written {
                    length_written = true;
                    result.has_length = true;
                    push_length(field.value, out);
                }
            }
            Kind::Connection
            | Kind::KeepAlive
            | Kind::Upgrade
            | Kind::TransferEncoding
            | Kind::Te
            | Kind::HopByHop => {}
            _ if connection.names(field.name) => {}
            _ => out.field(field.name, &unfold(field.value)),
        }
    }
    if has_framing && is_chunked && to.to_head && to.version == Version::Http11 {
        // What a GET would be answered with (RFC 9110 §9.3.2).
        out.field("Transfer-Encoding", b"chunked");
    }
    // RFC 9112 §6.3: with both framings nobody knows what the upstream takes for its next answer.
    let is_ambiguous = is_chunked && has_known;
    result.keep_alive = !connection.close
        && !is_ambiguous
        && head.version != Version::Http10
        && head.body != BodyLength::UntilClose;
    result.named = to_owned(&connection.named);
    result
}

/// A folded value in one line (RFC 9112 §5.2). Only the parser of responses lets one pass.
fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let unfold = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    value.iter().map(unfold).collect()
}

/// `5, 05` is written as `5`; the parser made sure that all items are equal.
fn push_length(value: &[u8], out: &mut impl Fields) {
    out.field("Content-Length", plain_length(items(value).next().unwrap_or(value)));
}

fn keep_alive_seconds(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?;
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        if is_timeout { seconds.trim().parse().ok() } else { None }
    })
}

fn is_event_stream(value: &[u8]) -> bool {
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or(value);
    media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
