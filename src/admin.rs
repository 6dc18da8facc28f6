//! The metrics port: `/metrics`, `/paths`, `/livez`, `/readyz`, the live page, on its own thread.
//!
//! Guards the invariant that the admin plane cannot slow the data plane: nothing here runs on a
//! worker, and few pages are rendered at a time. Read-only: there is nothing to POST to. Probes are
//! for everybody; who may read the rest, flags say.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::HostPattern;
use crate::config::names::decode;
use crate::metrics::page::{Page, Site, Sources};
use crate::net::tls::Listener;
use crate::shutdown::PreStopHooks;

pub use self::token::Tokens;

use self::answer::{AdminBody, Placed, Reader, ScrapeBody, text};
use self::listing::{Listed, Listing};
use self::places::{Held, NEXT_HEAD, Place, Places, Watched};
use self::wait::Patience;

pub use self::accept::{accepts_gzip, format, prefers_html, prefers_json};

pub(crate) mod accept;
mod answer;
mod callers;
mod listing;
mod page;
mod places;
mod token;
mod wait;

/// Pages rendered at one time. Prometheus scrapes one after the other; two are for a pair of
/// servers in high availability. Who comes then waits for its turn.
const MAX_SCRAPES: usize = 2;

/// Lists of paths made at one time: people, not programs.
const MAX_LISTINGS: usize = 2;
/// Pages rendered at one time for people who watch. Their own, so that they keep no scraper out.
const MAX_VIEWS: usize = 2;

/// The field by which the live page and `proxy top` say that they are no scrapers: nobody waits
/// for them at the shutdown.
pub const VIEWER: HeaderName = HeaderName::from_static("redcar-viewer");

/// Hooks that wait at one time: one for each container of a pod, and some to spare.
const MAX_HOOKS: usize = 8;

/// How long a reader waits for its turn, then 503.
const TURN: Duration = Duration::from_secs(4);

/// How long the exit waits for answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How often readers that stall are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What a reader gets that speaks without TLS where it is spoken.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 55\r\nConnection: close\r\n\r\n\
    Bad Request: this port speaks HTTPS; ask it with https\n";

/// Bytes of a request head, of which a connection may hold so many. The smallest that hyper takes.
const MAX_HEAD_BYTES: usize = 8192;

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

/// Who may read, and how.
#[derive(Debug, Default)]
pub struct Settings {
    /// Whether scrapes may be compressed.
    pub gzip: bool,
    /// Ends TLS for readers, if it is spoken.
    pub tls: Option<Arc<Listener>>,
    /// Whether readers have to show a certificate that this TLS verifies.
    pub needs_certificate: bool,
    /// What readers have to show, if anything.
    pub tokens: Option<Arc<Tokens>>,
    /// Names under which browsers may ask.
    pub hosts: Vec<HostPattern>,
    /// The longest that a hook may wait: as long as a shutdown.
    pub longest_hook: Duration,
}

/// The metrics port's state.
struct Admin {
    sources: Sources,
    health: Arc<Health>,
    settings: Settings,
    places: Rc<Places>,
    scrapes: Cell<usize>,
    listings: Rc<Cell<usize>>,
    views: Cell<usize>,
    hooks: Cell<usize>,
    /// A reader has ended.
    ended: Notify,
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

/// A connection's other side.
struct Caller {
    place: Rc<Place>,
    /// The address that it reached.
    local: Option<IpAddr>,
    /// It showed a certificate that was verified.
    is_verified: bool,
}

/// Serves the metrics port until told to finish.
pub async fn run(
    listener: TcpListener,
    sources: Sources,
    health: Arc<Health>,
    settings: Settings,
    finish: oneshot::Receiver<Finish>,
) {
    let admin = Rc::new(Admin::new(sources, health, settings));
    tokio::select! {
        () = accept(&listener, &admin) => {}
        finish = finish => {
            if let Ok(Finish { last_scrape_by: Some(limit) }) = finish {
                tokio::select! {
                    () = accept(&listener, &admin) => {}
                    () = admin.last_scrape(limit) => {}
                }
            }
            // Who came before the port closes is answered; who comes now finds the next process.
            drop(listener);
            admin.places.are_answered(Instant::now() + LAST_ANSWERS).await;
        }
    }
}

async fn accept(listener: &TcpListener, admin: &Rc<Admin>) {
    loop {
        admin.places.room().await;
        match listener.accept().await {
            Ok((socket, _)) => {
                let serving = Rc::clone(admin).serve(socket, admin.places.take());
                drop(tokio::task::spawn_local(serving));
                // A probe's request is here by now, and has its turn before the next connection.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::debug!(%error, "metrics connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Admin {
    fn new(sources: Sources, health: Arc<Health>, settings: Settings) -> Self {
        Self {
            sources,
            health,
            settings,
            places: Rc::default(),
            scrapes: Cell::new(0),
            listings: Rc::default(),
            views: Cell::new(0),
            hooks: Cell::new(0),
            ended: Notify::new(),
            history: RefCell::default(),
            scraped: Notify::new(),
        }
    }

    /// Serves a connection for as long as it may keep its place.
    async fn serve(self: Rc<Self>, socket: TcpStream, held: Held) {
        let local = socket.local_addr().ok().map(|address| address.ip());
        let place = Rc::clone(held.place());
        let served = async {
            let Some(tls) = self.settings.tls.clone() else {
                let caller = Caller { place: Rc::clone(&place), local, is_verified: false };
                return self.converse(socket, caller).await;
            };
            match tls.accept(socket, || PLAIN_ANSWER.to_vec()).await {
                Ok((socket, _http1)) => {
                    let is_verified = socket.get_ref().1.peer_certificates().is_some();
                    let caller = Caller { place: Rc::clone(&place), local, is_verified };
                    self.converse(socket, caller).await;
                }
                Err(error) => tracing::debug!(%error, "no TLS on the metrics port"),
            }
        };
        tokio::select! {
            () = served => {}
            () = place.must_end() => tracing::debug!("a metrics connection gives way"),
        }
    }

    async fn converse<S>(self: &Rc<Self>, socket: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let socket = Watched::new(socket, &caller.place);
        let caller = Rc::new(caller);
        let service = service_fn(|request| {
            let (admin, caller) = (Rc::clone(self), Rc::clone(&caller));
            async move {
                caller.place.asked();
                let response = admin.answer(&request, &caller).await;
                Ok::<_, Infallible>(response.map(|body| Placed::new(body, &caller.place)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(NEXT_HEAD)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(socket), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "metrics connection ended");
        }
    }

    async fn answer(
        self: &Rc<Self>,
        request: &Request<Incoming>,
        caller: &Caller,
    ) -> Response<AdminBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => return text(StatusCode::OK, "ok\n"),
            "/readyz" => return self.readyz(request.uri().query()),
            "/wait-for-drain" => return self.hook(request, caller).await,
            _of_readers => {}
        }
        if let Some(refusal) = self.refusal(request, caller) {
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(request, caller).await,
            "/paths" => self.paths(request, caller).await,
            "/" => page::answer(&joined(request.headers(), header::ACCEPT)),
            _ => text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
        }
    }

    /// What a reader is told that may not read.
    fn refusal(&self, request: &Request<Incoming>, caller: &Caller) -> Option<Response<AdminBody>> {
        let Settings { tokens, needs_certificate, hosts, .. } = &self.settings;
        if *needs_certificate && !caller.is_verified {
            return Some(text(
                StatusCode::FORBIDDEN,
                "show a certificate of --metrics-client-ca\n",
            ));
        }
        if let Some(tokens) = tokens {
            let shown = request.headers().get(header::AUTHORIZATION);
            let is_allowed = shown.and_then(|shown| shown.to_str().ok());
            if !is_allowed.is_some_and(|shown| tokens.allow(shown)) {
                let mut response = text(
                    StatusCode::UNAUTHORIZED,
                    "show a token of --metrics-token-file, as a bearer or as a password\n",
                );
                // Browsers ask for a password, which the live page then sends, too.
                for challenge in ["Bearer realm=\"redcar\"", "Basic realm=\"redcar\""] {
                    let challenge = HeaderValue::from_static(challenge);
                    response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
                }
                return Some(response);
            }
        }
        let is_open = tokens.is_none() && !needs_certificate;
        (is_open && callers::is_rebound(request, hosts)).then(|| {
            let words =
                "this port is not known by that name; if it is its own: --metrics-host NAME\n";
            text(StatusCode::MISDIRECTED_REQUEST, words)
        })
    }

    /// Answers when the traffic has moved elsewhere, or says that it does not.
    async fn hook(&self, request: &Request<Incoming>, caller: &Caller) -> Response<AdminBody> {
        if !callers::is_of_pod(request, caller.local) {
            return text(StatusCode::FORBIDDEN, "a hook is for this pod: by its own address\n");
        }
        let query = request.uri().query().unwrap_or("");
        let patience = match Patience::from_query(query, self.settings.longest_hook) {
            Ok(patience) => patience,
            Err(mistake) => return text(StatusCode::BAD_REQUEST, mistake),
        };
        if request.method() == Method::HEAD {
            return text(StatusCode::OK, "");
        }
        let Some(_one_of_few) = Counted::below(&self.hooks, MAX_HOOKS) else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "enough hooks wait already\n");
        };
        caller.place.waits();
        let is_quiet = patience.wait(&self.sources, &self.health.waits).await;
        let words = if is_quiet { "quiet\n" } else { "not quiet, but max is over\n" };
        text(StatusCode::OK, words)
    }

    /// Ready means listening and not draining; `?upstream=1` asks for the upstreams as well.
    fn readyz(&self, query: Option<&str>) -> Response<AdminBody> {
        let asks_upstream = query.is_some_and(|q| q.split('&').any(|p| p == "upstream=1"));
        if self.health.draining.load(Relaxed) {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if !self.health.serving.load(Relaxed) {
            text(StatusCode::SERVICE_UNAVAILABLE, "starting\n")
        } else if asks_upstream && !self.sources.sites().all(|site| site.cold.upstream.is_up()) {
            text(StatusCode::SERVICE_UNAVAILABLE, "the upstream is not reachable\n")
        } else {
            text(StatusCode::OK, "ok\n")
        }
    }

    async fn metrics(
        self: &Rc<Self>,
        request: &Request<Incoming>,
        caller: &Caller,
    ) -> Response<AdminBody> {
        let accept = joined(request.headers(), header::ACCEPT);
        let reader = match request.headers() {
            viewer if viewer.contains_key(VIEWER) => Reader::Viewer,
            scraper if callers::is_scraper(scraper, &accept) => Reader::Scraper,
            _ => Reader::Passer,
        };
        if !self.has_turn(reader).await {
            return text(StatusCode::SERVICE_UNAVAILABLE, "enough scrapes are under way already\n");
        }
        let (open, _most) = self.readers(reader);
        open.set(open.get() + 1);
        caller.place.reads(reader);
        let field = |name| joined(request.headers(), name);
        let format = format(&accept);
        let gzip = self.settings.gzip && accepts_gzip(&field(header::ACCEPT_ENCODING));
        let begun = Instant::now();
        let page = ScrapeBody {
            page: Page::new(self.sources.clone(), format),
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::new(format.gzip_level()))),
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

    /// Lists the paths of all listeners, or of the one that the query names.
    async fn paths(&self, request: &Request<Incoming>, caller: &Caller) -> Response<AdminBody> {
        let query = request.uri().query().unwrap_or("");
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("listener=")).map(decode);
        let is_wanted =
            |site: &&Site| wanted.is_none() || wanted.as_deref() == site.listener.as_deref();
        let lists: Vec<_> = self.sources.sites().filter(is_wanted).collect();
        if lists.is_empty() {
            return text(StatusCode::NOT_FOUND, "there is no such listener\n");
        }
        if !self.has_turn(Reader::Lister).await {
            return text(StatusCode::SERVICE_UNAVAILABLE, "two lists are under way already\n");
        }
        caller.place.reads(Reader::Lister);
        let is_json = prefers_json(&joined(request.headers(), header::ACCEPT));
        let lists = lists.into_iter().map(|site| Listed {
            listener: site.listener.clone(),
            paths: site.store.list_paths(),
            folds: site.store.list_folds(),
        });
        let listing = Listing::new(lists.collect(), is_json, &self.listings);
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
        let _elapsed = timeout_at(next.min(limit), round).await;
    }

    /// How many such readers there are now, and how many there may be.
    fn readers(&self, reader: Reader) -> (&Cell<usize>, usize) {
        match reader {
            Reader::Scraper | Reader::Passer => (&self.scrapes, MAX_SCRAPES),
            Reader::Viewer => (&self.views, MAX_VIEWS),
            Reader::Lister => (&self.listings, MAX_LISTINGS),
        }
    }

    /// Waits until there may be one more such reader. One that takes nothing of its page gives
    /// way.
    async fn has_turn(&self, reader: Reader) -> bool {
        let (open, most) = self.readers(reader);
        let is_alike = |other| std::ptr::eq(self.readers(other).0, open);
        let limit = Instant::now() + TURN;
        while open.get() >= most {
            if Instant::now() >= limit {
                return false;
            }
            self.places.oust_stalled(is_alike);
            // Somebody may have left; or it is time for another look.
            let _ended = timeout(LOOK, self.ended.notified()).await;
        }
        true
    }

    fn scrape_ended(&self, reader: Reader, complete: bool, busy: Duration) {
        let (open, _most) = self.readers(reader);
        open.set(open.get() - 1);
        self.ended.notify_one();
        if !complete || reader == Reader::Viewer {
            return;
        }
        self.sources.first.cold.process.scrape_duration.set(busy.as_secs_f64());
        if reader == Reader::Scraper {
            self.history.borrow_mut().add(Instant::now());
            self.scraped.notify_waiters();
        }
    }
}

/// One of a limited number.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn below(count: &'a Cell<usize>, limit: usize) -> Option<Self> {
        let open = count.get();
        (open < limit).then(|| {
            count.set(open + 1);
            Self(count)
        })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

#[cfg(test)]
mod tests;
