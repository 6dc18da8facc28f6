//! Two pages, path by path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::scrape::page::{Key, Page, Row};
use crate::cli::scrape::quantiles::{QUANTILES, Quantile, quantile};

/// Points of errors by which a path counts as changed.
const NOTABLE_POINTS: f64 = 0.01;

/// Method and path of what is summed up over all.
const ALL: &str = "*";

/// A page, and when it was so.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) page: Page,
    pub(super) at: Option<SystemTime>,
}

impl Side {
    /// Seconds since the epoch.
    fn at(&self) -> Option<f64> {
        Some(self.at?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
    }
}

/// What is known of a path on one side.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Figures {
    pub(super) requests: f64,
    /// Per second, where the time is known.
    pub(super) rate: Option<f64>,
    /// Share of the requests, 0 to 1.
    pub(super) errors: f64,
    /// Requests with a duration: not the upgraded ones.
    pub(super) measured: f64,
    pub(super) quantiles: [Option<Quantile>; 3],
}

impl Figures {
    fn of(row: &Row, bounds: &[f64], seconds: Option<f64>) -> Option<Self> {
        let measured = row.buckets.last().copied().unwrap_or(0.0);
        (row.total > 0.0 || measured > 0.0).then(|| Self {
            requests: row.total,
            rate: seconds.map(|seconds| row.total / seconds),
            errors: if row.total > 0.0 { (row.errors / row.total).clamp(0.0, 1.0) } else { 0.0 },
            measured,
            quantiles: QUANTILES.map(|q| quantile(q, &row.buckets, bounds)),
        })
    }
}

/// A method and path, or all of them.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    pub(super) method: String,
    pub(super) path: String,
    /// `None`: it is new.
    pub(super) before: Option<Figures>,
    /// `None`: it is gone.
    pub(super) after: Option<Figures>,
}

impl Change {
    /// All paths together. A page has the path `*`, of OPTIONS, but no such method.
    pub(super) fn is_all(&self) -> bool {
        self.method == ALL && self.path == ALL
    }

    /// A quantile on both sides.
    pub(super) fn quantile(&self, index: usize) -> Option<(Quantile, Quantile)> {
        let of = |figures: &Option<Figures>| figures.as_ref()?.quantiles.get(index).copied()?;
        Some((of(&self.before)?, of(&self.after)?))
    }

    /// Points of errors that came.
    pub(super) fn points(&self) -> Option<f64> {
        Some(self.after.as_ref()?.errors - self.before.as_ref()?.errors)
    }

    /// Its buckets, its errors or its being there leave no doubt.
    pub(super) fn is_notable(&self) -> bool {
        let moved = |index| self.quantile(index).is_some_and(|(b, a)| are_apart(b, a));
        self.points().is_none_or(|points| points.abs() > NOTABLE_POINTS)
            || (0..QUANTILES.len()).any(moved)
    }

    fn requests(&self) -> f64 {
        let of = |figures: &Option<Figures>| figures.as_ref().map_or(0.0, |f| f.requests);
        of(&self.before) + of(&self.after)
    }
}

/// Two buckets that share no duration.
pub(super) fn are_apart(before: Quantile, after: Quantile) -> bool {
    after.low >= before.high || before.low >= after.high
}

/// By which share something grew.
pub(super) fn growth(before: f64, after: f64) -> Option<f64> {
    (before > 0.0).then(|| after / before - 1.0)
}

/// What a side is in all.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) name: String,
    pub(super) requests: f64,
    pub(super) seconds: Option<f64>,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) before: Summary,
    pub(super) after: Summary,
    /// Both pages are of one process: the second stands for what came since the first.
    pub(super) is_one_process: bool,
    pub(super) all: Change,
    /// Those that changed without doubt first, then those with most requests.
    pub(super) paths: Vec<Change>,
}

impl Comparison {
    pub(super) fn of(before: Side, after: Side, duration: Option<Duration>) -> Self {
        let is_one_process = is_one_process(&before.page, &after.page);
        let lasted = |from: Option<f64>, to: Option<f64>| {
            let seconds = match duration {
                Some(duration) => duration.as_secs_f64(),
                None => to? - from?,
            };
            (seconds > 0.0).then_some(seconds)
        };
        let before_seconds = lasted(before.page.started, before.at());
        let after_from = if is_one_process { before.at() } else { after.page.started };
        let after_seconds = lasted(after_from, after.at());
        let (old, new) = (before.page, after.page);
        let (rows, all) = if is_one_process {
            let since = |(key, row): (&Key, &Arc<Row>)| {
                let row = old.rows.get(key).map_or_else(|| (**row).clone(), |b| less(row, b));
                (key.clone(), Arc::new(row))
            };
            (new.rows.iter().map(since).collect(), less(&new.all, &old.all))
        } else {
            (new.rows, new.all)
        };
        let old_figures = |row: &Row| Figures::of(row, &old.bounds, before_seconds);
        let new_figures = |row: &Row| Figures::of(row, &new.bounds, after_seconds);
        Self {
            all: Change {
                method: ALL.into(),
                path: ALL.into(),
                before: old_figures(&old.all),
                after: new_figures(&all),
            },
            paths: paired(&old.rows, old_figures, &rows, new_figures),
            before: Summary { name: before.name, requests: old.all.total, seconds: before_seconds },
            after: Summary { name: after.name, requests: all.total, seconds: after_seconds },
            is_one_process,
        }
    }
}

type Rows = BTreeMap<Key, Arc<Row>>;

fn paired(
    old: &Rows,
    old_figures: impl Fn(&Row) -> Option<Figures>,
    new: &Rows,
    new_figures: impl Fn(&Row) -> Option<Figures>,
) -> Vec<Change> {
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |key: &Key| {
        let (method, path) = key.clone();
        let before = old.get(key).and_then(|row| old_figures(row));
        let after = new.get(key).and_then(|row| new_figures(row));
        (before.is_some() || after.is_some()).then_some(Change { method, path, before, after })
    };
    let mut changes: Vec<_> = keys.into_iter().filter_map(change).collect();
    changes.sort_by(|a, b| {
        let notable = b.is_notable().cmp(&a.is_notable());
        notable.then_with(|| b.requests().total_cmp(&a.requests()))
    });
    changes
}

/// A process tells when it began, to the hundredth of a second, and its counters only grow.
fn is_one_process(before: &Page, after: &Page) -> bool {
    let began_together = match (before.started, after.started) {
        (Some(before), Some(after)) => before.total_cmp(&after).is_eq(),
        (Some(_) | None, Some(_) | None) => false,
    };
    let grew = |(key, row): (&Key, &Arc<Row>)| {
        after.rows.get(key).is_some_and(|now| {
            let kept = now.buckets.iter().zip(&row.buckets).all(|(now, before)| now >= before);
            now.total >= row.total && now.errors >= row.errors && kept
        })
    };
    let same_bounds = before.bounds.is_empty() || before.bounds == after.bounds;
    began_together && same_bounds && before.rows.iter().all(grew)
}

fn less(row: &Row, before: &Row) -> Row {
    let old = |position: usize| before.buckets.get(position).copied().unwrap_or(0.0);
    Row {
        total: row.total - before.total,
        errors: row.errors - before.errors,
        buckets: row.buckets.iter().enumerate().map(|(i, now)| now - old(i)).collect(),
    }
}
