//! The response body: streams to the client and ends the observation, whatever the ending.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::headers::{Named, ResponseNotes, prepare_trailers};
use crate::labels::ErrorToken;
use crate::observe::Observation;
use crate::upload::Upload;
use crate::upstream::Lease;

/// A response body as hyper's server sees it.
pub struct ResponseBody(Kind);

enum Kind {
    Empty,
    /// An answer of our own, whose observation has ended already.
    Local(Option<Bytes>),
    Upstream(Box<Stream>),
}

/// A body from the upstream.
struct Stream {
    incoming: Incoming,
    named: Named,
    observation: Option<Observation>,
    lease: Option<Lease>,
    keep_alive_seconds: Option<u64>,
    upload: Option<Rc<Upload>>,
    failure: Failure,
}

/// How far a broken body has been reported to hyper.
enum Failure {
    None,
    /// hyper gets to flush what it has buffered before it learns of the error and closes:
    /// otherwise the client could lose the head, too.
    Flushing(hyper::Error),
}

impl ResponseBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A short body of our own.
    pub fn local(text: Bytes) -> Self {
        Self(Kind::Local(Some(text)))
    }

    /// Streams the upstream's body, or ends the observation at once if there is none.
    pub fn upstream(
        incoming: Incoming,
        notes: ResponseNotes,
        observation: Observation,
        lease: Lease,
        upload: Option<Rc<Upload>>,
    ) -> Self {
        let mut stream = Stream {
            incoming,
            named: notes.named,
            observation: Some(observation),
            lease: Some(lease),
            keep_alive_seconds: notes.keep_alive_seconds,
            upload,
            failure: Failure::None,
        };
        if stream.incoming.is_end_stream() {
            stream.finish();
            return Self::empty();
        }
        Self(Kind::Upstream(Box::new(stream)))
    }
}

impl Stream {
    /// The last byte was handed over: the connection is free, the observation ends.
    fn finish(&mut self) {
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.is_complete());
        if let Some(lease) = self.lease.take().filter(|_| uploaded) {
            // With an upload under way the connection is not free; then it closes here.
            lease.release(self.keep_alive_seconds);
        }
        if let Some(observation) = self.observation.take() {
            observation.finish();
        }
    }

    fn fail(&mut self) {
        self.lease = None;
        if let Some(mut observation) = self.observation.take() {
            observation.set_error(ErrorToken::HttpResponseIncomplete);
            observation.finish();
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Failure::Flushing(error) = std::mem::replace(&mut self.failure, Failure::None) {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => {
                self.finish();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.fail();
                self.failure = Failure::Flushing(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Ok(frame)) => frame,
        };
        if let (Some(data), Some(observation)) = (frame.data_ref(), &mut self.observation) {
            observation.add_response_bytes(data.len());
        }
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                prepare_trailers(&mut trailers, &self.named);
                self.finish();
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        };
        // hyper does not poll again after the last announced byte.
        if self.incoming.is_end_stream() {
            self.finish();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Local(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Upstream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Local(text) => text.is_none(),
            Kind::Upstream(stream) => {
                stream.incoming.is_end_stream() && matches!(stream.failure, Failure::None)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Local(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Upstream(stream) => stream.incoming.size_hint(),
        }
    }
}
