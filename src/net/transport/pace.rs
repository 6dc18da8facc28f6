//! How bytes are best moved from one connection to another.

use super::{MAX_READ_BYTES, Passed};

/// What a sender has to have sent at a time to be worth the system calls of a passage.
const LEAST_BYTES: usize = 16 * 1024;

/// The next piece of one direction, by how the last one went.
///
/// To read and to write costs two system calls, and two copies. To pass costs four calls and no
/// copy, and keeps nothing for a recipient that does not take it: for what flows, and for who does
/// not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// It is read and written, and what is not taken is kept.
    Read,
    /// It is passed, where both sides can.
    Pass,
}

impl Pace {
    /// The first piece of so many bytes.
    #[must_use]
    pub(crate) fn first(bytes: u64) -> Self {
        if bytes >= MAX_READ_BYTES as u64 { Self::Pass } else { Self::Read }
    }

    /// A piece was read; `is_kept` if not all of it was taken.
    #[must_use]
    pub(crate) fn after_read(count: usize, is_kept: bool) -> Self {
        if is_kept || count >= MAX_READ_BYTES { Self::Pass } else { Self::Read }
    }

    /// It was tried to pass a piece; `is_kept` if not all of it was taken.
    #[must_use]
    pub(crate) fn after_pass(passed: Passed, is_kept: bool) -> Self {
        match passed {
            Passed::Bytes(count) if count < LEAST_BYTES && !is_kept => Self::Read,
            Passed::Bytes(_) | Passed::End | Passed::NotThere | Passed::NotTaken => Self::Pass,
            Passed::Unable => Self::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn what_flows_passes_and_what_comes_in_small_pieces_is_read() {
        assert_eq!(Pace::first(63 * 1024), Pace::Read);
        assert_eq!(Pace::first(64 * 1024), Pace::Pass);
        assert_eq!(Pace::after_read(KIB, false), Pace::Read);
        assert_eq!(Pace::after_read(64 * KIB, false), Pace::Pass);
        assert_eq!(Pace::after_pass(Passed::Bytes(64 * KIB), false), Pace::Pass);
        assert_eq!(Pace::after_pass(Passed::Bytes(KIB), false), Pace::Read);
        assert_eq!(Pace::after_pass(Passed::Unable, false), Pace::Read);
    }

    #[test]
    fn nothing_is_read_for_who_does_not_take_it() {
        assert_eq!(Pace::after_read(KIB, true), Pace::Pass);
        assert_eq!(Pace::after_pass(Passed::Bytes(KIB), true), Pace::Pass);
        for nothing in [Passed::End, Passed::NotThere, Passed::NotTaken] {
            assert_eq!(Pace::after_pass(nothing, false), Pace::Pass);
        }
    }
}
