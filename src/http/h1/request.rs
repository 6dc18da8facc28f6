//! Request heads.

use std::borrow::Cow;

use http::StatusCode;

use super::{BodyLength, Codings, Field, Slots, Version, length, unusual};

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
    /// RFC 9110 §15.6.6: HTTP/2 and 3 have no request line, and nobody speaks 0.9.
    #[error("the protocol version is not supported")]
    Version,
    /// A head did not arrive within `--header-timeout`.
    #[error("the request head did not arrive in time")]
    Timeout,
}

impl HeadError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::Length | Self::Coding | Self::TwoLengths => {
                StatusCode::BAD_REQUEST
            }
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CodingUnsupported | Self::MethodTooLong => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// A request head, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method: any token, case-sensitive.
    pub method: &'a str,
    /// The request target as sent: any bytes that can be seen, and those beyond ASCII.
    pub target: &'a [u8],
    /// The client's version.
    pub version: Version,
    /// The field lines in order.
    pub fields: &'a [Field<'a>],
    /// How the body is delimited.
    pub body: BodyLength,
    /// HTTP/2's `:authority`.
    pub authority: Option<&'a str>,
}

/// A request target that belongs to its method, as it is sent on (RFC 9112 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// Host and port of one in absolute form.
    pub authority: Option<&'a str>,
    /// Whether `/` goes before the text.
    pub slash: bool,
    /// Path and query byte for byte, or `*`.
    pub text: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// The target. `None`: it is none, or not of this method; CONNECT has none that is sent on.
    pub fn target(&self) -> Option<Target<'a>> {
        let text = self.target;
        // A fragment is never sent (RFC 9110 §4.2.5); recipients cut it at different places.
        if self.method == "CONNECT" || text.contains(&b'#') {
            return None;
        }
        if text.starts_with(b"/") {
            return Some(Target { authority: None, slash: false, text });
        }
        let is_options = self.method == "OPTIONS";
        if text == b"*" {
            return is_options.then_some(Target { authority: None, slash: false, text });
        }
        let scheme = text.iter().position(|byte| *byte == b':')?;
        let (scheme, rest) = text.split_at_checked(scheme)?;
        let rest = rest.strip_prefix(b"://")?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
        // RFC 9110 §4.2.1: an empty host must be rejected; §4.2.4: so should user information be.
        if !is_http || authority.is_empty() || !is_host(authority) {
            return None;
        }
        let authority = std::str::from_utf8(authority).ok();
        // RFC 9112 §3.2.4: an empty path becomes `*` for OPTIONS, else `/`.
        Some(match rest {
            b"" if is_options => Target { authority, slash: false, text: b"*" },
            rest => Target { authority, slash: !rest.starts_with(b"/"), text: rest },
        })
    }

    /// The part of the target that names a path, without query: what a label is made of.
    ///
    /// `None` for a request that is refused before it has one. What is no UTF-8 is replaced.
    pub fn path(&self) -> Option<Cow<'a, str>> {
        let target = self.target()?;
        let path = target.text.split(|byte| *byte == b'?').next().unwrap_or_default();
        Some(if target.slash { "/".into() } else { String::from_utf8_lossy(path) })
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
    let Slots { room, spare } = slots;
    let mut request = httparse::Request::new(&mut []);
    let size = match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Token | httparse::Error::Version) => {
            return unusual::parse(bytes, spare);
        }
        Err(_) => return Err(HeadError::Malformed),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Some((whole(method, target.as_bytes(), version, request.headers)?, size)))
}

/// A head of these parts.
pub(super) fn whole<'a>(
    method: &'a str,
    target: &'a [u8],
    version: Version,
    fields: &'a [Field<'a>],
) -> Result<RequestHead<'a>, HeadError> {
    let body = body_of(version, fields)?;
    Ok(RequestHead { method, target, version, fields, body, authority: None })
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
pub(crate) fn is_host(host: &[u8]) -> bool {
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
