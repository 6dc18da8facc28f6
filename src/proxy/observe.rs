//! The exactly-once guard: one [`Observation`] per accepted request.
//!
//! Created when the head is read, it records in one place, `Observation::end`, which every
//! ending reaches: end of stream, error, and `Drop` for everything else (client gone, panic,
//! shutdown). Guards the invariant *requests started = requests counted + in flight*.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::http::h1::RequestHead;
use crate::logs::access::{self, Subject};
use crate::metrics::labels::{ErrorToken, GrpcStatus, MethodId};
use crate::metrics::slo::{Ended, SloSet};
use crate::metrics::store::{Answer, Exemplar, Key, Lasting, Resolved, RouteId, Settled};
use crate::metrics::wire::Wire;
use crate::metrics::{Shed, bump, drop_one};
use crate::paths::is_respelling;
use crate::proxy::worker::{Tick, Worker};

use self::details::{subject, trace_id, value, wire};
use self::ending::CountedStatus;
pub(crate) use self::ending::{Ending, ResponseHead};
pub(crate) use self::open::OpenConnection;
use self::open::lasted;

mod details;
mod ending;
mod open;

/// How a request ended, and when: its last byte was handed to the connection, or it was known that
/// there will be none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// When. What happens behind may decide how it ended, but not when.
    pub end: Tick,
}

/// What there was of a request, as points on the worker's clock: overhead, time to the response
/// head and duration are all derived from them.
struct Phases {
    head_read: Tick,
    upstream_write: Option<Tick>,
    upstream_head: Option<Tick>,
    response_head: Option<Tick>,
    /// What connecting took: time that the upstream needed, not the sidecar.
    connect_nanos: u64,
}

/// One request from its head to its end.
///
/// What happens to the request is noted here when it happens, since its task may be dropped at any
/// moment; how it ended is said once, by an [`Outcome`].
#[must_use = "dropping an observation records its request as aborted"]
pub(crate) struct Observation {
    worker: Rc<Worker>,
    route: Resolved,
    method: MethodId,
    phases: Phases,
    /// 0 until a response head exists.
    status: u16,
    /// What a redirect is compared with. `None`: the path has a route.
    unknown_path: Option<Box<str>>,
    /// The answer leads to the same path in another spelling.
    is_respelling: bool,
    /// How it ends if its task is dropped now, where that is known.
    foreseen: Option<Ending>,
    grpc: Option<GrpcStatus>,
    /// How it came, where the names tell that apart.
    wire: Option<Wire>,
    /// When the event stream that answers began.
    stream_begun: Option<Tick>,
    request_bytes: u64,
    response_bytes: u64,
    /// Of the sampled trace that the request belongs to.
    trace_id: Option<u128>,
    subject: Option<Box<Subject>>,
    /// Which objectives it is about.
    about: SloSet,
    /// Kept out of every metric but one, by `--exclude-path` or `--exclude-user-agent`.
    excluded: bool,
    ended: bool,
}

impl Observation {
    /// Starts observing a request whose head was just read.
    pub(crate) fn start(
        worker: &Rc<Worker>,
        (peer, scheme): (IpAddr, &str),
        head: &RequestHead<'_>,
    ) -> Self {
        bump(&worker.stats.started);
        let path = head.path();
        let path = path.as_deref();
        let excluded = worker.config.exclusions.as_ref().is_some_and(|exclusions| {
            exclusions.excludes(path.unwrap_or(""), value(head.fields, "user-agent"))
        });
        let (route, about) = match path {
            // Nothing is learned from what is not measured.
            _ if excluded => (Resolved::Known(RouteId::OTHER), SloSet::default()),
            Some(path) => worker.shard.resolve_judged(path),
            None => (Resolved::Known(RouteId::UNPARSED), SloSet::default()),
        };
        let is_unknown = matches!(route, Resolved::Pending(_));
        let method = worker.config.methods.resolve(head.method);
        let wire = worker.config.naming.tells_wire().then(|| wire(worker, scheme, head));
        if let Some(wire) = wire {
            worker.stats.active.begin(method, wire.scheme);
        }
        Self {
            unknown_path: path.filter(|_| is_unknown).map(Box::from),
            is_respelling: false,
            route,
            about,
            method,
            phases: Phases {
                head_read: worker.now(),
                upstream_write: None,
                upstream_head: None,
                response_head: None,
                connect_nanos: 0,
            },
            status: 0,
            foreseen: None,
            grpc: None,
            wire,
            stream_begun: None,
            request_bytes: 0,
            response_bytes: 0,
            trace_id: trace_id(worker, head),
            subject: subject(worker, peer, head, path),
            excluded,
            ended: false,
            worker: Rc::clone(worker),
        }
    }

    /// The request is being handed to an upstream connection. A retry sets it again.
    pub(crate) fn upstream_write_begun(&mut self) {
        // The time until the first attempt is ours; what a retry waits for is the upstream's.
        let now = self.worker.now();
        self.phases.upstream_write.get_or_insert(now);
    }

    /// A connection was opened for this request, from `begun` until now.
    pub(crate) fn connected_since(&mut self, begun: Tick) {
        // Once the first attempt was written, its time is not the sidecar's anyway.
        if self.phases.upstream_write.is_none() {
            self.phases.connect_nanos += self.worker.nanos_between(begun, self.worker.now());
        }
    }

    /// The upstream's response head was read, at `read`, and is ready to be written.
    pub(crate) fn upstream_head_ready(&mut self, read: Tick, status: u16) {
        self.phases.upstream_head = Some(read);
        self.response_head_ready(status);
    }

    /// The upstream's answer is a redirect to `location`.
    pub(crate) fn redirected(&mut self, location: &[u8]) {
        self.is_respelling = self.unknown_path.as_deref().is_some_and(|path| {
            std::str::from_utf8(location).is_ok_and(|location| is_respelling(path, location))
        });
    }

    /// A response head is ready to be written.
    pub(crate) fn response_head_ready(&mut self, status: u16) {
        self.status = status;
        self.phases.response_head = Some(self.worker.now());
    }

    /// Reads the worker's clock.
    pub(crate) fn now(&self) -> Tick {
        self.worker.now()
    }

    /// Whose clock it is.
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Notes how many body bytes were forwarded so far, in both directions.
    pub(crate) fn set_bytes(&mut self, request: u64, response: u64) {
        self.request_bytes = request;
        self.response_bytes = response;
    }

    /// Notes how a gRPC call ended.
    pub(crate) fn set_grpc_status(&mut self, status: Option<&[u8]>) {
        self.grpc = status.map(GrpcStatus::parse).or(self.grpc);
    }

    /// The answer is an event stream: it is counted, and how long it is open, but it is no
    /// duration of a request.
    pub(crate) fn event_stream_begun(&mut self) {
        self.stream_begun = Some(self.now());
        bump(&self.worker.stats.streams_active);
    }

    /// Ends the observation with a 101; the connection lives on under the guard.
    pub(crate) fn switched(mut self) -> OpenConnection {
        let since = self.now();
        let worker = Rc::clone(&self.worker);
        let route = self.end(Outcome { ending: Ending::Answered, end: since });
        OpenConnection::new(worker, route, since)
    }

    /// Notes how the request ends unless something else happens.
    pub(crate) fn foresee(&mut self, ending: Ending) {
        self.foreseen = Some(ending);
    }

    /// Records how the request ended.
    pub(crate) fn record(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Records that it ended now.
    pub(crate) fn record_now(self, ending: Ending) {
        let end = self.worker.now();
        self.record(Outcome { ending, end });
    }

    /// Records. The only place that does.
    fn end(&mut self, Outcome { ending, end }: Outcome) -> Option<Settled> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let (error, status) = ending.counts_as();
        match status {
            CountedStatus::Sent => {}
            CountedStatus::SentOr(_) if self.status != 0 => {}
            CountedStatus::SentOr(status) | CountedStatus::Unsent(status) => {
                self.status = status;
                self.phases.response_head = None;
            }
        }
        let nanos = self.worker.nanos_between(self.phases.head_read, end);
        let route = if self.excluded {
            bump(&self.worker.stats.excluded);
            None
        } else {
            Some(self.write_rows(error, nanos))
        };
        if let Some(since) = self.stream_begun {
            drop_one(&self.worker.stats.streams_active);
            lasted(&self.worker, route.as_ref(), Lasting::Stream, since, end);
        }
        bump(&self.worker.stats.ended);
        if let Some(wire) = self.wire {
            self.worker.stats.active.end(self.method, wire.scheme);
        }
        // A probe that fails is worth a line.
        if !self.excluded || self.status >= 400 {
            self.log(route.as_ref(), error, nanos);
        }
        route
    }

    /// Writes to the rows, and tells under which route.
    fn write_rows(&self, error: Option<ErrorToken>, nanos: u64) -> Settled {
        let (worker, phases) = (&self.worker, &self.phases);
        let start_nanos = phases.response_head.map(|at| worker.nanos_between(phases.head_read, at));
        let nanos = match start_nanos {
            Some(start) if worker.config.naming.measures_head() => start,
            _ => nanos,
        };
        let answered = phases.upstream_head.is_some() && phases.response_head.is_some();
        let is_respelling = self.is_respelling;
        let answer = Answer { status: self.status, is_of_app: answered, is_respelling };
        let route = worker.shard.settle(&self.route, answer);
        let is_answered = phases.response_head.is_some();
        let key = Key {
            route,
            method: self.method,
            status: self.status,
            error,
            grpc: self.grpc,
            wire: self.wire.map(|wire| Wire { is_answered, ..wire }),
        };
        let is_timed = self.status != 101 && self.stream_begun.is_none();
        worker.shard.judge(
            self.about,
            &Ended {
                status: self.status,
                error,
                grpc: self.grpc,
                nanos: is_timed.then_some(nanos),
            },
        );
        worker.shard.with_row(&key, |row, buckets| {
            if !is_timed {
                return row.count_untimed();
            }
            row.durations.record(buckets, nanos);
            if let Some(trace_id) = self.trace_id {
                let exemplar = Exemplar { trace_id, nanos, at: SystemTime::now() };
                row.keep_exemplar(buckets, exemplar);
            }
        });
        worker.shard.with_route(&key.route, |row, buckets| {
            if let Some(nanos) = start_nanos {
                row.time_to_response.record(buckets, nanos);
            }
            if self.request_bytes | self.response_bytes != 0 {
                row.add_bytes(self.request_bytes, self.response_bytes);
            }
        });
        self.record_overhead();
        key.route
    }

    fn record_overhead(&self) {
        let (worker, phases) = (&self.worker, &self.phases);
        let Some(upstream_write) = phases.upstream_write else {
            return;
        };
        let before = worker.nanos_between(phases.head_read, upstream_write);
        let before = before.saturating_sub(phases.connect_nanos);
        let after = match (phases.upstream_head, phases.response_head) {
            (Some(read), Some(ready)) => worker.nanos_between(read, ready),
            _ => 0,
        };
        worker.stats.overhead.record(&worker.stats.overhead_bounds, before + after);
    }

    fn log(&self, route: Option<&Settled>, error: Option<ErrorToken>, nanos: u64) {
        let (Some(log), Some(subject)) = (&self.worker.access_log, &self.subject) else {
            return;
        };
        let route = match route {
            Some(route) => self.worker.shard.route_name(route),
            None => "_EXCLUDED".into(),
        };
        log.log(
            subject,
            access::Outcome {
                status: self.status,
                error: error.map_or("", ErrorToken::as_str),
                route: &route,
                bytes: self.response_bytes,
                duration: Duration::from_nanos(nanos),
            },
        );
    }
}

impl Drop for Observation {
    /// Whatever was not recorded was cut off: by a panic, by the shutdown, or by the client.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let ending = match self.foreseen {
            Some(ending) => ending,
            None if std::thread::panicking() => Ending::Panicked,
            None if self.worker.drain.is_cut() => Ending::CutOff,
            None if self.worker.shedding.get() => Ending::Shed,
            None => Ending::Dropped,
        };
        self.end(Outcome { ending, end: self.worker.now() });
    }
}

/// Counts and logs a request that never became one: its head did not parse, or did not come in
/// time.
pub(crate) fn record_unparsed(worker: &Worker, peer: IpAddr, status: u16) {
    record_headless(worker, peer, status, ErrorToken::HttpRequestError);
}

/// Records a request for whose head there is no room.
pub(crate) fn record_shed(worker: &Worker, peer: IpAddr) {
    worker.cold.shed(Shed::Request, 1);
    record_headless(worker, peer, 503, ErrorToken::Overloaded);
}

fn record_headless(worker: &Worker, peer: IpAddr, status: u16, error: ErrorToken) {
    let key = Key {
        route: Settled::Named(RouteId::UNPARSED),
        method: MethodId::OTHER,
        status,
        error: Some(error),
        grpc: None,
        wire: None,
    };
    bump(&worker.stats.started);
    worker.shard.with_row(&key, |row, buckets| row.durations.record(buckets, 0));
    bump(&worker.stats.ended);
    if let Some(log) = &worker.access_log {
        let outcome = access::Outcome {
            status,
            error: error.as_str(),
            route: &worker.shard.route_name(&key.route),
            bytes: 0,
            duration: Duration::ZERO,
        };
        log.log(&Subject::unparsed(peer), outcome);
    }
}
