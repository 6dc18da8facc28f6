//! The tables of header compression, without their contents: how long each name and value is.

use std::collections::VecDeque;

use super::hpack::{Broken, Name};

/// What we let a client's table grow to: the default, as our SETTINGS name no other.
const MAX_TABLE_BYTES: usize = 4096;
/// RFC 7541 §4.1: what an entry costs beside its texts.
const ENTRY_BYTES: usize = 32;
/// The static table's names, from its beginning, that are pseudo-fields.
const PSEUDO_NAMES: usize = 14;

/// Bytes of each name of the static table.
///
/// # Source
///
/// RFC 7541 appendix A.
const STATIC: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

/// The dynamic table, the newest entry first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<(Name, usize)>,
    pub(super) bytes: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit: MAX_TABLE_BYTES }
    }

    /// The name of an entry of both tables, counted from 1.
    pub(super) fn name(&self, index: usize) -> Option<Name> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some(bytes) => Some(Name { bytes: usize::from(*bytes), pseudo: index < PSEUDO_NAMES }),
            None => self.entries.get(index - STATIC.len()).map(|(name, _)| *name),
        }
    }

    /// RFC 7541 §4.4: an entry that is larger than the table empties it.
    pub(super) fn insert(&mut self, name: Name, value_bytes: usize) {
        let size = size(name, value_bytes);
        self.shrink(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.bytes += size;
            self.entries.push_front((name, value_bytes));
        }
    }

    pub(super) fn resize(&mut self, limit: usize) -> Result<(), Broken> {
        if limit > MAX_TABLE_BYTES {
            return Err(Broken);
        }
        self.limit = limit;
        self.shrink(limit);
        Ok(())
    }

    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some((name, value_bytes)) = self.entries.pop_back()
        {
            self.bytes -= size(name, value_bytes);
        }
    }
}

fn size(name: Name, value_bytes: usize) -> usize {
    name.bytes + value_bytes + ENTRY_BYTES
}
