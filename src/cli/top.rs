//! `proxy top`: the table of the live page in a terminal, from any sidecar's metrics page.
//!
//! One thread asks, another draws and listens to keys. Nothing that a page says reaches the
//! terminal unescaped, and what is kept of it is bounded.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::TopArgs;
use crate::cli::scrape::target::Target;
use crate::{fail, print};

use self::history::History;
use self::table::{Sort, Span, View};

mod figures;
mod history;
mod table;
mod terminal;

/// Shorter would only make the sidecar work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);

/// Watches until somebody quits, or prints one table.
pub(crate) fn run(flags: &TopArgs) -> ExitCode {
    let target = match &flags.url {
        Some(url) => Target::parse(url),
        None => Ok(Target::local(flags.metrics)),
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => return fail(&error, 2),
    };
    let target = match target.with_credentials(&flags.reader) {
        Ok(target) => target,
        Err(error) => return fail(&error, 1),
    };
    let interval = flags.interval.max(SHORTEST_INTERVAL);
    if flags.once {
        return match once(&target, interval) {
            Ok(text) => print(text.as_bytes()),
            Err(error) => fail(&error, 1),
        };
    }
    match terminal::watch(target, interval) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Two looks, one table: the rate is that between them, everything else since the start.
fn once(target: &Target, interval: Duration) -> io::Result<String> {
    let mut history = History::default();
    history.add(target.ask()?);
    std::thread::sleep(interval);
    history.add(target.ask()?);
    let mut view = View { sort: Sort::Count, span: Span::SinceStart, ..View::default() };
    Ok(table::plain(&target.to_string(), &history.figures(true), &mut view))
}
