//! The `proxy` binary: parse → log → bind → run → exit code. It only wires.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use redcar::config::Config;
use redcar::server::{Inherited, Reloader, Server, ShutdownMode, StartError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Cli, Command, LogFormat, LogLevel, PathsArgs, RunArgs};

/// The allocator: see the measurement in benches/README.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod cli;

/// Exit code of wrong usage; clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Before there is a second thread.
    let inherited = cli::activation::inherited();
    let cli = Cli::read();
    if let Err(error) = start_log(&cli) {
        return fail(&error, 1);
    }
    let code = perform(cli, inherited);
    cli::log::flush();
    code
}

/// Starts the log of what has one; the other sub-commands only answer a question.
fn start_log(cli: &Cli) -> io::Result<()> {
    match &cli.command {
        None => cli::log::start(cli.run.log_format, cli.run.log_level),
        Some(Command::Check(flags)) => cli::log::start(flags.log_format, flags.log_level),
        Some(Command::Demo(_) | Command::Paths(_)) => {
            cli::log::start(LogFormat::Auto, LogLevel::Warn)
        }
        Some(
            Command::Healthcheck(_)
            | Command::Top(_)
            | Command::Diff(_)
            | Command::Completions { .. }
            | Command::Man,
        ) => Ok(()),
    }
}

fn perform(cli: Cli, inherited: io::Result<Inherited>) -> ExitCode {
    match cli.command {
        None => match (configured(cli.run), inherited) {
            (Ok(config), Ok(inherited)) => exit(run(config, inherited)),
            (Err(code), _) => code,
            (Ok(_), Err(error)) => fail(&error, 1),
        },
        Some(Command::Check(flags)) => {
            configured(*flags).map_or_else(|code| code, |config| cli::probe::check(&config))
        }
        Some(Command::Healthcheck(flags)) => cli::probe::healthcheck(&flags),
        Some(Command::Top(flags)) => cli::top::run(&flags),
        Some(Command::Diff(flags)) => cli::diff::run(&flags),
        Some(Command::Demo(flags)) => cli::demo::run(&flags),
        Some(Command::Paths(flags)) => paths(*flags),
        Some(Command::Completions { shell }) => {
            let mut out = Vec::new();
            let mut command = Cli::named();
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut out);
            print(&out)
        }
        Some(Command::Man) => match cli::manual::page(Cli::named()) {
            Ok(page) => print(&page),
            Err(error) => fail(&error, 1),
        },
    }
}

fn paths(flags: PathsArgs) -> ExitCode {
    match (&flags.check, &flags.job) {
        (Some(prometheus), Some(job)) => cli::agree::check(prometheus, job, flags.access),
        _ if !flags.merge.is_empty() => cli::agree::merge(flags.merge, flags.access),
        _ => cli::replay::run(flags),
    }
}

fn configured(flags: RunArgs) -> Result<Config, ExitCode> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for unknown in cli::twins::unknown(&Cli::named(), names) {
        let hint =
            unknown.meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        tracing::warn!("{} is no setting of this program{hint}", unknown.name);
    }
    flags.into_config().map_err(|error| fail(&error, USAGE))
}

fn exit(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Runs until a signal. A second one exits at once.
fn run(config: Config, inherited: Inherited) -> Result<(), StartError> {
    let upstreams: Vec<_> = config.upstreams().map(|(_, upstream)| upstream.to_string()).collect();
    let server = Server::with(config, inherited)?;
    server.show_lost_log_lines(cli::log::lost());
    announce(&server, &upstreams);
    let reloader = server.reloader();
    server.run(async {
        reload_on_hangup(reloader);
        hear_user_signals();
        first_signal().await
    })
}

/// Has the files of routes read again at each SIGHUP, which otherwise would end the process.
fn reload_on_hangup(reloader: Reloader) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::error!(%error, "SIGHUP cannot be received"),
    };
    drop(tokio::task::spawn_local(async move {
        while hangups.recv().await.is_some() {
            let reloader = reloader.clone();
            // On a thread of its own: a slow disk must not hold up a signal to stop.
            let read = tokio::task::spawn_blocking(move || reloader.reload());
            if let Err(error) = read.await {
                tracing::error!(%error, "the routes were not read again");
            }
        }
    }));
}

/// SIGUSR1 and SIGUSR2 mean something to other servers; here they would end the process.
fn hear_user_signals() {
    for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
        let mut signals = match signal(kind) {
            Ok(signals) => signals,
            Err(error) => return tracing::error!(%error, "a signal cannot be ignored"),
        };
        drop(tokio::task::spawn_local(async move {
            while signals.recv().await.is_some() {
                tracing::info!("SIGUSR1 and SIGUSR2 do nothing; SIGHUP reads the routes again");
            }
        }));
    }
}

/// Waits for SIGTERM or SIGINT; from then on another one ends the process.
pub(crate) async fn first_signal() -> ShutdownMode {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; only SIGKILL will end this process");
        return std::future::pending().await;
    };
    let _over = NextSignalExits::prepare();
    either(&mut terminate, &mut interrupt).await
}

/// Whoever signals twice wants no drain. Dropped when nobody waits for a first signal any more:
/// then the next one ends the process in the signal handler itself, whatever hangs.
struct NextSignalExits(Arc<AtomicBool>);

impl NextSignalExits {
    fn prepare() -> Self {
        let exits = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            if let Err(error) = register_conditional_shutdown(signal, 1, Arc::clone(&exits)) {
                tracing::error!(%error, "a second signal will not be heard");
            }
        }
        Self(exits)
    }
}

impl Drop for NextSignalExits {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> ShutdownMode {
    tokio::select! {
        _ = terminate.recv() => ShutdownMode::Orderly,
        _ = interrupt.recv() => ShutdownMode::Prompt,
    }
}

/// A few lines for a person at a terminal; one log line for each port for everybody else.
fn announce(server: &Server, upstreams: &[String]) {
    let (Ok(listen), Ok(metrics), Ok(further)) =
        (server.listen_address(), server.metrics_address(), server.map_addresses())
    else {
        return;
    };
    let listeners = std::iter::once(&listen).chain(&further).zip(upstreams);
    if io::stderr().is_terminal() {
        let (listen, metrics) = (listen.port(), metrics.port());
        let ports = listeners.map(|(listen, upstream)| format!(":{} -> {upstream}", listen.port()));
        let ports = ports.collect::<Vec<_>>().join("\n              ");
        let banner = format!(
            "redcar {}  {ports}\n  \
             metrics  http://localhost:{metrics}/metrics\n  \
             live     http://localhost:{metrics}/  or: proxy top --metrics :{metrics}\n  \
             health   http://localhost:{metrics}/readyz\n  \
             try      curl -i http://localhost:{listen}/\n",
            redcar::metrics::VERSION
        );
        cli::log::say(banner);
    } else {
        for (listen, upstream) in listeners {
            tracing::info!(%listen, upstream, %metrics, "forwarding");
        }
    }
}

/// The one place that prints an error: what went wrong, and why, on one line.
pub(crate) fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.push('\n');
    cli::log::say(text);
    ExitCode::from(code)
}

/// Prints to standard output; a reader that left early (`| head`) is no error.
pub(crate) fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}
