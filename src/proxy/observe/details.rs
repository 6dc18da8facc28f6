//! What only access logs and exemplars need of a request.

use std::net::IpAddr;

use crate::http::h1::{Field, RequestHead, Version};
use crate::http::rewrite::Forwarded;
use crate::logs::access::Subject;
use crate::metrics::wire::{HttpVersion, Scheme, Wire};
use crate::paths::without_secrets;
use crate::proxy::worker::Worker;

/// Copies what a line of the access log needs, where there is one.
pub(super) fn subject(
    worker: &Worker,
    peer: IpAddr,
    head: &RequestHead<'_>,
    path: Option<&str>,
) -> Option<Box<Subject>> {
    worker.access_log.as_ref()?;
    let field = |name| value(head.fields, name);
    Some(Box::new(Subject {
        peer,
        method: head.method.into(),
        path: path.map_or_else(|| "-".into(), |path| without_secrets(path).into()),
        version: Some(head.version),
        referer: field("referer").map(|value| without_query(value).into()),
        user_agent: field("user-agent").map(Box::from),
    }))
}

/// The trace that a request belongs to, if it is sampled and exemplars are wanted.
pub(super) fn trace_id(worker: &Worker, head: &RequestHead<'_>) -> Option<u128> {
    if worker.config.limits.exemplars {
        sampled_trace(value(head.fields, "traceparent")?)
    } else {
        None
    }
}

/// How a request came. What a front says of the scheme holds where fronts are believed; `own` is
/// that of our listener.
pub(super) fn wire(worker: &Worker, own: &str, head: &RequestHead<'_>) -> Wire {
    let told = match worker.config.forwarded {
        Forwarded::Append | Forwarded::Off => told_scheme(head.fields),
        Forwarded::Replace => None,
    };
    Wire {
        scheme: told.or_else(|| Scheme::parse(own.as_bytes())).unwrap_or(Scheme::Http),
        version: match head.version {
            Version::Http10 => HttpVersion::Http10,
            Version::Http11 => HttpVersion::Http11,
            Version::Http2 => HttpVersion::Http2,
        },
        is_answered: false,
    }
}

/// The scheme of the client's own request, as the first front has it (RFC 7239 §5.4, and
/// X-Forwarded-Proto). Never panics.
fn told_scheme(fields: &[Field<'_>]) -> Option<Scheme> {
    let first = |name| value(fields, name)?.split(|byte| *byte == b',').next();
    let of_forwarded = || {
        first("forwarded")?.split(|byte| *byte == b';').find_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at_checked(at)?;
            let value = value.get(1..)?.trim_ascii();
            let value =
                value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
            name.trim_ascii().eq_ignore_ascii_case(b"proto").then_some(value)
        })
    };
    let told = of_forwarded().or_else(|| first("x-forwarded-proto"));
    Scheme::parse(told?.trim_ascii())
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
fn sampled_trace(value: &[u8]) -> Option<u128> {
    let mut parts = std::str::from_utf8(value).ok()?.split('-');
    let (version, trace, _parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_one =
        version != "ff" && trace.len() == 32 && [version, trace, flags].map(is_hex) == [true; 3];
    let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let trace = u128::from_str_radix(trace, 16).ok()?;
    // All zeros are no trace.
    (is_one && is_sampled && trace != 0).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_counts_if_it_is_sampled_and_well_formed() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = "00f067aa0ba902b7";
        for (value, is_sampled) in [
            (format!("00-{trace}-{parent}-01"), true),
            (format!("00-{trace}-{parent}-03"), true),
            (format!("cc-{trace}-{parent}-01-more"), true),
            (format!("00-{trace}-{parent}-00"), false),
            (format!("ff-{trace}-{parent}-01"), false),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), false),
            (format!("00-{}-{parent}-01", "0".repeat(32)), false),
            (format!("00-+{}-{parent}-01", "1".repeat(31)), false),
            (format!("00-{trace}0-{parent}-01"), false),
            ("00-1-2-01".to_owned(), false),
            ("nonsense".to_owned(), false),
            (String::new(), false),
        ] {
            let expected = is_sampled.then_some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
            assert_eq!(sampled_trace(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(sampled_trace(b"00-\xff"), None);
    }

    #[test]
    fn the_first_front_says_which_scheme_the_client_used() {
        use Scheme::{Http, Https};
        for (name, value, scheme) in [
            ("x-forwarded-proto", "https", Some(Https)),
            ("X-Forwarded-Proto", "HTTPS, http", Some(Https)),
            ("X-Forwarded-Proto", " http ,https", Some(Http)),
            ("X-Forwarded-Proto", "wss", None),
            ("X-Forwarded-Proto", "", None),
            ("Forwarded", "for=192.0.2.1;proto=https;by=a, for=b;proto=http", Some(Https)),
            ("Forwarded", "Proto = \"https\"", Some(Https)),
            ("Forwarded", "for=192.0.2.1", None),
            ("Forwarded", ";=;proto", None),
            ("Accept", "https", None),
        ] {
            let fields = [Field { name, value: value.as_bytes() }];
            assert_eq!(told_scheme(&fields), scheme, "{name}: {value}");
        }
        let field = |name, value: &'static str| Field { name, value: value.as_bytes() };
        let both = [field("X-Forwarded-Proto", "http"), field("Forwarded", "proto=https")];
        assert_eq!(told_scheme(&both), Some(Https));
        let half = [field("X-Forwarded-Proto", "https"), field("Forwarded", "for=a")];
        assert_eq!(told_scheme(&half), Some(Https));
    }

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
