//! One request from its head to its end.
//!
//! accept → `downstream` reads the head → `Request::new` names, observes and rewrites it →
//! `handle` gets a connection from `upstream` → `exchange` moves both directions, each a `body` →
//! `Observation::end` records it once.

pub mod body;
pub mod downstream;
pub mod error;
pub mod exchange;
pub mod handle;
pub mod keeper;
mod local_response;
pub mod observe;
pub mod request;
pub mod tunnel;
pub mod upstream;
pub mod worker;

#[cfg(test)]
mod tests;
