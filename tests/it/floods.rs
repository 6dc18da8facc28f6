//! No client can grow the series: the caps hold, and everything is still counted.

use crate::backend::{Backend, OK};
use crate::client::Client;
use crate::scrape::Page;
use crate::sidecar::Sidecar;

/// Sends requests in batches on one connection; all get a 200.
fn send_all(mut client: Client, requests: impl Iterator<Item = String>) {
    let mut requests = requests.peekable();
    while requests.peek().is_some() {
        let batch: Vec<_> = requests.by_ref().take(200).collect();
        client.send(batch.concat());
        for request in batch {
            assert_eq!(client.answer().status(), 200, "{request}");
        }
    }
}

/// A word that no detector takes for a value, different for each number.
fn word(mut number: u32) -> String {
    let mut word = String::from("w");
    for _ in 0..6 {
        word.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
        number /= 26;
    }
    word
}

#[test]
fn a_hundred_thousand_paths_do_not_grow_the_series_beyond_the_caps() {
    const CONNECTIONS: u32 = 4;
    const EACH: u32 = 25_000;
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.limits.max_paths = 100;
        config.limits.max_series = 200;
        config.threads = 2;
    });
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let client = sidecar.client();
            std::thread::spawn(move || {
                // Answered by the sidecar itself, which says nothing of the app's paths.
                let range = connection * EACH..(connection + 1) * EACH;
                send_all(
                    client,
                    range.map(|number| {
                        let path = word(number);
                        format!("OPTIONS /{path} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
                    }),
                );
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let mut client = sidecar.client();
    for number in 0..1000 {
        // The app answers everything, so its root is full of words that each come once.
        let status = client.get(&format!("/{}", word(number + 1_000_000))).status();
        assert_eq!(status, 200);
    }
    assert_eq!(client.get("/settings/profile").status(), 200);
    let page = Page::of(sidecar.metrics);
    let rows = page.samples().filter(|(name, ..)| *name == "http_requests_total").count();
    let paths =
        page.samples().filter(|(name, ..)| *name == "http_time_to_response_seconds_count").count();
    assert!(rows <= 200 && paths <= 103, "{rows} rows, {paths} paths");
    for (path, method, count) in [
        ("_UNMATCHED", "OPTIONS", 100_000),
        ("/{id}", "GET", 1000),
        ("/settings/profile", "GET", 1),
    ] {
        sidecar
            .metric("http_requests_total")
            .label("path", path)
            .label("method", method)
            .eventually_is(count);
    }
    drop(client);
    sidecar.ends_after(101_001);
}

#[test]
fn two_thousand_methods_are_one_label() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let requests = (0..2000)
        .map(|number| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", word(number).to_uppercase()));
    send_all(sidecar.client(), requests);
    sidecar
        .metric("http_requests_total")
        .label("method", "_OTHER")
        .label("path", "/")
        .eventually_is(2000);
    sidecar.metric("redcar_series").eventually_is(1);
    sidecar.ends_after(2000);
}

#[test]
fn statuses_and_methods_beyond_the_row_budget_are_counted_by_class() {
    let backend = Backend::start(|connection| {
        while let Some(request) = connection.request() {
            let status = request.start_line().split(' ').nth(1).unwrap().trim_start_matches('/');
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let sidecar = Sidecar::with(&backend, |config| config.limits.max_series = 64);
    let mut client = sidecar.client();
    let mut sent = 0;
    for status in (200..600).filter(|status| !matches!(status, 204 | 304)) {
        for method in ["GET", "PUT"] {
            client.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.answer().status(), status);
            sent += 1;
        }
    }
    let page = Page::of(sidecar.metrics);
    let rows = page.samples().filter(|(name, ..)| *name == "http_requests_total").count();
    assert!(rows <= 64, "{rows} rows");
    sidecar.ends_after(sent);
}

#[test]
fn pinned_paths_keep_their_labels_when_the_budget_is_spent() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.routes = vec!["/pinned/{name}".parse().unwrap()];
        config.limits.max_paths = 1;
    });
    let mut client = sidecar.client();
    for path in ["/one", "/two", "/pinned/x", "/pinned/y"] {
        assert_eq!(client.get(path).status(), 200);
    }
    for (path, count) in [("/one", 1), ("_OTHER", 1), ("/pinned/{name}", 2)] {
        sidecar.metric("http_requests_total").label("path", path).eventually_is(count);
    }
    drop(client);
    sidecar.ends_after(4);
}
