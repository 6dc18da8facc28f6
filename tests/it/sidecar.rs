//! A real sidecar on free ports, in this process.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use redcar::config::{Config, ListenAddr, MetricsPort, PathMode, RouteSources, Timeouts, Upstream};
use redcar::http::Forwarded;
use redcar::metrics::{Buckets, Limits, Methods, Naming, Resource, Shown, Slos};
use redcar::server::{Reloader, Server, ShutdownMode, StartError};
use tokio::sync::oneshot;

use crate::backend::{Backend, eventually};
use crate::client::Client;
use crate::scrape::{Metric, Page};

pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// Where `--map` listens.
    pub(crate) further: Vec<SocketAddr>,
    pub(crate) reloader: Reloader,
    stop: Option<oneshot::Sender<ShutdownMode>>,
    thread: Option<JoinHandle<Result<(), StartError>>>,
}

/// One worker, so that the pool is one pool; upstream connections are kept for as long as a test
/// can take.
pub(crate) fn config(upstream: Upstream) -> Config {
    let any = ListenAddr::Socket(SocketAddr::from(([127, 0, 0, 1], 0)));
    Config {
        upstream_protocol: redcar::config::UpstreamProtocol::default(),
        listen: any,
        upstream,
        maps: Vec::new(),
        metrics: any,
        metrics_port: MetricsPort { last_scrape: true, ..MetricsPort::default() },
        tls: redcar::net::Files::default(),
        threads: 1,
        routes: Vec::new(),
        route_sources: RouteSources::default(),
        names_from: redcar::config::NamesFrom::default(),
        path_mode: PathMode::Learn,
        naming: Naming::Default,
        resource: Resource::default(),
        shown: Shown::default(),
        exclusions: None,
        limits: Limits {
            max_paths: 500,
            max_series: 5000,
            buckets: Buckets::new(&[0.1, 1.0]).unwrap(),
            exemplars: false,
            slos: Slos::default(),
        },
        methods: Methods::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(3),
            header: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            response: None,
            upstream_idle: Duration::from_mins(1),
            shutdown_delay: Duration::ZERO,
            shutdown: Duration::from_secs(10),
        },
        max_connections: 1000,
        max_header_bytes: 64 * 1024,
        max_http2_header_bytes: 16 * 1024,
        max_buffered_bytes: None,
        forwarded: Forwarded::Off,
        via: false,
        access_log: None,
        metrics_gzip: true,
    }
}

impl Sidecar {
    /// In front of `backend`. The first request opens a connection, later ones use it again.
    pub(crate) fn before(backend: &Backend) -> Self {
        Self::with(backend, |_| {})
    }

    /// In front of `backend`, with a fresh connection for each request: nothing is retried.
    pub(crate) fn without_pool(backend: &Backend) -> Self {
        Self::with(backend, |config| config.timeouts.upstream_idle = Duration::ZERO)
    }

    pub(crate) fn with(backend: &Backend, change: impl FnOnce(&mut Config)) -> Self {
        Self::to(address(backend.address), change)
    }

    /// In front of any upstream. The first attempt to connect is over when this returns.
    pub(crate) fn to(upstream: Upstream, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(upstream);
        change(&mut config);
        let server = Server::bind(config.validate().unwrap()).unwrap();
        let (address, metrics) =
            (server.listen_address().unwrap(), server.metrics_address().unwrap());
        let further = server.map_addresses().unwrap();
        let reloader = server.reloader();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            server.run(async { stopped.await.unwrap_or(ShutdownMode::Prompt) })
        });
        let sidecar =
            Self { address, metrics, further, reloader, stop: Some(stop), thread: Some(thread) };
        eventually("a first attempt to connect to the upstream", || {
            Page::of(metrics).total("redcar_upstream_connects_total") > 0.5
        });
        sidecar
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn metric(&self, name: &'static str) -> Metric {
        Metric::new(self.metrics, name)
    }

    /// Counted requests with this status.
    pub(crate) fn requests(&self, status: u16) -> Metric {
        self.metric("http_requests_total").label("status", status)
    }

    /// One request ended with this status and error, and nothing else was counted.
    pub(crate) fn ends_with(self, status: u16, error: &str) {
        self.requests(status).label("error", error).eventually_is(1);
        self.ends_after(1);
    }

    /// The invariant: so many requests were counted, each once, and none is in flight. Then stops.
    pub(crate) fn ends_after(mut self, requests: u32) {
        self.metric("http_requests_total").eventually_is(requests);
        self.metric("http_requests_in_flight").eventually_is(0);
        let page = Page::of(self.metrics);
        let expected = f64::from(requests);
        for name in ["http_requests_total", "http_request_duration_seconds_count"] {
            let counted = page.total(name);
            assert!((counted - expected).abs() < 0.5, "{name} is {counted}, not {expected}");
        }
        self.metric("redcar_upstream_connections").label("state", "active").eventually_is(0);
        // How it ends is what the tests of the shutdown are about; nobody waits for it here.
        self.begin_stop(ShutdownMode::Prompt);
    }

    pub(crate) fn begin_stop(&mut self, how: ShutdownMode) {
        if let Some(stop) = self.stop.take() {
            stop.send(how).unwrap();
        }
    }

    /// Waits for the end and tells that it was an orderly one.
    pub(crate) fn is_stopped(&mut self) {
        if let Some(thread) = self.thread.take() {
            eventually("the sidecar's end", || thread.is_finished());
            thread.join().unwrap().unwrap();
        }
    }
}

pub(crate) fn address(of: SocketAddr) -> Upstream {
    Upstream::Tcp { host: of.ip().to_string().as_str().into(), port: of.port() }
}
