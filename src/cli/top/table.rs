//! What is shown, as lines: the same for a terminal and for a pipe. Pure.

use std::cmp::Ordering;
use std::fmt::Write;

use redcar::metrics::Side;
use unicode_width::UnicodeWidthStr;

use super::figures::{Figure, Figures};
use crate::cli::scrape::text::{fit, rate, seconds, share, uptime, visible};

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Bad,
    Head,
}

/// One line of the screen.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) style: Style,
    pub(super) text: String,
}

/// What rows are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Sort {
    #[default]
    Rate,
    Count,
    Errors,
    /// Index of a quantile.
    Quantile(usize),
    Path,
    Method,
}

/// What errors and quantiles are over. The rate is always that of the window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Span {
    #[default]
    Window,
    SinceStart,
}

/// What a person has chosen.
#[derive(Default, Debug)]
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) search: String,
    /// The keys go into the search.
    pub(super) typing: bool,
    /// First row that is shown.
    pub(super) first: usize,
    pub(super) paused: bool,
    /// What the figures are over.
    pub(super) span: Span,
    /// Why there is no newer page.
    pub(super) problem: Option<String>,
}

/// The numbers, and what they are called.
type Number = (&'static str, Sort, usize);

/// Columns of the numbers.
const NUMBERS: [Number; 6] = [
    ("RPS", Sort::Rate, 8),
    ("COUNT", Sort::Count, 10),
    ("ERR%", Sort::Errors, 6),
    ("P50", Sort::Quantile(0), 8),
    ("P95", Sort::Quantile(1), 8),
    ("P99", Sort::Quantile(2), 8),
];

const METHOD_COLUMNS: usize = 8;

/// Space of the path where there is hardly any.
const LEAST_PATH_COLUMNS: usize = 12;

/// Lines before the first row.
pub(super) const HEAD_LINES: usize = 4;

/// All lines of the screen, at most `height`, with a table for `width` columns.
pub(super) fn lines(
    target: &str,
    figures: &Figures,
    view: &View,
    (width, height): (usize, usize),
) -> Vec<Line> {
    let mut out = vec![
        first_line(target, figures, view),
        totals(figures, view),
        failures(figures, view),
        heads(view, width),
    ];
    let rows = matching(figures, view);
    let room = height.saturating_sub(HEAD_LINES);
    let shown = rows.iter().skip(view.first).take(room);
    out.extend(shown.map(|figure| row(figure, figures, view, width)));
    if rows.is_empty() {
        let text =
            if figures.rows.is_empty() { "No request yet." } else { "Nothing matches the search." };
        out.push(Line { style: Style::Dim, text: text.to_owned() });
    }
    out.truncate(height);
    out
}

/// A width at which no path is cut.
pub(super) fn natural_width(figures: &Figures) -> usize {
    let longest = figures.rows.iter().map(|row| visible(&row.path).width()).max().unwrap_or(0);
    METHOD_COLUMNS + 1 + longest.max(LEAST_PATH_COLUMNS) + width_of(&NUMBERS)
}

/// The rows that match the search, in their order.
pub(super) fn matching<'a>(figures: &'a Figures, view: &View) -> Vec<&'a Figure> {
    let wanted = view.search.to_lowercase();
    let matches = |row: &&Figure| {
        wanted.is_empty() || format!("{} {}", row.method, row.path).to_lowercase().contains(&wanted)
    };
    let mut rows: Vec<_> = figures.rows.iter().filter(matches).collect();
    rows.sort_by(|a, b| {
        let order = compare(a, b, view.sort);
        let order = if view.reversed { order.reverse() } else { order };
        order.then_with(|| b.total.total_cmp(&a.total)).then_with(|| a.path.cmp(&b.path))
    });
    rows
}

/// Numbers descend, words ascend.
fn compare(a: &Figure, b: &Figure, sort: Sort) -> Ordering {
    match sort {
        Sort::Rate => b.rate.total_cmp(&a.rate),
        Sort::Count => b.total.total_cmp(&a.total),
        Sort::Errors => b.errors.total_cmp(&a.errors),
        Sort::Quantile(index) => {
            let of = |row: &Figure| row.quantiles.get(index).copied().flatten().unwrap_or(-1.0);
            of(b).total_cmp(&of(a))
        }
        Sort::Path => a.path.cmp(&b.path),
        Sort::Method => a.method.cmp(&b.method).then_with(|| a.path.cmp(&b.path)),
    }
}

fn first_line(target: &str, figures: &Figures, view: &View) -> Line {
    if let Some(problem) = &view.problem {
        return Line { style: Style::Bad, text: format!("redcar  {}", visible(problem)) };
    }
    let mut parts = vec![format!("redcar  {}", visible(target))];
    if let Some(time) = figures.uptime {
        parts.push(format!("up {}", uptime(time)));
    }
    let is_down = figures.up.is_some_and(|up| up < 0.5);
    if figures.up.is_some() {
        parts.push(if is_down { "APP DOWN" } else { "app up" }.to_owned());
    }
    if figures.draining {
        parts.push("DRAINING".to_owned());
    }
    if figures.overflow > 0.0 {
        parts.push(format!("PATH LIMIT REACHED by {:.0} requests", figures.overflow));
    }
    if view.paused {
        parts.push("paused".to_owned());
    }
    let style = if is_down || figures.draining { Style::Bad } else { Style::Bold };
    Line { style, text: parts.join("  ") }
}

fn totals(figures: &Figures, view: &View) -> Line {
    let all = &figures.all;
    let [p50, p95, p99] = all.quantiles.map(|q| seconds(q, figures.highest));
    let busy = figures.in_flight.map_or("-".to_owned(), |count| format!("{count:.0}"));
    let window = if view.span == Span::SinceStart || !all.recent {
        format!("rate over {:.0} s, the rest since the start", figures.elapsed)
    } else {
        format!("over {:.0} s", figures.elapsed)
    };
    let text = format!(
        "{} req/s  {} in all  {}% errors  p50 {p50}  p95 {p95}  p99 {p99}  {busy} in flight  ({window})",
        rate(all.rate),
        count(all.total),
        share(all.errors),
    );
    Line { style: Style::Plain, text }
}

/// Who failed and why: in the window, and since the start in brackets.
fn failures(figures: &Figures, view: &View) -> Line {
    let mut sides = Vec::new();
    for side in Side::ALL {
        let mut of: Vec<_> = figures
            .reasons
            .iter()
            .filter(|((s, _), _, total)| *s == side && *total > 0.0)
            .collect();
        of.sort_by(|(_, a, x), (_, b, y)| b.total_cmp(a).then_with(|| y.total_cmp(x)));
        let words = of.iter().map(|((_, reason), recent, total)| {
            let reason = visible(reason);
            if view.span == Span::SinceStart {
                format!("{reason} {}", count(*total))
            } else {
                format!("{reason} {} ({})", count(*recent), count(*total))
            }
        });
        let words: Vec<_> = words.take(4).collect();
        if !words.is_empty() {
            sides.push(format!("{}: {}", side.as_str(), words.join(", ")));
        }
    }
    let recent = figures.reasons.iter().any(|((side, _), recent, _)| {
        *side != Side::Client && *recent > 0.0 && view.span == Span::Window
    });
    let text = if sides.is_empty() { "nobody".to_owned() } else { sides.join(" | ") };
    let style = if recent { Style::Bad } else { Style::Dim };
    Line { style, text: format!("failed  {text}") }
}

fn width_of(numbers: &[Number]) -> usize {
    numbers.iter().map(|(_, _, columns)| columns + 1).sum()
}

/// The numbers that a narrow screen has room for beside the path, and the columns of that.
fn layout(width: usize) -> (Vec<Number>, usize) {
    let mut numbers = NUMBERS.to_vec();
    let left = |numbers: &[Number]| width.saturating_sub(METHOD_COLUMNS + 1 + width_of(numbers));
    for least in ["P50", "P99", "COUNT", "P95"] {
        if left(&numbers) < LEAST_PATH_COLUMNS {
            numbers.retain(|(name, ..)| *name != least);
        }
    }
    let path = left(&numbers).max(LEAST_PATH_COLUMNS);
    (numbers, path)
}

fn heads(view: &View, width: usize) -> Line {
    let mark = |sort: Sort, name: &str| {
        let arrow = if view.reversed { "^" } else { "v" };
        if view.sort == sort { format!("{name}{arrow}") } else { name.to_owned() }
    };
    let (numbers, path_columns) = layout(width);
    let method = fit(&mark(Sort::Method, "METHOD"), METHOD_COLUMNS);
    let path = fit(&mark(Sort::Path, "PATH"), path_columns);
    let mut text = format!("{method} {path}");
    for (name, sort, columns) in numbers {
        // Writing to a String cannot fail.
        let _ = write!(text, " {:>columns$}", mark(sort, name));
    }
    Line { style: Style::Head, text }
}

fn row(figure: &Figure, figures: &Figures, view: &View, width: usize) -> Line {
    let method = fit(&visible(&figure.method), METHOD_COLUMNS);
    let (numbers, path_columns) = layout(width);
    let path = fit(&visible(&figure.path), path_columns);
    let mut text = format!("{method} {path}");
    for (_, sort, columns) in numbers {
        let number = match sort {
            Sort::Rate => rate(figure.rate),
            Sort::Count => count(figure.total),
            Sort::Errors => share(figure.errors),
            Sort::Quantile(index) => {
                seconds(figure.quantiles.get(index).copied().flatten(), figures.highest)
            }
            Sort::Path | Sort::Method => continue,
        };
        let _ = write!(text, " {number:>columns$}");
    }
    let style = match (figure.recent || view.span == Span::SinceStart, figure.errors > 0.0) {
        (false, _) => Style::Dim,
        (true, true) => Style::Bad,
        (true, false) => Style::Plain,
    };
    Line { style, text }
}

fn count(count: f64) -> String {
    format!("{count:.0}")
}

#[cfg(test)]
mod tests;
