//! What only access logs and exemplars need of a request.

use std::net::IpAddr;

use crate::http::h1::{Field, RequestHead};
use crate::logs::access::Subject;
use crate::paths::without_secrets;
use crate::proxy::worker::Worker;

/// What only some configurations need.
pub(super) struct Details {
    pub(super) subject: Option<Subject>,
    pub(super) trace_id: Option<[u8; 32]>,
}

/// Copies what is needed; usually nothing.
pub(super) fn details(
    worker: &Worker,
    peer: IpAddr,
    head: &RequestHead<'_>,
    path: Option<&str>,
) -> Option<Box<Details>> {
    if worker.access_log.is_none() && !worker.config.limits.exemplars {
        return None;
    }
    let field = |name| value(head.fields, name);
    let trace_id = worker.config.limits.exemplars.then(|| sampled_trace(field("traceparent")?));
    let subject = worker.access_log.is_some().then(|| Subject {
        peer,
        method: head.method.into(),
        path: path.map_or_else(|| "-".into(), |path| without_secrets(path).into()),
        version: Some(head.version),
        referer: field("referer").map(|value| without_query(value).into()),
        user_agent: field("user-agent").map(Box::from),
    });
    Some(Box::new(Details { subject, trace_id: trace_id.flatten() }))
}

/// A Referer without what may be secret: query, fragment, credentials, segments of the path.
fn without_query(referer: &[u8]) -> Vec<u8> {
    let bare = referer.split(|byte| b"?#".contains(byte)).next().unwrap_or_default();
    let scheme = bare.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    let (scheme, rest) = bare.split_at(scheme);
    let (authority, path) =
        rest.split_at(rest.iter().position(|b| *b == b'/').unwrap_or(rest.len()));
    let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
    let segments = path.split(|byte| *byte == b'/').map(|segment| {
        // Nobody can tell whether what is no UTF-8 is a secret.
        std::str::from_utf8(segment).map_or_else(|_| "{id}".to_owned(), without_secrets)
    });
    let path = segments.collect::<Vec<_>>().join("/");
    [scheme, host, path.as_bytes()].concat()
}

/// The value of the first field of this name.
pub(super) fn value<'a>(fields: &[Field<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// The trace id of a `traceparent` whose sampled flag is set (W3C Trace Context §3.2).
fn sampled_trace(value: &[u8]) -> Option<[u8; 32]> {
    let mut parts = std::str::from_utf8(value).ok()?.split('-');
    let (_version, trace, _parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let trace: [u8; 32] = trace.as_bytes().try_into().ok()?;
    (sampled && trace.iter().all(|b| is_hex(*b))).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referer_is_logged_without_what_may_be_secret() {
        for (sent, logged) in [
            ("https://a.example:8443/cart?token=1", "https://a.example:8443/cart"),
            ("https://user:word@a.example/", "https://a.example/"),
            ("https://a.example/me@b.example/x#y", "https://a.example/{id}/x"),
            ("https://app1-internal-7.a.example", "https://app1-internal-7.a.example"),
            ("/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "/reset/{id}"),
            ("https://a.example/caf\u{e9}/x", "https://a.example/caf\u{e9}/x"),
            ("", ""),
        ] {
            assert_eq!(without_query(sent.as_bytes()), logged.as_bytes());
        }
        assert_eq!(without_query(b"a://h\xff/\xff/x"), b"a://h\xff/{id}/x");
    }
}
