//! One worker's thread: its runtime, what it serves, and its part of the drain.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::local_runtime;
use crate::metrics::WorkerStats;
use crate::metrics::store::{Shard, Store};
use crate::proxy::downstream::accept::{self, Acceptor, Command, WorkerHandle};
use crate::proxy::keeper::keep_room;
use crate::proxy::upstream::Pool;
use crate::proxy::worker::{Shared, Worker};

/// What a worker's thread is given.
pub(super) struct WorkerThread {
    pub(super) shared: Shared,
    pub(super) store: Arc<Store>,
    pub(super) stats: Arc<WorkerStats>,
    /// The first worker's only: it accepts for all.
    pub(super) listener: Option<TcpListener>,
    pub(super) handles: Vec<WorkerHandle>,
    /// Told once whether the runtime is there.
    pub(super) ready: std::sync::mpsc::Sender<io::Result<()>>,
    pub(super) index: usize,
}

impl WorkerThread {
    pub(super) fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let runtime = match local_runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                // An error means that nobody waits: the start was given up.
                let _told = self.ready.send(Err(error));
                return;
            }
        };
        let _told = self.ready.send(Ok(()));
        let shard = Shard::new(self.store);
        let worker = Worker::new(self.shared, shard, self.stats);
        let pool = Pool::new(&worker);
        let handles = std::mem::take(&mut self.handles);
        let own = handles.get(self.index).map(|handle| Arc::clone(&handle.connections));
        let acceptor = Acceptor::new(&worker, &pool, &own.unwrap_or_default());
        let listener = self.listener.take();
        let ended = runtime.block_on(async {
            let (accept_ended, accept_end) = oneshot::channel::<()>();
            if let Some(listener) = listener {
                drop(tokio::task::spawn_local(Rc::clone(&pool).watch_upstream()));
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let accepting =
                            accept::run(listener, acceptor.clone(), handles, self.index);
                        drop(tokio::task::spawn_local(async move {
                            accepting.await;
                            drop(accept_ended);
                        }));
                    }
                    Err(error) => tracing::error!(%error, "the listener cannot be used"),
                }
            } else {
                drop(accept_ended);
            }
            drop(tokio::task::spawn_local(keep_room(Rc::clone(&worker))));
            let ended = serve(&worker, &acceptor, &mut inbox, accept_end).await;
            pool.close_idle();
            ended
        });
        // Tasks that are still there were cut off; dropping them records that.
        worker.drain.cut();
        // A name that is being resolved must not hold up the exit.
        runtime.shutdown_background();
        // Now everything is recorded, and a last scrape will show it.
        drop(ended);
    }
}

/// Serves what the accepting worker hands over, until the shutdown is complete. Returns whom to
/// tell of its end.
async fn serve(
    worker: &Worker,
    acceptor: &Acceptor,
    inbox: &mut mpsc::UnboundedReceiver<Command>,
    accept_end: oneshot::Receiver<()>,
) -> Option<oneshot::Sender<()>> {
    loop {
        match inbox.recv().await {
            Some(Command::Serve(socket, peer, place)) => {
                acceptor.serve_handed_over(socket, peer, place);
            }
            Some(Command::Drain { closed, ended, deadline }) => {
                worker.drain.start();
                // An error is what is waited for: the accept loop has dropped its end.
                // It may also be stuck for want of descriptors, but not beyond the deadline.
                let _accept_ended = tokio::time::timeout_at(deadline, accept_end).await;
                drop(closed);
                while let Ok(Command::Serve(socket, peer, place)) = inbox.try_recv() {
                    acceptor.serve_handed_over(socket, peer, place);
                }
                if tokio::time::timeout_at(deadline, worker.drain.finished()).await.is_err() {
                    tracing::warn!("--shutdown-timeout is over: cutting off what is left");
                }
                return Some(ended);
            }
            None => return None,
        }
    }
}
