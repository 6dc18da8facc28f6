//! What HTTP says, as pure functions: heads and framing of HTTP/1, the messages of HTTP/2, how
//! heads are rewritten, and what a response says that goes to a client.
//!
//! No I/O, no clock, no await.

pub mod h1;
pub mod h2;
pub mod head;
pub mod response;
pub mod rewrite;
