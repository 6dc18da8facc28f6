//! `proxy demo`: a built-in backend and gentle traffic through the real proxy.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use redcar::config::Upstream;
use redcar::server::{Server, ShutdownMode};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

use crate::cli::{DemoArgs, RunArgs};
use crate::{fail, first_signal, print};

/// Runs the demo until a signal or the end of `--duration`.
pub(crate) fn run(flags: &DemoArgs) -> ExitCode {
    let backend = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(backend) => backend,
        Err(error) => return fail(&error, 1),
    };
    let port = match backend.local_addr() {
        Ok(address) => address.port(),
        Err(error) => return fail(&error, 1),
    };
    let upstream = Upstream::Tcp { host: "127.0.0.1".into(), port };
    let config = match RunArgs::for_demo(flags, upstream) {
        Ok(config) => config,
        Err(error) => return fail(&error, 2),
    };
    let server = match Server::bind(config) {
        Ok(server) => server,
        Err(error) => return fail(&error, 1),
    };
    let (Ok(listen), Ok(metrics)) = (server.listen_address(), server.metrics_address()) else {
        return ExitCode::FAILURE;
    };
    welcome(listen.port(), metrics.port(), port);
    let rate = flags.rate;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()));
    // Ends with the process: it has nothing to lose.
    std::thread::spawn(move || backend_and_traffic(backend, target, rate));
    let duration = flags.duration;
    let ended = server.run(async move {
        match duration {
            None => first_signal().await,
            Some(duration) => {
                tokio::time::timeout(duration, first_signal()).await.unwrap_or(ShutdownMode::Prompt)
            }
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn welcome(listen: u16, metrics: u16, backend: u16) {
    let text = format!(
        "redcar demo: a built-in app on :{backend}, the sidecar in front of it on :{listen}\n\n  \
         look          http://localhost:{metrics}/  or: proxy top --metrics :{metrics}\n  \
         its metrics   curl -s localhost:{metrics}/metrics | grep ^http_requests_total\n  \
         add traffic   curl -i localhost:{listen}/users/42\n  \
         your own app  proxy --listen :7001 --upstream :8000\n\n\
         Traffic runs by itself. Ctrl-C ends it.\n"
    );
    // A closed stdout is no reason not to run.
    let _code = print(text.as_bytes());
}

fn backend_and_traffic(backend: TcpListener, target: SocketAddr, rate: u32) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        if backend.set_nonblocking(true).is_err() {
            return;
        }
        let Ok(backend) = tokio::net::TcpListener::from_std(backend) else {
            return;
        };
        let dice = Rc::new(Dice(Cell::new(0x9e37_79b9_7f4a_7c15)));
        if rate > 0 {
            drop(tokio::task::spawn_local(traffic(target, rate, Rc::clone(&dice))));
        }
        loop {
            let Ok((socket, _)) = backend.accept().await else {
                continue;
            };
            let dice = Rc::clone(&dice);
            drop(tokio::task::spawn_local(async move {
                let service = service_fn(|request| app(request, Rc::clone(&dice)));
                // A connection that breaks is the client's affair.
                let _ended =
                    server::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            }));
        }
    });
}

/// A small generator (xorshift64): the demo needs variety, not secrecy.
struct Dice(Cell<u64>);

impl Dice {
    fn below(&self, limit: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 16) % limit
    }
}

/// The built-in app: fast and slow paths, ids, failures, an upload.
async fn app(request: Request<Incoming>, dice: Rc<Dice>) -> Result<Response<Text>, Infallible> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    discard(request.into_body()).await;
    let (status, text, millis) = match (method, path.as_str()) {
        (Method::GET, "/") => (200, "welcome\n", dice.below(4)),
        (Method::GET, "/ruok") => (200, "imok\n", 0),
        (Method::GET, "/search") => (200, "[]\n", 20 + dice.below(60)),
        (Method::GET, "/report") => (200, "done\n", 300 + dice.below(900)),
        (Method::POST, "/upload") => (201, "stored\n", 5 + dice.below(20)),
        (Method::POST, "/checkout") if dice.below(10) == 0 => (500, "out of stock\n", 30),
        (Method::POST, "/checkout") => (200, "paid\n", 40 + dice.below(80)),
        (Method::GET, path) if path.starts_with("/users/") => match dice.below(20) {
            0 => (404, "no such user\n", 2),
            _ => (200, "{}\n", 2 + dice.below(8)),
        },
        _ => (404, "not found\n", 1),
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let mut response = Response::new(Text(Some(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

async fn discard(mut body: Incoming) {
    let mut next = std::pin::pin!(std::future::poll_fn(|cx| {
        loop {
            match std::task::ready!(std::pin::Pin::new(&mut body).poll_frame(cx)) {
                Some(Ok(_frame)) => {}
                Some(Err(_)) | None => return std::task::Poll::Ready(()),
            }
        }
    }));
    next.as_mut().await;
}

/// Sends requests, a fresh connection each, `rate` a second.
async fn traffic(target: SocketAddr, rate: u32, dice: Rc<Dice>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1) / rate);
    loop {
        interval.tick().await;
        let (method, path) = match dice.below(20) {
            0..=5 => (Method::GET, format!("/users/{}", 1 + dice.below(5000))),
            6..=9 => (Method::GET, "/".to_owned()),
            10..=12 => (Method::GET, format!("/search?q={}", dice.below(1000))),
            13..=15 => (Method::POST, "/checkout".to_owned()),
            16 => (Method::POST, "/upload".to_owned()),
            17 => (Method::GET, "/report".to_owned()),
            18 => (Method::GET, "/favicon.ico".to_owned()),
            _ => (Method::GET, "/ruok".to_owned()),
        };
        drop(tokio::task::spawn_local(async move {
            // A request that fails shows up in the metrics, which is what the demo is for.
            let _answer = visit(target, method, path).await;
        }));
    }
}

async fn visit(target: SocketAddr, method: Method, path: String) -> Option<StatusCode> {
    let socket = TcpStream::connect(target).await.ok()?;
    let (mut sender, connection) = client::handshake(TokioIo::new(socket)).await.ok()?;
    drop(tokio::task::spawn_local(connection));
    let body = if method == Method::POST { Some(Bytes::from_static(&[b'x'; 2048])) } else { None };
    let request = Request::builder().method(method).uri(path).header("host", "demo");
    let response = sender.send_request(request.body(Text(body)).ok()?).await.ok()?;
    let status = response.status();
    discard(response.into_body()).await;
    Some(status)
}

/// A body of one piece.
struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, |text| text.len() as u64))
    }
}
