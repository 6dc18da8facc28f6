//! The text formats of a scrape: names, escaping, numbers.
//!
//! Writes lines and, in `read`, reads them; knows no metric. No I/O, no clock, no `await`.
//!
//! # Source
//!
//! Prometheus text format 0.0.4; `OpenMetrics` 1.0.

use std::fmt::Write;

pub(crate) mod read;

/// A format of the exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Prometheus text 0.0.4, understood by everything.
    #[default]
    Text,
    /// `OpenMetrics` 1.0, which Prometheus asks for and which carries exemplars.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, one after the other, each behind its length.
    Protobuf,
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
    /// How hard gzip tries. A page of protobuf is an eighth of a page of text: there is time to.
    pub const fn gzip_level(self) -> u32 {
        match self {
            Self::Text | Self::OpenMetrics => 1,
            Self::Protobuf => 5,
        }
    }

    /// The Content-Type to send; Prometheus 3 fails a scrape without one.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// Writes the `# HELP` and `# TYPE` lines of a family.
///
/// In `OpenMetrics` a counter's family is named without the `_total` of its samples.
pub(crate) fn family(out: &mut String, format: Format, name: &str, kind: Kind, help: &str) {
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
pub(crate) fn sample(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
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
pub(crate) struct Float(pub f64);

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
pub(crate) struct Nanos(pub u64);

impl std::fmt::Display for Nanos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const PER_SECOND: u64 = 1_000_000_000;
        write!(f, "{}.{:09}", self.0 / PER_SECOND, self.0 % PER_SECOND)
    }
}

/// Milliseconds since the epoch as seconds: the timestamp of an exemplar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Millis(pub u128);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
