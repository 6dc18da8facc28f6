//! What changed, for programs.

use serde::Serialize;

use super::comparison::{Change, Comparison, Figures, Summary, are_apart};
use super::condition::Judgement;
use crate::cli::scrape::quantiles::{QUANTILE_NAMES, Quantile};

#[derive(Serialize)]
struct Document {
    before: Page,
    after: Page,
    same_process: bool,
    all: Line,
    paths: Vec<Line>,
    conditions: Vec<Verdict>,
}

#[derive(Serialize)]
struct Page {
    source: String,
    requests: f64,
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct Line {
    method: String,
    path: String,
    before: Option<OneSide>,
    after: Option<OneSide>,
    /// Quantiles whose buckets share no duration.
    certainly_changed: Vec<&'static str>,
}

#[derive(Serialize)]
struct OneSide {
    requests: f64,
    requests_per_second: Option<f64>,
    error_ratio: f64,
    p50: Option<Range>,
    p95: Option<Range>,
    p99: Option<Range>,
}

/// Seconds. Without an upper bound it is above the last bound.
#[derive(Serialize)]
struct Range {
    estimate: f64,
    above: f64,
    at_most: Option<f64>,
}

#[derive(Serialize)]
struct Verdict {
    condition: String,
    judged: usize,
    too_few_requests: usize,
    met: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    method: String,
    path: String,
}

/// The document, with a line feed at its end.
pub(super) fn document(comparison: &Comparison, judged: &[Judgement<'_>]) -> Vec<u8> {
    let document = Document {
        before: source(&comparison.before),
        after: source(&comparison.after),
        same_process: comparison.is_one_process,
        all: path(&comparison.all),
        paths: comparison.paths.iter().map(path).collect(),
        conditions: judged.iter().map(condition).collect(),
    };
    // Strings and numbers alone always become JSON.
    let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    text.push(b'\n');
    text
}

fn source(summary: &Summary) -> Page {
    let Summary { name, requests, seconds } = summary;
    Page { source: name.clone(), requests: *requests, seconds: *seconds }
}

fn path(change: &Change) -> Line {
    let moved = |(index, _): &(usize, &&'static str)| {
        change.quantile(*index).is_some_and(|(before, after)| are_apart(before, after))
    };
    Line {
        method: change.method.clone(),
        path: change.path.clone(),
        before: change.before.as_ref().map(one_side),
        after: change.after.as_ref().map(one_side),
        certainly_changed: QUANTILE_NAMES
            .iter()
            .enumerate()
            .filter(moved)
            .map(|(_, name)| *name)
            .collect(),
    }
}

fn one_side(figures: &Figures) -> OneSide {
    let [p50, p95, p99] = figures.quantiles.map(|quantile| quantile.map(range));
    OneSide {
        requests: figures.requests,
        requests_per_second: figures.rate,
        error_ratio: figures.errors,
        p50,
        p95,
        p99,
    }
}

fn range(quantile: Quantile) -> Range {
    let Quantile { estimate, low, high } = quantile;
    Range { estimate, above: low, at_most: high.is_finite().then_some(high) }
}

fn condition(judgement: &Judgement<'_>) -> Verdict {
    let place =
        |change: &&Change| Place { method: change.method.clone(), path: change.path.clone() };
    Verdict {
        condition: judgement.condition.to_string(),
        judged: judgement.judged,
        too_few_requests: judgement.too_few,
        met: judgement.met.iter().map(place).collect(),
    }
}
