//! Which address is connected to: one after the other, not waiting for those that are silent.
//!
//! # Source
//!
//! RFC 8305, Happy Eyeballs: families in turn (§4), the next address when one has failed or was
//! silent for a while (§5), the first that answers wins.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::ConnectError;

/// How long an address may be silent before the next is tried as well, and behind the last one
/// the name is asked again. RFC 8305 §8 recommends it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What is asked: the kernel and its resolver, or a test's script.
pub(super) trait Network: 'static {
    /// A connection.
    type Socket;

    /// The name's addresses, the preferred one first.
    async fn look_up(&self) -> io::Result<Vec<SocketAddr>>;

    /// One attempt.
    async fn connect(&self, address: SocketAddr) -> io::Result<Self::Socket>;
}

/// What is known of an upstream's addresses.
#[derive(Default)]
pub(super) struct Addresses {
    /// They are all there can be: no name stands behind them.
    is_fixed: bool,
    /// The one that worked last first.
    known: RefCell<Vec<SocketAddr>>,
    worked: Cell<Option<SocketAddr>>,
    /// One for all who wait: a resolver that does not answer holds one thread, not one for each
    /// request.
    looking: RefCell<Option<Rc<LookUp>>>,
}

/// A look-up, running or done.
#[derive(Default)]
struct LookUp {
    found: OnceCell<Result<Vec<SocketAddr>, Arc<io::Error>>>,
    done: Notify,
}

impl LookUp {
    async fn found(&self) -> Result<&[SocketAddr], io::Error> {
        loop {
            let done = self.done.notified();
            match self.found.get() {
                None => done.await,
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => return Err(io::Error::new(error.kind(), Arc::clone(error))),
            }
        }
    }
}

impl Addresses {
    /// Addresses without a name.
    pub(super) fn fixed(addresses: &[SocketAddr]) -> Self {
        Self { is_fixed: true, known: RefCell::new(addresses.to_vec()), ..Self::default() }
    }

    /// The next attempt asks first: what is known led to the wrong place.
    pub(super) fn forget(&self) {
        self.worked.set(None);
        if !self.is_fixed {
            self.known.borrow_mut().clear();
        }
    }

    /// What to try, in this order.
    fn candidates(&self) -> VecDeque<SocketAddr> {
        let mut candidates: VecDeque<_> = self.known.borrow().iter().copied().collect();
        let worked = self.worked.get();
        if let Some(at) = candidates.iter().position(|candidate| Some(*candidate) == worked)
            && let Some(first) = candidates.remove(at)
        {
            candidates.push_front(first);
        }
        candidates
    }

    /// Joins the look-up that is under way, or begins one. It goes on when nobody waits any more:
    /// a resolver that needs longer than an attempt is of use to the next.
    fn look_up<N: Network>(self: &Rc<Self>, network: &Rc<N>) -> Rc<LookUp> {
        if let Some(looking) = &*self.looking.borrow() {
            return Rc::clone(looking);
        }
        let looking = Rc::<LookUp>::default();
        *self.looking.borrow_mut() = Some(Rc::clone(&looking));
        let (own, network, result) = (Rc::clone(self), Rc::clone(network), Rc::clone(&looking));
        drop(tokio::task::spawn_local(async move {
            let found = network.look_up().await.map(alternating).map_err(Arc::new);
            if let Ok(found) = &found {
                own.known.borrow_mut().clone_from(found);
            }
            let _first = result.found.set(found);
            *own.looking.borrow_mut() = None;
            result.done.notify_waiters();
        }));
        looking
    }
}

/// RFC 8305 §4: one address of each family in turn, beginning with the resolver's favourite.
fn alternating(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let is_first = |address: &SocketAddr| address.is_ipv6() == prefers_ipv6;
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(is_first);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let (a, b) = (first.next(), second.next());
        if a.is_none() && b.is_none() {
            return mixed;
        }
        for address in [a, b].into_iter().flatten() {
            if !mixed.contains(&address) {
                mixed.push(address);
            }
        }
    }
}

type Attempt<'a, S> = (SocketAddr, Pin<Box<dyn Future<Output = io::Result<S>> + 'a>>);

/// Connects to the first address that answers. The caller sets the time limit.
///
/// Addresses that are known are tried first. When none of them answers at once the name is looked
/// up, within the same attempt: an app that came back elsewhere is found even if nobody refuses
/// at its old address.
///
/// # Errors
///
/// That the name does not resolve; else the error of the most preferred address that there is a
/// way to.
pub(super) async fn connect<N: Network>(
    network: &Rc<N>,
    addresses: &Rc<Addresses>,
) -> Result<N::Socket, ConnectError> {
    let mut waiting = addresses.candidates();
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut attempts: Vec<Attempt<'_, N::Socket>> = Vec::new();
    let mut may_look_up = !addresses.is_fixed;
    let mut looking: Option<Rc<LookUp>> = None;
    let (mut failure, mut name_failure) = (None, None);
    loop {
        if let Some(address) = waiting.pop_front() {
            tried.push(address);
            attempts.push((address, Box::pin(network.connect(address))));
        } else if may_look_up {
            may_look_up = false;
            looking = Some(addresses.look_up(network));
        } else if attempts.is_empty() && looking.is_none() {
            return Err(name_failure.map_or_else(|| why(failure), ConnectError::Name));
        }
        let found = async {
            match &looking {
                Some(looking) => looking.found().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (address, result) = first(&mut attempts) => match result {
                Ok(socket) => {
                    addresses.worked.set(Some(address));
                    return Ok(socket);
                }
                Err(error) => note(&mut failure, ConnectError::of(error)),
            },
            found = found => {
                match found {
                    Ok(found) => {
                        let new = found.iter().filter(|address| !tried.contains(address));
                        waiting.extend(new);
                    }
                    Err(error) => name_failure = Some(error),
                }
                looking = None;
            }
            () = tokio::time::sleep(ATTEMPT_DELAY), if !waiting.is_empty() || may_look_up => {}
        }
    }
}

/// The first attempt that ends. Never, where there is none.
async fn first<S>(attempts: &mut Vec<Attempt<'_, S>>) -> (SocketAddr, io::Result<S>) {
    poll_fn(|cx| {
        for at in 0..attempts.len() {
            if let Some((address, attempt)) = attempts.get_mut(at)
                && let Poll::Ready(result) = attempt.as_mut().poll(cx)
            {
                let address = *address;
                drop(attempts.swap_remove(at));
                return Poll::Ready((address, result));
            }
        }
        Poll::Pending
    })
    .await
}

/// Keeps the error that tells most: of the first address, unless there is no way to it.
fn note(kept: &mut Option<ConnectError>, error: ConnectError) {
    if matches!(kept, None | Some(ConnectError::Unreachable(_))) {
        *kept = Some(error);
    }
}

fn why(failure: Option<ConnectError>) -> ConnectError {
    let nothing = || ConnectError::Name(io::Error::from(io::ErrorKind::NotFound));
    failure.unwrap_or_else(nothing)
}

#[cfg(test)]
mod tests;
