//! The command line: clap arguments → [`Config`].
//!
//! Only syntax and defaults live here; what values mean is checked in `config`. Every flag has an
//! environment twin `REDCAR_<FLAG>`. Names that Kubernetes injects for a Service called redcar
//! (`REDCAR_PORT`, `REDCAR_SERVICE_*`, `REDCAR_PORT_*`) are no flag's twin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use redcar::config::{
    AccessLogFormat, AddressError, Config, ConfigError, ListenAddr, NameSource, PortMap, Timeouts,
    Upstream, UpstreamProtocol, parse_bytes, parse_duration, parse_some_time,
};
use redcar::http::Forwarded;
use redcar::net::{Files, Identity, Port};

pub(crate) use self::diff_flags::DiffArgs;
use self::metrics_port::MetricsPortArgs;
use self::names::{AccessArgs, NamesArgs};
pub(crate) use self::series::SeriesSettings;
use self::series::{ExcludeArgs, SeriesArgs};
pub(crate) use self::top_flags::TopArgs;
use self::values::{AccessLogMode, ForwardedMode, Limit, OnDemand, ProtocolMode, parse_limit};
pub(crate) use self::values::{LogFormat, LogLevel};

pub(crate) mod activation;
pub(crate) mod agree;
pub(crate) mod demo;
pub(crate) mod diff;
mod diff_flags;
pub(crate) mod log;
pub(crate) mod manual;
mod metrics_port;
mod names;
pub(crate) mod probe;
pub(crate) mod replay;
mod scrape;
mod series;
pub(crate) mod top;
mod top_flags;
pub(crate) mod twins;
mod values;

/// RED metrics per path for any HTTP backend, from a sidecar.
///
/// Forwards every request to the backend and shows rate, errors and duration by method, path and
/// status for Prometheus on a port of its own. The backend is not touched.
#[derive(Debug, Parser)]
#[command(name = "proxy", version, max_term_width = 100)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run with a built-in backend and gentle traffic, to see the metrics fill.
    Demo(DemoArgs),
    /// Watch a sidecar in the terminal: rate, errors and duration by path.
    Top(TopArgs),
    /// Compare two pages of metrics, path by path: saved ones, or those of sidecars.
    Diff(Box<DiffArgs>),
    /// Ask a running sidecar whether it is ready: exit code 0 or 1. For images without a shell.
    Healthcheck(HealthcheckArgs),
    /// Validate the flags and try the upstream once.
    Check(Box<RunArgs>),
    /// Read an access log and print the paths, series and bytes per scrape that it would become.
    Paths(Box<PathsArgs>),
    /// Print a completion script.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Flags of `proxy demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where clients connect.
    #[arg(long, value_name = "ADDR", default_value = ":7001", env = "REDCAR_LISTEN")]
    pub(crate) listen: ListenAddr,
    /// Where the metrics are.
    #[arg(long, value_name = "ADDR", default_value = ":9464", env = "REDCAR_METRICS")]
    pub(crate) metrics: ListenAddr,
    /// Requests per second of the built-in traffic, 0 for none.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub(crate) rate: u32,
    /// Stop by itself after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_some_time)]
    pub(crate) duration: Option<Duration>,
}

/// Flags of `proxy healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// The metrics port of the sidecar to ask.
    #[arg(long, value_name = "ADDR", default_value = ":9464", env = "REDCAR_METRICS")]
    pub(crate) metrics: ListenAddr,
    /// The certificate of that sidecar's metrics port, if it has one: asks with TLS, and trusts
    /// just that certificate.
    #[arg(long, value_name = "FILE", env = "REDCAR_METRICS_TLS_CERT")]
    pub(crate) metrics_tls_cert: Option<PathBuf>,
    /// Give up after this time.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_some_time)]
    pub(crate) timeout: Duration,
    /// Ask for the upstream as well: not ready while it is down.
    #[arg(long)]
    pub(crate) upstream: bool,
}

/// Flags of `proxy paths`.
#[derive(Debug, Args)]
pub(crate) struct PathsArgs {
    /// Access logs, as nginx, Apache, Envoy, `HAProxy`, Traefik, Caddy, AWS load balancers, IIS and
    /// others write them, also with gzip; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present_any = ["merge", "check"])]
    pub(crate) files: Vec<PathBuf>,
    /// Print instead what these know together, as a file that --names-from reads: metrics ports of
    /// replicas (`http://10.0.0.7:9464/paths`), a Prometheus, files, as --names-from takes them.
    #[arg(long, value_name = "URL|FILE", num_args = 1.., conflicts_with_all = ["files", "check"])]
    pub(crate) merge: Vec<NameSource>,
    /// Print instead the names of a job's replicas that contradict one another, as this Prometheus
    /// (`http://prometheus:9090`) has them now. Exit code 1 if there are any.
    #[arg(long, value_name = "URL", requires = "job", conflicts_with = "files")]
    pub(crate) check: Option<String>,
    /// The job of --check.
    #[arg(long, value_name = "NAME", requires = "check")]
    pub(crate) job: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Print JSON instead of a list that --routes-file reads.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also print what so many pods of this service cost.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pods: Option<u32>,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) exclude: ExcludeArgs,
}

/// Flags of running.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Where clients connect: `:7001`, `127.0.0.1:7001`, `[::1]:7001`. A bare port listens on all
    /// addresses, IPv6 and IPv4.
    #[arg(long, value_name = "ADDR", default_value = ":7001", env = "REDCAR_LISTEN")]
    listen: ListenAddr,
    /// The backend: `:8000` (this machine, by IPv4 or IPv6), `app:8000`, `http://app:8000`,
    /// `https://app:8443`, `unix:/run/app.sock`. It need not be up when the sidecar starts. A name
    /// is resolved again when its address refuses or is silent.
    #[arg(long, value_name = "ADDR", default_value = ":8000", env = "REDCAR_UPSTREAM")]
    upstream: Upstream,
    /// A further port and the app behind it: `:7002=:8080`; repeatable, each as --listen and
    /// --upstream take it. For a pod with HTTP and gRPC, or an admin port: one sidecar, one metrics
    /// port. All metrics of requests and connections then say which port in the label `listener`,
    /// and each app has its own names of paths. TLS is that of --tls-cert.
    #[arg(long, value_name = "LISTEN=UPSTREAM", env = "REDCAR_MAP", value_delimiter = ',')]
    map: Vec<PortMap>,
    /// The metrics port: /metrics, /paths, /livez, /readyz, /wait-for-drain, and the live page at
    /// /. A port of its own, so that it need not be reachable where the app is.
    #[arg(long, value_name = "ADDR", default_value = ":9464", env = "REDCAR_METRICS")]
    metrics: ListenAddr,
    /// Serve HTTPS with this certificate: PEM, the leaf first, then its intermediates. Read again
    /// when it changes, because certificates are renewed more often than sidecars are restarted.
    #[arg(
        long,
        value_name = "FILE",
        env = "REDCAR_TLS_CERT",
        requires = "tls_key",
        help_heading = "TLS"
    )]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert: PEM, not encrypted (PKCS#8, PKCS#1 or SEC1). A file, so that
    /// the key is in no process list. Keep its mode at 0600.
    #[arg(
        long,
        value_name = "FILE",
        env = "REDCAR_TLS_KEY",
        requires = "tls_cert",
        help_heading = "TLS"
    )]
    tls_key: Option<PathBuf>,
    /// Verify an https upstream with these root certificates (PEM) instead of the system's. For a
    /// private authority, or an app with a certificate of its own. There is no flag to verify
    /// nothing.
    #[arg(long, value_name = "FILE", env = "REDCAR_UPSTREAM_CA", help_heading = "TLS")]
    upstream_ca: Option<PathBuf>,
    #[command(flatten)]
    metrics_port: MetricsPortArgs,
    /// Data-plane threads. Default: the CPUs this process may use (cgroup quota included), at
    /// most 2; a sidecar should not take the node from its app.
    #[arg(long, value_name = "N", env = "REDCAR_THREADS", help_heading = "Limits")]
    threads: Option<usize>,
    #[command(flatten)]
    series: SeriesArgs,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Compress scrapes for scrapers that accept gzip.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = OnDemand::Auto, env = "REDCAR_METRICS_GZIP", help_heading = "Metrics")]
    metrics_gzip: OnDemand,
    /// Add a line to `OpenMetrics` for when each counter and histogram began. Off because a
    /// Prometheus that does not read it stores it as a series more; protobuf says it in any case.
    #[arg(long, env = "REDCAR_OPENMETRICS_CREATED", num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(), help_heading = "Metrics")]
    openmetrics_created: bool,
    /// Attach the trace ids of sampled requests (traceparent) to buckets and to the counter of
    /// errors, in `OpenMetrics` and protobuf. Costs nothing where no such request comes.
    #[arg(long, env = "REDCAR_EXEMPLARS", num_args = 0..=1, default_value = "true", default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(), help_heading = "Metrics")]
    exemplars: bool,
    /// Time to connect to the upstream: its name, TCP and the TLS handshake. It is next door: what
    /// takes longer is down. What it does then is no matter of connecting; a busy one is up. 0 is
    /// refused.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration, env = "REDCAR_CONNECT_TIMEOUT", help_heading = "Timeouts")]
    connect_timeout: Duration,
    /// Time for a client to send a whole request head, to send its first byte, and to do its TLS
    /// handshake. Longer is a slow-loris attack; the client gets 408, or nothing if it sent
    /// nothing. 0 is refused.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration, env = "REDCAR_HEADER_TIMEOUT", help_heading = "Timeouts")]
    header_timeout: Duration,
    /// Time a client connection may be idle between requests. Above the 600 s of common load
    /// balancers, so that they close first and never race with us. 0 is refused.
    #[arg(long, value_name = "TIME", default_value = "620s", value_parser = parse_duration, env = "REDCAR_IDLE_TIMEOUT", help_heading = "Timeouts")]
    idle_timeout: Duration,
    /// Time for the upstream to send a response head, or `off`. Off by default: a sidecar must not
    /// cut long polls that the app allows. 0 is off.
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = parse_limit, env = "REDCAR_RESPONSE_TIMEOUT", help_heading = "Timeouts")]
    response_timeout: Limit,
    /// Time an upstream connection may be idle. Below Gunicorn's keep-alive of 2 s and Node's of
    /// 5 s, so that we close first. One of HTTP/2 may stay half a second longer. 0: none is used
    /// twice.
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = parse_duration, env = "REDCAR_UPSTREAM_IDLE_TIMEOUT", help_heading = "Timeouts")]
    upstream_idle_timeout: Duration,
    /// Client connections at one time; beyond, clients get 503. Lowered at the start to what the
    /// limit of open files allows.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        env = "REDCAR_MAX_CONNECTIONS",
        help_heading = "Limits"
    )]
    max_connections: usize,
    /// Bytes of a request or response head, and of trailers; beyond, 431 or 502. 64 KiB is what
    /// Envoy and Node's larger setting allow, cookies included.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_bytes, env = "REDCAR_MAX_HEADER_BYTES", help_heading = "Limits")]
    max_header_bytes: usize,
    /// Bytes of an HTTP/2 request head, and of its trailers, each field with 32 more (RFC 9113
    /// §6.5.2); beyond, 431. As much as `HAProxy` and nginx take: a few bytes on the wire may stand
    /// for all of it, on each of 100 streams.
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = parse_bytes, env = "REDCAR_MAX_HTTP2_HEADER_BYTES", help_heading = "Limits")]
    max_http2_header_bytes: usize,
    /// Bytes that are kept for clients and the app in all: heads, what waits to be read or sent,
    /// handshakes. Default: half of what the memory limit of the control group leaves beside 24
    /// MiB, or 256 MiB. Beyond, who holds most and moves least is cut off, and requests get 503.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, env = "REDCAR_MAX_BUFFERED_BYTES", help_heading = "Limits")]
    max_buffered_bytes: Option<usize>,
    /// What the app is spoken to in: HTTP/2 (by ALPN, or with prior knowledge) for clients that
    /// speak it where the app does, else HTTP/1.1; or always one of them.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ProtocolMode::Auto, env = "REDCAR_UPSTREAM_PROTOCOL", help_heading = "Forwarding")]
    upstream_protocol: ProtocolMode,
    /// X-Forwarded-For, -Proto and -Host: append to what came in, replace all that proxies say of
    /// a client, or leave it alone.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ForwardedMode::Append, env = "REDCAR_FORWARDED", help_heading = "Forwarding")]
    forwarded: ForwardedMode,
    /// Add a Via field to requests. Off by default: nginx and others stop compressing when they
    /// see one.
    #[arg(long, env = "REDCAR_VIA", num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, value_parser = BoolishValueParser::new(), help_heading = "Forwarding")]
    via: bool,
    /// One line per request on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = AccessLogMode::Off, env = "REDCAR_ACCESS_LOG", help_heading = "Logs")]
    access_log: AccessLogMode,
    /// Format of the program's own log on standard error; auto is text on a terminal, else JSON.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Auto, env = "REDCAR_LOG_FORMAT", help_heading = "Logs")]
    pub(crate) log_format: LogFormat,
    /// Least severe messages to log.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info, env = "REDCAR_LOG_LEVEL", help_heading = "Logs")]
    pub(crate) log_level: LogLevel,
    /// After SIGTERM, time to keep accepting while /readyz says 503, so that load balancers learn
    /// of it. 0: none. That suits a native sidecar; 5s a plain container.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration, env = "REDCAR_SHUTDOWN_DELAY", help_heading = "Timeouts")]
    shutdown_delay: Duration,
    /// After that, time for requests to end, and for a last scrape. 0: all are cut off at once.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, env = "REDCAR_SHUTDOWN_TIMEOUT", help_heading = "Timeouts")]
    shutdown_timeout: Duration,
}

impl Cli {
    /// Reads the command line and the environment. Ends the process for what is wrong in them, and
    /// for `--help`.
    pub(crate) fn read() -> Self {
        Self::parse_without_exit(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// The command line as it is called here: the program has two names.
    pub(crate) fn named() -> clap::Command {
        let called = std::env::args_os().next().map(PathBuf::from);
        let name = match called.as_deref().and_then(Path::file_name) {
            Some(name) if name == "redcar" => "redcar",
            _ => "proxy",
        };
        Self::command().name(name).after_help(format!(
            "Example: {name} --listen :7001 --upstream :8000   # metrics on :9464/metrics"
        ))
    }

    fn parse_without_exit(
        words: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let mut command = without_empty_twins(Self::named());
        let matches = match command.try_get_matches_from_mut(&words) {
            Err(error) if error.kind() == ErrorKind::ArgumentConflict => {
                let reordered = sub_command_first(&command, &words).ok_or(error)?;
                command.try_get_matches_from_mut(reordered)?
            }
            matches => matches?,
        };
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// `proxy --listen :7001 check` means `proxy check --listen :7001`: whoever tries a command line
/// puts a word behind it. `None` where no sub-command follows flags that are complete.
fn sub_command_first(command: &clap::Command, words: &[OsString]) -> Option<Vec<OsString>> {
    let is_complete = |before: &[OsString]| command.clone().try_get_matches_from(before).is_ok();
    let is_command = |word: &OsString| command.get_subcommands().any(|c| word == c.get_name());
    let mut places = (2..words.len()).filter(|at| words.get(*at).is_some_and(is_command));
    let at = places.find(|at| words.get(..*at).is_some_and(is_complete))?;
    let (before, rest) = words.split_at_checked(at)?;
    let (program, flags) = before.split_first()?;
    let (name, after) = rest.split_first()?;
    Some([program, name].into_iter().chain(flags).chain(after).cloned().collect())
}

/// An environment variable that is set to nothing is not set: manifests and scripts have
/// `REDCAR_TLS_CERT: ""` where somebody may fill it in.
fn without_empty_twins(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_twins)
}

impl RunArgs {
    /// Flags as if none was given, for `demo`.
    pub(crate) fn for_demo(demo: &DemoArgs, upstream: Upstream) -> Result<Config, ConfigError> {
        let parsed = Cli::parse_without_exit(["proxy"]).map(|cli| cli.run);
        // Defaults always parse; an environment twin may not, and is none of the demo's business.
        let Ok(mut run) = parsed else {
            return Err(AddressError::Upstream("environment".into()).into());
        };
        run.listen = demo.listen;
        run.metrics = demo.metrics;
        run.upstream = upstream;
        run.map = Vec::new();
        (run.tls_cert, run.tls_key, run.upstream_ca) = (None, None, None);
        run.metrics_port.forget();
        run.names = NamesArgs::default();
        run.into_config()
    }

    /// Checks the flags' meaning.
    pub(crate) fn into_config(self) -> Result<Config, ConfigError> {
        let series = self.series.resolve(self.exemplars, self.openmetrics_created)?;
        let identity = self.tls_cert.zip(self.tls_key);
        Config {
            listen: self.listen,
            upstream: self.upstream,
            maps: self.map,
            upstream_protocol: match self.upstream_protocol {
                ProtocolMode::Auto => UpstreamProtocol::Auto,
                ProtocolMode::Http1 => UpstreamProtocol::Http1,
                ProtocolMode::Http2 => UpstreamProtocol::Http2,
            },
            metrics: self.metrics,
            metrics_port: self.metrics_port.resolve(),
            tls: Files {
                identity: identity.map(|(cert, key)| Identity { cert, key, port: Port::Clients }),
                upstream_ca: self.upstream_ca,
            },
            threads: self.threads.unwrap_or_else(default_threads),
            routes: series.routes,
            route_sources: series.sources,
            path_mode: series.path_mode,
            names_from: self.names.resolve().validate(series.path_mode)?,
            naming: series.naming,
            resource: series.resource,
            shown: series.shown,
            exclusions: self.exclude.resolve()?,
            limits: series.limits,
            methods: series.methods,
            timeouts: Timeouts {
                connect: self.connect_timeout,
                header: self.header_timeout,
                idle: self.idle_timeout,
                response: self.response_timeout.0,
                upstream_idle: self.upstream_idle_timeout,
                shutdown_delay: self.shutdown_delay,
                shutdown: self.shutdown_timeout,
            },
            max_connections: self.max_connections,
            max_header_bytes: self.max_header_bytes,
            max_http2_header_bytes: self.max_http2_header_bytes,
            max_buffered_bytes: self.max_buffered_bytes,
            forwarded: match self.forwarded {
                ForwardedMode::Append => Forwarded::Append,
                ForwardedMode::Replace => Forwarded::Replace,
                ForwardedMode::Off => Forwarded::Off,
            },
            via: self.via,
            access_log: match self.access_log {
                AccessLogMode::Off => None,
                AccessLogMode::Common => Some(AccessLogFormat::Common),
                AccessLogMode::Combined => Some(AccessLogFormat::Combined),
                AccessLogMode::Json => Some(AccessLogFormat::Json),
            },
            metrics_gzip: self.metrics_gzip == OnDemand::Auto,
        }
        .validate()
    }
}

/// At most two: more would compete with the app.
fn default_threads() -> usize {
    available_parallelism().map_or(1, usize::from).min(2)
}
