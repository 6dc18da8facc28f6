//! What HTTP says, as pure functions: heads and framing of HTTP/1, the messages of HTTP/2, how
//! heads are rewritten, and what a response says that goes to a client.
//!
//! No I/O, no clock, no await.

pub use self::h1::{
    BodyLength, Decoder, Field, HeadError, Version, parse_request, parse_response, slots,
};
pub use self::response::{Persistence, write_forwarded};
pub use self::rewrite::{
    Forwarded, Named, Peer, Recipient, RequestError, forwarded_trailers, prepare_request,
};

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod head;
pub(crate) mod response;
pub(crate) mod rewrite;
