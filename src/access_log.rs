//! Access-log lines, and the thread that writes them.
//!
//! Every byte that a peer chose is escaped, so that no request can forge a line, move a terminal's
//! cursor or end a JSON string. Header values other than Referer and User-Agent, queries, and
//! segments of a path that look like a secret or an address are never logged.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ::metrics::Counter;
use jiff::Timestamp;

use crate::config::AccessLogFormat;
use crate::h1::Version;

/// Lines that may wait for standard output: a second of a busy sidecar.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// What a line says of a request, taken when its head was read.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The client's address.
    pub peer: IpAddr,
    /// The method as sent.
    pub method: Box<str>,
    /// The path, without query and secrets.
    pub path: Box<str>,
    /// The client's protocol version.
    pub version: Version,
    /// The Referer field, without query and secrets.
    pub referer: Option<Box<[u8]>>,
    /// The User-Agent field.
    pub user_agent: Option<Box<[u8]>>,
}

/// What a line says of the ending.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The recorded status.
    pub status: u16,
    /// The `error` label, empty if there is none.
    pub error: &'a str,
    /// The `path` label.
    pub route: &'a str,
    /// Response body bytes.
    pub bytes: u64,
    /// Head read to end.
    pub duration: Duration,
}

/// Formats one line, with its newline.
///
/// # Source
///
/// Apache httpd `mod_log_config`: `%h %l %u %t "%r" %>s %b`, and `"%{Referer}i" "%{User-agent}i"`.
pub fn line(
    format: AccessLogFormat,
    at: Timestamp,
    subject: &Subject,
    outcome: Outcome<'_>,
) -> String {
    let mut out = String::with_capacity(256);
    match format {
        AccessLogFormat::Common => common(&mut out, at, subject, outcome),
        AccessLogFormat::Combined => {
            common(&mut out, at, subject, outcome);
            for value in [&subject.referer, &subject.user_agent] {
                out.push_str(" \"");
                match value {
                    Some(value) => escape(&mut out, value, "\\x"),
                    None => out.push('-'),
                }
                out.push('"');
            }
        }
        AccessLogFormat::Json => json(&mut out, at, subject, outcome),
    }
    out.push('\n');
    out
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

// Writing to a String cannot fail, so the results of write! are of no interest below.

fn common(out: &mut String, at: Timestamp, subject: &Subject, outcome: Outcome<'_>) {
    let time = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let _ = write!(out, "{} - - [{time}] \"{} ", subject.peer, subject.method);
    escape(out, subject.path.as_bytes(), "\\x");
    let _ = write!(out, " {}\" {} ", version(subject.version), outcome.status);
    match outcome.bytes {
        0 => out.push('-'),
        bytes => {
            let _ = write!(out, "{bytes}");
        }
    }
}

fn json(out: &mut String, at: Timestamp, subject: &Subject, outcome: Outcome<'_>) {
    let _ = write!(
        out,
        "{{\"time\":\"{at:.3}\",\"peer\":\"{}\",\"method\":\"{}\",\"path\":\"",
        subject.peer, subject.method
    );
    escape(out, subject.path.as_bytes(), "\\u00");
    let _ = write!(
        out,
        "\",\"route\":\"{}\",\"protocol\":\"{}\",\"status\":{},\"error\":\"{}\",\"bytes\":{},\
         \"duration_seconds\":{:.6}",
        outcome.route,
        version(subject.version),
        outcome.status,
        outcome.error,
        outcome.bytes,
        outcome.duration.as_secs_f64()
    );
    for (name, value) in [("referer", &subject.referer), ("user_agent", &subject.user_agent)] {
        if let Some(value) = value {
            let _ = write!(out, ",\"{name}\":\"");
            escape(out, value, "\\u00");
            out.push('"');
        }
    }
    out.push('}');
}

/// Appends visible ASCII as it is and everything else, quotes and backslashes included, as
/// `prefix` and two hex digits.
fn escape(out: &mut String, bytes: &[u8], prefix: &str) {
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "{prefix}{byte:02x}");
            }
        }
    }
}

/// Hands lines to a thread that writes them, so that a slow reader of standard output never
/// delays a request: a line that finds the queue full is dropped and counted.
#[derive(Clone)]
pub struct AccessLog {
    format: AccessLogFormat,
    lines: SyncSender<String>,
    dropped: Counter,
}

impl AccessLog {
    /// Starts the writing thread; it ends, with everything written, once all clones are dropped.
    ///
    /// # Errors
    ///
    /// The kernel's, if there can be no further thread.
    pub fn spawn(
        format: AccessLogFormat,
        dropped: Counter,
    ) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (lines, waiting) = sync_channel(MAX_WAITING_LINES);
        let writer = move || write_lines(&waiting, &mut io::stdout().lock());
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(writer)?;
        Ok((Self { format, lines, dropped }, thread))
    }

    /// Writes one line, or counts it as dropped.
    pub fn log(&self, subject: &Subject, outcome: Outcome<'_>) {
        let line = line(self.format, Timestamp::now(), subject, outcome);
        if self.lines.try_send(line).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// Writes what waits, flushing when nothing more does. Ends when the senders are gone or the
/// reader of the output is.
fn write_lines(waiting: &Receiver<String>, out: &mut impl io::Write) {
    let mut out = io::BufWriter::new(out);
    while let Ok(first) = waiting.recv() {
        let written = std::iter::once(first)
            .chain(waiting.try_iter())
            .try_for_each(|line| out.write_all(line.as_bytes()))
            .and_then(|()| out.flush());
        if let Err(error) = written {
            tracing::error!(%error, "the access log cannot be written; it stops here");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(path: &str, agent: &[u8]) -> Subject {
        Subject {
            peer: IpAddr::from([192, 0, 2, 1]),
            method: "GET".into(),
            path: path.into(),
            version: Version::Http11,
            referer: None,
            user_agent: Some(agent.into()),
        }
    }

    const OUTCOME: Outcome<'static> = Outcome {
        status: 200,
        error: "",
        route: "/a",
        bytes: 5,
        duration: Duration::from_micros(1500),
    };

    #[test]
    fn combined_is_the_format_log_tools_read() {
        let at: Timestamp = "2026-11-22T01:02:03Z".parse().expect("a time");
        let line = line(AccessLogFormat::Combined, at, &subject("/a", b"curl/8"), OUTCOME);
        assert_eq!(
            line,
            "192.0.2.1 - - [22/Nov/2026:01:02:03 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n"
        );
    }

    #[test]
    fn no_byte_of_a_request_can_forge_a_line() {
        let evil = subject("/\"}\n\u{9b}31m", b"a\"b\\c\x80\x9b[0m");
        for format in [AccessLogFormat::Common, AccessLogFormat::Combined, AccessLogFormat::Json] {
            let line = line(format, Timestamp::UNIX_EPOCH, &evil, OUTCOME);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{line}");
        }
        let json = line(AccessLogFormat::Json, Timestamp::UNIX_EPOCH, &evil, OUTCOME);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["status"], 200);
        assert!(value["path"].as_str().is_some_and(|path| path.starts_with("/\"}\n")));
    }
}
