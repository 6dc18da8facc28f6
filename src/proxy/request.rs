//! A request whose head was read: what the upstream gets, and all that its answer will need.

use std::net::IpAddr;
use std::rc::Rc;

use crate::http::h1::{BodyLength, RequestHead, Version};
use crate::http::h2::to_http1;
use crate::http::rewrite::{
    Named, Peer, Recipient, RequestError, RequestFields, hops, prepare_request, reflect,
};
use crate::proxy::observe::Observation;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::{Pool, Protocol};
use crate::proxy::worker::Worker;

/// A request whose head was read, ready to be sent.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one head")]
pub(crate) struct Request {
    pub(crate) observation: Observation,
    /// The head as the upstream gets it.
    pub(crate) outgoing: Outgoing,
    pub(crate) protocol: Protocol,
    pub(crate) is_grpc: bool,
    pub(crate) body: BodyLength,
    /// Who gets the answer.
    pub(crate) to: Recipient,
    pub(crate) keep_alive: bool,
    pub(crate) idempotent: bool,
    pub(crate) expects_continue: bool,
    /// The protocols that the client would switch to.
    pub(crate) upgrade: Option<Box<[u8]>>,
    pub(crate) named: Named,
    /// The proxy answers it itself.
    pub(crate) answered_here: Option<LocalResponse>,
}

/// A request head in the form of the upstream's protocol.
pub(crate) enum Outgoing {
    /// Bytes.
    Http1(Vec<u8>),
    /// A head for the library.
    Http2(Box<http::Request<()>>),
}

impl Outgoing {
    /// The head in HTTP/1, for an upstream that turned out not to speak HTTP/2.
    pub(crate) fn into_http1(self, body: BodyLength) -> Vec<u8> {
        match self {
            Self::Http1(bytes) => bytes,
            Self::Http2(request) => to_http1(&request, body),
        }
    }
}

/// Why the proxy answers a request itself.
pub(crate) enum LocalResponse {
    /// It may not be forwarded.
    Refused(RequestError),
    /// RFC 9110 §7.6.2: with Max-Forwards at 0 the proxy is the final recipient.
    MaxForwards(Option<String>),
}

/// What becomes of the client's connection.
pub(crate) enum Disposition {
    /// Another request may come.
    Keep,
    /// It ends.
    Close,
    /// It ends, and the client must not take that for the answer's end.
    Abort,
    /// It carries another protocol from now on.
    Switched(Box<Tunnel>),
}

impl Request {
    /// Names, observes and rewrites a request. All that is needed of `head` is copied.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        pool: &Pool,
        client: (IpAddr, &str, &'static str),
        head: &RequestHead<'_>,
    ) -> Self {
        let (peer, address, scheme) = client;
        let observation = Observation::start(worker, (peer, scheme), head);
        let (forwarded, via) = (worker.config.forwarded, worker.config.via);
        let peer = Peer { address, scheme, forwarded, via, upstream: &pool.authority };
        let mut protocol = pool.protocol(head.version == Version::Http2);
        let (prepared, outgoing) = match protocol {
            Protocol::Http1 => for_http1(head, peer),
            Protocol::Http2 | Protocol::Grpc => for_http2(head, peer),
        };
        let mut request = Self {
            observation,
            outgoing,
            protocol,
            is_grpc: false,
            body: head.body,
            to: Recipient { version: head.version, to_head: head.method == "HEAD" },
            keep_alive: false,
            idempotent: is_idempotent(head.method),
            expects_continue: false,
            upgrade: None,
            named: Named::new(),
            answered_here: None,
        };
        match prepared {
            Ok(fields) => {
                if protocol == Protocol::Http2 && fields.upgrade.is_some() {
                    // HTTP/2 has no upgrade; the app may have one in HTTP/1.
                    protocol = Protocol::Http1;
                    request.outgoing = for_http1(head, peer).1;
                } else if protocol == Protocol::Http2 && fields.is_grpc {
                    protocol = Protocol::Grpc;
                }
                request.protocol = protocol;
                request.is_grpc = fields.is_grpc;
                request.keep_alive = fields.keep_alive;
                request.expects_continue = fields.expects_continue;
                request.upgrade = fields.upgrade.map(Box::from);
                request.named = fields.named;
                if hops(head) == Some(0) {
                    let trace = (head.method == "TRACE").then(|| reflect(head));
                    request.answered_here = Some(LocalResponse::MaxForwards(trace));
                }
            }
            Err(error) => request.answered_here = Some(LocalResponse::Refused(error)),
        }
        request
    }

    /// Tells whether a body follows the head.
    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Tells whether sending it a second time does no harm, and nothing of it would be missing.
    pub(crate) fn is_replayable(&self) -> bool {
        self.idempotent && !self.has_body()
    }
}

type Prepared<'a> = Result<RequestFields<'a>, RequestError>;

fn for_http1<'a>(head: &RequestHead<'a>, peer: Peer<'a>) -> (Prepared<'a>, Outgoing) {
    let mut out = Vec::with_capacity(512);
    (prepare_request(head, peer, &mut out), Outgoing::Http1(out))
}

fn for_http2<'a>(head: &RequestHead<'a>, peer: Peer<'a>) -> (Prepared<'a>, Outgoing) {
    let mut request = Box::new(http::Request::new(()));
    (prepare_request(head, peer, &mut *request), Outgoing::Http2(request))
}

/// Methods that RFC 9110 §9.2.2 calls idempotent, and QUERY.
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" | "QUERY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_idempotent_if_rfc_9110_says_so_or_it_is_query() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"] {
            assert!(is_idempotent(method), "{method}");
        }
        // Methods are case-sensitive, and nothing is known of one that is not listed.
        for method in ["POST", "PATCH", "CONNECT", "get", "Get", "PROPFIND", "LOCK", ""] {
            assert!(!is_idempotent(method), "{method}");
        }
    }
}
