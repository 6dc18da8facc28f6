//! The files of routes, read again while requests run.

use std::path::PathBuf;

use redcar::config::RouteSources;

use crate::backend::{Backend, OK};
use crate::scrape::ask;
use crate::sidecar::Sidecar;

/// A file that is gone when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("redcar-reload-{}-{name}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn sidecar(backend: &Backend, list: &File, document: &File) -> Sidecar {
    let sources = RouteSources {
        lists: vec![list.0.clone()],
        documents: vec![document.0.clone().into()],
        ..RouteSources::default()
    };
    Sidecar::with(backend, |config| {
        config.routes = sources.load(&[]).unwrap();
        config.route_sources = sources;
    })
}

#[test]
fn a_reload_pins_what_the_files_say_now() {
    let backend = Backend::answering(OK);
    let list = File::new("list", "/users/{name}\n");
    let document = File::new("document", "openapi: 3.0.0\npaths: {'/a/{b}': {}}\n");
    let sidecar = sidecar(&backend, &list, &document);
    let mut client = sidecar.client();
    let mut get = |path: &str| assert_eq!(client.get(path).status(), 200);
    let named = |path, count| sidecar.requests(200).label("path", path).eventually_is(count);
    get("/users/anna");
    get("/a/1");
    named("/users/{name}", 1);
    named("/a/{b}", 1);
    list.write("/users/{user}/posts\n/users/{user}\n");
    document.write("openapi: 3.0.0\npaths: {'/a/{c}': {}, '/d/{e}': {}}\n");
    sidecar.reloader.reload();
    for path in ["/users/anna", "/users/anna/posts", "/a/1", "/d/2"] {
        get(path);
    }
    for path in ["/users/{user}", "/users/{user}/posts", "/a/{c}", "/d/{e}"] {
        named(path, 1);
    }
    // What was counted stays.
    named("/users/{name}", 1);
    sidecar.metric("redcar_routes_last_reload_successful").eventually_is(1);
    let list = ask(sidecar.metrics, "/paths", "").text().to_owned();
    assert!(list.contains("\n/users/{user} ") && list.contains("# /users/{name} "), "{list}");
    sidecar.ends_after(6);
}

#[test]
fn files_that_are_wrong_change_nothing() {
    let backend = Backend::answering(OK);
    let list = File::new("right", "/users/{name}\n");
    let document = File::new("right-document", "openapi: 3.0.0\npaths: {'/a/{b}': {}}\n");
    let sidecar = sidecar(&backend, &list, &document);
    let before = sidecar.metric("redcar_routes_last_reload_success_timestamp_seconds").value();
    let mut client = sidecar.client();
    let mut count = 0;
    let mut keeps_its_routes = |success| {
        sidecar.reloader.reload();
        sidecar.metric("redcar_routes_last_reload_successful").eventually_is(success);
        assert_eq!(client.get("/users/anna").status(), 200);
        count += 1;
        sidecar.requests(200).label("path", "/users/{name}").eventually_is(count);
    };
    list.write("/users/{name\n");
    keeps_its_routes(0);
    list.write("/users/{name}\n/users/{user}\n");
    keeps_its_routes(0);
    list.write("/users/{name}\n");
    document.write("openapi: 3.0.0\npaths:\n - /a\n");
    keeps_its_routes(0);
    std::fs::remove_file(&document.0).unwrap();
    keeps_its_routes(0);
    let after = sidecar.metric("redcar_routes_last_reload_success_timestamp_seconds").value();
    assert!((after - before).abs() < 0.001, "a failure is no reload");
    document.write("openapi: 3.0.0\npaths: {/b: {}}\n");
    keeps_its_routes(1);
    assert!(sidecar.metric("redcar_routes_last_reload_success_timestamp_seconds").value() > before);
    sidecar.ends_after(5);
}
