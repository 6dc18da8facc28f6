//! Reads HTTP/1 messages off a socket without hiding a byte.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

/// How long anything that must happen may take. Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// How the peer ended its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// A message as it came over the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Start line and fields, with the empty line.
    pub(crate) head: String,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
    /// The end that came too early, if one did.
    pub(crate) cut: Option<End>,
}

impl Message {
    pub(crate) fn start_line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.start_line().split(' ').nth(1);
        status.and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {:?}", self.head))
    }

    /// Values of a field, line by line; the name in any case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|v| v.ends_with("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length").and_then(|v| v.parse().ok())
    }
}

/// Called with every byte that is read.
type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// A socket with what was read from it and not yet used.
pub(crate) struct Reader {
    pub(crate) socket: TcpStream,
    pending: Vec<u8>,
    tap: Tap,
    end: Option<End>,
}

impl Reader {
    pub(crate) fn new(socket: TcpStream, tap: Tap) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { socket, pending: Vec::new(), tap, end: None }
    }

    /// Reads what is there; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let count = match self.socket.read(&mut buffer) {
            Ok(0) => {
                self.end = Some(End::Fin);
                return false;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let so_far = String::from_utf8_lossy(&self.pending);
                panic!("nothing came for {DEADLINE:?}; unused so far: {so_far:?}");
            }
            Err(_) => {
                self.end = Some(End::Reset);
                return false;
            }
        };
        (self.tap)(&buffer[..count]);
        self.pending.extend_from_slice(&buffer[..count]);
        true
    }

    /// Everything up to and including `mark`; `None` if the end comes first.
    pub(crate) fn until(&mut self, mark: &[u8]) -> Option<String> {
        let mut from = 0;
        loop {
            let found = self.pending[from..].windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                let rest = self.pending.split_off(from + at + mark.len());
                let taken = std::mem::replace(&mut self.pending, rest);
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            from = self.pending.len().saturating_sub(mark.len());
            if !self.fill() {
                return None;
            }
        }
    }

    /// Exactly `count` bytes, or fewer if the end comes first.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count && self.fill() {}
        let rest = self.pending.split_off(count.min(self.pending.len()));
        std::mem::replace(&mut self.pending, rest)
    }

    /// Everything until the end.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        while self.fill() {}
        (std::mem::take(&mut self.pending), self.end.unwrap_or(End::Fin))
    }

    pub(crate) fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n")?;
        Some(Message { head, ..Message::default() })
    }

    /// Reads the body that the head announces.
    pub(crate) fn body(&mut self, message: &mut Message, otherwise_until_close: bool) {
        if message.is_chunked() {
            self.chunks(message);
        } else if let Some(length) = message.length() {
            message.body = self.take(length);
            if message.body.len() < length {
                message.cut = self.end;
            }
        } else if otherwise_until_close {
            let (body, end) = self.rest();
            message.body = body;
            message.cut = Some(end).filter(|end| *end == End::Reset);
        }
    }

    fn chunks(&mut self, message: &mut Message) {
        loop {
            let Some(line) = self.until(b"\r\n") else {
                message.cut = self.end;
                return;
            };
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let chunk = self.take(size + 2);
            message.body.extend_from_slice(&chunk[..chunk.len().min(size)]);
            if chunk.len() < size + 2 {
                message.cut = self.end;
                return;
            }
        }
        loop {
            match self.until(b"\r\n") {
                Some(line) if line == "\r\n" => return,
                Some(line) => message.trailers.push_str(&line),
                None => {
                    message.cut = self.end;
                    return;
                }
            }
        }
    }
}

/// Makes the kernel send a reset instead of a FIN.
pub(crate) fn reset(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}
