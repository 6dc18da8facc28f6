//! One request from its head to its end.
//!
//! accept → `downstream` reads the head → `Request::new` names, observes and rewrites it →
//! `handle` gets a connection from `upstream` → `exchange` moves both directions, each a `body` →
//! `Observation::end` records it once.

pub use self::error::ProxyError;

pub(crate) mod body;
pub(crate) mod downstream;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod handle;
pub(crate) mod keeper;
mod local_response;
pub(crate) mod observe;
pub(crate) mod request;
pub(crate) mod tunnel;
pub(crate) mod upstream;
pub(crate) mod worker;

#[cfg(test)]
mod tests;
