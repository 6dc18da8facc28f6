//! What is printed: the names as a list for `--routes-file`, or all of it as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use redcar::metrics::{
    Format, HistogramTotals, Histograms, Page, Resource, SidecarMetrics, Site, SloResult, Sources,
    Store, WorkerStats, meaning_of,
};
use redcar::paths::Template;

use super::Tally;
use crate::cli::SeriesSettings;

/// Everything that is known when the log has been read.
pub(super) struct Report {
    file: String,
    tally: Tally,
    limits: (usize, usize),
    pods: Option<u32>,
    /// What --slo asks for, and how the log did.
    slos: Vec<SloReport>,
    /// By requests, the busiest first.
    paths: Vec<PathUse>,
    rows: usize,
    page: PageSize,
    /// The page in protobuf, where histograms are not classic there.
    protobuf: Option<PageSize>,
}

/// How often a Prometheus comes, unless told otherwise.
const SCRAPE_INTERVAL_SECONDS: u64 = 15;

/// What all pods of a service cost whoever stores them.
struct Fleet {
    time_series: u64,
    samples_per_second: u64,
    bytes_per_second: u64,
}

/// An objective, and the requests that it is about by result.
struct SloReport {
    slo: String,
    requests: [(SloResult, u64); SloResult::ALL.len()],
}

/// One name and the requests under it.
#[derive(Default)]
struct PathUse {
    template: String,
    requests: u64,
    methods: BTreeMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
}

/// The page of a scrape: its lines and bytes.
#[derive(Default)]
struct PageSize {
    time_series: usize,
    bytes: usize,
    gzip_bytes: usize,
}

impl Report {
    pub(super) fn new(
        file: String,
        tally: Tally,
        pods: Option<u32>,
        settings: &SeriesSettings,
        store: &Arc<Store>,
    ) -> Self {
        let limits = (settings.limits.max_paths, settings.limits.max_series);
        let page = PageSize::of(settings, store, Format::Text);
        let protobuf = (settings.shown.histograms != Histograms::Classic)
            .then(|| PageSize::of(settings, store, Format::Protobuf));
        let snapshot = store.snapshot();
        let mut paths: BTreeMap<String, PathUse> = BTreeMap::new();
        for (key, parts) in &snapshot.rows {
            let template = snapshot.route_name(key.route).to_owned();
            let count = HistogramTotals::of(parts.iter().map(|row| &row.durations)).count();
            let method = settings.methods.name(key.method).to_owned();
            let path = paths.entry(template.clone()).or_default();
            path.template = template;
            path.requests += count;
            *path.methods.entry(method).or_default() += count;
            *path.statuses.entry(key.status).or_default() += count;
        }
        let mut paths: Vec<_> = paths.into_values().filter(|path| path.requests > 0).collect();
        paths.sort_by(|a, b| b.requests.cmp(&a.requests).then(a.template.cmp(&b.template)));
        let slos = settings.limits.slos.iter().enumerate().map(|(index, slo)| SloReport {
            slo: slo.to_string(),
            requests: SloResult::ALL.map(|result| (result, store.slo_requests(index, result))),
        });
        let slos = slos.collect();
        Self { file, tally, limits, pods, slos, paths, rows: snapshot.rows.len(), page, protobuf }
    }

    /// A list that `--routes-file` reads, with everything else in comments.
    pub(super) fn text(&self) -> String {
        let (max_paths, max_series) = self.limits;
        let Tally { lines, requests, excluded, not_understood, .. } = self.tally;
        let rejected = self.tally.first_not_understood.as_ref();
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# {}: {lines} lines, {requests} requests", self.file);
        if let Some(first) = rejected {
            let _ = writeln!(
                out,
                "# {not_understood} lines not understood, the first is {}: {}",
                first.line, first.reason
            );
        }
        if excluded > 0 {
            let _ = writeln!(out, "# {excluded} requests excluded");
        }
        let _ = writeln!(
            out,
            "# {} paths (--max-paths {max_paths}), {} series (--max-series {max_series})\n\
             # a scrape has {} time series, {} bytes, {} with gzip",
            self.templates(),
            self.rows,
            self.page.time_series,
            self.page.bytes,
            self.page.gzip_bytes
        );
        if let Some(PageSize { time_series, bytes, gzip_bytes }) = &self.protobuf {
            let _ = writeln!(
                out,
                "# in protobuf {time_series} time series, {bytes} bytes, {gzip_bytes} with gzip"
            );
        }
        if let Some(pods) = self.pods {
            let fleet = self.fleet(pods);
            let _ = writeln!(
                out,
                "# {pods} pods: {} time series, {} samples/s and {} bytes/s at a scrape every {} s",
                fleet.time_series,
                fleet.samples_per_second,
                fleet.bytes_per_second,
                SCRAPE_INTERVAL_SECONDS
            );
        }
        for SloReport { slo, requests } in &self.slos {
            let requests: Vec<_> = requests
                .iter()
                .map(|(result, count)| format!("{} {count}", result.as_str()))
                .collect();
            let _ = writeln!(out, "# {slo}: {}", requests.join(", "));
        }
        let _ = writeln!(out, "{:40} # requests, methods, statuses", "# template");
        for path in &self.paths {
            let is_template = path.template.parse::<Template>().is_ok();
            let name = format!("{}{}", if is_template { "" } else { "# " }, path.template);
            let (methods, statuses) = (counts(&path.methods), counts(&path.statuses));
            let meaning = meaning_of(&path.template).map(|m| format!(": {m}")).unwrap_or_default();
            let _ = writeln!(out, "{name:40} # {}, {methods}, {statuses}{meaning}", path.requests);
        }
        out
    }

    /// Names that count towards `--max-paths`: not the labels that stand for all the rest.
    fn templates(&self) -> usize {
        self.paths.iter().filter(|path| path.template.starts_with('/')).count()
    }

    fn fleet(&self, pods: u32) -> Fleet {
        let [time_series, bytes] = [self.page.time_series, self.page.bytes]
            .map(|one| u64::try_from(one).unwrap_or(u64::MAX).saturating_mul(pods.into()));
        Fleet {
            time_series,
            samples_per_second: time_series / SCRAPE_INTERVAL_SECONDS,
            bytes_per_second: bytes / SCRAPE_INTERVAL_SECONDS,
        }
    }

    pub(super) fn json(&self) -> String {
        let paths = self.paths.iter().map(|path| {
            serde_json::json!({
                "template": path.template,
                "requests": path.requests,
                "methods": path.methods,
                "statuses": path.statuses,
            })
        });
        let paths: Vec<_> = paths.collect();
        let rejected = self.tally.first_not_understood.as_ref();
        let fleet = self.pods.map(|pods| {
            let fleet = self.fleet(pods);
            serde_json::json!({
                "pods": pods,
                "time_series": fleet.time_series,
                "samples_per_second": fleet.samples_per_second,
                "scrape_bytes_per_second": fleet.bytes_per_second,
            })
        });
        let slos: Vec<_> = self
            .slos
            .iter()
            .map(|SloReport { slo, requests }| {
                let requests: BTreeMap<_, _> =
                    requests.iter().map(|(result, count)| (result.as_str(), count)).collect();
                serde_json::json!({ "slo": slo, "requests": requests })
            })
            .collect();
        let value = serde_json::json!({
            "file": self.file,
            "lines": self.tally.lines,
            "bytes": self.tally.bytes,
            "requests": self.tally.requests,
            "excluded": self.tally.excluded,
            "lines_not_understood": self.tally.not_understood,
            "first_line_not_understood": rejected.map_or(0, |rejected| rejected.line),
            "max_paths": self.limits.0,
            "max_series": self.limits.1,
            "series": self.rows,
            "time_series": self.page.time_series,
            "scrape_bytes": self.page.bytes,
            "scrape_gzip_bytes": self.page.gzip_bytes,
            "protobuf": self.protobuf.as_ref().map(|page| serde_json::json!({
                "time_series": page.time_series,
                "scrape_bytes": page.bytes,
                "scrape_gzip_bytes": page.gzip_bytes,
            })),
            "slos": slos,
            "fleet": fleet,
            "paths": paths,
        });
        format!("{value:#}\n")
    }
}

/// `GET 12, POST 3`
fn counts<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(key, count)| format!("{key} {count}")).collect();
    counts.join(" ")
}

impl PageSize {
    /// Renders the page that the proxy would send, and counts.
    fn of(settings: &SeriesSettings, store: &Arc<Store>, format: Format) -> Self {
        let limits = &settings.limits;
        let cold = SidecarMetrics::new(limits.max_series, limits.max_paths, 10_000);
        cold.see_an_empty_queue();
        let sources = Sources {
            first: Site {
                listener: None,
                store: Arc::clone(store),
                cold,
                workers: vec![WorkerStats::new()],
            },
            further: Vec::new(),
            methods: settings.methods.clone(),
            naming: settings.naming,
            shown: settings.shown.clone(),
            scheme: "http",
            resource: Resource::default(),
        };
        let mut size = Self::default();
        let mut gzip = GzEncoder::new(Counter(0), Compression::new(format.gzip_level()));
        let mut page = Page::new(sources, format);
        for piece in page.by_ref() {
            size.bytes += piece.len();
            // The counter takes everything.
            let _infallible = gzip.write_all(&piece);
        }
        size.time_series = page.series();
        size.gzip_bytes = gzip.finish().map_or(0, |counter| counter.0);
        size
    }
}

/// Counts bytes and forgets them.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
