//! One request from head to head: *the* file to read.
//!
//! Observe it, rewrite it, send it, rewrite the answer, wrap the body. Nothing fails beyond this
//! file: an error becomes an answer and a label. Nothing is collected: bodies stream both ways.

use std::convert::Infallible;
use std::fmt::Write;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::{Body, Incoming};

use crate::body::ResponseBody;
use crate::downstream::Downstream;
use crate::error::ProxyError;
use crate::headers::{self, BodyLength, MaxForwards, Named};
use crate::observe::Observation;
use crate::upload::RequestBody;
use crate::upstream::Pool;
use crate::worker::Worker;

/// Answers one request.
///
/// # Errors
///
/// None: hyper would close the connection without an answer.
///
/// # Cancel safety
///
/// hyper drops the future when the client is gone. That closes the upstream connection, and the
/// observation records the request as aborted.
pub async fn handle(
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut observation = Observation::start(&worker, &downstream, &request);
    let (mut head, incoming) = request.into_parts();
    if headers::max_forwards(&mut head) == MaxForwards::AnswerHere {
        return Ok(answer_max_forwards(&head, observation));
    }
    let has_body = !incoming.is_end_stream();
    let named = match prepare(&worker, &downstream, &mut head, &incoming) {
        Ok(named) => named,
        Err(error) => return Ok(answer_error(&error, has_body, &downstream, observation)),
    };
    let body = if has_body {
        RequestBody::stream(incoming, named, &downstream)
    } else {
        RequestBody::empty()
    };
    let upload = body.upload();
    if let Some(upload) = &upload {
        observation.watch_upload(Rc::clone(upload));
    }
    let unread = || upload.as_ref().is_some_and(|upload| !upload.is_complete());
    let request = Request::from_parts(head, body);
    let (response, lease) = match pool.send(request, &mut observation).await {
        Ok(answer) => answer,
        Err(error) => return Ok(answer_error(&error, unread(), &downstream, observation)),
    };
    observation.upstream_head_read();
    let (mut head, incoming) = response.into_parts();
    let notes = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        Err(ProxyError::UpgradeFailed)
    } else {
        headers::prepare_response(&mut head).map_err(ProxyError::ResponseFraming)
    };
    let notes = match notes {
        Ok(notes) => notes,
        Err(error) => return Ok(answer_error(&error, unread(), &downstream, observation)),
    };
    if worker.cold.waits.wants_close() {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    observation.response_head_ready(head.status.as_u16());
    let body = ResponseBody::upstream(incoming, notes, observation, lease, upload);
    Ok(Response::from_parts(head, body))
}

fn prepare(
    worker: &Worker,
    downstream: &Downstream,
    head: &mut request::Parts,
    incoming: &Incoming,
) -> Result<Named, ProxyError> {
    let length = match incoming.size_hint().exact() {
        _ if incoming.is_end_stream() => BodyLength::None,
        Some(_) => BodyLength::Exact,
        None => BodyLength::Unknown,
    };
    let downstream = headers::Downstream {
        peer: downstream.peer_field(),
        forwarded: worker.config.forwarded,
        via: worker.config.via,
    };
    headers::prepare_request(head, length, downstream).map_err(ProxyError::Request)
}

/// Answers for the upstream: status, a line of text, and no internals.
fn answer_error(
    error: &ProxyError,
    unread_body: bool,
    downstream: &Downstream,
    mut observation: Observation,
) -> Response<ResponseBody> {
    tracing::debug!(%error, "request failed");
    observation.set_error(error.token());
    if matches!(error, ProxyError::DownstreamAborted) {
        observation.set_unsent_status(error.status());
    } else {
        observation.response_head_ready(error.status());
    }
    observation.finish();
    // 499 is for metrics; whoever still reads gets the nearest standard status.
    let status = match error {
        ProxyError::DownstreamAborted => StatusCode::BAD_REQUEST,
        _ => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY),
    };
    let mut response =
        text(status, format!("{}: {error}\n", status.canonical_reason().unwrap_or("Error")));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if unread_body || matches!(error, ProxyError::Request(_)) {
        // RFC 9112 §9.3: what is left of the body must not be read as a request.
        downstream.mark_unread_upload();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// RFC 9110 §7.6.2: with Max-Forwards at 0 the proxy is the final recipient.
fn answer_max_forwards(
    head: &request::Parts,
    mut observation: Observation,
) -> Response<ResponseBody> {
    let response = if head.method == Method::TRACE {
        let mut response = text(StatusCode::OK, reflect(head));
        let message = HeaderValue::from_static("message/http");
        response.headers_mut().insert(header::CONTENT_TYPE, message);
        response
    } else {
        Response::new(ResponseBody::empty())
    };
    observation.response_head_ready(200);
    observation.finish();
    response
}

/// The request as received, without what could be a secret (RFC 9110 §9.3.8).
fn reflect(head: &request::Parts) -> String {
    let secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.uri);
    for (name, value) in head.headers.iter().filter(|(name, _)| !secret.contains(name)) {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text
}

fn text(status: StatusCode, text: String) -> Response<ResponseBody> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    let mut response = Response::new(ResponseBody::local(Bytes::from(text)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
