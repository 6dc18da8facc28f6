//! `--naming`: the same requests under the names of others.

use std::time::Duration;

use redcar::metrics::Naming;
use redcar::server::ShutdownMode;

use crate::backend::{Backend, Tally, eventually};
use crate::scrape::{Page, ask};
use crate::sidecar::Sidecar;

/// Answers `/NNN` with that status; `/late` sends its head at once and its body when told.
fn backend(gate: &Tally) -> Backend {
    let gate = gate.clone();
    Backend::start(move |connection| {
        while let Some(request) = connection.request() {
            let path = request.start_line().split(' ').nth(1).unwrap().to_owned();
            let status = path.trim_matches('/').parse().unwrap_or(200_u16);
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n"));
            if path == "/late" {
                eventually("the body may come", || gate.get() > 0);
            }
            connection.send("ok");
        }
    })
}

/// A sidecar under these names that has seen one request of each kind.
fn used(naming: Naming) -> (Backend, Sidecar, Page) {
    let gate = Tally::default();
    let backend = backend(&gate);
    let mut sidecar = Sidecar::with(&backend, |config| {
        config.naming = naming;
        config.routes =
            ["/200", "/500", "/502", "/404", "/late"].map(|t| t.parse().unwrap()).into();
    });
    let mut client = sidecar.client();
    for (path, status) in [("/200", 200), ("/500", 500), ("/502", 502), ("/404", 404)] {
        assert_eq!(client.get(path).status(), status);
    }
    client.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    // Nothing is waited for: this is how long the body takes.
    std::thread::sleep(Duration::from_millis(150));
    gate.add(1);
    assert_eq!(client.take(2), b"ok");
    // 501 of our own: the app never sees it.
    client.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert_eq!(client.answer().status(), 501);
    drop(client);
    let mut page = Page::of(sidecar.metrics);
    eventually("six requests are counted", || {
        page = Page::of(sidecar.metrics);
        let counts =
            page.samples().filter(|(name, ..)| name.ends_with("request_duration_seconds_count"));
        (counts.map(|(_, _, value)| value).sum::<f64>() - 6.0).abs() < 0.5
    });
    sidecar.begin_stop(ShutdownMode::Prompt);
    (backend, sidecar, page)
}

fn value(page: &Page, series: &str) -> Option<f64> {
    let found = page.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn flask_names_requests_as_its_exporter_does() {
    let (_backend, _sidecar, page) = used(Naming::Flask);
    let duration = "flask_http_request_duration_seconds";
    for (series, expected) in [
        (format!("{duration}_count{{method=\"GET\",path=\"/200\",status=\"200\"}}"), 1.0),
        (format!("{duration}_count{{method=\"GET\",path=\"/500\",status=\"500\"}}"), 1.0),
        // The head came at once and the body 150 ms later: the exporter would not see that.
        (
            format!("{duration}_bucket{{method=\"GET\",path=\"/late\",status=\"200\",le=\"0.1\"}}"),
            1.0,
        ),
        ("flask_http_request_total{method=\"GET\",status=\"200\"}".into(), 2.0),
        ("flask_http_request_total{method=\"CONNECT\",status=\"501\"}".into(), 1.0),
        ("flask_http_request_exceptions_total{method=\"GET\",status=\"500\"}".into(), 1.0),
    ] {
        assert_eq!(value(&page, &series), Some(expected), "{series}: {}", page.0);
    }
    let exceptions: Vec<_> = page
        .samples()
        .filter(|(name, ..)| *name == "flask_http_request_exceptions_total")
        .collect();
    assert_eq!(exceptions.len(), 1, "{exceptions:?}");
    assert!(!page.0.contains("error=\"") && !page.0.contains("\nhttp_"), "{}", page.0);
}

#[test]
fn otel_names_requests_as_the_semantic_conventions_do() {
    let (_backend, _sidecar, page) = used(Naming::Otel);
    let count = |method: &str, route: &str, status: u16, error: &str| {
        let series = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",\
             {route}http_response_status_code=\"{status}\",network_protocol_version=\"1.1\",\
             url_scheme=\"http\"{error}}}"
        );
        assert_eq!(value(&page, &series), Some(1.0), "{series}: {}", page.0);
    };
    let route = |path: &str| format!("http_route=\"{path}\",");
    count("GET", &route("/200"), 200, "");
    count("GET", &route("/404"), 404, "");
    count("GET", &route("/500"), 500, ",error_type=\"500\"");
    count("GET", &route("/502"), 502, ",error_type=\"502\"");
    // What has no path has no route.
    count("CONNECT", "", 501, ",error_type=\"http_request_error\"");
    // The whole duration, as our own names have it.
    let late = "http_server_request_duration_seconds_bucket{http_request_method=\"GET\",\
        http_route=\"/late\",http_response_status_code=\"200\",network_protocol_version=\"1.1\",\
        url_scheme=\"http\",le=\"0.1\"}";
    assert_eq!(value(&page, late), Some(0.0), "{}", page.0);
    for method in ["GET", "CONNECT"] {
        let active = format!(
            "http_server_active_requests{{http_request_method=\"{method}\",url_scheme=\"http\"}}"
        );
        assert_eq!(value(&page, &active), Some(0.0), "{}", page.0);
    }
    assert!(
        page.0.contains("\ntarget_info{service_name=\"unknown_service:redcar\","),
        "{}",
        page.0
    );
    assert!(!page.0.contains("\nhttp_request") && !page.0.contains("flask"), "{}", page.0);
}

/// Rows that differ only in what the profile does not show are one series.
#[test]
fn no_series_comes_twice_under_any_name() {
    for naming in [Naming::Default, Naming::Flask, Naming::Otel] {
        let gate = Tally::default();
        let backend = backend(&gate);
        let mut sidecar = Sidecar::with(&backend, |config| config.naming = naming);
        // Whole, then cut off by the client: two rows, which differ in the error only.
        let mut client = sidecar.client();
        client.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().status(), 200);
        client.reset();
        let counted = |expected: f64| {
            eventually("a request is counted", || {
                let page = Page::of(sidecar.metrics);
                let ends = "request_duration_seconds_count";
                let counts = page.samples().filter(|(name, ..)| name.ends_with(ends));
                (counts.map(|(_, _, value)| value).sum::<f64>() - expected).abs() < 0.5
            });
        };
        counted(1.0);
        gate.add(1);
        assert_eq!(sidecar.client().get("/late").status(), 200);
        counted(2.0);
        let page = ask(sidecar.metrics, "/metrics", "");
        let lines = page.text().lines().filter(|line| !line.starts_with('#'));
        let mut series: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap().0).collect();
        let rows = |s: &&&str| s.contains("_count{") && s.contains("/late") && s.contains("GET");
        let shown = series.iter().filter(rows).count();
        assert_eq!(shown, if naming == Naming::Flask { 1 } else { 2 }, "{naming:?}");
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "{naming:?}");
        sidecar.begin_stop(ShutdownMode::Prompt);
    }
}
