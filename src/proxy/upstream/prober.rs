//! Whether the upstream is there, while nobody asks.
//!
//! In a pod the sidecar starts before its app, and where there is no traffic nothing else would
//! notice that the app has come.

use std::future::Future;
use std::time::Duration;

use crate::metrics::Reachability;

/// From one attempt to the next. Two seconds are what a probe of Kubernetes or an alert may lag
/// behind at no cost; once a second is no load for any app.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries to connect at once, and from then on as long as the upstream is down, or somebody gave up
/// connecting, and nobody else tries. Ends with the drain.
pub(super) async fn keep_trying<F: Future<Output = ()>>(
    upstream: &Reachability,
    is_draining: impl Fn() -> bool,
    mut attempt: impl FnMut() -> F,
) {
    loop {
        upstream.doubted().await;
        let before = upstream.attempts();
        if before > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if is_draining() {
            return;
        }
        if upstream.is_doubted() && upstream.attempts() == before {
            attempt().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::Instant;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs the prober for so long; `script` is what attempt, failure and success of others do at
    /// which millisecond. Returns when attempts were made.
    fn attempts(
        until: Duration,
        app_is_up: impl Fn(Duration) -> bool,
        others: impl AsyncFnOnce(&Reachability),
    ) -> (Vec<u128>, bool) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let begun = Instant::now();
            let (made, upstream) = (RefCell::new(Vec::new()), Reachability::default());
            let attempt = || {
                made.borrow_mut().push(begun.elapsed().as_millis());
                upstream.seen(app_is_up(begun.elapsed()));
                std::future::ready(())
            };
            let trying = keep_trying(&upstream, || false, attempt);
            let both = async { tokio::join!(trying, others(&upstream)) };
            assert!(tokio::time::timeout(until, both).await.is_err());
            (made.take(), upstream.is_up())
        })
    }

    #[test]
    fn an_app_that_starts_later_is_found_within_a_second_of_it() {
        for starts_at in [1 * MS, 999 * MS, 1001 * MS, 2500 * MS] {
            let (made, up) = attempts(starts_at + 1001 * MS, |now| now >= starts_at, async |_| {});
            assert!(up, "{starts_at:?}: {made:?}");
            assert!(made.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{made:?}");
        }
    }

    #[test]
    fn an_app_that_is_up_is_left_alone() {
        let (made, up) = attempts(60_000 * MS, |_| true, async |_| {});
        assert_eq!((made, up), (vec![0], true));
    }

    #[test]
    fn a_request_that_fails_begins_it_and_one_that_succeeds_ends_it() {
        let (made, up) = attempts(
            60_000 * MS,
            |_| false,
            async |upstream| {
                tokio::time::sleep(500 * MS).await;
                upstream.seen(true);
                tokio::time::sleep(29_500 * MS).await;
                upstream.seen(false);
                // Whoever asks meanwhile spares an attempt.
                tokio::time::sleep(2500 * MS).await;
                upstream.seen(false);
                tokio::time::sleep(2000 * MS).await;
                upstream.seen(true);
            },
        );
        assert_eq!((made, up), (vec![0, 31_000, 32_000, 34_000], true));
    }

    #[test]
    fn a_connect_that_was_given_up_has_it_look() {
        let (made, up) = attempts(
            60_000 * MS,
            |now| now < 10_000 * MS,
            async |upstream| {
                tokio::time::sleep(30_000 * MS).await;
                upstream.doubt();
            },
        );
        assert_eq!(made.iter().take(3).copied().collect::<Vec<_>>(), [0, 31_000, 32_000]);
        assert!(!up);
    }
}
