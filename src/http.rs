//! What HTTP says, as pure functions: heads and framing of HTTP/1, and how heads are rewritten.
//!
//! No I/O, no clock, no await.

pub mod h1;
pub mod rewrite;
