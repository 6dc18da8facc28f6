//! Flags of `proxy diff`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use redcar::config::parse_some_time;

use crate::cli::diff::Condition;
use crate::cli::scrape::ReaderArgs;

/// Flags of `proxy diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A saved scrape, or the metrics page of a sidecar: `before.prom`, `http://10.0.0.7:9464`,
    /// `:9464`. `-` is standard input.
    #[arg(value_name = "BEFORE")]
    pub(crate) before: String,
    /// What it is compared with. If it is of the same process, what came since BEFORE.
    #[arg(value_name = "AFTER")]
    pub(crate) after: String,
    /// Exit with 1 if a path, or all together, is like this: `p95>+20%` (grew), `p99>500ms` (is),
    /// `p50>+10ms`, `errors>1%` (is), `errors>+0.5%` (by so many points), `rate<-30%`, `rate<5`.
    /// Repeatable, or with commas.
    #[arg(long, value_name = "CONDITION", value_delimiter = ',')]
    pub(crate) fail: Vec<Condition>,
    /// Requests on each side beyond a quantile, or in all for errors and rates, before --fail
    /// judges it: fewer are chance.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) min_requests: u32,
    /// Let a quantile fail only where the buckets leave no doubt, not by its estimate.
    #[arg(long)]
    pub(crate) certain: bool,
    /// How long each side had traffic. Default: since its process began, until it was asked or its
    /// file was written.
    #[arg(long, value_name = "TIME", value_parser = parse_some_time)]
    pub(crate) duration: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a picture of the paths that changed most.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reader: ReaderArgs,
}
