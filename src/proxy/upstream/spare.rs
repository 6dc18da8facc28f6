//! File descriptors for the connections to the app that an HTTP/2 client's streams need beyond the
//! first.
//!
//! Each client connection has two descriptors to itself: its own, and one for the app. What is
//! beyond comes out of what clients have not taken yet, and a part stays free for newcomers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The descriptors of the process, as far as connections use them.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// For clients and the app together.
    total: usize,
    clients: AtomicUsize,
    further: AtomicUsize,
    freed: Notify,
}

/// A client's connection, with the two descriptors that are its own.
#[derive(Debug)]
pub(crate) struct ClientPlace(Arc<Descriptors>);

/// A further connection to the app.
#[derive(Debug)]
pub(crate) struct FurtherPlace(Arc<Descriptors>);

impl Descriptors {
    /// So many for clients and the app; `usize::MAX` where nothing limits them.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let (clients, further) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { total, clients, further, freed: Notify::new() })
    }

    fn used(&self) -> usize {
        2 * self.clients.load(Relaxed) + self.further.load(Relaxed)
    }

    /// Tells whether one more client fits.
    pub(crate) fn has_room_for_client(&self) -> bool {
        self.used().saturating_add(2) <= self.total
    }

    /// A client has connected.
    pub(crate) fn client(self: &Arc<Self>) -> ClientPlace {
        self.clients.fetch_add(1, Relaxed);
        ClientPlace(Arc::clone(self))
    }

    fn try_further(self: &Arc<Self>) -> Option<FurtherPlace> {
        // A quarter is for newcomers.
        let most = self.total - self.total / 4;
        let room = most.saturating_sub(2 * self.clients.load(Relaxed));
        let add = |further: usize| (further < room).then_some(further + 1);
        self.further.fetch_update(Relaxed, Relaxed, add).ok()?;
        Some(FurtherPlace(Arc::clone(self)))
    }

    /// A further connection to the app, as soon as there is a descriptor for it.
    ///
    /// # Errors
    ///
    /// There was none for `limit`.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(crate) async fn further(self: &Arc<Self>, limit: Duration) -> io::Result<FurtherPlace> {
        let freed = async {
            loop {
                let freed = self.freed.notified();
                if let Some(place) = self.try_further() {
                    return place;
                }
                freed.await;
            }
        };
        let none_left = "the HTTP/2 clients' streams have all descriptors";
        timeout(limit, freed).await.map_err(|_elapsed| io::Error::other(none_left))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
        self.0.freed.notify_one();
    }
}

impl Drop for FurtherPlace {
    fn drop(&mut self) {
        self.0.further.fetch_sub(1, Relaxed);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_leave_descriptors_for_newcomers_and_wait_for_each_other() {
        let all = Descriptors::new(40);
        let mut clients: Vec<_> = (0..5).map(|_| all.client()).collect();
        let limit = Duration::from_secs(3);
        let mut further = Vec::new();
        for _ in 0..20 {
            further.push(all.further(limit).await.expect("room"));
        }
        let refused = all.further(limit).await;
        assert!(refused.is_err(), "ten for clients, twenty for streams, ten for newcomers");
        while all.has_room_for_client() {
            clients.push(all.client());
        }
        assert_eq!(clients.len(), 10);
        clients.truncate(5);
        let (waited, ()) = tokio::join!(all.further(limit), async { drop(further.pop()) });
        assert!(waited.is_ok());
        drop((clients, further, waited));
        assert_eq!(all.used(), 0);
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let all = Descriptors::new(usize::MAX);
        let _client = all.client();
        assert!(all.has_room_for_client() && all.try_further().is_some());
    }
}
