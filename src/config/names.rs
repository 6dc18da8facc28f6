//! Where else names of paths come from: `--names-from`.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{ConfigError, Host, PathMode, Upstream};

/// Everything that names are asked of, and what they are asked with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamesFrom {
    /// Whom to ask.
    pub sources: Vec<NameSource>,
    /// What says who is asking.
    pub credentials: Option<Credentials>,
    /// Roots to verify https sources with, instead of the system's.
    pub ca: Option<PathBuf>,
}

/// A file that says who is asking. Read each time, so that it may be renewed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// A bearer token.
    Token(PathBuf),
    /// `USER:PASSWORD`.
    Basic(PathBuf),
}

/// Somebody who knows names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameSource {
    /// Over HTTP.
    Url(SourceUrl),
    /// A file.
    File(PathBuf),
}

/// An `http` or `https` URL to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceUrl {
    /// As given.
    text: String,
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// Whom to connect to.
    pub host: Host,
    /// 1 to 65535.
    pub port: u16,
    path: String,
    query: Vec<(String, String)>,
}

/// How far back a Prometheus is asked if the URL does not say: as long as a rarely used endpoint
/// may rest without losing its name.
const MEMORY: Duration = Duration::from_hours(7 * 24);

/// The metric that tells which places fold.
const FOLDS: &str = "redcar_path_folds";

impl NamesFrom {
    /// Checks what no single flag can.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NamesFrom`] where paths are not learned.
    pub fn validate(self, mode: PathMode) -> Result<Self, ConfigError> {
        if mode != PathMode::Learn && !self.sources.is_empty() {
            let reason = "names are only taken over with --paths learn".to_owned();
            return Err(ConfigError::NamesFrom(
                self.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                reason,
            ));
        }
        Ok(self)
    }
}

impl SourceUrl {
    /// The path and query to ask for now.
    pub fn target(&self, now: SystemTime) -> String {
        self.target_with(&self.path, now, str::to_owned)
    }

    /// What to ask a Prometheus for the places that fold, if it can be asked.
    pub fn folds_target(&self, now: SystemTime) -> Option<String> {
        self.label()?;
        let selectors = self.query.iter().filter(|(name, _)| name == "match[]");
        for (_, selector) in selectors {
            // A selector without a metric's name before the braces has it inside.
            selector.split('{').next().filter(|name| !name.trim().is_empty())?;
        }
        let of_folds = |selector: &str| match selector.split_once('{') {
            Some((_, matchers)) => format!("{FOLDS}{{{matchers}"),
            None => FOLDS.to_owned(),
        };
        Some(self.target_with("/label/path/values", now, of_folds))
    }

    /// Whether all addresses of the host are replicas of one another.
    pub fn asks_replicas(&self) -> bool {
        self.path.ends_with("/paths")
    }

    /// Asks for what one listener of several knows. What was stored when there was only one is the
    /// first one's, too.
    fn of_listener(&self, name: &str, is_first: bool) -> Self {
        let with = |selector: &str, value: &str| match selector.split_once('{') {
            Some((metric, matchers)) => format!("{metric}{{listener=\"{value}\",{matchers}"),
            None => format!("{selector}{{listener=\"{value}\"}}"),
        };
        let values = if is_first { &[name, ""][..] } else { &[name] };
        let mut query = Vec::new();
        for (key, value) in &self.query {
            if key == "match[]" {
                query.extend(values.iter().map(|name| (key.clone(), with(value, name))));
            } else {
                query.push((key.clone(), value.clone()));
            }
        }
        if self.asks_replicas() {
            query.push(("listener".to_owned(), name.to_owned()));
        }
        Self { query, ..self.clone() }
    }

    /// Host and port, as a request names them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The label whose values are asked for, if this is the API of a Prometheus.
    fn label(&self) -> Option<&str> {
        let (_, rest) = self.path.rsplit_once("/api/v1/label/")?;
        rest.strip_suffix("/values")
    }

    fn target_with(
        &self,
        path: &str,
        now: SystemTime,
        selector: impl Fn(&str) -> String,
    ) -> String {
        let label_values = format!("/label/{}/values", self.label().unwrap_or(""));
        let mut target = match self.path.strip_suffix(&label_values) {
            Some(before) if path.starts_with("/label/") => format!("{before}{path}"),
            _ => self.path.clone(),
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_prometheus = self.label().is_some();
        let start = |ago: Duration| now.saturating_sub(ago).as_secs().to_string();
        let mut query: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.query {
            let value = match (&**name, ago(value)) {
                ("match[]", _) => selector(value),
                ("start", Some(ago)) => start(ago),
                _ => value.clone(),
            };
            query.push((name.clone(), value));
        }
        if is_prometheus && !query.iter().any(|(name, _)| name == "start") {
            query.push(("start".to_owned(), start(MEMORY)));
        }
        for (index, (name, value)) in query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            encode(name, &mut target);
            target.push('=');
            encode(value, &mut target);
        }
        target
    }
}

/// `7d` or `-7d`, as a time before now.
fn ago(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('-').unwrap_or(text);
    // A number alone is a moment of its own.
    if text.parse::<f64>().is_ok() { None } else { humantime::parse_duration(text).ok() }
}

impl NameSource {
    /// The same, asked for what one listener of several knows; a file says it for all.
    pub(crate) fn of_listener(&self, name: &str, is_first: bool) -> Self {
        match self {
            Self::Url(url) => Self::Url(url.of_listener(name, is_first)),
            Self::File(file) => Self::File(file.clone()),
        }
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for NameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(file) => file.display().fmt(f),
        }
    }
}

impl FromStr for SourceUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |reason: &str| ConfigError::NamesFrom(text.to_owned(), reason.to_owned());
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("not a URL"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(wrong("give an http:// or https:// URL, or a file"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(wrong(
                "credentials in a flag are in every process list; give a file with --names-token-file or --names-basic-file",
            ));
        }
        let upstream = format!("{scheme}://{authority}").parse::<Upstream>();
        let (is_tls, host, port) = match upstream {
            Ok(Upstream::Tcp { host, port }) => (false, host, port),
            Ok(Upstream::Tls { host, port }) => (true, host, port),
            Ok(Upstream::Unix(_)) | Err(_) => return Err(wrong("its host or port is wrong")),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if matches!(path, "" | "/") {
            return Err(wrong(
                "give the whole URL: `http://prometheus:9090/api/v1/label/path/values?match[]=http_requests_total{job=\"shop\"}`, or `http://shop:9464/paths` for other replicas",
            ));
        }
        let mut encoded = String::new();
        encode_path(path, &mut encoded);
        let query = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        });
        let url = Self {
            text: text.to_owned(),
            is_tls,
            host,
            port,
            path: encoded,
            query: query.collect(),
        };
        if url.label().is_some() && !url.query.iter().any(|(name, _)| name == "match[]") {
            return Err(wrong(
                "without `match[]` it would bring the paths of every service; add `?match[]=http_requests_total{job=\"shop\"}`",
            ));
        }
        Ok(url)
    }
}

impl FromStr for NameSource {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text.contains("://") { text.parse().map(Self::Url) } else { Ok(Self::File(text.into())) }
    }
}

/// Percent-encodes whatever does not stand for itself in a query's name or value.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Encodes what may not stand in a path; what is encoded already stays.
fn encode_path(path: &str, out: &mut String) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Decodes `%7B`; people write selectors both ways.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let encoded = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = encoded.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_764_000_000;

    fn url(text: &str) -> SourceUrl {
        text.parse().expect("a URL")
    }

    fn target(text: &str) -> String {
        url(text).target(UNIX_EPOCH + Duration::from_secs(AT))
    }

    #[test]
    fn a_selector_may_be_written_as_in_promql_or_encoded() {
        let values = "/api/v1/label/path/values?match";
        let encoded = "%5B%5D=http_requests_total%7Bjob%3D%22a%20b%22%7D";
        let asked = format!("{values}{encoded}&start=1763992800");
        let raw = r#"[]=http_requests_total{job="a b"}"#;
        assert_eq!(target(&format!("http://prom:9090{values}{raw}&start=2h")), asked);
        assert_eq!(target(&format!("http://prom:9090{values}{encoded}&start=-2h")), asked);
    }

    #[test]
    fn the_memory_of_a_prometheus_is_a_week_unless_the_url_says_otherwise() {
        let of = |start: &str| {
            target(&format!("http://p/api/v1/label/path/values?match[]=x{start}"))
                .rsplit_once("start=")
                .map(|(_, start)| start.to_owned())
        };
        assert_eq!(of("").as_deref(), Some("1763395200"));
        assert_eq!(of("&start=1700000000.5").as_deref(), Some("1700000000.5"));
        assert_eq!(of("&start=1d").as_deref(), Some("1763913600"));
        assert_eq!(of("&start=2026-01-01T00:00:00Z").as_deref(), Some("2026-01-01T00%3A00%3A00Z"));
        assert_eq!(target("http://shop:9464/paths"), "/paths");
    }

    #[test]
    fn one_listener_of_several_is_asked_for_by_its_label() {
        let of = |text: &str, is_first| {
            let url = url(text).of_listener(":7001", is_first);
            decode(&url.target(UNIX_EPOCH + Duration::from_secs(AT)))
        };
        let values = "/api/v1/label/path/values?start=5&match[]=";
        assert_eq!(
            of(&format!("http://p{values}x{{job=\"a\"}}"), false),
            format!("{values}x{{listener=\":7001\",job=\"a\"}}")
        );
        assert_eq!(
            of(&format!("http://p{values}x"), true),
            format!("{values}x{{listener=\":7001\"}}&match[]=x{{listener=\"\"}}")
        );
        assert_eq!(of("http://shop:9464/paths", true), "/paths?listener=:7001");
    }

    #[test]
    fn the_places_that_fold_are_asked_for_with_the_same_labels() {
        let of = |text: &str| url(text).folds_target(UNIX_EPOCH + Duration::from_secs(AT));
        let folds = of(
            "https://m/prometheus/api/v1/label/http_route/values?match[]=a_count{job=\"x\"}&start=1",
        );
        let expected = "match%5B%5D=redcar_path_folds%7Bjob%3D%22x%22%7D&start=1";
        let expected = format!("/prometheus/api/v1/label/path/values?{expected}");
        assert_eq!(folds, Some(expected));
        assert_eq!(of(r#"http://p/api/v1/label/path/values?match[]={__name__="a",job="x"}"#), None);
        assert_eq!(of("http://shop:9464/paths"), None);
    }

    #[test]
    fn what_is_asked_and_what_is_refused() {
        assert_eq!("names.json".parse(), Ok(NameSource::File("names.json".into())));
        let replicas = url("http://shop-headless:9464/paths");
        assert!(replicas.asks_replicas() && !replicas.is_tls);
        assert_eq!(replicas.authority(), "shop-headless:9464");
        assert_eq!(url("https://[::1]:443/x").authority(), "[::1]:443");
        for (text, reason) in [
            ("http://prom:9090", "whole URL"),
            ("http://prom:9090/", "whole URL"),
            ("http://u:p@prom:9090/paths", "process list"),
            ("ftp://prom/paths", "http://"),
            ("http://prom:99999/paths", "host or port"),
            ("http:///paths", "host or port"),
            ("http://p/api/v1/label/path/values", "every service"),
        ] {
            let error = text.parse::<NameSource>().expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
