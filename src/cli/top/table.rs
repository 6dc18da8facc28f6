//! What is shown: the same for a terminal and for a pipe. Pure.

use std::cmp::Ordering;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Row, StatefulWidget, Table, TableState, Widget};
use redcar::metrics::Side;
use unicode_width::UnicodeWidthStr;

use super::figures::{Figure, Figures};
use crate::cli::scrape::text::{cut, rate, seconds, share, uptime, visible};

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
    /// The row that is chosen, and the first that is shown.
    pub(super) rows: TableState,
    /// Rows that a page key moves by: those that were drawn.
    pub(super) page_rows: u16,
    pub(super) paused: bool,
    /// What the figures are over.
    pub(super) span: Span,
    /// Why there is no newer page.
    pub(super) problem: Option<String>,
}

/// The numbers, and what they are called.
type Number = (&'static str, Sort, u16);

/// The numbers and their columns.
const NUMBERS: [Number; 6] = [
    ("RPS", Sort::Rate, 8),
    ("COUNT", Sort::Count, 10),
    ("ERR%", Sort::Errors, 6),
    ("P50", Sort::Quantile(0), 8),
    ("P95", Sort::Quantile(1), 8),
    ("P99", Sort::Quantile(2), 8),
];

const METHOD_COLUMNS: u16 = 8;

/// Space of the path where there is hardly any.
const LEAST_PATH_COLUMNS: u16 = 12;

/// Lines before the first row.
const HEAD_LINES: u16 = 4;

/// Rows that are drawn at once where nobody scrolls: what is printed may be long.
const ROWS_AT_ONCE: u16 = 256;

/// Draws everything but the last line of the screen.
pub(super) fn draw(
    target: &str,
    figures: &Figures,
    view: &mut View,
    (area, buffer): (Rect, &mut Buffer),
) {
    let [title, sums, failed, table] =
        Layout::vertical([1, 1, 1, u16::MAX].map(Constraint::Max)).areas(area);
    first_line(target, figures, view).render(title, buffer);
    totals(figures, view).render(sums, buffer);
    failures(figures, view).render(failed, buffer);
    view.page_rows = table.height.saturating_sub(1).max(1);
    let (numbers, path_columns) = layout(area.width);
    let rows = matching(figures, view);
    if rows.is_empty() {
        let text =
            if figures.rows.is_empty() { "No request yet." } else { "Nothing matches the search." };
        let [_, below] = Layout::vertical([1, 1].map(Constraint::Length)).areas(table);
        Line::from(text).dim().render(below, buffer);
    }
    let rows = rows.into_iter().map(|figure| row(figure, figures, view, (&numbers, path_columns)));
    let columns = [METHOD_COLUMNS, path_columns].into_iter();
    let columns = columns.chain(numbers.iter().map(|(_, _, columns)| *columns));
    let widget = Table::new(rows, columns.map(Constraint::Length))
        .header(heads(view, &numbers))
        .row_highlight_style(Style::new().underlined());
    StatefulWidget::render(widget, table, buffer, &mut view.rows);
}

/// The whole table as text, in which nothing is cut.
pub(super) fn plain(target: &str, figures: &Figures, view: &mut View) -> String {
    let longest = figures.rows.iter().map(|row| visible(&row.path).width()).max();
    let path = longest.and_then(|width| u16::try_from(width).ok()).unwrap_or(LEAST_PATH_COLUMNS);
    let lines = [first_line(target, figures, view), totals(figures, view), failures(figures, view)];
    let lines = lines.iter().filter_map(|line| u16::try_from(line.width()).ok());
    let table = METHOD_COLUMNS + 1 + path.max(LEAST_PATH_COLUMNS) + width_of(&NUMBERS);
    let area = Rect::new(0, 0, lines.fold(table, u16::max), HEAD_LINES + ROWS_AT_ONCE);
    let mut out = String::new();
    for first in (0..figures.rows.len().max(1)).step_by(usize::from(ROWS_AT_ONCE)) {
        *view.rows.offset_mut() = first;
        let mut buffer = Buffer::empty(area);
        draw(target, figures, view, (area, &mut buffer));
        let skipped = if first == 0 { 0 } else { HEAD_LINES };
        for line in text(&buffer).skip(usize::from(skipped)).filter(|line| !line.is_empty()) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

/// The lines of what was drawn, without the space behind them.
fn text(buffer: &Buffer) -> impl Iterator<Item = String> {
    buffer.content().chunks(usize::from(buffer.area.width).max(1)).map(|cells| {
        // A wide character is followed by cells of its own that say nothing.
        let mut covered = 0_usize;
        let seen = cells.iter().filter(|cell| {
            let is_covered = covered > 0;
            covered =
                if is_covered { covered - 1 } else { cell.symbol().width().saturating_sub(1) };
            !is_covered
        });
        let line: String = seen.map(Cell::symbol).collect();
        line.trim_end().to_owned()
    })
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

fn first_line(target: &str, figures: &Figures, view: &View) -> Line<'static> {
    if let Some(problem) = &view.problem {
        return Line::from(format!("redcar  {}", visible(problem))).light_red();
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
    let line = Line::from(parts.join("  "));
    if is_down || figures.draining { line.light_red() } else { line.bold() }
}

fn totals(figures: &Figures, view: &View) -> Line<'static> {
    let all = &figures.all;
    let [p50, p95, p99] = all.quantiles.map(|q| seconds(q, figures.highest));
    let busy = figures.in_flight.map_or("-".to_owned(), |count| format!("{count:.0}"));
    let window = if view.span == Span::SinceStart || !all.recent {
        format!("rate over {:.0} s, the rest since the start", figures.elapsed)
    } else {
        format!("over {:.0} s", figures.elapsed)
    };
    Line::from(format!(
        "{} req/s  {} in all  {}% errors  p50 {p50}  p95 {p95}  p99 {p99}  {busy} in flight  ({window})",
        rate(all.rate),
        count(all.total),
        share(all.errors),
    ))
}

/// Who failed and why: in the window, and since the start in brackets.
fn failures(figures: &Figures, view: &View) -> Line<'static> {
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
    let line = Line::from(format!("failed  {text}"));
    if recent { line.light_red() } else { line.dim() }
}

fn width_of(numbers: &[Number]) -> u16 {
    numbers.iter().map(|(_, _, columns)| columns + 1).sum()
}

/// The numbers that a narrow screen has room for beside the path, and the columns of that.
fn layout(width: u16) -> (Vec<Number>, u16) {
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

fn heads(view: &View, numbers: &[Number]) -> Row<'static> {
    let mark = |sort: Sort, name: &str| {
        let arrow = if view.reversed { "^" } else { "v" };
        if view.sort == sort { format!("{name}{arrow}") } else { name.to_owned() }
    };
    let words = [mark(Sort::Method, "METHOD"), mark(Sort::Path, "PATH")].map(Line::from);
    let numbers = numbers.iter().map(|(name, sort, _)| Line::from(mark(*sort, name)));
    Row::new(words.into_iter().chain(numbers.map(Line::right_aligned))).reversed()
}

fn row(
    figure: &Figure,
    figures: &Figures,
    view: &View,
    (numbers, path_columns): (&[Number], u16),
) -> Row<'static> {
    let words = [(&figure.method, METHOD_COLUMNS), (&figure.path, path_columns)]
        .map(|(word, columns)| Line::from(cut(&visible(word), usize::from(columns))));
    let numbers = numbers.iter().filter_map(|(_, sort, _)| match sort {
        Sort::Rate => Some(rate(figure.rate)),
        Sort::Count => Some(count(figure.total)),
        Sort::Errors => Some(share(figure.errors)),
        Sort::Quantile(index) => {
            Some(seconds(figure.quantiles.get(*index).copied().flatten(), figures.highest))
        }
        Sort::Path | Sort::Method => None,
    });
    let numbers = numbers.map(|number| Line::from(number).right_aligned());
    let row = Row::new(words.into_iter().chain(numbers));
    match (figure.recent || view.span == Span::SinceStart, figure.errors > 0.0) {
        (false, _) => row.dim(),
        (true, true) => row.light_red(),
        (true, false) => row,
    }
}

fn count(count: f64) -> String {
    format!("{count:.0}")
}

#[cfg(test)]
mod tests;
