//! A load generator with a fixed rate and correction for coordinated omission.
//!
//!     steady ADDRESS PATH CONNECTIONS RATE SECONDS
//!
//! Requests are due at fixed instants, whatever the answers do. A request that is due while all
//! connections wait is sent late, and its latency counts from the instant when it was due. With
//! RATE 0 each connection sends again at once (closed loop), to see how evenly they are served.
//! Prints one line of JSON.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

const BUFFER_BYTES: usize = 64 * 1024;
/// After the last request was due, answers may take this long.
const GRACE: Duration = Duration::from_secs(2);

struct Connection {
    stream: TcpStream,
    /// When the request in flight was due; none: the connection is free.
    due: Option<Instant>,
    /// The part of a response head that came so far.
    head: Vec<u8>,
    /// Bytes of the body still to come, once the head is whole.
    body_left: Option<u64>,
    answered: u64,
}

struct Load {
    connections: Vec<Connection>,
    free: Vec<usize>,
    request: Vec<u8>,
    latency: Histogram<u64>,
    buffer: Vec<u8>,
}

/// When requests are due.
struct Schedule {
    start: Instant,
    end: Instant,
    /// None: closed loop.
    interval: Option<Duration>,
    sent: u32,
}

impl Schedule {
    /// The instant of the next request; in a closed loop it is now.
    fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.interval.map_or(now, |interval| self.start + interval * self.sent);
        (due < self.end).then_some(due)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, connections, rate, seconds] = arguments.as_slice() else {
        eprintln!("usage: steady ADDRESS PATH CONNECTIONS RATE SECONDS");
        std::process::exit(2);
    };
    let parsed = (connections.parse(), rate.parse(), seconds.parse());
    let (Ok(connections), Ok(rate), Ok(seconds)) = parsed else {
        eprintln!("steady: CONNECTIONS is a number, RATE and SECONDS may have fractions");
        std::process::exit(2);
    };
    if let Err(error) = run(address, path, connections, rate, seconds) {
        eprintln!("steady: {address}: {error}");
        std::process::exit(1);
    }
}

fn run(address: &str, path: &str, count: usize, rate: f64, seconds: f64) -> io::Result<()> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut load = Load {
        connections: connect(&poll, address, count)?,
        free: (0..count).rev().collect(),
        request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
        latency: Histogram::new(3).map_err(io::Error::other)?,
        buffer: vec![0; BUFFER_BYTES],
    };
    let start = Instant::now();
    let mut schedule = Schedule {
        start,
        end: start + Duration::from_secs_f64(seconds),
        interval: (rate > 0.0).then(|| Duration::from_secs_f64(1.0 / rate)),
        sent: 0,
    };
    let mut events: Vec<Event> = Vec::with_capacity(count);
    loop {
        let wake = load.send_what_is_due(&mut schedule)?;
        let busy = load.free.len() < count;
        if (wake.is_none() && !busy) || Instant::now() > schedule.end + GRACE {
            break;
        }
        wait(&poll, &mut events, wake.unwrap_or(schedule.end + GRACE))?;
        for event in &events {
            load.receive(usize::try_from(event.data.u64()).map_err(io::Error::other)?)?;
        }
    }
    load.report(schedule.sent, start.elapsed(), count);
    Ok(())
}

fn connect(poll: &OwnedFd, address: &str, count: usize) -> io::Result<Vec<Connection>> {
    let connection = |index: usize| {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(poll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        Ok(Connection { stream, due: None, head: Vec::new(), body_left: None, answered: 0 })
    };
    (0..count).map(connection).collect()
}

/// Waits for answers until the next request is due.
fn wait(poll: &OwnedFd, events: &mut Vec<Event>, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).map_err(io::Error::other)?,
        tv_nsec: left.subsec_nanos().into(),
    };
    events.clear();
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Load {
    /// Sends every request whose time has come, as far as connections are free. Returns when to
    /// look again at the latest; none: nothing is left to send, or an answer has to come first.
    fn send_what_is_due(&mut self, schedule: &mut Schedule) -> io::Result<Option<Instant>> {
        loop {
            let now = Instant::now();
            let Some(due) = schedule.next(now) else { return Ok(None) };
            if due > now {
                return Ok(Some(due));
            }
            let Some(index) = self.free.pop() else {
                return Ok(Some(schedule.end + GRACE));
            };
            let connection = &mut self.connections[index];
            // The request is far smaller than an empty socket buffer.
            connection.stream.write_all(&self.request)?;
            connection.due = Some(due);
            schedule.sent += 1;
        }
    }

    /// Reads what came on a connection; counts the latency where it ends a response.
    fn receive(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if connection.take(&self.buffer[..count])? {
            let due = connection.due.take();
            let due = due.ok_or_else(|| io::Error::other("a response nobody asked for"))?;
            connection.answered += 1;
            let nanos = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latency.record(nanos).map_err(io::Error::other)?;
            // Freed at the far end of the queue, so that the connections take turns.
            self.free.insert(0, index);
        }
        Ok(())
    }

    fn report(&self, sent: u32, elapsed: Duration, connections: usize) {
        let answered: u64 = self.connections.iter().map(|c| c.answered).sum();
        let counts: Vec<u64> = self.connections.iter().map(|c| c.answered).collect();
        let micros = |quantile| {
            Duration::from_nanos(self.latency.value_at_quantile(quantile)).as_secs_f64() * 1e6
        };
        println!(
            "{{\"connections\": {connections}, \"sent\": {sent}, \"answered\": {answered}, \
             \"seconds\": {:.3}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"p999_us\": {:.1}, \
             \"max_us\": {:.1}, \"per_connection\": {counts:?}}}",
            elapsed.as_secs_f64(),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
        );
    }
}

impl Connection {
    /// Takes bytes of the response; true: it is whole.
    fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.body_left.is_none() {
            self.head.extend_from_slice(bytes);
            let Some((head_bytes, body_bytes)) = parse(&self.head)? else { return Ok(false) };
            let came = (self.head.len() - head_bytes) as u64;
            self.body_left = Some(subtract(body_bytes, came)?);
            self.head.clear();
        } else if let Some(left) = self.body_left {
            self.body_left = Some(subtract(left, bytes.len() as u64)?);
        }
        let is_whole = self.body_left == Some(0);
        if is_whole {
            self.body_left = None;
        }
        Ok(is_whole)
    }
}

fn subtract(left: u64, came: u64) -> io::Result<u64> {
    left.checked_sub(came).ok_or_else(|| io::Error::other("more bytes than Content-Length says"))
}

/// Length of the head and of the body that follows, once the head is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).map_err(io::Error::other)?
    else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("status {:?}", response.code)));
    }
    let length = response.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let length = length.ok_or_else(|| io::Error::other("a response without Content-Length"))?;
    Ok(Some((head_bytes, length)))
}
