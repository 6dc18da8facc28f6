//! One line of an access log, in any of the formats that servers and load balancers write.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use redcar::metrics::{CLIENT_CLOSED_REQUEST, ErrorToken};

use self::fields::Fields;

mod fields;

/// What is told where nothing was understood.
pub(super) const FORMATS: &str = "common and combined (nginx, Apache, Envoy, Gunicorn), \
    HAProxy's httplog, AWS load balancers (application and classic), JSON (of this program, nginx, \
    Traefik, Caddy, Envoy, Istio), Docker's json-file around any of them, logfmt, and W3C with a \
    #Fields line (IIS, CloudFront)";

/// What a line says of a request.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// 499 where the log has none: nobody got an answer.
    pub(super) status: u16,
    pub(super) error: Option<ErrorToken>,
    /// 0 where the format has none.
    pub(super) duration: Duration,
    pub(super) bytes: u64,
    pub(super) user_agent: Option<String>,
}

/// A line that is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("it has no request in quotes, and is neither JSON nor logfmt")]
    NoRequest,
    #[error("it is no complete JSON object")]
    Json,
    #[error("it has no method")]
    NoMethod,
    #[error("its method is none of HTTP")]
    Method,
    #[error("it has no path")]
    NoPath,
    #[error("it has no status between 100 and 999")]
    Status,
    #[error("it has fewer columns than its #Fields line")]
    Columns,
    #[error("it is longer than {} KiB", super::MAX_LINE_BYTES / 1024)]
    TooLong,
}

/// Reads lines; remembers what a `#Fields` line said of those that follow.
#[derive(Default)]
pub(super) struct Reader {
    columns: Vec<String>,
}

impl Reader {
    /// Understands a line in any of the formats; `None` for one that is not meant to be a request:
    /// empty, or a directive.
    ///
    /// # Errors
    ///
    /// Why it is no request.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<Result<Entry, LineError>> {
        // Paths may have any byte; what is no text is a replacement character, as in a browser.
        let text = String::from_utf8_lossy(line);
        let line = text.trim().trim_start_matches('\u{feff}');
        if let Some(columns) = line.strip_prefix("#Fields:") {
            self.columns = columns.split_whitespace().map(str::to_owned).collect();
            return None;
        }
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        Some(if self.columns.is_empty() { any(line) } else { self.w3c(line) })
    }

    /// W3C extended log file format: IIS has spaces between columns, `CloudFront` tabs.
    fn w3c(&self, line: &str) -> Result<Entry, LineError> {
        let mut values: Vec<_> = line.split('\t').collect();
        if values.len() == 1 {
            values = line.split(' ').collect();
        }
        if values.len() < self.columns.len() {
            return Err(LineError::Columns);
        }
        let columns = self.columns.iter().map(String::as_str).zip(values);
        Fields::of(columns.filter(|(_, value)| *value != "-")).entry()
    }
}

/// A line that needs no other.
fn any(line: &str) -> Result<Entry, LineError> {
    if line.starts_with('{') {
        return json(line);
    }
    // Exported by a tool that quotes whole lines.
    if let Some(inner) = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let inner = inner.replace("\\\"", "\"").replace("\"\"", "\"");
        return any(&inner);
    }
    // A quote behind `=` is a value's.
    if line.split_once('"').is_none_or(|(before, _)| before.ends_with('='))
        && let Some(entry) = logfmt(line)
    {
        return entry;
    }
    quoted_line(line)
}

/// JSON of one of the known shapes, or Docker's wrapper around a line of anything.
fn json(line: &str) -> Result<Entry, LineError> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|_broken| LineError::Json)?;
    let object = value.as_object().ok_or(LineError::Json)?;
    if let Some(inner) = object.get("log").and_then(|log| log.as_str())
        && object.contains_key("stream")
    {
        return any(inner.trim());
    }
    Fields::of_json(object).entry()
}

/// `key=value key="value"`; `None` where the line has no such thing as a method and a path.
fn logfmt(line: &str) -> Option<Result<Entry, LineError>> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.rsplit(char::is_whitespace).next()?;
        let (value, after) = match after.strip_prefix('"') {
            Some(after) => quoted(after)?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        pairs.push((key, value));
        rest = after;
    }
    let entry = Fields::of(pairs.into_iter()).entry();
    (!matches!(entry, Err(LineError::NoMethod | LineError::NoPath))).then_some(entry)
}

/// Lines that have the request in quotes. What stands before and behind it tells the format.
fn quoted_line(line: &str) -> Result<Entry, LineError> {
    let (before, rest) = line.split_once('"').ok_or(LineError::NoRequest)?;
    let (request, rest) = quoted(rest).ok_or(LineError::NoRequest)?;
    let words: Vec<_> = before.split_ascii_whitespace().collect();
    if let Some(answer) = haproxy(&words) {
        return answer?.entry(request, None);
    }
    let agent = |rest: &str| {
        let (_, rest) = rest.split_once('"')?;
        quoted(rest).map(|(agent, _)| agent.to_owned())
    };
    if let Some(answer) = load_balancer(&words) {
        return answer?.entry(request, agent(rest));
    }
    let mut words = rest.split_ascii_whitespace();
    let status = status(words.next())?;
    let bytes = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    // Behind the third quote stands the referer, behind the fifth the agent.
    let behind_referer = rest.split_once('"').and_then(|(_, rest)| quoted(rest));
    let agent = behind_referer.and_then(|(_, rest)| agent(rest));
    Answer { status, bytes, duration: Duration::ZERO }.entry(request, agent)
}

/// What stands around the request in quotes.
struct Answer {
    status: u16,
    bytes: u64,
    duration: Duration,
}

impl Answer {
    fn entry(self, request: &str, user_agent: Option<String>) -> Result<Entry, LineError> {
        let (method, target) = request_line(request)?;
        let Self { status, bytes, duration } = self;
        Ok(Entry { duration, bytes, ..entry(method, target, status, user_agent)? })
    }
}

/// `… frontend backend/server TR/Tw/Tc/Tr/Ta status bytes …`; `None` for another format.
///
/// # Source
///
/// `HAProxy`'s manual, 8.2.3 "HTTP log format".
fn haproxy(words: &[&str]) -> Option<Result<Answer, LineError>> {
    let is_time = |word: &str| {
        let word = word.trim_start_matches(['+', '-']);
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_timers = |word: &&str| word.split('/').count() == 5 && word.split('/').all(is_time);
    let at = words.iter().position(is_timers)?;
    let [timers, code, bytes, ..] = words.get(at..)? else { return None };
    let total = timers.rsplit('/').next()?.trim_start_matches('+');
    Some(status(Some(code)).map(|status| Answer {
        status,
        bytes: bytes.trim_start_matches('+').parse().unwrap_or(0),
        duration: Duration::from_millis(total.parse().unwrap_or(0)),
    }))
}

/// `type time elb client:port target:port t t t status status received sent`, of which a classic
/// balancer has no type; `None` for another format.
///
/// # Source
///
/// AWS, "Access logs for your Application Load Balancer" and "… Classic Load Balancer".
fn load_balancer(words: &[&str]) -> Option<Result<Answer, LineError>> {
    let words = match words {
        ["http" | "https" | "h2" | "grpcs" | "ws" | "wss", rest @ ..] => rest,
        classic => classic,
    };
    let [_, _, _, _, read, wait, write, code, _, _, sent] = words else { return None };
    let times: Option<Vec<f64>> = [read, wait, write].into_iter().map(|t| t.parse().ok()).collect();
    // -1 where it did not come so far.
    let seconds = times?.into_iter().filter(|seconds| *seconds > 0.0).sum();
    Some(status(Some(code)).map(|status| Answer {
        status,
        bytes: sent.parse().unwrap_or(0),
        duration: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO),
    }))
}

/// Text up to the next quote that no backslash stands before, and what comes after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let is_end = |c: char| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    };
    text.split_once(is_end)
}

/// `method target protocol`, of which the protocol may be missing, as in HTTP/0.9.
fn request_line(request: &str) -> Result<(&str, &str), LineError> {
    let (method, target) = request.split_once(' ').ok_or(LineError::NoPath)?;
    let target = match target.rsplit_once(' ') {
        Some((target, protocol)) if protocol.starts_with("HTTP/") => target,
        Some(_) | None => target,
    };
    Ok((method, target))
}

/// A status; `-`, 0 and -1 say that nobody got one.
fn status(word: Option<&str>) -> Result<u16, LineError> {
    match word {
        Some("-" | "-1" | "0") => Ok(CLIENT_CLOSED_REQUEST),
        Some(word) => word.parse().map_err(|_no_number| LineError::Status),
        None => Err(LineError::Status),
    }
}

fn entry(
    method: &str,
    target: &str,
    status: u16,
    user_agent: Option<String>,
) -> Result<Entry, LineError> {
    Method::from_bytes(method.as_bytes()).map_err(|_no_token| LineError::Method)?;
    let path = path_of(target);
    // A request whose head did not parse has no path.
    if !path.starts_with('/') && path != "*" {
        return Err(LineError::NoPath);
    }
    if !(100..=999).contains(&status) {
        return Err(LineError::Status);
    }
    Ok(Entry {
        method: method.to_owned(),
        path: path.to_owned(),
        status,
        error: None,
        duration: Duration::ZERO,
        bytes: 0,
        user_agent,
    })
}

/// The path of a target in any form, as the proxy sees it.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

/// A line for people: what may not reach a terminal is escaped, and the end is left out.
pub(super) fn shown(line: &[u8]) -> String {
    const LONGEST: usize = 160;
    let text: Cow<'_, str> = String::from_utf8_lossy(line);
    let mut shown: String =
        text.trim().chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.trim().chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
