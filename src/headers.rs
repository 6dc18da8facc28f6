//! Header rewriting: the only bytes of a message that the proxy changes.
//!
//! Guards the invariant that everything else passes untouched, spelling and order of the fields
//! included. Changed are: hop-by-hop fields (removed, both directions), framing fields (rebuilt),
//! `X-Forwarded-*` and `Via` (added), Host of an absolute-form target (replaced), aliases of
//! framing fields (dropped). No I/O, no clock.

use crate::h1::{Field, items};

pub(crate) use self::request::hops;
pub use self::request::{Peer, RequestFields, TargetOut, prepare_request};
pub use self::response::{Reply, ResponseFields, prepare_response};
pub use self::trailers::{forwarded_trailers, passes as trailer_passes};

mod request;
mod response;
mod trailers;

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

/// Where a message's own fields go: the bytes of HTTP/1 or the map of HTTP/2.
pub trait Fields {
    /// Begins a request. HTTP/2 has no start line.
    fn start(&mut self, method: &str, target: TargetOut<'_>);

    /// Takes one field, whose value has no line breaks.
    fn field(&mut self, name: &str, value: &[u8]);
}

impl Fields for Vec<u8> {
    fn start(&mut self, method: &str, target: TargetOut<'_>) {
        self.extend_from_slice(method.as_bytes());
        self.extend_from_slice(if target.slash { b" /" } else { b" " });
        self.extend_from_slice(target.text.as_bytes());
        self.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.reserve(name.len() + value.len() + 4);
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        self.extend_from_slice(value);
        self.extend_from_slice(b"\r\n");
    }
}

impl Fields for http::HeaderMap {
    fn start(&mut self, _method: &str, _target: TargetOut<'_>) {}

    /// Appends a field. One that HTTP/2 could not carry is dropped, which cannot happen to fields
    /// that the HTTP/1 parser accepted.
    fn field(&mut self, name: &str, value: &[u8]) {
        // RFC 9113 §8.2.2 and §8.3.1: no connection-specific fields, and :authority for Host.
        let own = matches!(Kind::of(name), Kind::Connection | Kind::TransferEncoding | Kind::Host);
        if own || name.eq_ignore_ascii_case("upgrade") {
            return;
        }
        let name = http::HeaderName::from_bytes(name.as_bytes());
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            self.append(name, value);
        }
    }
}

/// The fields that mean something to a proxy; all others pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Host,
    Te,
    Date,
    Expect,
    Upgrade,
    Forwarded,
    Connection,
    ContentType,
    MaxForwards,
    ContentLength,
    TransferEncoding,
    KeepAlive,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    /// Hop-by-hop, and of no further interest.
    HopByHop,
    Other,
}

impl Kind {
    /// Classifies by length and first letter: most names differ from all of these in that.
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let first = name.as_bytes().first().map_or(0, u8::to_ascii_lowercase);
        match (name.len(), first) {
            (2, b't') if is("te") => Self::Te,
            (4, b'h') if is("host") => Self::Host,
            (4, b'd') if is("date") => Self::Date,
            (6, b'e') if is("expect") => Self::Expect,
            (7, b'u') if is("upgrade") => Self::Upgrade,
            (9, b'f') if is("forwarded") => Self::Forwarded,
            (10, b'c') if is("connection") => Self::Connection,
            (10, b'k') if is("keep-alive") => Self::KeepAlive,
            (12, b'c') if is("content-type") => Self::ContentType,
            (12, b'm') if is("max-forwards") => Self::MaxForwards,
            (14, b'c') if is("content-length") => Self::ContentLength,
            (14, b'h') if is("http2-settings") => Self::HopByHop,
            (15, b'x') if is("x-forwarded-for") => Self::ForwardedFor,
            (16, b'x') if is("x-forwarded-host") => Self::ForwardedHost,
            (16, b'p') if is("proxy-connection") => Self::HopByHop,
            (17, b't') if is("transfer-encoding") => Self::TransferEncoding,
            (17, b'x') if is("x-forwarded-proto") => Self::ForwardedProto,
            (18, b'p') if is("proxy-authenticate") => Self::HopByHop,
            (19, b'p') if is("proxy-authorization") => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// What the `Connection` fields of a message say.
#[derive(Clone, Default, Debug)]
struct ConnectionOptions<'a> {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Field names declared hop-by-hop, in any spelling.
    named: Vec<&'a [u8]>,
}

impl<'a> ConnectionOptions<'a> {
    /// Reads one `Connection` line, whatever bytes it has.
    ///
    /// Never lets a peer remove Host or the framing, nor the fields we add ourselves, which are
    /// written later (CVE-2021-33197, CVE-2024-45410: both did).
    fn add(&mut self, value: &'a [u8]) {
        for token in items(value) {
            let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
            if is("close") {
                self.close = true;
            } else if is("keep-alive") {
                self.keep_alive = true;
            } else if is("upgrade") {
                self.upgrade = true;
            } else if !(is("te") || is("host") || is("content-length") || is("transfer-encoding")) {
                self.named.push(token);
            }
        }
    }

    fn names(&self, name: &str) -> bool {
        self.named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Field names that a `Connection` field declared hop-by-hop, kept for the trailers.
pub type Named = Vec<Box<[u8]>>;

fn to_owned(named: &[&[u8]]) -> Named {
    named.iter().map(|name| Box::from(*name)).collect()
}

/// Tells whether a CGI-like backend would fold this name into a field it trusts: `Content_Length`.
fn is_alias(name: &str) -> bool {
    const FOLDED: [&str; 9] = [
        "host",
        "forwarded",
        "x-real-ip",
        "connection",
        "content-length",
        "x-forwarded-for",
        "x-forwarded-host",
        "transfer-encoding",
        "x-forwarded-proto",
    ];
    let fold = |byte: u8| match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    };
    matches!(name.len(), 4 | 9 | 10 | 14..=17)
        && name.bytes().any(|b| matches!(b, b'_' | b'.'))
        && FOLDED
            .iter()
            .any(|known| known.len() == name.len() && known.bytes().eq(name.bytes().map(fold)))
}

/// The first field of a kind.
fn first<'a>(fields: &[Field<'a>], kind: Kind) -> Option<&'a [u8]> {
    fields.iter().find(|field| Kind::of(field.name) == kind).map(|field| field.value)
}

#[cfg(test)]
mod tests;
