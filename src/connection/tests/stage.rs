//! A client, the proxy's connection and an app on one thread, on real sockets and a stopped clock.
//!
//! The runtime moves its clock only when no task can go on, and loopback sockets hand over bytes
//! at once. So time is exact and the order of events is the script's.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::Instant;

use crate::buckets::Buckets;
use crate::config::{Config, ListenAddr, PathMode, Timeouts, Upstream, UpstreamProtocol};
use crate::connection::serve;
use crate::headers::Forwarded;
use crate::labels::{ErrorToken, Methods};
use crate::metrics::{Cold, Naming, WorkerStats};
use crate::paths::Namer;
use crate::series::{HistogramTotals, Limits, Shard, Store};
use crate::upstream::Pool;
use crate::worker::{Shared, Worker};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Where a conversation is played.
pub(super) struct Stage {
    pub(super) worker: Rc<Worker>,
    pool: Rc<Pool>,
    store: std::sync::Arc<Store>,
    app: TcpListener,
    door: TcpListener,
    began: Instant,
}

/// One end of a connection, as its peer would hold it.
pub(super) struct Peer {
    pub(super) socket: TcpStream,
}

/// Plays `script` before a fresh proxy. The clock stands at 0.
pub(super) fn played(script: impl AsyncFnOnce(&mut Stage)) {
    played_with(|_| {}, script);
}

/// The same before a proxy that is configured otherwise.
pub(super) fn played_with(change: impl FnOnce(&mut Config), script: impl AsyncFnOnce(&mut Stage)) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let mut stage = Stage::new(change).await;
        script(&mut stage).await;
    });
}

fn config(upstream: Upstream) -> Config {
    let any = ListenAddr::Port(0);
    Config {
        listen: any,
        upstream,
        upstream_protocol: UpstreamProtocol::default(),
        metrics: any,
        tls: crate::tls::Files::default(),
        threads: 1,
        routes: Vec::new(),
        route_sources: crate::routes::RouteSources::default(),
        path_mode: PathMode::Off,
        naming: Naming::Default,
        exclusions: None,
        limits: Limits {
            max_paths: 10,
            max_series: 100,
            buckets: Buckets::new(&[0.1, 1.0]).expect("bounds"),
            exemplars: false,
        },
        methods: Methods::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(3),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(620),
            response: None,
            upstream_idle: ms(1500),
            shutdown_delay: Duration::ZERO,
            shutdown: Duration::from_secs(30),
        },
        max_connections: 100,
        max_header_bytes: 64 * 1024,
        forwarded: Forwarded::Off,
        via: false,
        access_log: None,
        metrics_gzip: true,
    }
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = app.local_addr().expect("an address").port();
        let mut config = config(Upstream::Tcp { host: "127.0.0.1".to_owned(), port });
        change(&mut config);
        let namer = Namer::new(&[]).expect("no templates").with_mode(config.path_mode);
        let store = Store::new(config.limits.clone(), namer);
        let common = Shared {
            cold: Cold::new(100, 10, 100),
            config: config.into(),
            access_log: None,
            tls: crate::tls::Ends::default(),
        };
        let shard = Shard::new(std::sync::Arc::clone(&store));
        let worker = Worker::new(common, shard, WorkerStats::new());
        let pool = Pool::new(&worker);
        Self { worker, pool, store, app, door, began: Instant::now() }
    }

    /// A client that is connected.
    pub(super) async fn client(&self) -> Peer {
        let address = self.door.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), self.door.accept());
        let guard = self.worker.drain.enter();
        let (far, address) = far.expect("a connection");
        far.set_nodelay(true).expect("an option");
        let (worker, pool) = (Rc::clone(&self.worker), Rc::clone(&self.pool));
        drop(tokio::task::spawn_local(serve(worker, pool, (far, address), guard)));
        Peer::new(near.expect("a connection"))
    }

    /// The app's end of the next connection that the proxy opens.
    pub(super) async fn app(&self) -> Peer {
        Peer::new(self.app.accept().await.expect("a connection").0)
    }

    /// Waits until the clock shows `time`.
    pub(super) async fn at(&self, time: Duration) {
        tokio::time::sleep_until(self.began + time).await;
    }

    /// The clock shows `time`.
    pub(super) fn is_at(&self, time: Duration) {
        assert_eq!(self.began.elapsed(), time);
    }

    /// Exactly these were counted: status, error and duration, in any order. Nothing is in flight.
    pub(super) async fn counted(&self, expected: &[(u16, &str, Duration)]) {
        settled().await;
        let mut counted = Vec::new();
        for (key, parts) in &self.store.snapshot().rows {
            let totals = HistogramTotals::of(parts.iter().map(|row| &row.durations));
            let untimed: u64 = parts.iter().map(|row| row.untimed()).sum();
            let error = key.error.map_or("", ErrorToken::as_str);
            let requests = totals.count() + untimed;
            let sum = Duration::from_nanos(totals.sum_nanos);
            counted.extend((requests > 0).then_some((key.status, error, requests, sum)));
        }
        let mut sums: Vec<(u16, &str, u64, Duration)> = Vec::new();
        for (status, error, duration) in expected {
            match sums.iter_mut().find(|row| (row.0, row.1) == (*status, *error)) {
                Some(row) => {
                    row.2 += 1;
                    row.3 += *duration;
                }
                None => sums.push((*status, *error, 1, *duration)),
            }
        }
        counted.sort_unstable();
        sums.sort_unstable();
        assert_eq!(counted, sums);
        assert_eq!(self.worker.stats.in_flight(), 0, "in flight");
    }
}

/// Lets every task go on that can, without time passing.
pub(super) async fn settled() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Peer {
    fn new(socket: TcpStream) -> Self {
        // The kernel would hold small pieces back by its own clock, which does not stand still.
        socket.set_nodelay(true).expect("an option");
        Self { socket }
    }

    pub(super) async fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("the proxy reads");
        settled().await;
    }

    /// Sends to somebody who may be gone.
    pub(super) async fn sends_if_it_can(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.socket.write_all(bytes.as_ref()).await;
        settled().await;
    }

    /// Reads exactly `expected`.
    pub(super) async fn reads(&mut self, expected: &str) {
        let mut read = vec![0; expected.len()];
        let mut count = 0;
        while count < read.len() {
            match self.socket.read(&mut read[count..]).await.expect("no reset") {
                0 => break,
                more => count += more,
            }
        }
        assert_eq!(String::from_utf8_lossy(&read[..count]), expected);
    }

    /// Reads up to the empty line behind a head.
    pub(super) async fn reads_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.socket.read_u8().await.expect("a whole head")));
        }
        head
    }

    /// Nothing has come, not even an end.
    pub(super) async fn has_nothing(&mut self) {
        settled().await;
        let mut byte = [0];
        let read = self.socket.try_read(&mut byte);
        assert!(matches!(&read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{read:?}");
    }

    /// Reads the end of the connection and nothing before it.
    pub(super) async fn reads_the_end(&mut self) {
        assert_eq!(self.socket.read(&mut [0]).await.ok().unwrap_or(0), 0);
    }
}
