//! One direction of an exchange: a body from one connection to another, piece by piece.
//!
//! Guards the invariant that bodies stream with back-pressure: nothing is read before what was
//! read last has been written. A piece is decoded in the worker's scratch buffer and written from
//! there; only what the socket does not take is kept.

use std::io;
use std::task::{Context, Poll, ready};

pub use self::sink::{Delimiter, Sink};
pub use self::source::{Source, SourceError};

mod sink;
mod source;

/// Pieces moved before other tasks of the worker get a turn: a megabyte at 64 KiB each.
const PIECES_PER_TURN: usize = 16;

/// Why a body did not arrive.
#[derive(Debug)]
pub enum PumpError {
    /// Its sender is at fault, or gone.
    Source(SourceError),
    /// Its recipient does not take it.
    Sink(io::Error),
}

/// One direction of an exchange.
pub struct Pump {
    /// Where the body comes from.
    pub source: Source,
    /// Where it goes.
    pub sink: Sink,
    /// Body bytes so far, without framing.
    pub bytes: u64,
    ended: bool,
    failure: Option<SourceError>,
}

impl Pump {
    /// Connects a source with a sink. A source without a body has ended.
    pub fn new(source: Source, sink: Sink) -> Self {
        let ended = source.is_empty();
        Self { source, sink, bytes: 0, ended, failure: None }
    }

    /// Tells whether the source's last byte was seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Moves what can be moved now. Ready when all was handed to the recipient's socket.
    ///
    /// # Errors
    ///
    /// A [`PumpError`]; what came before it has been written.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<(), PumpError>> {
        for _ in 0..PIECES_PER_TURN {
            ready!(self.sink.poll_flush(cx)).map_err(PumpError::Sink)?;
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(PumpError::Source(failure)));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let count = ready!(self.source.poll_read(cx, scratch)).map_err(PumpError::Source)?;
            if count == 0 {
                self.ended = true;
                self.sink.send(cx, &[], Some(&[])).map_err(PumpError::Sink)?;
                continue;
            }
            self.push(cx, scratch.get_mut(..count).unwrap_or_default()).map_err(PumpError::Sink)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes bytes that were read already, framing and all.
    ///
    /// # Errors
    ///
    /// The recipient's. An error of the source is kept for [`Self::poll`].
    pub fn push(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> io::Result<()> {
        let decoded = self.source.decode(bytes);
        self.failure = decoded.failure;
        let data = bytes.get(decoded.data).unwrap_or_default();
        self.bytes += data.len() as u64;
        if decoded.ended {
            self.ended = true;
            let trailers = self.source.trailers();
            match trailers {
                Ok(trailers) => self.sink.send(cx, data, Some(&trailers))?,
                Err(failure) => {
                    self.failure = Some(failure);
                    self.sink.send(cx, data, None)?;
                }
            }
        } else if !data.is_empty() {
            self.sink.send(cx, data, None)?;
        }
        self.source.put_back(bytes.get(decoded.used..).unwrap_or_default());
        Ok(())
    }
}
