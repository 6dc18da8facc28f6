//! One request from head to head: *the* file to read.
//!
//! Observe it, rewrite it, send it, rewrite the answer, stream it. Nothing fails beyond this
//! file: an error becomes an answer and a label. Nothing is collected: bodies stream both ways.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::downstream::Downstream;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Stop};
use crate::observe::Observation;
use crate::request::{After, Here, Request};
use crate::upstream::{Lease, Pool};
use crate::worker::Worker;

use self::reply::Reply;

mod reply;

/// Answers one request.
///
/// # Cancel safety
///
/// Dropping the future closes the upstream connection, and the observation records the request as
/// aborted.
pub async fn handle(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    downstream: &Downstream,
    mut request: Request,
) -> After {
    let here = request.here.take();
    let reply = Reply {
        worker,
        downstream,
        version: request.version,
        to_head: request.to_head,
        keep_alive: request.keep_alive,
    };
    match here {
        Some(Here::Refused(error)) => {
            return reply.error(ProxyError::Request(error), true, request.observation).await;
        }
        Some(Here::MaxForwards(trace)) => {
            return reply.max_forwards(trace, request.has_body(), request.observation).await;
        }
        None => {}
    }
    let mut exchange = match begin(worker, pool, downstream, request).await {
        Ok(exchange) => exchange,
        Err(Failed { error, unread, observation }) => {
            return reply.error(error, unread, observation).await;
        }
    };
    loop {
        let stop = match poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(()) => break,
            Err(stop) => stop,
        };
        match stop {
            Stop::Failed(_) if exchange.may_retry() => {
                let lease = match connect(pool, downstream, exchange.observation()).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        let (observation, unread) = exchange.give_up();
                        return reply.error(error, unread, observation).await;
                    }
                };
                exchange.retry(lease);
            }
            Stop::Failed(error) => {
                let (observation, unread) = exchange.give_up();
                return reply.error(error, unread, observation).await;
            }
            Stop::Cut(_) | Stop::Gone | Stop::Slow => {
                return exchange.stopped(stop);
            }
        }
    }
    match poll_fn(|cx| exchange.poll_answer(cx)).await {
        Ok(()) => exchange.complete().await,
        Err(stop) => exchange.stopped(stop),
    }
}

/// A request that got no answer from the upstream.
struct Failed {
    error: ProxyError,
    unread: bool,
    observation: Observation,
}

/// Finds a connection for the request.
async fn begin<'a>(
    worker: &'a Rc<Worker>,
    pool: &Rc<Pool>,
    downstream: &'a Downstream,
    mut request: Request,
) -> Result<Exchange<'a>, Failed> {
    let replayable = request.idempotent && !request.has_body();
    let lease = match pool.checkout(replayable) {
        Some(lease) => lease,
        None => match connect(pool, downstream, &mut request.observation).await {
            Ok(lease) => lease,
            Err(error) => {
                let unread = request.has_body();
                return Err(Failed { error, unread, observation: request.observation });
            }
        },
    };
    Ok(Exchange::new(worker, downstream, request, lease))
}

/// Connects, unless the client leaves meanwhile.
async fn connect(
    pool: &Rc<Pool>,
    downstream: &Downstream,
    observation: &mut Observation,
) -> Result<Lease, ProxyError> {
    let begun = observation.now();
    let mut connecting = std::pin::pin!(pool.connect());
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        match downstream.poll_gone(cx, observation.worker()) {
            Poll::Ready(_error) => Poll::Ready(Err(ProxyError::DownstreamAborted)),
            Poll::Pending => Poll::Pending,
        }
    });
    let lease = result.await?;
    observation.connected_since(begun);
    Ok(lease)
}
