//! The sidecar as its neighbours see it: real sockets, raw bytes in, raw bytes out.
//!
//! Each test starts a sidecar and a backend of its own on free ports, so that all run in parallel.
//! Nothing sleeps to wait for something: what has to happen is awaited with a deadline. Each test
//! ends with `Sidecar::ends_after(n)`: n requests were counted, each once, and none is in flight.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness fails a test by panicking; clippy.toml allows it in test functions only"
)]
#![expect(clippy::disallowed_types, reason = "real sockets need the real clock")]

// The harness.
mod backend;
mod client;
mod frames;
mod http2;
mod message;
mod scrape;
mod sidecar;

// The claims.
mod addresses;
mod asked_names;
mod both;
mod corpus;
mod draining;
mod endings;
mod exclusions;
mod fields;
mod floods;
mod forwarding;
mod framing;
mod interim;
mod metrics_port;
mod naming;
mod objectives;
mod path_list;
mod program;
mod rejections;
mod reloading;
mod retries;
mod room;
mod several_ports;
mod streaming;
mod targets;
mod timeouts;
mod upgrades;
mod upstream_frames;
mod upstream_health;
mod upstream_tls;
mod waiting;
