//! Flags that decide which series there are; `proxy paths` has the same ones.

use std::path::PathBuf;

use clap::Args;
use redcar::config::{
    ConfigError, Document, Exclusions, PathGlob, PathMode, RouteSources, parse_methods, parse_slo,
};
use redcar::metrics::{
    Buckets, DurationLabels, Histograms, Limits, Methods, Naming, Native, Resource, Shown,
    ShownError, Slo, Slos, Without,
};
use redcar::paths::Template;

use super::values::{HistogramsMode, NamingMode, PathsMode};

/// How paths become labels, and what becomes of the labels.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct SeriesArgs {
    /// A path template to pin, repeatable: `/users/{id}`, `/files/{*rest}`. Literal beats
    /// parameter beats rest. Pinned paths do not count towards --max-paths.
    #[arg(long = "route", value_name = "TEMPLATE", value_parser = Template::read, env = "REDCAR_ROUTE", value_delimiter = ',')]
    routes: Vec<Template>,
    /// A file of templates, one a line, `#` begins a comment; repeatable. What GET /paths prints.
    /// Read again on SIGHUP.
    #[arg(
        long = "routes-file",
        value_name = "FILE",
        env = "REDCAR_ROUTES_FILE",
        value_delimiter = ','
    )]
    lists: Vec<PathBuf>,
    /// An `OpenAPI` 3 or Swagger 2 document, JSON or YAML, whose paths are pinned; repeatable.
    /// `upstream:/openapi.json` asks the app itself for it, `upstream:` at the usual places, as
    /// soon as it can be connected to, and again when it was away. Read again on SIGHUP.
    #[arg(long = "openapi", value_name = "FILE", env = "REDCAR_OPENAPI", value_delimiter = ',')]
    documents: Vec<Document>,
    /// Where path labels come from: learn (pinned templates, then traffic), pinned (templates
    /// only, the rest is `_UNMATCHED`), raw (the path as it came, capped), off (one label, `_ALL`).
    #[arg(long = "paths", value_name = "MODE", value_enum, default_value_t = PathsMode::Learn, env = "REDCAR_PATHS")]
    path_mode: PathsMode,
    /// Path labels that may come from traffic; beyond, requests count as `_OTHER`. 500 paths are
    /// about 5 times the routes of a large app.
    #[arg(long, value_name = "N", default_value_t = 500, env = "REDCAR_MAX_PATHS")]
    max_paths: usize,
    /// Combinations of path, method, status and error; each costs 22 lines of a scrape.
    #[arg(long, value_name = "N", default_value_t = 5000, env = "REDCAR_MAX_SERIES")]
    max_series: usize,
    /// Names of the request metrics: default (`http_*`), flask (those of
    /// `prometheus_flask_exporter`), otel (those of `OpenTelemetry`).
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t = NamingMode::Default, env = "REDCAR_NAMING")]
    naming: NamingMode,
    /// Histogram bounds in seconds, ascending. Default: 0.001 to 60 in 18 steps, a superset of the
    /// Python client's and OpenTelemetry's; theirs, 0.005 to 10, with another --naming.
    #[arg(long, value_name = "LIST", env = "REDCAR_BUCKETS")]
    buckets: Option<Buckets>,
    /// The form of histograms for scrapers that take protobuf: classic (the bounds above), native
    /// (one series each, 9 % from bound to bound), both. Text always has the classic ones.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = HistogramsMode::Classic, env = "REDCAR_HISTOGRAMS")]
    histograms: HistogramsMode,
    /// Labels of the request durations, of method, path, status, `status_class`, error and
    /// `grpc_status`; or none. The request counter keeps all of its labels. For the default names.
    #[arg(long, value_name = "LIST", env = "REDCAR_DURATION_LABELS", value_parser = <DurationLabels as std::str::FromStr>::from_str)]
    duration_labels: Option<DurationLabels>,
    /// Metrics to leave out, repeatable: `http_time_to_response_seconds`.
    #[arg(long, value_name = "METRIC", env = "REDCAR_WITHOUT", value_delimiter = ',')]
    without: Vec<String>,
    /// What users may expect, repeatable: `path=/checkout/**,latency=300ms,objective=99.9` asks for
    /// 99.9 % of these requests to be answered within 300 ms, and without failure. Without path all
    /// paths, without latency any time; `name=` names it. Counted in `http_slo_requests_total`. In
    /// the environment several are separated by spaces.
    #[arg(
        long = "slo",
        value_name = "OBJECTIVE",
        env = "REDCAR_SLO",
        value_delimiter = ' ',
        value_parser = parse_slo
    )]
    slos: Vec<Slo>,
    /// Methods with a label of their own, instead of the standard ones; others count as `_OTHER`.
    #[arg(long, value_name = "LIST", env = "REDCAR_KNOWN_METHODS", value_parser = parse_methods)]
    known_methods: Option<Methods>,
}

/// Requests that are forwarded and not measured.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct ExcludeArgs {
    /// Paths to leave out of all metrics, repeatable: `/healthz`, `/static/**`; `*` stays within a
    /// segment. Such requests are forwarded and counted in one counter only.
    #[arg(
        long = "exclude-path",
        value_name = "GLOB",
        env = "REDCAR_EXCLUDE_PATH",
        value_delimiter = ','
    )]
    paths: Vec<PathGlob>,
    /// Clients to leave out in the same way, by the beginning of User-Agent: `kube-probe/`.
    #[arg(
        long = "exclude-user-agent",
        value_name = "PREFIX",
        env = "REDCAR_EXCLUDE_USER_AGENT",
        value_delimiter = ','
    )]
    user_agents: Vec<String>,
}

impl ExcludeArgs {
    pub(crate) fn resolve(&self) -> Result<Option<Exclusions>, ConfigError> {
        Exclusions::new(&self.paths, &self.user_agents)
    }
}

/// `OpenTelemetry`'s twin of --known-methods.
const KNOWN_METHODS: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";

/// A variable of `OpenTelemetry`; what is empty or no text is not set.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// What those flags mean, with the files read.
pub(crate) struct SeriesSettings {
    pub(crate) routes: Vec<Template>,
    pub(crate) sources: RouteSources,
    pub(crate) path_mode: PathMode,
    pub(crate) naming: Naming,
    pub(crate) resource: Resource,
    pub(crate) shown: Shown,
    pub(crate) limits: Limits,
    pub(crate) methods: Methods,
}

impl SeriesArgs {
    pub(crate) fn resolve(
        self,
        exemplars: bool,
        created_lines: bool,
    ) -> Result<SeriesSettings, ConfigError> {
        let sources =
            RouteSources { templates: self.routes, lists: self.lists, documents: self.documents };
        let (naming, bounds): (_, &[f64]) = match self.naming {
            NamingMode::Default => (Naming::Default, &Buckets::REQUEST),
            NamingMode::Flask => (Naming::Flask, &Buckets::LIBRARIES),
            NamingMode::Otel => (Naming::Otel, &Buckets::LIBRARIES),
        };
        if naming != Naming::Default && self.duration_labels.is_some() {
            return Err(ShownError::Naming.into());
        }
        let histograms = match self.histograms {
            HistogramsMode::Classic => Histograms::Classic,
            HistogramsMode::Native => Histograms::Native,
            HistogramsMode::Both => Histograms::Both,
        };
        let buckets = match self.buckets {
            Some(buckets) => buckets,
            // Constant bounds, held valid by a test.
            None => Buckets::new(bounds).unwrap_or_else(|_| unreachable!()),
        };
        let buckets = match histograms {
            Histograms::Classic => buckets,
            Histograms::Native | Histograms::Both => buckets.with_native(Native::REQUEST),
        };
        // The semantic conventions demand this variable of whoever has one.
        let of_otel = || variable(KNOWN_METHODS).filter(|_| naming == Naming::Otel);
        let methods = match (self.known_methods, of_otel()) {
            (Some(methods), _) => methods,
            (None, Some(list)) => parse_methods(&list)?,
            (None, None) => Methods::default(),
        };
        let (max_paths, max_series) = (self.max_paths, self.max_series);
        Ok(SeriesSettings {
            routes: sources.load(&[])?,
            sources,
            path_mode: match self.path_mode {
                PathsMode::Learn => PathMode::Learn,
                PathsMode::Pinned => PathMode::Pinned,
                PathsMode::Raw => PathMode::Raw,
                PathsMode::Off => PathMode::Off,
            },
            naming,
            resource: Resource::new(
                variable("OTEL_SERVICE_NAME").as_deref(),
                variable("OTEL_RESOURCE_ATTRIBUTES").as_deref(),
            ),
            shown: Shown {
                histograms,
                created_lines,
                duration_labels: self.duration_labels.unwrap_or_default(),
                without: Without::new(&self.without, naming)?,
            },
            limits: Limits {
                max_paths,
                max_series,
                buckets,
                exemplars,
                slos: Slos::new(self.slos)?,
            },
            methods,
        })
    }
}
