//! A page of metrics, of a sidecar anywhere: asked for, summed up by path, put into figures.

use std::path::PathBuf;

use clap::Args;

pub(crate) mod page;
pub(crate) mod quantiles;
pub(crate) mod target;
pub(crate) mod text;

/// What a reader of another sidecar's page trusts and shows.
#[derive(Debug, Args)]
pub(crate) struct ReaderArgs {
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
}
