//! The end of the page: what is not per path.

use std::sync::atomic::Ordering::Relaxed;

use procfs::WithCurrentSystemInfo;
use procfs::process::Process;

use super::Page;
use super::sheet::{Number, Observed, Sheet};
use crate::metrics::store::HistogramTotals;
use crate::metrics::text::Nanos;
use crate::metrics::{self, CATALOGUE, Collected, Family};

impl Page {
    pub(super) fn rest(&mut self, out: &mut Sheet) {
        self.labels.clear();
        let workers = &self.sources.workers;
        let shown = |of: Family| !self.sources.shown.without.has(&of);
        if let Some(first) = workers.first() {
            let born = Some(first.overhead.born());
            if shown(metrics::OVERHEAD) {
                let totals = HistogramTotals::of(workers.iter().map(|worker| &worker.overhead));
                let bounds = &first.overhead_bounds;
                out.family(metrics::OVERHEAD);
                let of = Observed { bounds, totals: &totals, born, traces: &[] };
                out.histogram(&self.labels, &of);
            }
            if shown(metrics::CONNECT_DURATION) {
                let totals = HistogramTotals::of(workers.iter().map(|worker| &worker.connect));
                let bounds = &first.connect_bounds;
                out.family(metrics::CONNECT_DURATION);
                let of = Observed { bounds, totals: &totals, born, traces: &[] };
                out.histogram(&self.labels, &of);
            }
        }
        self.folds(out);
        self.cold(out);
        self.process(out);
        out.end();
    }

    /// The exporter knows neither `OpenMetrics` nor an order; so only its samples are taken over.
    fn cold(&self, out: &mut Sheet) {
        let store = &self.sources.store;
        let (paths_digest, path_conflicts) = store.agreement();
        let collected = Collected {
            series: self.snapshot.rows.len(),
            paths: store.learned_paths(),
            paths_digest,
            path_conflicts,
            path_overflows: store.path_overflows.load(Relaxed),
            series_overflows: store.series_overflows.load(Relaxed),
        };
        let text = self.sources.cold.render(collected, &self.sources.workers);
        let mut samples: Vec<&str> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        samples.sort_unstable();
        for of in CATALOGUE.iter().filter(|of| !self.sources.shown.without.has(of)) {
            let is_of = |line: &&&str| {
                line.strip_prefix(of.name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            };
            let mut own = samples.iter().filter(is_of).peekable();
            if own.peek().is_some() {
                out.family(*of);
                for line in own {
                    out.line(line, self.sources.cold.born);
                }
            }
        }
    }

    fn folds(&mut self, out: &mut Sheet) {
        let folds = self.sources.store.list_folds();
        if !folds.is_empty() {
            out.family(metrics::PATH_FOLDS);
        }
        for place in folds {
            self.labels.clear();
            self.labels.push("path", &place);
            out.sample(&self.labels, Number::Whole(1), None);
        }
        self.labels.clear();
    }

    /// What `/proc` says of this process. What it does not say is left out.
    fn process(&self, out: &mut Sheet) {
        let Ok(process) = Process::myself() else {
            return;
        };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second();
            let cpu = Nanos((stat.utime + stat.stime) * (1_000_000_000 / ticks.max(1)));
            self.single(out, metrics::PROCESS_CPU, Number::Seconds(cpu));
            self.single(out, metrics::PROCESS_RSS, Number::Whole(stat.rss_bytes().get()));
            self.single(out, metrics::PROCESS_VIRTUAL, Number::Whole(stat.vsize));
            let threads = u64::try_from(stat.num_threads).unwrap_or(0);
            self.single(out, metrics::PROCESS_THREADS, Number::Whole(threads));
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = Nanos(boot * 1_000_000_000 + stat.starttime * (1_000_000_000 / ticks));
                self.single(out, metrics::PROCESS_START, Number::Seconds(start));
            }
        }
        if let Ok(count) = process.fd_count() {
            self.single(out, metrics::PROCESS_FDS, Number::Whole(count as u64));
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(limit) = limits.max_open_files.soft_limit
        {
            self.single(out, metrics::PROCESS_MAX_FDS, Number::Whole(limit));
        }
    }

    fn single(&self, out: &mut Sheet, of: Family, value: Number) {
        if self.sources.shown.without.has(&of) {
            return;
        }
        out.family(of);
        out.sample(&self.labels, value, Some(self.sources.cold.born));
    }
}
