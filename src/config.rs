//! Validated configuration: what the flags mean.
//!
//! Parsing text into these types is pure; nothing here opens a socket. Every limit the program
//! has is a field of [`Config`] with a default and a reason.

use std::time::Duration;

use crate::config::routes::RoutesError;
use crate::http::rewrite::Forwarded;
use crate::metrics::labels::Methods;
use crate::metrics::slo::SlosError;
use crate::metrics::store;
use crate::metrics::{Naming, Resource, Shown, ShownError};
use crate::net::tls;
use crate::paths::{GlobError, Namer, Template, TemplateError};

pub use self::exclusions::Exclusions;
pub use self::metrics_port::{HostPattern, MetricsPort};
pub use self::slo::parse_slo;
pub use self::times::{LONGEST, TIME_FLAGS, TimeFlag, Zero, parse_duration, parse_some_time};
pub use crate::net::address::{AddressError, Host, ListenAddr, PortMap, Upstream};
pub use crate::paths::{PathGlob, PathMode};

pub use self::names::{Credentials, NameSource, NamesFrom};
pub use self::routes::openapi::parse as parse_openapi;
pub use self::routes::{Document, RouteSources, shape};

mod exclusions;
mod metrics_port;
pub(crate) mod names;
pub(crate) mod routes;
mod slo;
mod times;

/// Why a flag's value, or a combination of flags, is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Roots without anybody to verify.
    #[error(
        "--upstream-ca is for an https upstream, and --upstream is {0}; give `https://HOST:PORT`, or leave --upstream-ca away"
    )]
    UpstreamCa(String),
    /// Forwarding to oneself.
    #[error(
        "{of} {upstream} is this proxy's own {flag} {listen}: every request would loop; point {of} at the app's port"
    )]
    Loop {
        /// `--upstream` or `--map`.
        of: &'static str,
        /// The upstream as given.
        upstream: String,
        /// `--listen`, `--map` or `--metrics`.
        flag: &'static str,
        /// The address that collides.
        listen: String,
    },
    /// One port for two purposes.
    #[error("{0} and {1} are both {2}; give them different ports")]
    SamePort(&'static str, &'static str, String),
    /// A template that conflicts with another.
    #[error("--route: {0}")]
    Route(#[from] TemplateError),
    /// Templates that cannot be had from where they are.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// Names that cannot be had from there.
    #[error("--names-from {0}: {1}")]
    NamesFrom(String, String),
    /// A document that is the app's, where no app is asked.
    #[error("--openapi {0}: there is no upstream to ask here; give a file")]
    NoUpstream(String),
    /// Not a pattern of paths.
    #[error("--exclude-path {0}")]
    Glob(#[from] GlobError),
    /// Not an objective.
    #[error("--slo `{0}`: {1}; give for example `path=/checkout/**,latency=300ms,objective=99.9`")]
    Slo(String, String),
    /// Objectives that cannot be had together.
    #[error(transparent)]
    Slos(#[from] SlosError),
    /// Labels or families that there are not.
    #[error(transparent)]
    Shown(#[from] ShownError),
    /// A prefix of every User-Agent.
    #[error("--exclude-user-agent is empty, which would leave out every request")]
    EmptyUserAgent,
    /// Not a host name.
    #[error("--metrics-host `{0}` is no host name; give `metrics.example.com` or `*.example.com`")]
    Host(String),
    /// Client certificates without TLS.
    #[error("--metrics-client-ca needs --metrics-tls-cert and --metrics-tls-key")]
    ClientCa,
    /// Not a duration.
    #[error("`{0}` is not a duration; give for example `500ms`, `3s` or `10m`")]
    Duration(String),
    /// A time in which no moment can be given.
    #[error("`{0}` is too long; 366 days are the most")]
    TooLong(String),
    /// 0 where something has to happen meanwhile.
    #[error("`{0}` is no time; give for example `500ms`, `3s` or `10m`")]
    NoTime(String),
    /// Not a size.
    #[error("`{0}` is not a size; give for example `65536`, `64KiB` or `1MiB`")]
    Bytes(String),
    /// A number outside its range.
    #[error("{flag} must be {range}, not {value}")]
    Range {
        /// Which flag.
        flag: &'static str,
        /// What is allowed, in words.
        range: &'static str,
        /// What was given.
        value: String,
    },
    /// Not a list of methods.
    #[error("--known-methods: `{0}` is not a method; give for example `GET,POST,PROPFIND`")]
    Method(String),
}

/// What the backend is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UpstreamProtocol {
    /// HTTP/2 for clients that speak it, where the backend does; else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1, whatever clients speak.
    Http1,
    /// HTTP/2 with prior knowledge (or by ALPN), whatever clients speak.
    Http2,
}

/// The format of an access-log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLogFormat {
    /// NCSA Common Log Format.
    Common,
    /// Common, then Referer and User-Agent.
    Combined,
    /// One JSON object a line.
    Json,
}

/// Everything the program needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: ListenAddr,
    /// The backend.
    pub upstream: Upstream,
    /// What the backend is spoken to in.
    pub upstream_protocol: UpstreamProtocol,
    /// Further ports, each with the backend behind it.
    pub maps: Vec<PortMap>,
    /// The metrics port.
    pub metrics: ListenAddr,
    /// Who may read it, and how.
    pub metrics_port: MetricsPort,
    /// Certificates, keys and roots, as files.
    pub tls: tls::Files,
    /// Data-plane threads.
    pub threads: usize,
    /// Pinned path templates, from all sources.
    pub routes: Vec<Template>,
    /// Where they came from, to be read again.
    pub route_sources: RouteSources,
    /// Where other path labels come from.
    pub path_mode: PathMode,
    /// Who else knows names of paths.
    pub names_from: NamesFrom,
    /// What the metrics of requests are called.
    pub naming: Naming,
    /// Which service it is, for names that say that.
    pub resource: Resource,
    /// What is shown of the numbers.
    pub shown: Shown,
    /// Requests that are not measured, if any.
    pub exclusions: Option<Exclusions>,
    /// Bounds of paths and series, and the histogram's buckets.
    pub limits: store::Limits,
    /// Methods with a label of their own.
    pub methods: Methods,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Client connections at one time; each may need a second descriptor for its upstream.
    pub max_connections: usize,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Bytes of an HTTP/2 request head, as RFC 9113 §6.5.2 counts them, and of its trailers.
    pub max_http2_header_bytes: usize,
    /// Bytes that are kept for peers in all; without it the machine's memory decides.
    pub max_buffered_bytes: Option<usize>,
    /// What becomes of `X-Forwarded-*`.
    pub forwarded: Forwarded,
    /// Whether requests get a `Via` field.
    pub via: bool,
    /// Access-log format, if any.
    pub access_log: Option<AccessLogFormat>,
    /// Whether scrapes may be compressed.
    pub metrics_gzip: bool,
}

/// Time limits. A `None` is a limit that is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Opening a connection to the upstream: its name, TCP and TLS.
    pub connect: Duration,
    /// From the first byte of a request head to its last, and from connect to the first byte.
    pub header: Duration,
    /// A client connection between two requests.
    pub idle: Duration,
    /// From the request sent to the response head.
    pub response: Option<Duration>,
    /// An upstream connection between two requests.
    pub upstream_idle: Duration,
    /// From the signal to the moment the listener closes.
    pub shutdown_delay: Duration,
    /// From the listener's close to the end of the last request.
    pub shutdown: Duration,
}

impl Config {
    /// Smallest `--max-series`: nine rows always exist, the rest must leave room for real ones.
    pub const MIN_SERIES: usize = 64;
    /// Smallest `--max-header-bytes`. RFC 9112 §3 recommends 8000 bytes for the request line alone.
    pub const MIN_HEADER_BYTES: usize = 8192;
    /// Smallest `--max-buffered-bytes`: some requests of the largest kind.
    pub const MIN_BUFFERED_BYTES: usize = 1 << 20;

    /// Checks what no single flag can: ranges and combinations.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] found; each names the flag and says what to give instead.
    pub fn validate(mut self) -> Result<Self, ConfigError> {
        if !(1..=256).contains(&self.threads) {
            out_of_range("--threads", "1 to 256", self.threads)?;
        }
        check_limits(&self.limits)?;
        self.timeouts = self.timeouts.validate()?;
        if !(1..=1_000_000).contains(&self.max_connections) {
            out_of_range("--max-connections", "1 to 1000000", self.max_connections)?;
        }
        if !(Self::MIN_HEADER_BYTES..=16 << 20).contains(&self.max_header_bytes) {
            out_of_range("--max-header-bytes", "8KiB to 16MiB", self.max_header_bytes)?;
        }
        if !(Self::MIN_HEADER_BYTES..=16 << 20).contains(&self.max_http2_header_bytes) {
            let value = self.max_http2_header_bytes;
            out_of_range("--max-http2-header-bytes", "8KiB to 16MiB", value)?;
        }
        let buffered = self.max_buffered_bytes.unwrap_or(Self::MIN_BUFFERED_BYTES);
        if !(Self::MIN_BUFFERED_BYTES..=1 << 40).contains(&buffered) {
            out_of_range("--max-buffered-bytes", "1MiB to 1TiB", buffered)?;
        }
        let is_https = self.upstreams().any(|(_, upstream)| upstream.tls_host().is_some());
        if self.tls.upstream_ca.is_some() && !is_https {
            return Err(ConfigError::UpstreamCa(self.upstream.to_string()));
        }
        if self.metrics_port.client_ca.is_some() && self.metrics_port.identity.is_none() {
            return Err(ConfigError::ClientCa);
        }
        Namer::new(&self.routes)?;
        self.check_ports()?;
        Ok(self)
    }

    fn check_ports(&self) -> Result<(), ConfigError> {
        let ports: Vec<_> = self.listeners().chain([("--metrics", self.metrics)]).collect();
        for (index, (flag, listen)) in ports.iter().enumerate() {
            let mut before = ports.iter().take(index);
            if let Some((other, _)) = before.find(|(_, other)| other.overlaps(*listen)) {
                return Err(ConfigError::SamePort(other, flag, listen.to_string()));
            }
        }
        for (of, upstream) in self.upstreams() {
            if let Some((flag, listen)) = ports.iter().find(|(_, port)| upstream.is_local(*port)) {
                let (upstream, listen) = (upstream.to_string(), listen.to_string());
                return Err(ConfigError::Loop { of, upstream, flag, listen });
            }
        }
        Ok(())
    }

    /// Where clients connect, with the flag that says so.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, ListenAddr)> {
        let further = self.maps.iter().map(|map| ("--map", map.listen));
        [("--listen", self.listen)].into_iter().chain(further)
    }

    /// The backends, with the flag that says so.
    pub fn upstreams(&self) -> impl Iterator<Item = (&'static str, &Upstream)> {
        let further = self.maps.iter().map(|map| ("--map", &map.upstream));
        [("--upstream", &self.upstream)].into_iter().chain(further)
    }

    /// The same for a further port alone.
    pub(crate) fn of_map(&self, map: &PortMap) -> Self {
        let PortMap { listen, upstream } = map.clone();
        Self { listen, upstream, ..self.clone() }
    }
}

/// Checks the ranges of `--max-series` and `--max-paths`.
///
/// # Errors
///
/// [`ConfigError::Range`] names the flag.
pub fn check_limits(limits: &store::Limits) -> Result<(), ConfigError> {
    if !(Config::MIN_SERIES..=1_000_000).contains(&limits.max_series) {
        return out_of_range("--max-series", "64 to 1000000", limits.max_series);
    }
    if !(1..=1_000_000).contains(&limits.max_paths) {
        return out_of_range("--max-paths", "1 to 1000000", limits.max_paths);
    }
    Ok(())
}

fn out_of_range(flag: &'static str, range: &'static str, value: usize) -> Result<(), ConfigError> {
    Err(ConfigError::Range { flag, range, value: value.to_string() })
}

/// Parses `65536`, `64KiB`, `1MiB`.
///
/// # Errors
///
/// [`ConfigError::Bytes`] for anything else.
pub fn parse_bytes(text: &str) -> Result<usize, ConfigError> {
    let units = [("KiB", 10), ("MiB", 20), ("k", 10), ("K", 10), ("m", 20), ("M", 20), ("B", 0)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: usize = number.trim().parse().map_err(|_| ConfigError::Bytes(text.to_owned()))?;
    number.checked_mul(1 << shift).ok_or_else(|| ConfigError::Bytes(text.to_owned()))
}

/// Parses `GET,POST,PROPFIND`.
///
/// # Errors
///
/// [`ConfigError::Method`] for a name that is not a token, or too many of them.
pub fn parse_methods(text: &str) -> Result<Methods, ConfigError> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    for name in &names {
        if http::Method::from_bytes(name.as_bytes()).is_err() || name.len() > 32 {
            return Err(ConfigError::Method((*name).to_owned()));
        }
    }
    match names.get(Methods::MAX) {
        Some(one_too_many) => Err(ConfigError::Method((*one_too_many).to_owned())),
        None => Ok(Methods::new(names)),
    }
}

#[cfg(test)]
mod tests;
