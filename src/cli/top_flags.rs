//! Flags of `proxy top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use redcar::config::{ListenAddr, parse_some_time};

/// Flags of `proxy top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The metrics page to watch, of a sidecar anywhere: `http://10.0.0.7:9464/metrics`,
    /// `https://host:9464`, `host:9464`. Default: the metrics port on this machine.
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The metrics port of a sidecar on this machine.
    #[arg(long, value_name = "ADDR", default_value = ":9464", env = "REDCAR_METRICS")]
    pub(crate) metrics: ListenAddr,
    /// Verify an https page with these root certificates (PEM) instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Show this certificate (PEM) where one is asked for.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --cert.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Show the first token of this file. No variable sets it, so that no other port gets to see
    /// the token of this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_some_time)]
    pub(crate) interval: Duration,
    /// Print one table as plain text after two looks, and exit. For pipes.
    #[arg(long)]
    pub(crate) once: bool,
}
