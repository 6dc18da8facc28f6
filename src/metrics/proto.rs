//! The messages of Prometheus' protobuf exposition, as far as they are written here.
//!
//! By `prost`'s derive from the public definition, so that no build needs a compiler of protobuf.
//!
//! # Source
//!
//! `io/prometheus/client/metrics.proto` of `prometheus/client_model`. What is 0 is left out, which
//! reads as 0; packed numbers are read like others (Protocol Buffers' encoding guide).

use prost::{Enumeration, Message};

/// What kind of metrics a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Several observations with one value each; not written here.
    Summary = 2,
    /// Not written here.
    Untyped = 3,
    /// Buckets, a sum and a count.
    Histogram = 4,
}

/// Metrics of one name. A page is a sequence of these, each behind its length.
#[derive(Clone, PartialEq, Message)]
pub struct MetricFamily {
    /// The name, with `_total` where it has one.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it means.
    #[prost(string, tag = "2")]
    pub help: String,
    /// What kind of metrics it has; written where it is 0, too.
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub r#type: Option<i32>,
    /// The metrics.
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
}

/// One metric: exactly one of its values is there.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Its labels.
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    /// The value of a gauge.
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Gauge>,
    /// The value of a counter.
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Counter>,
    /// The value of a histogram.
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

/// A label and its value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelPair {
    /// The label.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What goes up and down.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Gauge {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
}

/// What only grows.
#[derive(Clone, PartialEq, Message)]
pub struct Counter {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// A trace of what it counted last.
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<Exemplar>,
    /// When it was 0.
    #[prost(message, optional, tag = "3")]
    pub created_timestamp: Option<Timestamp>,
}

/// Durations, counted by length.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// How many there are.
    #[prost(uint64, tag = "1")]
    pub sample_count: u64,
    /// Their sum, in seconds.
    #[prost(double, tag = "2")]
    pub sample_sum: f64,
    /// Buckets with bounds of our choice; the last one, `+Inf`, is `sample_count`.
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    /// Which factor native buckets have.
    #[prost(sint32, tag = "5")]
    pub schema: i32,
    /// What is at most so long is in the zero bucket.
    #[prost(double, tag = "6")]
    pub zero_threshold: f64,
    /// How many are in the zero bucket.
    #[prost(uint64, tag = "7")]
    pub zero_count: u64,
    /// Runs of native buckets.
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<BucketSpan>,
    /// Their counts, each as the difference to the one before.
    #[prost(sint64, repeated, packed = "true", tag = "13")]
    pub positive_delta: Vec<i64>,
    /// When it was empty.
    #[prost(message, optional, tag = "15")]
    pub created_timestamp: Option<Timestamp>,
    /// Traces of some of them.
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<Exemplar>,
}

/// A run of native buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// Buckets between the run before and this one; of the first, its index.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many buckets it has.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// One bucket with a bound of our choice.
#[derive(Clone, PartialEq, Message)]
pub struct Bucket {
    /// How many are at most `upper_bound`.
    #[prost(uint64, tag = "1")]
    pub cumulative_count: u64,
    /// In seconds.
    #[prost(double, tag = "2")]
    pub upper_bound: f64,
    /// A trace of one of them.
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<Exemplar>,
}

/// A trace of an observation.
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    /// Which trace.
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    /// What was observed, in seconds.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// When it was observed.
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`: a moment, from 1970 on.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// What is left of a second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
