//! Sockets that a service manager hands over: systemd's socket activation.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use redcar::server::Inherited;

/// Names of the sockets, in their order, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Takes what was handed over: sockets named `listen` and `metrics` (`FileDescriptorName=`), or,
/// without such names, the first for `--listen` and the second for `--metrics`.
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
    Ok(Inherited { listen: take(places.listen)?, metrics: take(places.metrics)? })
}

/// Which socket is for which port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Places {
    listen: Option<usize>,
    metrics: Option<usize>,
}

fn places(names: &str, count: usize) -> Result<Places, String> {
    let names: Vec<&str> = names.split(':').take(count).collect();
    let find = |wanted: &str| names.iter().position(|name| *name == wanted);
    let by_name = Places { listen: find("listen"), metrics: find("metrics") };
    let known = usize::from(by_name.listen.is_some()) + usize::from(by_name.metrics.is_some());
    match (known, count) {
        (0, 0..=2) => {
            let at = |index| (index < count).then_some(index);
            Ok(Places { listen: at(0), metrics: at(1) })
        }
        (1.., _) if known == count => Ok(by_name),
        _ => Err(format!(
            "{count} sockets were handed over, named `{}`; name them `listen` and `metrics`, each \
             once",
            names.join(":")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_name_or_by_order() {
        let at = |listen, metrics| Ok(Places { listen, metrics });
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
        for (names, count) in [("", 3), ("listen:listen", 2), ("listen:other", 2), ("listen", 2)] {
            assert!(places(names, count).is_err(), "{names} {count}");
        }
    }
}
