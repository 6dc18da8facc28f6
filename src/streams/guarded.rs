//! A client's connection, whose frames are watched before the library reads them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frames::{Fault, Frames};
use crate::wire::LinkIo;

/// The breach that was found, for the task that owns the connection.
#[derive(Default)]
pub(super) struct Found(Cell<Option<Fault>>);

impl Found {
    /// The breach, if there is one.
    pub(super) fn get(&self) -> Option<Fault> {
        self.0.get()
    }
}

/// Hands bytes on up to the first frame that breaks a rule; from then on nothing more comes.
pub(super) struct Guarded {
    io: LinkIo,
    frames: Frames,
    found: Rc<Found>,
}

impl Guarded {
    /// Watches what `io` reads, and tells `found` of a breach.
    pub(super) fn new(io: LinkIo, found: &Rc<Found>) -> Self {
        Self { io, frames: Frames::new(), found: Rc::clone(found) }
    }
}

impl AsyncRead for Guarded {
    /// Pending for good after a breach, without a waker: whoever polls the library looks at
    /// [`Found`] next.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.found.get().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let new = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if let Err((good, fault)) = this.frames.watch(new) {
            this.found.0.set(Some(fault));
            buffer.set_filled(before + good);
            if good == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
