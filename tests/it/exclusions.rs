//! `--exclude-path` and `--exclude-user-agent`: forwarded, and kept out of the metrics.

use redcar::config::Exclusions;

use crate::backend::{Backend, OK};
use crate::scrape::Page;
use crate::sidecar::Sidecar;

fn exclusions(globs: &[&str], agents: &[&str]) -> Option<Exclusions> {
    let globs: Vec<_> = globs.iter().map(|glob| glob.parse().unwrap()).collect();
    let agents: Vec<_> = agents.iter().map(|&agent| agent.to_owned()).collect();
    Exclusions::new(&globs, &agents).unwrap()
}

#[test]
fn excluded_requests_are_forwarded_and_counted_in_one_counter_only() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.exclusions = exclusions(&["/health*", "/static/**"], &["kube-probe/"]);
    });
    let mut client = sidecar.client();
    for path in ["/healthz", "/static/js/a.js", "/static/b?c=d"] {
        assert_eq!(client.get(path).status(), 200);
    }
    client.send("GET /users/7 HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1.29\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.send("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().status(), 200);
    // One that is measured.
    assert_eq!(client.get("/users/7").status(), 200);
    assert!(backend.received_once().contains("GET /static/js/a.js"));
    sidecar.metric("redcar_excluded_requests_total").eventually_is(5);
    sidecar.requests(200).eventually_is(1);
    let page = Page::of(sidecar.metrics);
    assert!(!page.0.contains("health") && !page.0.contains("static"), "{}", page.0);
    for counted_once in
        ["redcar_overhead_seconds_count", "http_time_to_response_seconds_count", "redcar_paths"]
    {
        assert!((page.total(counted_once) - 1.0).abs() < 0.5, "{counted_once}: {}", page.0);
    }
    assert!(page.total("http_request_body_bytes_total") < 0.5, "{}", page.0);
    sidecar.ends_after(1);
}

#[test]
fn an_excluded_request_that_the_client_leaves_is_still_counted_once() {
    let backend = Backend::start(|connection| {
        // Never answers.
        while connection.request().is_some() {}
    });
    let sidecar =
        Sidecar::with(&backend, |config| config.exclusions = exclusions(&["/health"], &[]));
    let mut client = sidecar.client();
    client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    client.reset();
    sidecar.metric("redcar_excluded_requests_total").eventually_is(1);
    sidecar.ends_after(0);
}

#[test]
fn without_the_flags_nothing_is_excluded() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    assert_eq!(sidecar.client().get("/healthz").status(), 200);
    sidecar.metric("redcar_excluded_requests_total").eventually_is(0);
    sidecar.ends_after(1);
}
