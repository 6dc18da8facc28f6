//! What changed, as a picture: for each path the buckets of its quantiles, before and after.

use std::fmt::Write;

use super::comparison::{Change, Comparison, Figures, growth};
use super::text::percent;
use crate::cli::scrape::quantiles::{QUANTILE_NAMES, Quantile};
use crate::cli::scrape::text::{cut, seconds, share, visible};

/// Paths in a picture: what fits a comment on a pull request.
const MOST_PATHS: usize = 20;

const WIDTH: f64 = 900.0;
const ROW: f64 = 58.0;
const HEAD: f64 = 72.0;
/// Where the scale of durations begins and ends.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 780.0;
const NAME_COLUMNS: usize = 40;

const STYLE: &str = "<style>\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1f2328}\
.dim{fill:#59636e;font-size:11px}.grid{stroke:#d1d9e0}\
.before{fill:#8c959f}.after{fill:#0969da}.bad{fill:#cf222e}\
rect.page{fill:#fff}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.dim{fill:#9198a1}.grid{stroke:#3d444d}\
.before{fill:#656c76}.after{fill:#4493f8}.bad{fill:#ff7b72}rect.page{fill:#0d1117}}\
</style>";

/// Durations on a line, in powers of ten.
struct Scale {
    from: f64,
    to: f64,
}

/// Powers of ten of a second that a picture shows. Nobody waits less than a microsecond or more
/// than ten days, and a page that says so would have hundreds of lines in its grid.
const DECADES: (f64, f64) = (-6.0, 6.0);

impl Scale {
    fn of(changes: &[&Change]) -> Self {
        let sides = changes.iter().flat_map(|change| [&change.before, &change.after]);
        let quantiles = sides.flatten().flat_map(|figures| figures.quantiles).flatten();
        let ends = quantiles.flat_map(|quantile| [quantile.low, quantile.high]);
        let ends: Vec<_> = ends.filter(|end| *end > 0.0 && end.is_finite()).collect();
        let least = ends.iter().copied().fold(1.0, f64::min);
        let most = ends.iter().copied().fold(least * 10.0, f64::max);
        let decade = |power: f64| power.clamp(DECADES.0, DECADES.1);
        Self { from: decade(least.log10().floor()), to: decade(most.log10().ceil()) }
    }

    fn x(&self, seconds: f64) -> f64 {
        let decades = seconds.max(f64::MIN_POSITIVE).log10().clamp(self.from, self.to);
        LEFT + (RIGHT - LEFT) * (decades - self.from) / (self.to - self.from).max(1.0)
    }
}

/// The picture. Nothing that a page says is markup in it.
pub(super) fn picture(comparison: &Comparison) -> String {
    let mut changes = vec![&comparison.all];
    changes.extend(comparison.paths.iter().take(MOST_PATHS));
    let scale = Scale::of(&changes);
    let rows = f64::from(u32::try_from(changes.len()).unwrap_or(u32::MAX));
    let height = HEAD + ROW * rows + 28.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\">\n<title>What changed</title>\n{STYLE}\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n"
    );
    heads(&mut out, comparison);
    grid(&mut out, &scale, height);
    let mut y = HEAD;
    for change in changes {
        row(&mut out, change, &scale, y);
        y += ROW;
    }
    let left_out = comparison.paths.len().saturating_sub(MOST_PATHS);
    if left_out > 0 {
        text(&mut out, (16.0, height - 10.0), "dim", &format!("and {left_out} paths more"));
    }
    out.push_str("</svg>\n");
    out
}

fn heads(out: &mut String, comparison: &Comparison) {
    for (class, label, summary, y) in [
        ("before", "before", &comparison.before, 16.0),
        ("after", "after", &comparison.after, 34.0),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"16\" y=\"{y}\" width=\"10\" height=\"10\"/>"
        );
        let name = cut(&visible(&summary.name), 60);
        let words = format!("{label}  {}  {:.0} requests", name.trim_end(), summary.requests);
        text(out, (34.0, y + 10.0), "", &words);
    }
}

fn grid(out: &mut String, scale: &Scale, height: f64) {
    let mut decade = scale.from;
    while decade <= scale.to {
        let at = 10_f64.powf(decade);
        let x = scale.x(at);
        let bottom = height - 24.0;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{HEAD}\" y2=\"{bottom}\"/>"
        );
        text(out, (x + 3.0, HEAD - 4.0), "dim", &seconds(Some(at), None));
        decade += 1.0;
    }
}

fn row(out: &mut String, change: &Change, scale: &Scale, y: f64) {
    let name = format!("{} {}", visible(&change.method), visible(&change.path));
    let name = if change.is_all() { "all".to_owned() } else { name };
    text(out, (16.0, y + 18.0), "", &cut(&name, NAME_COLUMNS));
    let (words, is_bad) = errors(change);
    text(out, (16.0, y + 36.0), if is_bad { "dim bad" } else { "dim" }, &words);
    for (index, name) in QUANTILE_NAMES.iter().enumerate() {
        let top = y + 6.0 + 16.0 * f64::from(u8::try_from(index).unwrap_or(0));
        text(out, (LEFT - 32.0, top + 10.0), "dim", name);
        bar(out, "before", of(change.before.as_ref(), index), scale, top);
        bar(out, "after", of(change.after.as_ref(), index), scale, top + 6.0);
        if let Some((before, after)) = change.quantile(index) {
            let words = percent(growth(before.estimate, after.estimate));
            let is_apart = super::comparison::are_apart(before, after);
            let class = match (is_apart, after.low > before.low) {
                (true, true) => "dim bad",
                (true, false) => "",
                (false, _) => "dim",
            };
            let words = if is_apart { words } else { format!("({words})") };
            text(out, (RIGHT + 12.0, top + 10.0), class, &words);
        }
    }
}

fn of(figures: Option<&Figures>, index: usize) -> Option<Quantile> {
    figures?.quantiles.get(index).copied()?
}

/// The bucket as a bar, the estimate as a mark in it.
fn bar(out: &mut String, class: &str, quantile: Option<Quantile>, scale: &Scale, y: f64) {
    let Some(Quantile { estimate, low, high }) = quantile else { return };
    let (from, to, mark) = (scale.x(low), scale.x(high), scale.x(estimate));
    let width = (to - from).max(2.0);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" opacity=\".45\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" \
         height=\"5\"/><rect class=\"{class}\" x=\"{:.1}\" y=\"{}\" width=\"3\" height=\"7\"/>",
        mark - 1.5,
        y - 1.0,
    );
}

/// What is to be said of errors, and whether they became more.
fn errors(change: &Change) -> (String, bool) {
    let ratio = |figures: &Figures| format!("{}%", share(figures.errors));
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let grew = after.errors > before.errors + 0.0005;
            (format!("errors {} -> {}", ratio(before), ratio(after)), grew)
        }
        (None, Some(after)) => (format!("new, errors {}", ratio(after)), false),
        (Some(before), None) => (format!("gone, errors {}", ratio(before)), false),
        (None, None) => (String::new(), false),
    }
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, words: &str) {
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"");
    if !class.is_empty() {
        let _ = write!(out, " class=\"{class}\"");
    }
    out.push('>');
    for c in words.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out.push_str("</text>\n");
}
