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
//! - [`labels`], [`exposition`], [`paths`], [`drain`], [`coalesce`], [`h1`],
//!   [`timer`]: closed label sets; text encoding; path → template; shutdown; small writes; HTTP/1
//!   syntax; a connection's timer. Pure: no I/O.
//! - [`tls`], [`lines`], [`seldom`], [`headers`]: certificates and handshakes, on both sides; who
//!   writes log lines; how often, where peers cause them; header rewriting, the only bytes that are
//!   changed.
//! - [`error`], [`buckets`], [`routes`]: error → status and token; histogram bounds; where pinned
//!   templates come from.
//! - [`series`]: the store of the hot family. [`metrics`]: the catalogue and the cold metrics.
//! - [`config`]: validated values. [`access_log`]: lines and their writer.
//! - [`worker`]: what the tasks of one thread share.
//! - [`wire`]: a connection as bytes. [`pump`], [`resolve`]: a body from one connection to
//!   another; the upstream's address. [`downstream`]: a client's side of an exchange.
//! - [`observe`]: the exactly-once guard. [`upstream`]: the pool. [`tunnel`]: after a 101.
//! - [`request`], [`exchange`]: a request ready to be sent; both directions at once.
//! - [`forward`]: one request, the file to read first.
//! - [`streams`], [`connection`]: one client connection, in HTTP/2 and in HTTP/1.
//! - [`accept`]: the accept loop.
//! - [`render`], [`admin`]: the page of a scrape; the metrics port.
//! - [`server`]: binds, owns the threads, runs, drains.
//!
//! # The way of a request
//!
//! `accept` → `connection` → `Request::new` (name, observe, rewrite) → `forward::handle` →
//! `Exchange` (send, answer, stream) → `Observation::end` at end of stream, error or drop →
//! `series` → `/metrics`.

pub mod accept;
pub mod access_log;
pub mod admin;
pub mod buckets;
pub mod coalesce;
pub mod config;
pub mod connection;
pub mod downstream;
pub mod drain;
pub mod error;
pub mod exchange;
pub mod exposition;
pub mod forward;
pub mod h1;
pub mod headers;
pub mod labels;
pub mod lines;
pub mod metrics;
pub mod observe;
pub mod paths;
pub mod pump;
pub mod render;
pub mod request;
pub mod resolve;
pub mod routes;
pub mod seldom;
pub mod series;
pub mod server;
pub mod streams;
pub mod timer;
pub mod tls;
pub mod tunnel;
pub mod upstream;
pub mod wire;
pub mod worker;
