//! One sidecar for several ports of a pod: each has its app, its health and its numbers.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream};

use redcar::config::PortMap;
use redcar::metrics::Naming;
use redcar::server::ShutdownMode;

use crate::backend::{Backend, Gate, OK, eventually};
use crate::client::Client;
use crate::scrape::{Metric, Page, ask};
use crate::sidecar::{Sidecar, address};

/// A free port of this machine, before an app.
fn before(app: SocketAddr) -> PortMap {
    PortMap { listen: "127.0.0.1:0".parse().unwrap(), upstream: address(app) }
}

/// In front of both, by a port each; and where the second one is.
fn before_both(first: &Backend, second: SocketAddr) -> (Sidecar, SocketAddr) {
    let sidecar = Sidecar::with(first, |config| config.maps = vec![before(second)]);
    let [further] = sidecar.further[..] else { panic!("one further port") };
    (sidecar, further)
}

fn of(sidecar: &Sidecar, name: &'static str, listener: SocketAddr) -> Metric {
    sidecar.metric(name).label("listener", listener)
}

#[test]
fn each_port_leads_to_its_app_and_is_counted_apart() {
    let (first, second) = (Backend::answering(OK), Backend::answering(OK));
    let (sidecar, further) = before_both(&first, second.address);
    assert_eq!(sidecar.client().get("/users/7").text(), "ok");
    for id in ["8", "9"] {
        assert_eq!(Client::connect(further).get(&format!("/orders/{id}")).text(), "ok");
    }
    assert!(first.received_once().starts_with("GET /users/7 "));
    assert_eq!(second.count("GET /orders/"), 2);
    for (listener, path, count) in
        [(sidecar.address, "/users/{id}", 1), (further, "/orders/{id}", 2)]
    {
        let requests = of(&sidecar, "http_requests_total", listener);
        requests.eventually_is(count);
        requests.label("path", path).eventually_is(count);
        of(&sidecar, "redcar_downstream_connections_accepted_total", listener).eventually_is(count);
        of(&sidecar, "redcar_upstream_up", listener).eventually_is(1);
        of(&sidecar, "redcar_paths", listener).eventually_is(1);
        assert!(of(&sidecar, "redcar_upstream_connects_total", listener).value() > 0.5);
    }
    // What is the process' has no listener.
    for name in ["redcar_draining", "redcar_buffered_bytes_limit", "redcar_build_info"] {
        let samples = Page::of(sidecar.metrics);
        let of_process: Vec<_> = samples.samples().filter(|(other, ..)| *other == name).collect();
        assert!(
            matches!(of_process[..], [(_, labels, _)] if !labels.contains("listener")),
            "{of_process:?}"
        );
    }
    sidecar.ends_after(3);
}

#[test]
fn with_one_port_there_is_no_label_for_it() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    sidecar.client().get("/");
    sidecar.requests(200).eventually_is(1);
    assert!(!Page::of(sidecar.metrics).0.contains("listener="));
    let listed = ask(sidecar.metrics, "/paths", "Accept: application/json\r\n");
    assert!(!listed.text().contains("\"listener\""), "{listed:?}");
    sidecar.ends_after(1);
}

#[test]
fn a_page_of_two_ports_has_each_series_and_each_family_once() {
    for naming in [Naming::Default, Naming::Flask, Naming::Otel] {
        let (first, second) = (Backend::answering(OK), Backend::answering(OK));
        let sidecar = Sidecar::with(&first, |config| {
            config.maps = vec![before(second.address)];
            config.naming = naming;
        });
        for address in [sidecar.address, sidecar.further[0]] {
            assert_eq!(Client::connect(address).get("/a").text(), "ok");
        }
        let counted = || {
            let page = Page::of(sidecar.metrics);
            let counts = page.samples().filter(|(name, labels, _)| {
                name.ends_with("duration_seconds_count")
                    && labels.contains("listener=\"")
                    && (labels.contains("=\"/a\"") || labels.contains("_UNMATCHED"))
            });
            counts.map(|(.., value)| value).sum::<f64>()
        };
        eventually("both are counted", || counted() > 1.5);
        let page = Page::of(sidecar.metrics);
        let mut seen = HashSet::new();
        for line in page.0.lines() {
            let key = match line.strip_prefix("# ") {
                Some(comment) => comment.split(' ').take(2).collect::<Vec<_>>().join(" "),
                None => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(seen.insert(key), "{naming:?}: twice: {line}");
        }
        let open_metrics = ask(
            sidecar.metrics,
            "/metrics",
            "Accept: application/openmetrics-text;version=1.0.0\r\n",
        );
        assert!(open_metrics.text().ends_with("# EOF\n"));
    }
}

#[test]
fn an_app_that_is_away_is_away_on_its_own_port_only() {
    let first = Backend::answering(OK);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (sidecar, further) = before_both(&first, nobody);
    of(&sidecar, "redcar_upstream_up", sidecar.address).eventually_is(1);
    of(&sidecar, "redcar_upstream_connects_total", further).eventually_is(1);
    of(&sidecar, "redcar_upstream_up", further).eventually_is(0);
    assert_eq!(ask(sidecar.metrics, "/readyz", "").status(), 200);
    assert_eq!(ask(sidecar.metrics, "/readyz?upstream=1", "").status(), 503);
    assert_eq!(Client::connect(further).get("/").status(), 502);
    assert_eq!(sidecar.client().get("/").status(), 200);
    let refused = sidecar.requests(502).label("error", "connection_refused");
    refused.label("listener", further).eventually_is(1);
    let _app = Backend::on(TcpListener::bind(nobody).unwrap(), |connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
    });
    of(&sidecar, "redcar_upstream_up", further).eventually_is(1);
    assert_eq!(ask(sidecar.metrics, "/readyz?upstream=1", "").status(), 200);
    sidecar.ends_after(2);
}

#[test]
fn a_drain_lets_requests_of_each_port_end() {
    let gate = Gate::default();
    let second = Backend::holding(&gate);
    let first = Backend::answering(OK);
    let (mut sidecar, further) = before_both(&first, second.address);
    let mut client = Client::connect(further);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    of(&sidecar, "http_requests_in_flight", further).eventually_is(1);
    sidecar.begin_stop(ShutdownMode::Orderly);
    for port in [sidecar.address, further] {
        eventually("the listener refuses", || TcpStream::connect(port).is_err());
    }
    gate.open();
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    sidecar.requests(200).label("listener", further).eventually_is(1);
    sidecar.is_stopped();
}

#[test]
fn the_limit_of_connections_is_for_all_ports_together() {
    let gate = Gate::default();
    let busy = Backend::holding(&gate);
    let sidecar = Sidecar::with(&busy, |config| {
        config.maps = vec![before(busy.address)];
        config.max_connections = 1;
    });
    let mut client = sidecar.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    assert_eq!(Client::connect(sidecar.further[0]).head().status(), 503);
    let refused = of(&sidecar, "redcar_downstream_connections_refused_total", sidecar.further[0]);
    refused.eventually_is(1);
    gate.open();
    assert_eq!(client.answer().text(), "ok");
    sidecar.ends_after(1);
}

#[test]
fn each_port_has_its_names_of_paths() {
    let (first, second) = (Backend::answering(OK), Backend::answering(OK));
    let (sidecar, further) = before_both(&first, second.address);
    sidecar.client().get("/users/7");
    Client::connect(further).get("/orders/8");
    sidecar.metric("http_requests_total").eventually_is(2);
    sidecar.metric("redcar_paths").eventually_is(2);
    let list = |path: &str| {
        let answer = ask(sidecar.metrics, path, "Accept: application/json\r\n");
        let value: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        let paths = value["paths"].as_array().unwrap().clone();
        let learned = paths.into_iter().filter(|path| path["kind"] == "learned");
        let pair = |path: serde_json::Value| {
            let text = |key: &str| path[key].as_str().unwrap_or("none").to_owned();
            (text("template"), text("listener"))
        };
        learned.map(pair).collect::<HashSet<_>>()
    };
    let users = ("/users/{id}".to_owned(), sidecar.address.to_string());
    let orders = ("/orders/{id}".to_owned(), further.to_string());
    assert_eq!(list("/paths"), HashSet::from([users, orders.clone()]));
    assert_eq!(list(&format!("/paths?listener={further}")), HashSet::from([orders]));
    assert_eq!(ask(sidecar.metrics, "/paths?listener=:1", "").status(), 404);
    let text = ask(sidecar.metrics, "/paths", "");
    assert!(text.text().contains(&format!("# listener {further}\n/orders/{{id}} ")), "{text:?}");
    sidecar.ends_after(2);
}

#[test]
fn a_hook_waits_until_each_port_is_quiet() {
    let gate = Gate::default();
    let second = Backend::holding(&gate);
    let first = Backend::answering(OK);
    let (sidecar, further) = before_both(&first, second.address);
    let mut client = Client::connect(further);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    of(&sidecar, "http_requests_in_flight", further).eventually_is(1);
    let path = "/wait-for-drain?min=0s&quiet=0s&max=100ms";
    assert!(ask(sidecar.metrics, path, "").text().starts_with("not quiet"));
    gate.open();
    assert_eq!(client.answer().text(), "ok");
    sidecar.metric("http_requests_in_flight").eventually_is(0);
    assert_eq!(ask(sidecar.metrics, path, "").text(), "quiet\n");
    sidecar.ends_after(1);
}
