//! One HTTP GET, for questions to a metrics port. Bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use redcar::net::Connector;
use tokio::time::Instant;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    /// Up to the end of the connection.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Tells whether a word, in lower case, stands in the head: enough to know a content type.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.head.to_ascii_lowercase().contains(word)
    }
}

/// A connection that may speak TLS.
enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

/// Asks for `path`, with more fields (each ended by CR LF), and reads to the end.
///
/// The request is HTTP/1.0, so the answer is not chunked and its end is that of the connection.
///
/// # Errors
///
/// The kernel's; `TimedOut` when the answer is not complete after the time; `InvalidData` when it
/// has more bytes than the limit or is not HTTP.
pub(crate) fn get(
    (address, tls): (SocketAddr, Option<&Connector>),
    host: &str,
    path: &str,
    fields: &str,
    (timeout, max_bytes): (Duration, usize),
) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_write_timeout(Some(timeout))?;
    // A handshake reads, too.
    socket.set_read_timeout(Some(timeout))?;
    let mut line = match tls {
        Some(tls) => Line::Tls(Box::new(tls.blocking(socket).map_err(io::Error::other)?)),
        None => Line::Plain(socket),
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{fields}\r\n");
    line.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        line.socket().set_read_timeout(Some(left))?;
        match line.read(&mut piece) {
            Ok(0) => return parse(&answer).ok_or_else(|| invalid("the answer is not HTTP")),
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if answer.len() > max_bytes {
            return Err(invalid("the answer is too large"));
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Splits an answer. Never panics.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: answer.get(end + 4..)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_split() {
        let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!((answer.status, &*answer.body), (503, &b"no\r\n\r\n"[..]));
        assert_eq!(parse(b"HTTP/1.1 200\r\n\r\n").unwrap().status, 200);
        for broken in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_split_or_refused(bytes: Vec<u8>) {
            let _split = parse(&bytes);
            let _split = parse(&[b"HTTP/1.1 ", &*bytes, b"\r\n\r\n"].concat());
        }
    }
}
