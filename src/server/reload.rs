//! Reading the files of routes again while the server runs.

use std::sync::Arc;

use super::names::Described;
use crate::config::routes::RouteSources;
use crate::metrics::ProcessMetrics;
use crate::metrics::store::Store;
use crate::paths::Template;

/// Reads the files of `--routes-file` and `--openapi` again. When to do so is its owner's to
/// decide: the program does at SIGHUP.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) sources: RouteSources,
    /// What the app's description is pinned in, too.
    pub(super) first: Arc<Store>,
    pub(super) further: Vec<Arc<Store>>,
    pub(super) process: Arc<ProcessMetrics>,
    pub(super) described: Described,
}

impl Reloader {
    /// Pins what the files say now; if they cannot be read or are wrong, nothing changes. Has the
    /// app asked again, too, if it describes itself.
    ///
    /// Tells in the log and in `redcar_routes_last_reload_successful` how it went. Blocks while it
    /// reads.
    ///
    /// # Shape
    ///
    /// Series of templates that are gone stay; new ones are exempt from `--max-paths`, as at the
    /// start.
    pub fn reload(&self) {
        if !self.sources.has_files() {
            tracing::info!("nothing to read again: there is no --routes-file and no --openapi");
            return;
        }
        self.described.again.notify_one();
        self.pin();
    }

    /// Pins what the files say now and what the app has said last.
    pub(super) fn pin(&self) {
        let described = self.described.templates();
        let pin = |store: &Store, described: &[Vec<Template>]| {
            let routes = self.sources.load(described).map_err(|error| error.to_string())?;
            store.replace_pinned(&routes).map_err(|error| error.to_string())?;
            Ok::<_, String>(routes.len())
        };
        let replaced = self.further.iter().try_for_each(|store| pin(store, &[]).map(drop));
        let replaced = replaced.and_then(|()| pin(&self.first, &described));
        self.process.reloaded(replaced.is_ok());
        match replaced {
            Ok(routes) => tracing::info!(routes, "the routes were read again"),
            Err(error) => tracing::error!(%error, "the routes stay as they were"),
        }
    }
}
