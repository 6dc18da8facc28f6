//! The page of a scrape, made in pieces of about 64 KiB.
//!
//! Deterministic order; HELP and TYPE once per family; nothing but the current piece in memory.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::metrics::labels::Methods;
use crate::metrics::store::{HistogramTotals, Key, Row, Snapshot, Store, Traces};
use crate::metrics::text::Format;
use crate::metrics::{
    DurationLabels, Family, Naming, Resource, Shown, SidecarMetrics, WorkerStats,
};

use self::sheet::{Labels, Number, Observed, Sheet};

mod flask;
mod otel;
mod own;
mod rest;
mod sheet;
mod spans;

/// Bytes after which a piece is handed over.
const PIECE_BYTES: usize = 64 * 1024;

/// The label that tells listeners apart, where there are several.
const LISTENER: &str = "listener";

/// What is counted of one listener and the app behind it.
#[derive(Clone, Debug)]
pub struct Site {
    /// The listener's name, where there are several.
    pub listener: Option<Arc<str>>,
    /// The hot family.
    pub store: Arc<Store>,
    /// The cold metrics.
    pub cold: Arc<SidecarMetrics>,
    /// The workers' counters.
    pub workers: Vec<Arc<WorkerStats>>,
}

/// Everything a page is made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What is counted of the first listener.
    pub first: Site,
    /// And of further ones.
    pub further: Vec<Site>,
    /// The names of methods.
    pub methods: Methods,
    /// What the metrics of requests are called.
    pub naming: Naming,
    /// What is shown of them.
    pub shown: Shown,
    /// How clients reach the sidecar: `http` or `https`.
    pub scheme: &'static str,
    /// Which service the numbers are of.
    pub resource: Resource,
}

impl Sources {
    /// All listeners, in the order of their flags.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site> {
        std::iter::once(&self.first).chain(&self.further)
    }
}

/// What exists of one listener now.
#[derive(Debug)]
struct View {
    site: Site,
    snapshot: Snapshot,
    /// Rows by the labels of requests.
    groups: Groups,
    /// Rows by the labels of durations, if those are others.
    durations: Option<Groups>,
    /// Route numbers in the order of their names.
    routes: Vec<usize>,
}

/// A page under way: an iterator over its pieces.
#[derive(Debug)]
pub struct Page {
    sources: Sources,
    format: Format,
    views: Vec<Rc<View>>,
    /// The view that is being written.
    view: Rc<View>,
    /// Which part of the profile is being written, of which view, and which of its items comes
    /// next.
    part: usize,
    view_number: usize,
    position: usize,
    is_done: bool,
    labels: Labels,
    sheet: Sheet,
}

/// One family of a profile: how many items it has, and how one is written.
struct Part {
    of: Family,
    items: Items,
    write: fn(&mut Page, &mut Sheet, usize) -> Option<()>,
}

/// What a family has one block of lines for.
#[derive(Clone, Copy)]
enum Items {
    Groups,
    Durations,
    Routes,
    Once,
}

/// Rows that are shown as one.
#[derive(Debug)]
struct Groups {
    /// Row numbers in the order of their labels.
    rows: Vec<usize>,
    /// Runs of them under one set of labels.
    runs: Vec<Range<usize>>,
}

impl Groups {
    /// Groups what `key` does not tell apart. Names are compared once for each route, and not for
    /// each of its rows: `ranks` has their order.
    fn new(
        snapshot: &Snapshot,
        (ranks, methods): (&[usize], &Methods),
        key: impl Fn(Key) -> Key,
    ) -> Self {
        let key = |row: &usize| snapshot.rows.get(*row).map(|(full, _)| key(*full));
        let mut rows: Vec<usize> = (0..snapshot.rows.len()).collect();
        rows.sort_by_cached_key(|row| {
            key(row).map(|key| {
                let rank = ranks.get(key.route.index());
                (rank, methods.name(key.method), key.status, key.error, key.grpc, key.wire)
            })
        });
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (position, row) in rows.iter().enumerate() {
            let first = runs.last().and_then(|last| rows.get(last.start));
            match (runs.last_mut(), first) {
                (Some(last), Some(first)) if key(first) == key(row) => last.end = position + 1,
                _ => runs.push(position..position + 1),
            }
        }
        Self { rows, runs }
    }
}

impl View {
    fn new(site: Site, sources: &Sources) -> Self {
        let snapshot = site.store.snapshot();
        let mut routes: Vec<usize> = (0..snapshot.routes.len()).collect();
        routes.sort_by_key(|index| snapshot.routes.get(*index).map(|route| &*route.name));
        // Names are compared once for each route, and not for each of its rows.
        let mut ranks = vec![0; routes.len()];
        for (rank, index) in routes.iter().enumerate() {
            if let Some(place) = ranks.get_mut(*index) {
                *place = rank;
            }
        }
        let order = (&*ranks, &sources.methods);
        let groups = Groups::new(&snapshot, order, |key| match sources.naming {
            Naming::Default => key,
            // No label tells why an answer is not whole.
            Naming::Flask => Key { error: None, grpc: None, ..key },
            Naming::Otel => otel::reduce(key),
        });
        let labels = sources.shown.duration_labels;
        let durations = (labels != DurationLabels::default())
            .then(|| Groups::new(&snapshot, order, |key| labels.reduce(key)));
        routes.retain(|index| snapshot.routes.get(*index).is_some_and(|r| !r.rows.is_empty()));
        Self { site, snapshot, groups, durations, routes }
    }

    fn groups_of(&self, items: Items) -> &Groups {
        match (items, &self.durations) {
            (Items::Durations, Some(durations)) => durations,
            (Items::Groups | Items::Durations | Items::Routes | Items::Once, _) => &self.groups,
        }
    }

    fn count(&self, items: Items) -> usize {
        match items {
            Items::Groups | Items::Durations => self.groups_of(items).runs.len(),
            Items::Routes => self.routes.len(),
            Items::Once => 1,
        }
    }
}

impl Page {
    /// Takes stock of what exists now.
    pub fn new(sources: Sources, format: Format) -> Self {
        let view = |site: &Site| Rc::new(View::new(site.clone(), &sources));
        let views: Vec<_> = sources.sites().map(view).collect();
        let view = views.first().map_or_else(|| view(&sources.first), Rc::clone);
        let sheet = Sheet::new(format, &sources.shown);
        let mut page = Self {
            sources,
            format,
            views,
            view,
            part: 0,
            view_number: 0,
            position: 0,
            is_done: false,
            labels: Labels::new(format),
            sheet,
        };
        page.look_at(0);
        page
    }

    /// Turns to another listener, if there is one of this number; its name is then in all labels.
    fn look_at(&mut self, number: usize) -> bool {
        let Some(view) = self.views.get(number) else { return false };
        (self.view, self.view_number) = (Rc::clone(view), number);
        self.labels.begin_with(self.view.site.listener.as_deref().map(|name| (LISTENER, name)));
        true
    }

    /// Writes the next item, and its family's head before the first one.
    fn advance(&mut self, out: &mut Sheet) {
        let parts: &'static [Part] = match self.sources.naming {
            Naming::Default => own::PARTS,
            Naming::Flask => flask::PARTS,
            Naming::Otel => otel::PARTS,
        };
        let Some(part) = parts.get(self.part) else {
            self.rest(out);
            self.is_done = true;
            return;
        };
        if self.sources.shown.without.has(&part.of) {
            self.part += 1;
            return;
        }
        if self.position == 0 {
            self.labels.clear();
            if self.view_number == 0 {
                out.family(part.of);
            }
        }
        if self.position < self.view.count(part.items) {
            // An index that is gone would be a line less, never a panic.
            let _written = (part.write)(self, out, self.position);
            self.position += 1;
        } else {
            self.position = 0;
            if !self.look_at(self.view_number + 1) {
                self.look_at(0);
                self.part += 1;
            }
        }
    }

    /// The rows of a group; none is empty.
    fn group(
        &self,
        items: Items,
        index: usize,
    ) -> impl Iterator<Item = &(Key, Vec<Arc<Row>>)> + Clone {
        let groups = self.view.groups_of(items);
        let range = groups.runs.get(index).cloned().unwrap_or_default();
        let rows = groups.rows.get(range).unwrap_or_default();
        rows.iter().filter_map(|row| self.view.snapshot.rows.get(*row))
    }

    /// Time series that were written so far, as a reader counts them.
    pub fn series(&self) -> usize {
        self.sheet.series()
    }

    /// When the first row of a group began to count.
    fn born(&self, items: Items, index: usize) -> Option<SystemTime> {
        born(self.group(items, index).map(|(_, parts)| parts))
    }

    /// All workers' durations of a group, added up.
    fn durations_of(&self, index: usize) -> HistogramTotals {
        let parts = self.group(Items::Durations, index).flat_map(|(_, parts)| parts);
        HistogramTotals::of(parts.map(|row| &row.durations))
    }

    /// All workers' requests of a group, timed or not.
    fn requests_of(&self, index: usize) -> u64 {
        let parts = self.group(Items::Groups, index).flat_map(|(_, parts)| parts);
        parts.map(|row| row.requests()).sum()
    }

    /// Writes the histogram of a group whose labels are in place.
    fn durations(&self, out: &mut Sheet, index: usize) {
        let totals = self.durations_of(index);
        if totals.count() == 0 {
            // All of them are only counted.
            return;
        }
        let (bounds, born) =
            (&self.view.site.store.limits().buckets, self.born(Items::Durations, index));
        let traces = self.traces(Items::Durations, index);
        out.histogram(&self.labels, &Observed { bounds, totals: &totals, born, traces: &traces });
    }

    /// The traces of a group, where the format has a place for them.
    fn traces(&self, items: Items, index: usize) -> Vec<Traces> {
        let mut traces = Vec::new();
        if self.format != Format::Text {
            for row in self.group(items, index).flat_map(|(_, parts)| parts) {
                row.add_traces_to(&mut traces);
            }
        }
        traces
    }

    fn in_flight(&self) -> Number {
        Number::Whole(self.view.site.workers.iter().map(|worker| worker.in_flight()).sum())
    }
}

/// When the first of these rows began to count. A row's first part is its oldest.
fn born<'a>(rows: impl Iterator<Item = &'a Vec<Arc<Row>>>) -> Option<SystemTime> {
    rows.filter_map(|parts| Some(parts.first()?.durations.born())).min()
}

impl Iterator for Page {
    type Item = Vec<u8>;

    /// A piece, perhaps of no bytes: a family in protobuf can be sent only when it is whole, and
    /// others should get a turn meanwhile.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.is_done {
            return None;
        }
        let mut sheet = std::mem::take(&mut self.sheet);
        sheet.reserve(PIECE_BYTES + PIECE_BYTES / 8);
        while sheet.written() < PIECE_BYTES && !self.is_done {
            self.advance(&mut sheet);
        }
        let piece = sheet.take();
        self.sheet = sheet;
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
