//! HTTP/1 syntax: what the bytes of heads and chunks mean (RFC 9112).
//!
//! Answers two questions: where does a message end, and may it be forwarded at all? Whatever two
//! recipients could read differently is refused here, so that it never reaches the upstream.
//! No I/O, no clock, no allocation but for trailers and unusual request lines.

pub(crate) use self::chunked::ChunkError;
pub use self::chunked::Decoder;
pub use self::request::{HeadError, parse_request};
pub(crate) use self::request::{RequestHead, Target, is_host};
pub(crate) use self::response::ResponseHead;
pub use self::response::parse_response;
pub(crate) use self::write::request_line;

mod chunked;
mod request;
mod response;
mod unusual;
mod write;

/// One field line: its name as sent, its value without surrounding white space.
pub type Field<'a> = httparse::Header<'a>;

/// Room for the fields of one head.
pub struct Slots<'a> {
    /// The parser fills it without initialising it first.
    room: [std::mem::MaybeUninit<Field<'a>>; MAX_FIELDS],
    /// Where the fields of a head go whose request line is unusual.
    spare: Vec<Field<'a>>,
}

/// Field lines a head may have. hyper and Apache allow 100 as well.
pub(crate) const MAX_FIELDS: usize = 100;

/// Empty room for the fields of one head.
pub fn slots<'a>() -> Slots<'a> {
    Slots { room: [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS], spare: Vec::new() }
}

/// The protocol version that a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim answers.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// How a message's body is delimited on its way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// No body at all, whatever the fields say.
    None,
    /// As many bytes as Content-Length says.
    Known(u64),
    /// Chunks, or the frames of HTTP/2: the end is marked.
    Chunked,
    /// Whatever comes until the connection ends. Responses only.
    UntilClose,
}

impl BodyLength {
    /// Tells whether it is known that no byte follows the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Known(0))
    }
}

/// The items of a comma-separated list, without surrounding white space (RFC 9110 §5.6.1).
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// A Content-Length: digits and nothing else, no overflow (RFC 9110 §8.6).
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A length that was accepted, without the zeros before it: not all recipients take them.
pub(crate) fn plain_length(value: &[u8]) -> &[u8] {
    let zeros = value.iter().take_while(|byte| **byte == b'0').count();
    value.get(zeros.min(value.len().saturating_sub(1))..).unwrap_or(value)
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The transfer codings of a message: how many, how often `chunked`, and whether it is last.
#[derive(Default)]
pub(crate) struct Codings {
    pub(crate) present: bool,
    pub(crate) count: usize,
    pub(crate) chunked: usize,
    pub(crate) chunked_is_last: bool,
}

impl Codings {
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.present = true;
        for item in items(value) {
            self.count += 1;
            self.chunked_is_last = item.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.chunked_is_last);
        }
    }

    /// Exactly `chunked`, once.
    pub(crate) fn is_just_chunked(&self) -> bool {
        self.count == 1 && self.chunked == 1
    }
}

#[cfg(test)]
mod tests;
