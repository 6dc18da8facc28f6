//! Bytes and sockets: connecting, transports, TLS, timers. Knows no HTTP.

pub use self::accept_queue::{AcceptQueue, Unseen, Waiting};
pub use self::connect::Dialer;
pub use self::tls::{Connector, Date, Files, HandshakeError, Identity, Port, TlsContexts};

pub(crate) mod accept_queue;
pub(crate) mod address;
pub(crate) mod budget;
pub(crate) mod coalesce;
pub(crate) mod connect;
pub mod file;
pub(crate) mod timer;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod turn;
