//! Response heads, as an upstream sends them: a little more forgiving than for requests.

use http::StatusCode;

use super::{BodyLength, Codings, Field, Slots, Version, items, length};

/// A response head, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase as sent, possibly empty.
    pub reason: &'a [u8],
    /// The upstream's version.
    pub version: Version,
    /// The field lines in order.
    pub fields: &'a [Field<'a>],
    /// How the body is delimited.
    pub body: BodyLength,
}

/// Parses a response head. `None`: more bytes are needed.
///
/// White space before a colon and folded lines are accepted, because RFC 9112 §5.1 and §5.2 ask a
/// proxy to remove them; the writer does.
///
/// # Shape
///
/// `bytes`: what was read so far. `to_head`: the request was HEAD. On success also how many bytes
/// the head has. Never panics.
///
/// # Errors
///
/// In words, why the answer cannot be forwarded; ends as a 502.
pub fn parse_response<'a>(
    bytes: &'a [u8],
    slots: &'a mut Slots<'a>,
    to_head: bool,
) -> Result<Option<(ResponseHead<'a>, usize)>, &'static str> {
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let mut response = httparse::Response::new(&mut []);
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut slots.room);
    let size = match parsed {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("it has too many fields"),
        Err(_) => return Err("its head is not HTTP/1"),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err("its head is not HTTP/1");
    };
    let status = StatusCode::from_u16(status).map_err(|_below_100| "its status is not one")?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let reason = match response.reason {
        None | Some("") => reason_beyond_ascii(bytes),
        Some(reason) => reason.as_bytes(),
    };
    let fields: &'a [Field<'a>] = response.headers;
    let body = body_of(status, version, fields, to_head)?;
    Ok(Some((ResponseHead { status, reason, version, fields, body }, size)))
}

/// The reason phrase of a status line: the parser gives none where it has bytes beyond ASCII.
fn reason_beyond_ascii(mut bytes: &[u8]) -> &[u8] {
    const BEFORE: usize = "HTTP/1.1 404 ".len();
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line).get(BEFORE..).unwrap_or_default()
}

/// RFC 9112 §6.3.
fn body_of(
    status: StatusCode,
    version: Version,
    fields: &[Field<'_>],
    to_head: bool,
) -> Result<BodyLength, &'static str> {
    let mut codings = Codings::default();
    let mut known: Option<u64> = None;
    for field in fields {
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                known = Some(single_length(field.value, known)?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => codings.add(field.value),
            _ => {}
        }
    }
    if codings.present && !codings.is_just_chunked() {
        return Err("its transfer coding is not just chunked");
    }
    if codings.present && version == Version::Http10 {
        return Err("it has a transfer coding in HTTP/1.0");
    }
    if to_head || matches!(status.as_u16(), 100..=199 | 204 | 304) {
        return Ok(BodyLength::None);
    }
    if codings.present {
        return Ok(BodyLength::Chunked);
    }
    Ok(known.map_or(BodyLength::UntilClose, BodyLength::Known))
}

/// `Content-Length: 5, 5` and two equal lines count as one (RFC 9110 §8.6).
fn single_length(value: &[u8], mut known: Option<u64>) -> Result<u64, &'static str> {
    for item in items(value) {
        let length = length(item).ok_or("its Content-Length is invalid")?;
        if known.is_some_and(|known| known != length) {
            return Err("its Content-Length contradicts itself");
        }
        known = Some(length);
    }
    known.ok_or("its Content-Length is invalid")
}
