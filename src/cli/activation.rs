//! Sockets that a service manager hands over: systemd's socket activation.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use redcar::server::Inherited;

/// Names of the sockets, in their order, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Takes what was handed over: sockets named `listen` and `metrics` (`FileDescriptorName=`), and
/// `map-7002` for the `--map` that listens on 7002; or, without such names, the first for
/// `--listen` and the second for `--metrics`.
///
/// To be called before any thread runs: it changes the environment, so that no child takes the
/// sockets for its own.
///
/// # Errors
///
/// What was handed over is no TCP socket, or nobody knows what it is for.
pub(crate) fn inherited() -> io::Result<Inherited> {
    let mut sockets = ListenFd::from_env();
    let names =
        std::env::var_os(NAMES).and_then(|names| names.into_string().ok()).unwrap_or_default();
    let places = places(&names, sockets.len()).map_err(io::Error::other)?;
    let mut take = |index: Option<usize>| -> io::Result<Option<TcpListener>> {
        index.map_or(Ok(None), |index| sockets.take_tcp_listener(index))
    };
    let mut maps = Vec::new();
    for (port, index) in places.maps {
        if let Some(socket) = take(Some(index))? {
            maps.push((port, socket));
        }
    }
    Ok(Inherited { listen: take(places.listen)?, maps, metrics: take(places.metrics)? })
}

/// Which socket is for which port.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Places {
    listen: Option<usize>,
    /// Ports of `--map`, and their sockets.
    maps: Vec<(u16, usize)>,
    metrics: Option<usize>,
}

fn places(names: &str, count: usize) -> Result<Places, String> {
    let names: Vec<&str> = names.split(':').take(count).collect();
    let find = |wanted: &str| names.iter().position(|name| *name == wanted);
    let mut maps: Vec<(u16, usize)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let port = name.strip_prefix("map-").and_then(|port| port.parse().ok());
        if let Some(port) = port.filter(|port| maps.iter().all(|(known, _)| known != port)) {
            maps.push((port, index));
        }
    }
    let by_name = Places { listen: find("listen"), maps, metrics: find("metrics") };
    let known = usize::from(by_name.listen.is_some())
        + by_name.maps.len()
        + usize::from(by_name.metrics.is_some());
    match (known, count) {
        (0, 0..=2) => {
            let at = |index| (index < count).then_some(index);
            Ok(Places { listen: at(0), metrics: at(1), ..Places::default() })
        }
        (1.., _) if known == count => Ok(by_name),
        _ => Err(format!(
            "{count} sockets were handed over, named `{}`; name them `listen`, `metrics` and \
             `map-PORT`, each once",
            names.join(":")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_name_or_by_order() {
        let at = |listen, metrics| Ok(Places { listen, metrics, ..Places::default() });
        for (names, count, expected) in [
            ("", 0, at(None, None)),
            ("", 1, at(Some(0), None)),
            ("unknown:unknown", 2, at(Some(0), Some(1))),
            ("redcar.socket", 1, at(Some(0), None)),
            ("listen:metrics", 2, at(Some(0), Some(1))),
            ("metrics:listen", 2, at(Some(1), Some(0))),
            ("metrics", 1, at(None, Some(0))),
        ] {
            assert_eq!(places(names, count), expected, "{names} {count}");
        }
        let maps = vec![(7002, 1), (7003, 2)];
        let all = Places { listen: Some(0), maps, metrics: Some(3) };
        assert_eq!(places("listen:map-7002:map-7003:metrics", 4), Ok(all));
        for (names, count) in [
            ("listen:map-7002:map-7002", 3),
            ("listen:map-x", 2),
            ("", 3),
            ("listen:listen", 2),
            ("listen:other", 2),
            ("listen", 2),
        ] {
            assert!(places(names, count).is_err(), "{names} {count}");
        }
    }
}
