//! One direction of an exchange: a body from one connection to another, piece by piece.
//!
//! Guards the invariant that bodies stream with back-pressure: nothing is read before what was
//! read last has been written. A piece is decoded in the worker's scratch buffer and written from
//! there; only what the recipient does not take is kept. Data that goes as it came, between two
//! plain connections, passes through the kernel, as much at a time as the recipient has room for.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::http::h1::Field;
use crate::net::transport::{Pace, PassError, Passed, Scratch};
use crate::net::turn::give_way;

pub(crate) use self::h2::{Http2Sink, Http2Source};
pub(crate) use self::sink::{Delimiter, Http1Sink};
pub(crate) use self::source::{Http1Source, SourceError};

mod h2;
mod sink;
mod source;

/// Bytes moved before other tasks of the worker get a turn, and the sockets are looked at.
const BYTES_PER_TURN: usize = 256 * 1024;

/// Pieces moved before that, however small they are.
const PIECES_PER_TURN: usize = 16;

/// Why a body did not arrive.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// Its sender is at fault, or gone.
    Source(SourceError),
    /// Its recipient does not take it.
    Sink(io::Error),
}

impl PumpError {
    fn of(error: PassError) -> Self {
        match error {
            PassError::From(_) => Self::Source(SourceError::Io),
            PassError::To(error) => Self::Sink(error),
        }
    }
}

/// Where a body comes from.
pub(crate) enum Source {
    /// There is none.
    None,
    /// An HTTP/1 connection.
    Http1(Http1Source),
    /// An HTTP/2 stream.
    Http2(Box<Http2Source>),
}

/// Where a body goes.
pub(crate) enum Sink {
    /// There is none: the message has no body, and its head was sent.
    None,
    /// An HTTP/1 connection.
    Http1(Http1Sink),
    /// An HTTP/2 stream.
    Http2(Box<Http2Sink>),
}

impl Source {
    fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(source) => source.is_empty(),
            Self::Http2(source) => source.is_empty(),
        }
    }

    /// The recipient takes no more for now.
    fn waits(&self) {
        if let Self::Http2(source) = self {
            source.waits();
        }
    }

    fn trailers(&self) -> Result<Vec<Field<'_>>, SourceError> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Http1(source) => source.trailers(),
            Self::Http2(source) => Ok(source.trailers()),
        }
    }

    /// The value of a trailer field, once the body has ended.
    pub(crate) fn trailer(&self, name: &str) -> Option<Vec<u8>> {
        let trailers = self.trailers().ok()?;
        let field = trailers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(field.value.to_vec())
    }
}

impl Sink {
    /// Writes what waits.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::None => Poll::Ready(Ok(())),
            Self::Http1(sink) => sink.poll_flush(cx),
            Self::Http2(sink) => sink.poll_flush(cx),
        }
    }

    /// Tells whether something waits for the recipient.
    pub(crate) fn is_blocked(&self) -> bool {
        match self {
            Self::None => false,
            Self::Http1(sink) => sink.is_blocked(),
            Self::Http2(sink) => sink.is_blocked(),
        }
    }

    /// How large a piece should be that is read of what goes here.
    fn piece_bytes(&mut self, wanted: usize) -> usize {
        match self {
            Self::None => wanted,
            Self::Http1(sink) => sink.piece_bytes(wanted),
            Self::Http2(sink) => sink.piece_bytes(wanted),
        }
    }

    fn send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[Field<'_>]>,
    ) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Http1(sink) => sink.send(cx, data, end),
            Self::Http2(sink) => {
                sink.send(data, end);
                Ok(())
            }
        }
    }

    fn send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: Bytes,
        end: Option<&[Field<'_>]>,
    ) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Http1(sink) => sink.send(cx, &data, end),
            Self::Http2(sink) => {
                sink.send_bytes(data, end);
                Ok(())
            }
        }
    }
}

/// One direction of an exchange.
pub(crate) struct Pump {
    /// Where the body comes from.
    pub source: Source,
    /// Where it goes.
    pub sink: Sink,
    /// Body bytes so far, without framing.
    pub bytes: u64,
    pace: Pace,
    ended: bool,
    failure: Option<SourceError>,
}

impl Pump {
    /// Connects a source with a sink. A source without a body has ended.
    pub(crate) fn new(source: Source, sink: Sink) -> Self {
        let ended = source.is_empty();
        let pace = match &source {
            Source::Http1(source) => Pace::first(source.known_bytes()),
            Source::None | Source::Http2(_) => Pace::Read,
        };
        Self { source, sink, bytes: 0, pace, ended, failure: None }
    }

    /// Tells whether the source's last byte was seen.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Moves what can be moved now. Ready when all was handed to the recipient's connection.
    ///
    /// # Errors
    ///
    /// A [`PumpError`]; what came before it has been written.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Result<(), PumpError>> {
        let turn_ends = self.bytes + BYTES_PER_TURN as u64;
        for _ in 0..PIECES_PER_TURN {
            ready!(self.poll_flush(cx))?;
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(PumpError::Source(failure)));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.bytes >= turn_ends {
                break;
            }
            let most = self.sink.piece_bytes(usize::MAX);
            match &mut self.source {
                Source::None => self.ended = true,
                Source::Http2(_) => ready!(self.poll_http2(cx))?,
                Source::Http1(_) => ready!(self.poll_http1(cx, scratch, most))?,
            }
        }
        // At once, so that what waits on a connection is known before another of its streams reads.
        ready!(self.poll_flush(cx))?;
        give_way(cx);
        Poll::Pending
    }

    /// Moves one piece of a body from an HTTP/1 connection.
    fn poll_http1(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        piece_bytes: usize,
    ) -> Poll<Result<(), PumpError>> {
        let Source::Http1(source) = &mut self.source else {
            return Poll::Ready(Ok(()));
        };
        if self.pace == Pace::Pass
            && let Sink::Http1(sink) = &mut self.sink
            && sink.is_plain()
            && let Some((from, most)) = source.passing()
            && !from.has_ahead()
        {
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(piece_bytes);
            let passed = sink.pass(cx, from, most, scratch).map_err(PumpError::of)?;
            self.pace = Pace::after_pass(passed, sink.is_blocked());
            match passed {
                Passed::Bytes(count) => {
                    self.bytes += count as u64;
                    self.ended = source.passed(count);
                    return Poll::Ready(Ok(()));
                }
                Passed::End => {
                    source.end().map_err(PumpError::Source)?;
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Passed::NotThere | Passed::NotTaken => return Poll::Pending,
                Passed::Unable => {}
            }
        }
        // What came with the head says nothing of how the rest comes.
        let was_ahead = source.has_ahead();
        let most = piece_bytes.min(scratch.len());
        let (room, _) = scratch.split_at_mut(most);
        let count = ready!(source.poll_read(cx, room)).map_err(PumpError::Source)?;
        let moved = if count == 0 {
            self.ended = true;
            self.sink.send(cx, &[], Some(&[]))
        } else {
            let (read, _) = scratch.split_at_mut(count);
            self.push(cx, read)
        };
        if !was_ahead {
            self.pace = Pace::after_read(count, self.sink.is_blocked());
        }
        Poll::Ready(moved.map_err(PumpError::Sink))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        let flushed = self.sink.poll_flush(cx);
        if flushed.is_pending() {
            self.source.waits();
        }
        flushed.map_err(PumpError::Sink)
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        let Source::Http2(source) = &mut self.source else {
            return Poll::Ready(Ok(()));
        };
        let data = ready!(source.poll_data(cx)).map_err(PumpError::Source)?;
        self.ended = source.has_ended();
        self.bytes += data.len() as u64;
        let trailers = source.trailers();
        let end = self.ended.then_some(&trailers[..]);
        Poll::Ready(self.sink.send_bytes(cx, data, end).map_err(PumpError::Sink))
    }

    /// Takes bytes of an HTTP/1 body that were read already, framing and all.
    ///
    /// # Errors
    ///
    /// The recipient's. An error of the source is kept for [`Self::poll`].
    pub(crate) fn push(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> io::Result<()> {
        let Source::Http1(source) = &mut self.source else {
            return Ok(());
        };
        let decoded = source.decode(bytes);
        self.failure = decoded.failure;
        let data = bytes.get(decoded.data).unwrap_or_default();
        self.bytes += data.len() as u64;
        source.put_back(bytes.get(decoded.used..).unwrap_or_default());
        if !decoded.ended {
            return if data.is_empty() { Ok(()) } else { self.sink.send(cx, data, None) };
        }
        self.ended = true;
        match source.trailers() {
            Ok(trailers) => self.sink.send(cx, data, Some(&trailers)),
            Err(failure) => {
                self.failure = Some(failure);
                self.sink.send(cx, data, None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
