//! An answer on an HTTP/2 stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use h2::Reason;

use super::{Exchange, ExchangeError, Processed};
use crate::http::h1::{BodyLength, Field, ResponseHead, Version};
use crate::http::h2::{fields, list_bytes, response_body};
use crate::proxy::body::{FrameSource, WireSink};
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::PooledConnection;

impl Exchange<'_> {
    /// Waits for the answer's head.
    pub(super) fn poll_frames_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ExchangeError>> {
        let Some(mut response) = self.response.take() else {
            return Poll::Ready(Err(self.unanswered(None)));
        };
        while !self.interim.as_ref().is_some_and(WireSink::is_blocked)
            && let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx)
        {
            let (parts, ()) = interim.into_parts();
            self.check_size(&parts.headers)?;
            let fields: Vec<_> = fields(&parts.headers).collect();
            let head = head(parts.status, &fields, BodyLength::None);
            self.interim(cx, &head)?;
        }
        let answered = match Pin::new(&mut response).poll(cx) {
            Poll::Pending => {
                self.response = Some(response);
                return Poll::Pending;
            }
            Poll::Ready(answered) => answered,
        };
        let (parts, stream) = match answered {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(self.unanswered(Some(error)))),
        };
        self.check_size(&parts.headers)?;
        let fields: Vec<_> = fields(&parts.headers).collect();
        let (to_head, ended) = (self.request.to.to_head, stream.is_end_stream());
        let body = response_body(parts.status, &parts.headers, to_head, ended);
        let body = body.map_err(|error| ExchangeError::Failed(ProxyError::Protocol(error)))?;
        let head = head(parts.status, &fields, body);
        let source = FrameSource::new(stream, self.worker.config.max_header_bytes, None);
        Poll::Ready(self.final_head(&head, Some(Box::new(source))))
    }

    /// The limit of a head is ours to hold: the library's own would drop trailers beyond it in
    /// silence.
    fn check_size(&self, headers: &http::HeaderMap) -> Result<(), ExchangeError> {
        if list_bytes(headers) > self.worker.config.max_header_bytes {
            return Err(ExchangeError::Failed(ProxyError::Protocol("its head is too large")));
        }
        Ok(())
    }

    /// What an error on the stream means.
    pub(super) fn unanswered(&mut self, error: Option<h2::Error>) -> ExchangeError {
        // A GOAWAY of ours says nothing of what the upstream did with the request.
        let refused = error.as_ref().is_none_or(|error| {
            let is_refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
            error.is_remote() && is_refused
        });
        if error.as_ref().is_some_and(h2::Error::is_io) {
            self.fate = Processed::Lost;
        }
        if refused {
            self.fate = Processed::Unprocessed;
            if let PooledConnection::Stream(lease) = &self.lease {
                lease.close();
            }
        }
        let broken = |error: Option<h2::Error>| {
            let io = error.and_then(h2::Error::into_io);
            io.unwrap_or_else(|| std::io::ErrorKind::ConnectionReset.into())
        };
        ExchangeError::Failed(match error.as_ref().and_then(h2::Error::reason) {
            // What is not HTTP/2 at all reads as a frame of some megabytes.
            Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR) => {
                ProxyError::Protocol("its frames are malformed")
            }
            _ => ProxyError::ConnectionTerminated(broken(error)),
        })
    }
}

fn head<'a>(
    status: http::StatusCode,
    fields: &'a [Field<'a>],
    body: BodyLength,
) -> ResponseHead<'a> {
    let reason = status.canonical_reason().unwrap_or("").as_bytes();
    ResponseHead { status, reason, version: Version::Http2, fields, body }
}
