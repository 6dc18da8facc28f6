//! Whether the app is there, told without any traffic.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::backend::{Backend, OK, eventually};
use crate::scrape::ask;
use crate::sidecar::{Sidecar, address};

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn app_on(address: SocketAddr) -> Backend {
    Backend::on(TcpListener::bind(address).unwrap(), |connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
    })
}

#[test]
fn an_app_that_starts_behind_its_sidecar_is_up_within_two_seconds_without_a_request() {
    let at = nobody();
    let sidecar = Sidecar::to(address(at), |config| config.threads = 4);
    let readyz = || ask(sidecar.metrics, "/readyz?upstream=1", "").status();
    let is_up = || sidecar.metric("redcar_upstream_up").value() > 0.5;
    assert!(!is_up());
    assert_eq!(readyz(), 503);
    let app = app_on(at);
    let begun = Instant::now();
    eventually("the app is up", is_up);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(readyz(), 200);
    // Only the first look is counted: these are no requests' attempts.
    let connects = sidecar.metric("redcar_upstream_connects_total");
    connects.eventually_is(1);
    // One prober for all workers, and none while the app is up.
    assert!(app.received().is_empty());
    sidecar.ends_after(0);
}

#[test]
fn an_app_that_went_away_and_comes_back_is_up_without_another_request() {
    let at = nobody();
    let sidecar = Sidecar::to(address(at), |_| {});
    let up = || sidecar.metric("redcar_upstream_up");
    let app = app_on(at);
    up().eventually_is(1);
    drop(app);
    eventually("nobody listens", || std::net::TcpStream::connect(at).is_err());
    assert_eq!(sidecar.client().get("/").status(), 502);
    up().eventually_is(0);
    let _app = app_on(at);
    up().eventually_is(1);
    sidecar.ends_after(1);
}
