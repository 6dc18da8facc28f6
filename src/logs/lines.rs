//! Lines for standard output and standard error, written by a thread of their own.
//!
//! Whoever logs never waits and never fails, whatever is behind the output: a reader that stopped
//! or left, a full disk. A line that finds too many before it is lost and counted, and so is one
//! that cannot be written.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// Bytes that may wait for an output: more than a second of a busy sidecar.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// What a line that waits costs beside its text.
const LINE_COST_BYTES: usize = 48;

/// Bytes written at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A way to the thread that writes. All clones lead to the same one, which ends once they are gone
/// and everything is written.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: Sender<Vec<u8>>,
    progress: Arc<Progress>,
    lost: Arc<AtomicU64>,
}

/// How far the thread has come.
#[derive(Debug, Default)]
struct Progress {
    waiting_bytes: AtomicUsize,
    /// Lines handed over.
    accepted: AtomicU64,
    /// Of these, lines that were written or lost.
    done: Mutex<u64>,
    advanced: Condvar,
}

impl Lines {
    /// Starts the thread. `failed` is told of each failure to write, on that thread.
    ///
    /// # Errors
    ///
    /// The kernel's, if there can be no further thread.
    pub fn spawn(name: &str, out: OwnedFd, failed: fn(&io::Error)) -> io::Result<Self> {
        let (queue, waiting) = channel();
        let (progress, lost) = <(Arc<Progress>, Arc<AtomicU64>)>::default();
        let writer = Writer {
            out: File::from(out),
            is_torn: false,
            progress: Arc::clone(&progress),
            lost: Arc::clone(&lost),
            failed,
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(&waiting))?;
        Ok(Self { queue, progress, lost })
    }

    /// Hands over one line, with its newline. Never waits, never panics.
    pub fn write(&self, line: Vec<u8>) {
        let cost = cost(&line);
        let before = self.progress.waiting_bytes.fetch_add(cost, Relaxed);
        // One line always fits, however long it is.
        if before > 0 && before + cost > MAX_WAITING_BYTES {
            self.progress.waiting_bytes.fetch_sub(cost, Relaxed);
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        self.progress.accepted.fetch_add(1, Relaxed);
        // An error means that the thread has panicked, which only a defect can cause.
        if self.queue.send(line).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Counts the lines that were lost.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Waits until what was handed over is written, at most for `limit`. Tells how many lines are
    /// not.
    pub fn flush(&self, limit: Duration) -> u64 {
        let accepted = self.progress.accepted.load(Relaxed);
        let done = self.progress.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.progress.advanced.wait_timeout_while(done, limit, |done| *done < accepted);
        let (done, _timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        accepted.saturating_sub(*done)
    }
}

fn cost(line: &Vec<u8>) -> usize {
    line.capacity() + LINE_COST_BYTES
}

/// What the thread has.
struct Writer {
    out: File,
    /// The last line that was begun could not be completed.
    is_torn: bool,
    progress: Arc<Progress>,
    lost: Arc<AtomicU64>,
    failed: fn(&io::Error),
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Vec<u8>>) {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while let Ok(first) = waiting.recv() {
            let (mut lines, mut freed) = (0, 0);
            let mut next = Some(first);
            while let Some(line) = next.take() {
                lines += 1;
                freed += cost(&line);
                chunk.extend_from_slice(&line);
                if chunk.len() < CHUNK_BYTES {
                    next = waiting.try_recv().ok();
                }
            }
            if let Err(error) = self.write_lines(&chunk) {
                (self.failed)(&error);
            }
            chunk.clear();
            chunk.shrink_to(CHUNK_BYTES);
            self.progress.waiting_bytes.fetch_sub(freed, Relaxed);
            *self.progress.done.lock().unwrap_or_else(PoisonError::into_inner) += lines;
            self.progress.advanced.notify_all();
        }
    }

    /// Writes whole lines, or counts those that cannot be.
    fn write_lines(&mut self, chunk: &[u8]) -> io::Result<()> {
        let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').skip(1).count() as u64;
        // What is left of a torn line must not become the beginning of the next one.
        if self.is_torn
            && let Err((_left, error)) = self.put(b"\n")
        {
            self.lost.fetch_add(lines(chunk), Relaxed);
            return Err(error);
        }
        self.is_torn = false;
        self.put(chunk).map_err(|(left, error)| {
            self.lost.fetch_add(lines(left), Relaxed);
            let written = chunk.len() - left.len();
            self.is_torn = written > 0 && chunk.get(written - 1) != Some(&b'\n');
            error
        })
    }

    /// Writes everything, or returns what is left.
    fn put<'a>(&self, mut left: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        while !left.is_empty() {
            match (&self.out).write(left) {
                Ok(0) => return Err((left, ErrorKind::WriteZero.into())),
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(),
                Err(error) => return Err((left, error)),
            }
        }
        Ok(())
    }

    /// Others who have the same terminal or pipe may have made it non-blocking: for them, too.
    fn wait(&self) {
        let mut out = [PollFd::new(&self.out, PollFlags::OUT)];
        // An interruption or an error shows at the next attempt to write.
        let _ready = poll(&mut out, None);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::AtomicBool;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Fills a pipe's buffer.
    fn fill(pipe: &mut io::PipeWriter) -> usize {
        rustix::io::ioctl_fionbio(&pipe, true).expect("a pipe");
        let mut filled = 0;
        for size in [4096, 1] {
            while let Ok(count) = pipe.write(&vec![b'.'; size]) {
                filled += count;
            }
        }
        filled
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_not_time() {
        for nonblocking in [false, true] {
            let (mut reader, mut pipe) = io::pipe().expect("a pipe");
            let filled = fill(&mut pipe);
            rustix::io::ioctl_fionbio(&pipe, nonblocking).expect("a pipe");
            let lines = Lines::spawn("test", pipe.into(), |_| {}).expect("a thread");
            let line = vec![b'x'; 9_999].into_iter().chain(*b"\n").collect::<Vec<u8>>();
            let sent = 2 * MAX_WAITING_BYTES / line.len();
            for _ in 0..sent {
                lines.write(line.clone());
            }
            let lost = usize::try_from(lines.lost().load(Relaxed)).expect("few");
            assert!(lost > sent / 3 && lost < sent, "{lost} of {sent}");
            assert!(lines.flush(Duration::from_millis(20)) > 0, "nobody reads");
            // Once somebody reads, everything that was not lost comes, whole.
            let rest = std::thread::spawn(move || {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            assert_eq!(lines.flush(LIMIT), 0);
            drop(lines);
            let read = rest.join().expect("no panic").expect("a pipe");
            assert_eq!(read.len() - filled, (sent - lost) * line.len());
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_later_ones_are_tried() {
        static FAILED: AtomicBool = AtomicBool::new(false);
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let lines = Lines::spawn("test", full.into(), |_| FAILED.store(true, Relaxed));
        let lines = lines.expect("a thread");
        for round in 1..=3 {
            lines.write(b"a line\n".to_vec());
            assert_eq!(lines.flush(LIMIT), 0);
            assert_eq!(lines.lost().load(Relaxed), round);
        }
        assert!(FAILED.load(Relaxed));
        let (reader, pipe) = io::pipe().expect("a pipe");
        drop(reader);
        let lines = Lines::spawn("test", pipe.into(), |_| {}).expect("a thread");
        lines.write(b"a line\n".to_vec());
        assert_eq!((lines.flush(LIMIT), lines.lost().load(Relaxed)), (0, 1));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        let mut writer = Writer {
            out: File::from(OwnedFd::from(pipe)),
            is_torn: true,
            progress: Arc::default(),
            lost: Arc::default(),
            failed: |_| {},
        };
        writer.write_lines(b"one\ntwo\n").expect("a pipe");
        writer.write_lines(b"three\n").expect("a pipe");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("a pipe");
        assert_eq!(read, "\none\ntwo\nthree\n");
    }
}
