//! A listener and the app behind it: what there is once for each `--listen` and `--map`.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::listen::{self, open};
use super::{OFFER, StartError};
use crate::config::{Config, ListenAddr};
use crate::metrics::SidecarMetrics;
use crate::metrics::store::Store;
use crate::net::tls::{Files, TlsContexts};
use crate::paths::Namer;

/// A listener and the app behind it.
#[derive(Debug)]
pub(super) struct Site {
    /// What it is called, where there are several.
    pub(super) name: Option<Arc<str>>,
    /// With its own listener and upstream.
    pub(super) config: Arc<Config>,
    pub(super) listener: TcpListener,
    pub(super) store: Arc<Store>,
    pub(super) cold: Arc<SidecarMetrics>,
    pub(super) tls: TlsContexts,
}

/// Sockets of service managers, by the port of the `--map` that they are for.
pub(super) type MapSockets = Vec<(u16, TcpListener)>;

impl Site {
    /// Loads the certificates and binds the ports of all sites: that of `--listen`, and those of
    /// `--map`.
    pub(super) fn open_all(
        config: &Config,
        listen: Option<TcpListener>,
        mut maps: MapSockets,
    ) -> Result<(Self, Vec<Self>), StartError> {
        let limits = &config.limits;
        let cold = SidecarMetrics::new(limits.max_series, limits.max_paths, config.max_connections);
        let process = Arc::clone(&cold.process);
        let first = Self::open("--listen", config.clone(), &config.tls, listen, cold)?;
        let mut further = Vec::new();
        for map in &config.maps {
            let socket = take(&mut maps, map.listen);
            let cold = SidecarMetrics::of_listener(
                Arc::clone(&process),
                limits.max_series,
                limits.max_paths,
            );
            // The listeners have one certificate, which is watched once.
            let files = Files { identity: None, ..config.tls.clone() };
            let mut site = Self::open("--map", config.of_map(map), &files, socket, cold)?;
            site.tls.listener.clone_from(&first.tls.listener);
            further.push(site);
        }
        match maps.first() {
            None => Ok((first, further)),
            Some((port, _)) => Err(StartError {
                what: format!("a socket named `map-{port}` was handed over"),
                source: io::Error::other(format!("there is no --map :{port}=ADDR")),
            }),
        }
    }

    fn open(
        flag: &str,
        config: Config,
        files: &Files,
        socket: Option<TcpListener>,
        cold: Arc<SidecarMetrics>,
    ) -> Result<Self, StartError> {
        let upstream = config.upstream.tls_host();
        let limit = config.timeouts.header;
        let tls = TlsContexts::load(files, upstream.as_deref(), OFFER, limit)
            .map_err(StartError::of_file)?;
        let namer = Namer::new(&config.routes).map_err(|error| StartError {
            what: "--route".to_owned(),
            source: io::Error::other(error),
        })?;
        let store = Store::new(config.limits.clone(), namer.with_mode(config.path_mode));
        let listener = open(flag, socket, config.listen)?;
        let name = (!config.maps.is_empty()).then(|| listen::name(&listener)).transpose();
        let name = name.map_err(|source| StartError {
            what: format!("the address of {flag} {}", config.listen),
            source,
        })?;
        Ok(Self { name, config: Arc::new(config), listener, store, cold, tls })
    }
}

/// Takes the socket that is for this address.
fn take(sockets: &mut MapSockets, address: ListenAddr) -> Option<TcpListener> {
    let at = sockets.iter().position(|(port, _)| *port == address.port())?;
    Some(sockets.swap_remove(at).1)
}
