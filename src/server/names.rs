//! Asking others for names of paths, and the app for its description, on the main thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::{Server, Site};
use crate::names::{described, follow};
use crate::net::connect::Dialer;
use crate::paths::Template;

/// What the app has said of itself, at each place at which it was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    templates: Arc<Mutex<Vec<Vec<Template>>>>,
    /// Somebody wants the app to be asked again.
    pub(super) again: Arc<Notify>,
}

impl Described {
    pub(super) fn templates(&self) -> Vec<Vec<Template>> {
        self.templates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, templates: Vec<Vec<Template>>) {
        *self.templates.lock().unwrap_or_else(PoisonError::into_inner) = templates;
    }
}

impl Server {
    /// Begins to ask, if there is anybody to ask; until then paths without a name wait. Ends with
    /// the runtime.
    pub(super) fn ask_for_names(&self) {
        let places = self.config.route_sources.upstream_places();
        // The app of `--upstream` describes itself, and no other.
        let (is_described, described) = watch::channel(places.is_empty());
        self.name_paths(&self.first, described);
        for site in &self.further {
            self.name_paths(site, watch::channel(true).1);
        }
        if !places.is_empty() {
            self.ask_app(places, is_described);
        }
    }

    /// Asks others for the names of a site's paths once the app is `described`.
    fn name_paths(&self, site: &Site, mut described: watch::Receiver<bool>) {
        if self.others.is_empty() && *described.borrow() {
            return;
        }
        site.store.ask_for_names(true);
        let is_first = std::ptr::eq(site, &raw const self.first);
        let sources = match &site.name {
            Some(name) => self.others.iter().map(|it| it.of_listener(name, is_first)).collect(),
            None => self.others.clone(),
        };
        let (store, cold) = (Arc::clone(&site.store), Arc::clone(&site.cold));
        drop(tokio::task::spawn_local(async move {
            if sources.is_empty() {
                // An error means that nobody describes anything any more.
                let _described = described.wait_for(|is| *is).await;
                store.ask_for_names(false);
            } else {
                follow(sources, store, cold, described).await;
            }
        }));
    }

    fn ask_app(&self, places: Vec<Option<String>>, is_described: watch::Sender<bool>) {
        let upstream = self.config.upstream.clone();
        let (tls, limit) = (self.first.tls.connector.clone(), self.config.timeouts.connect);
        let app = described::App::new(&upstream, Dialer::new(upstream.clone(), tls, limit), places);
        let (reloader, cold) = (self.reloader(), Arc::clone(&self.first.cold));
        drop(tokio::task::spawn_local(async move {
            let pin = async |templates: Option<Vec<Vec<Template>>>| {
                let Some(templates) = templates else { return reloader.process.reloaded(false) };
                reloader.described.set(templates);
                let reloader = reloader.clone();
                // An error means that the program ends.
                let _pinned = tokio::task::spawn_blocking(move || reloader.pin()).await;
            };
            let again = Arc::clone(&reloader.described.again);
            described::follow(&app, &cold.upstream, &again, &is_described, pin).await;
        }));
    }
}
