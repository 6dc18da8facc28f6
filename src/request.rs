//! A request whose head was read: what the upstream gets, and all that its answer will need.

use std::rc::Rc;

use crate::downstream::Downstream;
use crate::error::RequestError;
use crate::h1::{BodyLength, RequestHead, Version};
use crate::headers::{Fields, Named, Peer, hops, prepare_request};
use crate::observe::Observation;
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// A request whose head was read, ready to be sent.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one head")]
pub struct Request {
    pub(crate) observation: Observation,
    /// The head as the upstream gets it.
    pub(crate) head: Vec<u8>,
    pub(crate) body: BodyLength,
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    pub(crate) keep_alive: bool,
    pub(crate) idempotent: bool,
    pub(crate) expects_continue: bool,
    /// The protocols that the client would switch to.
    pub(crate) upgrade: Option<Box<[u8]>>,
    pub(crate) named: Named,
    /// It goes no further.
    pub(crate) here: Option<Here>,
}

/// Why a request goes no further.
pub(crate) enum Here {
    /// It may not be forwarded.
    Refused(RequestError),
    /// RFC 9110 §7.6.2: with Max-Forwards at 0 the proxy is the final recipient.
    MaxForwards(Option<String>),
}

/// What becomes of the client's connection.
pub enum After {
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
    pub fn new(worker: &Rc<Worker>, downstream: &Downstream, head: &RequestHead<'_>) -> Self {
        let observation = Observation::start(worker, downstream.peer, head);
        let mut out = Vec::with_capacity(512);
        let peer = Peer {
            address: &downstream.address,
            scheme: downstream.scheme,
            forwarded: worker.config.forwarded,
            via: worker.config.via,
        };
        let prepared = prepare_request(head, peer, &mut out);
        out.extend_from_slice(b"\r\n");
        let mut request = Self {
            observation,
            head: out,
            body: head.body,
            version: head.version,
            to_head: head.method == "HEAD",
            keep_alive: false,
            idempotent: is_idempotent(head.method),
            expects_continue: false,
            upgrade: None,
            named: Named::new(),
            here: None,
        };
        match prepared {
            Ok(fields) => {
                request.keep_alive = fields.keep_alive;
                request.expects_continue = fields.expects_continue;
                request.upgrade = fields.upgrade.map(Box::from);
                request.named = fields.named;
                if hops(head) == Some(0) {
                    let trace = (head.method == "TRACE").then(|| reflect(head));
                    request.here = Some(Here::MaxForwards(trace));
                }
            }
            Err(error) => request.here = Some(Here::Refused(error)),
        }
        request
    }

    /// Tells whether a body follows the head.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.body, BodyLength::None | BodyLength::Known(0))
    }
}

/// Methods that RFC 9110 §9.2.2 calls idempotent, and QUERY.
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" | "QUERY")
}

/// The request as received, without what could be a secret (RFC 9110 §9.3.8).
fn reflect(head: &RequestHead<'_>) -> String {
    let secret = ["authorization", "cookie", "proxy-authorization"];
    let mut bytes = format!("{} {} HTTP/1.1\r\n", head.method, head.target).into_bytes();
    for field in head.fields {
        if !secret.iter().any(|secret| field.name.eq_ignore_ascii_case(secret)) {
            bytes.field(field.name, field.value);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
