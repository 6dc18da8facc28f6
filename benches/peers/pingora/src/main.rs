//! A reverse proxy on Pingora, as a peer to measure against: one thread, mimalloc, and counters
//! and histograms with the labels method, path and status, written in the logging callback.
//!
//!     pingora-peer LISTEN UPSTREAM METRICS THREADS [h2c]
//!
//! With `h2c` both sides may speak HTTP/2 in clear text; the upstream then always does.

use std::time::Instant;

use async_trait::async_trait;
use mimalloc::MiMalloc;
use pingora::apps::HttpServerOptions;
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The bounds that redcar has by default, in seconds.
const BUCKETS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

struct Sidecar {
    upstream: HttpPeer,
    requests: IntCounterVec,
    duration: HistogramVec,
}

#[async_trait]
impl ProxyHttp for Sidecar {
    type CTX = Instant;

    fn new_ctx(&self) -> Instant {
        Instant::now()
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _start: &mut Instant,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _start: &mut Instant,
    ) -> pingora::Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet());
        if let Some(client) = client {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        request.insert_header("x-forwarded-proto", "http")
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&pingora::Error>,
        start: &mut Instant,
    ) {
        let status = session.response_written().map_or("0", |response| response.status.as_str());
        let request = session.req_header();
        let labels = [request.method.as_str(), request.uri.path(), status];
        self.requests.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).observe(start.elapsed().as_secs_f64());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (fixed, h2c) = match arguments.as_slice() {
        [listen, upstream, metrics, threads] => ([listen, upstream, metrics, threads], false),
        [listen, upstream, metrics, threads, word] if word == "h2c" => {
            ([listen, upstream, metrics, threads], true)
        }
        _ => {
            eprintln!("usage: pingora-peer LISTEN UPSTREAM METRICS THREADS [h2c]");
            std::process::exit(2);
        }
    };
    run(fixed, h2c);
}

/// Serves until the process is ended.
fn run([listen, upstream, metrics, threads]: [&String; 4], h2c: bool) {
    let threads = threads.parse().expect("THREADS is a number");
    let conf = ServerConf {
        threads,
        work_stealing: threads > 1,
        // The benchmark ends it when nobody is served any more; it would wait five minutes.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let labels = ["method", "path", "status"];
    let mut peer = HttpPeer::new(upstream.as_str(), false, String::new());
    if h2c {
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = 100;
    }
    let sidecar = Sidecar {
        upstream: peer,
        requests: register_int_counter_vec!("http_requests_total", "Requests", &labels)
            .expect("registered once"),
        duration: register_histogram_vec!(
            "http_request_duration_seconds",
            "Duration",
            &labels,
            BUCKETS.to_vec()
        )
        .expect("registered once"),
    };
    let mut service = http_proxy_service(&server.configuration, sidecar);
    service.add_tcp(listen);
    if let (true, Some(proxy)) = (h2c, service.app_logic_mut()) {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
    }
    server.add_service(service);
    let mut page = pingora_prometheus::prometheus_http_service();
    page.add_tcp(metrics);
    server.add_service(page);
    server.run_forever();
}
