//! One small write instead of a vectored one.
//!
//! Head and body of a message are separate slices. For a kilobyte the kernel's work for a
//! vectored write costs more than copying: `send` of one slice instead of `writev` of two.

use std::io::IoSlice;

/// Bytes up to which copying is cheaper; a typical head and a short body.
const MAX_BYTES: usize = 1024;

/// Runs `write` on one slice with all the bytes, if that is cheaper than a vectored write.
///
/// Never panics; the slices' order is kept.
pub(crate) fn coalesced<T>(slices: &[IoSlice<'_>], write: impl FnOnce(&[u8]) -> T) -> Option<T> {
    if let [only] = slices {
        return Some(write(only));
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > MAX_BYTES {
        return None;
    }
    let mut scratch = [0; MAX_BYTES];
    let mut length = 0;
    for slice in slices {
        scratch.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    scratch.get(..length).map(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slices_become_one_and_large_ones_stay() {
        let large = [b'x'; MAX_BYTES];
        let run = |slices: &[IoSlice<'_>]| coalesced(slices, <[u8]>::to_vec);
        assert_eq!(run(&[IoSlice::new(b"ab"), IoSlice::new(b"c")]), Some(b"abc".to_vec()));
        assert_eq!(run(&[IoSlice::new(&large), IoSlice::new(b"c")]), None);
        assert_eq!(run(&[IoSlice::new(&large)]), Some(large.to_vec()));
        assert_eq!(run(&[]), Some(Vec::new()));
    }
}
