//! Where a body comes from.

use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::http::h1::{BodyLength, ChunkError, Decoder, Field};
use crate::http::rewrite::{Named, TrailerError, forwarded_trailers};
use crate::net::transport::Transport;

/// How a body broke.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The connection failed.
    Io,
    /// The connection ended before the body did.
    Incomplete,
    /// The framing is wrong, for example a chunk size that is no number.
    Malformed,
    /// The fields behind it are more than a head may have.
    TrailersTooLarge,
}

impl From<ChunkError> for SourceError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Malformed => Self::Malformed,
            ChunkError::TrailersTooLarge => Self::TrailersTooLarge,
        }
    }
}

impl From<TrailerError> for SourceError {
    fn from(error: TrailerError) -> Self {
        match error {
            TrailerError::Malformed => Self::Malformed,
            TrailerError::TooLarge => Self::TrailersTooLarge,
        }
    }
}

/// A body on its way in.
pub(crate) struct Http1Source {
    transport: Rc<Transport>,
    framing: Framing,
    /// Fields that Connection named, which the trailers lose as well.
    named: Named,
}

enum Framing {
    None,
    Known(u64),
    Chunked(Box<Decoder>),
    UntilClose,
}

/// What some bytes were decoded to.
pub(super) struct Decoded {
    /// The data among them.
    pub(super) data: Range<usize>,
    /// How many were used up.
    pub(super) used: usize,
    /// The body is complete.
    pub(super) ended: bool,
    /// What was wrong behind the data.
    pub(super) failure: Option<SourceError>,
}

impl Http1Source {
    /// A body that arrives on `transport`; trailers named in `named` are dropped, and more than
    /// `max_trailer_bytes` of them are an error.
    pub(crate) fn new(
        transport: &Rc<Transport>,
        length: BodyLength,
        named: Named,
        max_trailer_bytes: usize,
    ) -> Self {
        let framing = match length {
            BodyLength::None | BodyLength::Known(0) => Framing::None,
            BodyLength::Known(bytes) => Framing::Known(bytes),
            BodyLength::Chunked => Framing::Chunked(Box::new(Decoder::new(max_trailer_bytes))),
            BodyLength::UntilClose => Framing::UntilClose,
        };
        Self { transport: Rc::clone(transport), framing, named }
    }

    /// Tells whether there is no body at all.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::None)
    }

    /// Reads some bytes; 0 is a clean end.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<usize, SourceError>> {
        let count = ready!(self.transport.poll_read(cx, scratch)).map_err(|_| SourceError::Io)?;
        Poll::Ready(if count == 0 { self.end().map(|()| 0) } else { Ok(count) })
    }

    /// How many bytes the body is known to have left.
    pub(super) fn known_bytes(&self) -> u64 {
        match self.framing {
            Framing::Known(remaining) => remaining,
            Framing::None | Framing::Chunked(_) | Framing::UntilClose => 0,
        }
    }

    /// Tells whether what is read next was read ahead.
    pub(super) fn has_ahead(&self) -> bool {
        self.transport.has_ahead()
    }

    /// The connection, where what comes next on it is data as it is, and how much of it belongs to
    /// the body.
    pub(super) fn passing(&self) -> Option<(&Transport, u64)> {
        match self.framing {
            Framing::None | Framing::Chunked(_) => None,
            Framing::Known(remaining) => Some((&*self.transport, remaining)),
            Framing::UntilClose => Some((&*self.transport, u64::MAX)),
        }
    }

    /// Takes note of data that has passed. Tells whether the body is complete.
    pub(super) fn passed(&mut self, bytes: usize) -> bool {
        match &mut self.framing {
            Framing::Known(remaining) => {
                *remaining -= bytes as u64;
                *remaining == 0
            }
            Framing::None | Framing::Chunked(_) | Framing::UntilClose => false,
        }
    }

    /// What the connection's end means: that of the body, or that it is cut.
    pub(super) fn end(&self) -> Result<(), SourceError> {
        match self.framing {
            Framing::UntilClose => Ok(()),
            Framing::None | Framing::Known(_) | Framing::Chunked(_) => Err(SourceError::Incomplete),
        }
    }

    /// Finds the data in `bytes` and moves it together.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        match &mut self.framing {
            Framing::None => Decoded { data: 0..0, used: 0, ended: true, failure: None },
            Framing::UntilClose => {
                Decoded { data: 0..bytes.len(), used: bytes.len(), ended: false, failure: None }
            }
            Framing::Known(remaining) => {
                let here = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                *remaining -= here as u64;
                Decoded { data: 0..here, used: here, ended: *remaining == 0, failure: None }
            }
            Framing::Chunked(decoder) => decode_chunks(decoder, bytes),
        }
    }

    /// The trailers that are forwarded, once the body has ended.
    pub(super) fn trailers(&self) -> Result<Vec<Field<'_>>, SourceError> {
        match &self.framing {
            Framing::Chunked(decoder) => Ok(forwarded_trailers(decoder.trailers(), &self.named)?),
            Framing::None | Framing::Known(_) | Framing::UntilClose => Ok(Vec::new()),
        }
    }

    /// Gives back what belongs to the next message.
    pub(super) fn put_back(&self, bytes: &[u8]) {
        self.transport.put_back(bytes);
    }
}

fn decode_chunks(decoder: &mut Decoder, bytes: &mut [u8]) -> Decoded {
    let (mut used, mut failure) = (0, None);
    let mut data = 0..0;
    while used < bytes.len() && !decoder.is_done() {
        match decoder.step(bytes.get(used..).unwrap_or_default()) {
            Ok(step) => {
                let found = used + step.data.start..used + step.data.end;
                used += step.consumed;
                if data.is_empty() {
                    data = found;
                } else if !found.is_empty() {
                    let end = data.end + found.len();
                    bytes.copy_within(found, data.end);
                    data.end = end;
                }
            }
            Err(error) => {
                failure = Some(error.into());
                used = bytes.len();
            }
        }
    }
    Decoded { data, used, ended: decoder.is_done(), failure }
}
