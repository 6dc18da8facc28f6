//! A client, the proxy's connection and an app on one thread, on real sockets and a stopped clock.
//!
//! The runtime moves its clock only when no task can go on, and loopback sockets hand over bytes
//! at once. So time is exact and the order of events is the script's.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::Instant;

use crate::config::{Config, Host, ListenAddr, PathMode, Timeouts, Upstream, UpstreamProtocol};
use crate::http::rewrite::Forwarded;
use crate::logs::seldom::Changes;
use crate::metrics::buckets::Buckets;
use crate::metrics::labels::{ErrorToken, Methods};
use crate::metrics::slo::Slos;
use crate::metrics::store::{HistogramTotals, Limits, Shard, Store};
use crate::metrics::{Naming, Resource, SidecarMetrics, WorkerStats};
use crate::net::budget::Budget;
use crate::net::transport::Socket;
use crate::paths::Namer;
use crate::proxy::downstream::h1::serve;
use crate::proxy::upstream::{Descriptors, Pool};
use crate::proxy::worker::{Seat, Shared, Worker};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Where a conversation is played.
pub(super) struct Stage {
    pub(super) worker: Rc<Worker>,
    pool: Rc<Pool>,
    store: Arc<Store>,
    app: TcpListener,
    door: TcpListener,
    began: Instant,
}

/// One end of a connection, as its peer would hold it.
pub(super) struct Peer {
    pub(super) socket: TcpStream,
}

/// A request on a stream, as an app holds it that speaks HTTP/2.
pub(super) struct AppStream {
    body: h2::RecvStream,
    pub(super) respond: h2::server::SendResponse<Bytes>,
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
        // The clock runs on while everybody waits, so that a conversation that hangs ends here.
        let played = tokio::time::timeout(Duration::from_secs(1_000_000), script(&mut stage));
        played.await.expect("the conversation hangs");
    });
}

/// What the proxy is configured with unless a test says otherwise.
pub(super) fn config(upstream: Upstream) -> Config {
    let any = ListenAddr::Port(0);
    Config {
        listen: any,
        upstream,
        upstream_protocol: UpstreamProtocol::default(),
        metrics: any,
        tls: crate::net::tls::Files::default(),
        threads: 1,
        routes: Vec::new(),
        route_sources: crate::config::routes::RouteSources::default(),
        names_from: crate::config::names::NamesFrom::default(),
        path_mode: PathMode::Off,
        naming: Naming::Default,
        resource: Resource::default(),
        shown: crate::metrics::Shown::default(),
        exclusions: None,
        limits: Limits {
            max_paths: 10,
            max_series: 100,
            buckets: Buckets::new(&[0.1, 1.0]).expect("bounds"),
            exemplars: false,
            slos: Slos::default(),
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
        max_http2_header_bytes: 16 * 1024,
        max_buffered_bytes: None,
        forwarded: Forwarded::Off,
        via: false,
        access_log: None,
        metrics_gzip: true,
        metrics_port: crate::config::MetricsPort::default(),
        maps: Vec::new(),
    }
}

/// A worker with its pool, and the store that it counts in.
pub(super) fn workplace(config: Config) -> (Rc<Worker>, Rc<Pool>, Arc<Store>) {
    let namer = Namer::new(&config.routes).expect("no conflict").with_mode(config.path_mode);
    let store = Store::new(config.limits.clone(), namer);
    let common = Shared {
        cold: SidecarMetrics::new(100, 10, 100),
        config: config.into(),
        access_log: None,
        tls: crate::net::tls::TlsContexts::default(),
        waits: Arc::default(),
        descriptors: Descriptors::new(usize::MAX),
        said_of_upstream: Arc::new(Changes::new()),
    };
    let seat = Seat::new(Budget::new(256 << 20));
    let worker = Worker::new(common, &seat, Shard::new(Arc::clone(&store)), WorkerStats::new());
    let pool = Pool::new(&worker);
    (worker, pool, store)
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = app.local_addr().expect("an address").port();
        let mut config = config(Upstream::Tcp { host: Host::Name("127.0.0.1".to_owned()), port });
        change(&mut config);
        let (worker, pool, store) = workplace(config);
        Self { worker, pool, store, app, door, began: Instant::now() }
    }

    /// A client that is connected.
    pub(super) async fn client(&self) -> Peer {
        self.connected(TcpSocket::new_v4().expect("a socket"), |_| {}).await
    }

    /// A client with whom the kernel keeps little on the way.
    pub(super) async fn client_with_buffers(&self, bytes: u32) -> Peer {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("an option");
        let small = |far: &TcpStream| {
            let far = socket2::SockRef::from(far);
            far.set_send_buffer_size(bytes as usize).expect("an option");
        };
        self.connected(socket, small).await
    }

    async fn connected(&self, socket: TcpSocket, change: impl Fn(&TcpStream)) -> Peer {
        let address = self.door.local_addr().expect("an address");
        let (near, far) = tokio::join!(socket.connect(address), self.door.accept());
        let guard = self.worker.drain.enter();
        let (far, address) = far.expect("a connection");
        far.set_nodelay(true).expect("an option");
        change(&far);
        let (worker, pool) = (Rc::clone(&self.worker), Rc::clone(&self.pool));
        drop(tokio::task::spawn_local(serve(worker, pool, (Socket::Tcp(far), address), guard)));
        Peer::new(near.expect("a connection"))
    }

    /// The app's end of the next connection that the proxy opens.
    pub(super) async fn app(&self) -> Peer {
        Peer::new(self.app.accept().await.expect("a connection").0)
    }

    /// No connection waits for the app.
    pub(super) async fn app_has_no_connection(&self) {
        settled().await;
        let waits = poll_fn(|cx| Poll::Ready(self.app.poll_accept(cx).is_ready())).await;
        assert!(!waits, "the app was connected to once more");
    }

    /// A client that speaks HTTP/2.
    pub(super) async fn http2_client(&self) -> h2::client::SendRequest<Bytes> {
        let socket = self.client().await.socket;
        let (send, connection) = h2::client::handshake(socket).await.expect("a handshake");
        drop(tokio::task::spawn_local(connection));
        settled().await;
        send
    }

    /// The next request to an app that speaks HTTP/2.
    pub(super) async fn http2_app(&self) -> AppStream {
        let socket = self.app().await.socket;
        let mut connection = h2::server::handshake(socket).await.expect("a handshake");
        let accepted = connection.accept().await.expect("a stream").expect("a request");
        drop(tokio::task::spawn_local(async move {
            while let Some(Ok(_)) = connection.accept().await {}
        }));
        let (request, respond) = accepted;
        AppStream { body: request.into_body(), respond }
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
        let mut counted = BTreeMap::<_, (u64, Duration)>::new();
        for (key, parts) in &self.store.snapshot().rows {
            let totals = HistogramTotals::of(parts.iter().map(|row| &row.durations));
            let untimed: u64 = parts.iter().map(|row| row.untimed()).sum();
            let requests = totals.count() + untimed;
            if requests > 0 {
                let error = key.error.map_or("", ErrorToken::as_str);
                let sum = counted.entry((key.status, error)).or_default();
                sum.0 += requests;
                sum.1 += Duration::from_nanos(totals.sum_nanos);
            }
        }
        let mut sums = BTreeMap::<_, (u64, Duration)>::new();
        for (status, error, duration) in expected {
            let sum = sums.entry((*status, *error)).or_default();
            sum.0 += 1;
            sum.1 += *duration;
        }
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

impl AppStream {
    /// The whole request body.
    pub(super) async fn reads_the_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(data) = self.body.data().await {
            body.extend_from_slice(&data.expect("no reset"));
        }
        body
    }

    /// Waits until the stream is cancelled.
    pub(super) async fn is_reset(&mut self) {
        let reset = poll_fn(|cx| self.respond.poll_reset(cx)).await;
        assert_eq!(reset.expect("a reset"), h2::Reason::CANCEL);
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
        let mut head = Vec::new();
        let mut room = vec![0; 64 * 1024];
        loop {
            let count = self.socket.peek(&mut room).await.expect("no reset");
            assert!(count > 0, "the end comes within a head: {:?}", String::from_utf8_lossy(&head));
            let (before, seen) = (head.len(), &room[..count]);
            head.extend_from_slice(seen);
            let from = before.saturating_sub(3);
            let end =
                head[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
            let used = end.map_or(count, |end| end - before);
            self.socket.read_exact(&mut room[..used]).await.expect("what was peeked at");
            if let Some(end) = end {
                head.truncate(end);
                return String::from_utf8_lossy(&head).into_owned();
            }
        }
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

    /// Sends a FIN and goes on reading.
    pub(super) async fn finishes(&mut self) {
        self.socket.shutdown().await.expect("a FIN");
        settled().await;
    }
}
