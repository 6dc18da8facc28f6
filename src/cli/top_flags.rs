//! Flags of `proxy top`.

use std::time::Duration;

use clap::Args;
use redcar::config::{ListenAddr, parse_some_time};

use crate::cli::scrape::ReaderArgs;

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
    #[command(flatten)]
    pub(crate) reader: ReaderArgs,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_some_time)]
    pub(crate) interval: Duration,
    /// Print one table as plain text after two looks, and exit. For pipes.
    #[arg(long)]
    pub(crate) once: bool,
}
