//! Asking others for names of paths, and the app for its description, on the main thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::Server;
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
        let asks_others = !self.others.is_empty();
        if !asks_others && places.is_empty() {
            return;
        }
        self.store.ask_for_names(true);
        let (is_described, described) = watch::channel(places.is_empty());
        if !places.is_empty() {
            self.ask_app(places, is_described);
        }
        let (store, cold) = (Arc::clone(&self.store), Arc::clone(&self.cold));
        let sources = self.others.clone();
        drop(tokio::task::spawn_local(async move {
            if asks_others {
                follow(sources, store, cold, described).await;
            } else {
                let mut described = described;
                // An error means that nobody describes anything any more.
                let _described = described.wait_for(|is| *is).await;
                store.ask_for_names(false);
            }
        }));
    }

    fn ask_app(&self, places: Vec<Option<String>>, is_described: watch::Sender<bool>) {
        let upstream = self.config.upstream.clone();
        let (tls, limit) = (self.tls.connector.clone(), self.config.timeouts.connect);
        let app = described::App::new(&upstream, Dialer::new(upstream.clone(), tls, limit), places);
        let (reloader, cold) = (self.reloader(), Arc::clone(&self.cold));
        drop(tokio::task::spawn_local(async move {
            let pin = async |templates: Option<Vec<Vec<Template>>>| {
                let Some(templates) = templates else { return reloader.cold.reloaded(false) };
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
