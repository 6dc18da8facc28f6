//! One request from head to head: *the* file to read.
//!
//! Observe it, rewrite it, send it, rewrite the answer, stream it. Nothing fails beyond this
//! file: an error becomes an answer and a label. Nothing is collected: bodies stream both ways.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::downstream::Front;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Stop};
use crate::observe::Observation;
use crate::request::{After, Request};
use crate::upstream::{Lease, Pool, Protocol};
use crate::worker::Worker;

use self::reply::Reply;

mod reply;

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
    front: Front<'_>,
    mut request: Box<Request>,
) -> After {
    let reply = Reply::to(worker, &request);
    if let Some(here) = request.here.take() {
        return Box::pin(reply.here(front, here, request)).await;
    }
    let replayable = request.idempotent && !request.has_body();
    let mut exchange = match pool.checkout(request.protocol, replayable) {
        Some(lease) => Exchange::new(worker, front, request, lease),
        None => match Box::pin(begin(worker, pool, front, request)).await {
            Ok(exchange) => exchange,
            Err(failed) => return Box::pin(failed.answer(&reply)).await,
        },
    };
    let failure = loop {
        let error = match poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(()) => break None,
            Err(Stop::Failed(error)) => error,
            Err(stop) => return exchange.stopped(stop),
        };
        if !exchange.may_retry(&error) {
            break Some(error);
        }
        match Box::pin(reconnect(pool, &mut exchange)).await {
            Ok(lease) => exchange.retry(lease),
            Err(error) => break Some(error),
        }
    };
    if let Some(error) = failure {
        let (front, observation, unread) = exchange.give_up();
        return Box::pin(reply.error(front, error, unread, observation)).await;
    }
    match poll_fn(|cx| exchange.poll_answer(cx)).await {
        Ok(()) => exchange.complete().await,
        Err(stop) => exchange.stopped(stop),
    }
}

/// A request that got no answer from the upstream.
struct Failed<'a> {
    error: ProxyError,
    unread: bool,
    front: Front<'a>,
    observation: Observation,
}

impl Failed<'_> {
    async fn answer(self: Box<Self>, reply: &Reply<'_>) -> After {
        reply.error(self.front, self.error, self.unread, self.observation).await
    }
}

/// Opens a connection for the request.
async fn begin<'a>(
    worker: &'a Rc<Worker>,
    pool: &Rc<Pool>,
    mut front: Front<'a>,
    mut request: Box<Request>,
) -> Result<Box<Exchange<'a>>, Box<Failed<'a>>> {
    match connect(pool, request.protocol, &mut front, &mut request.observation).await {
        Ok(lease) => Ok(Exchange::new(worker, front, request, lease)),
        Err(error) => {
            let (unread, observation) = (request.has_body(), request.observation);
            Err(Box::new(Failed { error, unread, front, observation }))
        }
    }
}

async fn reconnect(pool: &Rc<Pool>, exchange: &mut Exchange<'_>) -> Result<Lease, ProxyError> {
    let protocol = exchange.protocol();
    let (front, observation) = exchange.front();
    connect(pool, protocol, front, observation).await
}

/// Connects, unless the client leaves meanwhile.
async fn connect(
    pool: &Rc<Pool>,
    protocol: Protocol,
    front: &mut Front<'_>,
    observation: &mut Observation,
) -> Result<Lease, ProxyError> {
    let begun = observation.now();
    let mut connecting = std::pin::pin!(pool.connect(protocol));
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        match front.poll_gone(cx, observation.worker()) {
            Poll::Ready(()) => Poll::Ready(Err(ProxyError::DownstreamAborted)),
            Poll::Pending => Poll::Pending,
        }
    });
    let lease = result.await?;
    observation.connected_since(begun);
    Ok(lease)
}
