//! One request from head to head: *the* file to read.
//!
//! Observe it, rewrite it, send it, rewrite the answer, stream it. Nothing fails beyond this
//! file: an error becomes an answer and a label. Nothing is collected: bodies stream both ways.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::http::h1::BodyLength;
use crate::proxy::downstream::{Downstream, Leftover};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, ExchangeError};
use crate::proxy::observe::Observation;
use crate::proxy::request::{Disposition, Request};
use crate::proxy::upstream::{Pool, PooledConnection, Protocol};
use crate::proxy::worker::Worker;

use crate::proxy::local_response::Reply;

/// Answers one request.
///
/// What seldom happens waits on the heap: the future of a request that finds a connection is small,
/// and is moved often.
///
/// # Cancel safety
///
/// Dropping the future closes the upstream connection, and the observation records the request as
/// aborted.
pub async fn handle(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    front: Downstream<'_>,
    mut request: Box<Request>,
) -> Disposition {
    let reply = Reply::to(worker, &request);
    if let Some(here) = request.here.take() {
        return Box::pin(reply.here(front, here, request)).await;
    }
    let mut exchange = match pool.checkout(request.protocol, request.is_replayable()) {
        Some(lease) => Exchange::new(worker, front, request, lease),
        None => match Box::pin(begin(worker, pool, front, request, &reply)).await {
            Ok(exchange) => exchange,
            Err(answered) => return answered,
        },
    };
    let failure = loop {
        let error = match poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(()) => break None,
            Err(ExchangeError::Failed(error)) => error,
            Err(stop) => return exchange.stopped(stop),
        };
        if !exchange.may_retry(&error) {
            break Some(error);
        }
        let (protocol, front, observation) = exchange.front();
        match Box::pin(connect(pool, (protocol, BodyLength::None), front, observation)).await {
            Ok(lease) => exchange.retry(lease),
            Err(error) => break Some(error),
        }
    };
    if let Some(error) = failure {
        let (front, observation, leftover) = exchange.give_up();
        return Box::pin(reply.error(front, error, leftover, observation)).await;
    }
    match poll_fn(|cx| exchange.poll_answer(cx)).await {
        Ok(()) => exchange.complete().await,
        Err(stop) => exchange.stopped(stop),
    }
}

/// Opens a connection for the request, or answers that there is none.
async fn begin<'a>(
    worker: &'a Rc<Worker>,
    pool: &Rc<Pool>,
    mut front: Downstream<'a>,
    mut request: Box<Request>,
    reply: &Reply<'_>,
) -> Result<Box<Exchange<'a>>, Disposition> {
    let body = request.body;
    match connect(pool, (request.protocol, body), &mut front, &mut request.observation).await {
        Ok(lease) => Ok(Exchange::new(worker, front, request, lease)),
        Err(error) => {
            let leftover = Leftover { unread: request.has_body(), begun: Vec::new() };
            Err(reply.error(front, error, leftover, request.observation).await)
        }
    }
}

/// Connects, unless the client leaves meanwhile.
async fn connect(
    pool: &Rc<Pool>,
    (protocol, body): (Protocol, BodyLength),
    front: &mut Downstream<'_>,
    observation: &mut Observation,
) -> Result<PooledConnection, ProxyError> {
    let begun = observation.now();
    let mut connecting = std::pin::pin!(pool.connect(protocol));
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        match front.poll_gone(cx, observation.worker()) {
            Poll::Ready(()) => Poll::Ready(Err(ProxyError::DownstreamAborted)),
            Poll::Pending if front.wire().is_some_and(|client| client.has_cut(body)) => {
                Poll::Ready(Err(ProxyError::DownstreamAborted))
            }
            Poll::Pending => Poll::Pending,
        }
    });
    let lease = result.await?;
    observation.connected_since(begun);
    Ok(lease)
}
