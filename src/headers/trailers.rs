//! Trailer fields, in both directions.

use super::Named;
use crate::h1::{Field, MAX_FIELDS};

/// Names that a recipient could mistake for header fields: framing, routing, authentication,
/// request modifiers, content format (RFC 9110 §6.5.1); and the hop-by-hop ones.
const FORBIDDEN: [&str; 22] = [
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "authorization",
    "proxy-authorization",
    "proxy-authenticate",
    "www-authenticate",
    "cookie",
    "set-cookie",
    "cache-control",
    "max-forwards",
    "expect",
    "range",
    "content-encoding",
    "content-type",
    "content-range",
];

/// The fields of a trailer section that are forwarded; `raw` ends with the empty line.
///
/// # Errors
///
/// The section is not made of field lines. Never panics.
pub fn forwarded_trailers<'a>(
    raw: &'a [u8],
    named: &Named,
) -> Result<Vec<Field<'a>>, httparse::Error> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    if raw.len() <= 2 {
        return Ok(Vec::new());
    }
    let httparse::Status::Complete((_, fields)) = httparse::parse_headers(raw, &mut slots)? else {
        return Err(httparse::Error::NewLine);
    };
    Ok(fields.iter().filter(|field| passes(field.name, named)).copied().collect())
}

/// Tells whether a trailer field may be forwarded.
pub fn passes(name: &str, named: &Named) -> bool {
    !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
        && !named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
}
