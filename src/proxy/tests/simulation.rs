//! Conversations drawn from seeds: the whole proxy between clients and an app that follow a script,
//! in memory, on a stopped clock; and an oracle that knows how each exchange must end.
//!
//! A seed is a conversation, for as long as the drawing does not change; what is to be kept is kept
//! as its script. `REDCAR_SIMULATE` says which seeds to play instead of those that always are:
//! `17`, or `0..1000000`, which takes some hours.
#![expect(
    clippy::single_match_else,
    clippy::similar_names,
    clippy::too_many_lines,
    reason = "a script is read from top to bottom, its cases side by side"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::oracle::Case;
use self::script::{Exchange, IDLE_MS, Ms, Script, Speaks, draw};
use super::stage::{config, settled, workplace};
use crate::config::{Config, Host, PathMode, Upstream, UpstreamProtocol};
use crate::metrics::labels::ErrorToken;
use crate::metrics::store::{HistogramTotals, Lasting, Snapshot};
use crate::net::transport::Socket;
use crate::net::transport::memory::{MemoryUpstream, connect_to, pair};
use crate::proxy::downstream::h1;
use crate::proxy::upstream::Pool;
use crate::proxy::worker::Worker;

mod app;
mod client;
mod oracle;
mod reader;
mod script;

/// Seeds that are played with every `cargo test`: a few seconds.
const ALWAYS: Range<u64> = 0..2000;

/// Seeds that show a fault which is not mended yet, each with what it shows.
const OPEN: [u64; 0] = [];

/// Conversations that once failed, a line each: why it is kept, and its script.
const KEPT: &str = include_str!("simulation/kept.txt");

/// What may be on the way between an app and one client that does not read: the windows, buffers
/// and pieces of both connections, and what the test's own ends hold. A client's own window comes
/// on top.
const CEILING_BYTES: usize = 1 << 20;

const fn ms(millis: Ms) -> Duration {
    Duration::from_millis(millis)
}

/// How a client's exchange ended, as far as the client could see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sight {
    /// It did not end: the client left.
    #[default]
    Waits,
    /// Without an answer.
    Nothing,
    /// Within the answer.
    Cut,
    /// With the answer's end.
    Whole,
}

/// What a client saw of its exchange. Times are since the conversation began.
#[derive(Clone, Debug, Default)]
struct ClientSaw {
    /// Its head was sent.
    began: Option<Ms>,
    interim: Vec<(Ms, u16)>,
    status: u16,
    closes: bool,
    bytes: usize,
    is_intact: bool,
    trailers: Vec<(String, String)>,
    sight: Sight,
    ended: Ms,
}

/// What the app saw of a request, each time it came.
#[derive(Clone, Debug, Default)]
struct Attempt {
    is_reused: bool,
    bytes: usize,
    is_intact: bool,
    trailers: Vec<(String, String)>,
    whole_at: Option<Ms>,
    left_at: Option<Ms>,
    /// Bytes of the answer's body.
    sent: usize,
}

/// What was counted of one path under one status, error and status of a call.
#[derive(Clone, Debug)]
struct Counted {
    status: u16,
    error: String,
    call: Option<u8>,
    requests: u64,
    durations: Vec<Ms>,
    lasting: Vec<Ms>,
    bytes: (usize, usize),
}

/// What those who play share.
struct World {
    script: Rc<Script>,
    began: Instant,
    exchanges: BTreeMap<String, Rc<Exchange>>,
    client_saw: RefCell<Vec<ClientSaw>>,
    app_saw: RefCell<Vec<Vec<Attempt>>>,
    most_held: Cell<usize>,
    opened: RefCell<Vec<Ms>>,
    faults: RefCell<Vec<String>>,
}

impl World {
    fn new(script: Script) -> Rc<Self> {
        let exchanges: BTreeMap<_, _> = script
            .exchanges()
            .map(|(_, exchange)| (client::path(exchange), Rc::new(exchange.clone())))
            .collect();
        Rc::new(Self {
            began: Instant::now(),
            client_saw: RefCell::new(vec![ClientSaw::default(); exchanges.len()]),
            app_saw: RefCell::new(vec![Vec::new(); exchanges.len()]),
            exchanges,
            most_held: Cell::new(0),
            opened: RefCell::default(),
            faults: RefCell::default(),
            script: Rc::new(script),
        })
    }

    fn now(&self) -> Ms {
        Ms::try_from(self.began.elapsed().as_millis()).expect("a short conversation")
    }

    fn exchange_of(&self, target: &str) -> Option<Rc<Exchange>> {
        self.exchanges.get(target).cloned()
    }

    /// Notes that an HTTP/2 connection has ended with an error of the protocol.
    fn noted(&self, whose: &str, error: &h2::Error) {
        if error.reason().is_some_and(|reason| reason != h2::Reason::NO_ERROR) {
            self.faults.borrow_mut().push(format!("{whose} connection: {error}"));
        }
    }

    fn blames(&self, id: usize, fault: &str) {
        self.faults.borrow_mut().push(format!("exchange {id}: {fault}"));
    }
}

fn configure(config: &mut Config, script: &Script) {
    config.upstream_protocol = match script.speaks {
        Speaks::Http1 => UpstreamProtocol::Http1,
        Speaks::Http2 => UpstreamProtocol::Http2,
        Speaks::FoundHttp1 | Speaks::FoundBoth => UpstreamProtocol::Auto,
    };
    config.timeouts.idle = ms(IDLE_MS);
    config.timeouts.response = script.response_limit.map(ms);
    config.path_mode = PathMode::Learn;
    let known = script.exchanges().filter(|(_, exchange)| !exchange.learned);
    let paths = known.map(|(_, exchange)| client::path(exchange)).chain(["/burst".to_owned()]);
    config.routes = paths.map(|path| path.parse().expect("a template")).collect();
}

/// Plays a conversation; returns what was wrong with it.
fn play(script: &Script) -> Vec<String> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime");
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(conversation(script.clone()))));
    connect_to(None);
    played.unwrap_or_else(|_| vec!["a panic".to_owned()])
}

async fn conversation(script: Script) -> Vec<String> {
    let upstream = MemoryUpstream {
        reception: script.reception,
        ends: script.app_ends,
        ..MemoryUpstream::default()
    };
    let upstream = Rc::new(RefCell::new(upstream));
    connect_to(Some(Rc::clone(&upstream)));
    let address = Upstream::Tcp { host: Host::Name("app".to_owned()), port: 1 };
    let mut config = config(address);
    configure(&mut config, &script);
    let (worker, pool, store) = workplace(config);
    let world = World::new(script);
    drop(tokio::task::spawn_local(app::app(Rc::clone(&world), upstream)));
    for at in world.script.scrapes.clone() {
        let store = std::sync::Arc::clone(&store);
        drop(tokio::task::spawn_local(async move {
            sleep(ms(at)).await;
            drop(store.snapshot());
        }));
    }
    if let Some(at) = world.script.drain_at {
        let worker = Rc::clone(&worker);
        drop(tokio::task::spawn_local(async move {
            sleep(ms(at)).await;
            worker.drain.start();
        }));
    }
    let clients = timeout(ms(1_000_000), clients(&world, &worker, &pool)).await;
    if clients.is_err() {
        world.faults.borrow_mut().push("it hangs".to_owned());
    }
    settled().await;
    worker.drain.start();
    if timeout(ms(200_000), worker.drain.finished()).await.is_err() {
        world.faults.borrow_mut().push("a connection does not end".to_owned());
    }
    pool.close_idle();
    settled().await;
    judge(&world, &worker, &store.snapshot())
}

async fn clients(world: &Rc<World>, worker: &Rc<Worker>, pool: &Rc<Pool>) {
    let mut tasks = Vec::new();
    let mut order: Vec<_> = world.script.connections.iter().enumerate().collect();
    order.sort_by_key(|(_, connection)| connection.opens_at);
    *world.opened.borrow_mut() = vec![0; order.len()];
    for (index, connection) in order {
        sleep_until(world.began + ms(connection.opens_at)).await;
        if worker.drain.is_draining() {
            // Nobody listens any more.
            continue;
        }
        world.opened.borrow_mut()[index] = world.now();
        let (near, far) = pair(connection.ends);
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let guard = worker.drain.enter();
        let serve =
            h1::serve(Rc::clone(worker), Rc::clone(pool), (Socket::Memory(far), peer), guard);
        drop(tokio::task::spawn_local(serve));
        let client = client::client(Rc::clone(world), connection.clone(), near);
        tasks.push(tokio::task::spawn_local(client));
    }
    for task in tasks {
        if let Err(error) = task.await {
            world.faults.borrow_mut().push(format!("a client: {error}"));
        }
    }
}

/// Reads what was counted, by path.
fn counts(snapshot: &Snapshot) -> BTreeMap<String, Vec<Counted>> {
    let mut counts = BTreeMap::<_, Vec<Counted>>::new();
    for (key, parts) in &snapshot.rows {
        let durations = HistogramTotals::of(parts.iter().map(|row| &row.durations));
        let requests: u64 = parts.iter().map(|row| row.requests()).sum();
        if requests == 0 {
            continue;
        }
        let Some(route) = snapshot.routes.get(key.route.index()) else { continue };
        let lasting = [Lasting::Upgrade, Lasting::Stream].into_iter().flat_map(|kind| {
            let rows = route.rows.iter().filter_map(move |row| row.lasting(kind));
            rows.map(|row| HistogramTotals::of([row]))
        });
        let bytes = route.rows.iter().map(|row| row.bytes());
        let bytes = bytes.fold((0, 0), |(up, down), bytes| (up + bytes.0, down + bytes.1));
        let size = |bytes: u64| usize::try_from(bytes).expect("few bytes");
        counts.entry(route.name.to_string()).or_default().push(Counted {
            status: key.status,
            error: key.error.map_or("", ErrorToken::as_str).to_owned(),
            call: key.grpc.and_then(|status| u8::try_from(status.packed() - 1).ok()),
            requests,
            durations: times(&durations),
            lasting: lasting.flat_map(|totals| times(&totals)).collect(),
            bytes: (size(bytes.0), size(bytes.1)),
        });
    }
    counts
}

/// The sum, as often as something was counted; one is enough to know it.
fn times(totals: &HistogramTotals) -> Vec<Ms> {
    let millis = totals.sum_nanos / 1_000_000;
    (0..totals.count()).map(|_| millis).collect()
}

fn judge(world: &World, worker: &Worker, snapshot: &Snapshot) -> Vec<String> {
    let mut faults = world.faults.take();
    let mut counts = counts(snapshot);
    let (clients, apps) = (world.client_saw.borrow(), world.app_saw.borrow());
    let opened = world.opened.borrow();
    for (index, connection) in world.script.connections.iter().enumerate() {
        for exchange in &connection.exchanges {
            let path = client::path(exchange);
            let path = if exchange.learned { learned(&counts) } else { path };
            let counted = counts.remove(&path).unwrap_or_default();
            let (client, attempts) = (&clients[exchange.id], &apps[exchange.id]);
            let Some(began) = client.began else {
                if !counted.is_empty() || !attempts.is_empty() {
                    faults.push(format!("exchange {}: nobody asked for it", exchange.id));
                }
                continue;
            };
            let (script, opened) = (&*world.script, opened[index]);
            let case = Case {
                script,
                connection,
                exchange,
                client,
                attempts,
                counted: &counted,
                began,
                opened,
            };
            let found = case.faults();
            if !found.is_empty() {
                let seen = format!("{client:?}\n  {attempts:?}\n  {counted:?}");
                let what = found.join("\n  ");
                faults.push(format!("exchange {}: {what}\n  {seen}", exchange.id));
            }
        }
    }
    let bursts = world.script.connections.iter().filter_map(|connection| connection.burst);
    let bursts: usize = bursts.map(|(_, count)| count).sum();
    for (path, rest) in counts {
        let of_burst = |one: &Counted| one.status == 499 && one.requests <= bursts as u64;
        if path != "/burst" || !rest.iter().all(of_burst) {
            faults.push(format!("counted besides: {path} {rest:?}"));
        }
    }
    let stats = &worker.stats;
    let open = |gauge: &AtomicU64| gauge.load(Relaxed);
    let gauges = [
        stats.in_flight(),
        open(&stats.upstream_active),
        open(&stats.upgraded_active),
        open(&stats.streams_active),
    ];
    if gauges != [0; 4] {
        faults.push(format!("in flight, active, upgraded, streams at the end: {gauges:?}"));
    }
    let windows = world.script.connections.iter().map(|c| c.window_bytes as usize);
    if world.most_held.get() > CEILING_BYTES + windows.max().unwrap_or(0) {
        faults.push(format!("{} bytes were on the way", world.most_held.get()));
    }
    faults
}

/// The one path that no template has.
fn learned(counts: &BTreeMap<String, Vec<Counted>>) -> String {
    let own = |path: &&String| !path.starts_with("/e") && *path != "/burst";
    counts.keys().find(own).cloned().unwrap_or_default()
}

/// As little of a failing script as still fails.
fn shrunk(mut script: Script) -> (Script, Vec<String>) {
    loop {
        let smaller = script.smaller().into_iter().find(|smaller| !play(smaller).is_empty());
        match smaller {
            Some(smaller) => script = smaller,
            None => {
                let faults = play(&script);
                return (script, faults);
            }
        }
    }
}

/// Plays seeds on all processors, until some have failed.
fn play_all(seeds: Range<u64>) {
    const ENOUGH: usize = 5;
    let (next, played) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let begun = SystemTime::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().expect("no panic").len() < ENOUGH {
                    let seed = next.fetch_add(1, Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    if !OPEN.contains(&seed) && !play(&draw(seed)).is_empty() {
                        failed.lock().expect("no panic").push(seed);
                    }
                    played.fetch_add(1, Relaxed);
                }
            });
        }
    });
    let played = played.into_inner();
    let seconds = begun.elapsed().unwrap_or_default().as_secs().max(1);
    eprintln!("{played} conversations, {} a minute", played * 60 / seconds);
    let mut failed = failed.into_inner().expect("no panic");
    failed.sort_unstable();
    for seed in &failed {
        let (script, faults) = shrunk(draw(*seed));
        let script = serde_json::to_string(&script).expect("plain values");
        eprintln!("\nseed {seed}: {}\n{script}", faults.join("\n"));
    }
    let again = failed.first().copied().unwrap_or_default();
    assert!(
        failed.is_empty(),
        "of {played} conversations these fail: {failed:?}. One again: REDCAR_SIMULATE={again} cargo \
         test --lib simulation. Keep its script: a line in simulation/kept.txt"
    );
}

#[test]
fn every_conversation_ends_as_the_oracle_says() {
    #[expect(clippy::disallowed_methods, reason = "no configuration of the program")]
    let wanted = std::env::var("REDCAR_SIMULATE").ok();
    let wanted = wanted.as_deref().map(|wanted| match wanted.split_once("..") {
        Some((from, to)) => from.parse().expect("a seed")..to.parse().expect("a seed"),
        None => {
            let seed = wanted.parse().expect("a seed");
            seed..seed + 1
        }
    });
    play_all(wanted.unwrap_or(ALWAYS));
}

/// Whoever mends one takes it out of the list, and keeps its script.
#[test]
fn what_is_open_still_fails() {
    for seed in OPEN {
        assert!(!play(&draw(seed)).is_empty(), "{seed} is mended");
    }
}

#[test]
fn what_once_failed_does_not_fail_again() {
    let lines = KEPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (why, script) = line.split_once('\t').expect("why, then the script");
        let script: Script = serde_json::from_str(script).expect("a script");
        let faults = play(&script);
        assert!(faults.is_empty(), "{why}: {}", faults.join("\n"));
    }
}

#[test]
fn a_seed_is_one_conversation_each_time_and_a_script_is_kept_as_it_is() {
    for seed in 0..20 {
        let script = format!("{:?}", draw(seed));
        assert_eq!(script, format!("{:?}", draw(seed)));
        let kept = serde_json::to_string(&draw(seed)).expect("plain values");
        let kept: Script = serde_json::from_str(&kept).expect("a script");
        assert_eq!(script, format!("{kept:?}"));
    }
}
