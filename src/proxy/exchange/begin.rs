//! The request's head on its way to the upstream.

use std::rc::Rc;

use super::head::HeadReader;
use crate::http::h1::BodyLength;
use crate::net::budget::{Holder, Kept};
use crate::proxy::body::{Delimiter, Http1Sink, Http2Sink, Sink};
use crate::proxy::request::{Outgoing, Request};
use crate::proxy::upstream::{PooledConnection, Protocol};

/// Hands the request's head to the upstream, and tells where its answer will come from.
/// What the request keeps is charged to `holder`.
pub(super) fn begin(
    upstream: &mut PooledConnection,
    request: &mut Request,
    holder: &Rc<Holder>,
) -> (Sink, HeadReader) {
    let delimiter = match request.body {
        BodyLength::Chunked => Delimiter::Chunked,
        BodyLength::None | BodyLength::Known(_) | BodyLength::UntilClose => Delimiter::Plain,
    };
    if request.has_body() || request.upgrade.is_some() {
        upstream.be_patient();
    }
    match upstream {
        PooledConnection::Http1(connection) => {
            // The head is not kept in its other form: sent again, it goes the same way.
            request.protocol = Protocol::Http1;
            let outgoing = std::mem::replace(&mut request.outgoing, Outgoing::Http1(Vec::new()));
            let head = outgoing.into_http1(request.body);
            (
                Sink::Http1(Http1Sink::charged(&connection.transport, holder, head, delimiter)),
                HeadReader::Http1(Kept::new(holder)),
            )
        }
        PooledConnection::Http2(stream) => {
            let Outgoing::Http2(head) = &request.outgoing else {
                debug_assert!(false, "a request for HTTP/1 goes to a stream");
                return (Sink::None, HeadReader::NoStream);
            };
            let ended = !request.has_body();
            match stream.send.send_request((**head).clone(), ended) {
                Ok((response, send)) => (
                    Sink::Http2(Box::new(Http2Sink::new(send, ended, None, holder.charge()))),
                    HeadReader::Http2(response),
                ),
                Err(error) => {
                    tracing::debug!(%error, "no stream to the upstream");
                    (Sink::None, HeadReader::NoStream)
                }
            }
        }
    }
}
