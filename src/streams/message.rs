//! Whether a request's head is well-formed, so far as the library does not look.

use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::h1::{is_host, length};

/// Tells whether a request may be looked at; otherwise its stream is reset.
///
/// # Source
///
/// RFC 9113 §8.1.1, §8.2.1, §8.3.1 and §8.5.
pub(super) fn is_well_formed(parts: &Parts) -> bool {
    has_target(parts) && has_authority(parts) && has_values(&parts.headers)
}

fn has_target(parts: &Parts) -> bool {
    let target = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    match target {
        _ if parts.method == Method::CONNECT => parts.uri.authority().is_some(),
        Some("*") => parts.method == Method::OPTIONS,
        // A fragment is never sent (RFC 9110 §4.2.5).
        Some(target) => target.starts_with('/') && !target.contains('#'),
        None => false,
    }
}

/// Host and `:authority` do not differ; neither has user information.
fn has_authority(parts: &Parts) -> bool {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let (host, more) = (hosts.next(), hosts.next());
    let same = match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => true,
    };
    same && more.is_none() && authority.is_none_or(is_host) && host.is_none_or(is_host)
}

/// No value begins or ends with white space; other bytes are the library's to refuse.
fn has_values(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let lengths = headers.get_all(CONTENT_LENGTH);
    lengths.iter().all(|value| length(value.as_bytes()).is_some())
        && headers.values().all(|value| {
            let value = value.as_bytes();
            !is_space(value.first()) && !is_space(value.last())
        })
}
