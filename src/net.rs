//! Bytes and sockets: connecting, transports, TLS, timers. Knows no HTTP.

pub mod address;
pub mod budget;
pub mod coalesce;
pub mod connect;
pub mod file;
pub mod timer;
pub mod tls;
pub mod transport;
pub mod turn;
