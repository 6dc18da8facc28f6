//! What a page is written on: families, samples and histograms in the format that is asked for.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use prost::encoding::{self, WireType, encode_key, encode_varint};

use crate::metrics::buckets::{Buckets, Histograms, SCHEMA};
use crate::metrics::proto::{self, LabelPair, MetricType, Timestamp};
use crate::metrics::store::{Exemplar, HistogramTotals, Traces};
use crate::metrics::text::{self, Format, Kind, Millis, Nanos};
use crate::metrics::{Family, Shown};

use super::spans;

/// The labels of one series, ready to be copied into what is written of it.
#[derive(Debug)]
pub(super) struct Labels {
    format: Format,
    /// Text, or encoded `LabelPair`s.
    encoded: Vec<u8>,
    text: String,
    /// What all series begin with, in bytes of `encoded` and of `text`.
    kept: (usize, usize),
}

impl Labels {
    pub(super) fn new(format: Format) -> Self {
        Self { format, encoded: Vec::new(), text: String::new(), kept: (0, 0) }
    }

    pub(super) fn clear(&mut self) {
        self.encoded.truncate(self.kept.0);
        self.text.truncate(self.kept.1);
    }

    /// From now on all series have this label, if any, in front of their own.
    pub(super) fn begin_with(&mut self, label: Option<(&str, &str)>) {
        self.kept = (0, 0);
        self.clear();
        if let Some((name, value)) = label {
            self.push(name, value);
        }
        self.kept = (self.encoded.len(), self.text.len());
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        if self.format == Format::Protobuf {
            let size =
                |text: &str| 1 + encoding::encoded_len_varint(text.len() as u64) + text.len();
            encode_key(1, WireType::LengthDelimited, &mut self.encoded);
            encode_varint((size(name) + size(value)) as u64, &mut self.encoded);
            push_text(&mut self.encoded, 1, name);
            push_text(&mut self.encoded, 2, value);
            return;
        }
        if !self.text.is_empty() {
            self.text.push(',');
        }
        text::label(&mut self.text, name, value);
    }
}

/// A field of a message that is text.
fn push_text(out: &mut Vec<u8>, tag: u32, text: &str) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    /// A duration or a moment, shown in seconds.
    Seconds(Nanos),
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Seconds(nanos) => nanos.fmt(f),
            Self::Float(number) => number.fmt(f),
        }
    }
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
    fn as_double(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Seconds(Nanos(nanos)) => nanos as f64 / 1e9,
            Self::Float(number) => number,
        }
    }
}

/// Families on their way to a scraper.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    format: Format,
    histograms: Histograms,
    /// Whether `OpenMetrics` gets a line for the birth of a counter or histogram.
    created_lines: bool,
    /// Time series that were written, as a reader counts them.
    series: usize,
    of: Option<Family>,
    /// What can be sent.
    ready: Vec<u8>,
    /// The text of it, as long as it is text.
    text: String,
    /// The message of the family that is being written: its length stands before it.
    message: Vec<u8>,
    metrics: usize,
    histogram: proto::Histogram,
    /// Bytes that were written, ready or not.
    written: usize,
}

impl Sheet {
    pub(super) fn new(format: Format, shown: &Shown) -> Self {
        let created_lines = shown.created_lines && format == Format::OpenMetrics;
        Self { format, histograms: shown.histograms, created_lines, ..Self::default() }
    }

    /// Time series that were written so far. A native histogram is one.
    pub(super) fn series(&self) -> usize {
        self.series
    }

    /// Bytes that were written since the last [`Self::take`], ready or not.
    pub(super) fn written(&self) -> usize {
        self.written + self.text.len()
    }

    /// Takes what can be sent; of a family in protobuf that is all or nothing.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.written = 0;
        match self.format {
            Format::Text | Format::OpenMetrics => std::mem::take(&mut self.text).into_bytes(),
            Format::Protobuf => std::mem::take(&mut self.ready),
        }
    }

    /// Makes room for a piece.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if self.format != Format::Protobuf {
            self.text.reserve(bytes);
        }
    }

    /// Begins a family and ends the one before.
    pub(super) fn family(&mut self, of: Family) {
        self.end_family();
        self.of = Some(of);
        if self.format != Format::Protobuf {
            return text::family(&mut self.text, self.format, of.name, of.kind, of.help);
        }
        push_text(&mut self.message, 1, of.name);
        push_text(&mut self.message, 2, of.help);
        let kind = match of.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        encoding::int32::encode(3, &(kind as i32), &mut self.message);
    }

    /// Ends the last family, and the page.
    pub(super) fn end(&mut self) {
        self.end_family();
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
    }

    fn end_family(&mut self) {
        // A family without metrics is none in protobuf.
        if std::mem::take(&mut self.metrics) > 0 {
            encode_varint(self.message.len() as u64, &mut self.ready);
            self.ready.extend_from_slice(&self.message);
        }
        self.message.clear();
    }

    /// Writes a line of text 0.0.4 about the family that was begun, with `labels` in front of its
    /// own.
    ///
    /// `born` is when its counters were 0.
    pub(super) fn line(&mut self, labels: &mut Labels, line: &str, born: SystemTime) {
        labels.clear();
        if self.format != Format::Protobuf && !self.created_lines && labels.text.is_empty() {
            self.text.push_str(line);
            self.series += 1;
            return self.text.push('\n');
        }
        for sample in text::read::samples(line) {
            labels.clear();
            for (name, value) in &sample.labels {
                labels.push(name, value);
            }
            self.sample(labels, Number::Float(sample.value), Some(born));
        }
    }

    /// Writes a sample of the family that was begun; of a counter, `born` is when it was 0.
    pub(super) fn sample(&mut self, labels: &Labels, value: Number, born: Option<SystemTime>) {
        self.counter(labels, value, born, None);
    }

    /// The same of a counter with a trace of what it counted last.
    pub(super) fn counter(
        &mut self,
        labels: &Labels,
        value: Number,
        born: Option<SystemTime>,
        trace: Option<Exemplar>,
    ) {
        let Some(of) = self.of else { return };
        let born = born.filter(|_| of.kind == Kind::Counter);
        if self.format != Format::Protobuf {
            text::sample(&mut self.text, of.name, &labels.text, value);
            if let Some(trace) = trace {
                self.text.pop();
                push_exemplar(&mut self.text, &trace);
                self.text.push('\n');
            }
            self.series += 1;
            return self.created_line(labels, born);
        }
        let value = value.as_double();
        let (exemplar, created_timestamp) =
            (trace.as_ref().map(exemplar_message), born.map(whole_second));
        match of.kind {
            Kind::Counter => {
                self.metric(labels, 3, &proto::Counter { value, exemplar, created_timestamp });
            }
            Kind::Gauge => self.metric(labels, 2, &proto::Gauge { value }),
            // Those are written by `histogram`.
            Kind::Histogram => {}
        }
        self.series += 1;
    }

    fn created_line(&mut self, labels: &Labels, born: Option<SystemTime>) {
        let (Some(of), Some(born), true) = (self.of, born, self.created_lines) else { return };
        let name = of.name.strip_suffix("_total").unwrap_or(of.name);
        let since = born.duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{name}_created");
        text::sample(&mut self.text, &name, &labels.text, Millis(since.as_millis()));
        self.series += 1;
    }

    /// Writes a histogram of the family that was begun.
    pub(super) fn histogram(&mut self, labels: &Labels, of: &Observed<'_>) {
        match (self.format, self.of) {
            (_, None) => {}
            (Format::Text | Format::OpenMetrics, Some(family)) => {
                self.histogram_lines((family.name, &labels.text), of);
                self.created_line(labels, of.born);
            }
            (Format::Protobuf, Some(_)) => self.histogram_message(labels, of),
        }
    }

    fn histogram_lines(&mut self, (name, labels): (&str, &str), of: &Observed<'_>) {
        let out = &mut self.text;
        let counts = of.bounds.in_buckets(&of.totals.cells);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut cumulative = 0;
        for (index, (le, count)) in of.bounds.labels().zip(counts).enumerate() {
            cumulative += count;
            for part in [name, "_bucket{", labels, comma, "le=\"", le, "\"} "] {
                out.push_str(part);
            }
            let mut digits = itoa::Buffer::new();
            out.push_str(digits.format(cumulative));
            if let Some(exemplar) = of.slowest(index) {
                push_exemplar(out, exemplar);
            }
            out.push('\n');
        }
        let suffixed = |suffix| format!("{name}{suffix}");
        text::sample(out, &suffixed("_sum"), labels, Nanos(of.totals.sum_nanos));
        text::sample(out, &suffixed("_count"), labels, cumulative);
        self.series += of.bounds.len() + 2;
    }

    fn histogram_message(&mut self, labels: &Labels, of: &Observed<'_>) {
        // The same message again and again, so that its lists are allocated once.
        let mut message = std::mem::take(&mut self.histogram);
        message.sample_count = of.totals.count();
        message.sample_sum = short_double(of.totals.sum_nanos);
        message.created_timestamp = of.born.map(whole_second);
        message.bucket.clear();
        message.exemplars.clear();
        let native = of.bounds.native().filter(|_| self.histograms != Histograms::Classic);
        if native.is_none() || self.histograms == Histograms::Both {
            push_buckets(&mut message.bucket, of);
            self.series += of.bounds.len() + 2;
        }
        if let Some(native) = native {
            message.schema = SCHEMA;
            message.zero_threshold = native.zero_threshold();
            message.zero_count = 0;
            let counts = of.bounds.in_native(&of.totals.cells).filter_map(|(bucket, count)| {
                let index = native.index(bucket);
                if index.is_none() {
                    message.zero_count = count;
                }
                Some((index?, count))
            });
            let counts: Vec<_> = counts.collect();
            spans::write(counts.into_iter(), &mut message);
            let mut exemplars: Vec<_> =
                of.traces.iter().flat_map(|traces| [traces.newest, traces.slowest]).collect();
            // Prometheus takes none that is older than the one before.
            exemplars.sort_by_key(|exemplar| exemplar.at);
            exemplars.dedup();
            message.exemplars.extend(exemplars.iter().map(exemplar_message));
            self.series += 1;
        }
        self.metric(labels, 7, &message);
        self.histogram = message;
    }

    /// Adds a metric to the family: its labels, and its value as the field with this tag.
    fn metric(&mut self, labels: &Labels, tag: u32, value: &impl Message) {
        let before = self.message.len();
        let bytes = labels.encoded.len() + encoding::message::encoded_len(tag, value);
        encode_key(4, WireType::LengthDelimited, &mut self.message);
        encode_varint(bytes as u64, &mut self.message);
        self.message.extend_from_slice(&labels.encoded);
        encoding::message::encode(tag, value, &mut self.message);
        self.metrics += 1;
        self.written += self.message.len() - before;
    }
}

impl Observed<'_> {
    /// The trace that a bucket of our choice shows: it has a place for one.
    fn slowest(&self, bucket: usize) -> Option<&Exemplar> {
        let traces = self.traces.iter().find(|traces| traces.bucket == bucket);
        traces.map(|traces| &traces.slowest)
    }
}

/// One histogram as it is now.
pub(super) struct Observed<'a> {
    pub(super) bounds: &'a Buckets,
    pub(super) totals: &'a HistogramTotals,
    /// When it was empty.
    pub(super) born: Option<SystemTime>,
    /// Of the buckets that have any.
    pub(super) traces: &'a [Traces],
}

fn push_buckets(buckets: &mut Vec<proto::Bucket>, of: &Observed<'_>) {
    let mut cumulative_count = 0;
    let counts = of.bounds.in_buckets(&of.totals.cells);
    for (index, (upper_bound, count)) in of.bounds.upper_bounds().zip(counts).enumerate() {
        cumulative_count += count;
        let exemplar = of.slowest(index).map(exemplar_message);
        // Prometheus adds the last bucket by itself.
        if upper_bound.is_finite() || exemplar.is_some() {
            buckets.push(proto::Bucket { cumulative_count, upper_bound, exemplar });
        }
    }
}

fn push_exemplar(out: &mut String, exemplar: &Exemplar) {
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    out.push_str(" # {");
    text::label(out, "trace_id", &trace_id(exemplar));
    // Writing to a String cannot fail.
    let _ = fmt::Write::write_fmt(out, format_args!("}} {} {}", Nanos(exemplar.nanos), Millis(at)));
}

fn trace_id(exemplar: &Exemplar) -> String {
    format!("{:032x}", exemplar.trace_id)
}

fn exemplar_message(exemplar: &Exemplar) -> proto::Exemplar {
    proto::Exemplar {
        label: vec![LabelPair { name: "trace_id".to_owned(), value: trace_id(exemplar) }],
        value: Number::Seconds(Nanos(exemplar.nanos)).as_double(),
        timestamp: Some(timestamp(exemplar.at)),
    }
}

/// A sum in seconds as a double whose last bits are 0, so that it compresses: a multiple of 2^-30,
/// which is 0.93 ns. So it is off by less than half a nanosecond, and no two sums are the same.
#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
pub(super) fn short_double(nanos: u64) -> f64 {
    const UNITS: f64 = 1_073_741_824.0;
    (nanos as f64 / 1e9 * UNITS).round() / UNITS
}

/// A birth, as the second in which it was: its series was 0 then, and fractions are a tenth of a
/// compressed page.
fn whole_second(at: SystemTime) -> Timestamp {
    Timestamp { nanos: 0, ..timestamp(at) }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}
