//! HTTP/1 as clients and app of a conversation read it, independent of the proxy's parsers; and the
//! bytes that bodies are made of.

use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::LazyLock;

use tokio::sync::Notify;

use super::script::{Framing, Ms};
use crate::net::transport::memory::MemorySocket;

/// How a peer's side of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Fin,
    Reset,
}

/// Something that happens once.
#[derive(Default)]
pub(super) struct Event {
    happened: Cell<bool>,
    notify: Notify,
}

impl Event {
    pub(super) fn set(&self) {
        self.happened.set(true);
        self.notify.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.happened.get()
    }

    pub(super) async fn wait(&self) {
        while !self.happened.get() {
            self.notify.notified().await;
        }
    }
}

/// Bytes that no two bodies share at the same place.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        b'!' + (state % 90) as u8
    };
    (0..200_003).map(|_| next()).collect()
});

/// A body, as it is sent or checked.
pub(super) struct Content {
    start: usize,
    pub(super) count: usize,
    pub(super) is_intact: bool,
}

impl Content {
    /// The body of a request (`way` 0), an answer (1), or what a tunnel carries either way (2, 3).
    pub(super) fn new(id: usize, way: usize) -> Self {
        Self { start: id * 7919 + way * 50_021, count: 0, is_intact: true }
    }

    fn slice(&self, most: usize) -> &'static [u8] {
        let at = (self.start + self.count) % BYTES.len();
        &BYTES[at..(at + most).min(BYTES.len())]
    }

    /// The next bytes to send.
    pub(super) fn next(&mut self, most: usize) -> &'static [u8] {
        let bytes = self.slice(most);
        self.count += bytes.len();
        bytes
    }

    /// Compares what was received.
    pub(super) fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = self.slice(bytes.len());
            let (now, later) = bytes.split_at(expected.len());
            self.is_intact &= now == expected;
            self.count += now.len();
            bytes = later;
        }
    }
}

/// Lines and bodies of one connection.
pub(super) struct Reader<'a> {
    socket: &'a MemorySocket,
    buffer: Vec<u8>,
    at: usize,
}

/// A head: its first line and its fields, names in lower case.
pub(super) struct Head {
    pub(super) line: String,
    pub(super) fields: Vec<(String, String)>,
}

impl Head {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Tells whether Connection says so.
    pub(super) fn connection(&self, option: &str) -> bool {
        let value = self.field("connection").unwrap_or("").to_ascii_lowercase();
        value.split(',').any(|item| item.trim() == option)
    }

    pub(super) fn framing(&self, otherwise: Framing) -> (Framing, usize) {
        if self.field("transfer-encoding").is_some() {
            return (Framing::Chunked, 0);
        }
        match self.field("content-length") {
            Some(length) => (Framing::Length, length.parse().expect("a length")),
            None => (otherwise, 0),
        }
    }
}

/// A pause in reading, behind so many bytes.
pub(super) type Stall = Option<(usize, Ms)>;

impl<'a> Reader<'a> {
    pub(super) fn new(socket: &'a MemorySocket) -> Self {
        Self { socket, buffer: Vec::new(), at: 0 }
    }

    /// Tells whether something of the peer's was left unread.
    pub(super) fn has_some(&self) -> bool {
        self.at < self.buffer.len()
    }

    /// Waits for more bytes. Nothing is lost if it is dropped.
    pub(super) async fn more(&mut self) -> Result<(), End> {
        let mut room = [0; 8 * 1024];
        match self.socket.read(&mut room).await {
            Ok(0) => Err(End::Fin),
            Ok(count) => {
                self.buffer.drain(..self.at);
                self.at = 0;
                self.buffer.extend_from_slice(&room[..count]);
                Ok(())
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                Err(End::Reset)
            }
        }
    }

    async fn line(&mut self) -> Result<String, End> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_owned();
                self.at += end + 1;
                return Ok(line);
            }
            self.more().await?;
        }
    }

    pub(super) async fn head(&mut self) -> Result<Head, End> {
        let line = self.line().await?;
        Ok(Head { line, fields: self.fields().await? })
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>, End> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                assert!(line.is_empty(), "no field: {line}");
                return Ok(fields);
            };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Takes up to `most` bytes of data.
    async fn data(&mut self, most: usize, content: &mut impl FnMut(&[u8])) -> Result<usize, End> {
        if !self.has_some() {
            self.more().await?;
        }
        let count = most.min(self.buffer.len() - self.at);
        content(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    async fn counted(
        &mut self,
        mut left: usize,
        stall: &mut Stall,
        content: &mut impl FnMut(&[u8]),
    ) -> Result<(), End> {
        while left > 0 {
            let mut most = left;
            if let Some((after, pause)) = stall {
                most = most.min(*after);
                if *after == 0 {
                    tokio::time::sleep(super::ms(*pause)).await;
                    *stall = None;
                    continue;
                }
            }
            let count = self.data(most, content).await?;
            if let Some((after, _)) = stall {
                *after -= count;
            }
            left -= count;
        }
        Ok(())
    }

    /// Reads a body to its end; returns its trailers.
    pub(super) async fn body(
        &mut self,
        (framing, length): (Framing, usize),
        mut stall: Stall,
        content: &mut impl FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, End> {
        match framing {
            Framing::None => {}
            Framing::Length => self.counted(length, &mut stall, content).await?,
            Framing::UntilClose => loop {
                match self.data(usize::MAX, content).await {
                    Ok(_) => {}
                    Err(End::Fin) => return Ok(Vec::new()),
                    Err(End::Reset) => return Err(End::Reset),
                }
            },
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(&line, 16).expect("a chunk's size");
                if size == 0 {
                    return self.fields().await;
                }
                self.counted(size, &mut stall, content).await?;
                assert_eq!(self.line().await?, "", "behind a chunk");
            },
        }
        Ok(Vec::new())
    }
}
