//! redcar: RED metrics (rate, errors, duration) per path, from a sidecar.
//!
//! A reverse proxy in front of one unmodified HTTP backend. It forwards every request, counts
//! each exactly once by method, path and status, and shows the numbers to Prometheus on a port of
//! its own. The `proxy` binary wires command line, logging and signals to this library.
//!
//! # Rooms
//!
//! - [`paths`]: a path becomes a label.
//! - [`http`]: what HTTP says, as pure functions.
//! - [`net`]: bytes and sockets; knows no HTTP.
//! - [`metrics`]: labels, the catalogue, the store, the page of a scrape; knows no request.
//! - [`config`]: validated values.
//! - [`names`]: names of paths from elsewhere: other replicas, a Prometheus, the app itself.
//! - [`proxy`]: one request from its head to its end.
//! - [`logs`]: lines for people. [`shutdown`]: who it waits for.
//! - [`admin`]: the metrics port. [`server`]: binds, owns the threads, runs, drains.
//!
//! Which room may use which stands in one table of `tests/tidy.rs`.
//!
//! # The way of a request
//!
//! `accept` → `connection` → `Request::new` (name, observe, rewrite) → `forward::handle` →
//! `Exchange` (send, answer, stream) → `Observation::end` at end of stream, error or drop →
//! `series` → `/metrics`.

pub mod admin;
pub mod config;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod net;
pub mod paths;
pub mod proxy;
pub mod server;
pub(crate) mod shutdown;
