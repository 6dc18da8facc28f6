//! The end of the page: what is not per path.

use std::sync::atomic::Ordering::Relaxed;

use procfs::WithCurrentSystemInfo;
use procfs::process::Process;

use super::sheet::{Number, Observed, Sheet};
use super::{Page, View};
use crate::metrics::buckets::Buckets;
use crate::metrics::slo::{Slo, SloResult};
use crate::metrics::store::{HistogramRow, HistogramTotals};
use crate::metrics::text::Nanos;
use crate::metrics::{self, CATALOGUE, Collected, Family, WorkerStats};

impl View {
    /// The cold metrics of this listener, as text 0.0.4.
    fn cold(&self) -> String {
        let store = &self.site.store;
        let (paths_digest, path_conflicts) = store.agreement();
        let collected = Collected {
            series: self.snapshot.rows.len(),
            paths: store.learned_paths(),
            paths_digest,
            path_conflicts,
            path_overflows: store.path_overflows.load(Relaxed),
            series_overflows: store.series_overflows.load(Relaxed),
        };
        self.site.cold.render(collected, &self.site.workers)
    }
}

/// The lines of a text that are samples.
fn sorted(text: &str) -> Vec<String> {
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut samples: Vec<_> = samples.map(str::to_owned).collect();
    samples.sort_unstable();
    samples
}

impl Page {
    pub(super) fn rest(&mut self, out: &mut Sheet) {
        self.objectives(out);
        self.of_workers(out, metrics::OVERHEAD, |w| (&w.overhead, &w.overhead_bounds));
        self.of_workers(out, metrics::CONNECT_DURATION, |w| (&w.connect, &w.connect_bounds));
        self.folds(out);
        self.cold(out);
        self.labels.begin_with(None);
        self.process(out);
        out.end();
    }

    /// What `--slo` asks for, of all listeners alike, and how requests did at each.
    fn objectives(&mut self, out: &mut Sheet) {
        let slos = self.sources.first.store.limits().slos.clone();
        let shown = self.sources.shown.without.clone();
        if slos.iter().next().is_none() {
            return;
        }
        if !shown.has(&metrics::SLO_REQUESTS) {
            out.family(metrics::SLO_REQUESTS);
            for number in 0..self.views.len() {
                self.look_at(number);
                for (index, slo) in slos.iter().enumerate() {
                    for result in SloResult::ALL {
                        self.labels.clear();
                        self.labels.push("slo", &slo.name);
                        self.labels.push("result", result.as_str());
                        let site = &self.view.site;
                        let count = site.store.slo_requests(index, result);
                        out.sample(&self.labels, Number::Whole(count), Some(site.cold.born));
                    }
                }
            }
        }
        self.labels.begin_with(None);
        for (of, value) in [
            (metrics::SLO_OBJECTIVE, (|slo| Some(slo.objective)) as fn(&Slo) -> Option<f64>),
            (metrics::SLO_LATENCY, |slo| Some(slo.latency?.as_secs_f64())),
        ] {
            if shown.has(&of) || slos.iter().all(|slo| value(slo).is_none()) {
                continue;
            }
            out.family(of);
            for slo in slos.iter() {
                if let Some(value) = value(slo) {
                    self.labels.clear();
                    self.labels.push("slo", &slo.name);
                    out.sample(&self.labels, Number::Float(value), None);
                }
            }
        }
    }

    /// Writes a histogram that workers have of each listener.
    fn of_workers(
        &mut self,
        out: &mut Sheet,
        of: Family,
        read: fn(&WorkerStats) -> (&HistogramRow, &Buckets),
    ) {
        if self.sources.shown.without.has(&of) {
            return;
        }
        for number in 0..self.views.len() {
            self.look_at(number);
            let workers = &self.view.site.workers;
            let Some((first, bounds)) = workers.first().map(|worker| read(worker)) else {
                continue;
            };
            if number == 0 {
                out.family(of);
            }
            let totals = HistogramTotals::of(workers.iter().map(|worker| read(worker).0));
            let of = Observed { bounds, totals: &totals, born: Some(first.born()), traces: &[] };
            out.histogram(&self.labels, &of);
        }
    }

    /// What the process counts, and what each listener. The exporter knows neither `OpenMetrics`
    /// nor an order; so only its samples are taken over.
    fn cold(&mut self, out: &mut Sheet) {
        let process = &self.sources.first.cold.process;
        let mut parts = vec![(None, sorted(&process.render()))];
        for (number, view) in self.views.iter().enumerate() {
            parts.push((Some(number), sorted(&view.cold())));
        }
        let born = self.sources.first.cold.born;
        let shown = self.sources.shown.clone();
        for of in CATALOGUE.iter().filter(|of| !shown.without.has(of)) {
            let is_of = |line: &&String| {
                line.strip_prefix(of.name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            };
            let mut is_begun = false;
            for (number, lines) in &parts {
                match number {
                    Some(number) => _ = self.look_at(*number),
                    None => self.labels.begin_with(None),
                }
                for line in lines.iter().filter(is_of) {
                    if !std::mem::replace(&mut is_begun, true) {
                        out.family(*of);
                    }
                    out.line(&mut self.labels, line, born);
                }
            }
        }
    }

    fn folds(&mut self, out: &mut Sheet) {
        let mut is_begun = false;
        for number in 0..self.views.len() {
            self.look_at(number);
            for place in self.view.site.store.list_folds() {
                if !std::mem::replace(&mut is_begun, true) {
                    out.family(metrics::PATH_FOLDS);
                }
                self.labels.clear();
                self.labels.push("path", &place);
                out.sample(&self.labels, Number::Whole(1), None);
            }
        }
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
        out.sample(&self.labels, value, Some(self.sources.first.cold.born));
    }
}
