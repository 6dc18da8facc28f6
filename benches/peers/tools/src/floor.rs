//! The floor: about the least that a proxy in user space can do for small messages. One upstream
//! connection for each client, bytes copied from one to the other with `recv` and `send`, no HTTP.
//!
//!     floor LISTEN UPSTREAM

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};

/// A copy moves this many bytes at most. Of 32, 128 and 256 KiB the middle one took the least CPU
/// for bodies of 1 MB.
const BUFFER_BYTES: usize = 128 * 1024;
/// The listener's mark among the events; a connection's mark is its descriptor.
const LISTENER: u64 = u64::MAX;

/// One direction's end: where bytes come from, and what could not be sent to it yet.
struct End {
    stream: TcpStream,
    other: u64,
    unsent: Vec<u8>,
    /// The other end will send no more; shut this one down once `unsent` is empty.
    closing: bool,
    /// This end has sent all it will send.
    ended: bool,
}

struct Floor {
    poll: OwnedFd,
    upstream: String,
    ends: HashMap<u64, End>,
    buffer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = arguments.as_slice() else {
        eprintln!("usage: floor LISTEN UPSTREAM");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let upstream = upstream.clone();
    let mut floor = Floor { poll, upstream, ends: HashMap::new(), buffer: vec![0; BUFFER_BYTES] };
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&floor.poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (mark, flags) = (event.data.u64(), event.flags);
            if mark == LISTENER {
                floor.accept(&listener);
            } else if floor.turn(mark, flags).is_err() {
                floor.drop_pair(mark);
            }
        }
    }
}

impl Floor {
    /// Takes every client that waits, each with a connection of its own to the upstream.
    fn accept(&mut self, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if let Err(error) = self.join(client) {
                eprintln!("floor: {error}");
            }
        }
    }

    fn join(&mut self, client: TcpStream) -> io::Result<()> {
        let upstream = TcpStream::connect(&self.upstream)?;
        let marks = [&client, &upstream].map(|s| u64::from(s.as_raw_fd().unsigned_abs()));
        for (stream, mark, other) in [(client, marks[0], marks[1]), (upstream, marks[1], marks[0])]
        {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.poll, &stream, EventData::new_u64(mark), EventFlags::IN)?;
            let end = End { stream, other, unsent: Vec::new(), closing: false, ended: false };
            self.ends.insert(mark, end);
        }
        Ok(())
    }

    /// What one end is ready for. An error means that the pair is over.
    fn turn(&mut self, mark: u64, flags: EventFlags) -> io::Result<()> {
        // Its other half may have ended it in this batch of events.
        let Some(end) = self.ends.get_mut(&mark) else { return Ok(()) };
        if flags.contains(EventFlags::OUT) {
            let unsent = std::mem::take(&mut end.unsent);
            let other = end.other;
            self.send(mark, &unsent)?;
            self.watch(other)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.copy(mark)?;
        }
        Ok(())
    }

    /// Receives once and sends what came to the other end.
    fn copy(&mut self, mark: u64) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(&mark) else { return Ok(()) };
        let other = end.other;
        let count = match end.stream.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if count == 0 {
            end.ended = true;
            if let Some(other) = self.ends.get_mut(&other) {
                other.closing = true;
            }
            self.send(other, &[])?;
            return self.watch(mark);
        }
        let buffer = std::mem::take(&mut self.buffer);
        let sent = self.send(other, &buffer[..count]);
        self.buffer = buffer;
        sent
    }

    /// Sends what the socket takes and keeps the rest; nothing is read for it meanwhile.
    fn send(&mut self, mark: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(&mark) else { return Ok(()) };
        let mut rest = bytes;
        while !rest.is_empty() {
            match end.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if !rest.is_empty() {
            end.unsent = rest.to_vec();
            let other = end.other;
            self.watch(mark)?;
            return self.watch(other);
        }
        if end.closing {
            end.stream.shutdown(Shutdown::Write)?;
            if end.ended || self.ends.get(&mark).is_some_and(|e| self.both_ended(e)) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    fn both_ended(&self, end: &End) -> bool {
        end.ended && self.ends.get(&end.other).is_none_or(|other| other.ended)
    }

    /// Sets what epoll tells of an end: to read only while its other end takes bytes.
    fn watch(&self, mark: u64) -> io::Result<()> {
        let Some(end) = self.ends.get(&mark) else { return Ok(()) };
        let other_takes = self.ends.get(&end.other).is_none_or(|other| other.unsent.is_empty());
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, other_takes && !end.ended);
        flags.set(EventFlags::OUT, !end.unsent.is_empty());
        epoll::modify(&self.poll, &end.stream, EventData::new_u64(mark), flags)?;
        Ok(())
    }

    /// Closes both; epoll forgets closed descriptors by itself.
    fn drop_pair(&mut self, mark: u64) {
        if let Some(end) = self.ends.remove(&mark) {
            self.ends.remove(&end.other);
        }
    }
}
