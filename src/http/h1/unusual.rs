//! Request lines that RFC 9112 allows and httparse does not: targets that are not UTF-8, and other
//! minor versions than 0 and 1.

use super::request::whole;
use super::{Field, HeadError, MAX_FIELDS, RequestHead, Version, is_token};

/// Parses a head that httparse has refused for its request line. Never panics.
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    fields: &'a mut Vec<Field<'a>>,
) -> Result<Option<(RequestHead<'a>, usize)>, HeadError> {
    let Some((method, rest)) = word(bytes, is_token)? else { return Ok(None) };
    let is_visible = |byte: u8| byte > b' ' && byte != 0x7f;
    let Some((target, rest)) = word(rest, is_visible)? else { return Ok(None) };
    let Some((version, rest)) = version(rest)? else { return Ok(None) };
    fields.resize(MAX_FIELDS, httparse::EMPTY_HEADER);
    let parsed = httparse::parse_headers(rest, fields).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        _ => HeadError::Malformed,
    })?;
    let httparse::Status::Complete((size, fields)) = parsed else { return Ok(None) };
    let method = std::str::from_utf8(method).map_err(|_not_ascii| HeadError::Malformed)?;
    Ok(Some((whole(method, target, version, fields)?, bytes.len() - rest.len() + size)))
}

/// A word, and what comes behind the space that ends it.
type Word<'a> = (&'a [u8], &'a [u8]);

/// The first word. `None`: more bytes are needed.
fn word(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> Result<Option<Word<'_>>, HeadError> {
    let Some(end) = bytes.iter().position(|byte| !belongs(*byte)) else { return Ok(None) };
    match bytes.split_at_checked(end) {
        Some((word, [b' ', rest @ ..])) if !word.is_empty() => Ok(Some((word, rest))),
        _ => Err(HeadError::Malformed),
    }
}

/// The version and what comes behind its line.
///
/// > A recipient that receives a message with a major version number that it implements and a
/// > minor version number higher than what it implements SHOULD process the message as if it was
/// > in the highest minor version within that major version to which the recipient is conformant.
/// > (RFC 9110 §2.5)
fn version(bytes: &[u8]) -> Result<Option<(Version, &[u8])>, HeadError> {
    const FORM: &[u8] = b"HTTP/1.1";
    let is_right = |(byte, form): (&u8, &u8)| {
        if form.is_ascii_digit() { byte.is_ascii_digit() } else { byte == form }
    };
    if !bytes.iter().zip(FORM).all(is_right) {
        return Err(HeadError::Malformed);
    }
    match bytes.split_at_checked(FORM.len()) {
        None | Some((_, [] | [b'\r'])) => Ok(None),
        Some((version, [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..])) => match version {
            [.., b'1', b'.', b'0'] => Ok(Some((Version::Http10, rest))),
            [.., b'1', b'.', _] => Ok(Some((Version::Http11, rest))),
            _ => Err(HeadError::Version),
        },
        Some(_) => Err(HeadError::Malformed),
    }
}
