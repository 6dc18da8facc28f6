//! Header rewriting: the only bytes of a message that the proxy changes.
//!
//! Guards the invariant that everything else passes untouched. Changed are: hop-by-hop fields
//! (removed, both directions), framing fields (rebuilt), `X-Forwarded-*` and `Via` (added), Host
//! of an absolute-form target (replaced), aliases of framing fields (dropped). No I/O, no clock.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};

use crate::error::RequestError;

pub use self::forwarded::{MaxForwards, max_forwards};
pub use self::response::{ResponseNotes, prepare_response, prepare_trailers};

mod forwarded;
mod host;
mod response;

/// What becomes of `X-Forwarded-For`, `-Proto` and `-Host`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Forwarded {
    /// Append the peer's address to -For; set -Proto and -Host only where absent.
    #[default]
    Append,
    /// Trust nothing that came in: set all three, drop `Forwarded`.
    Replace,
    /// Pass what came in, add nothing.
    Off,
}

/// What a request's rewriting needs to know beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Downstream<'a> {
    /// The peer's IP address as a field value.
    pub peer: &'a HeaderValue,
    /// The `--forwarded` mode.
    pub forwarded: Forwarded,
    /// Whether to add `Via` (off by default: nginx stops compressing when it sees one).
    pub via: bool,
}

/// How the body of a request is framed towards the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// No body at all.
    None,
    /// As many bytes as Content-Length says.
    Exact,
    /// Chunked.
    Unknown,
}

/// Field names that a Connection field declared hop-by-hop, for the trailers to drop as well.
pub type Named = Vec<HeaderName>;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What one pass over the fields found; each flag stands for work that is usually not there.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of flags, filled in one place")]
struct Scan {
    hosts: usize,
    codings: usize,
    lengths: usize,
    connection: bool,
    te: bool,
    hop_by_hop: bool,
    alias: bool,
    forwarded: bool,
}

impl Scan {
    /// One pass instead of a look-up per name: eleven look-ups cost more than a typical request
    /// has fields.
    fn of(headers: &HeaderMap) -> Self {
        let mut scan = Self::default();
        for name in headers.iter().map(|(name, _)| name) {
            match *name {
                header::HOST => scan.hosts += 1,
                header::CONTENT_LENGTH => scan.lengths += 1,
                header::TRANSFER_ENCODING => scan.codings += 1,
                header::CONNECTION => scan.connection = true,
                header::TE => scan.te = true,
                header::UPGRADE | header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION => {
                    scan.hop_by_hop = true;
                }
                _ => {
                    let text = name.as_str();
                    scan.hop_by_hop |= text == "keep-alive" || text == "proxy-connection";
                    scan.forwarded |= text.starts_with("x-forwarded-");
                    scan.alias |= text.bytes().any(|b| b == b'_' || b == b'.');
                }
            }
        }
        scan
    }
}

/// Rewrites a request head for the upstream: target, framing, hop-by-hop and forwarding fields.
///
/// Host passes unchanged, unless the target is in absolute-form: then its authority becomes Host.
///
/// # Errors
///
/// A [`RequestError`] for a request that RFC 9112 says must be refused. The head is then
/// half-rewritten and must not be sent.
///
/// # Source
///
/// RFC 9110 §7.6, RFC 9112 §3.2 and §6.
pub fn prepare_request(
    head: &mut request::Parts,
    body: BodyLength,
    downstream: Downstream<'_>,
) -> Result<Named, RequestError> {
    let scan = Scan::of(&head.headers);
    check_target(&head.method, &head.uri)?;
    host::check(head, scan.hosts)?;
    check_codings(&head.headers, scan.codings)?;
    let named = strip_hop_by_hop(&mut head.headers, &scan);
    if scan.te {
        forward_te(&mut head.headers);
    }
    if scan.alias {
        drop_aliases(&mut head.headers);
    }
    if body == BodyLength::Unknown {
        // hyper's client sends GET and HEAD without a body unless a framing field says otherwise.
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    to_origin_form(head);
    forwarded::add(&mut head.headers, scan.forwarded, downstream);
    if downstream.via {
        let received = if head.version == Version::HTTP_10 { "1.0 redcar" } else { "1.1 redcar" };
        head.headers.append(header::VIA, HeaderValue::from_static(received));
    }
    // RFC 9112 §2.3: a proxy sends its own version.
    head.version = Version::HTTP_11;
    Ok(named)
}

/// RFC 9112 §3.2: which form of target belongs to which method.
fn check_target(method: &Method, uri: &Uri) -> Result<(), RequestError> {
    if *method == Method::CONNECT {
        return Err(RequestError::ConnectUnsupported);
    }
    let is_asterisk = uri.path() == "*";
    let is_authority_form = uri.scheme().is_none() && uri.authority().is_some();
    if is_authority_form || (is_asterisk && *method != Method::OPTIONS) {
        return Err(RequestError::TargetInvalid);
    }
    Ok(())
}

/// Accepts exactly one `chunked`: hyper would take `gzip, chunked` and lose the gzip.
fn check_codings(headers: &HeaderMap, codings: usize) -> Result<(), RequestError> {
    if codings == 0 {
        return Ok(());
    }
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |v: &HeaderValue| v.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (lines.next(), codings) {
        (Some(only), 1) if is_chunked(only) => Ok(()),
        (Some(first), _) if is_chunked(first) && lines.all(is_chunked) => {
            Err(RequestError::CodingRepeated)
        }
        _ => Err(RequestError::CodingUnsupported),
    }
}

/// Removes the hop-by-hop fields and those that Connection names, whatever their spelling.
///
/// Runs before our own fields are added, and never lets a client's Connection field remove Host
/// or the framing (CVE-2021-33197, CVE-2024-45410: both did).
fn strip_hop_by_hop(headers: &mut HeaderMap, scan: &Scan) -> Named {
    let mut named = Named::new();
    if scan.connection {
        for value in headers.get_all(header::CONNECTION) {
            for token in value.as_bytes().split(|b| *b == b',') {
                collect_named(token.trim_ascii(), &mut named);
            }
        }
        for name in &named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if scan.codings > 0 {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if scan.hop_by_hop {
        for name in [&KEEP_ALIVE, &PROXY_CONNECTION] {
            headers.remove(name);
        }
        for name in [header::UPGRADE, header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION] {
            headers.remove(name);
        }
    }
    named
}

fn collect_named(token: &[u8], named: &mut Named) {
    let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
    let is_option = is("close") || is("keep-alive") || is("te") || is("upgrade");
    let is_protected = is("host") || is("content-length") || is("transfer-encoding");
    if token.is_empty() || is_option || is_protected {
        return;
    }
    if let Ok(name) = HeaderName::from_bytes(token) {
        named.push(name);
    }
}

/// Of TE only `trailers` is forwarded, and named in Connection as RFC 9110 §10.1.4 asks.
fn forward_te(headers: &mut HeaderMap) {
    let wants_trailers = headers.get_all(header::TE).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|token| {
            let name = token.split(|b| *b == b';').next().unwrap_or(b"");
            name.trim_ascii().eq_ignore_ascii_case(b"trailers")
        })
    });
    headers.remove(header::TE);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Drops names that CGI-like backends fold into a field they trust: `Content_Length`.
fn drop_aliases(headers: &mut HeaderMap) {
    const FOLDED: [&str; 9] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
    ];
    let is_alias = |name: &HeaderName| {
        let text = name.as_str();
        text.contains(['_', '.']) && FOLDED.contains(&text.replace(['_', '.'], "-").as_str())
    };
    let aliases: Vec<HeaderName> = headers.keys().filter(|n| is_alias(n)).cloned().collect();
    for alias in aliases {
        headers.remove(alias);
    }
}

/// Absolute-form becomes origin-form, and its authority becomes Host (RFC 9112 §3.2.2).
fn to_origin_form(head: &mut request::Parts) {
    let Some(authority) = head.uri.authority() else {
        return;
    };
    let host = authority.as_str().rsplit('@').next().unwrap_or("");
    if let Ok(host) = HeaderValue::from_str(host) {
        head.headers.insert(header::HOST, host);
    }
    let target = match head.uri.path_and_query() {
        // An empty path must become `*` for OPTIONS (RFC 9112 §3.2.4). The parser makes no
        // difference between no path and `/`, so both do.
        Some(path) if path.as_str() == "/" && head.method == Method::OPTIONS => {
            PathAndQuery::from_static("*")
        }
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    head.uri = Uri::from(target);
}

#[cfg(test)]
mod tests;
