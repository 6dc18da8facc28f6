//! The answer's head: read from the upstream, rewritten, written to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::client::ResponseFuture;
use http::StatusCode;

use super::finish::persistence;
use super::retry::Processed;
use super::{Abort, Continue, ExchangeError, Failure, HalfClose, Phase, Sides, Upload};
use crate::http::h1::{BodyLength, Field, ResponseHead, Version, items, parse_response, slots};
use crate::http::h2::{fields, list_bytes, response_body};
use crate::http::response::{BodyEnd, Forwarded, Persistence};
use crate::http::rewrite::{Named, ResponseFields};
use crate::net::budget::Kept;
use crate::net::timer::Timer;
use crate::net::transport::Transport;
use crate::proxy::body::{Http1Source, Http2Source, Pump, Source};
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::observe;
use crate::proxy::upstream::{PooledConnection, STREAM_WINDOW_BYTES};

/// Where the answer's head comes from.
pub(super) enum HeadReader {
    /// The connection, and what came of the head so far.
    Http1(Kept),
    /// A stream.
    Http2(ResponseFuture),
    /// A connection that took no stream.
    NoStream,
}

/// An answer on its way to the client.
pub(super) struct Answer {
    pub(super) pump: Pump,
    pub(super) persistence: Persistence,
    pub(super) body_end: BodyEnd,
    pub(super) upstream_keeps: bool,
    pub(super) keep_alive_seconds: Option<u64>,
    /// Bytes of body that the head announced, if it did.
    known_bytes: Option<u64>,
    /// Whether the client had its side still open when there was a head to send.
    pub(super) head: observe::ResponseHead,
    /// Fires when an HTTP/2 client should have read; none before it had to be waited for.
    pub(super) reader: Option<Timer>,
}

impl Answer {
    /// Tells whether the client has got all of it, or all that the head announced: the end may come
    /// apart from the last byte, and a client that has counted does not wait for it.
    pub(super) fn is_delivered(&self) -> bool {
        let is_all = self.pump.has_ended() || self.known_bytes == Some(self.pump.bytes);
        is_all && !self.pump.sink.is_blocked()
    }
}

/// What the bytes of a head were.
enum Head {
    Incomplete,
    /// An interim answer of so many bytes.
    Interim(usize),
    /// The last, of so many bytes, and what follows.
    Final(usize, Phase),
}

impl Sides<'_> {
    /// Reads until the answer's head is there.
    pub(super) fn poll_answer_head(
        &mut self,
        reader: &mut HeadReader,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Phase, ExchangeError>> {
        match (reader, &self.upstream) {
            (HeadReader::Http1(partial), PooledConnection::Http1(connection)) => {
                let transport = Rc::clone(&connection.transport);
                self.poll_http1_head(partial, &transport, cx)
            }
            (HeadReader::Http2(response), PooledConnection::Http2(_)) => {
                self.poll_http2_head(response, cx)
            }
            (HeadReader::NoStream | HeadReader::Http1(_) | HeadReader::Http2(_), _) => {
                Poll::Ready(Err(self.unanswered(None)))
            }
        }
    }

    fn poll_http1_head(
        &mut self,
        partial: &mut Kept,
        transport: &Rc<Transport>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Phase, ExchangeError>> {
        let worker = self.worker;
        // What comes behind the head may have to wait for the client, and a connection of HTTP/2
        // has many of them.
        let most = match &self.downstream {
            Downstream::Http1(_) => usize::MAX,
            Downstream::Http2(stream) => stream.seen.holder().first_piece_bytes(),
        };
        loop {
            let mut scratch = worker.scratch.borrow_mut();
            let room = scratch.head_room();
            let (room, _) = room.split_at_mut(most.min(room.len()));
            let count = match ready!(transport.poll_read(cx, room)) {
                Ok(0) => return Poll::Ready(Err(self.ended(transport, None))),
                Ok(count) => count,
                Err(error) => return Poll::Ready(Err(self.ended(transport, Some(error)))),
            };
            let (read, _) = scratch.split_at_mut(count);
            let phase = if partial.is_empty() {
                self.take(partial, transport, read, cx)?
            } else {
                let mut bytes = partial.take();
                bytes.extend_from_slice(read);
                self.take(partial, transport, &mut bytes, cx)?
            };
            if let Some(phase) = phase {
                return Poll::Ready(Ok(phase));
            }
            if self.downstream.holds_interim() {
                return Poll::Pending;
            }
        }
    }

    /// Takes what was read: heads, and what comes behind the last. Returns what follows the last.
    fn take(
        &mut self,
        partial: &mut Kept,
        transport: &Rc<Transport>,
        mut bytes: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Result<Option<Phase>, ExchangeError> {
        loop {
            match self.take_head(transport, bytes, cx)? {
                Head::Incomplete => {
                    if bytes.len() > self.worker.config.max_header_bytes {
                        return Err(protocol("its head is too large"));
                    }
                    partial.extend(bytes);
                    return Ok(None);
                }
                Head::Interim(size) => (_, bytes) = bytes.split_at_mut(size),
                Head::Final(size, mut phase) => {
                    let (_, behind) = bytes.split_at_mut(size);
                    match &mut phase {
                        Phase::Streaming(answer) if !behind.is_empty() => {
                            answer.pump.push(cx, behind).map_err(|_io| Abort::Left)?;
                        }
                        Phase::Streaming(_) | Phase::AwaitingHead(_) => {}
                        // Bytes of the new protocol.
                        Phase::Switching => transport.put_back(behind),
                    }
                    return Ok(Some(phase));
                }
            }
        }
    }

    fn take_head(
        &mut self,
        transport: &Rc<Transport>,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Head, ExchangeError> {
        let mut slots = slots();
        let to_head = self.request.to.to_head;
        let Some((head, size)) = parse_response(bytes, &mut slots, to_head).map_err(protocol)?
        else {
            return Ok(Head::Incomplete);
        };
        let max_bytes = self.worker.config.max_header_bytes;
        if size > max_bytes {
            return Err(protocol("its head is too large"));
        }
        Ok(match head.status.as_u16() {
            101 => Head::Final(size, self.switch(&head)?),
            100..=199 => {
                self.interim(&head, cx)?;
                Head::Interim(size)
            }
            _ => {
                let source =
                    |named| Source::Http1(Http1Source::new(transport, head.body, named, max_bytes));
                Head::Final(size, self.final_head(&head, source)?)
            }
        })
    }

    fn poll_http2_head(
        &mut self,
        response: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Phase, ExchangeError>> {
        while !self.downstream.holds_interim()
            && let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx)
        {
            self.check_size(interim.headers())?;
            let fields: Vec<_> = fields(interim.headers()).collect();
            self.interim(&http2_head(interim.status(), &fields, BodyLength::None), cx)?;
        }
        let (parts, stream) = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(self.unanswered(Some(error)))),
        };
        self.check_size(&parts.headers)?;
        let fields: Vec<_> = fields(&parts.headers).collect();
        let room = (self.downstream.holder().charge(), STREAM_WINDOW_BYTES as usize);
        let (to_head, ended) = (self.request.to.to_head, stream.is_end_stream());
        let body = response_body(parts.status, &parts.headers, to_head, ended).map_err(protocol)?;
        let head = http2_head(parts.status, &fields, body);
        let max_trailer_bytes = self.worker.config.max_header_bytes;
        let source = |_: Named| {
            Source::Http2(Box::new(Http2Source::new(stream, max_trailer_bytes, None, room)))
        };
        Poll::Ready(self.final_head(&head, source))
    }

    /// The limit of a head is ours to hold: the library's own would drop trailers beyond it in
    /// silence.
    fn check_size(&self, headers: &http::HeaderMap) -> Result<(), ExchangeError> {
        if list_bytes(headers) > self.worker.config.max_header_bytes {
            return Err(protocol("its head is too large"));
        }
        Ok(())
    }

    /// Takes an interim answer of the upstream. A 100 that the proxy has said itself is not said
    /// again.
    fn interim(
        &mut self,
        head: &ResponseHead<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), ExchangeError> {
        if head.status == StatusCode::CONTINUE {
            match (self.state, self.said_continue) {
                (Upload::Held, _) => {
                    self.state = Upload::Running;
                    // The upload has to be looked at again.
                    cx.waker().wake_by_ref();
                }
                (Upload::Running | Upload::Complete | Upload::Refused, Continue::Proxy) => {
                    self.said_continue = Continue::Upstream;
                    return Ok(());
                }
                (Upload::Running | Upload::Complete | Upload::Refused, Continue::Upstream) => {}
            }
        }
        self.send_interim(head, cx)
    }

    /// Sends an interim answer to the client.
    pub(super) fn send_interim(
        &mut self,
        head: &ResponseHead<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), ExchangeError> {
        let sent = self.downstream.send_interim(head, self.request.to, cx);
        sent.map_err(|_io| Abort::Left.into())
    }

    /// Hands the final head to the client's side; `source` is its body, without the trailers that
    /// it is told the names of.
    fn final_head<'h>(
        &mut self,
        head: &ResponseHead<'h>,
        source: impl FnOnce(Named) -> Source,
    ) -> Result<Phase, ExchangeError> {
        let read = self.request.observation.now();
        if head.status.is_redirection()
            && let Some(to) = head.fields.iter().find(|f| f.name.eq_ignore_ascii_case("location"))
        {
            self.request.observation.redirected(to.value);
        }
        if self.request.is_grpc {
            let status = head.fields.iter().find(|f| f.name.eq_ignore_ascii_case("grpc-status"));
            self.request.observation.set_grpc_status(status.map(|field| field.value));
        }
        let seen = if self.downstream.http1().is_some_and(|client| client.transport.is_eof()) {
            observe::ResponseHead::Unseen
        } else {
            observe::ResponseHead::Seen
        };
        let (wants, state, unread) = (self.wants_to_keep(), self.state, self.has_unread());
        let persistence =
            |fields: &ResponseFields<'h>| persistence(wants, state, unread, fields.keep_alive);
        let worker = self.worker;
        let sent = self.downstream.send_head(head, self.request.to, persistence, || worker.date());
        let (Forwarded { fields, body_end, persistence }, sink) =
            sent.map_err(|_io| Abort::Left)?;
        self.request.observation.upstream_head_ready(read, head.status.as_u16());
        if fields.is_event_stream {
            self.request.observation.event_stream_begun();
        }
        Ok(Phase::Streaming(Box::new(Answer {
            pump: Pump::new(source(fields.named), sink),
            persistence,
            body_end,
            upstream_keeps: fields.keep_alive,
            keep_alive_seconds: fields.keep_alive_seconds,
            known_bytes: match head.body {
                BodyLength::None => Some(0),
                BodyLength::Known(bytes) => Some(bytes),
                BodyLength::Chunked | BodyLength::UntilClose => None,
            },
            head: seen,
            reader: None,
        })))
    }

    /// The upstream switches protocols, if it was asked to and to what it was asked (RFC 9110
    /// §7.8). A body that is still on its way would be taken for the new protocol.
    fn switch(&mut self, head: &ResponseHead<'_>) -> Result<Phase, ExchangeError> {
        let read = self.request.observation.now();
        let asked = self.request.upgrade.as_deref().unwrap_or_default();
        let is_offered = |protocol: &[u8]| items(asked).any(|a| a.eq_ignore_ascii_case(protocol));
        let is_asked_for = |chosen: &[u8]| items(chosen).all(is_offered);
        if self.state != Upload::Complete
            || !self.downstream.put_switch(head, self.request.to, is_asked_for)
        {
            return Err(ProxyError::UpgradeFailed.into());
        }
        self.request.observation.upstream_head_ready(read, head.status.as_u16());
        Ok(Phase::Switching)
    }

    /// Why there is no answer, when the connection has ended.
    fn ended(&self, transport: &Transport, error: Option<std::io::Error>) -> ExchangeError {
        if self.half_close != HalfClose::Open {
            return Abort::Left.into();
        }
        let error = error.unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        if transport.has_received() {
            ProxyError::ResponseIncomplete(error).into()
        } else {
            ProxyError::ConnectionTerminated(error).into()
        }
    }

    /// Why there is no answer on a stream; without an error, because there was no stream.
    pub(super) fn unanswered(&self, error: Option<h2::Error>) -> ExchangeError {
        let failure = failure_of_stream(error);
        if matches!(failure.processed, Processed::No | Processed::NotTaken)
            && let PooledConnection::Http2(stream) = &self.upstream
        {
            stream.close();
        }
        ExchangeError::Failed(failure)
    }
}

/// What an error on a stream means, or that there was none to send the request on.
fn failure_of_stream(error: Option<h2::Error>) -> Failure {
    let broken = || std::io::ErrorKind::ConnectionReset.into();
    let Some(error) = error else {
        let error = ProxyError::ConnectionTerminated(broken());
        return Failure { error, processed: Processed::NotTaken };
    };
    // A GOAWAY of ours says nothing of what the upstream did with the request.
    let is_refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    let processed = if error.is_remote() && is_refused {
        Processed::No
    } else if error.is_io() {
        Processed::Lost
    } else {
        Processed::Unknown
    };
    let error = match error.reason() {
        // What is not HTTP/2 at all reads as a frame of some megabytes.
        Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR) => {
            ProxyError::Protocol("its frames are malformed")
        }
        _ => ProxyError::ConnectionTerminated(error.into_io().unwrap_or_else(broken)),
    };
    Failure { error, processed }
}

fn http2_head<'a>(
    status: StatusCode,
    fields: &'a [Field<'a>],
    body: BodyLength,
) -> ResponseHead<'a> {
    let reason = status.canonical_reason().unwrap_or("").as_bytes();
    ResponseHead { status, reason, version: Version::Http2, fields, body }
}

fn protocol(reason: &'static str) -> ExchangeError {
    ProxyError::Protocol(reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::ErrorToken;

    #[test]
    fn a_stream_that_failed_was_processed_unless_the_upstream_says_otherwise() {
        let of = |error: Option<h2::Error>| {
            let failure = failure_of_stream(error);
            (failure.error.token(), failure.processed)
        };
        assert_eq!(of(None), (ErrorToken::ConnectionTerminated, Processed::NotTaken));
        // What our own side says is no word of the upstream.
        for (reason, token) in [
            (Reason::REFUSED_STREAM, ErrorToken::ConnectionTerminated),
            (Reason::CANCEL, ErrorToken::ConnectionTerminated),
            (Reason::INTERNAL_ERROR, ErrorToken::ConnectionTerminated),
            (Reason::PROTOCOL_ERROR, ErrorToken::HttpProtocolError),
            (Reason::FRAME_SIZE_ERROR, ErrorToken::HttpProtocolError),
        ] {
            assert_eq!(of(Some(reason.into())), (token, Processed::Unknown), "{reason:?}");
        }
    }
}
