use proptest::prelude::*;

use super::*;

fn found(text: &str) -> Vec<String> {
    let found = parse(text).expect("a document");
    assert_eq!(found.left_out, []);
    found.templates.iter().map(ToString::to_string).collect()
}

#[test]
fn openapi_3_in_yaml_has_its_servers_paths_before_its_own() {
    let text = r#"
openapi: 3.1.0
info: {title: Shop, version: "1"}
servers:
  - url: https://{region}.example.com:{port}/{base}/
    variables:
      region: {default: eu}
      port: {default: 8443}
      base: {default: v1, enum: [v1, v2]}
  - url: /v1
paths:
  x-note: anything
  /users/{user_id}:
    get: {responses: {"200": {description: ok}}}
  /admin:
    servers: [{url: "//internal/"}]
    post: {responses: {}}
  /search:
    get: {servers: [{url: "https://search.example.com/s?x#y"}], responses: {}}
    put: {responses: {}}
  /empty:
components: {schemas: {A: &a {type: object}, B: *a}}
"#;
    assert_eq!(
        found(text),
        ["/v1/users/{user_id}", "/admin", "/s/search", "/v1/search", "/v1/empty"]
    );
}

#[test]
fn swagger_2_in_json_has_its_base_path() {
    let text = r#"{"swagger": "2.0", "basePath": "/api/", "host": "a",
        "paths": {"/b/{id}": {"get": {"parameters": [{"in": "path"}]}}, "/": {}}}"#;
    assert_eq!(found(text), ["/api/b/{id}", "/api/"]);
}

#[test]
fn the_order_of_the_document_is_kept_in_both_formats() {
    let json = r#"{"openapi": "3.0.0", "paths": {"/z": {}, "/a": null, "/z/{x}": {}}}"#;
    let yaml = "openapi: 3.0.0\npaths:\n  /z: {}\n  /a:\n  /z/{x}: {}\n";
    assert_eq!(found(json), ["/z", "/a", "/z/{x}"]);
    assert_eq!(found(yaml), found(json));
    // Unquoted, the version of Swagger is a number.
    assert_eq!(found("swagger: 2.0\npaths: {/a: {}}\n"), ["/a"]);
}

#[test]
fn a_path_that_is_no_template_is_left_out_with_its_reason() {
    let keys =
        ["/a?b=c", "/a{x}{y}", "b", "/caf\u{e9}", "/d#e"].map(|key| format!("\n  {key}: {{}}"));
    let text = format!("openapi: 3.0.0\npaths:{}\n", keys.concat());
    let result = parse(&text).expect("a document");
    let templates: Vec<_> = result.templates.iter().map(Template::as_str).collect();
    assert_eq!(templates, ["/a", "/d"]);
    let left_out: Vec<_> = result.left_out.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(left_out, ["/a{x}{y}", "b", "/caf\u{e9}"]);
}

#[test]
fn what_is_no_document_says_why_and_where() {
    for (text, line, word) in [
        ("", None, "neither"),
        ("hello", Some(1), "expected mapping"),
        ("{}", None, "neither"),
        ("info: {title: a}\npaths: {/a: {}}\n", None, "neither"),
        ("openapi: 3.0.0\n", None, "no `paths`"),
        ("openapi: 3.0.0\npaths: {}\n", None, "no usable path"),
        ("openapi: 3.0.0\npaths: {a: {}}\n", None, "must begin with `/`"),
        ("openapi: 3.0.0\npaths:\n  - /a\n", Some(3), ""),
        ("openapi: 3.0.0\npaths:\n  /a: {\n", Some(3), "unclosed"),
        ("{\"openapi\": \"3.0.0\",\n \"paths\": [1]}", Some(2), "a map from paths"),
        ("{\"openapi\": \"3.0.0\",\n \"paths\": ", Some(2), "EOF"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.reason.contains(word), "{text}: {error:?}");
        assert_eq!(error.line, line, "{text}: {error:?}");
        assert!(!error.reason.contains('\n'), "{error:?}");
    }
}

#[test]
fn thousands_of_paths_are_read() {
    let one = |number| format!("  /r{number}/{{id}}:\n    get: {{responses: {{a: {{b: c}}}}}}\n");
    let text = ["openapi: 3.0.0\npaths:\n".to_owned()].into_iter().chain((0..5000).map(one));
    let text: String = text.collect();
    assert_eq!(found(&text).len(), 5000);
}

#[test]
fn one_anchor_may_be_used_everywhere_and_an_endless_one_nowhere() {
    let mut text = "openapi: 3.0.0\nx-a: &a {b: [c, d]}\npaths:\n".to_owned();
    text.extend((0..2000).map(|n| format!("  /r{n}: {{get: {{responses: {{'400': *a}}}}}}\n")));
    assert_eq!(found(&text).len(), 2000);
    // Each level is ten times the one before.
    let mut text = "openapi: 3.0.0\nx0: &x0 [a]\n".to_owned();
    text.extend((1..12).map(|n| {
        let above = format!("*x{}", n - 1);
        format!("x{n}: &x{n} [{}]\n", vec![above; 10].join(", "))
    }));
    assert!(parse(&text).is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_document_or_an_error(text in "(openapi: 3\npaths:\n  /)?\\PC{0,80}") {
        // Must not panic.
        drop(parse(&text));
    }
}
