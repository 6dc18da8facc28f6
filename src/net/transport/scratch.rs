//! What the connections of a worker move bytes with, one at a time.

use std::ops::{Deref, DerefMut};

use super::MAX_READ_BYTES;
use super::pipe::Pipe;

/// Bytes of a read that awaits a head. Nearly all heads and small bodies are in one.
const HEAD_READ_BYTES: usize = 16 * 1024;

/// Bytes that pass from socket to socket at a time, at most and at least.
const MAX_PASS_BYTES: usize = 256 * 1024;
const LEAST_PASS_BYTES: usize = 16 * 1024;

/// How much more may pass after a piece that came through whole.
const GROWTH_BYTES: usize = 1024;

/// A buffer for what is read, and a pipe for what passes through the kernel. Neither holds anything
/// between two polls.
pub(crate) struct Scratch {
    bytes: Box<[u8]>,
    pipe: Option<Pipe>,
    /// How many bytes may pass at a time.
    most_bytes: usize,
}

impl Scratch {
    /// A buffer as large as one read.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; MAX_READ_BYTES].into(), pipe: None, most_bytes: MAX_PASS_BYTES }
    }

    /// Room for the read that a head is awaited with: a head, and a small body behind it. More of
    /// a body would be copied, which has better ways to go.
    pub(crate) fn head_room(&mut self) -> &mut [u8] {
        let (room, _) = self.bytes.split_at_mut(HEAD_READ_BYTES);
        room
    }

    /// How many bytes may pass at a time.
    pub(super) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Notes whether a recipient has taken all that its socket said it had room for. Where the
    /// kernel runs out of memory for sockets it has not, and what it does not take has to be kept
    /// here. So pieces halve with each that is kept, whoever it is for, and grow back slowly.
    pub(super) fn note(&mut self, is_whole: bool) {
        self.most_bytes = if is_whole {
            (self.most_bytes + GROWTH_BYTES).min(MAX_PASS_BYTES)
        } else {
            (self.most_bytes / 2).max(LEAST_PASS_BYTES)
        };
    }

    /// An empty pipe, if there is one to be had. Whoever takes it gives it back only if it is empty
    /// again: what is left in it would go to somebody else's peer.
    pub(super) fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipe.take().or_else(|| Pipe::new().ok())
    }

    /// Gives an empty pipe back.
    pub(super) fn put_back(&mut self, empty: Pipe) {
        self.pipe = Some(empty);
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_passes_at_a_time_while_sockets_take_less_than_they_said() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.most_bytes(), MAX_PASS_BYTES);
        scratch.note(false);
        assert_eq!(scratch.most_bytes(), MAX_PASS_BYTES / 2);
        scratch.note(true);
        assert_eq!(scratch.most_bytes(), MAX_PASS_BYTES / 2 + GROWTH_BYTES);
        (0..100).for_each(|_| scratch.note(false));
        assert_eq!(scratch.most_bytes(), LEAST_PASS_BYTES);
        (0..1000).for_each(|_| scratch.note(true));
        assert_eq!(scratch.most_bytes(), MAX_PASS_BYTES);
    }
}
