//! Where a body goes.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::http::h1::Field;
use crate::http::rewrite::Fields;
use crate::net::budget::{Charge, Holder};
use crate::net::transport::{PassError, Passed, Scratch, Transport};

/// How a body is delimited on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delimiter {
    /// As the head says, or by the end of the connection: data as it is.
    Plain,
    /// Chunks.
    Chunked,
}

/// A message on its way out: its head, then its body.
pub(crate) struct Http1Sink {
    transport: Rc<Transport>,
    delimiter: Delimiter,
    /// Bytes that the socket has not taken yet, from `at`.
    out: Vec<u8>,
    at: usize,
    /// What was to pass was not taken, and waits on the side that it comes from.
    is_full: bool,
    charge: Charge,
    /// Bytes that the socket has taken.
    pub written_bytes: u64,
}

impl Http1Sink {
    /// A message whose head is `head`, to go over `transport`.
    pub(crate) fn new(transport: &Rc<Transport>, head: Vec<u8>, delimiter: Delimiter) -> Self {
        Self::charged(transport, transport.holder(), head, delimiter)
    }

    /// The same; what is kept is charged to somebody else.
    pub(crate) fn charged(
        transport: &Rc<Transport>,
        holder: &Rc<Holder>,
        head: Vec<u8>,
        delimiter: Delimiter,
    ) -> Self {
        let charge = holder.charge();
        charge.set(head.capacity());
        Self {
            transport: Rc::clone(transport),
            delimiter,
            out: head,
            at: 0,
            is_full: false,
            charge,
            written_bytes: 0,
        }
    }

    /// How much should be read at once of what goes here.
    pub(super) fn piece_bytes(&self, wanted: usize) -> usize {
        self.charge.holder().piece_bytes(wanted)
    }

    /// Sends the same head over another connection. Only before any body.
    pub(crate) fn resend(&mut self, transport: &Rc<Transport>) {
        self.transport = Rc::clone(transport);
        self.at = 0;
    }

    /// Takes what waits for the socket, to go before something else.
    pub(crate) fn take_waiting(&mut self) -> Vec<u8> {
        let waiting = self.out.split_off(self.at.min(self.out.len()));
        self.put(Vec::new());
        waiting
    }

    /// Puts bytes in place of what waits.
    pub(crate) fn put(&mut self, out: Vec<u8>) {
        self.charge.set(out.capacity());
        self.out = out;
        self.at = 0;
    }

    /// Tells whether something waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_full || self.at < self.out.len()
    }

    /// Tells whether data goes out as it is.
    pub(super) fn is_plain(&self) -> bool {
        self.delimiter == Delimiter::Plain
    }

    /// Passes at most `most` bytes of data on from another connection, when all that waited was
    /// written.
    ///
    /// # Errors
    ///
    /// Those of either socket.
    pub(super) fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &Transport,
        most: usize,
        scratch: &mut Scratch,
    ) -> Result<Passed, PassError> {
        let mut rest = Vec::new();
        let passed = from.pass(cx, &self.transport, most, (scratch, &mut rest))?;
        self.is_full = passed == Passed::NotTaken;
        if let Passed::Bytes(count) = passed {
            self.written_bytes += (count - rest.len()) as u64;
            self.put(rest);
        }
        Ok(passed)
    }

    /// Writes what waits.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.out.get(self.at..).filter(|waiting| !waiting.is_empty()) {
            let count = ready!(self.transport.poll_write(cx, &[IoSlice::new(waiting)]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += count;
            self.written_bytes += count as u64;
        }
        self.transport.poll_flush(cx)
    }

    /// Sends data; with `end`, the body's end and its trailers. What the socket does not take is
    /// kept for [`Self::poll_flush`].
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[Field<'_>]>,
    ) -> io::Result<()> {
        let (mut size, mut tail) = (SizeLine::default(), Vec::new());
        if self.delimiter == Delimiter::Chunked {
            if !data.is_empty() {
                size.set(data.len());
                tail.extend_from_slice(b"\r\n");
            }
            if let Some(trailers) = end {
                tail.extend_from_slice(b"0\r\n");
                for field in trailers {
                    tail.field(field.name, field.value);
                }
                tail.extend_from_slice(b"\r\n");
            }
        }
        let waiting = self.out.get(self.at..).unwrap_or_default();
        let mut slices = [waiting, size.as_bytes(), data, &tail].map(IoSlice::new);
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, 0);
        let mut result = Ok(());
        while !slices.is_empty() && result.is_ok() {
            match self.transport.poll_write(cx, slices) {
                Poll::Ready(Ok(0)) => result = Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written_bytes += count as u64;
                    IoSlice::advance_slices(&mut slices, count);
                }
                Poll::Ready(Err(error)) => result = Err(error),
                Poll::Pending => break,
            }
        }
        // Kept after an error, too: if nothing was sent, all of it may go over another connection.
        // Exactly as much room as it takes: a recipient may leave it lying for long.
        let mut rest = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        for slice in slices.iter() {
            rest.extend_from_slice(slice);
        }
        self.put(rest);
        result
    }
}

/// `1a\r\n`: the line before a chunk, without allocation.
#[derive(Default)]
struct SizeLine {
    bytes: [u8; 18],
    length: usize,
}

impl SizeLine {
    fn set(&mut self, size: usize) {
        let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
        let line = (0..digits).rev().map(|place| {
            let digit = u32::try_from(size >> (4 * place) & 0xf).unwrap_or(0);
            char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8)
        });
        self.length = 0;
        for (to, byte) in self.bytes.iter_mut().zip(line.chain(*b"\r\n")) {
            *to = byte;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_line_is_hexadecimal() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            let mut line = SizeLine::default();
            line.set(size);
            assert_eq!(line.as_bytes(), format!("{size:x}\r\n").as_bytes());
        }
    }
}
