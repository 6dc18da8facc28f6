//! `proxy paths`: what an access log would become: names, series, and bytes per scrape.
//!
//! Feeds the same store that the proxy fills, and measures the page that the proxy would send.
//! Reads any amount of lines in constant memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use redcar::config::{self, ConfigError, Document, Exclusions};
use redcar::metrics::{Answer, Ended, Key, Shard, Store};
use redcar::paths::Namer;
use tokio::time::Instant;

use self::line::{Entry, LineError, Reader};
use self::report::Report;
use crate::cli::{PathsArgs, SeriesSettings};
use crate::{USAGE, fail, print};

mod line;
mod report;

/// A longer line is not understood: a request head of the proxy's default limit fits.
const MAX_LINE_BYTES: usize = 128 * 1024;

/// Bytes read from a file at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Requests after which names are published: one scrape interval of a busy sidecar.
const REQUESTS_PER_SCRAPE: u64 = 1000;

/// Time between two looks at the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What every file begins with that gzip has written.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What was read.
#[derive(Clone, Default)]
struct Tally {
    lines: u64,
    bytes: u64,
    requests: u64,
    excluded: u64,
    not_understood: u64,
    first_not_understood: Option<Rejected>,
}

/// A line that was not understood.
#[derive(Clone)]
struct Rejected {
    file: String,
    /// From 1.
    line: u64,
    text: String,
    reason: LineError,
}

/// Most lines are no requests: it is another kind of file.
#[derive(Debug, thiserror::Error)]
#[error(
    "{rejected} of {lines} lines were not understood. Known are {}.\n{file}:{line}: {reason}: {text}",
    line::FORMATS
)]
struct OtherFile {
    rejected: u64,
    lines: u64,
    file: String,
    line: u64,
    text: String,
    reason: LineError,
}

/// Reads the logs and prints what would become of them.
pub(crate) fn run(flags: PathsArgs) -> ExitCode {
    let (files, is_json, pods) = (flags.files.clone(), flags.json, flags.pods);
    let (settings, exclusions, store) = match prepare(flags) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, USAGE),
    };
    let mut forecast = Forecast {
        settings: &settings,
        exclusions,
        shard: Shard::new(Arc::clone(&store)),
        store: Arc::clone(&store),
        tally: Tally::default(),
    };
    for file in &files {
        if let Err(error) = forecast.read_file(file) {
            let name = file.display();
            return fail(&io::Error::new(error.kind(), format!("{name}: {error}")), 1);
        }
    }
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let refusal = forecast.refusal();
    let report = Report::new(names.join(" "), forecast.tally, pods, &settings, &store);
    let printed = print(if is_json { report.json() } else { report.text() }.as_bytes());
    refusal.map_or(printed, |refusal| fail(&refusal, 1))
}

/// What the flags mean, and an empty store that is as they say.
fn prepare(
    flags: PathsArgs,
) -> Result<(SeriesSettings, Option<Exclusions>, Arc<Store>), ConfigError> {
    let exclusions = flags.exclude.resolve()?;
    let settings = flags.series.resolve(false, false)?;
    if let Some(place) = settings.sources.upstream_places().into_iter().next() {
        return Err(ConfigError::NoUpstream(Document::Upstream(place).to_string()));
    }
    config::check_limits(&settings.limits)?;
    let namer = Namer::new(&settings.routes)?.with_mode(settings.path_mode);
    let store = Store::new(settings.limits.clone(), namer);
    Ok((settings, exclusions, store))
}

/// A log on its way into a store.
struct Forecast<'a> {
    settings: &'a SeriesSettings,
    exclusions: Option<Exclusions>,
    shard: Shard,
    store: Arc<Store>,
    tally: Tally,
}

impl Forecast<'_> {
    /// Reads a file to its end; `-` is standard input. What gzip has written is unpacked.
    fn read_file(&mut self, file: &Path) -> io::Result<()> {
        if file.as_os_str() == "-" {
            return self.read_any(file, io::stdin().lock(), None);
        }
        let input = File::open(file)?;
        let size = input.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        self.read_any(file, input, size)
    }

    fn read_any(&mut self, file: &Path, input: impl Read, size: Option<u64>) -> io::Result<()> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let name = file.display().to_string();
        if input.fill_buf()?.starts_with(&GZIP_MAGIC) {
            let unpacked = MultiGzDecoder::new(input);
            return self.read(&name, &mut BufReader::with_capacity(BUFFER_BYTES, unpacked), None);
        }
        self.read(&name, &mut input, size)
    }

    /// Reads to the end; `size` is what there is to read, if that is known.
    fn read(&mut self, file: &str, input: &mut impl BufRead, size: Option<u64>) -> io::Result<()> {
        let mut progress = io::stderr().is_terminal().then(Progress::new);
        let mut reader = Reader::default();
        let mut line = Vec::new();
        let mut number = 0;
        while let Some(length) = read_line(input, &mut line)? {
            number += 1;
            self.tally.lines += 1;
            self.tally.bytes += length;
            // A line that was cut off is not one.
            let is_whole = line.len() as u64 + 1 >= length;
            let read = if is_whole { reader.read(&line) } else { Some(Err(LineError::TooLong)) };
            match read {
                None => {}
                Some(Ok(entry)) => self.record(&entry),
                Some(Err(reason)) => {
                    self.tally.not_understood += 1;
                    self.tally.first_not_understood.get_or_insert_with(|| Rejected {
                        file: file.to_owned(),
                        line: number,
                        text: line::shown(&line),
                        reason,
                    });
                }
            }
            if let Some(progress) = &mut progress {
                progress.tell(&self.tally, size);
            }
        }
        Ok(())
    }

    /// Why nobody should trust the report: more than half of the lines are something else.
    fn refusal(&self) -> Option<OtherFile> {
        let Tally { requests, excluded, not_understood, .. } = self.tally;
        let Rejected { file, line, text, reason } = self.tally.first_not_understood.clone()?;
        let lines = requests + excluded + not_understood;
        let refused = not_understood > lines / 2;
        refused.then_some(OtherFile { rejected: not_understood, lines, file, line, text, reason })
    }

    /// Records a request as the proxy would have.
    fn record(&mut self, entry: &Entry) {
        let agent = entry.user_agent.as_deref().map(str::as_bytes);
        if self.exclusions.as_ref().is_some_and(|e| e.excludes(&entry.path, agent)) {
            self.tally.excluded += 1;
            return;
        }
        self.tally.requests += 1;
        // Nobody received a 499, so it says nothing of the path.
        let answered = entry.error.is_none() && entry.status != 499;
        let (resolved, about) = self.shard.resolve_judged(&entry.path);
        // A log does not say where a redirect leads.
        let answer = Answer { is_of_app: answered, ..Answer::of_app(entry.status) };
        let key = Key {
            route: self.shard.settle(&resolved, answer),
            method: self.settings.methods.resolve(&entry.method),
            status: entry.status,
            error: entry.error,
            grpc: None,
            wire: None,
        };
        let nanos = u64::try_from(entry.duration.as_nanos()).unwrap_or(u64::MAX);
        let (status, error) = (entry.status, entry.error);
        self.shard.judge(about, &Ended { status, error, grpc: None, nanos: Some(nanos) });
        self.shard.with_row(&key, |row, buckets| row.durations.record(buckets, nanos));
        self.shard.with_route(&key.route, |row, buckets| {
            row.time_to_response.record(buckets, nanos);
            row.add_bytes(0, entry.bytes);
        });
        if self.tally.requests.is_multiple_of(REQUESTS_PER_SCRAPE) {
            // What the proxy does at a scrape: names are given for good.
            drop(self.store.snapshot());
        }
    }
}

/// Reads a line without its newline into `line`, and no more than [`MAX_LINE_BYTES`] of it.
/// Returns how many bytes it took, newline included; `None` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let mut length = 0;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let text = available.get(..end.unwrap_or(available.len())).unwrap_or(available);
        let room = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend(text.iter().take(room));
        let taken = text.len() + usize::from(end.is_some());
        length += taken as u64;
        input.consume(taken);
        if end.is_some() {
            return Ok(Some(length));
        }
    }
}

/// One line on a terminal that is written again and again.
struct Progress {
    last: Instant,
    lines: u64,
}

impl Progress {
    /// Lines between two looks at the clock.
    const STRIDE: u64 = 4096;

    fn new() -> Self {
        Self { last: Instant::now(), lines: 0 }
    }

    fn tell(&mut self, tally: &Tally, size: Option<u64>) {
        if tally.lines < self.lines + Self::STRIDE {
            return;
        }
        self.lines = tally.lines;
        if self.last.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.last = Instant::now();
        let share = size.filter(|size| *size > 0).map(|size| tally.bytes.min(size) * 100 / size);
        let share = share.map_or_else(String::new, |share| format!("{share} %, "));
        let mebibytes = tally.bytes >> 20;
        let text = format!("\r{share}{} lines, {mebibytes} MiB\x1b[K", tally.lines);
        // A terminal that is gone is no reason to stop.
        let _written = io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _written = io::stderr().write_all(b"\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_lack_its_newline_and_may_be_empty() {
        // A small buffer, so that lines cross its end.
        let mut input = BufReader::with_capacity(7, &b"abc\n\n0123456789\nx"[..]);
        let mut line = Vec::new();
        for (length, text) in [(4, "abc"), (1, ""), (11, "0123456789"), (1, "x")] {
            let taken = read_line(&mut input, &mut line).expect("a slice does not fail");
            assert_eq!((taken, &*line), (Some(length), text.as_bytes()));
        }
        assert_eq!(read_line(&mut input, &mut line).expect("a slice does not fail"), None);
    }

    #[test]
    fn of_an_endless_line_only_the_beginning_is_kept() {
        let text = [vec![b'a'; MAX_LINE_BYTES * 3], b"\nb\n".to_vec()].concat();
        let mut input = &*text;
        let mut line = Vec::new();
        let length = read_line(&mut input, &mut line).expect("a slice does not fail");
        assert_eq!(length, Some(MAX_LINE_BYTES as u64 * 3 + 1));
        assert_eq!(line.len(), MAX_LINE_BYTES);
        assert_eq!(read_line(&mut input, &mut line).expect("a slice does not fail"), Some(2));
        assert_eq!(line, b"b");
    }
}
