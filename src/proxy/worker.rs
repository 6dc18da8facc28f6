//! What all tasks of one data-plane thread share.
//!
//! Held in an `Rc`: the compiler refuses to let it leave its thread, which is what makes the
//! single-writer rows of `series` sound without a lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::logs::access::AccessLog;
use crate::logs::seldom::Changes;
use crate::metrics::store::Shard;
use crate::metrics::{SidecarMetrics, WorkerStats};
use crate::net::budget::{Budget, Holders};
use crate::net::tls::TlsContexts;
use crate::net::transport::Scratch;
use crate::proxy::upstream::Descriptors;
use crate::shutdown::{Drain, PreStopHooks};

/// A reading of the worker's clock, in ticks; only differences have a meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tick(u64);

/// Where ticks come from: the processor's own counter.
#[cfg(not(test))]
struct Clock(quanta::Clock);

#[cfg(not(test))]
impl Clock {
    fn new() -> Self {
        Self(quanta::Clock::new())
    }

    fn now(&self) -> Tick {
        Tick(self.0.raw())
    }

    fn nanos_between(&self, earlier: Tick, later: Tick) -> u64 {
        self.0.delta_as_nanos(earlier.0, later.0)
    }
}

/// In tests ticks are nanoseconds of the runtime's clock, which a test can stop and move.
#[cfg(test)]
struct Clock(tokio::time::Instant);

#[cfg(test)]
impl Clock {
    fn new() -> Self {
        Self(tokio::time::Instant::now())
    }

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_nanos()).expect("a test takes less than 584 years"))
    }

    #[expect(clippy::unused_self, reason = "the other clock needs itself")]
    fn nanos_between(&self, earlier: Tick, later: Tick) -> u64 {
        later.0 - earlier.0
    }
}

/// What all workers have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Handles of the cold metrics.
    pub cold: Arc<SidecarMetrics>,
    /// Where access-log lines go, if anywhere.
    pub access_log: Option<AccessLog>,
    /// TLS on either side, if any.
    pub tls: TlsContexts,
    /// Open waits of `/wait-for-drain`.
    pub waits: Arc<PreStopHooks>,
    /// Descriptors for connections.
    pub descriptors: Arc<Descriptors>,
    /// What was said last of whether the app is there.
    pub(crate) said_of_upstream: Arc<Changes>,
}

/// What one data-plane thread has, whichever listener a connection came by.
#[derive(Clone)]
pub(crate) struct Seat {
    /// Its connections, and what is kept for them.
    pub(crate) holders: Rc<Holders>,
    /// Who the shutdown waits for.
    pub(crate) drain: Rc<Drain>,
}

impl Seat {
    /// Of a thread without connections.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { holders: Holders::new(budget), drain: Rc::default() }
    }
}

/// One data-plane thread's state of one listener and the app behind it.
pub(crate) struct Worker {
    /// The configuration.
    pub config: Arc<Config>,
    /// This worker's part of the hot family.
    pub shard: Shard,
    /// This worker's counters.
    pub stats: Arc<WorkerStats>,
    /// Handles of the cold metrics.
    pub cold: Arc<SidecarMetrics>,
    /// Where access-log lines go, if anywhere.
    pub access_log: Option<AccessLog>,
    /// TLS on either side, if any.
    pub tls: TlsContexts,
    /// Open waits of `/wait-for-drain`: answers close their connections meanwhile.
    pub waits: Arc<PreStopHooks>,
    /// Its connections, and what is kept for them.
    pub holders: Rc<Holders>,
    /// Descriptors for connections, of the process.
    pub descriptors: Arc<Descriptors>,
    /// What was said last of whether the app is there.
    pub(crate) said_of_upstream: Arc<Changes>,
    /// What ends now was cut off by the account.
    pub shedding: Cell<bool>,
    /// Who the shutdown waits for.
    pub drain: Rc<Drain>,
    /// Where bytes are read and decoded before they are written on. Empty between two polls.
    pub scratch: RefCell<Scratch>,
    clock: Clock,
    date: RefCell<Date>,
}

/// The Date field's value, made once a second at most.
struct Date {
    text: Rc<str>,
    second: u64,
    read: Option<Tick>,
}

/// How long a Date may be used without looking at the system's clock.
const DATE_NANOS: u64 = 50_000_000;

impl Worker {
    /// Puts a worker's parts together.
    pub(crate) fn new(
        common: Shared,
        seat: &Seat,
        shard: Shard,
        stats: Arc<WorkerStats>,
    ) -> Rc<Self> {
        let Shared { config, cold, access_log, tls, waits, descriptors, said_of_upstream } = common;
        let Seat { holders, drain } = seat.clone();
        let clock = Clock::new();
        let scratch = RefCell::default();
        let date = RefCell::new(Date { text: "".into(), second: 0, read: None });
        Rc::new(Self {
            config,
            shard,
            stats,
            cold,
            access_log,
            tls,
            waits,
            holders,
            descriptors,
            said_of_upstream,
            shedding: Cell::new(false),
            drain,
            scratch,
            clock,
            date,
        })
    }

    /// Has the account cut off what `end` drops; requests in it are recorded as that.
    pub(crate) fn shed(&self, end: impl FnOnce()) {
        self.shedding.set(true);
        end();
        self.shedding.set(false);
    }

    /// Reads the clock: about 10 ns, against 24 ns of `Instant::now` (measured).
    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }

    /// The time as a Date field's value (RFC 9110 §6.6.1).
    pub(crate) fn date(&self) -> Rc<str> {
        let mut date = self.date.borrow_mut();
        let now = self.now();
        if date.read.is_none_or(|read| self.nanos_between(read, now) >= DATE_NANOS) {
            date.read = Some(now);
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            if date.text.is_empty() || date.second != since.as_secs() {
                date.second = since.as_secs();
                let time = UNIX_EPOCH + Duration::from_secs(date.second);
                date.text = httpdate::fmt_http_date(time).into();
            }
        }
        Rc::clone(&date.text)
    }

    /// Nanoseconds from one reading to a later one; 0 if they are the wrong way round.
    pub(crate) fn nanos_between(&self, earlier: Tick, later: Tick) -> u64 {
        if later <= earlier { 0 } else { self.clock.nanos_between(earlier, later) }
    }
}
