//! The one list of field names that mean something to a proxy, in whatever spelling.

use super::Named;
use crate::http::h1::{Field, MAX_FIELDS};

/// What a field name means. Heads and trailers of both protocols ask here and nowhere else.
///
/// | kind | request head | response head | trailers, both ways |
/// | --- | --- | --- | --- |
/// | `Host` … `ContentLength` | read, and mostly rebuilt | read, and mostly rebuilt | dropped |
/// | `Forwarded*` | as `--forwarded` says | passes | dropped |
/// | of [`HEAD_ONLY`] | passes | passes | dropped |
/// | `Alias` | dropped | passes | dropped |
/// | `Other` | passes | passes | passes |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Host,
    Te,
    Date,
    Expect,
    Upgrade,
    Connection,
    ContentType,
    MaxForwards,
    ContentLength,
    TransferEncoding,
    KeepAlive,
    /// Hop-by-hop, and of no further interest.
    HopByHop,
    Forwarded,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    /// Another way of a proxy to say which scheme or port the client used.
    ForwardedScheme,
    /// Anything else that apps believe because a proxy says it: address, host, path, user.
    ForwardedOther,
    /// Another spelling of a name that is not the client's to say: `Content_Length`.
    Alias,
    Other,
}

/// The names, the shortest first.
///
/// The family of `Forwarded` is what servers, frameworks and proxies take for the word of a proxy:
/// Rack and Rails, Gunicorn, Werkzeug, Spring, Symfony, IIS; nginx, Envoy, Traefik, Caddy,
/// oauth2-proxy, and the load balancers of the large clouds.
const NAMES: &[(&str, Kind)] = &[
    ("te", Kind::Te),
    ("host", Kind::Host),
    ("date", Kind::Date),
    ("proxy", Kind::ForwardedOther),
    ("expect", Kind::Expect),
    ("upgrade", Kind::Upgrade),
    ("x-scheme", Kind::ForwardedScheme),
    ("client-ip", Kind::ForwardedOther),
    ("forwarded", Kind::Forwarded),
    ("x-arr-ssl", Kind::ForwardedScheme),
    ("x-real-ip", Kind::ForwardedOther),
    ("connection", Kind::Connection),
    ("keep-alive", Kind::KeepAlive),
    ("x-client-ip", Kind::ForwardedOther),
    ("x-forwarded", Kind::ForwardedOther),
    ("x-auth-user", Kind::ForwardedOther),
    ("content-type", Kind::ContentType),
    ("max-forwards", Kind::MaxForwards),
    ("x-url-scheme", Kind::ForwardedScheme),
    ("fly-client-ip", Kind::ForwardedOther),
    ("forwarded-for", Kind::ForwardedOther),
    ("x-rewrite-url", Kind::ForwardedOther),
    ("x-script-name", Kind::ForwardedOther),
    ("content-length", Kind::ContentLength),
    ("http2-settings", Kind::HopByHop),
    ("true-client-ip", Kind::ForwardedOther),
    ("x-proxyuser-ip", Kind::ForwardedOther),
    ("forwarded-host", Kind::ForwardedScheme),
    ("forwarded-port", Kind::ForwardedScheme),
    ("front-end-https", Kind::ForwardedScheme),
    ("x-forwarded-for", Kind::ForwardedFor),
    ("x-forwarded-ssl", Kind::ForwardedScheme),
    ("forwarded-proto", Kind::ForwardedScheme),
    ("fastly-client-ip", Kind::ForwardedOther),
    ("proxy-connection", Kind::HopByHop),
    ("x-azure-clientip", Kind::ForwardedOther),
    ("x-azure-socketip", Kind::ForwardedOther),
    ("x-forwarded-host", Kind::ForwardedHost),
    ("x-forwarded-port", Kind::ForwardedScheme),
    ("x-originating-ip", Kind::ForwardedOther),
    ("x-envoy-internal", Kind::ForwardedOther),
    ("transfer-encoding", Kind::TransferEncoding),
    ("x-forwarded-proto", Kind::ForwardedProto),
    ("proxy-authenticate", Kind::HopByHop),
    ("x-forwarded-scheme", Kind::ForwardedScheme),
    ("proxy-authorization", Kind::HopByHop),
    ("x-appengine-user-ip", Kind::ForwardedOther),
    ("x-cluster-client-ip", Kind::ForwardedOther),
    ("x-forwarded-protocol", Kind::ForwardedScheme),
    ("x-http-host-override", Kind::ForwardedOther),
    ("x-envoy-external-address", Kind::ForwardedOther),
    ("cloudfront-forwarded-proto", Kind::ForwardedScheme),
];

/// Beginnings of names that have too many members to list.
const PREFIXES: &[(&str, Kind)] = &[
    ("x-forwarded-", Kind::ForwardedOther),
    ("x-original-", Kind::ForwardedOther),
    ("x-auth-request-", Kind::ForwardedOther),
    ("ssl-client-", Kind::ForwardedOther),
    ("wl-proxy-", Kind::ForwardedOther),
    ("x-ssl-", Kind::ForwardedOther),
    ("remote-", Kind::ForwardedOther),
    ("x-remote-", Kind::ForwardedOther),
    ("x-webauth-", Kind::ForwardedOther),
    ("x-client-cert", Kind::ForwardedOther),
    ("cf-connecting-", Kind::ForwardedOther),
    ("x-amzn-oidc-", Kind::ForwardedOther),
    ("x-ms-client-principal", Kind::ForwardedOther),
    ("x-goog-authenticated-", Kind::ForwardedOther),
];

/// Names that anybody may say, but never as a trailer (RFC 9110 §6.5.1): authentication, request
/// modifiers, response controls, content format. Heads do not ask for them.
const HEAD_ONLY: &[&str] = &[
    "accept",
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "expires",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "trailer",
    "vary",
    "warning",
    "www-authenticate",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Beginnings of such names.
const HEAD_ONLY_PREFIXES: &[&str] = &["if-", "sec-", "accept-", "access-control-"];

const MAX_LENGTH: usize = 26;

/// The names of one length: from where in [`NAMES`], and with which first letters.
#[derive(Clone, Copy)]
struct Bucket {
    from: usize,
    to: usize,
    letters: u32,
}

/// Most names that pass differ from all of the list in length or first letter.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and would tell")]
static BUCKETS: [Bucket; MAX_LENGTH + 1] = {
    let mut buckets = [Bucket { from: 0, to: 0, letters: 0 }; MAX_LENGTH + 1];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].0.as_bytes();
        let bucket = &mut buckets[name.len()];
        if bucket.letters == 0 {
            bucket.from = at;
        }
        assert!(bucket.letters == 0 || bucket.to == at, "the list is ordered by length");
        bucket.to = at + 1;
        bucket.letters |= letter(name[0]);
        at += 1;
    }
    buckets
};

#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and would tell")]
static PREFIX_LETTERS: u32 = {
    let (mut letters, mut at) = (0, 0);
    while at < PREFIXES.len() {
        letters |= letter(PREFIXES[at].0.as_bytes()[0]);
        at += 1;
    }
    letters
};

/// A letter in either case as one bit.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

impl Kind {
    /// Classifies a name. Never panics.
    pub(super) fn of(name: &str) -> Self {
        let Some(first) = name.as_bytes().first().map(u8::to_ascii_lowercase) else {
            return Self::Other;
        };
        let begins = |known: &str| known.as_bytes().first() == Some(&first);
        if let Some(bucket) = BUCKETS.get(name.len())
            && bucket.letters & letter(first) != 0
        {
            for (known, kind) in NAMES.get(bucket.from..bucket.to).unwrap_or_default() {
                if begins(known)
                    && let Some(kind) = kind.if_same(name, known)
                {
                    return kind;
                }
            }
        }
        if PREFIX_LETTERS & letter(first) != 0 {
            for (known, kind) in PREFIXES {
                if begins(known)
                    && let Some(start) = name.get(..known.len())
                    && let Some(kind) = kind.if_same(start, known)
                {
                    return kind;
                }
            }
        }
        Self::Other
    }

    /// The kind itself for the name as listed, in any case; what its alias is for another spelling.
    fn if_same(self, name: &str, known: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(known) {
            Some(self)
        } else if is_spelt(name.as_bytes(), known) {
            Some(self.of_alias())
        } else {
            None
        }
    }

    fn of_alias(self) -> Self {
        match self {
            // The client's to say in any spelling.
            Self::Date | Self::ContentType | Self::Other => Self::Other,
            Self::Host
            | Self::Te
            | Self::Expect
            | Self::Upgrade
            | Self::Connection
            | Self::MaxForwards
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::KeepAlive
            | Self::HopByHop
            | Self::Forwarded
            | Self::ForwardedFor
            | Self::ForwardedHost
            | Self::ForwardedProto
            | Self::ForwardedScheme
            | Self::ForwardedOther
            | Self::Alias => Self::Alias,
        }
    }
}

/// The kinds of a head's fields: each name is classified once, and its kind asked for twice.
pub(super) struct Kinds([Kind; MAX_FIELDS]);

impl Default for Kinds {
    fn default() -> Self {
        Self([Kind::Other; MAX_FIELDS])
    }
}

impl Kinds {
    pub(super) fn of(fields: &[Field<'_>]) -> Self {
        let mut kinds = Self::default();
        for (kind, field) in kinds.0.iter_mut().zip(fields) {
            *kind = Kind::of(field.name);
        }
        kinds
    }

    /// The same fields with their kinds. A head of HTTP/2 may have more than are remembered.
    pub(super) fn with<'k, 'a>(
        &'k self,
        fields: &'k [Field<'a>],
    ) -> impl Iterator<Item = (Kind, &'k Field<'a>)> {
        fields.iter().enumerate().map(|(index, field)| {
            let known = self.0.get(index).copied();
            (known.unwrap_or_else(|| Kind::of(field.name)), field)
        })
    }
}

/// As backends fold names that make variables of fields: CGI turns `-` into `_`, PHP `.` too, and
/// some servers whatever is neither letter nor digit.
fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Tells whether a name stands in [`HEAD_ONLY`], in any spelling.
fn is_head_only(name: &str) -> bool {
    let begins = |known: &&str| {
        name.as_bytes().get(..known.len()).is_some_and(|start| is_spelt(start, known))
    };
    HEAD_ONLY.iter().any(|known| name.len() == known.len() && is_spelt(name.as_bytes(), known))
        || HEAD_ONLY_PREFIXES.iter().any(begins)
}

/// Tells whether `name` is some spelling of `known`, which has the same length.
fn is_spelt(name: &[u8], known: &str) -> bool {
    known.bytes().eq(name.iter().map(|byte| fold(*byte)))
}

/// Tells whether HTTP/2 has no such field: what is said of the connection, and Host, which is
/// `:authority` there (RFC 9113 §8.2.2 and §8.3.1).
pub(crate) fn is_for_http1_only(name: &str) -> bool {
    matches!(Kind::of(name), Kind::Connection | Kind::TransferEncoding | Kind::Host)
        || name.eq_ignore_ascii_case("upgrade")
}

/// Tells whether a trailer field may be forwarded, in either direction and in every `--forwarded`
/// mode: a recipient that merges trailers into the head must not learn anything from them that
/// decides about framing, routing, authentication or who is asking. `named` is what Connection
/// named.
pub(crate) fn passes_as_trailer(name: &str, named: &Named) -> bool {
    Kind::of(name) == Kind::Other
        && !is_head_only(name)
        && !named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_kind_in_every_spelling() {
        for (name, kind) in NAMES {
            for spelt in [(*name).to_owned(), name.to_uppercase()] {
                assert_eq!(Kind::of(&spelt), *kind, "{spelt}");
            }
            for separator in ["_", ".", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "~"]
            {
                let spelt = name.replacen('-', separator, 1);
                if spelt != *name {
                    assert_eq!(Kind::of(&spelt), kind.of_alias(), "{spelt}");
                    assert_eq!(Kind::of(&spelt.to_uppercase()), kind.of_alias(), "{spelt}");
                }
            }
        }
        for (prefix, kind) in PREFIXES {
            assert_eq!(Kind::of(&format!("{prefix}anything")), *kind);
            assert_eq!(Kind::of(&format!("{prefix}any_thing").to_uppercase()), *kind);
            assert_eq!(Kind::of(&format!("{}x", prefix.replace('-', "_"))), kind.of_alias());
        }
    }

    #[test]
    fn what_belongs_to_heads_is_no_trailer_in_any_spelling() {
        let prefixed = HEAD_ONLY_PREFIXES.iter().map(|prefix| format!("{prefix}x"));
        for name in HEAD_ONLY.iter().map(|name| (*name).to_owned()).chain(prefixed) {
            for spelt in [name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")] {
                assert!(!passes_as_trailer(&spelt, &Named::new()), "{spelt}");
                assert_ne!(Kind::of(&spelt), Kind::Alias, "{spelt}");
            }
        }
    }

    #[test]
    fn names_that_only_resemble_one_are_others() {
        for name in [
            "",
            "x",
            "-",
            "_",
            "hos",
            "hosts",
            "h-st",
            "xforwardedfor",
            "x-forward-for",
            "x-realip",
            "my-host",
            "content-len",
            "contentlength",
            "x-sum",
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "content-digest",
            "content-md5",
            "etag",
            "digest",
            "server-timing",
            "x-amz-checksum-crc32c",
            "authentication-info",
            "x-request-id",
            "traceparent",
            "forward",
            "if",
            "x-original",
            "user-agent",
            "signature",
        ] {
            assert_eq!(Kind::of(name), Kind::Other, "{name}");
        }
    }
}
