//! `/wait-for-drain`: a hook that waits until the traffic has moved elsewhere, and changes nothing.

use std::time::{Duration, Instant};

use redcar::server::ShutdownMode;

use crate::backend::{Backend, Gate, OK, eventually};
use crate::client::Client;
use crate::http2;
use crate::scrape::ask;
use crate::sidecar::Sidecar;

/// A sidecar that lets hooks wait for a minute.
fn patient(backend: &Backend) -> Sidecar {
    Sidecar::with(backend, |config| {
        config.timeouts.shutdown = Duration::from_mins(1);
        config.metrics_port.last_scrape = false;
    })
}

/// Asks the hook, and returns once the data plane knows: a connection from before is closed.
fn hook(sidecar: &Sidecar, traffic: &mut Traffic, query: &str) -> Client {
    assert!(!traffic.closes(sidecar));
    let mut hook = Client::connect(sidecar.metrics);
    hook.send(format!("GET /wait-for-drain?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    eventually("an answer that closes", || traffic.closes(sidecar));
    hook
}

/// A client that connects again whenever it is told to close.
#[derive(Default)]
struct Traffic {
    client: Option<Client>,
    sent: u32,
}

impl Traffic {
    /// Sends a request, and tells whether its answer closes the connection.
    fn closes(&mut self, sidecar: &Sidecar) -> bool {
        let mut client = self.client.take().unwrap_or_else(|| sidecar.client());
        let answer = client.get("/");
        self.sent += 1;
        assert_eq!(answer.status(), 200);
        let closes = answer.field("connection") == Some("close");
        if closes {
            client.sees_the_end();
        } else {
            self.client = Some(client);
        }
        closes
    }
}

#[test]
fn answers_close_their_connections_while_somebody_waits_and_not_after() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let mut traffic = Traffic::default();
    assert!(!traffic.closes(&sidecar));
    let mut hook = hook(&sidecar, &mut traffic, "min=0s&quiet=300ms&max=1m");
    let answer = hook.answer();
    assert_eq!((answer.status(), answer.text()), (200, "quiet\n"));
    // It is nothing but a hook: the sidecar is ready as before.
    assert_eq!(ask(sidecar.metrics, "/readyz", "").status(), 200);
    assert!(!traffic.closes(&sidecar));
    sidecar.ends_after(traffic.sent);
}

#[test]
fn a_caller_that_hangs_up_leaves_no_trace() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let mut traffic = Traffic::default();
    for reset in [false, true] {
        let hook = hook(&sidecar, &mut traffic, "min=1m&max=1m");
        if reset {
            hook.reset();
        } else {
            drop(hook);
        }
        eventually("answers as before", || !traffic.closes(&sidecar));
    }
    sidecar.ends_after(traffic.sent);
}

#[test]
fn a_request_under_way_and_a_fresh_one_put_the_end_off() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::start(move |connection| {
        while let Some(request) = connection.request() {
            if request.start_line().contains("/held") {
                held.wait();
            }
            connection.send(OK);
        }
    });
    let sidecar = patient(&backend);
    let mut traffic = Traffic::default();
    let mut slow = sidecar.client();
    slow.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    let mut hook = hook(&sidecar, &mut traffic, "min=0s&quiet=200ms&max=1m");
    let begun = Instant::now();
    // Longer than the quiet time in all, and never quiet for so long.
    while begun.elapsed() < Duration::from_millis(600) {
        traffic.closes(&sidecar);
    }
    gate.open();
    let answer = slow.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    assert_eq!(hook.answer().text(), "quiet\n");
    assert!(begun.elapsed() >= Duration::from_millis(600));
    sidecar.ends_after(traffic.sent + 1);
}

#[test]
fn the_end_comes_not_before_min_and_at_latest_after_max() {
    let gate = Gate::default();
    let backend = Backend::holding(&gate);
    let sidecar = patient(&backend);
    let begun = Instant::now();
    let answer = ask(sidecar.metrics, "/wait-for-drain?min=400ms&quiet=10ms&max=1m", "");
    assert_eq!((answer.status(), answer.text()), (200, "quiet\n"));
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    let mut slow = sidecar.client();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sidecar.metric("http_requests_in_flight").eventually_is(1);
    let begun = Instant::now();
    let answer = ask(sidecar.metrics, "/wait-for-drain?min=0s&quiet=10ms&max=300ms", "");
    assert_eq!((answer.status(), answer.text()), (200, "not quiet, but max is over\n"));
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    gate.open();
    assert_eq!(slow.answer().status(), 200);
    sidecar.ends_after(1);
}

#[test]
fn a_mistake_in_the_times_is_told_at_once() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    for query in ["max=soon", "min=9s&max=1s", "most=1s", "max=61s"] {
        let answer = ask(sidecar.metrics, &format!("/wait-for-drain?{query}"), "");
        assert_eq!(answer.status(), 400, "{query}");
    }
    let mut client = Client::connect(sidecar.metrics);
    client.send("HEAD /wait-for-drain HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n");
    assert_eq!(client.head().status(), 200, "only a GET waits");
    sidecar.ends_after(0);
}

#[test]
fn a_hook_does_not_hold_up_the_shutdown() {
    let backend = Backend::answering(OK);
    let mut sidecar = patient(&backend);
    let mut traffic = Traffic::default();
    let mut hook = hook(&sidecar, &mut traffic, "min=1m&max=1m");
    sidecar.begin_stop(ShutdownMode::Orderly);
    sidecar.is_stopped();
    hook.sees_the_end();
}

#[test]
fn whoever_still_comes_is_served_and_sent_away_once_a_second() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let mut traffic = Traffic::default();
    let _hook = hook(&sidecar, &mut traffic, "min=1m&max=1m");
    let (begun, before) = (Instant::now(), traffic.sent);
    let (mut closed, mut longest_run) = (0, 0);
    let mut run = 0;
    while closed < 2 {
        run += 1;
        if traffic.closes(&sidecar) {
            closed += 1;
            run = 0;
        }
        longest_run = longest_run.max(run);
        assert!(begun.elapsed() < Duration::from_secs(10), "{closed} of 2");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(longest_run > 10, "{longest_run} requests on a connection");
    let sent = traffic.sent;
    assert!(sent > before);
    sidecar.ends_after(sent);
}

#[test]
fn a_client_of_http2_is_sent_away_without_losing_a_request() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let mut client = http2::Client::connect(sidecar.address);
    assert!(client.is_served("/"));
    let mut hook = Client::connect(sidecar.metrics);
    hook.send("GET /wait-for-drain?min=0s&quiet=1s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut served = 1;
    eventually("the connection takes no further request", || {
        let is_served = client.is_served("/");
        served += u32::from(is_served);
        !is_served
    });
    assert_eq!(hook.answer().text(), "quiet\n");
    // Nothing is remembered.
    let mut client = http2::Client::connect(sidecar.address);
    assert!((0..100).all(|_| client.is_served("/")));
    sidecar.ends_after(served + 100);
}

#[test]
fn a_hook_is_for_the_pod_and_for_no_page() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let own = format!("Host: {}", sidecar.metrics);
    for (fields, status) in [
        (own.as_str(), 200),
        ("Host: localhost:9464", 200),
        ("Host: app.shop.svc", 403),
        ("Host: evil.com:9464", 403),
        ("Host: 10.9.8.7", 403),
        ("Host: localhost\r\nOrigin: http://evil.com", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost\r\nUser-Agent: Mozilla/5.0", 403),
    ] {
        let mut client = Client::connect(sidecar.metrics);
        client.send(format!("GET /wait-for-drain?min=0s&quiet=0s HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{fields}");
    }
    sidecar.ends_after(0);
}

#[test]
fn few_hooks_wait_at_a_time() {
    let backend = Backend::answering(OK);
    let sidecar = patient(&backend);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Client::connect(sidecar.metrics);
            client.send("GET /wait-for-drain?min=1m&max=1m HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    let query = "/wait-for-drain?min=0s&quiet=0s&max=0s";
    eventually("one hook too many", || ask(sidecar.metrics, query, "").status() == 503);
    drop(waiting);
    eventually("hooks again", || ask(sidecar.metrics, query, "").status() == 200);
    sidecar.ends_after(0);
}
