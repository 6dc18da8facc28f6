//! Request heads.

use super::{BodyLength, Codings, Field, Slots, Version, length};

/// Why a request head is not one, or not one whose end two recipients would agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1 syntax.
    #[error("the request head is malformed")]
    Malformed,
    /// More fields than a head may have, or more bytes.
    #[error("the request head is too large")]
    TooLarge,
    /// The method alone is beyond the limit.
    #[error("the method is too long")]
    MethodTooLong,
    /// The target alone is beyond the limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// Content-Length is not one number.
    #[error("the Content-Length field is invalid")]
    Length,
    /// RFC 9112 §6.3: the last coding must be `chunked`, once, and not in HTTP/1.0.
    #[error("the Transfer-Encoding field is invalid")]
    Coding,
    /// RFC 9112 §6.1: a coding beside `chunked` that we do not understand.
    #[error("the transfer coding is not supported")]
    CodingUnsupported,
    /// RFC 9112 §6.1: Transfer-Encoding and Content-Length together are how requests are smuggled.
    #[error("Transfer-Encoding and Content-Length exclude each other")]
    TwoLengths,
    /// A head did not arrive within `--header-timeout`.
    #[error("the request head did not arrive in time")]
    Timeout,
}

impl HeadError {
    /// The status line's code and reason.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed | Self::Length | Self::Coding | Self::TwoLengths => {
                (400, "Bad Request")
            }
            Self::Timeout => (408, "Request Timeout"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::TooLarge => (431, "Request Header Fields Too Large"),
            Self::CodingUnsupported | Self::MethodTooLong => (501, "Not Implemented"),
        }
    }
}

/// A request head, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method: any token, case-sensitive.
    pub method: &'a str,
    /// The request target as sent.
    pub target: &'a str,
    /// The client's version.
    pub version: Version,
    /// The field lines in order.
    pub fields: &'a [Field<'a>],
    /// How the body is delimited.
    pub body: BodyLength,
    /// HTTP/2's `:authority`.
    pub authority: Option<&'a str>,
}

/// The form of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// `/path?query`.
    Origin(&'a str),
    /// `http://authority/path?query`, split behind the authority; the rest may be empty.
    Absolute {
        /// Host and port.
        authority: &'a str,
        /// Path and query.
        rest: &'a str,
    },
    /// `*`.
    Asterisk,
    /// Nothing that a server knows.
    Invalid,
}

impl<'a> RequestHead<'a> {
    /// The form of the target.
    pub fn target(&self) -> Target<'a> {
        let target = self.target;
        if target.contains('#') {
            // A fragment is never sent (RFC 9110 §4.2.5); recipients cut it at different places.
            return Target::Invalid;
        }
        if target.starts_with('/') {
            return Target::Origin(target);
        }
        if target == "*" {
            return Target::Asterisk;
        }
        let Some((scheme, rest)) = target.split_once("://") else {
            return Target::Invalid;
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (Some(authority), Some(rest)) = (rest.get(..end), rest.get(end..)) else {
            return Target::Invalid;
        };
        let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        // RFC 9110 §4.2.1: an empty host must be rejected; §4.2.4: so should user information be.
        if !is_http || authority.is_empty() || !is_host(authority.as_bytes()) {
            return Target::Invalid;
        }
        Target::Absolute { authority, rest }
    }

    /// The part of the target that names a path, without query: what a label is made of.
    pub fn path(&self) -> &'a str {
        let target = match self.target() {
            Target::Origin(target) => target,
            Target::Absolute { rest, .. } => rest,
            Target::Asterisk => "*",
            Target::Invalid => "",
        };
        target.split('?').next().unwrap_or("")
    }
}

/// Parses a request head. `None`: more bytes are needed.
///
/// # Shape
///
/// `bytes`: what was read so far, without empty lines before the request line. On success also
/// how many bytes the head has. One pass; never panics.
///
/// # Errors
///
/// A [`HeadError`]; where the next request would begin is then unknown.
pub fn parse_request<'a>(
    bytes: &'a [u8],
    slots: &'a mut Slots<'a>,
) -> Result<Option<(RequestHead<'a>, usize)>, HeadError> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, slots).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        _ => HeadError::Malformed,
    })?;
    let httparse::Status::Complete(size) = parsed else {
        return Ok(None);
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let fields: &'a [Field<'a>] = request.headers;
    let body = body_of(version, fields)?;
    let head = RequestHead { method, target, version, fields, body, authority: None };
    Ok(Some((head, size)))
}

/// RFC 9112 §6.3, with every ambiguity refused.
fn body_of(version: Version, fields: &[Field<'_>]) -> Result<BodyLength, HeadError> {
    let mut codings = Codings::default();
    let mut known: Option<u64> = None;
    for field in fields {
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let length = length(field.value).ok_or(HeadError::Length)?;
                if known.is_some_and(|known| known != length) {
                    return Err(HeadError::Length);
                }
                known = Some(length);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => codings.add(field.value),
            _ => {}
        }
    }
    if !codings.present {
        return Ok(known.map_or(BodyLength::None, BodyLength::Known));
    }
    if version == Version::Http10 || !codings.chunked_is_last || codings.chunked > 1 {
        return Err(HeadError::Coding);
    }
    if known.is_some() {
        return Err(HeadError::TwoLengths);
    }
    if codings.count > 1 { Err(HeadError::CodingUnsupported) } else { Ok(BodyLength::Chunked) }
}

/// `uri-host [ ":" port ]` of RFC 3986 §3.2.2; empty is allowed. Never panics.
pub fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.split_first() {
        Some((b'[', rest)) => match rest.iter().position(|b| *b == b']') {
            Some(end) => {
                let (address, after) = rest.split_at(end);
                let literal = !address.is_empty()
                    && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
                return literal && is_port(after.get(1..).unwrap_or(b""));
            }
            None => return false,
        },
        _ => match host.iter().position(|b| *b == b':') {
            Some(colon) => host.split_at(colon),
            None => (host, &b""[..]),
        },
    };
    let is_mark = |byte: u8| {
        matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&')
            || matches!(byte, b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(*byte))
        && (!name.contains(&b'%') || has_whole_escapes(name))
        && is_port(port)
}

/// Each `%` is followed by two hexadecimal digits.
fn has_whole_escapes(name: &[u8]) -> bool {
    let mut escapes = name.split(|b| *b == b'%').skip(1);
    escapes.all(|rest| rest.get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

fn is_port(after_name: &[u8]) -> bool {
    match after_name.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.is_empty() || length(digits).is_some_and(|port| port <= u16::MAX.into())
        }
        Some(_) => false,
    }
}
