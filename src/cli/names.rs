//! Flags of asking others for names of paths.

use std::path::PathBuf;

use clap::Args;
use redcar::config::{Credentials, NameSource, NamesFrom};

/// Who else knows names.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct NamesArgs {
    /// Who else knows names of paths, so that all replicas have the same ones; repeatable: other
    /// replicas (`http://shop-headless:9464/paths`), a Prometheus that remembers
    /// (`http://prometheus:9090/api/v1/label/path/values?match[]=http_requests_total{job="shop"}`),
    /// or a file. Asked at the start and before a new path is named, for 2 s at most; serving never
    /// waits. In the environment several are separated by spaces.
    #[arg(
        long = "names-from",
        value_name = "URL|FILE",
        env = "REDCAR_NAMES_FROM",
        value_delimiter = ' '
    )]
    sources: Vec<NameSource>,
    #[command(flatten)]
    access: AccessArgs,
}

/// What they are asked with.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct AccessArgs {
    /// A file with a bearer token for the URLs of --names-from. Read each time, since tokens are
    /// renewed.
    #[arg(
        long = "names-token-file",
        value_name = "FILE",
        env = "REDCAR_NAMES_TOKEN_FILE",
        conflicts_with = "basic"
    )]
    token: Option<PathBuf>,
    /// The same with `USER:PASSWORD`, for basic authentication.
    #[arg(long = "names-basic-file", value_name = "FILE", env = "REDCAR_NAMES_BASIC_FILE")]
    basic: Option<PathBuf>,
    /// Verify https URLs of --names-from with these root certificates (PEM) instead of the
    /// system's.
    #[arg(long = "names-ca", value_name = "FILE", env = "REDCAR_NAMES_CA")]
    ca: Option<PathBuf>,
}

impl NamesArgs {
    pub(crate) fn resolve(self) -> NamesFrom {
        NamesFrom { sources: self.sources, ..self.access.resolve() }
    }
}

impl AccessArgs {
    /// Nobody to ask, but with what.
    pub(crate) fn resolve(self) -> NamesFrom {
        let token = self.token.map(Credentials::Token);
        let credentials = token.or(self.basic.map(Credentials::Basic));
        NamesFrom { sources: Vec::new(), credentials, ca: self.ca }
    }
}
