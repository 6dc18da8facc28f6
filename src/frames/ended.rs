//! The streams that the client has ended, so far as they are remembered.

/// More than a client may have open at one time, so that none of those is forgotten.
const REMEMBERED: usize = 256;

/// The last streams that the client sent the end of, or reset. An older one is not known any more.
#[derive(Debug)]
pub(super) struct Ended {
    /// 0 where there is none yet.
    streams: Box<[u32; REMEMBERED]>,
    next: usize,
}

impl Default for Ended {
    fn default() -> Self {
        Self { streams: Box::new([0; REMEMBERED]), next: 0 }
    }
}

impl Ended {
    /// Remembers a stream, and forgets the one that was remembered for longest.
    pub(super) fn insert(&mut self, stream: u32) {
        if !self.contains(stream)
            && let Some(slot) = self.streams.get_mut(self.next)
        {
            *slot = stream;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }

    /// Tells whether a stream is remembered. Stream 0 never is.
    pub(super) fn contains(&self, stream: u32) -> bool {
        stream != 0 && self.streams.contains(&stream)
    }
}
