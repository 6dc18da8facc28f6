//! A backend that follows a script and records every byte it gets.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::message::{DEADLINE, End, Message, Reader, reset};

/// Bytes received, one entry per connection that carried any, in the order of the first byte.
type Log = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Connections that carried a request, whose script is over and whose socket is closed.
    pub(crate) closed: Tally,
    log: Log,
    stop: Arc<AtomicBool>,
}

/// One connection from the sidecar.
pub(crate) struct Connection {
    reader: Reader,
    slot: Arc<Mutex<Option<usize>>>,
}

impl Backend {
    /// Runs `script` for each connection, on a thread of its own.
    pub(crate) fn start(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (log, stop) = (Log::default(), Arc::new(AtomicBool::new(false)));
        let closed = Tally::default();
        let backend = Self {
            address,
            closed: closed.clone(),
            log: Arc::clone(&log),
            stop: Arc::clone(&stop),
        };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stop.load(Relaxed) {
                    return;
                }
                let mut connection = Connection::new(socket, &log);
                let (script, closed) = (Arc::clone(&script), closed.clone());
                std::thread::spawn(move || {
                    script(&mut connection);
                    let used = connection.slot.lock().unwrap().is_some();
                    drop(connection);
                    closed.add(usize::from(used));
                });
            }
        });
        backend
    }

    /// Answers each request with these bytes, as long as the sidecar asks.
    pub(crate) fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |connection| {
            while connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// Answers each request when the gate opens.
    pub(crate) fn holding(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::start(move |connection| {
            while connection.request().is_some() {
                gate.wait();
                connection.send(OK);
            }
        })
    }

    /// Answers each request with these bytes and closes.
    pub(crate) fn closing_after(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |connection| {
            if connection.request().is_some() {
                connection.send(&answer);
            }
        })
    }

    /// What each connection received.
    pub(crate) fn received(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// What each connection received, byte for byte.
    pub(crate) fn received_bytes(&self) -> Vec<Vec<u8>> {
        self.log.lock().unwrap().clone()
    }

    /// What the only connection received.
    pub(crate) fn received_once(&self) -> String {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    /// How often `text` was received on all connections.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.received().iter().map(|bytes| bytes.matches(text).count()).sum()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Wakes the listener's thread.
        drop(TcpStream::connect(self.address));
    }
}

impl Connection {
    fn new(socket: TcpStream, log: &Log) -> Self {
        let slot = Arc::new(Mutex::new(None));
        let (own, log) = (Arc::clone(&slot), Arc::clone(log));
        let tap = move |bytes: &[u8]| {
            let mut log = log.lock().unwrap();
            let index = *own.lock().unwrap().get_or_insert_with(|| {
                log.push(Vec::new());
                log.len() - 1
            });
            log[index].extend_from_slice(bytes);
        };
        Self { reader: Reader::new(socket, Box::new(tap)), slot }
    }

    /// Which connection this is among those that carried a request; the first is 0.
    pub(crate) fn number(&self) -> usize {
        self.slot.lock().unwrap().expect("a request was read")
    }

    pub(crate) fn head(&mut self) -> Option<Message> {
        self.reader.head()
    }

    /// The next request with its body; `None` at the end.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.reader.head()?;
        self.reader.body(&mut message, false);
        Some(message)
    }

    /// The rest of a request whose head was read.
    pub(crate) fn body(&mut self, mut message: Message) -> Message {
        self.reader.body(&mut message, false);
        message
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        self.reader.take(count)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The sidecar may be gone already, which is what some tests are about.
        let _refused = self.reader.socket.write_all(bytes.as_ref());
    }

    /// Whether more has arrived than was read.
    pub(crate) fn has_more(&self) -> bool {
        let socket = &self.reader.socket;
        socket.set_nonblocking(true).unwrap();
        let more = socket.peek(&mut [0]).is_ok();
        socket.set_nonblocking(false).unwrap();
        more
    }

    /// Waits until the sidecar closes.
    pub(crate) fn sees_the_end(&mut self) -> End {
        self.reader.rest().1
    }

    /// Closes with a reset.
    pub(crate) fn reset(&self) {
        reset(&self.reader.socket);
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.reader.socket
    }
}

/// Something that one side waits for and another lets happen; once open it stays open.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(guard, DEADLINE, |open| !*open).unwrap();
        assert!(!waited.1.timed_out(), "a gate stayed closed for {DEADLINE:?}");
    }
}

/// A number that others watch.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// Polls until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
