//! What heads are written to: the bytes of HTTP/1, or the maps of HTTP/2.
//!
//! Whoever writes a head says all of it, in the words of HTTP/1. What HTTP/2 says otherwise, its
//! writers leave out.

use http::StatusCode;

use super::h1::{Target, Version};
use super::rewrite::RequestError;

/// Where fields go, of a head or of trailers.
pub trait Fields {
    /// Takes one field, whose value has no line breaks.
    fn field(&mut self, name: &str, value: &[u8]);

    /// No field follows.
    fn end(&mut self);
}

/// Where a request's head goes.
pub trait RequestWriter: Fields {
    /// Begins the head.
    ///
    /// # Errors
    ///
    /// The protocol cannot say that.
    fn request_line(&mut self, line: RequestLine<'_>) -> Result<(), RequestError>;
}

/// Where a response's head goes.
pub trait ResponseWriter: Fields {
    /// Begins the head, for a client that speaks `version`.
    fn status_line(&mut self, version: Version, status: StatusCode, reason: &[u8]);
}

/// What a request asks for, and whom.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// The target, as it is sent on.
    pub target: Target<'a>,
    /// `http` or `https`. HTTP/1 does not say it.
    pub scheme: &'a str,
    /// Host and port. HTTP/1 has a field for it.
    pub authority: &'a [u8],
}
