//! Flags of the metrics port: who may read it, and whom the shutdown waits for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use redcar::config::{HostPattern, MetricsPort};
use redcar::net::{Identity, Port};

/// What Kubernetes sets in every container.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// When the shutdown waits for a last scrape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum LastScrape {
    Auto,
    On,
    Off,
}

/// Flags of the metrics port.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetricsPortArgs {
    /// Serve the metrics port with TLS, with this certificate: PEM, the leaf first. Read again when
    /// it changes. Probes then ask with `scheme: HTTPS`.
    #[arg(
        long,
        value_name = "FILE",
        env = "REDCAR_METRICS_TLS_CERT",
        requires = "metrics_tls_key",
        help_heading = "TLS"
    )]
    metrics_tls_cert: Option<PathBuf>,
    /// The private key of --metrics-tls-cert: PEM, not encrypted.
    #[arg(
        long,
        value_name = "FILE",
        env = "REDCAR_METRICS_TLS_KEY",
        requires = "metrics_tls_cert",
        help_heading = "TLS"
    )]
    metrics_tls_key: Option<PathBuf>,
    /// Answer only readers with a certificate that leads to one of these roots (PEM). Probes are
    /// answered without: no kubelet has one.
    #[arg(long, value_name = "FILE", env = "REDCAR_METRICS_CLIENT_CA", help_heading = "TLS")]
    metrics_client_ca: Option<PathBuf>,
    /// Answer only readers that show a token of this file, one a line: as a bearer, or as a
    /// password, which browsers ask for. Read again when it changes. A file, so that it is in no
    /// process list. Probes are answered without.
    #[arg(long, value_name = "FILE", env = "REDCAR_METRICS_TOKEN_FILE", help_heading = "Metrics")]
    metrics_token_file: Option<PathBuf>,
    /// A name under which browsers may ask the metrics port: `metrics.example.com` or
    /// `*.example.com`; repeatable. Addresses, names without a dot and names of a cluster need
    /// none. A page of somebody else could give your browser any other (DNS rebinding).
    #[arg(
        long,
        value_name = "NAME",
        env = "REDCAR_METRICS_HOST",
        value_delimiter = ',',
        help_heading = "Metrics"
    )]
    metrics_host: Vec<HostPattern>,
    /// After SIGTERM, wait for one more scrape once the requests have ended: `auto` in Kubernetes
    /// only, where another instance serves meanwhile. Elsewhere a restart would be an outage for as
    /// long.
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value_t = LastScrape::Auto,
        env = "REDCAR_LAST_SCRAPE",
        help_heading = "Metrics"
    )]
    last_scrape: LastScrape,
}

impl MetricsPortArgs {
    /// What the flags mean here.
    pub(super) fn resolve(self) -> MetricsPort {
        let pair = self.metrics_tls_cert.zip(self.metrics_tls_key);
        MetricsPort {
            identity: pair.map(|(cert, key)| Identity { cert, key, port: Port::Metrics }),
            client_ca: self.metrics_client_ca,
            token_file: self.metrics_token_file,
            hosts: self.metrics_host,
            last_scrape: match self.last_scrape {
                LastScrape::Auto => std::env::var_os(KUBERNETES).is_some(),
                LastScrape::On => true,
                LastScrape::Off => false,
            },
        }
    }

    /// As if none was given.
    pub(super) fn forget(&mut self) {
        (self.metrics_tls_cert, self.metrics_tls_key) = (None, None);
        (self.metrics_client_ca, self.metrics_token_file) = (None, None);
    }
}
