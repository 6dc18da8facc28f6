//! A client that sends any bytes and leaves in any way.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::backend::Tally;
use crate::message::{DEADLINE, End, Message, Reader, reset};

pub(crate) struct Client {
    reader: Reader,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        Self::over(socket)
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        Self { reader: Reader::new(socket, Box::new(|_| {})) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as much as the other side takes; it may close meanwhile.
    pub(crate) fn send_what_is_taken(&mut self, bytes: impl AsRef<[u8]>) {
        let _refused = self.reader.socket.write_all(bytes.as_ref());
    }

    /// Sends from a thread of its own, for bodies larger than all buffers on the way.
    pub(crate) fn send_in_background(&self, bytes: Vec<u8>) -> std::thread::JoinHandle<bool> {
        self.send_counted(bytes, &Tally::default())
    }

    /// Counts in `taken` what the sidecar has room for; true at the end if that was all.
    pub(crate) fn send_counted(
        &self,
        bytes: Vec<u8>,
        taken: &Tally,
    ) -> std::thread::JoinHandle<bool> {
        let mut socket = self.reader.socket.try_clone().unwrap();
        let taken = taken.clone();
        std::thread::spawn(move || {
            bytes.chunks(64 * 1024).all(|piece| {
                let sent = socket.write_all(piece).is_ok();
                taken.add(piece.len());
                sent
            })
        })
    }

    /// The next answer, whole.
    pub(crate) fn answer(&mut self) -> Message {
        let message = self.answer_however_it_ends();
        assert_eq!(message.cut, None, "the answer is cut: {message:?}");
        message
    }

    /// The next answer; `cut` tells whether it is whole.
    pub(crate) fn answer_however_it_ends(&mut self) -> Message {
        let mut message = self.head();
        let bodiless = matches!(message.status(), 100..=199 | 204 | 304);
        if !bodiless {
            self.reader.body(&mut message, true);
        }
        message
    }

    /// The head of the next answer.
    pub(crate) fn head(&mut self) -> Message {
        self.reader.head().expect("an answer, not the end of the connection")
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        self.reader.take(count)
    }

    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    /// The connection ends now, without another byte.
    pub(crate) fn sees_the_end(&mut self) -> End {
        let (rest, end) = self.reader.rest();
        assert!(rest.is_empty(), "unexpected: {:?}", String::from_utf8_lossy(&rest));
        end
    }

    /// Sends a FIN and goes on reading.
    pub(crate) fn finish_sending(&self) {
        self.reader.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) {
        reset(&self.reader.socket);
    }
}
