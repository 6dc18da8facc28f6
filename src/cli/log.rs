//! The program's own log, and everything else on standard error.
//!
//! Nothing here waits for standard error or fails with it: a request, a worker or the exit must
//! not depend on who reads the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redcar::logs::{Lines, Seldom};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, LogLevel};

/// How long the exit waits for the reader of standard error.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The way to standard error, once [`start`] was called.
static STANDARD_ERROR: OnceLock<Lines> = OnceLock::new();

/// Starts to log. Before, and in sub-commands that do not, [`say`] writes by itself.
pub(crate) fn start(format: LogFormat, level: LogLevel) -> io::Result<()> {
    let out = io::stderr().as_fd().try_clone_to_owned()?;
    // Whom should a failure be told? `redcar_log_dropped_total` counts it.
    let lines = Lines::spawn("log", out, |_error| {})?;
    let lines = STANDARD_ERROR.get_or_init(|| lines);
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries warn of each odd frame of a peer. Who looks for a fault may want that.
    let libraries = if level >= LevelFilter::DEBUG { level } else { LevelFilter::OFF };
    let targets = Targets::new()
        .with_target("redcar", level)
        .with_target("proxy", level)
        .with_default(libraries);
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_writer(move || Entry(lines))
        .with_max_level(level)
        .with_target(false)
        // Its own words would go to standard error directly, and panic where that fails.
        .log_internal_errors(false);
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    if json {
        builder.json().flatten_event(true).finish().with(targets).init();
    } else {
        builder.with_ansi(terminal).finish().with(targets).init();
    }
    std::panic::set_hook(Box::new(report));
    Ok(())
}

/// Writes text to standard error, without waiting once the log has started.
pub(crate) fn say(text: String) {
    match STANDARD_ERROR.get() {
        Some(lines) => lines.write(text.into_bytes()),
        // With standard error gone there is only the exit code left to tell.
        None => {
            let _written = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Before the exit: waits until everything is written, but not for long.
pub(crate) fn flush() {
    if let Some(lines) = STANDARD_ERROR.get() {
        // Whom should it be told?
        let _left = lines.flush(FLUSH_LIMIT);
    }
}

/// Counts the lines that were lost.
pub(crate) fn lost() -> Arc<AtomicU64> {
    STANDARD_ERROR.get().map_or_else(Arc::default, Lines::lost)
}

/// Tells of a defect that somebody met.
fn report(panic: &PanicHookInfo<'_>) {
    static REPORTED: Seldom = Seldom::new();
    let Some(due) = REPORTED.due() else { return };
    let (suppressed, message) = (due.suppressed, panic.payload_as_str().unwrap_or("no message"));
    let at = panic.location().map(ToString::to_string);
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(message, at, suppressed, trace, "a defect of redcar; please report it");
}

/// One entry of the log on its way.
struct Entry(&'static Lines);

impl Write for Entry {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
