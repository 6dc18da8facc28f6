//! Every metric's name, type, labels and help.

use crate::metrics::text::Kind;

/// One metric family as users see it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name, with unit and `_total` suffixes.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means: the HELP line.
    pub help: &'static str,
}

pub(super) const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, labels, help }
}

/// Labels of the hot family; `error` is absent when the upstream answered whole.
const HOT: &[&str] = &["method", "path", "status", "error", "grpc_status"];

/// Requests by path, method, status and error.
pub const REQUESTS: Family = family(
    "http_requests_total",
    Kind::Counter,
    HOT,
    "Requests, counted when they end. status is 499 for a client that left before the response head; error is absent when the upstream answered whole.",
);
/// Durations by path, method, status and error.
pub const DURATION: Family = family(
    "http_request_duration_seconds",
    Kind::Histogram,
    HOT,
    "Time from the request head fully read to the last response byte handed to the connection, or to the failure.",
);
/// Time to the response head, by path.
pub const TIME_TO_RESPONSE: Family = family(
    "http_time_to_response_seconds",
    Kind::Histogram,
    &["path"],
    "Time from the request head fully read to the response head ready to be written.",
);
/// Request body bytes by path.
pub const REQUEST_BYTES: Family = family(
    "http_request_body_bytes_total",
    Kind::Counter,
    &["path"],
    "Request body bytes forwarded to the upstream.",
);
/// Response body bytes by path.
pub const RESPONSE_BYTES: Family = family(
    "http_response_body_bytes_total",
    Kind::Counter,
    &["path"],
    "Response body bytes forwarded to the client.",
);
/// Requests being served.
pub const IN_FLIGHT: Family = family(
    "http_requests_in_flight",
    Kind::Gauge,
    &[],
    "Requests whose head was read and that have not ended.",
);
/// Switched connections that are open.
pub const UPGRADED_ACTIVE: Family = family(
    "http_upgraded_connections_active",
    Kind::Gauge,
    &[],
    "Connections that carry another protocol after a 101, such as WebSocket.",
);
/// How long switched connections were open.
pub const UPGRADED_DURATION: Family = family(
    "http_upgraded_connection_duration_seconds",
    Kind::Histogram,
    &["path"],
    "Time from the 101 to the end of both directions.",
);
/// Event streams that are open.
pub const STREAMS_ACTIVE: Family = family(
    "http_streams_active",
    Kind::Gauge,
    &[],
    "Event streams (text/event-stream) whose body has not ended.",
);
/// How long event streams were open.
pub const STREAM_DURATION: Family = family(
    "http_stream_duration_seconds",
    Kind::Histogram,
    &["path"],
    "Time from the response head of an event stream to the end of its body.",
);
/// Requests as objectives judge them.
pub(super) const SLO_REQUESTS: Family = family(
    "http_slo_requests_total",
    Kind::Counter,
    &["slo", "result"],
    "Requests of each --slo, counted when they end; result is good, slow, failed, or client: what the client got wrong, or gave up in time. Absent without --slo.",
);
/// The objectives themselves.
pub(super) const SLO_OBJECTIVE: Family = family(
    "redcar_slo_objective",
    Kind::Gauge,
    &["slo"],
    "Share of good requests that --slo asks for, of those whose result is not client. Absent without --slo.",
);
/// Their latencies.
pub(super) const SLO_LATENCY: Family = family(
    "redcar_slo_latency_seconds",
    Kind::Gauge,
    &["slo"],
    "The longest that a good request takes. Absent for an objective without a latency.",
);
/// Time inside the sidecar.
pub const OVERHEAD: Family = family(
    "redcar_overhead_seconds",
    Kind::Histogram,
    &[],
    "Time a request spent inside the sidecar: head read to upstream write begun without connecting, plus upstream head read to downstream head ready.",
);
/// Time to connect to the upstream.
pub const CONNECT_DURATION: Family = family(
    "redcar_upstream_connect_duration_seconds",
    Kind::Histogram,
    &[],
    "Time to open a connection to the upstream, successful or not.",
);
pub(super) const CONNECTS: Family = family(
    "redcar_upstream_connects_total",
    Kind::Counter,
    &["result"],
    "Attempts to connect to the upstream for a request, and the first at the start; result is ok or the error.",
);
pub(super) const UPSTREAM_CONNECTIONS: Family = family(
    "redcar_upstream_connections",
    Kind::Gauge,
    &["state"],
    "Open connections to the upstream; state is active or idle.",
);
pub(super) const REUSED: Family = family(
    "redcar_upstream_requests_reused_total",
    Kind::Counter,
    &[],
    "Requests sent on a connection that had served another before.",
);
pub(super) const RETRIES: Family = family(
    "redcar_upstream_retries_total",
    Kind::Counter,
    &["reason"],
    "Requests sent again on another connection because the reused one was closed or lost; reason is not_sent or no_response.",
);
/// Whether the upstream can be connected to.
pub const UP: Family = family(
    "redcar_upstream_up",
    Kind::Gauge,
    &[],
    "1 if the upstream could be connected to at the last attempt, else 0; while it is 0 it is tried every second.",
);
pub(super) const ACCEPT_QUEUE: Family = family(
    "redcar_upstream_accept_queue",
    Kind::Gauge,
    &[],
    "Connections that wait until the app accepts them, whoever made them. Absent where the kernel does not show them: another host or network namespace, or no app.",
);
pub(super) const ACCEPT_QUEUE_LIMIT: Family = family(
    "redcar_upstream_accept_queue_limit",
    Kind::Gauge,
    &[],
    "Connections that may wait until the app accepts them: the backlog it asked for, at most net.core.somaxconn.",
);
pub(super) const ACCEPT_QUEUE_PEAK: Family = family(
    "redcar_upstream_accept_queue_peak",
    Kind::Gauge,
    &[],
    "The most connections that were seen to wait in the last minute, looked at four times a second.",
);
pub(super) const LISTEN_DROPS: Family = family(
    "redcar_upstream_listen_drops_total",
    Kind::Counter,
    &[],
    "Connections to the app that the kernel dropped, mostly because its accept queue was full; the client tries again a second later. Absent for Unix sockets.",
);
pub(super) const DOWNSTREAM: Family =
    family("redcar_downstream_connections", Kind::Gauge, &["protocol"], "Open client connections.");
pub(super) const DOWNSTREAM_LIMIT: Family =
    family("redcar_downstream_connections_limit", Kind::Gauge, &[], "Client connections at most.");
pub(super) const BUFFERED: Family = family(
    "redcar_buffered_bytes",
    Kind::Gauge,
    &[],
    "Bytes that are kept for clients and the app: heads, what waits to be read or sent, handshakes.",
);
pub(super) const BUFFERED_LIMIT: Family = family(
    "redcar_buffered_bytes_limit",
    Kind::Gauge,
    &[],
    "Bytes that are kept at most; at three quarters of it generosity ends.",
);
pub(super) const SHED: Family = family(
    "redcar_shed_total",
    Kind::Counter,
    &["reason"],
    "What was turned away or ended so that others have room; reason is request, connection, idle, large or flood.",
);
// Without `_accepted` its family in OpenMetrics, which has no `_total`, would be the gauge above.
pub(super) const DOWNSTREAM_TOTAL: Family = family(
    "redcar_downstream_connections_accepted_total",
    Kind::Counter,
    &["protocol"],
    "Client connections accepted.",
);
pub(super) const REFUSED: Family = family(
    "redcar_downstream_connections_refused_total",
    Kind::Counter,
    &["reason"],
    "Client connections not served; reason is max_connections or accept_error.",
);
pub(super) const TLS_HANDSHAKES: Family = family(
    "redcar_tls_handshakes_total",
    Kind::Counter,
    &["result"],
    "TLS handshakes with clients; result is ok, timeout or failed. Absent without --tls-cert.",
);
pub(super) const TLS_EXPIRY: Family = family(
    "redcar_tls_certificate_expiry_timestamp_seconds",
    Kind::Gauge,
    &[],
    "When the certificate in use expires, in seconds since the epoch. Absent without --tls-cert.",
);
pub(super) const TLS_RELOAD: Family = family(
    "redcar_tls_last_reload_successful",
    Kind::Gauge,
    &[],
    "1 if the files of --tls-cert and --tls-key could be used when they last changed, else 0: the certificate before stays in use. Absent without --tls-cert.",
);
pub(super) const ACCESS_LOG_DROPPED: Family = family(
    "redcar_access_log_dropped_total",
    Kind::Counter,
    &[],
    "Access-log lines dropped because standard output did not keep up or could not be written.",
);
pub(super) const LOG_DROPPED: Family = family(
    "redcar_log_dropped_total",
    Kind::Counter,
    &[],
    "Lines of the sidecar's own log dropped because standard error did not keep up or could not be written.",
);
pub(super) const SERIES: Family = family(
    "redcar_series",
    Kind::Gauge,
    &[],
    "Rows of the http_requests family: path, method, status and error combinations.",
);
pub(super) const SERIES_LIMIT: Family =
    family("redcar_series_limit", Kind::Gauge, &[], "The value of --max-series.");
pub(super) const PATHS: Family = family(
    "redcar_paths",
    Kind::Gauge,
    &[],
    "Path labels that came from traffic; pinned templates are not counted.",
);
pub(super) const PATHS_DIGEST: Family = family(
    "redcar_paths_digest",
    Kind::Gauge,
    &[],
    "A hash of all names of paths, pinned and learned: replicas with the same names show the same number.",
);
/// Places whose words are values.
pub const PATH_FOLDS: Family = family(
    "redcar_path_folds",
    Kind::Gauge,
    &["path"],
    "1 for each place whose words count as values, given up to its parameter: what --names-from has to know beside the names.",
);
pub(super) const PATH_CONFLICTS: Family = family(
    "redcar_path_conflicts",
    Kind::Gauge,
    &[],
    "Names from --names-from that would rename what is published here: they wait for the next start.",
);
pub(super) const NAMES_READS: Family = family(
    "redcar_names_reads_total",
    Kind::Counter,
    &["result"],
    "Readings of the sources of --names-from; result is ok or failed. 0 without the flag.",
);
pub(super) const PATHS_LIMIT: Family =
    family("redcar_paths_limit", Kind::Gauge, &[], "The value of --max-paths.");
/// Requests under a coarser label.
pub const OVERFLOW: Family = family(
    "redcar_path_overflow_total",
    Kind::Counter,
    &["reason"],
    "Requests counted under a coarser label because a limit was reached; reason is max_paths or max_series.",
);
pub(super) const SCRAPE_DURATION: Family = family(
    "redcar_scrape_duration_seconds",
    Kind::Gauge,
    &[],
    "Time the previous scrape took to render.",
);
/// Whether the shutdown has begun.
pub const DRAINING: Family =
    family("redcar_draining", Kind::Gauge, &[], "1 from the shutdown signal on, else 0.");
pub(super) const BUILD_INFO: Family = family(
    "redcar_build_info",
    Kind::Gauge,
    &["version", "revision", "rustc"],
    "Always 1; the labels tell which build this is.",
);
/// Requests that are not measured.
pub const EXCLUDED: Family = family(
    "redcar_excluded_requests_total",
    Kind::Counter,
    &[],
    "Requests left out of all other request metrics by --exclude-path or --exclude-user-agent, counted when they end.",
);
/// Whether the files of routes are as they should be.
pub const ROUTES_RELOAD: Family = family(
    "redcar_routes_last_reload_successful",
    Kind::Gauge,
    &[],
    "1 if --routes-file and --openapi were read without error the last time, else 0: then the older routes are still used.",
);
/// When the files of routes were last read.
pub const ROUTES_RELOAD_TIMESTAMP: Family = family(
    "redcar_routes_last_reload_success_timestamp_seconds",
    Kind::Gauge,
    &[],
    "When the routes in use were read, in seconds since the epoch.",
);
/// CPU time of this process.
pub const PROCESS_CPU: Family = family(
    "process_cpu_seconds_total",
    Kind::Counter,
    &[],
    "User and system CPU time of the sidecar.",
);
/// Resident memory of this process.
pub const PROCESS_RSS: Family =
    family("process_resident_memory_bytes", Kind::Gauge, &[], "Resident memory of the sidecar.");
/// Virtual memory of this process.
pub const PROCESS_VIRTUAL: Family =
    family("process_virtual_memory_bytes", Kind::Gauge, &[], "Virtual memory of the sidecar.");
/// File descriptors of this process.
pub const PROCESS_FDS: Family =
    family("process_open_fds", Kind::Gauge, &[], "Open file descriptors of the sidecar.");
/// File descriptors this process may have.
pub const PROCESS_MAX_FDS: Family =
    family("process_max_fds", Kind::Gauge, &[], "File descriptors the sidecar may open.");
/// When this process started.
pub const PROCESS_START: Family = family(
    "process_start_time_seconds",
    Kind::Gauge,
    &[],
    "When the sidecar started, in seconds since the epoch.",
);
/// Threads of this process.
pub const PROCESS_THREADS: Family =
    family("process_threads", Kind::Gauge, &[], "Threads of the sidecar.");

/// Every family, in the order in which they are documented.
pub const CATALOGUE: &[Family] = &[
    REQUESTS,
    DURATION,
    TIME_TO_RESPONSE,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    IN_FLIGHT,
    UPGRADED_ACTIVE,
    UPGRADED_DURATION,
    STREAMS_ACTIVE,
    STREAM_DURATION,
    SLO_REQUESTS,
    SLO_OBJECTIVE,
    SLO_LATENCY,
    OVERHEAD,
    CONNECT_DURATION,
    CONNECTS,
    UPSTREAM_CONNECTIONS,
    REUSED,
    RETRIES,
    UP,
    ACCEPT_QUEUE,
    ACCEPT_QUEUE_LIMIT,
    ACCEPT_QUEUE_PEAK,
    LISTEN_DROPS,
    DOWNSTREAM,
    DOWNSTREAM_LIMIT,
    DOWNSTREAM_TOTAL,
    REFUSED,
    BUFFERED,
    BUFFERED_LIMIT,
    SHED,
    TLS_HANDSHAKES,
    TLS_EXPIRY,
    TLS_RELOAD,
    ACCESS_LOG_DROPPED,
    LOG_DROPPED,
    SERIES,
    SERIES_LIMIT,
    PATHS,
    PATHS_LIMIT,
    PATHS_DIGEST,
    PATH_FOLDS,
    PATH_CONFLICTS,
    NAMES_READS,
    OVERFLOW,
    EXCLUDED,
    ROUTES_RELOAD,
    ROUTES_RELOAD_TIMESTAMP,
    SCRAPE_DURATION,
    DRAINING,
    BUILD_INFO,
    PROCESS_CPU,
    PROCESS_RSS,
    PROCESS_VIRTUAL,
    PROCESS_FDS,
    PROCESS_MAX_FDS,
    PROCESS_START,
    PROCESS_THREADS,
];
