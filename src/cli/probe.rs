//! `proxy healthcheck` and `proxy check`: questions that end in an exit code.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use redcar::config::{Config, ListenAddr, PortMap, Upstream};
use redcar::names::{App, Source};
use redcar::net::{AcceptQueue, Connector, Date, Dialer, TlsContexts, Waiting};
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

/// An app that cannot be reached, where there are several.
#[derive(Debug, thiserror::Error)]
#[error("--map {map}")]
struct AwayBehindMap {
    map: String,
    source: Box<dyn std::error::Error>,
}

/// Says that the flags and files are valid, and whether each upstream can be reached now.
pub(crate) fn check(config: &Config) -> ExitCode {
    match try_all(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error, 1),
    }
}

fn try_all(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let connectors = config.upstreams().map(|(_, upstream)| {
        TlsContexts::load(
            &config.tls,
            upstream.tls_host().as_deref(),
            OFFER,
            config.timeouts.header,
        )
    });
    let tls: Vec<_> = connectors.collect::<Result<_, _>>()?;
    let readers = metrics_settings(config)?;
    print(summary(config).as_bytes());
    print(limits(Affordable::of(config), config.max_connections).as_bytes());
    let of_clients = tls.first().and_then(|tls| tls.listener.as_ref());
    for (port, listener) in [("--listen", of_clients), ("--metrics", readers.tls.as_ref())] {
        if let Some(listener) = listener {
            let until = Date(listener.not_after_seconds());
            print(format!("  tls       certificate of {port} valid until {until}\n").as_bytes());
        }
    }
    try_listen(config)?;
    let others = Source::prepare(&config.names_from)?;
    let dialers = config.upstreams().zip(tls).map(|((_, upstream), tls)| {
        Dialer::new(upstream.clone(), tls.connector, config.timeouts.connect)
    });
    let dialers: Vec<_> = dialers.collect();
    for (_, upstream) in config.upstreams() {
        print(accept_queue(upstream).as_bytes());
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime?;
    let tried = runtime.block_on(async {
        for (index, dialer) in dialers.iter().enumerate() {
            let map = index.checked_sub(1).and_then(|index| config.maps.get(index));
            match (dialer.dial(OFFER).await, map) {
                (Ok(dialled), map) => say_reached(dialled.alpn.is_some(), map),
                (Err(error), None) => return Err(error.into()),
                (Err(source), Some(map)) => {
                    let map = format!("{}={}", map.listen, map.upstream);
                    return Err(AwayBehindMap { map, source: source.into() }.into());
                }
            }
        }
        // The app of --upstream is asked, and no other.
        let Some(dialer) = dialers.into_iter().next() else { return Ok(()) };
        let places = config.route_sources.upstream_places();
        let app = App::new(&config.upstream, dialer, places);
        check_names(&others, &app).await.map_err(Into::into)
    });
    // A name that is being resolved must not hold up the answer.
    runtime.shutdown_background();
    tried
}

fn summary(config: &Config) -> String {
    let mut text = format!(
        "flags are valid\n  listen    {}\n  upstream  {}\n",
        config.listen, config.upstream
    );
    for PortMap { listen, upstream } in &config.maps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  map       {listen} -> {upstream}");
    }
    let _ = writeln!(
        text,
        "  metrics   {}\n  threads   {}\n  routes    {} pinned",
        config.metrics,
        config.threads,
        config.routes.len()
    );
    for slo in config.limits.slos.iter() {
        let _ = writeln!(text, "  slo       {slo}");
    }
    text
}

fn say_reached(is_tls: bool, map: Option<&PortMap>) {
    let whose = map.map(|map| format!(" of --map {}", map.listen)).unwrap_or_default();
    let certificate = if is_tls { ", and its certificate is valid" } else { "" };
    print(format!("the upstream{whose} accepts connections{certificate}\n").as_bytes());
}

/// Whether `redcar_upstream_accept_queue` will be there, or why not.
fn accept_queue(upstream: &Upstream) -> String {
    match AcceptQueue::new(upstream.clone()).look() {
        Ok(Waiting { connections, limit, .. }) => {
            format!("the accept queue of {upstream} has {connections} of {limit} connections\n")
        }
        Err(reason) => {
            let cause = std::error::Error::source(&reason);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("note: the accept queue of {upstream} is not seen: {reason}{cause}\n")
        }
    }
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

/// What this machine allows.
fn limits(affordable: Affordable, wanted: usize) -> String {
    let Affordable { open_files, connections, memory_bytes, buffered_bytes } = affordable;
    let less = if connections < wanted { format!(" of {wanted}") } else { String::new() };
    let files = open_files.map_or_else(|| "no limit of".to_owned(), |files| files.to_string());
    let memory = memory_bytes.map_or_else(|| "no limit of".to_owned(), mebibytes);
    let buffered = mebibytes(buffered_bytes);
    format!(
        "  limits    {connections}{less} connections, {files} open files\n  \
         memory    {buffered} for what is kept for clients and the app, {memory} memory in all\n"
    )
}

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Tries all ports and lets them go. One that is taken is told but no error: the sidecar that
/// these flags are for may run already.
fn try_listen(config: &Config) -> Result<(), StartError> {
    for (flag, address) in config.listeners().chain([("--metrics", config.metrics)]) {
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
    fn limits_are_told_with_what_they_allow() {
        let mut affordable = Affordable {
            open_files: Some(20_000),
            connections: 9920,
            memory_bytes: Some(128 << 20),
            buffered_bytes: 52 << 20,
        };
        let told = limits(affordable, 10_000);
        assert_eq!(
            told,
            "  limits    9920 of 10000 connections, 20000 open files\n  memory    52 MiB for what \
             is kept for clients and the app, 128 MiB memory in all\n"
        );
        (affordable.open_files, affordable.memory_bytes) = (None, None);
        let told = limits(affordable, 9920);
        assert!(told.contains(" 9920 connections, no limit of open files\n"), "{told}");
        assert!(told.ends_with("app, no limit of memory in all\n"), "{told}");
    }

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
