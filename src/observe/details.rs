//! What only access logs and exemplars need of a request.

use std::net::IpAddr;

use crate::access_log::Subject;
use crate::h1::{Field, RequestHead};
use crate::worker::Worker;

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
) -> Option<Box<Details>> {
    if worker.access_log.is_none() && !worker.config.limits.exemplars {
        return None;
    }
    let field = |name| value(head.fields, name);
    let trace_id = worker.config.limits.exemplars.then(|| sampled_trace(field("traceparent")?));
    let subject = worker.access_log.is_some().then(|| Subject {
        peer,
        method: head.method.into(),
        path: head.path().into(),
        version: head.version,
        referer: field("referer").map(Box::from),
        user_agent: field("user-agent").map(Box::from),
    });
    Some(Box::new(Details { subject, trace_id: trace_id.flatten() }))
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
