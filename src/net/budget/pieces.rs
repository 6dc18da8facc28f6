//! The beginning of what is wanted whole.

use std::rc::Rc;

use super::{Charge, Full, Holder};

/// A page: the allocator has no smaller unit to give back.
const BLOCK_BYTES: usize = 4 * 1024;

/// Bytes that come in pieces and are of use only together, charged to their connection.
///
/// In blocks of one size, so that what one peer gives back is room for the next. Of a buffer that
/// grows the allocator would keep each size that it once had: half as much again, and up to the
/// whole (measured).
#[derive(Debug)]
pub(crate) struct Pieces {
    /// All full, but for the last.
    blocks: Vec<Vec<u8>>,
    charge: Charge,
}

impl Pieces {
    /// Nothing so far.
    pub(crate) fn new(holder: &Rc<Holder>) -> Self {
        Self { blocks: Vec::new(), charge: holder.charge() }
    }

    /// Tells whether nothing has come so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many bytes have come.
    pub(crate) fn len(&self) -> usize {
        let last = self.blocks.last().map_or(0, Vec::len);
        self.blocks.len().saturating_sub(1) * BLOCK_BYTES + last
    }

    /// Adds bytes, if there is room.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was added.
    pub(crate) fn try_extend(&mut self, mut more: &[u8]) -> Result<(), Full> {
        let len = self.len() + more.len();
        let small = len.next_power_of_two();
        let cost = if small < BLOCK_BYTES { small } else { len.next_multiple_of(BLOCK_BYTES) };
        self.charge.try_set(cost)?;
        while !more.is_empty() {
            let mut block = self.blocks.pop_if(|last| last.len() < BLOCK_BYTES).unwrap_or_default();
            let (now, later) = more.split_at(more.len().min(BLOCK_BYTES - block.len()));
            let room = (block.len() + now.len()).next_power_of_two();
            block.reserve_exact(room - block.len());
            block.extend_from_slice(now);
            self.blocks.push(block);
            more = later;
        }
        Ok(())
    }

    /// Takes all bytes, and `last` behind them, to be used at once.
    pub(crate) fn take_with(&mut self, last: &[u8]) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len() + last.len());
        self.blocks.drain(..).for_each(|block| all.extend_from_slice(&block));
        all.extend_from_slice(last);
        self.blocks = Vec::new();
        self.charge.set(0);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::budget::{Budget, Holders};

    #[test]
    fn what_comes_in_pieces_is_whole_again_and_takes_whole_pages() {
        for piece in [1, 7, 100, 4095, 4096, 4097, 16_384, 70_000] {
            let holder = Holders::new(Budget::new(1 << 20)).open();
            let sent: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0] ^ 7).collect();
            let mut pieces = Pieces::new(&holder);
            assert!(pieces.is_empty());
            for bytes in sent.chunks(piece) {
                pieces.try_extend(bytes).unwrap();
            }
            assert_eq!(pieces.len(), sent.len(), "{piece}");
            assert!(pieces.blocks.iter().all(|block| block.capacity() <= BLOCK_BYTES));
            let room: usize = pieces.blocks.iter().map(Vec::capacity).sum();
            assert!(room <= holder.bytes() && holder.bytes() < sent.len() + BLOCK_BYTES);
            assert_eq!(pieces.take_with(b"end"), [&sent[..], b"end"].concat());
            assert_eq!((pieces.len(), holder.bytes()), (0, 0));
        }
    }

    #[test]
    fn what_has_no_room_is_not_added() {
        let all = Holders::new(Budget::new(40 << 10));
        let (one, other) = (all.open(), all.open());
        let mut pieces = Pieces::new(&one);
        pieces.try_extend(&vec![1; 20_000]).unwrap();
        assert_eq!(Pieces::new(&other).try_extend(&vec![2; 40_000]), Err(Full));
        assert_eq!(pieces.try_extend(&vec![1; 40_000]), Err(Full));
        assert_eq!((pieces.len(), all.budget().held_bytes()), (20_000, 20_480));
    }
}
