//! The metrics port: `/metrics`, `/paths`, `/livez`, `/readyz`, the live page, on its own thread.
//!
//! Guards the invariant that the admin plane cannot slow the data plane: nothing here runs on a
//! worker, and few pages are rendered at a time. Read-only: there is nothing to POST to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::metrics::page::{Page, Sources};
use crate::shutdown::PreStopHooks;

use self::accept::{accepts_gzip, prefers_json};
use self::answer::{AdminBody, Reader, ScrapeBody, text};
use self::listing::Listing;
use self::wait::Patience;

pub mod accept;
mod answer;
mod listing;
mod page;
mod wait;

/// Pages rendered at one time. Prometheus scrapes one after the other; two are for a pair of
/// servers in high availability. Beyond that: 503.
const MAX_SCRAPES: usize = 2;

/// Lists of paths made at one time: people, not programs.
const MAX_LISTINGS: usize = 2;
/// Pages rendered at one time for people who watch. Their own, so that they keep no scraper out.
const MAX_VIEWS: usize = 2;

/// The field by which the live page and `proxy top` say that they are no scrapers: nobody waits
/// for them at the shutdown.
pub const VIEWER: HeaderName = HeaderName::from_static("redcar-viewer");

/// Connections at one time: probes and scrapers, not users.
const MAX_CONNECTIONS: usize = 64;

/// From connect or the last answer to the next complete request head. Longer than common scrape
/// intervals, so that a scraper's connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(130);

/// Prometheus' default scrape interval, assumed of a scraper seen only once.
const USUAL_INTERVAL: Duration = Duration::from_secs(15);

/// Which states the probes report; written by `server`.
#[derive(Debug, Default)]
pub struct Health {
    /// All workers are running.
    pub serving: AtomicBool,
    /// The shutdown has begun.
    pub draining: AtomicBool,
    /// Open waits of `/wait-for-drain`, which the workers look at.
    pub waits: Arc<PreStopHooks>,
}

/// How the metrics port is asked to close.
#[derive(Debug)]
pub struct Finish {
    /// Wait for one more scrape, at most until then. `None`: close at once.
    pub last_scrape_by: Option<Instant>,
}

/// The metrics port's state.
struct Admin {
    sources: Sources,
    health: Arc<Health>,
    gzip: bool,
    scrapes: Cell<usize>,
    listings: Rc<Cell<usize>>,
    views: Cell<usize>,
    history: RefCell<History>,
    scraped: Notify,
}

/// When `/metrics` was read lately.
#[derive(Default)]
struct History {
    times: VecDeque<Instant>,
}

impl History {
    /// Enough to see a rhythm, also that of two scrapers.
    const LENGTH: usize = 9;

    fn add(&mut self, at: Instant) {
        if self.times.len() == Self::LENGTH {
            self.times.pop_front();
        }
        self.times.push_back(at);
    }

    /// When the current round of scrapes should be over, and how many scrapes make a round.
    ///
    /// Two scrapers make a short and a long pause in turn: the long one is the round's.
    fn expected(&self) -> Option<(Instant, usize)> {
        const MARGIN: Duration = Duration::from_secs(1);
        let last = *self.times.back()?;
        let gaps = self.times.iter().zip(self.times.iter().skip(1)).map(|(a, b)| *b - *a);
        let gaps: Vec<Duration> = gaps.collect();
        let Some(longest) = gaps.iter().max() else {
            return Some((last + USUAL_INTERVAL + MARGIN, 1));
        };
        let rounds = gaps.iter().filter(|gap| **gap * 2 > *longest).count();
        Some((last + *longest + MARGIN, gaps.len().div_ceil(rounds.max(1))))
    }
}

/// Serves the metrics port until told to finish.
pub async fn run(
    listener: TcpListener,
    sources: Sources,
    health: Arc<Health>,
    gzip: bool,
    finish: oneshot::Receiver<Finish>,
) {
    let admin = Rc::new(Admin {
        sources,
        health,
        gzip,
        scrapes: Cell::new(0),
        listings: Rc::default(),
        views: Cell::new(0),
        history: RefCell::default(),
        scraped: Notify::new(),
    });
    tokio::select! {
        () = accept(&listener, &admin) => {}
        finish = finish => {
            if let Ok(Finish { last_scrape_by: Some(limit) }) = finish {
                tokio::select! {
                    () = accept(&listener, &admin) => {}
                    () = admin.last_scrape(limit) => {}
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener, admin: &Rc<Admin>) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) if open.get() < MAX_CONNECTIONS => socket,
            Ok(_one_too_many) => continue,
            Err(error) => {
                tracing::debug!(%error, "metrics connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        open.set(open.get() + 1);
        let (admin, open) = (Rc::clone(admin), Rc::clone(&open));
        drop(tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let admin = Rc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(&request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "metrics connection ended");
            }
            open.set(open.get() - 1);
        }));
    }
}

impl Admin {
    async fn answer(self: &Rc<Self>, request: &Request<Incoming>) -> Response<AdminBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(request),
            "/paths" => self.paths(request),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(request.uri().query()),
            "/wait-for-drain" => self.wait(request).await,
            "/" => page::answer(&joined(request.headers(), header::ACCEPT)),
            _ => text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
        }
    }

    /// Answers when the traffic has moved elsewhere, or says that it does not.
    async fn wait(&self, request: &Request<Incoming>) -> Response<AdminBody> {
        match Patience::from_query(request.uri().query().unwrap_or("")) {
            Err(mistake) => text(StatusCode::BAD_REQUEST, mistake),
            Ok(_) if request.method() == Method::HEAD => text(StatusCode::OK, ""),
            Ok(patience) if patience.wait(&self.sources, &self.health.waits).await => {
                text(StatusCode::OK, "quiet\n")
            }
            Ok(_) => text(StatusCode::OK, "not quiet, but max is over\n"),
        }
    }

    /// Ready means listening and not draining; `?upstream=1` asks for the upstream as well.
    fn readyz(&self, query: Option<&str>) -> Response<AdminBody> {
        let asks_upstream = query.is_some_and(|q| q.split('&').any(|p| p == "upstream=1"));
        if self.health.draining.load(Relaxed) {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if !self.health.serving.load(Relaxed) {
            text(StatusCode::SERVICE_UNAVAILABLE, "starting\n")
        } else if asks_upstream && !self.sources.cold.upstream.is_up() {
            text(StatusCode::SERVICE_UNAVAILABLE, "the upstream is not reachable\n")
        } else {
            text(StatusCode::OK, "ok\n")
        }
    }

    fn metrics(self: &Rc<Self>, request: &Request<Incoming>) -> Response<AdminBody> {
        let reader =
            if request.headers().contains_key(VIEWER) { Reader::Viewer } else { Reader::Scraper };
        let (open, most) = self.readers(reader);
        if open.get() >= most {
            return text(StatusCode::SERVICE_UNAVAILABLE, "enough scrapes are under way already\n");
        }
        open.set(open.get() + 1);
        let field = |name| joined(request.headers(), name);
        let format = accept::format(&field(header::ACCEPT));
        let gzip = self.gzip && accepts_gzip(&field(header::ACCEPT_ENCODING));
        let begun = Instant::now();
        let page = ScrapeBody {
            page: Page::new(self.sources.clone(), format),
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            admin: Rc::clone(self),
            reader,
            busy: begun.elapsed(),
            complete: false,
            left: 1,
        };
        let mut response = Response::new(AdminBody::Scrape(Box::new(page)));
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(format.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn paths(&self, request: &Request<Incoming>) -> Response<AdminBody> {
        if self.listings.get() >= MAX_LISTINGS {
            return text(StatusCode::SERVICE_UNAVAILABLE, "two lists are under way already\n");
        }
        let is_json = prefers_json(&joined(request.headers(), header::ACCEPT));
        let listing = Listing::new(self.sources.store.list_paths(), is_json, &self.listings);
        let mut response = Response::new(AdminBody::Paths(Box::new(listing)));
        let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// Waits for the next round of scrapes, if scrapers are known and still come.
    async fn last_scrape(&self, limit: Instant) {
        let Some((next, scrapes)) = self.history.borrow().expected() else { return };
        if next < Instant::now() {
            return;
        }
        tracing::info!("waiting for a last scrape");
        let round = async {
            for _ in 0..scrapes {
                self.scraped.notified().await;
            }
        };
        // Either way the port closes now.
        let _elapsed = tokio::time::timeout_at(next.min(limit), round).await;
    }

    /// How many such readers there are now, and how many there may be.
    fn readers(&self, reader: Reader) -> (&Cell<usize>, usize) {
        match reader {
            Reader::Scraper => (&self.scrapes, MAX_SCRAPES),
            Reader::Viewer => (&self.views, MAX_VIEWS),
        }
    }

    fn scrape_ended(&self, reader: Reader, complete: bool, busy: Duration) {
        let (open, _most) = self.readers(reader);
        open.set(open.get() - 1);
        if !complete || reader == Reader::Viewer {
            return;
        }
        self.sources.cold.scrape_duration.set(busy.as_secs_f64());
        self.history.borrow_mut().add(Instant::now());
        self.scraped.notify_waiters();
    }
}

fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

#[cfg(test)]
mod tests;
