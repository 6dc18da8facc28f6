//! Values that flags may have.

use std::time::Duration;

use clap::ValueEnum;
use redcar::config::{ConfigError, parse_duration};

/// A duration or `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(pub(super) Option<Duration>);

pub(super) fn parse_limit(text: &str) -> Result<Limit, ConfigError> {
    if text == "off" { Ok(Limit(None)) } else { parse_duration(text).map(|d| Limit(Some(d))) }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum OnDemand {
    Auto,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PathsMode {
    Learn,
    Pinned,
    Raw,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum NamingMode {
    Default,
    Flask,
    Otel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum HistogramsMode {
    Classic,
    Native,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ForwardedMode {
    Append,
    Replace,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProtocolMode {
    Auto,
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AccessLogMode {
    Off,
    Common,
    Combined,
    Json,
}

/// Format of the program's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// Lines for machines.
    Json,
}

/// Severity of log messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
