//! `/wait-for-drain`: holds an orchestrator's hook until the traffic has moved elsewhere.
//!
//! For the preStop hook of the app's container: the app gets its SIGTERM only when this answers.
//! Meanwhile answers on the data port send clients away. Nothing is remembered: when the
//! caller hangs up, everything is as before, so a stranger or a failed probe does no harm.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::parse_duration;
use crate::metrics::page::Sources;
use crate::shutdown::PreStopHooks;

/// How often the workers' counters are read.
const LOOK: Duration = Duration::from_millis(50);

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Patience {
    /// At least so long, however quiet it is: load balancers need time to learn of the end.
    min: Duration,
    /// So long without a new request.
    quiet: Duration,
    /// At most so long. Below the 30 s that Kubernetes grants by default.
    max: Duration,
}

impl Patience {
    const DEFAULT: Self = Self {
        min: Duration::from_secs(5),
        quiet: Duration::from_secs(1),
        max: Duration::from_secs(25),
    };

    /// Reads `min=5s&quiet=1s&max=25s`, each of them optional and at most `longest`. Never panics.
    ///
    /// # Errors
    ///
    /// A line of text for the caller.
    pub(super) fn from_query(query: &str, longest: Duration) -> Result<Self, &'static str> {
        let Self { min, quiet, max } = Self::DEFAULT;
        let mut patience = Self { min: min.min(longest), quiet, max: max.min(longest) };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let target = match name {
                "min" => &mut patience.min,
                "quiet" => &mut patience.quiet,
                "max" => &mut patience.max,
                _ => return Err("there are min, quiet and max, like ?min=5s&quiet=1s&max=25s\n"),
            };
            *target = match parse_duration(value) {
                Ok(time) if time <= longest => time,
                Ok(_) => {
                    return Err("min, quiet and max are at most as long as a shutdown: \
                                --shutdown-delay and --shutdown-timeout\n");
                }
                Err(_) => return Err("min, quiet and max are times like 5s or 500ms\n"),
            };
        }
        if patience.min > patience.max {
            return Err("min is longer than max\n");
        }
        Ok(patience)
    }

    /// Waits until it is quiet. Returns whether it is, or only `max` is over.
    ///
    /// # Cancel safety
    ///
    /// Safe: closing the wait is all that happens.
    pub(super) async fn wait(self, sources: &Sources, waits: &Arc<PreStopHooks>) -> bool {
        let _open = waits.open();
        let begun = Instant::now();
        let mut last = Load::of(sources);
        // What came before is not known; it may have come just now.
        let mut arrived = begun;
        loop {
            let now = Instant::now();
            let load = Load::of(sources);
            if load.started != last.started {
                arrived = now;
            }
            last = load;
            let calm = load.in_flight == 0 && now - arrived >= self.quiet;
            if calm && now - begun >= self.min {
                return true;
            }
            if now - begun >= self.max {
                return false;
            }
            sleep_until((now + LOOK).min(begun + self.max)).await;
        }
    }
}

/// What the workers do now.
#[derive(Clone, Copy)]
struct Load {
    started: u64,
    in_flight: u64,
}

impl Load {
    fn of(sources: &Sources) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let workers = || sources.sites().flat_map(|site| &site.workers);
        Self {
            started: workers().map(|worker| worker.started.load(Relaxed)).sum(),
            in_flight: workers().map(|worker| worker.in_flight()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_time_can_be_chosen_within_bounds() {
        let seconds = Duration::from_secs;
        let patience = |min, quiet, max| Patience { min, quiet, max };
        let read = |query| Patience::from_query(query, seconds(30));
        assert_eq!(read(""), Ok(Patience::DEFAULT));
        assert_eq!(
            read("min=0s&quiet=200ms&max=3s"),
            Ok(patience(seconds(0), Duration::from_millis(200), seconds(3)))
        );
        assert_eq!(read("max=30s"), Ok(patience(seconds(5), seconds(1), seconds(30))));
        for refused in ["max=31s", "max=4s", "min=26s", "min", "min=x", "quiet=-1s", "a=1s"] {
            assert!(read(refused).is_err(), "{refused}");
        }
        let short = Patience::from_query("", seconds(3));
        assert_eq!(short, Ok(patience(seconds(3), seconds(1), seconds(3))));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".*") {
            let _read = Patience::from_query(&query, Duration::from_secs(30));
        }
    }
}
