//! One request from head to head: *the* file to read.
//!
//! Observe it, rewrite it, send it, rewrite the answer, stream it. Nothing fails beyond this
//! file: an error becomes an answer and a label. Nothing is collected: bodies stream both ways.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::http::h1::BodyLength;
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, ExchangeError, Finished};
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
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    mut downstream: Downstream<'_>,
    mut request: Box<Request>,
) -> Disposition {
    let reply = Reply::to(worker, &request);
    if let Some(why) = request.answered_here.take() {
        return Box::pin(reply.here(downstream, why, request)).await;
    }
    if downstream.is_cancelled() {
        // An app would hold it against the connection that all requests share.
        let (left, observation) = (ProxyError::DownstreamAborted, request.observation);
        return Box::pin(reply.error(downstream, left, false, observation)).await;
    }
    let mut exchange = match pool.checkout(request.protocol, request.is_replayable()) {
        Some(upstream) => Exchange::new(worker, downstream, request, upstream),
        None => match Box::pin(begin(worker, pool, downstream, request, &reply)).await {
            Ok(exchange) => exchange,
            Err(answered) => return answered,
        },
    };
    let result = match begin_answer(pool, &mut exchange).await {
        Ok(()) => poll_fn(|cx| exchange.poll_body(cx)).await,
        Err(ExchangeError::Aborted(abort)) => Err(abort),
        Err(ExchangeError::Failed(failure)) => {
            let (downstream, observation, has_unread) = exchange.give_up();
            return Box::pin(reply.error(downstream, failure.error, has_unread, observation)).await;
        }
    };
    match exchange.finish(result).await {
        Finished::Switched(tunnel) => Disposition::Switched(tunnel),
        Finished::Ended(request, outcome, disposition) => {
            request.observation.record(outcome);
            disposition
        }
    }
}

/// Opens a connection for the request, or answers that there is none.
async fn begin<'a>(
    worker: &'a Rc<Worker>,
    pool: &Rc<Pool>,
    mut downstream: Downstream<'a>,
    mut request: Box<Request>,
    reply: &Reply<'_>,
) -> Result<Box<Exchange<'a>>, Disposition> {
    let body = request.body;
    let observation = &mut request.observation;
    match connect(pool, (request.protocol, body), &mut downstream, observation).await {
        Ok(upstream) => Ok(Exchange::new(worker, downstream, request, upstream)),
        Err(error) => {
            let has_unread = request.has_body();
            Err(reply.error(downstream, error, has_unread, request.observation).await)
        }
    }
}

/// Moves both directions until the answer's head has come, perhaps over a second connection.
async fn begin_answer(pool: &Rc<Pool>, exchange: &mut Exchange<'_>) -> Result<(), ExchangeError> {
    loop {
        let failure = match poll_fn(|cx| exchange.poll_head(cx)).await {
            Err(ExchangeError::Failed(failure)) => failure,
            answered => return answered,
        };
        let Some(reason) = exchange.retry_reason(&failure) else {
            return Err(ExchangeError::Failed(failure));
        };
        let (protocol, downstream, observation) = exchange.connecting();
        let connect = connect(pool, (protocol, BodyLength::None), downstream, observation);
        let upstream = Box::pin(connect).await?;
        exchange.retry(upstream, reason);
    }
}

/// Connects, unless the client leaves meanwhile.
async fn connect(
    pool: &Rc<Pool>,
    (protocol, body): (Protocol, BodyLength),
    downstream: &mut Downstream<'_>,
    observation: &mut Observation,
) -> Result<PooledConnection, ProxyError> {
    let begun = observation.now();
    let mut connecting = std::pin::pin!(pool.connect(protocol, downstream.turn()));
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let is_gone = downstream.poll_gone(cx, observation.worker()).is_ready();
        if is_gone || downstream.http1().is_some_and(|client| client.has_cut(body)) {
            return Poll::Ready(Err(ProxyError::DownstreamAborted));
        }
        Poll::Pending
    });
    let upstream = result.await?;
    observation.connected_since(begun);
    Ok(upstream)
}
