//! A pipe, by which the kernel moves bytes from one socket to another without a copy.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Room of a pipe. The kernel counts it in pieces of messages, at most a page each, and takes no
/// memory for it.
const ROOM_BYTES: usize = 1024 * 1024;

/// Both ends.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    ///
    /// There is no descriptor for it.
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // With less room, which is what is left where many pipes are open, less moves at a time.
        let _room = fcntl_setpipe_size(&write, ROOM_BYTES);
        Ok(Self { read, write })
    }

    /// Fills it from a socket, with at most `most` bytes; 0 at the socket's end.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(super) fn fill(&self, from: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(from, None, &self.write, None, most, SpliceFlags::NONBLOCK)?)
    }

    /// Empties it into a socket. Returns how many of its `count` bytes the socket has taken.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(super) fn empty_into(&self, to: impl AsFd, count: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, to, None, count, SpliceFlags::NONBLOCK)?)
    }

    /// Reads the last `count` bytes that are in it.
    ///
    /// # Errors
    ///
    /// The kernel's; what was not read is still there.
    pub(super) fn drain(&self, count: usize, rest: &mut Vec<u8>) -> io::Result<()> {
        let end = rest.len() + count;
        while rest.len() < end {
            rest.reserve_exact(end - rest.len());
            if rustix::io::read(&self.read, spare_capacity(rest))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
