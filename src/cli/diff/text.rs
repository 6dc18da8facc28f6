//! What changed, for people: a block for each path. Pure.

use std::fmt::Write;

use super::comparison::{Change, Comparison, Figures, Summary, are_apart, growth};
use super::condition::Judgement;
use crate::cli::scrape::quantiles::{QUANTILE_NAMES, Quantile};
use crate::cli::scrape::text::{rate, seconds, share, visible};

/// Columns of a quantile with its bucket.
const QUANTILE_COLUMNS: usize = 20;

/// The whole report.
pub(super) fn report(comparison: &Comparison, judged: &[Judgement<'_>]) -> String {
    let mut out = String::new();
    line(&mut out, &summary("before", &comparison.before, "since its start"));
    let since = if comparison.is_one_process { "since before" } else { "since its start" };
    line(&mut out, &summary("after", &comparison.after, since));
    let mut heads = format!("\n{:10}{:>9}{:>8}", "", "req/s", "err%");
    for name in QUANTILE_NAMES {
        // Writing to a String cannot fail.
        let _ = write!(heads, "{name:>QUANTILE_COLUMNS$}");
    }
    line(&mut out, &heads);
    for change in std::iter::once(&comparison.all).chain(&comparison.paths) {
        line(&mut out, &name(change));
        block(&mut out, change);
    }
    line(&mut out, "\n(in brackets: the two buckets overlap, so it may be nothing)");
    for judgement in judged {
        conclusion(&mut out, judgement);
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn summary(which: &str, summary: &Summary, since: &str) -> String {
    let time = match summary.seconds {
        Some(seconds) => format!("in {seconds:.1} s"),
        None => "in an unknown time".to_owned(),
    };
    let name = visible(&summary.name);
    format!("{which:8}{name}: {:.0} requests {since}, {time}", summary.requests)
}

fn name(change: &Change) -> String {
    if change.is_all() {
        return "all".to_owned();
    }
    let name = format!("{} {}", visible(&change.method), visible(&change.path));
    match (&change.before, &change.after) {
        (None, _) => format!("{name}  (new)"),
        (_, None) => format!("{name}  (gone)"),
        (Some(_), Some(_)) => name,
    }
}

fn block(out: &mut String, change: &Change) {
    if let Some(figures) = &change.before {
        line(out, &one_side("before", figures));
    }
    if let Some(figures) = &change.after {
        line(out, &one_side("after", figures));
    }
    if let (Some(before), Some(after)) = (&change.before, &change.after) {
        line(out, &difference(change, before, after));
    }
}

fn one_side(which: &str, figures: &Figures) -> String {
    let per_second = figures.rate.map_or("-".to_owned(), rate);
    let mut text = format!("  {which:8}{per_second:>9}{:>8}", share(figures.errors));
    for quantile in figures.quantiles {
        let _ = write!(text, "{:>QUANTILE_COLUMNS$}", quantile.map_or("-".to_owned(), bucket));
    }
    text
}

/// `48ms 25ms..50ms`
fn bucket(quantile: Quantile) -> String {
    let end = |at: f64| {
        if at.is_finite() { seconds(Some(at), None) } else { String::new() }
    };
    let highest = quantile.high.is_infinite().then_some(quantile.low);
    let estimate = seconds(Some(quantile.estimate), highest);
    format!("{estimate} {}..{}", end(quantile.low), end(quantile.high))
}

fn difference(change: &Change, before: &Figures, after: &Figures) -> String {
    let rates = before.rate.zip(after.rate).and_then(|(before, after)| growth(before, after));
    let points = (after.errors - before.errors) * 100.0;
    let points = if points.abs() < 0.05 { "=".to_owned() } else { format!("{points:+.1}") };
    let mut text = format!("  {:8}{:>9}{points:>8}", "change", percent(rates));
    for index in 0..QUANTILE_NAMES.len() {
        let cell = match change.quantile(index) {
            Some((before, after)) => {
                let grown = percent(growth(before.estimate, after.estimate));
                if are_apart(before, after) { grown } else { format!("({grown})") }
            }
            None => "-".to_owned(),
        };
        let _ = write!(text, "{cell:>QUANTILE_COLUMNS$}");
    }
    text
}

/// A share by which something grew.
pub(super) fn percent(growth: Option<f64>) -> String {
    match growth.map(|growth| growth * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent.abs() < 0.05 => "=".to_owned(),
        Some(percent) => format!("{percent:+.*}%", usize::from(percent.abs() < 9.95)),
    }
}

fn conclusion(out: &mut String, judgement: &Judgement<'_>) {
    let Judgement { condition, judged, met, too_few } = judgement;
    let verdict = if met.is_empty() { "ok" } else { "FAILED" };
    line(out, &format!("{verdict}  {condition}: met by {} of {judged}", met.len()));
    for change in met {
        line(out, &format!("    {}", name(change)));
    }
    if *too_few > 0 {
        line(out, &format!("    {too_few} not judged: too few requests"));
    }
}
