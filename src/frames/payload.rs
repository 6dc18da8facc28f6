//! What is looked at in a frame's payload.

use super::hpack::Blocks;
use super::{CONTINUATION, Fault, HEADERS, Head, PADDED, PRIORITISED, PRIORITY_BYTES, SETTINGS};

const INITIAL_WINDOW_SIZE: u64 = 4;
const MAX_WINDOW_BYTES: u64 = (1 << 31) - 1;

/// The rest of a frame's payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload {
    /// The length of the padding comes next.
    Padding { priority: usize, rest: usize },
    /// A part of a header block, with what is before and behind it.
    Block { before: usize, block: usize, behind: usize },
    /// Settings of six bytes each.
    Settings { left: usize, entry: u64 },
    /// Nothing to look at.
    Skip(usize),
}

impl Payload {
    /// # Errors
    ///
    /// [`Fault::FrameSize`]: it is too short for what must be in it.
    pub(super) fn new(head: Head) -> Result<Self, Fault> {
        let Head { length, kind, .. } = head;
        let priority = if head.has(PRIORITISED) { PRIORITY_BYTES } else { 0 };
        let short = Fault::FrameSize;
        Ok(match kind {
            HEADERS if head.has(PADDED) => {
                Self::Padding { priority, rest: length.checked_sub(1 + priority).ok_or(short)? }
            }
            HEADERS => {
                let block = length.checked_sub(priority).ok_or(short)?;
                Self::Block { before: priority, block, behind: 0 }
            }
            CONTINUATION => Self::Block { before: 0, block: length, behind: 0 },
            SETTINGS => Self::Settings { left: length, entry: 0 },
            _ => Self::Skip(length),
        })
    }

    pub(super) fn is_over(self) -> bool {
        match self {
            Self::Padding { .. } => false,
            Self::Block { before, block, behind } => before + block + behind == 0,
            Self::Settings { left, .. } | Self::Skip(left) => left == 0,
        }
    }

    /// Reads on, at least one byte; tells how many.
    pub(super) fn read(&mut self, bytes: &[u8], blocks: &mut Blocks) -> Result<usize, Fault> {
        let have = bytes.len();
        match self {
            Self::Padding { priority, rest } => {
                let behind = usize::from(bytes.first().copied().unwrap_or_default());
                let block = rest.checked_sub(behind).ok_or(Fault::Protocol)?;
                *self = Self::Block { before: *priority, block, behind };
                Ok(1)
            }
            Self::Block { before, .. } if *before > 0 => Ok(take(before, have)),
            Self::Block { block, .. } if *block > 0 => {
                let taken = take(block, have);
                let part = bytes.get(..taken).unwrap_or_default();
                blocks.read(part).map_err(|_broken| Fault::Compression)?;
                Ok(taken)
            }
            Self::Block { behind: left, .. } | Self::Skip(left) => Ok(take(left, have)),
            Self::Settings { left, entry } => {
                let taken = have.min(*left);
                for byte in bytes.iter().take(taken) {
                    *left -= 1;
                    *entry = *entry << 8 | u64::from(*byte);
                    if left.is_multiple_of(6) {
                        setting(*entry)?;
                    }
                }
                Ok(taken)
            }
        }
    }
}

fn take(left: &mut usize, have: usize) -> usize {
    let taken = have.min(*left);
    *left -= taken;
    taken
}

/// RFC 9113 §6.5.2: the other limits have the code that the library gives them.
fn setting(entry: u64) -> Result<(), Fault> {
    let exceeds = entry & u64::from(u32::MAX) > MAX_WINDOW_BYTES;
    let is_window = (entry >> 32) & u64::from(u16::MAX) == INITIAL_WINDOW_SIZE;
    if is_window && exceeds { Err(Fault::FlowControl) } else { Ok(()) }
}
