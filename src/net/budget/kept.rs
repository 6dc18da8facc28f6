//! Bytes that are kept for a peer.

use std::ops::Deref;
use std::rc::Rc;

use super::{Charge, Holder};

/// Bytes whose number a peer chooses, charged to its connection while they are kept. Bytes that
/// outlive a poll belong into one of these.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Kept {
    /// Nothing so far.
    pub(crate) fn new(holder: &Rc<Holder>) -> Self {
        Self { bytes: Vec::new(), charge: holder.charge() }
    }

    /// Adds bytes. They cannot be refused any more: who can asks for room before he reads.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        self.charge.set(self.bytes.capacity());
    }

    /// Puts bytes before all others.
    pub(crate) fn prepend(&mut self, bytes: &[u8]) {
        self.bytes.splice(..0, bytes.iter().copied());
        self.charge.set(self.bytes.capacity());
    }

    /// Takes all bytes, to be used at once.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.charge.set(0);
        std::mem::take(&mut self.bytes)
    }

    /// Forgets the first `count` bytes; room beyond `keep_bytes` is given back with the last.
    pub(crate) fn consume(&mut self, count: usize, keep_bytes: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > keep_bytes {
            drop(self.take());
        }
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
