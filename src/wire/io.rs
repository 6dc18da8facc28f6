//! A connection as a library sees it that reads and writes by itself.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Link;

/// What the first bytes of a peer say: whether it speaks HTTP/2.
#[derive(Default)]
pub struct FirstBytes {
    verdict: Cell<Option<bool>>,
    heard: Notify,
}

impl FirstBytes {
    /// An HTTP/2 server begins with a SETTINGS frame (RFC 9113 §3.4); HTTP/1 with a letter.
    fn look(&self, bytes: &[u8]) {
        const SETTINGS: u8 = 4;
        if self.verdict.get().is_none() && !bytes.is_empty() {
            let is_frame = match bytes {
                [first, _, _, kind, ..] => *first == 0 && *kind == SETTINGS,
                [first, ..] => *first == 0,
                [] => false,
            };
            self.settle(is_frame);
        }
    }

    /// Decides, if that has not happened.
    pub fn settle(&self, speaks_http2: bool) {
        if self.verdict.get().is_none() {
            self.verdict.set(Some(speaks_http2));
            self.heard.notify_one();
        }
    }

    /// Waits for the verdict. One caller.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub async fn verdict(&self) -> bool {
        loop {
            if let Some(verdict) = self.verdict.get() {
                return verdict;
            }
            self.heard.notified().await;
        }
    }
}

/// A shared connection with the traits of a socket.
pub struct LinkIo {
    link: Rc<Link>,
    first: Option<Rc<FirstBytes>>,
}

impl LinkIo {
    /// Reads and writes `link`; shows the first bytes that arrive to `first`.
    pub fn new(link: &Rc<Link>, first: Option<&Rc<FirstBytes>>) -> Self {
        Self { link: Rc::clone(link), first: first.map(Rc::clone) }
    }
}

impl AsyncRead for LinkIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Libraries move connections between tasks.
        self.link.change_reader();
        // The caller reuses its buffer, so this fills it with zeros once.
        let room = buffer.initialize_unfilled();
        let count = ready!(self.link.poll_read(cx, room))?;
        if let Some(first) = &self.first {
            first.look(room.get(..count).unwrap_or_default());
        }
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_shutdown(cx)
    }
}
