//! `--slo`: each request is judged once, by its own path and time.

use std::time::Duration;

use redcar::config::{Exclusions, parse_slo};
use redcar::metrics::{Naming, Slos};
use redcar::server::ShutdownMode;

use crate::backend::{Backend, Tally, eventually};
use crate::scrape::Page;
use crate::sidecar::Sidecar;

/// Answers with the status that the path ends with; below `/slow` when it is told to.
fn backend(gate: &Tally) -> Backend {
    let gate = gate.clone();
    Backend::start(move |connection| {
        while let Some(request) = connection.request() {
            let path = request.start_line().split(' ').nth(1).unwrap().to_owned();
            if path.starts_with("/checkout/slow") {
                eventually("an answer may come", || gate.get() > 0);
            }
            let status: u16 = path.rsplit('/').next().unwrap().parse().unwrap();
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

fn before(backend: &Backend, naming: Naming) -> Sidecar {
    Sidecar::with(backend, |config| {
        config.naming = naming;
        let slos = ["name=all,objective=99", "path=/checkout/**,latency=100ms,objective=99.9"];
        let slos = slos.map(|slo| parse_slo(slo).unwrap()).into();
        config.limits.slos = Slos::new(slos).unwrap();
        config.exclusions = Exclusions::new(&["/checkout/health/*".parse().unwrap()], &[]).unwrap();
    })
}

fn results(page: &Page, slo: &str) -> [f64; 4] {
    ["good", "slow", "failed", "client"].map(|result| {
        let labels = format!("slo=\"{slo}\",result=\"{result}\"");
        let name = "http_slo_requests_total";
        let mut found = page.samples().filter(|(of, with, _)| (*of, *with) == (name, &*labels));
        let (_, _, value) = found.next().unwrap_or_else(|| panic!("{labels}: {}", page.0));
        value
    })
}

fn eventually_are(sidecar: &Sidecar, slo: &str, expected: [u32; 4]) {
    eventually(&format!("{slo} is {expected:?}"), || {
        let found = results(&Page::of(sidecar.metrics), slo);
        found
            .iter()
            .zip(expected)
            .all(|(found, expected)| (found - f64::from(expected)).abs() < 0.5)
    });
}

#[test]
fn a_request_is_judged_by_its_own_path_and_time_under_any_name() {
    for naming in [Naming::Default, Naming::Flask, Naming::Otel] {
        let gate = Tally::default();
        let backend = backend(&gate);
        let mut sidecar = before(&backend, naming);
        // All results are there before the first request.
        eventually_are(&sidecar, "all", [0; 4]);
        eventually_are(&sidecar, "/checkout/**", [0; 4]);
        let mut client = sidecar.client();
        for status in [200, 404, 500, 200] {
            assert_eq!(client.get(&format!("/checkout/{status}")).status(), status);
        }
        assert_eq!(client.get("/checkout/health/200").status(), 200);
        assert_eq!(client.get("/cart/200").status(), 200);
        eventually_are(&sidecar, "/checkout/**", [3, 0, 1, 0]);
        eventually_are(&sidecar, "all", [4, 0, 1, 0]);
        // The client's own fault, and a client that gives up in time.
        client.send("GET /checkout/200 HTTP/1.1\r\n\r\n");
        assert_eq!(client.answer().status(), 400);
        let mut hasty = sidecar.client();
        hasty.send("GET /checkout/slow/200 HTTP/1.1\r\nHost: a\r\n\r\n");
        sidecar_has_in_flight(&sidecar, naming);
        hasty.reset();
        eventually_are(&sidecar, "/checkout/**", [3, 0, 1, 2]);
        // One that waits for longer than the latency, and one that is answered then.
        let (mut patient, mut served) = (sidecar.client(), sidecar.client());
        for client in [&mut patient, &mut served] {
            client.send("GET /checkout/slow/200 HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        // Nothing is waited for: this is how long the app takes.
        std::thread::sleep(Duration::from_millis(200));
        patient.reset();
        eventually_are(&sidecar, "/checkout/**", [3, 1, 1, 2]);
        gate.add(1);
        assert_eq!(served.answer().status(), 200);
        eventually_are(&sidecar, "/checkout/**", [3, 2, 1, 2]);
        // Without a latency nothing is slow.
        eventually_are(&sidecar, "all", [5, 0, 1, 3]);
        let page = Page::of(sidecar.metrics);
        assert!(page.0.contains("redcar_slo_objective{slo=\"all\"} 0.99\n"), "{}", page.0);
        assert!(
            page.0.contains("redcar_slo_objective{slo=\"/checkout/**\"} 0.999\n"),
            "{}",
            page.0
        );
        let latency = "redcar_slo_latency_seconds{slo=\"/checkout/**\"} 0.1\n";
        assert!(page.0.contains(latency), "{}", page.0);
        assert_eq!(page.0.matches("\nredcar_slo_latency_seconds{").count(), 1);
        sidecar.begin_stop(ShutdownMode::Prompt);
    }
}

fn sidecar_has_in_flight(sidecar: &Sidecar, naming: Naming) {
    if naming == Naming::Default {
        sidecar.metric("http_requests_in_flight").eventually_is(1);
    } else {
        // The other profiles have no such gauge, or another one.
        sidecar.metric("redcar_upstream_connections").label("state", "active").eventually_is(1);
    }
}

#[test]
fn without_objectives_there_is_nothing_to_see() {
    let backend = backend(&Tally::default());
    let sidecar = Sidecar::before(&backend);
    assert_eq!(sidecar.client().get("/200").status(), 200);
    let page = Page::of(sidecar.metrics);
    assert!(!page.0.contains("slo"), "{}", page.0);
    sidecar.ends_after(1);
}
