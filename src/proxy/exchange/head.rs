//! The answer's head: read from the upstream, rewritten, written to the client.

use std::rc::Rc;
use std::task::{Context, Poll};

use http::StatusCode;

use super::{Exchange, ExchangeError, HalfClose, Upload};
use crate::http::h1::{BodyLength, ResponseHead, Version, parse_response, slots};
use crate::http::h2::list_bytes;
use crate::http::response::{BodyEnd, Forwarded, Persistence, write_forwarded, write_interim};
use crate::http::rewrite::ResponseFields;
use crate::net::transport::Transport;
use crate::proxy::body::{
    Delimiter, FrameSink, FrameSource, Pump, Sink, Source, WireSink, WireSource,
};
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::PooledConnection;

/// An answer on its way to the client.
pub(super) struct Answer {
    pub(super) pump: Pump,
    pub(super) persistence: Persistence,
    pub(super) body_end: BodyEnd,
    pub(super) upstream_keeps: bool,
    /// Bytes of body that the head announced, if it did.
    known_bytes: Option<u64>,
    /// The client had sent its FIN before there was a head to send.
    pub(super) half_closed_before_head: bool,
    pub(super) keep_alive_seconds: Option<u64>,
}

impl Answer {
    /// Tells whether the client has got all that the head announced. The end may come apart from
    /// the last byte, and a client that has counted does not wait for it.
    pub(super) fn is_delivered(&self) -> bool {
        self.known_bytes == Some(self.pump.bytes) && !self.pump.sink.is_blocked()
    }
}

/// What a status takes of a list of fields: `:status`, three digits, and what RFC 9113 §10.5.1
/// adds.
const STATUS_BYTES: usize = 42;

/// What a head was.
enum Head {
    Incomplete,
    /// An interim answer, or the last, of so many bytes.
    Interim(usize),
    Final(usize),
}

impl Exchange<'_> {
    /// Reads until the answer's head is there.
    pub(super) fn poll_answer_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ExchangeError>> {
        let PooledConnection::Wire(lease) = &self.lease else {
            return self.poll_frames_head(cx);
        };
        let (worker, link) = (self.worker, Rc::clone(&lease.link));
        loop {
            let mut scratch = worker.scratch.borrow_mut();
            let count = match link.poll_read(cx, &mut scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.ended(&link, None))),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ended(&link, Some(error)))),
            };
            let read = scratch.get_mut(..count).unwrap_or_default();
            let done = if self.partial.is_empty() {
                self.take(cx, read)
            } else {
                let mut bytes = std::mem::take(&mut self.partial);
                bytes.extend_from_slice(read);
                self.take(cx, &mut bytes)
            };
            if done? {
                return Poll::Ready(Ok(()));
            }
            if self.interim.as_ref().is_some_and(WireSink::is_blocked) {
                return Poll::Pending;
            }
        }
    }

    /// Takes what was read; tells whether the final head was in it.
    fn take(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Result<bool, ExchangeError> {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            match self.take_head(cx, rest)? {
                Head::Incomplete => {
                    if rest.len() > self.worker.config.max_header_bytes {
                        return Err(protocol("its head is too large"));
                    }
                    self.partial = rest.to_vec();
                    return Ok(false);
                }
                Head::Interim(size) => at += size,
                Head::Final(size) => {
                    let rest = rest.get_mut(size..).unwrap_or_default();
                    self.begin_body(cx, rest)?;
                    return Ok(true);
                }
            }
        }
    }

    fn take_head(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<Head, ExchangeError> {
        let mut slots = slots();
        let parsed =
            parse_response(bytes, &mut slots, self.request.to.to_head).map_err(protocol)?;
        let Some((head, size)) = parsed else {
            return Ok(Head::Incomplete);
        };
        if size > self.worker.config.max_header_bytes {
            return Err(protocol("its head is too large"));
        }
        match head.status.as_u16() {
            101 => self.switch(&head)?,
            100..=199 => {
                self.interim(cx, &head)?;
                return Ok(Head::Interim(size));
            }
            _ => self.final_head(&head, None)?,
        }
        Ok(Head::Final(size))
    }

    /// Takes an interim answer of the upstream. A 100 that the proxy has said itself is not said
    /// again.
    pub(super) fn interim(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead<'_>,
    ) -> Result<(), ExchangeError> {
        if head.status == StatusCode::CONTINUE {
            if self.state == Upload::Held {
                self.enter(Upload::Running);
                // The upload has to be looked at again.
                cx.waker().wake_by_ref();
            } else if std::mem::replace(&mut self.continued, false) {
                return Ok(());
            }
        }
        self.send_interim(cx, head)
    }

    /// Sends an interim answer to the client (RFC 9110 §15.2), except to one of HTTP/1.0.
    pub(super) fn send_interim(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead<'_>,
    ) -> Result<(), ExchangeError> {
        let to = self.request.to;
        match (&mut self.front, &mut self.interim) {
            (Downstream::Wire(_), Some(sink)) if to.version == Version::Http11 => {
                let mut out = Vec::with_capacity(256);
                write_interim(head, to, &mut out);
                sink.send(cx, &out, None).map_err(|_io| ExchangeError::Gone)
            }
            (Downstream::Wire(_), _) => Ok(()),
            (Downstream::Stream(stream), _) => {
                let mut response = http::Response::new(());
                write_interim(head, to, &mut response);
                // Flow control does not hold these back. They are hints: what the client gets no
                // more of changes nothing about its answer.
                let size = list_bytes(response.headers()) + STATUS_BYTES;
                let Some(left) = self.interim_room_bytes.checked_sub(size) else {
                    return Ok(());
                };
                self.interim_room_bytes = left;
                stream.respond.send_informational(response).map_err(|_reset| ExchangeError::Gone)
            }
        }
    }

    /// Hands the final head to the client's side; `frames` is the body if it comes in an HTTP/2
    /// stream.
    pub(super) fn final_head(
        &mut self,
        head: &ResponseHead<'_>,
        frames: Option<Box<FrameSource>>,
    ) -> Result<(), ExchangeError> {
        self.request.observation.upstream_head_read();
        if self.request.is_grpc {
            let status = head.fields.iter().find(|f| f.name.eq_ignore_ascii_case("grpc-status"));
            self.request.observation.set_grpc_status(status.map(|field| field.value));
        }
        let half_closed_before_head = self.front.wire().is_some_and(|d| d.link.is_eof());
        let (written, sink) = match &self.front {
            Downstream::Wire(_) => self.write_wire_head(head),
            Downstream::Stream(_) => self.write_frames_head(head)?,
        };
        let Forwarded { fields, body_end, persistence } = written;
        self.request.observation.response_head_ready(head.status.as_u16());
        if fields.is_event_stream {
            self.request.observation.event_stream_begun();
        }
        let source = match (frames, &self.lease) {
            (Some(frames), _) => Source::Frames(frames),
            (None, PooledConnection::Wire(lease)) => {
                let limit = self.worker.config.max_header_bytes;
                Source::Wire(WireSource::new(&lease.link, head.body, fields.named, limit))
            }
            (None, PooledConnection::Stream(_)) => Source::None,
        };
        self.answer = Some(Answer {
            half_closed_before_head,
            pump: Pump::new(source, sink),
            persistence,
            body_end,
            upstream_keeps: fields.keep_alive,
            known_bytes: known_bytes(head.body),
            keep_alive_seconds: fields.keep_alive_seconds,
        });
        Ok(())
    }

    fn write_wire_head<'h>(&mut self, head: &ResponseHead<'h>) -> (Forwarded<'h>, Sink) {
        let mut out = self.interim.as_mut().map(WireSink::take_waiting).unwrap_or_default();
        out.reserve(512);
        let persistence = |fields: &ResponseFields<'_>| self.persistence(fields.keep_alive);
        let date = || self.worker.date();
        let written = write_forwarded(head, self.request.to, persistence, date, &mut out);
        let delimiter = match written.body_end {
            BodyEnd::LastChunk => Delimiter::Chunked,
            BodyEnd::Announced | BodyEnd::ConnectionEnd => Delimiter::Plain,
        };
        let sink = match &self.front {
            Downstream::Wire(downstream) => {
                Sink::Wire(WireSink::new(&downstream.link, out, delimiter))
            }
            Downstream::Stream(_) => Sink::None,
        };
        (written, sink)
    }

    fn write_frames_head<'h>(
        &mut self,
        head: &ResponseHead<'h>,
    ) -> Result<(Forwarded<'h>, Sink), ExchangeError> {
        let Downstream::Stream(stream) = &mut self.front else {
            return Err(ExchangeError::Gone);
        };
        let mut response = http::Response::new(());
        // What becomes of the connection is the library's affair.
        let persistence = |_: &ResponseFields<'_>| Persistence::Keep;
        let date = || self.worker.date();
        let written = write_forwarded(head, self.request.to, persistence, date, &mut response);
        let ended = head.body.is_empty();
        let sent = stream.respond.send_response(response, ended);
        let sent = sent.map_err(|_reset| ExchangeError::Gone)?;
        Ok((written, Sink::Frames(Box::new(FrameSink::new(sent, ended)))))
    }

    /// Why there is no answer, when the connection has ended.
    fn ended(&self, link: &Transport, error: Option<std::io::Error>) -> ExchangeError {
        if self.half_close != HalfClose::Open {
            return ExchangeError::Gone;
        }
        let error = error.unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        ExchangeError::Failed(if link.has_received() {
            ProxyError::ResponseIncomplete(error)
        } else {
            ProxyError::ConnectionTerminated(error)
        })
    }

    /// Takes what came behind the head in one read.
    fn begin_body(&mut self, cx: &mut Context<'_>, rest: &mut [u8]) -> Result<(), ExchangeError> {
        let Some(answer) = &mut self.answer else {
            if let Some(link) = self.link() {
                // Bytes of the new protocol.
                link.put_back(rest);
            }
            return Ok(());
        };
        if rest.is_empty() {
            return Ok(());
        }
        answer.pump.push(cx, rest).map_err(|_io| ExchangeError::Gone)
    }
}

fn known_bytes(body: BodyLength) -> Option<u64> {
    match body {
        BodyLength::None => Some(0),
        BodyLength::Known(bytes) => Some(bytes),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}

fn protocol(reason: &'static str) -> ExchangeError {
    ExchangeError::Failed(ProxyError::Protocol(reason))
}
