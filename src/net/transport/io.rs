//! A connection as a library sees it that reads and writes by itself.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Transport;

/// What a peer answers to the preface of HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Its own preface.
    Http2,
    /// Something else.
    Other,
    /// Nothing: it closed.
    Nothing,
}

/// What is heard of a peer whose connection a library reads: its verdict, and when it last gave a
/// sign of life.
#[derive(Default)]
pub(crate) struct Hearing {
    verdict: Cell<Option<Verdict>>,
    /// Beats since the last byte.
    quiet: Cell<u8>,
    /// Messages went out since the last one came in.
    unanswered: Cell<u8>,
    /// Somebody waits for the next byte.
    awaited: Cell<bool>,
    heard: Notify,
}

impl Hearing {
    /// Takes note of bytes that arrived. Never panics.
    fn hear(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.quiet.set(0);
        if is_message(bytes) {
            self.unanswered.set(0);
        }
        self.settle(if begins_http2(bytes) { Verdict::Http2 } else { Verdict::Other });
        if self.awaited.replace(false) {
            self.heard.notify_waiters();
        }
    }

    /// Decides, if that has not happened.
    pub(crate) fn settle(&self, verdict: Verdict) {
        if self.verdict.get().is_none() {
            self.verdict.set(Some(verdict));
            self.heard.notify_waiters();
        }
    }

    /// Waits for the verdict.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(crate) async fn verdict(&self) -> Verdict {
        loop {
            let heard = self.heard.notified();
            if let Some(verdict) = self.verdict.get() {
                return verdict;
            }
            heard.await;
        }
    }

    /// Waits for the next byte.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only waits.
    pub(crate) async fn next(&self) {
        self.awaited.set(true);
        self.heard.notified().await;
    }

    /// Counts a beat; the connection's owner has a clock, this has none. Returns how many have
    /// passed since a byte came.
    pub(crate) fn beat(&self) -> u8 {
        let quiet = self.quiet.get().saturating_add(1);
        self.quiet.set(quiet);
        quiet
    }

    /// How many beats have passed since a byte came.
    pub(crate) fn quiet_beats(&self) -> u8 {
        self.quiet.get()
    }

    /// Counts a PING that is to be sent. Returns how many were since the peer last sent a message:
    /// its answers to PING are none.
    pub(crate) fn count_ping(&self) -> u8 {
        let unanswered = self.unanswered.get().saturating_add(1);
        self.unanswered.set(unanswered);
        unanswered
    }
}

/// An HTTP/2 server begins with a SETTINGS frame (RFC 9113 §3.4); HTTP/1 with a letter.
fn begins_http2(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    match bytes {
        [first, _, _, kind, ..] => *first == 0 && *kind == SETTINGS,
        [first, ..] => *first == 0,
        [] => false,
    }
}

/// Tells whether what was read has more than a frame of the connection itself, such as the answer
/// to a PING: DATA or HEADERS in front, or more than a few such frames.
fn is_message(bytes: &[u8]) -> bool {
    const SOME_FRAMES_BYTES: usize = 64;
    const HEADERS: u8 = 1;
    bytes.len() > SOME_FRAMES_BYTES || bytes.get(3).is_some_and(|kind| *kind <= HEADERS)
}

/// A shared connection with the traits of a socket.
pub(crate) struct TransportIo {
    transport: Rc<Transport>,
    hearing: Option<Rc<Hearing>>,
}

impl TransportIo {
    /// Reads and writes `transport`; shows what arrives to `hearing`.
    pub(crate) fn new(transport: &Rc<Transport>, hearing: Option<&Rc<Hearing>>) -> Self {
        Self { transport: Rc::clone(transport), hearing: hearing.map(Rc::clone) }
    }
}

impl AsyncRead for TransportIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Libraries move connections between tasks.
        self.transport.change_reader();
        let before = buffer.filled().len();
        ready!(self.transport.poll_read_buf(cx, buffer))?;
        if let Some(hearing) = &self.hearing {
            hearing.hear(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TransportIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.transport.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.transport.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_shutdown(cx)
    }
}
