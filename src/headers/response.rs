//! A response's head and trailers on their way to the client.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Version, response};

use super::{KEEP_ALIVE, Named, PROXY_CONNECTION, Scan, strip_hop_by_hop};

/// What a response head says beside what is forwarded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseNotes {
    /// Fields named by Connection, to be dropped from trailers too.
    pub named: Named,
    /// Seconds of `Keep-Alive: timeout=N`: how long the upstream keeps an idle connection.
    pub keep_alive_seconds: Option<u64>,
}

/// Rewrites a response head for the client.
///
/// # Errors
///
/// The reason, in words, why the framing is one that cannot be forwarded; ends as a 502.
///
/// # Source
///
/// RFC 9110 §7.6.1; RFC 9112 §6.1 and §6.3: a message with both Transfer-Encoding and
/// Content-Length must lose the latter.
pub fn prepare_response(head: &mut response::Parts) -> Result<ResponseNotes, &'static str> {
    let scan = Scan::of(&head.headers);
    if scan.codings > 0 {
        let is_plain = |v: &HeaderValue| {
            let coding = v.as_bytes().trim_ascii();
            coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity")
        };
        if scan.codings > 1 || !head.headers.get_all(header::TRANSFER_ENCODING).iter().all(is_plain)
        {
            return Err("its transfer coding is not just chunked");
        }
        head.headers.remove(header::CONTENT_LENGTH);
    } else if scan.lengths > 0 {
        single_length(&mut head.headers, scan.lengths)?;
    }
    let keep_alive_seconds = if scan.hop_by_hop { keep_alive_seconds(&head.headers) } else { None };
    let named = strip_hop_by_hop(&mut head.headers, &scan);
    if scan.te {
        head.headers.remove(header::TE);
    }
    head.version = Version::HTTP_11;
    Ok(ResponseNotes { named, keep_alive_seconds })
}

/// `Content-Length: 5, 5` and two equal lines become one (RFC 9110 §8.6).
fn single_length(headers: &mut HeaderMap, lines: usize) -> Result<(), &'static str> {
    let Some(first) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(());
    };
    if lines == 1 && first.as_bytes().iter().all(u8::is_ascii_digit) && !first.is_empty() {
        return Ok(());
    }
    let mut only: Option<u64> = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for item in value.as_bytes().split(|b| *b == b',') {
            let digits = std::str::from_utf8(item.trim_ascii()).unwrap_or("");
            let length = digits.parse().ok().filter(|_| !digits.starts_with('+'));
            match (only, length) {
                (_, None) => return Err("its Content-Length is invalid"),
                (Some(known), Some(length)) if known != length => {
                    return Err("its Content-Length contradicts itself");
                }
                (_, length) => only = length,
            }
        }
    }
    if let Some(length) = only {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

fn keep_alive_seconds(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(&KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        if is_timeout { seconds.trim().parse().ok() } else { None }
    })
}

/// Drops the trailer fields that a recipient could mistake for header fields.
///
/// # Source
///
/// RFC 9110 §6.5.1: framing, routing, authentication, request modifiers, content format.
pub fn prepare_trailers(trailers: &mut HeaderMap, named: &Named) {
    let forbidden = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        header::WWW_AUTHENTICATE,
        header::COOKIE,
        header::SET_COOKIE,
        header::CACHE_CONTROL,
        header::MAX_FORWARDS,
        header::EXPECT,
        header::RANGE,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
    ];
    for name in forbidden.iter().chain([&KEEP_ALIVE, &PROXY_CONNECTION]).chain(named) {
        trailers.remove(name);
    }
}
