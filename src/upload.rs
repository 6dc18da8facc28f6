//! The request body on its way to the upstream: streamed, counted, its end and its failure noted.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::downstream::Downstream;
use crate::headers::{Named, prepare_trailers};

/// How a request body broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UploadFailure {
    /// The client went away before the end.
    Aborted,
    /// The framing is wrong, for example a chunk size that is no number.
    Malformed,
}

/// What is known of a request body while it is forwarded.
#[derive(Debug, Default)]
pub struct Upload {
    forwarded_bytes: Cell<u64>,
    completed_at: Cell<Option<Instant>>,
    failure: Cell<Option<UploadFailure>>,
}

impl Upload {
    /// Bytes handed to the upstream connection so far.
    pub fn forwarded_bytes(&self) -> u64 {
        self.forwarded_bytes.get()
    }

    /// Tells whether the whole body was forwarded.
    pub fn is_complete(&self) -> bool {
        self.completed_at.get().is_some()
    }

    /// When the whole body was forwarded.
    pub fn completed_at(&self) -> Option<Instant> {
        self.completed_at.get()
    }

    /// Why the body broke, if it did.
    pub fn failure(&self) -> Option<UploadFailure> {
        self.failure.get()
    }
}

/// A request body as hyper's client sees it.
pub struct RequestBody(Option<Box<Stream>>);

struct Stream {
    incoming: Incoming,
    named: Named,
    upload: Rc<Upload>,
    downstream: Rc<Downstream>,
}

impl RequestBody {
    /// No body; free of cost.
    pub fn empty() -> Self {
        Self(None)
    }

    /// Streams `incoming`; `named` are the fields to drop from its trailers.
    pub fn stream(incoming: Incoming, named: Named, downstream: &Rc<Downstream>) -> Self {
        downstream.upload_started();
        let upload = Rc::default();
        Self(Some(Box::new(Stream { incoming, named, upload, downstream: Rc::clone(downstream) })))
    }

    /// The state of the body, which outlives it. `None` for no body.
    pub fn upload(&self) -> Option<Rc<Upload>> {
        self.0.as_ref().map(|stream| Rc::clone(&stream.upload))
    }
}

impl Stream {
    fn complete(&self) {
        if !self.upload.is_complete() {
            self.upload.completed_at.set(Some(Instant::now()));
            self.downstream.upload_ended(true);
        }
    }
}

impl Drop for Stream {
    /// A body that nobody wants any more: the client may still be sending it.
    fn drop(&mut self) {
        if !self.upload.is_complete() {
            self.downstream.upload_ended(false);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(stream) = self.0.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(&mut stream.incoming).poll_frame(cx)) {
            None => {
                stream.complete();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                stream.upload.failure.set(Some(classify(&error)));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let bytes = stream.upload.forwarded_bytes.get() + data.len() as u64;
            stream.upload.forwarded_bytes.set(bytes);
        }
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                prepare_trailers(&mut trailers, &stream.named);
                stream.complete();
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        };
        // hyper does not poll again after the last announced byte.
        if stream.incoming.is_end_stream() {
            stream.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|stream| stream.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |stream| stream.incoming.size_hint())
    }
}

/// hyper tells a vanished client from a malformed chunk only by the io error inside.
fn classify(error: &hyper::Error) -> UploadFailure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    UploadFailure::Malformed
                }
                _ => UploadFailure::Aborted,
            };
        }
        source = cause.source();
    }
    UploadFailure::Aborted
}
