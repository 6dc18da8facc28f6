//! The thread that looks at the app's accept queue.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use std::{io, iter, thread};

use tokio::time::Instant;

use crate::metrics::{Look, SidecarMetrics};
use crate::net::accept_queue::{AcceptQueue, Unseen, Waiting};
use crate::net::address::Upstream;

use super::site::Site;

/// Between two looks: what waits for less is over before anybody notices. A look costs
/// less than half a millisecond of CPU.
const PAUSE: Duration = Duration::from_millis(250);

/// While the app is down.
const PAUSE_WITHOUT_APP: Duration = Duration::from_secs(1);

/// Where it cannot be seen, which does not change by itself.
const PAUSE_WITHOUT_SIGHT: Duration = Duration::from_mins(1);

/// Looks for as long as it is kept.
#[derive(Debug)]
pub(super) struct Lookout {
    _stops_when_dropped: Sender<()>,
}

impl Lookout {
    /// Looks at the queues of all apps.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn start_all(first: &Site, further: &[Site]) -> io::Result<Vec<Self>> {
        let sites = iter::once(first).chain(further);
        let start = |site: &Site| Self::start(site.config.upstream.clone(), Arc::clone(&site.cold));
        sites.map(start).collect()
    }

    /// Starts a thread of its own: a name that does not resolve must hold up no scrape. It is not
    /// joined, for the same reason.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn start(upstream: Upstream, cold: Arc<SidecarMetrics>) -> io::Result<Self> {
        let (sender, stop) = channel();
        let look = move || watch(AcceptQueue::new(upstream), &cold, &stop);
        drop(thread::Builder::new().name("queue".to_owned()).spawn(look)?);
        Ok(Self { _stops_when_dropped: sender })
    }
}

fn watch(mut queue: AcceptQueue, cold: &SidecarMetrics, stop: &Receiver<()>) {
    let mut told = false;
    loop {
        let found = queue.look();
        let look = found.as_ref().ok().map(|waiting| {
            let Waiting { connections, limit, dropped } = *waiting;
            Look { connections, limit, dropped }
        });
        cold.queue.add(look, Instant::now());
        let pause = match found {
            Ok(_) => PAUSE,
            Err(Unseen::NobodyListens) => PAUSE_WITHOUT_APP,
            Err(reason @ (Unseen::Elsewhere(_) | Unseen::Name(_) | Unseen::Kernel(_))) => {
                if !told {
                    tracing::debug!(%reason, "the app's accept queue is not seen");
                    told = true;
                }
                PAUSE_WITHOUT_SIGHT
            }
        };
        match stop.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
