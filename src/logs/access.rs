//! Access-log lines.
//!
//! Every byte that a peer chose is escaped, so that no request can forge a line, move a terminal's
//! cursor or end a JSON string. Header values other than Referer and User-Agent, queries, and
//! segments of a path that look like a secret or an address are never logged.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use crate::config::AccessLogFormat;
use crate::http::h1::Version;
use crate::logs::lines::Lines;
use crate::logs::seldom::Seldom;

/// What a line says of a request, taken when its head was read.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The client's address.
    pub peer: IpAddr,
    /// The method as sent.
    pub method: Box<str>,
    /// The path, without query and secrets.
    pub path: Box<str>,
    /// The client's protocol version; `None` if its head did not parse or did not come.
    pub version: Option<Version>,
    /// The Referer field, without query and secrets.
    pub referer: Option<Box<[u8]>>,
    /// The User-Agent field.
    pub user_agent: Option<Box<[u8]>>,
}

impl Subject {
    /// A request whose head did not parse or did not come: nothing is known of it.
    pub(crate) fn unparsed(peer: IpAddr) -> Self {
        let (method, path) = ("-".into(), "-".into());
        Self { peer, method, path, version: None, referer: None, user_agent: None }
    }
}

/// What a line says of the ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'a> {
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
pub(crate) fn line(
    format: AccessLogFormat,
    at: SystemTime,
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
                    Some(value) => escape(&mut out, value),
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

fn common(out: &mut String, at: SystemTime, subject: &Subject, outcome: Outcome<'_>) {
    let _ = write!(out, "{} - - [{}] \"", subject.peer, clf_time(at));
    escape(out, subject.method.as_bytes());
    if let Some(known) = subject.version {
        out.push(' ');
        escape(out, subject.path.as_bytes());
        let _ = write!(out, " {}", version(known));
    }
    let _ = write!(out, "\" {} ", outcome.status);
    match outcome.bytes {
        0 => out.push('-'),
        bytes => {
            let _ = write!(out, "{bytes}");
        }
    }
}

/// `22/Nov/2026:01:02:03 +0000`, of `Sun, 22 Nov 2026 01:02:03 GMT`.
fn clf_time(at: SystemTime) -> String {
    let date = httpdate::fmt_http_date(at);
    let mut words = date.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year, time) = (next(), next(), next(), next());
    format!("{day}/{month}/{year}:{time} +0000")
}

fn json(out: &mut String, at: SystemTime, subject: &Subject, outcome: Outcome<'_>) {
    let time = humantime::format_rfc3339_millis(at);
    let _ = write!(out, "{{\"time\":\"{time}\",\"peer\":\"{}\"", subject.peer);
    json_text(out, "method", subject.method.as_bytes());
    json_text(out, "path", subject.path.as_bytes());
    json_text(out, "route", outcome.route.as_bytes());
    json_text(out, "protocol", subject.version.map_or("-", version).as_bytes());
    let _ = write!(out, ",\"status\":{}", outcome.status);
    json_text(out, "error", outcome.error.as_bytes());
    let (bytes, seconds) = (outcome.bytes, outcome.duration.as_secs_f64());
    let _ = write!(out, ",\"bytes\":{bytes},\"duration_seconds\":{seconds:.6}");
    for (name, value) in [("referer", &subject.referer), ("user_agent", &subject.user_agent)] {
        if let Some(value) = value {
            json_text(out, name, value);
        }
    }
    out.push('}');
}

fn json_text(out: &mut String, name: &str, value: &[u8]) {
    let _ = write!(out, ",\"{name}\":\"");
    escape_json(out, value);
    out.push('"');
}

/// Appends visible ASCII as it is and everything else, quotes and backslashes included, as `\x`
/// and two hex digits.
fn escape(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// Appends the inside of a JSON string, in ASCII, which is the text that was sent.
///
/// Bytes that are no UTF-8 are U+FFFD and two hex digits each. So are the bytes of a U+FFFD that
/// was sent: what the string says can be told in one way only.
fn escape_json(out: &mut String, bytes: &[u8]) {
    const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;
    let foreign = |out: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(out, "\\ufffd{byte:02x}");
        }
    };
    for part in bytes.utf8_chunks() {
        for char in part.valid().chars() {
            match char {
                ' '..='~' if char != '"' && char != '\\' => out.push(char),
                REPLACEMENT => foreign(out, "\u{fffd}".as_bytes()),
                _ => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
        foreign(out, part.invalid());
    }
}

/// The log of requests, on standard output. A slow reader never delays a request: see `lines`.
#[derive(Clone)]
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    lines: Lines,
}

impl AccessLog {
    /// Starts the writing thread; it ends, with everything written, once all clones are dropped.
    ///
    /// # Errors
    ///
    /// The kernel's, if there can be no further thread.
    pub(crate) fn spawn(format: AccessLogFormat) -> io::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        let lines = Lines::spawn("access-log", out, |error| {
            static FAILED: Seldom = Seldom::new();
            if FAILED.due().is_some() {
                tracing::error!(%error, "the access log cannot be written; its lines are lost");
            }
        })?;
        Ok(Self { format, lines })
    }

    /// Writes one line, or counts it as lost.
    pub(crate) fn log(&self, subject: &Subject, outcome: Outcome<'_>) {
        // A clock before 1970 has no date in these formats.
        let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
        self.lines.write(line(self.format, now, subject, outcome).into_bytes());
    }

    /// Counts the lines that were lost.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.lines.lost()
    }

    /// Waits until all lines are written, at most for `limit`. Tells how many are not.
    pub(crate) fn flush(&self, limit: Duration) -> u64 {
        self.lines.flush(limit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn subject(path: &str, agent: &[u8]) -> Subject {
        Subject {
            peer: IpAddr::from([192, 0, 2, 1]),
            method: "GET".into(),
            path: path.into(),
            version: Some(Version::Http11),
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

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).expect("a time")
    }

    fn json_of(subject: &Subject, outcome: Outcome<'_>) -> serde_json::Value {
        let line = line(AccessLogFormat::Json, UNIX_EPOCH, subject, outcome);
        assert!(line.ends_with('\n') && line.is_ascii(), "{line}");
        serde_json::from_str(&line).expect("JSON")
    }

    #[test]
    fn the_formats_are_those_that_log_tools_read() {
        for (format, time, expected) in [
            (
                AccessLogFormat::Common,
                "2026-11-22T01:02:03Z",
                "192.0.2.1 - - [22/Nov/2026:01:02:03 +0000] \"GET /a HTTP/1.1\" 200 5\n",
            ),
            (
                AccessLogFormat::Combined,
                "2024-02-29T23:59:59.999Z",
                "192.0.2.1 - - [29/Feb/2024:23:59:59 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n",
            ),
            (
                AccessLogFormat::Json,
                "2026-11-22T01:02:03.004Z",
                "{\"time\":\"2026-11-22T01:02:03.004Z\",\"peer\":\"192.0.2.1\",\"method\":\"GET\",\
                 \"path\":\"/a\",\"route\":\"/a\",\"protocol\":\"HTTP/1.1\",\"status\":200,\
                 \"error\":\"\",\"bytes\":5,\"duration_seconds\":0.001500,\
                 \"user_agent\":\"curl/8\"}\n",
            ),
        ] {
            assert_eq!(line(format, at(time), &subject("/a", b"curl/8"), OUTCOME), expected);
        }
    }

    #[test]
    fn of_a_request_that_did_not_parse_the_line_says_what_is_known() {
        let unparsed = Subject::unparsed(IpAddr::from([192, 0, 2, 1]));
        let outcome = Outcome { status: 408, error: "http_request_error", bytes: 0, ..OUTCOME };
        let common = line(AccessLogFormat::Common, at("2026-11-22T01:02:03Z"), &unparsed, outcome);
        assert_eq!(common, "192.0.2.1 - - [22/Nov/2026:01:02:03 +0000] \"-\" 408 -\n");
        let json = json_of(&unparsed, outcome);
        for (name, value) in
            [("method", "-"), ("path", "-"), ("protocol", "-"), ("error", "http_request_error")]
        {
            assert_eq!(json[name], value, "{name}");
        }
        assert_eq!((&json["status"], json.get("user_agent")), (&408.into(), None));
    }

    #[test]
    fn no_byte_of_a_request_can_forge_a_line() {
        let evil = subject("/\"}\n\u{9b}31m", b"a\"b\\c\x80\x9b[0m\xc2\x9b31m\x7f\x1b]0;");
        let outcome = Outcome { route: "/a\"\n\\\u{9b}", ..OUTCOME };
        for format in [AccessLogFormat::Common, AccessLogFormat::Combined, AccessLogFormat::Json] {
            let line = line(format, UNIX_EPOCH, &evil, outcome);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{line}");
        }
        let json = json_of(&evil, outcome);
        assert_eq!((&json["status"], &json["route"]), (&200.into(), &outcome.route.into()));
        assert_eq!(json["path"], *evil.path);
    }

    #[test]
    fn json_says_what_was_sent_and_of_other_bytes_which_they_were() {
        for (sent, logged) in [
            (
                "caf\u{e9} \u{65e5}\u{672c} \u{1f600}".as_bytes(),
                "caf\u{e9} \u{65e5}\u{672c} \u{1f600}",
            ),
            (b"C:\\x\xe9\xff", "C:\\x\u{fffd}e9\u{fffd}ff"),
            ("\u{fffd}e9".as_bytes(), "\u{fffd}ef\u{fffd}bf\u{fffd}bde9"),
            (b"\xed\xa0\x80", "\u{fffd}ed\u{fffd}a0\u{fffd}80"),
        ] {
            assert_eq!(json_of(&subject("/", sent), OUTCOME)["user_agent"], logged, "{sent:?}");
        }
    }

    /// The bytes that a JSON string of ours stands for.
    fn sent(text: &str) -> Vec<u8> {
        let mut parts = text.split('\u{fffd}');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            let (hex, rest) = part.split_at(2);
            bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
            bytes.extend_from_slice(rest.as_bytes());
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_had_back_from_json(
            agent in prop_oneof![
                ".{0,30}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..30),
            ],
        ) {
            let json = json_of(&subject("/", &agent), OUTCOME);
            prop_assert_eq!(sent(json["user_agent"].as_str().expect("text")), agent);
        }
    }
}
