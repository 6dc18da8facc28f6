//! A request's head on its way to the upstream.

use super::names::Kinds;
use super::{ConnectionOptions, Forwarded, Kind, Named, first, to_owned};
use crate::http::h1::{
    BodyLength, RequestHead, Target, Version, is_host, items, length, plain_length, request_line,
};
use crate::http::head::{Fields, RequestLine, RequestWriter};
use crate::http::rewrite::RequestError;

/// Who sent the request, and what is to be said of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The client's IP address.
    pub address: &'a str,
    /// `http` or `https`: how the client reached us.
    pub scheme: &'static str,
    /// The `--forwarded` mode.
    pub forwarded: Forwarded,
    /// Whether to add `Via` (off by default: nginx stops compressing when it sees one).
    pub via: bool,
    /// The upstream's host and port, for a request of HTTP/1.0 that names none.
    pub upstream: &'a str,
}

/// What a request head says beside what is forwarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestFields<'a> {
    /// Whether the client wants to keep its connection.
    pub keep_alive: bool,
    /// The protocols that the client would switch to; `None` without a valid request to.
    pub upgrade: Option<&'a [u8]>,
    /// The client waits for a 100 before it sends its body.
    pub expects_continue: bool,
    /// Content-Type says gRPC: errors have to be gRPC statuses. Not of gRPC-Web.
    pub is_grpc: bool,
    /// Fields that a Connection field named, to be dropped from the trailers as well.
    pub named: Named,
}

/// Rewrites a request head: `out` gets all of it.
///
/// # Errors
///
/// A [`RequestError`] for a request that must be refused; `out` is then not to be sent.
///
/// # Source
///
/// RFC 9110 §7.6, RFC 9112 §3.2 and §6.
pub fn prepare_request<'a>(
    head: &RequestHead<'a>,
    peer: Peer<'a>,
    out: &mut impl RequestWriter,
) -> Result<RequestFields<'a>, RequestError> {
    if head.method == "CONNECT" {
        // RFC 9113 §8.5: without an authority it is malformed.
        let is_malformed = head.version == Version::Http2 && head.authority.is_none();
        return Err(if is_malformed {
            RequestError::HostMissing
        } else {
            RequestError::ConnectUnsupported
        });
    }
    let target = head.target().ok_or(RequestError::TargetInvalid)?;
    let from_target = target.authority.or(head.authority);
    let scan = Scan::of(head)?;
    let authority = scan.authority(head, from_target)?;
    // Host, or that of an absolute-form target; else the upstream's.
    let named = if authority.is_empty() { peer.upstream.as_bytes() } else { authority };
    let (method, scheme) = (head.method, peer.scheme);
    out.request_line(RequestLine { method, target, scheme, authority: named })?;
    // RFC 9112 §3.2: what goes on in HTTP/1.1 must have a Host.
    let host = from_target.or((scan.hosts == 0).then_some(peer.upstream));
    scan.write(head, host, peer, out);
    add_own(head, &scan, authority, peer, out);
    out.end();
    Ok(RequestFields {
        keep_alive: scan.keep_alive(head.version),
        upgrade: scan.upgrade(head.version),
        // RFC 9110 §10.1.1: only HTTP/1.1 and later, and only where there is a body to wait with.
        expects_continue: scan.expects && head.version != Version::Http10 && !head.body.is_empty(),
        is_grpc: scan.is_grpc,
        named: to_owned(&scan.connection.named),
    })
}

/// What one pass over the fields found.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of flags, filled in one place")]
struct Scan<'a> {
    kinds: Kinds,
    hosts: usize,
    host: &'a [u8],
    connection: ConnectionOptions<'a>,
    te_trailers: bool,
    upgrade: Option<&'a [u8]>,
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    /// Something other than the three may say scheme or host.
    claims: bool,
    expects: bool,
    is_grpc: bool,
}

impl<'a> Scan<'a> {
    fn of(head: &RequestHead<'a>) -> Result<Self, RequestError> {
        let mut scan = Self::default();
        let kinds = Kinds::of(head.fields);
        for (kind, field) in kinds.with(head.fields) {
            // RFC 9113 §8.2.1. Of HTTP/1 the parser has removed it.
            if head.version == Version::Http2 && field.value.trim_ascii() != field.value {
                return Err(RequestError::FieldInvalid);
            }
            match kind {
                Kind::Host => {
                    scan.hosts += 1;
                    scan.host = field.value;
                }
                Kind::Connection => scan.connection.add(field.value),
                Kind::Te => scan.te_trailers |= wants_trailers(field.value),
                Kind::Upgrade => scan.upgrade = Some(field.value),
                Kind::ForwardedFor => scan.forwarded_for = true,
                Kind::ForwardedHost => scan.forwarded_host = true,
                Kind::ForwardedProto => scan.forwarded_proto = true,
                Kind::Forwarded | Kind::ForwardedScheme => scan.claims = true,
                Kind::Expect => scan.expects |= field.value.eq_ignore_ascii_case(b"100-continue"),
                // The parser of HTTP/1 has looked at it, the library takes an empty one for 0.
                Kind::ContentLength if length(field.value).is_none() => {
                    return Err(RequestError::LengthInvalid);
                }
                Kind::ContentType => scan.is_grpc |= is_grpc(field.value),
                _ => {}
            }
        }
        scan.kinds = kinds;
        Ok(scan)
    }

    /// > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
    /// > message that lacks a Host header field and to any request message that contains more
    /// > than one Host header field line or a Host header field with an invalid field value.
    /// > (RFC 9112 §3.2)
    ///
    /// RFC 9113 §8.3.1: HTTP/2 may say it in `:authority` instead. Without either the app would
    /// get a Host that nobody asked for.
    fn authority(
        &self,
        head: &RequestHead<'a>,
        from_target: Option<&'a str>,
    ) -> Result<&'a [u8], RequestError> {
        match (self.hosts, head.version) {
            (0, Version::Http11) => return Err(RequestError::HostMissing),
            (0, Version::Http2) if from_target.is_none() => return Err(RequestError::HostMissing),
            (0 | 1, _) => {}
            _ => return Err(RequestError::HostRepeated),
        }
        if !is_host(self.host) {
            return Err(RequestError::HostInvalid);
        }
        let Some(target) = from_target else {
            return Ok(self.host);
        };
        // RFC 9113 §8.3.1: Host and :authority must not differ. In HTTP/1 the target's wins.
        let differs = self.hosts == 1 && !target.as_bytes().eq_ignore_ascii_case(self.host);
        if head.version == Version::Http2 && (differs || !is_host(target.as_bytes())) {
            return Err(RequestError::HostInvalid);
        }
        Ok(target.as_bytes())
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.connection.close && (version != Version::Http10 || self.connection.keep_alive)
    }

    /// RFC 9110 §7.8: only with the connection option, only from HTTP/1.1. `h2c` is not forwarded:
    /// RFC 9113 removed it, and it was used to smuggle requests.
    fn upgrade(&self, version: Version) -> Option<&'a [u8]> {
        let upgrade = self.upgrade?;
        let is_h2c = items(upgrade).any(|item| item.eq_ignore_ascii_case(b"h2c"));
        (self.connection.upgrade && version == Version::Http11 && !is_h2c).then_some(upgrade)
    }

    fn write(
        &self,
        head: &RequestHead<'a>,
        host: Option<&str>,
        peer: Peer<'_>,
        out: &mut impl Fields,
    ) {
        if let Some(host) = host {
            out.field("Host", host.as_bytes());
        }
        let mut has_length = false;
        for (kind, field) in self.kinds.with(head.fields) {
            let passes = match kind {
                Kind::Host => host.is_none(),
                Kind::ContentLength => {
                    if !std::mem::replace(&mut has_length, true) {
                        out.field(field.name, plain_length(field.value));
                    }
                    false
                }
                Kind::Expect => head.version != Version::Http10,
                Kind::ForwardedFor => {
                    peer.forwarded == Forwarded::Off && !self.connection.names(field.name)
                }
                Kind::Forwarded
                | Kind::ForwardedHost
                | Kind::ForwardedProto
                | Kind::ForwardedScheme
                | Kind::ForwardedOther => {
                    peer.forwarded != Forwarded::Replace && !self.connection.names(field.name)
                }
                Kind::MaxForwards => match hops(head) {
                    Some(hops) => {
                        out.field(field.name, (hops.saturating_sub(1)).to_string().as_bytes());
                        false
                    }
                    None => !self.connection.names(field.name),
                },
                Kind::Te
                | Kind::Upgrade
                | Kind::Connection
                | Kind::TransferEncoding
                | Kind::KeepAlive
                | Kind::HopByHop
                | Kind::Alias => false,
                Kind::Date | Kind::ContentType | Kind::Other => !self.connection.names(field.name),
            };
            if passes {
                out.field(field.name, field.value);
            }
        }
    }

    /// Tells whether anything that goes on, beside X-Forwarded-Proto and -Host, says what
    /// `parameter` of `Forwarded` says.
    fn claims(&self, head: &RequestHead<'_>, parameter: &str) -> bool {
        self.claims
            && head.fields.iter().any(|field| {
                let claims = match Kind::of(field.name) {
                    Kind::ForwardedScheme => parameter == "proto",
                    Kind::Forwarded => says(field.value, parameter),
                    _ => false,
                };
                claims && !self.connection.names(field.name)
            })
    }
}

/// Tells whether a `Forwarded` field has a parameter (RFC 7239 §4).
fn says(value: &[u8], parameter: &str) -> bool {
    let mut quoted = false;
    let pairs = value.split(|byte| {
        quoted ^= *byte == b'"';
        !quoted && matches!(byte, b',' | b';')
    });
    let mut names = pairs.filter_map(|pair| pair.split(|byte| *byte == b'=').next());
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(parameter.as_bytes()))
}

/// Framing, what we say ourselves hop by hop, and where the request came from.
fn add_own(
    head: &RequestHead<'_>,
    scan: &Scan<'_>,
    authority: &[u8],
    peer: Peer<'_>,
    out: &mut impl Fields,
) {
    if head.body == BodyLength::Chunked {
        out.field("Transfer-Encoding", b"chunked");
    }
    let upgrade = scan.upgrade(head.version);
    match (scan.te_trailers, upgrade.is_some()) {
        (true, true) => out.field("Connection", b"TE, Upgrade"),
        (true, false) => out.field("Connection", b"TE"),
        (false, true) => out.field("Connection", b"Upgrade"),
        (false, false) => {}
    }
    if scan.te_trailers {
        out.field("TE", b"trailers");
    }
    if let Some(protocols) = upgrade {
        out.field("Upgrade", protocols);
    }
    add_forwarded(head, scan, authority, peer, out);
    if peer.via {
        let received = match head.version {
            Version::Http10 => b"1.0 redcar",
            Version::Http11 => b"1.1 redcar",
            Version::Http2 => b"2.0 redcar",
        };
        out.field("Via", received);
    }
}

/// Adds the peer, the scheme and the host to what came in, as the mode says.
fn add_forwarded(
    head: &RequestHead<'_>,
    scan: &Scan<'_>,
    authority: &[u8],
    peer: Peer<'_>,
    out: &mut impl Fields,
) {
    let append = match peer.forwarded {
        Forwarded::Off => return,
        Forwarded::Append => true,
        Forwarded::Replace => false,
    };
    let keeps = |present: bool, name: &str| append && present && !scan.connection.names(name);
    if keeps(scan.forwarded_for, "x-forwarded-for") {
        // One list: many backends read only one line of several.
        let mut list = Vec::with_capacity(64);
        for field in head.fields.iter().filter(|f| Kind::of(f.name) == Kind::ForwardedFor) {
            list.extend_from_slice(field.value);
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(peer.address.as_bytes());
        out.field("X-Forwarded-For", &list);
    } else {
        out.field("X-Forwarded-For", peer.address.as_bytes());
    }
    // Ours would be a second opinion where a front has said it in another way. Gunicorn answers 400
    // to `X-Forwarded-Ssl: on` beside `X-Forwarded-Proto: http`. Without ours the app sees what it
    // would see without a sidecar.
    let says = |parameter| append && scan.claims(head, parameter);
    if !keeps(scan.forwarded_proto, "x-forwarded-proto") && !says("proto") {
        out.field("X-Forwarded-Proto", peer.scheme.as_bytes());
    }
    if !keeps(scan.forwarded_host, "x-forwarded-host") && !says("host") && !authority.is_empty() {
        out.field("X-Forwarded-Host", authority);
    }
}

/// `application/grpc`, also with the format of its messages (`+proto`). Not gRPC-Web, which has its
/// status in the last bytes of the body: to us it is HTTP like any other.
fn is_grpc(media_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    media_type.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        ends && name.eq_ignore_ascii_case(NAME)
    })
}

/// Of TE only `trailers` is forwarded (RFC 9110 §10.1.4).
fn wants_trailers(value: &[u8]) -> bool {
    items(value).any(|item| {
        let name = item.split(|byte| *byte == b';').next().unwrap_or(b"");
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// Max-Forwards of a request whose hops are counted: OPTIONS and TRACE (RFC 9110 §7.6.2).
pub(crate) fn hops(head: &RequestHead<'_>) -> Option<u32> {
    if !matches!(head.method, "OPTIONS" | "TRACE") {
        return None;
    }
    let value = first(head.fields, Kind::MaxForwards)?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// A request as received, without what could be a secret: the content of the answer to TRACE (RFC
/// 9110 §9.3.8).
pub(crate) fn reflect(head: &RequestHead<'_>) -> String {
    let secret = ["authorization", "cookie", "proxy-authorization"];
    let mut out = Vec::with_capacity(256);
    request_line(
        &mut out,
        head.method,
        Target { authority: None, slash: false, text: head.target },
    );
    for field in head.fields {
        if !secret.iter().any(|secret| field.name.eq_ignore_ascii_case(secret)) {
            out.field(field.name, field.value);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
