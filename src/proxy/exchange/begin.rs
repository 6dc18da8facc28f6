//! The request's head on its way to the upstream.

use h2::client::ResponseFuture;

use crate::http::h1::BodyLength;
use crate::proxy::body::{Delimiter, FrameSink, Sink, WireSink};
use crate::proxy::request::{Outgoing, Request};
use crate::proxy::upstream::{PooledConnection, Protocol};

/// Hands the request's head to the upstream: to a sink, or as a new stream.
///
/// A stream that the connection does not take shows as a missing answer; see `poll_head`.
pub(super) fn begin(
    lease: &mut PooledConnection,
    request: &mut Request,
) -> (Sink, Option<ResponseFuture>) {
    let delimiter = match request.body {
        BodyLength::Chunked => Delimiter::Chunked,
        _ => Delimiter::Plain,
    };
    if request.has_body() || request.upgrade.is_some() {
        lease.be_patient();
    }
    match lease {
        PooledConnection::Wire(lease) => {
            // The head is not kept in its other form: sent again, it goes the same way.
            request.protocol = Protocol::Http1;
            let outgoing = std::mem::replace(&mut request.outgoing, Outgoing::Wire(Vec::new()));
            let head = outgoing.into_wire(request.body);
            (Sink::Wire(WireSink::new(&lease.link, head, delimiter)), None)
        }
        PooledConnection::Stream(lease) => {
            let Outgoing::Frames(head) = &request.outgoing else {
                return (Sink::None, None);
            };
            let ended = !request.has_body();
            match lease.send.send_request((**head).clone(), ended) {
                Ok((response, stream)) => {
                    (Sink::Frames(Box::new(FrameSink::new(stream, ended))), Some(response))
                }
                Err(error) => {
                    tracing::debug!(%error, "no stream to the upstream");
                    (Sink::None, None)
                }
            }
        }
    }
}
