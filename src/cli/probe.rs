//! `proxy healthcheck` and `proxy check`: questions that end in an exit code.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use redcar::config::{Config, ListenAddr};
use redcar::names::{App, Source};
use redcar::net::{Connector, Date, Dialer, TlsContexts};
use redcar::server::{Affordable, OFFER, StartError, metrics_settings, try_bind};
use tokio::runtime::{Builder, LocalOptions};

use crate::cli::HealthcheckArgs;
use crate::{fail, print};

pub(crate) use self::get::{Answer, get};

mod get;

/// Asks `/readyz` of a running sidecar. Exit code 0 for yes, 1 for anything else.
pub(crate) fn healthcheck(flags: &HealthcheckArgs) -> ExitCode {
    match ask(flags) {
        Ok(answer) if answer.status == 200 => print(b"ready\n"),
        Ok(answer) => {
            let reason = String::from_utf8_lossy(&answer.body);
            let reason = if reason.trim().is_empty() { "no answer" } else { reason.trim() };
            fail(&io::Error::other(format!("not ready: {reason}")), 1)
        }
        Err(error) => {
            let metrics = flags.metrics;
            fail(&io::Error::other(format!("no sidecar answers on {metrics}: {error}")), 1)
        }
    }
}

fn ask(flags: &HealthcheckArgs) -> io::Result<Answer> {
    let address = reachable(flags.metrics);
    let timeout = flags.timeout.max(Duration::from_millis(1));
    let query = if flags.upstream { "?upstream=1" } else { "" };
    let own = flags.metrics_tls_cert.as_deref().map(Connector::of_own);
    let own = own.transpose().map_err(io::Error::other)?;
    let path = format!("/readyz{query}");
    get((address, own.as_ref()), "localhost", &path, "", (timeout, 4096))
}

/// Where a listener on this machine is reached.
pub(crate) fn reachable(listener: ListenAddr) -> SocketAddr {
    match listener {
        ListenAddr::Port(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        ListenAddr::Socket(SocketAddr::V6(address)) if address.ip().is_unspecified() => {
            // Given so, and not as a port, it takes IPv6 only.
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))
        }
        ListenAddr::Socket(address) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        ListenAddr::Socket(address) => address,
    }
}

/// Says that the flags and files are valid, and whether the upstream can be reached now.
pub(crate) fn check(config: &Config) -> ExitCode {
    let upstream = &config.upstream;
    let tls = TlsContexts::load(
        &config.tls,
        upstream.tls_host().as_deref(),
        OFFER,
        config.timeouts.header,
    );
    let tls = match tls {
        Ok(tls) => tls,
        Err(error) => return fail(&error, 1),
    };
    let readers = match metrics_settings(config) {
        Ok(readers) => readers,
        Err(error) => return fail(&error, 1),
    };
    let summary = format!(
        "flags are valid\n  listen    {}\n  upstream  {upstream}\n  metrics   {}\n  threads   {}\n  \
         routes    {} pinned\n",
        config.listen,
        config.metrics,
        config.threads,
        config.routes.len(),
    );
    print(summary.as_bytes());
    print(limits(Affordable::of(config.max_connections), config.max_connections).as_bytes());
    for (port, listener) in [("--listen", &tls.listener), ("--metrics", &readers.tls)] {
        if let Some(listener) = listener {
            let until = Date(listener.not_after_seconds());
            print(format!("  tls       certificate of {port} valid until {until}\n").as_bytes());
        }
    }
    if let Err(error) = try_listen(config) {
        return fail(&error, 1);
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let others = match Source::prepare(&config.names_from) {
        Ok(others) => others,
        Err(error) => return fail(&error, 1),
    };
    let dialer = Dialer::new(upstream.clone(), tls.connector, config.timeouts.connect);
    let code = runtime.block_on(async {
        match dialer.dial(OFFER).await.map(|dialled| dialled.alpn) {
            Ok(Some(_)) => {
                print(b"the upstream accepts connections, and its certificate is valid\n")
            }
            Ok(None) => print(b"the upstream accepts connections\n"),
            Err(error) => return fail(&error, 1),
        };
        match check_names(
            &others,
            &App::new(upstream, dialer, config.route_sources.upstream_places()),
        )
        .await
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        }
    });
    // A name that is being resolved must not hold up the answer.
    runtime.shutdown_background();
    code
}

/// Asks everybody for names whom the sidecar would ask.
async fn check_names(others: &[Source], app: &App) -> Result<(), io::Error> {
    for place in app.places() {
        let told = place.as_deref().unwrap_or("");
        let flag = format!("--openapi upstream:{told}");
        match app.describe(place.as_deref()).await {
            Ok(templates) => {
                print(format!("{flag} has {} templates\n", templates.len()).as_bytes());
            }
            Err(error) => return Err(io::Error::other(format!("{flag}: {error}"))),
        }
    }
    for source in others {
        match source.read().await {
            Ok(reading) => {
                print(
                    format!("--names-from {source} has {} names\n", reading.names.len()).as_bytes(),
                );
            }
            Err(error) => return Err(io::Error::other(format!("--names-from {source}: {error}"))),
        }
    }
    Ok(())
}

/// What this machine allows. The memory that connections may take is in docs/kubernetes.md.
fn limits(affordable: Affordable, wanted: usize) -> String {
    let Affordable { open_files, connections } = affordable;
    let less = if connections < wanted { format!(" of {wanted}") } else { String::new() };
    let files = open_files.map_or_else(|| "no limit of".to_owned(), |files| files.to_string());
    format!("  limits    {connections}{less} connections, {files} open files\n")
}

/// Tries both ports and lets them go. One that is taken is told but no error: the sidecar that
/// these flags are for may run already.
fn try_listen(config: &Config) -> Result<(), StartError> {
    for (flag, address) in [("--listen", config.listen), ("--metrics", config.metrics)] {
        match try_bind(flag, address) {
            Ok(()) => {}
            Err(error) if error.is_in_use() => {
                print(format!("note: {address} ({flag}) is in use now\n").as_bytes());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_in_its_own_family() {
        for (listener, address) in [
            (":9464", "127.0.0.1:9464"),
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("[::1]:9464", "[::1]:9464"),
            ("10.0.0.1:9464", "10.0.0.1:9464"),
        ] {
            let listener = listener.parse().expect("an address");
            assert_eq!(reachable(listener).to_string(), address);
        }
    }
}
