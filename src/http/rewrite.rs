//! Header rewriting: the only bytes of a message that the proxy changes.
//!
//! Guards the invariant that everything else passes untouched, spelling and order of the fields
//! included. Changed are: hop-by-hop fields (removed, both directions), framing fields (rebuilt),
//! `X-Forwarded-*` and `Via` (added), Host of an absolute-form target (replaced), aliases of
//! fields that are not the client's to say (dropped), and of trailers all that a recipient could
//! take for such a field. `names` is the list. No I/O, no clock.

use crate::http::h1::{Field, items};
pub(crate) use crate::http::head::Fields;

pub use self::error::RequestError;
pub use self::request::{Peer, prepare_request};
pub use self::response::Recipient;
pub use self::trailers::forwarded_trailers;

pub(crate) use self::names::{is_for_http1_only, passes_as_trailer};
pub(crate) use self::request::{RequestFields, hops, reflect};
pub(crate) use self::response::{ResponseFields, prepare_response};
pub(crate) use self::trailers::TrailerError;

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
