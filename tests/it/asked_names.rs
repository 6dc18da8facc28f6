//! `--names-from` and `--openapi upstream:`: sources on real sockets, well and hostile.

use std::time::{Duration, Instant};

use redcar::config::{Credentials, NamesFrom, RouteSources};

use crate::backend::{Backend, Connection, Gate, OK};
use crate::scrape::ask;
use crate::sidecar::Sidecar;

/// Whoever asks at most waits so long, and then some.
const LIMIT: Duration = Duration::from_secs(2);

fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn values(names: &[&str]) -> String {
    json(&serde_json::json!({ "status": "success", "data": names }).to_string())
}

fn asking(sources: &[String]) -> NamesFrom {
    NamesFrom {
        sources: sources.iter().map(|s| s.parse().unwrap()).collect(),
        ..NamesFrom::default()
    }
}

fn prometheus(source: &Backend) -> String {
    format!(
        "http://{}/api/v1/label/path/values?match[]=http_requests_total{{job=\"a b\"}}",
        source.address
    )
}

fn sidecar(backend: &Backend, sources: &[String]) -> Sidecar {
    Sidecar::with(backend, |config| config.names_from = asking(sources))
}

/// Three shops have come, of which nobody could tell that they are values.
fn visit_shops(sidecar: &Sidecar) {
    let mut client = sidecar.client();
    for path in ["/shops/berlin", "/shops/ulm", "/shops/berlin"] {
        assert_eq!(client.get(path).status(), 200);
    }
}

#[test]
fn a_prometheus_tells_the_names_that_it_remembers() {
    let backend = Backend::answering(OK);
    let source = Backend::start(|connection| {
        let Some(request) = connection.request() else { return };
        let names: &[&str] = if request.start_line().contains("redcar_path_folds") {
            &["/shops/{id}"]
        } else {
            &["/shops/{id}", "_OTHER", "/users/{id}"]
        };
        connection.send(values(names));
    });
    let sidecar = sidecar(&backend, &[prometheus(&source)]);
    visit_shops(&sidecar);
    sidecar.requests(200).label("path", "/shops/{id}").eventually_is(3);
    let head = source.received().remove(0);
    let asked = "match%5B%5D=http_requests_total%7Bjob%3D%22a%20b%22%7D&start=";
    assert!(head.starts_with(&format!("GET /api/v1/label/path/values?{asked}")), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nuser-agent: redcar/"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\naccept-encoding: identity\r\n"), "{head}");
    // Users did not fold there, so a word of theirs is one here.
    assert_eq!(sidecar.client().get("/users/zwiebel").status(), 200);
    sidecar.requests(200).label("path", "/users/zwiebel").eventually_is(1);
    sidecar.metric("redcar_names_reads_total").label("result", "failed").eventually_is(0);
    sidecar.ends_after(4);
}

#[test]
fn replicas_tell_each_other() {
    let backend = Backend::answering(OK);
    let older = Sidecar::before(&backend);
    for shop in ["aachen", "bonn", "celle", "essen", "fulda", "gera"] {
        assert_eq!(older.client().get(&format!("/shops/{shop}")).status(), 200);
    }
    older.requests(200).label("path", "/shops/{id}").eventually_is(6);
    let younger = sidecar(&backend, &[format!("http://{}/paths", older.metrics)]);
    visit_shops(&younger);
    younger.requests(200).label("path", "/shops/{id}").eventually_is(3);
    let list = ask(younger.metrics, "/paths", "Accept: application/json\r\n");
    let list: serde_json::Value = serde_json::from_str(list.text()).unwrap();
    assert_eq!(list["folds"], serde_json::json!(["/shops/{id}"]));
    let digest = |sidecar: &Sidecar| sidecar.metric("redcar_paths_digest").value();
    assert!(digest(&older) > 0.0);
    assert!((digest(&older) - digest(&younger)).abs() < 0.5);
    older.ends_after(6);
    younger.ends_after(3);
}

#[test]
fn credentials_come_from_files_that_may_change() {
    let backend = Backend::answering(OK);
    let source = Backend::answering(values(&["/shops/{id}"]));
    let file = std::env::temp_dir().join(format!("redcar-names-{}", std::process::id()));
    for (secret, credentials, field) in [
        ("s3cret\n", Credentials::Token(file.clone()), "authorization: Bearer s3cret\r\n"),
        (
            "anna:pass word",
            Credentials::Basic(file.clone()),
            "authorization: Basic YW5uYTpwYXNzIHdvcmQ=\r\n",
        ),
    ] {
        std::fs::write(&file, secret).unwrap();
        let sidecar = Sidecar::with(&backend, |config| {
            config.names_from =
                NamesFrom { credentials: Some(credentials), ..asking(&[prometheus(&source)]) };
        });
        sidecar.metric("redcar_names_reads_total").label("result", "ok").eventually_reaches(1);
        assert!(source.count(field) > 0, "{:?}", source.received());
        sidecar.ends_after(0);
    }
    std::fs::remove_file(&file).unwrap();
    let sidecar = Sidecar::with(&backend, |config| {
        config.names_from = NamesFrom {
            credentials: Some(Credentials::Token(file)),
            ..asking(&[prometheus(&source)])
        };
    });
    sidecar.metric("redcar_names_reads_total").label("result", "failed").eventually_reaches(1);
    sidecar.ends_after(0);
}

/// Serves requests through a sidecar with a source that does not help: they are named as without.
fn is_no_burden(what: &str, source: &Backend) {
    let backend = Backend::answering(OK);
    let begun = Instant::now();
    let sidecar = sidecar(&backend, &[prometheus(source)]);
    let mut client = sidecar.client();
    for path in ["/frobnicate", "/settings"] {
        let asked = Instant::now();
        assert_eq!(client.get(path).status(), 200);
        assert!(asked.elapsed() < LIMIT / 2, "{what}: a request took {:?}", asked.elapsed());
    }
    assert!(begun.elapsed() < LIMIT, "{what}: the start took {:?}", begun.elapsed());
    sidecar.metric("redcar_names_reads_total").label("result", "failed").eventually_reaches(1);
    sidecar.requests(200).label("path", "/frobnicate").eventually_is(1);
    sidecar.requests(200).label("path", "/settings").eventually_is(1);
    sidecar.ends_after(2);
}

#[test]
fn a_source_that_answers_wrong_things_is_no_burden() {
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 3 << 20);
    for (what, answer) in [
        ("a redirect", redirect.to_owned()),
        ("a bomb", gzip.to_owned()),
        ("too much", large),
        ("no JSON", json("{\"data\":[\"/a\"")),
        ("a page", json("<!doctype html>")),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("an error", json(r#"{"status":"error","error":"no"}"#)),
        ("a refusal", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()),
    ] {
        is_no_burden(what, &Backend::closing_after(answer));
    }
}

#[test]
fn a_source_that_never_ends_is_no_burden() {
    let gate = Gate::default();
    let held = gate.clone();
    let silent = Backend::start(move |connection| {
        connection.request();
        held.wait();
    });
    is_no_burden("silence", &silent);
    gate.open();
    let endless = |piece: &'static str| {
        Backend::start(move |connection: &mut Connection| {
            use std::io::Write;
            connection.request();
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n");
            while connection.socket().write_all(piece.as_bytes()).is_ok() {}
        })
    };
    is_no_burden("an endless head", &endless("a: b\r\n"));
    is_no_burden("an endless body", &endless("\r\n4\r\n\"/a\"\r\n"));
    is_no_burden("nobody", &Backend::start(|connection| connection.reset()));
}

#[test]
fn what_a_source_says_is_held_against_the_detectors_and_the_limit() {
    let backend = Backend::answering(OK);
    let many: Vec<String> = ('a'..='z').map(|c| format!("/wort{c}")).collect();
    let mut names = vec![
        "/reset/eyJhbGciOiJIUzI1NiJ9.e30",
        "/u/anna@example.org",
        "/card/4111111111111111",
        "no slash",
        "/a\"b",
    ];
    names.extend(many.iter().map(String::as_str));
    let source = Backend::answering(values(&names));
    let sidecar = Sidecar::with(&backend, |config| {
        config.names_from = asking(&[prometheus(&source)]);
        config.limits.max_paths = 10;
    });
    sidecar.metric("redcar_paths").eventually_is(10);
    let list = ask(sidecar.metrics, "/paths", "");
    for hidden in ["eyJ", "anna", "4111", "wortz"] {
        assert!(!list.text().contains(hidden), "{}", list.text());
    }
    assert!(list.text().contains("/worta"));
    sidecar.ends_after(0);
}

const DESCRIPTION: &str =
    r#"{"openapi":"3.1.0","paths":{"/shops/{shop}":{},"/shops/{shop}/hours":{}}}"#;

/// An app that describes itself at one place and answers everything else.
fn describing(place: &'static str) -> Backend {
    Backend::start(move |connection| {
        while let Some(request) = connection.request() {
            let head = request.start_line();
            let path = head.split(' ').nth(1).unwrap_or("").to_owned();
            let known = path == place;
            let asked =
                path.contains("openapi") || path.contains("api-docs") || path.contains("swagger");
            connection.send(match (known, asked) {
                (true, _) => json(DESCRIPTION),
                (false, true) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                (false, false) => OK.to_owned(),
            });
        }
    })
}

fn described(backend: &Backend, document: &str) -> Sidecar {
    let documents = vec![document.parse().unwrap()];
    Sidecar::with(backend, |config| {
        config.route_sources = RouteSources { documents, ..RouteSources::default() };
    })
}

#[test]
fn the_app_describes_itself() {
    for (document, place) in
        [("upstream:/docs/openapi.json", "/docs/openapi.json"), ("upstream:", "/swagger.json")]
    {
        let backend = describing(place);
        let sidecar = described(&backend, document);
        visit_shops(&sidecar);
        sidecar.requests(200).label("path", "/shops/{shop}").eventually_is(3);
        sidecar.metric("redcar_routes_last_reload_successful").eventually_is(1);
        assert!(backend.count("redcar/") > 0 && backend.count("(openapi)") > 0);
        // What the sidecar asks for itself is no traffic.
        sidecar.ends_after(3);
    }
}

#[test]
fn the_app_is_asked_again_when_the_routes_are_read_again() {
    let backend = describing("/openapi.json");
    let sidecar = described(&backend, "upstream:/openapi.json");
    sidecar.metric("redcar_routes_last_reload_successful").eventually_is(1);
    visit_shops(&sidecar);
    sidecar.requests(200).label("path", "/shops/{shop}").eventually_is(3);
    let asked = backend.count("(openapi)");
    sidecar.reloader.reload();
    crate::backend::eventually("asked after SIGHUP", || backend.count("(openapi)") > asked);
    sidecar.ends_after(3);
}

#[test]
fn an_app_that_does_not_describe_itself_is_served_all_the_same() {
    let backend = describing("/elsewhere");
    let sidecar = described(&backend, "upstream:/openapi.json");
    assert_eq!(sidecar.client().get("/frobnicate").status(), 200);
    sidecar.requests(200).label("path", "/frobnicate").eventually_is(1);
    sidecar.ends_after(1);
}
