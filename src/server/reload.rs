//! Reading the files of routes again while the server runs.

use std::sync::Arc;

use super::names::Described;
use crate::config::routes::RouteSources;
use crate::metrics::SidecarMetrics;
use crate::metrics::store::Store;

/// Reads the files of `--routes-file` and `--openapi` again. When to do so is its owner's to
/// decide: the program does at SIGHUP.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) sources: RouteSources,
    pub(super) store: Arc<Store>,
    pub(super) cold: Arc<SidecarMetrics>,
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
        let replaced =
            self.sources.load(&described).map_err(|error| error.to_string()).and_then(|routes| {
                let replaced = self.store.replace_pinned(&routes);
                replaced.map(|()| routes.len()).map_err(|error| error.to_string())
            });
        self.cold.reloaded(replaced.is_ok());
        match replaced {
            Ok(routes) => tracing::info!(routes, "the routes were read again"),
            Err(error) => tracing::error!(%error, "the routes stay as they were"),
        }
    }
}
