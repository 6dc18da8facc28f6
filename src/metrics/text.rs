//! The text formats of a scrape: names, escaping, numbers, and which format a scraper wants.
//!
//! Writes lines and, in `read`, reads them; knows no metric. No I/O, no clock, no `await`.
//!
//! # Source
//!
//! Prometheus text format 0.0.4; `OpenMetrics` 1.0.

use std::fmt::Write;

pub mod read;

/// A text format of the exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text 0.0.4, understood by everything.
    Text,
    /// `OpenMetrics` 1.0, which Prometheus asks for and which carries exemplars.
    OpenMetrics,
}

/// What kind of family a `# TYPE` line announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word of a `# TYPE` line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Format {
    /// The Content-Type to send; Prometheus 3 fails a scrape without one.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Chooses by the q-values of an Accept field; text wins a tie, and where nothing fits.
    ///
    /// # Shape
    ///
    /// Any text; parameters other than `q` and `version` are ignored. Never panics.
    pub fn negotiate(accept: &str) -> Self {
        let mut text: Option<f32> = None;
        let mut open: Option<f32> = None;
        for item in accept.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let media = parts.next().unwrap_or("").to_ascii_lowercase();
            let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
            let version = find(&parameters, "version");
            let quality = find(&parameters, "q").map_or(1.0_f32, |q| q.parse().unwrap_or(0.0));
            match media.as_str() {
                "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                    open = Some(open.map_or(quality, |o| o.max(quality)));
                }
                "text/plain" if version.is_none_or(|v| v == "0.0.4") => {
                    text = Some(text.map_or(quality, |t| t.max(quality)));
                }
                "text/*" | "*/*" if text.is_none() => text = Some(quality.min(0.001)),
                _ => {}
            }
        }
        match (open, text) {
            (Some(open), text) if open > 0.0 && open > text.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }
}

fn find<'a>(parameters: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let found = parameters.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

/// Tells whether an Accept field wants JSON rather than text; text wins a tie.
///
/// # Shape
///
/// Any text. The most specific range counts (RFC 9110 §12.5.1). Never panics.
pub fn prefers_json(accept: &str) -> bool {
    let mut json = [None; 3];
    let mut text = [None; 3];
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
        let quality = find(&parameters, "q").map_or(1.0_f32, |q| q.parse().unwrap_or(0.0));
        match media.as_str() {
            "application/json" => json[0] = Some(quality),
            "application/*" => json[1] = Some(quality),
            "text/plain" => text[0] = Some(quality),
            "text/*" => text[1] = Some(quality),
            "*/*" => (json[2], text[2]) = (Some(quality), Some(quality)),
            _ => {}
        }
    }
    let best = |ranges: [Option<f32>; 3]| ranges.into_iter().flatten().next().unwrap_or(0.0);
    best(json) > best(text)
}

/// Tells whether an Accept-Encoding field allows gzip (RFC 9110 §12.5.3).
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or("");
        let refused = parts
            .filter_map(|p| p.split_once('='))
            .any(|(name, q)| name.trim() == "q" && q.trim().parse().unwrap_or(0.0) <= 0.0);
        coding.eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Writes the `# HELP` and `# TYPE` lines of a family.
///
/// In `OpenMetrics` a counter's family is named without the `_total` of its samples.
pub fn family(out: &mut String, format: Format, name: &str, kind: Kind, help: &str) {
    let name = match (format, kind) {
        (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    for c in help.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if format == Format::OpenMetrics => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(kind.as_str());
    out.push('\n');
}

/// Writes `name="value"` with the three legal escapes.
pub fn label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes one sample line: `name{labels} value`.
pub fn sample(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    out.push_str(name);
    if !labels.is_empty() {
        out.push('{');
        out.push_str(labels);
        out.push('}');
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, " {value}");
}

/// A float as Prometheus writes it: `1.0`, `0.25`, `2.5e-05`, `1e+06`.
///
/// Prometheus 3 rewrites `le="1"` to `le="1.0"`, Prometheus 2 keeps the text; writing the
/// canonical form makes one query work on both.
///
/// # Source
///
/// Go's `strconv.FormatFloat(f, 'g', -1, 64)`, with `.0` where no point or exponent is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Float(pub f64);

impl std::fmt::Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.0.abs();
        if self.0 == f64::INFINITY {
            return f.write_str("+Inf");
        }
        if size == 0.0 || (1e-4..1e6).contains(&size) || !size.is_finite() {
            // Debug of f64 is the shortest text that reads back, here always with a point.
            return write!(f, "{:?}", self.0);
        }
        let text = format!("{:e}", self.0);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(f, "{digits}e{sign}{exponent:0>2}")
    }
}

/// A whole number of nanoseconds as seconds, exact to the last digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nanos(pub u64);

impl std::fmt::Display for Nanos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const PER_SECOND: u64 = 1_000_000_000;
        write!(f, "{}.{:09}", self.0 / PER_SECOND, self.0 % PER_SECOND)
    }
}

/// Milliseconds since the epoch as seconds: the timestamp of an exemplar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Millis(pub u128);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_with_the_higher_quality() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus_3, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            (
                "application/openmetrics-text; version=\"1.0.0\"; q=0.9, */*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("a;q=x,;;=,", Format::Text),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn json_is_sent_to_whoever_prefers_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("Application/JSON;q=0.9, */*;q=0.8", true),
            ("text/html, application/json;q=0.5, text/plain;q=0.6", false),
            ("application/json, text/plain", false),
            ("application/json;q=0, */*", false),
            ("application/*, text/*;q=0.1", true),
            ("application/json;q=x,;=", false),
        ] {
            assert_eq!(prefers_json(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_only_when_asked_for() {
        for (field, accepted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("", false),
            ("br", false),
        ] {
            assert_eq!(accepts_gzip(field), accepted, "{field}");
        }
    }

    #[test]
    fn floats_are_canonical_and_sums_exact() {
        assert_eq!(Float(1.0).to_string(), "1.0");
        assert_eq!(Float(0.005).to_string(), "0.005");
        assert_eq!(Float(0.000_025).to_string(), "2.5e-05");
        assert_eq!(Float(0.000_1).to_string(), "0.0001");
        assert_eq!(Float(1_000_000.0).to_string(), "1e+06");
        assert_eq!(Float(31_536_000.0).to_string(), "3.1536e+07");
        assert_eq!(Float(f64::INFINITY).to_string(), "+Inf");
        assert_eq!(Nanos(1_500_000_001).to_string(), "1.500000001");
    }

    #[test]
    fn label_values_have_the_three_legal_escapes() {
        let mut out = String::new();
        label(&mut out, "path", "a\\b\"c\nd");
        assert_eq!(out, "path=\"a\\\\b\\\"c\\nd\"");
    }
}
