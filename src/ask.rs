//! `proxy healthcheck` and `proxy check`: questions that end in an exit code.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use redcar::config::{Config, ListenAddr};
use redcar::error::ProxyError;
use redcar::resolve::Resolver;
use redcar::server::OFFER;
use redcar::tls::{Date, Ends};
use redcar::wire::Socket;

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
    get(address, "localhost", &format!("/readyz{query}"), "", (timeout, 4096))
}

/// Where a listener on this machine is reached.
pub(crate) fn reachable(listener: ListenAddr) -> SocketAddr {
    match listener {
        ListenAddr::Port(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        ListenAddr::Socket(address) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        ListenAddr::Socket(address) => address,
    }
}

/// Says that the flags and files are valid, and whether the upstream can be reached now.
pub(crate) fn check(config: &Config) -> ExitCode {
    let upstream = &config.upstream;
    let tls = Ends::load(&config.tls, upstream.tls_host(), OFFER, config.timeouts.header);
    let tls = match tls {
        Ok(tls) => tls,
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
    if let Some(listener) = &tls.listener {
        let until = Date(listener.not_after_seconds());
        print(format!("  tls       certificate valid until {until}\n").as_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let resolver = Resolver::new(upstream.clone());
    let attempt = async {
        match (resolver.connect().await?, &tls.connector) {
            (Socket::Tcp(socket), Some(connector)) => {
                let (_stream, _alpn) =
                    connector.connect(socket, OFFER).await.map_err(ProxyError::Tls)?;
                Ok("the upstream accepts connections, and its certificate is valid\n")
            }
            _plain => Ok("the upstream accepts connections\n"),
        }
    };
    let result: Result<Result<&str, ProxyError>, _> =
        runtime.block_on(async { tokio::time::timeout(config.timeouts.connect, attempt).await });
    match result {
        Ok(Ok(good)) => print(good.as_bytes()),
        Ok(Err(error)) => fail(&error, 1),
        Err(_elapsed) => fail(&io::Error::other("the upstream did not answer in time"), 1),
    }
}
