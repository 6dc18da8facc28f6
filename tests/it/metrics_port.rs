//! The metrics port: formats, probes, limits, and a page that says what the catalogue says.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use prost::Message;
use redcar::config::parse_slo;
use redcar::metrics::{MetricFamily, MetricType, Naming, Slos};
use redcar::server::{Server, ShutdownMode};

use crate::backend::{Backend, OK, eventually};
use crate::client::Client;
use crate::scrape::{Page, ask};
use crate::sidecar::Sidecar;

const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

fn objectives() -> Slos {
    Slos::new(vec![parse_slo("objective=99.9,latency=1s").unwrap()]).unwrap()
}

/// A sidecar that has counted a few requests.
fn used() -> (Backend, Sidecar) {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.limits.slos = objectives());
    let mut client = sidecar.client();
    for path in ["/", "/users/7", "/orders", "/\u{e9}\"\\"] {
        assert_eq!(client.get(path).status(), 200);
    }
    drop(client);
    sidecar.metric("http_requests_total").eventually_is(4);
    sidecar.metric("redcar_downstream_connections").eventually_is(0);
    (backend, sidecar)
}

#[test]
fn the_format_follows_accept() {
    let (_backend, sidecar) = used();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, expected) in [
        ("", text),
        ("Accept: */*\r\n", text),
        ("Accept: text/html\r\n", text),
        ("Accept: text/plain;version=0.0.4\r\n", text),
        (OPEN_METRICS, open),
        ("Accept: application/openmetrics-text;q=0.2\r\nAccept: text/plain;q=0.9\r\n", text),
        ("Accept: application/openmetrics-text;q=0.9,text/plain;q=0.2\r\n", open),
    ] {
        let answer = ask(sidecar.metrics, "/metrics", accept);
        assert_eq!(answer.field("content-type"), Some(expected), "{accept}");
        assert_eq!(answer.text().ends_with("# EOF\n"), expected == open, "{accept}");
        assert!(answer.field("vary").is_some(), "{accept}");
    }
    sidecar.ends_after(4);
}

#[test]
fn protobuf_is_sent_to_whoever_asks_for_it() {
    let (_backend, sidecar) = used();
    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
        encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1\r\n";
    for compressed in [false, true] {
        let gzip = if compressed { "Accept-Encoding: gzip\r\n" } else { "" };
        let answer = ask(sidecar.metrics, "/metrics", &format!("{accept}{gzip}"));
        assert_eq!(
            answer.field("content-type"),
            Some(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            )
        );
        let mut page = Vec::new();
        if compressed {
            flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut page).unwrap();
        } else {
            page.extend_from_slice(&answer.body);
        }
        let mut rest = &*page;
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
        }
        let known: Vec<_> = Naming::Default.families().map(|family| family.name).collect();
        assert!(found.iter().all(|family| known.contains(&&*family.name)));
        let requests = found.iter().find(|family| family.name == "http_requests_total").unwrap();
        assert_eq!(requests.r#type(), MetricType::Counter);
        let counted = requests.metric.iter().map(|metric| metric.counter.as_ref().unwrap().value);
        assert!((counted.sum::<f64>() - 4.0).abs() < 0.1);
        assert!(found.iter().any(|family| family.name == "process_open_fds"));
    }
    sidecar.ends_after(4);
}

#[test]
fn both_formats_are_well_formed() {
    let (_backend, sidecar) = used();
    for accept in ["", OPEN_METRICS] {
        let page = Page(ask(sidecar.metrics, "/metrics", accept).text().to_owned());
        let open = !accept.is_empty();
        assert!(page.0.ends_with('\n') && page.0.lines().all(|line| !line.is_empty()));
        assert_eq!(page.0.matches("# EOF").count(), usize::from(open));
        let mut family = String::new();
        let mut seen = Vec::new();
        for line in page.0.lines().filter(|line| *line != "# EOF") {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap().to_owned();
                assert!(!seen.contains(&family), "{family} comes twice");
                seen.push(family.clone());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert!(kind.starts_with(&format!("{family} ")), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line}"));
                let known = ["", "_total", "_bucket", "_sum", "_count"];
                assert!(known.contains(&suffix), "{line} belongs to no family");
                let (_, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        // No id and no byte of a client's choice in a label.
        assert!(page.0.contains("path=\"/users/{id}\""), "{}", page.0);
        assert!(page.0.contains("path=\"/{id}\"") && page.0.is_ascii(), "{}", page.0);
    }
    sidecar.ends_after(4);
}

#[test]
fn histograms_are_cumulative_and_agree_with_their_count() {
    let (_backend, sidecar) = used();
    let page = Page::of(sidecar.metrics);
    let mut buckets = Vec::new();
    for (name, labels, value) in page.samples() {
        if name.ends_with("_bucket") {
            if let Some(last) = buckets.last() {
                assert!(value >= *last, "{name} {labels} falls");
            }
            buckets.push(value);
        } else if name.ends_with("_count") {
            let last = buckets.pop().unwrap();
            assert!((last - value).abs() < 0.1, "{name} {labels}: {last} is not {value}");
            buckets.clear();
        }
    }
    sidecar.ends_after(4);
}

#[test]
fn the_live_page_has_exactly_the_families_and_words_of_the_catalogue() {
    let (_backend, sidecar) = used();
    is_of_the_catalogue(&Page::of(sidecar.metrics), Naming::Default);
    sidecar.ends_after(4);
    for naming in [Naming::Flask, Naming::Otel] {
        let backend = Backend::answering(OK);
        let mut sidecar = Sidecar::with(&backend, |config| {
            config.naming = naming;
            config.limits.slos = objectives();
        });
        assert_eq!(sidecar.client().get("/").status(), 200);
        is_of_the_catalogue(&Page::of(sidecar.metrics), naming);
        sidecar.begin_stop(ShutdownMode::Prompt);
    }
}

fn is_of_the_catalogue(page: &Page, naming: Naming) {
    let mut live: Vec<_> = page.0.lines().filter(|line| line.starts_with("# HELP ")).collect();
    live.sort_unstable();
    // This sidecar has no certificate, and no place of its paths folds.
    let is_here = |name: &str| !name.starts_with("redcar_tls_") && name != "redcar_path_folds";
    let expected = || naming.families().filter(|family| is_here(family.name));
    let mut known: Vec<_> =
        expected().map(|family| format!("# HELP {} {}", family.name, family.help)).collect();
    known.sort_unstable();
    assert_eq!(live, known);
    for family in expected() {
        let kind = format!("# TYPE {} {}\n", family.name, family.kind.as_str());
        assert!(page.0.contains(&kind), "{kind}");
        let suffixes = ["", "_bucket"].map(|suffix| format!("{}{suffix}", family.name));
        let samples = page.samples().filter(|(name, ..)| suffixes.iter().any(|s| s == name));
        for (name, labels, _) in samples {
            for label in labels.split("\",").filter(|label| !label.is_empty()) {
                let key = label.split('=').next().unwrap();
                let known = key == "le" || family.labels.contains(&key);
                assert!(known, "{name} has a label that the catalogue does not know: {key}");
            }
        }
    }
}

#[test]
fn two_scrapes_differ_only_in_values() {
    let (_backend, sidecar) = used();
    let series = || -> Vec<String> {
        let page = Page::of(sidecar.metrics);
        let without_value = |line: &str| line.rsplit_once(' ').unwrap().0.to_owned();
        page.0
            .lines()
            .map(|l| if l.starts_with('#') { l.to_owned() } else { without_value(l) })
            .collect()
    };
    let first = series();
    assert_eq!(first, series());
    assert_eq!(first, series());
    sidecar.ends_after(4);
}

#[test]
fn a_scrape_is_compressed_on_request_only() {
    let (_backend, sidecar) = used();
    let answer = ask(sidecar.metrics, "/metrics", "Accept-Encoding: gzip, deflate\r\n");
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut text).unwrap();
    assert!(text.contains("# TYPE http_requests_total counter\n"), "{text}");
    for accept in ["", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br\r\n"] {
        let answer = ask(sidecar.metrics, "/metrics", accept);
        assert_eq!(answer.field("content-encoding"), None, "{accept}");
    }
    sidecar.ends_after(4);
}

#[test]
fn compression_can_be_switched_off() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.metrics_gzip = false);
    let answer = ask(sidecar.metrics, "/metrics", "Accept-Encoding: gzip\r\n");
    assert_eq!(answer.field("content-encoding"), None);
    sidecar.ends_after(0);
}

#[test]
fn probes_and_errors_answer_plainly() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/readyz?upstream=1", 200),
        ("/paths", 200),
        ("/", 200),
        ("/nothing", 404),
        ("/metrics/", 404),
    ] {
        let answer = ask(sidecar.metrics, path, "");
        assert_eq!(answer.status(), status, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    let mut client = Client::connect(sidecar.metrics);
    for method in ["POST", "PUT", "DELETE", "BREW"] {
        client.send(format!("{method} /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for path in ["/metrics", "/livez", "/paths"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.head().status(), 200, "{path}");
    }
    client.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "ok\n", "nothing is left of the answers to HEAD");
    // The metrics port counts none of its own requests.
    sidecar.ends_after(0);
}

#[test]
fn readiness_of_the_upstream_is_told_to_whoever_asks() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = Sidecar::to(crate::sidecar::address(gone), |_| {});
    assert_eq!(ask(sidecar.metrics, "/readyz", "").status(), 200);
    assert_eq!(ask(sidecar.metrics, "/readyz?upstream=1", "").status(), 503);
    sidecar.ends_after(0);
}

#[test]
fn a_browser_gets_the_live_page_and_curl_a_list() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::before(&backend);
    let page = ask(sidecar.metrics, "/", "Accept: text/html,application/xhtml+xml;q=0.9\r\n");
    assert_eq!(page.status(), 200);
    assert!(page.text().starts_with("<!doctype html>") && page.text().ends_with("</html>\n"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("vary", "accept"),
    ] {
        assert_eq!(page.field(name), Some(value), "{name}");
    }
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let list = ask(sidecar.metrics, "/", accept);
        assert_eq!(list.field("content-type"), Some("text/plain; charset=utf-8"), "{accept}");
        assert!(list.text().contains("\n/metrics\n"), "{accept}");
    }
    sidecar.ends_after(0);
}

/// How the live page and `proxy top` ask.
const VIEWER: &str = "Redcar-Viewer: page\r\n";

/// Asks for a page and reads only its beginning.
fn slow_reader(metrics: SocketAddr, fields: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&metrics.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    socket
}

#[test]
fn at_most_two_pages_are_made_at_a_time() {
    // A page larger than the kernel's buffers: a thousand paths with long names.
    const PATHS: usize = 1500;
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.path_mode = redcar::paths::PathMode::Raw;
        config.limits.max_paths = 10_000;
        config.limits.max_series = 10_000;
        config.limits.buckets =
            redcar::metrics::Buckets::new(&redcar::metrics::Buckets::REQUEST).unwrap();
    });
    let mut client = sidecar.client();
    for path in 0..PATHS {
        let letters: String = format!("{path:04}").bytes().map(|b| char::from(b + 49)).collect();
        let word = format!("{letters}{}", "abcdefghij".repeat(4));
        assert_eq!(client.get(&format!("/{word}/{word}/{word}")).status(), 200);
    }
    let first = slow_reader(sidecar.metrics, "");
    let second = slow_reader(sidecar.metrics, "");
    // Who only watches keeps no scraper out, and is kept out by none.
    let viewers = [(); 2].map(|()| slow_reader(sidecar.metrics, VIEWER));
    assert_eq!(ask(sidecar.metrics, "/livez", "").status(), 200);
    // The data plane does not notice.
    assert_eq!(client.get("/").status(), 200);
    // Who takes nothing gives way to who comes.
    for fields in ["", VIEWER] {
        let begun = Instant::now();
        assert_eq!(ask(sidecar.metrics, "/metrics", fields).status(), 200, "{fields}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    drop((first, second, viewers));
    sidecar.ends_after(u32::try_from(PATHS).unwrap() + 1);
}

#[test]
fn exemplars_come_with_sampled_traces_and_in_openmetrics() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let sampled = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let unsampled = format!("traceparent: 00-{}-00f067aa0ba902b7-00\r\n", "a".repeat(32));
    for exemplars in [true, false] {
        let backend = Backend::answering(OK);
        let sidecar = Sidecar::with(&backend, |config| config.limits.exemplars = exemplars);
        let mut client = sidecar.client();
        for fields in [&*sampled, &*unsampled, "traceparent: nonsense\r\n", ""] {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(client.answer().status(), 200);
        }
        sidecar.metric("http_requests_total").eventually_is(4);
        let open = ask(sidecar.metrics, "/metrics", OPEN_METRICS);
        let marked = format!(" # {{trace_id=\"{trace}\"}} ");
        assert_eq!(open.text().matches(&marked).count(), usize::from(exemplars));
        assert_eq!(open.text().matches(" # {").count(), usize::from(exemplars));
        assert_eq!(ask(sidecar.metrics, "/metrics", "").text().matches(" # {").count(), 0);
        sidecar.ends_after(4);
    }
}

/// The threads of this process by name, each with its nice value (proc(5): field 19 of stat).
fn priorities() -> Vec<(String, i32)> {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let read = |thread: std::io::Result<std::fs::DirEntry>| {
        // A thread of another test may be gone by now.
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        Some((name.to_owned(), rest.split(' ').nth(16)?.parse().ok()?))
    };
    threads.filter_map(read).collect()
}

#[test]
fn a_scrape_gives_way_to_requests() {
    let (_backend, sidecar) = used();
    let found = priorities();
    let of = |wanted: &str| found.iter().find(|(name, _)| name == wanted).map(|(_, nice)| *nice);
    let worker = of("worker-0").expect("a worker");
    assert_eq!(of("admin"), Some((worker + 10).min(19)), "{found:?}");
    sidecar.ends_after(4);
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let (_backend, sidecar) = used();
    let mut first = TcpStream::connect(sidecar.metrics).unwrap();
    let silent: Vec<_> = (0..500).map(|_| TcpStream::connect(sidecar.metrics).unwrap()).collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(sidecar.metrics, path, "").status(), 200, "{path}");
    }
    // A connection without a request ends by itself, or for others.
    first.set_read_timeout(Some(crate::message::DEADLINE)).unwrap();
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)), "it ends");
    drop(silent);
    sidecar.ends_after(4);
}

#[test]
fn a_head_that_never_ends_costs_little_and_is_cut_off() {
    let (_backend, sidecar) = used();
    let mut client = Client::connect(sidecar.metrics);
    client.send_what_is_taken(format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(100_000)));
    assert_eq!(client.head().status(), 431);
    sidecar.ends_after(4);
}

#[test]
fn a_page_of_somebody_else_reads_nothing() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.metrics_port.hosts = vec!["metrics.example.com".parse().unwrap()];
    });
    let browser = "User-Agent: Mozilla/5.0\r\nAccept-Language: en\r\n";
    for (host, fields, status) in [
        ("evil.com:9464", browser, 421),
        ("metrics.example.com", browser, 200),
        ("127.0.0.1:9464", browser, 200),
        ("app.shop.svc.cluster.local:9464", browser, 200),
        ("node-1.prod.example.org:9464", "User-Agent: Prometheus/3.5.0\r\n", 200),
        ("node-1.prod.example.org:9464", "User-Agent: curl/8.14.1\r\n", 200),
    ] {
        for path in ["/metrics", "/paths", "/"] {
            let mut client = Client::connect(sidecar.metrics);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
            assert_eq!(client.answer().status(), status, "{host} {path}");
        }
    }
    sidecar.ends_after(0);
}

#[test]
fn readers_show_a_token_and_probes_do_not() {
    let file = std::env::temp_dir().join(format!("redcar-it-token-{}", std::process::id()));
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let backend = Backend::answering(OK);
    // The harness itself reads the metrics, without a token.
    let server = Server::bind({
        let mut config = crate::sidecar::config(crate::sidecar::address(backend.address));
        config.metrics_port.token_file = Some(file.clone());
        config.validate().unwrap()
    });
    let server = server.unwrap();
    let metrics = server.metrics_address().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        server.run(async { stopped.await.unwrap_or(ShutdownMode::Prompt) })
    });
    eventually("ready", || ask(metrics, "/readyz", "").status() == 200);
    assert_eq!(ask(metrics, "/livez", "").status(), 200);
    assert_eq!(ask(metrics, "/wait-for-drain?min=0s&quiet=0s", "").status(), 200);
    for path in ["/metrics", "/paths", "/", "/nothing"] {
        let refused = ask(metrics, path, "");
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(refused.field("www-authenticate"), Some("Bearer realm=\"redcar\""), "{path}");
        assert_eq!(ask(metrics, path, "Authorization: Bearer three\r\n").status(), 401, "{path}");
    }
    // A token is more than a name.
    let fields = "Authorization: Bearer two\r\nUser-Agent: Mozilla/5.0\r\n";
    for fields in ["Authorization: Bearer one\r\n", "Authorization: Basic cHJvbTp0d28=\r\n", fields]
    {
        assert_eq!(ask(metrics, "/metrics", fields).status(), 200, "{fields}");
    }
    stop.send(ShutdownMode::Prompt).unwrap();
    thread.join().unwrap().unwrap();
    std::fs::remove_file(file).unwrap();
}
