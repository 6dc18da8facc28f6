//! `GET /paths`: what was learned, for people, for programs, and for `--routes-file`.

use redcar::config::RouteSources;

use crate::backend::{Backend, OK};
use crate::scrape::ask;
use crate::sidecar::Sidecar;

/// A sidecar with a pinned template, a learned one and one that nobody asked for.
fn used(backend: &Backend) -> Sidecar {
    let sidecar = Sidecar::with(backend, |config| {
        config.routes = ["/pinned/{name}", "/unused"].map(|t| t.parse().unwrap()).into();
    });
    let mut client = sidecar.client();
    for path in ["/users/7", "/users/8", "/pinned/a", "/a%22b"] {
        assert_eq!(client.get(path).status(), 200);
    }
    sidecar.metric("http_requests_total").eventually_is(4);
    sidecar
}

#[test]
fn the_list_is_a_routes_file_that_gives_the_same_names() {
    let backend = Backend::answering(OK);
    let sidecar = used(&backend);
    // A scrape publishes what was learned.
    assert_eq!(ask(sidecar.metrics, "/metrics", "").status(), 200);
    let answer = ask(sidecar.metrics, "/paths", "");
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    let name = format!("redcar-paths-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, answer.text()).unwrap();
    let sources = RouteSources { lists: vec![file.clone()], ..RouteSources::default() };
    let routes = sources.load(&[]).unwrap();
    std::fs::remove_file(file).unwrap();
    for template in ["/pinned/{name}", "/unused", "/users/{id}", "/{id}"] {
        assert!(routes.iter().any(|route| route.as_str() == template), "{}", answer.text());
    }
    let pinned = Sidecar::with(&backend, |config| config.routes = routes);
    assert_eq!(pinned.client().get("/users/9").status(), 200);
    pinned.requests(200).label("path", "/users/{id}").eventually_is(1);
    pinned.metric("redcar_paths").eventually_is(0);
    pinned.ends_after(1);
    sidecar.ends_after(4);
}

#[test]
fn the_list_is_json_for_whoever_prefers_it() {
    let backend = Backend::answering(OK);
    let sidecar = used(&backend);
    let answer = ask(sidecar.metrics, "/paths", "Accept: text/html;q=0.5, application/json\r\n");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let value: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let paths = value["paths"].as_array().unwrap();
    let find = |template: &str| paths.iter().find(|path| path["template"] == template).unwrap();
    let users = find("/users/{id}");
    assert_eq!((&users["kind"], &users["hits"]), (&"learned".into(), &2.into()), "{users}");
    let pinned = find("/pinned/{name}");
    assert_eq!((&pinned["kind"], &pinned["hits"]), (&"pinned".into(), &1.into()), "{pinned}");
    assert!(pinned["state"].is_string());
    assert_eq!(find("/unused")["hits"], 0);
    sidecar.ends_after(4);
}
