//! `proxy diff`: what changed between two pages, of two sidecars or of one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use redcar::metrics::samples;
use tokio::time::Instant;

use self::comparison::{Comparison, Side};
pub(crate) use self::condition::Condition;
use self::condition::{Judge, Judgement};
use crate::cli::DiffArgs;
use crate::cli::scrape::ReaderArgs;
use crate::cli::scrape::page::Page;
use crate::cli::scrape::target::{MAX_PAGE_BYTES, Target};
use crate::{USAGE, fail, print};

mod comparison;
mod condition;
mod json;
mod svg;
mod text;

/// Prints what changed. Exit code 1 if a condition of --fail is met, 2 if that cannot be said.
pub(crate) fn run(flags: &DiffArgs) -> ExitCode {
    let sides = side(&flags.before, &flags.reader)
        .and_then(|before| Ok((before, side(&flags.after, &flags.reader)?)));
    let (before, after) = match sides {
        Ok(sides) => sides,
        Err(error) => return fail(&error, USAGE),
    };
    let comparison = Comparison::of(before, after, flags.duration);
    let judge = Judge { min_requests: flags.min_requests.into(), certain: flags.certain };
    let judged: Vec<_> = flags.fail.iter().map(|c| judge.judge(c, &comparison)).collect();
    if let Some(path) = &flags.svg
        && let Err(error) = std::fs::write(path, svg::picture(&comparison))
    {
        let error = io::Error::new(error.kind(), format!("--svg {}: {error}", path.display()));
        return fail(&error, USAGE);
    }
    let printed = print(&if flags.json {
        json::document(&comparison, &judged)
    } else {
        text::report(&comparison, &judged).into_bytes()
    });
    exit(printed, &judged)
}

fn exit(printed: ExitCode, judged: &[Judgement<'_>]) -> ExitCode {
    // What got worse is known, whatever had too few requests beside it.
    if judged.iter().any(|judgement| !judgement.met.is_empty()) {
        return ExitCode::FAILURE;
    }
    if let Some(vague) = judged.iter().find(|judgement| judgement.judged == 0) {
        let text = format!("--fail {}: too few requests to tell, on every path", vague.condition);
        return fail(&io::Error::other(text), USAGE);
    }
    printed
}

/// Reads a file, or asks a sidecar.
fn side(name: &str, reader: &ReaderArgs) -> io::Result<Side> {
    if is_address(name) {
        let target = Target::parse(name).map_err(io::Error::other)?.with_credentials(reader)?;
        let page = target.ask()?;
        return Ok(Side { name: target.to_string(), page, at: Some(SystemTime::now()) });
    }
    let place = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    let (text, at) = if name == "-" {
        (read(io::stdin()), Some(SystemTime::now()))
    } else {
        let file = File::open(Path::new(name)).map_err(place)?;
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok();
        (read(file), written)
    };
    let text = text.map_err(place)?;
    if samples(&text).next().is_none() {
        return Err(place(io::Error::other("it is no page of metrics")));
    }
    Ok(Side { name: name.to_owned(), page: Page::of(&text, Instant::now()), at })
}

/// A name with a scheme or a port is asked; any other is a file.
fn is_address(name: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = name.rsplit_once(':').is_some_and(|(host, port)| {
        !host.contains('/') && is_port(port.trim_end_matches("/metrics"))
    });
    name.contains("://") || has_port
}

fn read(from: impl Read) -> io::Result<String> {
    let limit = u64::try_from(MAX_PAGE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
