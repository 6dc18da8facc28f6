//! Bodies in HTTP/2 streams (RFC 9113 §6.1 and §6.9): flow control is what holds a sender back.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use super::SourceError;
use crate::http::h1::Field;
use crate::http::h2::{fields, list_bytes};
use crate::http::rewrite::{Fields, Named, passes_as_trailer};
use crate::net::budget::{Charge, SMALL_BYTES};
use crate::proxy::downstream::h2::watch::Seen;

/// A body that arrives in DATA frames.
pub(crate) struct Http2Source {
    stream: RecvStream,
    trailers: HeaderMap,
    max_trailer_bytes: usize,
    /// What was seen of the connection, where the library may have dropped trailers.
    seen: Option<Rc<Seen>>,
    /// What may wait in the library, and for how much of it is paid while the recipient does not
    /// take more.
    room: (Charge, usize),
    /// Bytes whose window was not given back, because they were not written yet.
    held: usize,
    /// DATA is over; trailers may follow.
    data_ended: bool,
    ended: bool,
}

impl Http2Source {
    /// The body of a message whose head was received; more than `max_trailer_bytes` of trailers
    /// are an error.
    ///
    /// While its recipient does not take more, the window of the stream (`room`) is charged.
    pub(crate) fn new(
        stream: RecvStream,
        max_trailer_bytes: usize,
        seen: Option<Rc<Seen>>,
        room: (Charge, usize),
    ) -> Self {
        let ended = stream.is_end_stream();
        let trailers = HeaderMap::new();
        let held = 0;
        Self { stream, trailers, max_trailer_bytes, seen, room, held, data_ended: ended, ended }
    }

    /// Tells whether there is no body at all.
    pub(super) fn is_empty(&self) -> bool {
        self.ended
    }

    /// Tells whether the end of the stream was seen.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The recipient takes no more for now: what comes waits.
    pub(super) fn waits(&self) {
        if !self.ended {
            let (charge, window_bytes) = &self.room;
            charge.set(*window_bytes);
        }
    }

    /// The next data; empty where the end came without any.
    ///
    /// An end that is not marked as one is an error, also after a reset without an error: a
    /// cut message must not pass for a whole one.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, SourceError>> {
        self.room.0.set(0);
        // The last piece was written: its sender may go on.
        let held = std::mem::take(&mut self.held);
        if held > 0 && self.stream.flow_control().release_capacity(held).is_err() {
            return Poll::Ready(Err(SourceError::Incomplete));
        }
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.held = data.len();
                    self.ended = self.stream.is_end_stream();
                    self.data_ended = self.ended;
                    return Poll::Ready(Ok(data));
                }
                Some(Err(_)) if self.has_large_trailers() => {
                    return Poll::Ready(Err(SourceError::TrailersTooLarge));
                }
                Some(Err(error)) => return Poll::Ready(Err(failure(&error))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => self.trailers = trailers.unwrap_or_default(),
            // The library may have ended the connection for them.
            Err(_) if self.has_large_trailers() => {
                return Poll::Ready(Err(SourceError::TrailersTooLarge));
            }
            Err(error) => return Poll::Ready(Err(failure(&error))),
        }
        self.ended = true;
        Poll::Ready(if !self.stream.is_end_stream() {
            Err(SourceError::Incomplete)
        } else if self.has_large_trailers() {
            Err(SourceError::TrailersTooLarge)
        } else {
            Ok(Bytes::new())
        })
    }

    fn has_large_trailers(&self) -> bool {
        let stream = self.stream.stream_id().as_u32();
        list_bytes(&self.trailers) > self.max_trailer_bytes
            || self.seen.as_ref().is_some_and(|seen| seen.has_cut_trailers(stream))
    }

    /// The trailers that are forwarded.
    pub(super) fn trailers(&self) -> Vec<Field<'_>> {
        let none = Named::new();
        fields(&self.trailers).filter(|field| passes_as_trailer(field.name, &none)).collect()
    }
}

fn failure(error: &h2::Error) -> SourceError {
    let is_framing = error.reason() == Some(Reason::PROTOCOL_ERROR) && !error.is_remote();
    if is_framing {
        SourceError::Malformed
    } else if error.is_io() {
        SourceError::Io
    } else {
        SourceError::Incomplete
    }
}

/// Bytes of a DATA frame at most, unless a peer allows more.
const FRAME_BYTES: usize = 16 * 1024;

/// A body that leaves in DATA frames.
pub(crate) struct Http2Sink {
    stream: SendStream<Bytes>,
    /// What its stream has not taken: pieces that are no larger than a frame, because the library
    /// keeps a whole piece until its last byte is written.
    pieces: VecDeque<Bytes>,
    end: End,
    /// Of the connection, towards a client.
    seen: Option<Rc<Seen>>,
    /// For what waits here.
    charge: Charge,
}

/// How far the end of a stream is.
enum End {
    Open,
    /// To be said with the last data, or with trailers.
    Due(HeaderMap),
    Sent,
}

impl Http2Sink {
    /// The body behind a head; `ended` if the head said that there is none.
    pub(crate) fn new(
        stream: SendStream<Bytes>,
        ended: bool,
        seen: Option<Rc<Seen>>,
        charge: Charge,
    ) -> Self {
        let end = if ended { End::Sent } else { End::Open };
        Self { stream, pieces: VecDeque::new(), end, seen, charge }
    }

    /// How large a piece should be that is read of what goes here.
    ///
    /// Not much while the recipient's window is closed, or the connection's streams have enough
    /// waiting for the socket: only so much as shows that the recipient is waited for.
    pub(super) fn piece_bytes(&mut self, wanted: usize) -> usize {
        let is_full = self.seen.as_ref().is_some_and(|seen| seen.queue.is_full());
        if !is_full && self.stream.capacity() == 0 {
            // One byte tells whether the window is open, and takes it from no other stream.
            self.stream.reserve_capacity(1);
        }
        if is_full || self.stream.capacity() == 0 {
            return wanted.min(SMALL_BYTES);
        }
        self.charge.holder().piece_bytes(wanted)
    }

    /// Takes data; only after the last was flushed.
    pub(super) fn send(&mut self, data: &[u8], end: Option<&[Field<'_>]>) {
        self.pieces.extend(data.chunks(FRAME_BYTES).map(Bytes::copy_from_slice));
        self.ends(end);
    }

    /// Takes data as the library gave it; only after the last was flushed.
    pub(super) fn send_bytes(&mut self, data: Bytes, end: Option<&[Field<'_>]>) {
        if !data.is_empty() {
            self.pieces.push_back(data);
        }
        self.ends(end);
    }

    fn ends(&mut self, end: Option<&[Field<'_>]>) {
        if let (End::Open, Some(fields)) = (&self.end, end) {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                trailers.field(field.name, field.value);
            }
            self.end = End::Due(trailers);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.pieces.is_empty() || matches!(self.end, End::Due(_))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            let waiting = self.pieces.iter().map(Bytes::len).sum::<usize>();
            self.charge.set(waiting);
            if let Some(seen) = &self.seen {
                ready!(seen.queue.poll_room(cx));
            }
            self.stream.reserve_capacity(waiting);
            let room = match self.stream.capacity() {
                0 => ready!(self.stream.poll_capacity(cx)),
                room => Some(Ok(room)),
            };
            let room = match room {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            let Some(mut piece) = self.pieces.pop_front() else {
                break;
            };
            let piece_bytes = piece.len();
            let now = piece.split_to(room.min(piece_bytes));
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
            let is_last = self.pieces.is_empty()
                && matches!(&self.end, End::Due(trailers) if trailers.is_empty());
            if is_last {
                self.end = End::Sent;
            }
            if let Some(seen) = &self.seen {
                seen.queue.add(self.stream.stream_id().as_u32(), now.len(), piece_bytes);
            }
            self.stream.send_data(now, is_last).map_err(broken)?;
        }
        self.charge.set(0);
        if matches!(self.end, End::Due(_))
            && let End::Due(trailers) = std::mem::replace(&mut self.end, End::Sent)
        {
            if trailers.is_empty() {
                self.stream.send_data(Bytes::new(), true).map_err(broken)?;
            } else {
                self.stream.send_trailers(trailers).map_err(broken)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells whether the recipient has reset the stream.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_reason| ())
    }

    /// Resets the stream: what was sent must not be taken for whole.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
