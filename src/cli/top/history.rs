//! Pages of the last seconds, and what happened between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::figures::{Figure, Figures, figure};
use crate::cli::scrape::page::{Page, Row};

/// Rates and quantiles are over so long.
const WINDOW: Duration = Duration::from_secs(10);

/// At most so many pages, whatever the interval is.
const MAX_PAGES: usize = 12;

#[derive(Default)]
pub(super) struct History {
    pages: VecDeque<Page>,
}

impl History {
    /// Takes a page in. A page of a sidecar that was restarted makes a new beginning.
    pub(super) fn add(&mut self, mut page: Page) {
        if let Some(last) = self.pages.back() {
            let moved = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() > 0.5,
                _ => false,
            };
            let restarted =
                moved(page.started, last.started) || page.all.total < last.all.total - 0.5;
            if restarted || page.bounds != last.bounds && !last.bounds.is_empty() {
                self.pages.clear();
            } else {
                share(&mut page, last);
            }
        }
        self.pages.push_back(page);
        while self.pages.len() > MAX_PAGES || self.has_two_beyond_window() {
            self.pages.pop_front();
        }
    }

    fn has_two_beyond_window(&self) -> bool {
        let (Some(last), Some(second)) = (self.pages.back(), self.pages.get(1)) else {
            return false;
        };
        self.pages.len() > 2 && last.at - second.at >= WINDOW
    }

    /// What the pages say. `since_start`: only the rate is of the window.
    pub(super) fn figures(&self, since_start: bool) -> Figures {
        let (Some(first), Some(last)) = (self.pages.front(), self.pages.back()) else {
            return Figures::default();
        };
        let elapsed = (last.at - first.at).as_secs_f64();
        let nothing = Row::default();
        let of = |row: &Row, before: Option<&Row>| -> Figure {
            let mut figure =
                figure(row, before.unwrap_or(&nothing), (elapsed, since_start), &last.bounds);
            // One page alone shows no change.
            figure.recent &= elapsed > 0.0;
            figure
        };
        let row = |((method, path), row): (&(String, String), &Arc<Row>)| {
            let key = (method.clone(), path.clone());
            let before = first.rows.get(&key).map(|row| &**row);
            let (method, path) = key;
            Figure { method, path, ..of(row, before) }
        };
        let reason = |(reason, total): (&(_, String), &f64)| {
            let before = first.reasons.get(reason).copied().unwrap_or(0.0);
            (reason.clone(), total - before, *total)
        };
        Figures {
            all: of(&last.all, Some(&first.all)),
            rows: last.rows.iter().map(row).collect(),
            reasons: last.reasons.iter().map(reason).collect(),
            elapsed,
            highest: last.bounds.iter().copied().rfind(|bound| bound.is_finite()),
            in_flight: last.in_flight,
            up: last.up,
            draining: last.draining,
            overflow: last.overflow,
            uptime: last.started.and_then(uptime),
        }
    }
}

/// A row that has not changed is kept once.
fn share(page: &mut Page, last: &Page) {
    for (key, row) in &mut page.rows {
        if let Some(before) = last.rows.get(key).filter(|before| *before == row) {
            *row = Arc::clone(before);
        }
    }
}

fn uptime(started: f64) -> Option<Duration> {
    let started = Duration::try_from_secs_f64(started).ok()?;
    SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(started)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn page(at: Instant, started: u32, requests: u32) -> Page {
        let labels = "method=\"GET\",path=\"/\"";
        let bucket = "http_request_duration_seconds_bucket";
        let text = format!(
            "process_start_time_seconds {started}\n\
             http_requests_total{{{labels},status=\"200\"}} {requests}\n\
             {bucket}{{{labels},le=\"1.0\"}} {requests}\n\
             {bucket}{{{labels},le=\"+Inf\"}} {requests}\n"
        );
        Page::of(&text, at)
    }

    #[test]
    fn a_rate_is_the_difference_over_the_window() {
        let begun = Instant::now();
        let mut history = History::default();
        for second in 0..30 {
            history.add(page(begun + Duration::from_secs(u64::from(second)), 5, 100 + second * 3));
        }
        let figures = history.figures(false);
        assert!((figures.elapsed - 10.0).abs() < 0.01, "{}", figures.elapsed);
        assert!((figures.all.rate - 3.0).abs() < 0.01, "{}", figures.all.rate);
        assert!(history.pages.len() <= MAX_PAGES);
        let row = figures.rows.first().unwrap();
        assert_eq!((&*row.method, &*row.path, row.recent), ("GET", "/", true));
        assert!((row.total - 187.0).abs() < 0.1 && (row.rate - 3.0).abs() < 0.01);
        // Linear within the bucket from 0 to 1, as Prometheus does it.
        assert!((row.quantiles[1].unwrap() - 0.95).abs() < 0.01);
    }

    #[test]
    fn a_restart_is_a_new_beginning_and_no_negative_rate() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        for (started, requests) in [(9, 200), (5, 3)] {
            let mut history = History::default();
            history.add(page(begun, 5, 100));
            history.add(page(later, started, requests));
            let figures = history.figures(false);
            assert!(figures.all.rate.abs() < 0.01 && !figures.all.recent);
            assert!((figures.all.total - f64::from(requests)).abs() < 0.1);
        }
    }
}
