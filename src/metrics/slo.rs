//! Objectives: which requests each is about, and how those went.
//!
//! A request is judged when it ends, by its own duration and path: so any latency and any pattern
//! can be an objective, whatever bounds and labels there are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics::labels::{ErrorToken, GrpcStatus, Side};
use crate::paths::PathGlob;

/// One objective.
#[derive(Clone, PartialEq, Debug)]
pub struct Slo {
    /// The `slo` label.
    pub name: Box<str>,
    /// Which paths it is about, as they are sent.
    pub path: PathGlob,
    /// The longest that a good request takes; `None`: any time is good.
    pub latency: Option<Duration>,
    /// The share of requests that should be good, between 0 and 1.
    pub objective: f64,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was given has a few digits; a double of it may have more.
        let percent = (self.objective * 1e10).round() / 1e8;
        write!(f, "{}: {percent} % of {} without failure", self.name, self.path.as_str())?;
        self.latency.map_or(Ok(()), |latency| write!(f, ", within {latency:?}"))
    }
}

/// Why some objectives cannot be had together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlosError {
    /// Two have one name.
    #[error(
        "--slo: two objectives are called `{0}`; give each a name: `name=checkout-fast,path=…`"
    )]
    Twice(Box<str>),
    /// More than a set of them has room for.
    #[error("--slo: at most {max} objectives are supported, these are {0}", max = Slos::MAX)]
    TooMany(usize),
}

/// All objectives.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Slos(Arc<[Slo]>);

impl Slos {
    /// How many there may be: one has a bit of a [`SloSet`], and six series.
    pub const MAX: usize = 32;

    /// Takes objectives, in the order in which they are shown.
    ///
    /// # Errors
    ///
    /// [`SlosError`] for too many, and for two of one name.
    pub fn new(slos: Vec<Slo>) -> Result<Self, SlosError> {
        if slos.len() > Self::MAX {
            return Err(SlosError::TooMany(slos.len()));
        }
        for (index, slo) in slos.iter().enumerate() {
            if slos.iter().take(index).any(|other| other.name == slo.name) {
                return Err(SlosError::Twice(slo.name.clone()));
            }
        }
        Ok(Self(slos.into()))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Slo> {
        self.0.iter()
    }

    /// Those that a path belongs to.
    ///
    /// # Shape
    ///
    /// `path` without the query, as sent. One look per objective. Never panics.
    pub(super) fn about(&self, path: &str) -> SloSet {
        let about = self.0.iter().enumerate().filter(|(_, slo)| slo.path.matches(path));
        SloSet(about.fold(0, |set, (index, _)| set | 1 << index))
    }
}

/// Some of the objectives: a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SloSet(u32);

impl SloSet {
    /// None of them.
    pub(super) const NONE: Self = Self(0);

    fn has(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }
}

/// How a request ended, as far as objectives ask.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The status that is counted.
    pub status: u16,
    /// Why it was not answered whole, if it was not.
    pub error: Option<ErrorToken>,
    /// How the gRPC call ended, if it was one.
    pub grpc: Option<GrpcStatus>,
    /// How long it took; `None` for what has no duration: upgrades and event streams.
    pub nanos: Option<u64>,
}

/// What a request was for an objective: the `result` label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SloResult {
    /// As it should be.
    Good,
    /// Too late, or given up by the client when it was.
    Slow,
    /// App, network or sidecar failed.
    Failed,
    /// The client got it wrong, or gave up in time: neither good nor bad.
    Client,
}

impl SloResult {
    /// All results, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Good, Self::Slow, Self::Failed, Self::Client];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Client => "client",
        }
    }

    /// Judges a request by the latency of an objective.
    fn of(latency: Option<Duration>, ended: &Ended) -> Self {
        let is_late = latency
            .zip(ended.nanos)
            .is_some_and(|(longest, nanos)| Duration::from_nanos(nanos) > longest);
        match ended.error.map(|error| (error, error.side())) {
            Some((ErrorToken::DownstreamAborted, _)) if is_late => Self::Slow,
            Some((_, Side::Client)) => Self::Client,
            Some((_, Side::App | Side::Network | Side::Sidecar)) => Self::Failed,
            None if ended.status >= 500 => Self::Failed,
            None if ended.grpc.is_some_and(GrpcStatus::is_of_server) => Self::Failed,
            None if is_late => Self::Slow,
            None => Self::Good,
        }
    }
}

/// Requests of each objective by result, of one worker, who alone writes.
#[derive(Debug)]
pub(super) struct SloCounts(Box<[[AtomicU64; SloResult::ALL.len()]]>);

impl SloCounts {
    pub(super) fn new(slos: &Slos) -> Self {
        Self(slos.iter().map(|_| Default::default()).collect())
    }

    /// Counts a request that has ended for each objective that it is about.
    pub(super) fn record(&self, slos: &Slos, about: SloSet, ended: &Ended) {
        if about == SloSet::NONE {
            return;
        }
        for (index, (slo, counts)) in slos.iter().zip(&self.0).enumerate() {
            if about.has(index)
                && let Some(count) = counts.get(SloResult::of(slo.latency, ended) as usize)
            {
                count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
            }
        }
    }

    /// The requests of an objective with a result.
    pub(super) fn count(&self, index: usize, result: SloResult) -> u64 {
        let count = self.0.get(index).and_then(|counts| counts.get(result as usize));
        count.map_or(0, |count| count.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(name: &str, path: &str, millis: Option<u64>) -> Slo {
        Slo {
            name: name.into(),
            path: path.parse().expect("a glob"),
            latency: millis.map(Duration::from_millis),
            objective: 0.999,
        }
    }

    #[test]
    fn a_request_is_judged_by_who_failed_and_by_its_time() {
        use ErrorToken as E;
        use SloResult::{Client, Failed, Good, Slow};
        let grpc = |code: &str| Some(GrpcStatus::parse(code.as_bytes()));
        let millis = |millis: u64| Some(millis * 1_000_000);
        let limit = Some(Duration::from_millis(300));
        for (status, error, grpc, nanos, with_limit, without) in [
            (200, None, None, millis(300), Good, Good),
            (200, None, None, Some(300_000_001), Slow, Good),
            (404, None, None, millis(1), Good, Good),
            (500, None, None, millis(1), Failed, Failed),
            (503, None, None, millis(900), Failed, Failed),
            // A switched connection and an event stream have no duration.
            (101, None, None, None, Good, Good),
            (502, Some(E::ConnectionRefused), None, millis(1), Failed, Failed),
            (504, Some(E::ConnectionTimeout), None, millis(1), Failed, Failed),
            (503, Some(E::Draining), None, millis(1), Failed, Failed),
            (200, Some(E::HttpResponseIncomplete), None, millis(1), Failed, Failed),
            (400, Some(E::HttpRequestError), None, millis(1), Client, Client),
            (501, Some(E::HttpRequestError), None, millis(1), Client, Client),
            (408, Some(E::DownstreamTimeout), None, millis(900), Client, Client),
            (499, Some(E::DownstreamAborted), None, millis(300), Client, Client),
            (499, Some(E::DownstreamAborted), None, millis(301), Slow, Client),
            (200, None, grpc("0"), millis(1), Good, Good),
            (200, None, grpc("5"), millis(1), Good, Good),
            (200, None, grpc("13"), millis(1), Failed, Failed),
            (200, None, grpc("14"), millis(1), Failed, Failed),
        ] {
            let ended = Ended { status, error, grpc, nanos };
            assert_eq!(SloResult::of(limit, &ended), with_limit, "{ended:?}");
            assert_eq!(SloResult::of(None, &ended), without, "{ended:?}");
        }
    }

    #[test]
    fn a_request_counts_once_for_each_objective_that_it_is_about() {
        let all = vec![
            slo("all", "/**", None),
            slo("checkout", "/checkout/**", Some(300)),
            slo("admin", "/admin/*", None),
        ];
        let slos = Slos::new(all).expect("objectives");
        let counts = SloCounts::new(&slos);
        for (path, millis) in [("/checkout/pay", 100), ("/checkout/pay", 400), ("/", 400)] {
            let nanos = Some(millis * 1_000_000);
            let ended = Ended { status: 200, error: None, grpc: None, nanos };
            counts.record(&slos, slos.about(path), &ended);
        }
        let shown = |index| SloResult::ALL.map(|result| counts.count(index, result));
        assert_eq!(shown(0), [3, 0, 0, 0]);
        assert_eq!(shown(1), [1, 1, 0, 0]);
        assert_eq!(shown(2), [0; 4]);
        assert_eq!(slos.about("*"), SloSet::default());
    }

    #[test]
    fn an_objective_says_what_it_asks_for() {
        assert_eq!(
            slo("a", "/a*", Some(300)).to_string(),
            "a: 99.9 % of /a* without failure, within 300ms"
        );
        let slo = Slo { objective: 0.07, ..slo("all", "/**", None) };
        assert_eq!(slo.to_string(), "all: 7 % of /** without failure");
    }

    #[test]
    fn names_are_unique_and_few() {
        let twice = vec![slo("a", "/a", None), slo("b", "/b", None), slo("a", "/c", None)];
        assert_eq!(Slos::new(twice), Err(SlosError::Twice("a".into())));
        let many = |count: usize| (0..count).map(|n| slo(&n.to_string(), "/**", None)).collect();
        let all = Slos::new(many(Slos::MAX)).expect("as many as there may be");
        assert_eq!(all.about("/x"), SloSet(u32::MAX));
        assert_eq!(Slos::new(many(33)), Err(SlosError::TooMany(33)));
    }
}
