//! redcar: RED metrics (rate, errors, duration) per path, from a sidecar.
//!
//! A reverse proxy in front of one unmodified HTTP backend. It forwards every request, counts
//! each exactly once by method, path and status, and shows the numbers to Prometheus on a port of
//! its own. The `proxy` binary wires command line, logging and signals to this library.
//!
//! # Layout
//!
//! A module imports only from modules above it in this list; a test holds the order.
//!
//! - [`labels`], [`exposition`], [`paths`], [`drain`], [`coalesce`]: closed label sets; text
//!   encoding; path → template; shutdown; small writes. Pure: no I/O, no clock.
//! - [`error`], [`buckets`], [`routes`], [`headers`]: error → status and token; histogram bounds;
//!   where pinned templates come from; header rewriting, the only bytes that are changed.
//! - [`series`]: the store of the hot family. [`metrics`]: the catalogue and the cold metrics.
//! - [`config`]: validated values. [`access_log`]: lines and their writer.
//! - [`worker`]: what the tasks of one thread share.
//! - [`downstream`], [`wire`]: the sockets to the client and to the upstream.
//! - [`upload`]: the request body. [`observe`]: the exactly-once guard.
//! - [`upstream`]: the pool and its retries. [`body`]: the response body.
//! - [`forward`]: one request, the file to read first.
//! - [`connection`], [`accept`]: one client connection; the accept loop.
//! - [`render`], [`admin`]: the page of a scrape; the metrics port.
//! - [`server`]: binds, owns the threads, runs, drains.
//!
//! # The way of a request
//!
//! `accept` → `connection` → `forward::handle` → `Observation::start` → `headers` → `Pool::send` →
//! (error answer | `ResponseBody`) → `Observation::end` at end of stream, error or drop →
//! `series` → `/metrics`.

pub mod accept;
pub mod access_log;
pub mod admin;
pub mod body;
pub mod buckets;
pub mod coalesce;
pub mod config;
pub mod connection;
pub mod downstream;
pub mod drain;
pub mod error;
pub mod exposition;
pub mod forward;
pub mod headers;
pub mod labels;
pub mod metrics;
pub mod observe;
pub mod paths;
pub mod render;
pub mod routes;
pub mod series;
pub mod server;
pub mod upload;
pub mod upstream;
pub mod wire;
pub mod worker;
