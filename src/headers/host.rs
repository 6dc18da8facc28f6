//! The Host field: present, single, valid.

use http::{HeaderValue, Version, header, request};

use crate::error::RequestError;

/// > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
/// > that lacks a Host header field and to any request message that contains more than one Host
/// > header field line or a Host header field with an invalid field value. (RFC 9112 §3.2)
pub(super) fn check(head: &request::Parts, hosts: usize) -> Result<(), RequestError> {
    match (hosts, head.version) {
        (0, Version::HTTP_09 | Version::HTTP_10) => Ok(()),
        (0, _) => Err(RequestError::HostMissing),
        (1, _) => {
            let host = head.headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
            if is_host(host) { Ok(()) } else { Err(RequestError::HostInvalid) }
        }
        _ => Err(RequestError::HostRepeated),
    }
}

/// `uri-host [ ":" port ]` of RFC 3986 §3.2.2; empty is allowed.
fn is_host(host: &[u8]) -> bool {
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
    name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(b))
        && is_port(port)
}

fn is_port(after_name: &[u8]) -> bool {
    match after_name.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}
