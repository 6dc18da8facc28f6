//! The one list of field names that mean something to a proxy, in whatever spelling.

use super::Named;

/// What a field name means. Heads and trailers of both protocols ask here and nowhere else.
///
/// | kind | request head | response head | trailers, both ways |
/// | --- | --- | --- | --- |
/// | `Host` … `ContentLength` | read, and mostly rebuilt | read, and mostly rebuilt | dropped |
/// | `Forwarded*` | as `--forwarded` says | passes | dropped |
/// | `HeadOnly` | passes | passes | dropped |
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
    /// The client's to say, but never as a trailer (RFC 9110 §6.5.1): authentication, request
    /// modifiers, response controls, content format.
    HeadOnly,
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
    ("age", Kind::HeadOnly),
    ("host", Kind::Host),
    ("date", Kind::Date),
    ("vary", Kind::HeadOnly),
    ("range", Kind::HeadOnly),
    ("expect", Kind::Expect),
    ("cookie", Kind::HeadOnly),
    ("origin", Kind::HeadOnly),
    ("pragma", Kind::HeadOnly),
    ("accept", Kind::HeadOnly),
    ("upgrade", Kind::Upgrade),
    ("cookie2", Kind::HeadOnly),
    ("expires", Kind::HeadOnly),
    ("referer", Kind::HeadOnly),
    ("trailer", Kind::HeadOnly),
    ("warning", Kind::HeadOnly),
    ("location", Kind::HeadOnly),
    ("x-scheme", Kind::ForwardedScheme),
    ("client-ip", Kind::ForwardedOther),
    ("forwarded", Kind::Forwarded),
    ("x-arr-ssl", Kind::ForwardedScheme),
    ("x-real-ip", Kind::ForwardedOther),
    ("connection", Kind::Connection),
    ("keep-alive", Kind::KeepAlive),
    ("set-cookie", Kind::HeadOnly),
    ("remote-user", Kind::ForwardedOther),
    ("retry-after", Kind::HeadOnly),
    ("set-cookie2", Kind::HeadOnly),
    ("x-client-ip", Kind::ForwardedOther),
    ("x-forwarded", Kind::ForwardedOther),
    ("x-remote-ip", Kind::ForwardedOther),
    ("content-type", Kind::ContentType),
    ("max-forwards", Kind::MaxForwards),
    ("x-url-scheme", Kind::ForwardedScheme),
    ("authorization", Kind::HeadOnly),
    ("cache-control", Kind::HeadOnly),
    ("content-range", Kind::HeadOnly),
    ("fly-client-ip", Kind::ForwardedOther),
    ("forwarded-for", Kind::ForwardedOther),
    ("x-http-method", Kind::HeadOnly),
    ("x-remote-addr", Kind::ForwardedOther),
    ("x-remote-user", Kind::ForwardedOther),
    ("x-rewrite-url", Kind::ForwardedOther),
    ("content-length", Kind::ContentLength),
    ("http2-settings", Kind::HopByHop),
    ("true-client-ip", Kind::ForwardedOther),
    ("x-proxyuser-ip", Kind::ForwardedOther),
    ("x-webauth-user", Kind::ForwardedOther),
    ("front-end-https", Kind::ForwardedScheme),
    ("x-forwarded-for", Kind::ForwardedFor),
    ("x-forwarded-ssl", Kind::ForwardedScheme),
    ("cf-connecting-ip", Kind::ForwardedOther),
    ("content-encoding", Kind::HeadOnly),
    ("content-language", Kind::HeadOnly),
    ("content-location", Kind::HeadOnly),
    ("fastly-client-ip", Kind::ForwardedOther),
    ("proxy-connection", Kind::HopByHop),
    ("www-authenticate", Kind::HeadOnly),
    ("x-azure-clientip", Kind::ForwardedOther),
    ("x-azure-socketip", Kind::ForwardedOther),
    ("x-forwarded-host", Kind::ForwardedHost),
    ("x-forwarded-port", Kind::ForwardedScheme),
    ("x-originating-ip", Kind::ForwardedOther),
    ("transfer-encoding", Kind::TransferEncoding),
    ("x-forwarded-proto", Kind::ForwardedProto),
    ("x-method-override", Kind::HeadOnly),
    ("proxy-authenticate", Kind::HopByHop),
    ("x-forwarded-scheme", Kind::ForwardedScheme),
    ("content-disposition", Kind::HeadOnly),
    ("proxy-authorization", Kind::HopByHop),
    ("x-appengine-user-ip", Kind::ForwardedOther),
    ("x-cluster-client-ip", Kind::ForwardedOther),
    ("x-forwarded-protocol", Kind::ForwardedScheme),
    ("x-http-host-override", Kind::ForwardedOther),
    ("x-http-method-override", Kind::HeadOnly),
    ("x-envoy-external-address", Kind::ForwardedOther),
    ("cloudfront-forwarded-proto", Kind::ForwardedScheme),
];

/// Beginnings of names that have too many members to list.
const PREFIXES: &[(&str, Kind)] = &[
    ("x-forwarded-", Kind::ForwardedOther),
    ("x-original-", Kind::ForwardedOther),
    ("x-auth-request-", Kind::ForwardedOther),
    ("ssl-client-", Kind::ForwardedOther),
    ("x-ssl-client-", Kind::ForwardedOther),
    ("wl-proxy-", Kind::ForwardedOther),
    ("if-", Kind::HeadOnly),
    ("sec-", Kind::HeadOnly),
    ("accept-", Kind::HeadOnly),
    ("access-control-", Kind::HeadOnly),
];

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
        let is_respelt = || known.bytes().eq(name.bytes().map(fold));
        if name.eq_ignore_ascii_case(known) {
            Some(self)
        } else if is_respelt() {
            Some(self.of_alias())
        } else {
            None
        }
    }

    fn of_alias(self) -> Self {
        match self {
            // The client's to say in any spelling, though not behind the content.
            Self::Date | Self::ContentType | Self::HeadOnly => Self::HeadOnly,
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
            Self::Other => Self::Other,
        }
    }
}

/// As backends fold names that make variables of fields: CGI turns `-` into `_`, PHP `.` too, and
/// some servers whatever is neither letter nor digit.
fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Tells whether a trailer field may be forwarded, in either direction and in every `--forwarded`
/// mode: a recipient that merges trailers into the head must not learn anything from them that
/// decides about framing, routing, authentication or who is asking. `named` is what Connection
/// named.
pub fn passes_as_trailer(name: &str, named: &Named) -> bool {
    Kind::of(name) == Kind::Other
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
