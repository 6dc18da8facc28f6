//! Binds all ports, owns the threads, runs, drains.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::admin::{self, Finish, Health, Tokens};
use crate::config::{Config, ListenAddr, MetricsPort};
use crate::logs::access::AccessLog;
use crate::logs::seldom::Changes;
use crate::metrics::page::{self, Sources};
use crate::metrics::store::Store;
use crate::metrics::{ProcessMetrics, ReadTls, TlsState, WorkerStats};
use crate::names::Source;
use crate::net::budget::Budget;
use crate::net::tls::{Alpn, Listener, LoadError};
use crate::proxy::downstream::accept::{Command, WorkerHandle};
use crate::proxy::upstream::Descriptors;
use crate::proxy::worker::Shared;

pub use self::listen::Affordable;
pub use self::reload::Reloader;

use self::listen::open;
use self::names::Described;
use self::queue::Lookout;
use self::site::Site;
use self::worker_thread::{SiteOfThread, WorkerThread};

mod listen;
mod memory;
mod names;
mod queue;
mod reload;
mod site;
mod systemd;
mod worker_thread;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StartError {
    what: String,
    #[source]
    source: io::Error,
}

impl StartError {
    /// Another program listens on that port.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn of_file(LoadError { place, fault }: LoadError) -> Self {
        Self { what: place, source: io::Error::other(fault) }
    }
}

/// Tries whether `address` can be listened on, and lets it go.
///
/// # Errors
///
/// Why not, with what could be done.
pub fn try_bind(flag: &str, address: ListenAddr) -> Result<(), StartError> {
    open(flag, None, address).map(drop)
}

/// How the shutdown is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShutdownMode {
    /// An orchestrator stops us: wait `--shutdown-delay`, and for a last scrape.
    Orderly,
    /// A person at a terminal stops us: finish the requests, nothing else.
    Prompt,
}

/// Sockets that were bound by somebody else, who keeps them open over a restart: connections wait
/// in them meanwhile.
#[derive(Debug, Default)]
pub struct Inherited {
    /// In place of `--listen`.
    pub listen: Option<TcpListener>,
    /// In place of the `--map` that listens on this port.
    pub maps: Vec<(u16, TcpListener)>,
    /// In place of `--metrics`.
    pub metrics: Option<TcpListener>,
}

/// All ports, bound.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    /// That of `--listen` and `--upstream`.
    first: Site,
    /// Those of `--map`.
    further: Vec<Site>,
    metrics: TcpListener,
    admin: admin::Settings,
    /// Who else knows names of paths.
    others: Vec<Source>,
    described: Described,
    budget: Arc<Budget>,
    descriptors: Arc<Descriptors>,
}

/// How long the exit waits for the reader of the access log.
const LOG_FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How long a reader of the metrics port has for its handshake.
const METRICS_HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// What clients and the upstream are offered inside TLS.
pub const OFFER: &[Alpn] = &[Alpn::Http2, Alpn::Http1];

impl Server {
    /// Loads the certificates and binds all ports. Nothing is served before [`Self::run`].
    ///
    /// # Errors
    ///
    /// [`StartError`] names the flag of the file that cannot be used, or of the port that could
    /// not be bound.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::with(config, Inherited::default())
    }

    /// The same, but takes the ports that there are already.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`].
    pub fn with(mut config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let admin = metrics_settings(&config)?;
        let others = Source::prepare(&config.names_from).map_err(StartError::of_file)?;
        let affordable = Affordable::of(&config);
        affordable.tell(config.max_connections);
        config.max_connections = affordable.connections;
        let descriptors = Descriptors::new(affordable.descriptors());
        let (first, further) = Site::open_all(&config, inherited.listen, inherited.maps)?;
        let metrics = open("--metrics", inherited.metrics, config.metrics)?;
        let budget = Budget::new(affordable.buffered_bytes);
        let held = Arc::clone(&budget);
        let process = &first.cold.process;
        process.show_buffered(budget.limit_bytes(), Box::new(move || held.held_bytes()));
        process.reloaded(true);
        Ok(Self {
            config: Arc::new(config),
            first,
            further,
            metrics,
            admin,
            others,
            described: Described::default(),
            budget,
            descriptors,
        })
    }

    /// Where clients connect; tells the port where 0 was asked for.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn listen_address(&self) -> io::Result<SocketAddr> {
        self.first.listener.local_addr()
    }

    /// Where clients of further ports connect.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn map_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.further.iter().map(|site| site.listener.local_addr()).collect()
    }

    /// Where the metrics are.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// What reads the files of routes again, on any thread, for as long as the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            sources: self.config.route_sources.clone(),
            first: Arc::clone(&self.first.store),
            further: self.further.iter().map(|site| Arc::clone(&site.store)).collect(),
            process: Arc::clone(&self.first.cold.process),
            described: self.described.clone(),
        }
    }

    /// Has `redcar_log_dropped_total` show what `lost` counts: lines of the program's own log.
    pub fn show_lost_log_lines(&self, lost: Arc<AtomicU64>) {
        // Whoever comes first is shown.
        let _first = self.first.cold.process.log_lost.set(lost);
    }

    /// Serves until `shutdown` resolves, then drains. Blocks the calling thread.
    ///
    /// The order: `/readyz` turns 503, the delay passes, the listener closes, requests end or are
    /// cut off at the deadline, a last scrape is possible, the metrics port closes.
    ///
    /// # Errors
    ///
    /// [`StartError`] if a thread or runtime cannot be had, or a worker died.
    pub fn run(self, shutdown: impl Future<Output = ShutdownMode>) -> Result<(), StartError> {
        let error = |what: &str| {
            let what = what.to_owned();
            move |source| StartError { what, source }
        };
        let runtime = local_runtime().map_err(error("cannot start the main runtime"))?;
        let (threads, access_log) = runtime.block_on(async {
            let mut shutdown = pin!(shutdown);
            // Polled before anything is served, so that a signal handler is in place by then.
            let early = poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx))).await;
            self.ask_for_names();
            let _lookouts = Lookout::start_all(&self.first, &self.further)
                .map_err(error("cannot start a thread"))?;
            let running = self.start()?;
            systemd::is_ready();
            let stop = match early {
                Poll::Ready(stop) => stop,
                Poll::Pending => shutdown.await,
            };
            let access_log = running.access_log.clone();
            Ok((running.drain(stop).await, access_log))
        })?;
        // Files that are being read again must not hold up the exit.
        runtime.shutdown_background();
        for thread in threads {
            if thread.join().is_err() {
                return Err(error("a thread died")(io::Error::other("panicked")));
            }
        }
        let unwritten = access_log.map_or(0, |log| log.flush(LOG_FLUSH_LIMIT));
        if unwritten > 0 {
            tracing::warn!(
                lines = unwritten,
                "the reader of the access log is too slow for the exit"
            );
        }
        Ok(())
    }

    /// Has files that may change read again when they do, on the main thread, which serves no
    /// requests. Ends with its runtime.
    fn watch_files(&self) {
        if let Some(listener) = self.first.tls.listener.clone() {
            self.first.cold.process.show_tls(state_of(Arc::clone(&listener)));
            drop(tokio::task::spawn_local(async move { listener.watch().await }));
        }
        if let Some(listener) = self.admin.tls.clone() {
            drop(tokio::task::spawn_local(async move { listener.watch().await }));
        }
        if let Some(tokens) = self.admin.tokens.clone() {
            drop(tokio::task::spawn_local(async move { tokens.watch().await }));
        }
    }

    fn start(self) -> Result<Running, StartError> {
        self.watch_files();
        let Self { config, first, further, .. } = self;
        let process = Arc::clone(&first.cold.process);
        let scheme = if first.tls.listener.is_some() { "https" } else { "http" };
        let health = Arc::new(Health::default());
        let failed = |source| StartError { what: "cannot start a thread".to_owned(), source };
        let mut threads = Vec::new();
        let mut access_log = None;
        if let Some(format) = config.access_log {
            let log = AccessLog::spawn(format).map_err(failed)?;
            // Nobody else sets it.
            let _first = process.access_log_lost.set(log.lost());
            access_log = Some(log);
        }
        let (handles, inboxes) = handles(config.threads);
        let mut seats: Vec<_> = inboxes.iter().map(|_| Vec::new()).collect();
        let mut place = |site: Site| {
            let Site { name: listener, config, listener: socket, store, cold, tls } = site;
            let shared = Shared {
                config,
                cold: Arc::clone(&cold),
                access_log: access_log.clone(),
                tls,
                waits: Arc::clone(&health.waits),
                descriptors: Arc::clone(&self.descriptors),
                said_of_upstream: Arc::new(Changes::new()),
            };
            let workers: Vec<_> = seats.iter().map(|_| WorkerStats::new()).collect();
            let mut socket = Some(socket);
            for (seat, stats) in seats.iter_mut().zip(&workers) {
                seat.push(SiteOfThread {
                    shared: shared.clone(),
                    store: Arc::clone(&store),
                    stats: Arc::clone(stats),
                    listener: socket.take(),
                });
            }
            page::Site { listener, store, cold, workers }
        };
        let sources = Sources {
            first: place(first),
            further: further.into_iter().map(place).collect(),
            methods: config.methods.clone(),
            naming: config.naming,
            shown: config.shown.clone(),
            scheme,
            resource: config.resource.clone(),
        };
        let stores = sources.sites().map(|site| Arc::clone(&site.store)).collect();
        let (ready, started) = std::sync::mpsc::channel();
        for (index, (inbox, sites)) in inboxes.into_iter().zip(seats).enumerate() {
            let seat = WorkerThread {
                sites,
                budget: Arc::clone(&self.budget),
                handles: handles.clone(),
                ready: ready.clone(),
                index,
            };
            threads
                .push(spawn(&format!("worker-{index}"), move || seat.run(inbox)).map_err(failed)?);
        }
        drop(ready);
        // Ends when every worker has dropped its sender, whether or not it said anything.
        started.iter().take(config.threads).collect::<io::Result<()>>().map_err(failed)?;
        let (finish, finished) = oneshot::channel();
        let (metrics, settings) = (self.metrics, self.admin);
        let admin_health = Arc::clone(&health);
        let admin =
            spawn("admin", move || run_admin(metrics, sources, admin_health, settings, finished));
        threads.push(admin.map_err(failed)?);
        health.serving.store(true, Relaxed);
        Ok(Running { config, process, health, handles, threads, finish, access_log, stores })
    }
}

/// Loads what the flags of the metrics port name: its certificate, and what readers have to show.
///
/// # Errors
///
/// [`StartError`] names the flag of the file that cannot be used.
pub fn metrics_settings(config: &Config) -> Result<admin::Settings, StartError> {
    let MetricsPort { identity, client_ca, token_file, hosts, last_scrape: _ } =
        config.metrics_port.clone();
    let needs_certificate = client_ca.is_some();
    let load = |identity| {
        Listener::load(identity, client_ca.as_deref(), &[Alpn::Http1], METRICS_HANDSHAKE_LIMIT)
    };
    let tls = identity.map(load).transpose().map_err(StartError::of_file)?;
    let tokens = token_file.map(|file| {
        let what = format!("--metrics-token-file {}", file.display());
        Tokens::load(file).map_err(|source| StartError { what, source })
    });
    Ok(admin::Settings {
        gzip: config.metrics_gzip,
        tls: tls.map(Arc::new),
        needs_certificate,
        tokens: tokens.transpose()?.map(Arc::new),
        hosts,
        longest_hook: config.timeouts.shutdown_delay.saturating_add(config.timeouts.shutdown),
    })
}

/// How the accept loop sees its workers, and what they are told by.
fn handles(threads: usize) -> (Vec<WorkerHandle>, Vec<mpsc::UnboundedReceiver<Command>>) {
    let pairs = (0..threads).map(|_| {
        let (commands, inbox) = mpsc::unbounded_channel();
        (WorkerHandle { commands, connections: Arc::new(AtomicUsize::new(0)) }, inbox)
    });
    pairs.unzip()
}

/// What the metrics show of the listener's TLS.
fn state_of(listener: Arc<Listener>) -> ReadTls {
    Box::new(move || {
        let handshakes = listener.handshakes();
        TlsState {
            not_after_seconds: listener.not_after_seconds(),
            last_reload_ok: listener.last_reload_ok(),
            ok: handshakes.ok,
            timeout: handshakes.timeout,
            failed: handshakes.failed,
        }
    })
}

/// A server whose threads run.
struct Running {
    config: Arc<Config>,
    process: Arc<ProcessMetrics>,
    health: Arc<Health>,
    handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    finish: oneshot::Sender<Finish>,
    access_log: Option<AccessLog>,
    stores: Vec<Arc<Store>>,
}

impl Running {
    /// Drains, and returns the threads to join.
    async fn drain(self, stop: ShutdownMode) -> Vec<JoinHandle<()>> {
        let timeouts = self.config.timeouts;
        self.health.draining.store(true, Relaxed);
        self.process.draining.set(1.0);
        systemd::is_stopping();
        tracing::info!("draining: not ready any more, finishing requests");
        if stop == ShutdownMode::Orderly {
            tokio::time::sleep(timeouts.shutdown_delay).await;
        }
        let deadline = Instant::now() + timeouts.shutdown;
        let mut ends = Vec::new();
        for handle in &self.handles {
            let (closed, listener_closed) = oneshot::channel();
            let (ended, worker_ended) = oneshot::channel();
            let command = Command::Drain { closed, ended, deadline };
            if handle.commands.send(command).is_ok() {
                // The accepting worker comes first and hands out no connection after this.
                let _closed = listener_closed.await;
                ends.push(worker_ended);
            }
        }
        for end in ends {
            // An error means that the worker's thread is gone, which is what is waited for.
            let _ended = end.await;
        }
        // What still waits for others to say its name would be missing in the last scrape.
        for store in &self.stores {
            store.ask_for_names(false);
        }
        let waits = stop == ShutdownMode::Orderly && self.config.metrics_port.last_scrape;
        let last_scrape_by = waits.then_some(deadline);
        // An error means that the metrics port is closed already.
        let _sent = self.finish.send(Finish { last_scrape_by });
        self.threads
    }
}

/// Has a scrape give way to requests where they share a core. Not so far that it would starve: its
/// thread still gets a tenth of what a busy one gets.
fn give_way() {
    const NICE: i32 = 10;
    // Linux counts per thread; elsewhere the whole process would be meant.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(NICE)
    {
        tracing::debug!(%error, "the metrics thread keeps its priority");
    }
}

fn run_admin(
    listener: TcpListener,
    sources: Sources,
    health: Arc<Health>,
    settings: admin::Settings,
    finish: oneshot::Receiver<Finish>,
) {
    give_way();
    let runtime = match local_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the metrics runtime did not start"),
    };
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => admin::run(listener, sources, health, settings, finish).await,
            Err(error) => tracing::error!(%error, "the metrics listener cannot be used"),
        }
    });
    // A name that is being resolved must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}
