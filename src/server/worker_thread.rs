//! One worker's thread: its runtime, what it serves, and its part of the drain.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::local_runtime;
use crate::metrics::WorkerStats;
use crate::metrics::store::{Shard, Store};
use crate::net::budget::Budget;
use crate::proxy::downstream::accept::{self, Acceptor, Command, WorkerHandle};
use crate::proxy::keeper::keep_room;
use crate::proxy::upstream::Pool;
use crate::proxy::worker::{Seat, Shared, Worker};

/// What a worker's thread is given.
pub(super) struct WorkerThread {
    pub(super) sites: Vec<SiteOfThread>,
    pub(super) budget: Arc<Budget>,
    pub(super) handles: Vec<WorkerHandle>,
    /// Told once whether the runtime is there.
    pub(super) ready: std::sync::mpsc::Sender<io::Result<()>>,
    pub(super) index: usize,
}

/// What it is given of one listener.
pub(super) struct SiteOfThread {
    pub(super) shared: Shared,
    pub(super) store: Arc<Store>,
    pub(super) stats: Arc<WorkerStats>,
    /// The first worker's only: it accepts for all.
    pub(super) listener: Option<TcpListener>,
}

/// One listener as it is served.
struct Served {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    acceptor: Acceptor,
}

impl WorkerThread {
    pub(super) fn run(self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let runtime = match local_runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                // An error means that nobody waits: the start was given up.
                let _told = self.ready.send(Err(error));
                return;
            }
        };
        let _told = self.ready.send(Ok(()));
        let Self { sites, budget, handles, ready: _, index } = self;
        let seat = Seat::new(budget);
        let own = handles.get(index).map(|handle| Arc::clone(&handle.connections));
        let own = own.unwrap_or_default();
        let ended = runtime.block_on(async {
            let (accept_ended, accept_end) = oneshot::channel::<()>();
            let accept_ended = Rc::new(accept_ended);
            let mut served = Vec::new();
            for (number, site) in sites.into_iter().enumerate() {
                let worker = Worker::new(site.shared, &seat, Shard::new(site.store), site.stats);
                let pool = Pool::new(&worker);
                let acceptor = Acceptor::new(&worker, &pool, number, &own);
                if let Some(listener) = site.listener {
                    drop(tokio::task::spawn_local(Rc::clone(&pool).watch_upstream()));
                    let ended = Rc::clone(&accept_ended);
                    accept_on(listener, acceptor.clone(), handles.clone(), index, ended);
                }
                served.push(Served { worker, pool, acceptor });
            }
            drop(accept_ended);
            if let Some(Served { worker, .. }) = served.first() {
                drop(tokio::task::spawn_local(keep_room(Rc::clone(worker))));
            }
            let ended = serve(&seat, &served, &mut inbox, accept_end).await;
            for site in served {
                site.pool.close_idle();
            }
            ended
        });
        // Tasks that are still there were cut off; dropping them records that.
        seat.drain.cut();
        // A name that is being resolved must not hold up the exit.
        runtime.shutdown_background();
        // Now everything is recorded, and a last scrape will show it.
        drop(ended);
    }
}

/// Accepts what comes by a listener, for all workers; drops `ended` when it accepts nothing more.
fn accept_on(
    listener: TcpListener,
    acceptor: Acceptor,
    handles: Vec<WorkerHandle>,
    own: usize,
    ended: Rc<oneshot::Sender<()>>,
) {
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            let accepting = accept::run(listener, acceptor, handles, own);
            drop(tokio::task::spawn_local(async move {
                accepting.await;
                drop(ended);
            }));
        }
        Err(error) => tracing::error!(%error, "the listener cannot be used"),
    }
}

/// Serves what the accepting worker hands over, until the shutdown is complete. Returns whom to
/// tell of its end.
async fn serve(
    seat: &Seat,
    served: &[Served],
    inbox: &mut mpsc::UnboundedReceiver<Command>,
    accept_end: oneshot::Receiver<()>,
) -> Option<oneshot::Sender<()>> {
    let serve_handed_over = |site: usize, socket, peer, place| {
        // Each worker has all sites.
        if let Some(site) = served.get(site) {
            site.acceptor.serve_handed_over(socket, peer, place);
        }
    };
    loop {
        match inbox.recv().await {
            Some(Command::Serve { site, socket, peer, place }) => {
                serve_handed_over(site, socket, peer, place);
            }
            Some(Command::Drain { closed, ended, deadline }) => {
                seat.drain.start();
                // An error is what is waited for: the accept loops have dropped their ends.
                // They may also be stuck for want of descriptors, but not beyond the deadline.
                let _accept_ended = tokio::time::timeout_at(deadline, accept_end).await;
                drop(closed);
                while let Ok(Command::Serve { site, socket, peer, place }) = inbox.try_recv() {
                    serve_handed_over(site, socket, peer, place);
                }
                if tokio::time::timeout_at(deadline, seat.drain.finished()).await.is_err() {
                    tracing::warn!("--shutdown-timeout is over: cutting off what is left");
                }
                return Some(ended);
            }
            None => return None,
        }
    }
}
