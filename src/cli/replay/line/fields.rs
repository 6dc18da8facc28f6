//! Formats with names: JSON, logfmt and W3C columns. One table of what the names mean.

use std::collections::HashMap;
use std::time::Duration;

use redcar::metrics::ErrorToken;
use serde_json::{Map, Value};

use super::{Entry, LineError, entry, request_line, status};

/// How others call things; the first that is there counts. Objects within objects have dots.
const METHOD: &[&str] = &[
    "method",
    "request_method",
    "request.method",
    "RequestMethod",
    "cs-method",
    "http_method",
    "httpRequest.requestMethod",
    "http.request.method",
    "verb",
];
/// nginx has the target as it came in `request_uri`, and as it was rewritten in `uri`.
const PATH: &[&str] = &[
    "request_uri",
    "request.uri",
    "RequestPath",
    "path",
    "uri",
    "cs-uri-stem",
    "url",
    "url.path",
    "httpRequest.requestUrl",
    "target",
];
const STATUS: &[&str] = &[
    "status",
    "response_code",
    "DownstreamStatus",
    "sc-status",
    "status_code",
    "httpRequest.status",
    "http.response.status_code",
    "code",
];
const REQUEST: &[&str] = &["request", "request_line"];
const BYTES: &[&str] = &[
    "bytes",
    "body_bytes_sent",
    "bytes_sent",
    "size",
    "DownstreamContentSize",
    "sc-bytes",
    "response_size",
    "httpRequest.responseSize",
];
const USER_AGENT: &[&str] = &[
    "user_agent",
    "http_user_agent",
    "userAgent",
    "request.headers.User-Agent",
    "request_User-Agent",
    "cs(User-Agent)",
    "httpRequest.userAgent",
    "agent",
];
/// Durations, and how many seconds their number is. `None`: the text has a unit, or else a point
/// means seconds and no point milliseconds (Caddy, `CloudFront`; Envoy, IIS).
const DURATION: &[(&str, Option<f64>)] = &[
    ("duration_seconds", Some(1.0)),
    ("request_time", Some(1.0)),
    ("duration_ms", Some(1e-3)),
    ("Duration", Some(1e-9)),
    ("duration", None),
    ("time-taken", None),
    ("service", None),
    ("latency", None),
    ("httpRequest.latency", None),
];

/// What a line says by name. Names of nested objects are joined by dots.
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    pub(super) fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn of_json(object: &Map<String, Value>) -> Self {
        let mut fields = Self(HashMap::new());
        fields.add("", object, 2);
        fields
    }

    /// Takes `depth` levels of objects below this one; the first element of a list stands for it.
    fn add(&mut self, prefix: &str, object: &Map<String, Value>, depth: usize) {
        for (key, value) in object {
            let key = format!("{prefix}{key}");
            let value = value.as_array().map_or(Some(value), |list| list.first());
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Object(inner)) if depth > 0 => {
                    self.add(&format!("{key}."), inner, depth - 1);
                    continue;
                }
                Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
                    continue;
                }
            };
            self.0.insert(key, text);
        }
    }

    fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.0.get(*name)).map(String::as_str)
    }

    pub(super) fn entry(&self) -> Result<Entry, LineError> {
        let whole = self.get(REQUEST).map(request_line).transpose();
        let (method, target) = match (self.get(METHOD), self.get(PATH)) {
            (Some(method), Some(path)) => (method, path),
            (None, _) => whole?.ok_or(LineError::NoMethod)?,
            (Some(_), None) => whole?.ok_or(LineError::NoPath)?,
        };
        let status = status(self.get(STATUS))?;
        let agent = self.get(USER_AGENT).map(str::to_owned);
        let error = self.get(&["error"]);
        Ok(Entry {
            error: ErrorToken::ALL.into_iter().find(|token| Some(token.as_str()) == error),
            duration: self.duration(),
            // null, -1 and "-" are no bytes.
            bytes: self.get(BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            ..entry(method, target, status, agent)?
        })
    }

    fn duration(&self) -> Duration {
        let known = DURATION.iter().find_map(|(name, unit)| Some((self.0.get(*name)?, *unit)));
        let seconds = known.and_then(|(text, unit)| {
            let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
            let (number, suffix) = text.split_at_checked(end)?;
            let unit = match (unit, suffix) {
                (Some(unit), _) => unit,
                (None, "ns") => 1e-9,
                (None, "us" | "µs") => 1e-6,
                (None, "ms") => 1e-3,
                (None, "s") => 1.0,
                (None, _) if number.contains('.') => 1.0,
                (None, _) => 1e-3,
            };
            Some(number.trim_end_matches('µ').parse::<f64>().ok()? * unit)
        });
        seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(Duration::ZERO)
    }
}
