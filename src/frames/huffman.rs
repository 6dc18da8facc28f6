//! The lengths of texts in HPACK's Huffman code; the texts themselves are not needed.

use super::hpack::Broken;

/// How many codes there are of each length in bits, in ascending order of length.
///
/// # Source
///
/// RFC 7541 appendix B. The code is canonical: the codes of one length are consecutive numbers,
/// and those of the next length follow, so that the counts are enough to find where a code ends.
const CODES: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// The first number, in 32 bits from the left, that is beyond the codes of each length.
const LIMITS: [(u32, u64); 21] = limits();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn limits() -> [(u32, u64); 21] {
    let mut limits = [(0, 0); 21];
    let mut next = 0_u64;
    let mut at = 0;
    while at < CODES.len() {
        let (bits, count) = CODES[at];
        next += (count as u64) << (32 - bits);
        limits[at] = (bits, next);
        at += 1;
    }
    limits
}

/// 30 ones: the symbol that must not occur.
const END: u64 = ((1 << 30) - 1) << 2;
/// The code of `:`.
const COLON: u64 = 0x5c;
const COLON_BITS: u32 = 7;

/// A text that is being read.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Huffman {
    /// Bits that are not yet a whole symbol, from the left.
    bits: u64,
    held: u32,
    /// Symbols so far.
    pub(super) symbols: usize,
    /// The first symbol is a colon.
    pub(super) colon: bool,
}

impl Huffman {
    /// Reads one more byte.
    pub(super) fn read(&mut self, byte: u8) -> Result<(), Broken> {
        // At most 29 bits are held from before.
        self.bits |= u64::from(byte) << (56 - self.held);
        self.held += 8;
        loop {
            let top = self.bits >> 32;
            if self.held >= 30 && top & END == END {
                return Err(Broken);
            }
            let length =
                LIMITS.iter().find(|(_, limit)| top < *limit).map_or(30, |(bits, _)| *bits);
            // What is missing is zeros here: a longer code may still begin with these bits.
            if length > self.held {
                return Ok(());
            }
            if self.symbols == 0 {
                self.colon = length == COLON_BITS && top >> (32 - COLON_BITS) == COLON;
            }
            self.symbols += 1;
            self.bits <<= length;
            self.held -= length;
        }
    }

    /// The text ends: what is left is padding, less than a byte, all ones.
    pub(super) fn end(self) -> Result<Self, Broken> {
        let ones = !(u64::MAX >> self.held.min(63));
        if self.held < 8 && self.bits == ones { Ok(self) } else { Err(Broken) }
    }
}
