//! One small write instead of a vectored one.
//!
//! hyper hands head and body over as separate slices. For a kilobyte the kernel's work for a
//! vectored write costs more than copying: `send` of one slice instead of `writev` of two.

use std::io::IoSlice;

/// Bytes up to which copying is cheaper; a typical head and a short body.
const MAX_BYTES: usize = 1024;

/// What a vectored write should become.
pub enum Write<'a> {
    /// One slice.
    Single(&'a [u8]),
    /// All slices as they are.
    Vectored,
}

/// Space for a coalesced write.
pub struct Scratch([u8; MAX_BYTES]);

impl Scratch {
    /// Zeroed space.
    pub fn new() -> Self {
        Self([0; MAX_BYTES])
    }

    /// Copies small slices together. Never panics; the slices' order is kept.
    pub fn coalesce<'a>(&'a mut self, slices: &'a [IoSlice<'_>]) -> Write<'a> {
        if let [only] = slices {
            return Write::Single(only);
        }
        let mut length = 0;
        for slice in slices {
            let Some(space) = self.0.get_mut(length..length + slice.len()) else {
                return Write::Vectored;
            };
            space.copy_from_slice(slice);
            length += slice.len();
        }
        self.0.get(..length).map_or(Write::Vectored, Write::Single)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slices_become_one_and_large_ones_stay() {
        let large = [b'x'; MAX_BYTES];
        let mut scratch = Scratch::new();
        let both = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
        assert!(matches!(scratch.coalesce(&both), Write::Single(b"abc")));
        let over = [IoSlice::new(&large), IoSlice::new(b"c")];
        assert!(matches!(scratch.coalesce(&over), Write::Vectored));
        let one = [IoSlice::new(&large)];
        assert!(matches!(scratch.coalesce(&one), Write::Single(bytes) if bytes.len() == MAX_BYTES));
        assert!(matches!(scratch.coalesce(&[]), Write::Single(b"")));
    }
}
