//! Header rewriting: the only bytes of a message that the proxy changes.
//!
//! Guards the invariant that everything else passes untouched, spelling and order of the fields
//! included. Changed are: hop-by-hop fields (removed, both directions), framing fields (rebuilt),
//! `X-Forwarded-*` and `Via` (added), Host of an absolute-form target (replaced), aliases of
//! fields that are not the client's to say (dropped), and of trailers all that a recipient could
//! take for such a field. `names` is the list. No I/O, no clock.

use crate::http::h1::{Field, Target, items};

pub use self::error::RequestError;
pub use self::names::passes_as_trailer;
pub(crate) use self::request::hops;
pub use self::request::{Peer, RequestFields, prepare_request};
pub use self::response::{Reply, ResponseFields, prepare_response};
pub use self::trailers::{TrailerError, forwarded_trailers};

use self::names::Kind;

mod error;
mod names;
mod request;
mod response;
mod trailers;

/// What becomes of `X-Forwarded-For`, `-Proto` and `-Host`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Forwarded {
    /// Append the peer's address to -For; set -Proto and -Host only where nothing that came in
    /// says scheme or host already.
    #[default]
    Append,
    /// Trust nothing that came in: drop the whole family, set these three.
    Replace,
    /// Pass what came in, add nothing.
    Off,
}

/// Where a message's own fields go: the bytes of HTTP/1 or the map of HTTP/2.
pub trait Fields {
    /// Begins a request. HTTP/2 has no start line.
    fn start(&mut self, method: &str, target: Target<'_>);

    /// Takes one field, whose value has no line breaks.
    fn field(&mut self, name: &str, value: &[u8]);
}

impl Fields for Vec<u8> {
    fn start(&mut self, method: &str, target: Target<'_>) {
        self.extend_from_slice(method.as_bytes());
        self.extend_from_slice(if target.slash { b" /" } else { b" " });
        self.extend_from_slice(target.text);
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
    fn start(&mut self, _method: &str, _target: Target<'_>) {}

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

/// The first field of a kind.
fn first<'a>(fields: &[Field<'a>], kind: Kind) -> Option<&'a [u8]> {
    fields.iter().find(|field| Kind::of(field.name) == kind).map(|field| field.value)
}

#[cfg(test)]
mod tests;
