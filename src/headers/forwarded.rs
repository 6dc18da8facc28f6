//! Fields that tell of the way a request took: `X-Forwarded-*` and `Max-Forwards`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request};

use super::{Downstream, Forwarded};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const MAX_FORWARDS: HeaderName = header::MAX_FORWARDS;

/// Adds the peer, the scheme and the host to what came in, as the mode says.
///
/// `present`: whether there is any `X-Forwarded-*` field; looking for each costs a hash.
pub(super) fn add(headers: &mut HeaderMap, mut present: bool, downstream: Downstream<'_>) {
    match downstream.forwarded {
        Forwarded::Off => return,
        Forwarded::Append => {}
        Forwarded::Replace => {
            for name in [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST] {
                headers.remove(name);
            }
            headers.remove(header::FORWARDED);
            present = false;
        }
    }
    if !present {
        // Grown once: a map of one field would grow three times. If it cannot, append says so.
        let _reserved = headers.try_reserve(3);
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.append(X_FORWARDED_HOST.clone(), host);
        }
        headers.append(X_FORWARDED_FOR.clone(), downstream.peer.clone());
        headers.append(X_FORWARDED_PROTO.clone(), HeaderValue::from_static("http"));
        return;
    }
    let peer = if headers.contains_key(&X_FORWARDED_FOR) {
        joined(headers, downstream.peer)
    } else {
        downstream.peer.clone()
    };
    headers.insert(X_FORWARDED_FOR.clone(), peer);
    headers.entry(X_FORWARDED_PROTO.clone()).or_insert_with(|| HeaderValue::from_static("http"));
    if !headers.contains_key(&X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST.clone(), host);
    }
}

/// All X-Forwarded-For lines and the peer as one list: many backends read only one line.
fn joined(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut list = Vec::new();
    for value in headers.get_all(&X_FORWARDED_FOR).iter().chain([peer]) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value.as_bytes());
    }
    // Each part is a valid field value, so the list is one.
    HeaderValue::from_bytes(&list).unwrap_or_else(|_| peer.clone())
}

/// What Max-Forwards asks of a proxy (RFC 9110 §7.6.2); only OPTIONS and TRACE are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxForwards {
    /// Forward the request.
    Forward,
    /// This proxy is the final recipient.
    AnswerHere,
}

/// Decrements Max-Forwards where it counts.
pub fn max_forwards(head: &mut request::Parts) -> MaxForwards {
    if !matches!(head.method, Method::OPTIONS | Method::TRACE) {
        return MaxForwards::Forward;
    }
    let value = head.headers.get(MAX_FORWARDS).and_then(|v| v.to_str().ok());
    match value.and_then(|v| v.trim().parse::<u32>().ok()) {
        Some(0) => MaxForwards::AnswerHere,
        Some(hops) => {
            head.headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
            MaxForwards::Forward
        }
        None => MaxForwards::Forward,
    }
}
