//! Other names for the metrics of requests, for dashboards that exist already.
//!
//! What begins with `redcar_`, `process_` or `http_slo_` is called the same in every profile.

use super::catalogue::{CATALOGUE, Family, family};
use crate::metrics::text::Kind;

/// What the metrics of requests are called, chosen once at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Naming {
    /// Our own names.
    #[default]
    Default,
    /// Those of `prometheus_flask_exporter`.
    Flask,
    /// Those of `OpenTelemetry`'s semantic conventions, as Prometheus writes them.
    Otel,
}

impl Naming {
    /// Whether a row's histogram ends with the response head instead of the last byte.
    ///
    /// The Flask exporter stops its clock when the view has returned. That profile shows no other
    /// duration, so its rows need no second histogram.
    pub fn measures_head(self) -> bool {
        self == Self::Flask
    }

    /// Whether rows tell how a request came: by which scheme, in which version, answered or not.
    pub fn tells_wire(self) -> bool {
        self == Self::Otel
    }

    /// The families of a page, in the order in which they are documented.
    pub fn families(self) -> impl Iterator<Item = &'static Family> {
        let own: &[Family] = match self {
            Self::Default => &[],
            Self::Flask => FLASK,
            Self::Otel => OTEL,
        };
        let is_of_sidecar = |name: &str| {
            ["redcar_", "process_", "http_slo_"].iter().any(|prefix| name.starts_with(prefix))
        };
        let rest = CATALOGUE
            .iter()
            .filter(move |family| self == Self::Default || is_of_sidecar(family.name));
        own.iter().chain(rest)
    }
}

/// Durations as the Flask exporter has them.
pub const FLASK_DURATION: Family = family(
    "flask_http_request_duration_seconds",
    Kind::Histogram,
    &["method", "path", "status"],
    "Flask HTTP request duration in seconds",
);
/// Requests as the Flask exporter counts them: without a path.
pub const FLASK_TOTAL: Family = family(
    "flask_http_request_total",
    Kind::Counter,
    &["method", "status"],
    "Total number of HTTP requests",
);
/// What an outside observer can say of exceptions.
pub const FLASK_EXCEPTIONS: Family = family(
    "flask_http_request_exceptions_total",
    Kind::Counter,
    &["method", "status"],
    "Total number of HTTP requests which resulted in an exception. Seen from outside: answers with status 500, an upper bound, since an app may send a 500 without one.",
);
/// Who exports.
pub const FLASK_INFO: Family = family(
    "flask_exporter_info",
    Kind::Gauge,
    &["version"],
    "Information about the Prometheus Flask exporter: here redcar, in its place.",
);

/// The families of [`Naming::Flask`].
///
/// # Source
///
/// `prometheus_flask_exporter` 0.23.2, `export_defaults`.
pub const FLASK: &[Family] = &[FLASK_DURATION, FLASK_TOTAL, FLASK_EXCEPTIONS, FLASK_INFO];

/// Durations as `OpenTelemetry` has them.
pub const OTEL_DURATION: Family = family(
    "http_server_request_duration_seconds",
    Kind::Histogram,
    &[
        "http_request_method",
        "http_route",
        "http_response_status_code",
        "network_protocol_version",
        "url_scheme",
        "error_type",
    ],
    "Duration of HTTP server requests.",
);
/// Requests under way as `OpenTelemetry` has them.
pub const OTEL_ACTIVE: Family = family(
    "http_server_active_requests",
    Kind::Gauge,
    &["http_request_method", "url_scheme"],
    "Number of active HTTP server requests.",
);
/// Which service it is; with further labels of `OTEL_RESOURCE_ATTRIBUTES`.
pub const OTEL_TARGET: Family = family(
    "target_info",
    Kind::Gauge,
    &["service_name", "telemetry_distro_name", "telemetry_distro_version"],
    "Attributes of the resource: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.",
);

/// The families of [`Naming::Otel`].
///
/// # Source
///
/// Semantic conventions 1.44 for HTTP metrics, and the rules by which their names become
/// Prometheus'.
pub const OTEL: &[Family] = &[OTEL_DURATION, OTEL_ACTIVE, OTEL_TARGET];
