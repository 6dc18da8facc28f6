use proptest::prelude::*;

use super::*;

/// A file with this text that lasts as long as the value.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("redcar-routes-{id}-{name}"));
        std::fs::write(&path, text).expect("a writable temporary directory");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A file that is left behind does no harm.
        let _removed = std::fs::remove_file(&self.0);
    }
}

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|text| text.parse().expect("a template")).collect()
}

#[test]
fn a_list_has_one_template_a_line_and_comments() {
    let text = "\u{feff}# what the app serves\n\n/users/{id}   # people\r\n  /files/{*rest}\n/\n";
    let list = File::new("list", &format!("{text}/users/{{id}}\n"));
    let sources = RouteSources { lists: vec![list.0.clone()], ..RouteSources::default() };
    assert_eq!(sources.load(&[]), Ok(templates(&["/users/{id}", "/files/{*rest}", "/"])));
}

#[test]
fn an_error_names_file_line_and_what_is_wrong() {
    for (name, text, line, word) in [
        ("slash", "/a\nusers\n", 2, "must begin with `/`"),
        ("brace", "# a\n\n/a/{b\n", 3, "`{` is not closed"),
        ("twice", "/a/{b}\n/c\n/a/{d}\n", 3, "`/a/{b}` and `/a/{d}` match the same paths"),
        ("space", "/a b\n", 1, "' '"),
    ] {
        let list = File::new(name, text);
        let sources = RouteSources { lists: vec![list.0.clone()], ..RouteSources::default() };
        let error = sources.load(&[]).expect_err(name).to_string();
        let place = format!("{}:{line}: ", list.0.display());
        assert!(error.starts_with(&place) && error.contains(word), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = PathBuf::from("/nowhere/routes.txt");
    let sources = RouteSources { lists: vec![missing], ..RouteSources::default() };
    let error = sources.load(&[]).expect_err("no file").to_string();
    assert!(error.starts_with("cannot read /nowhere/routes.txt: "), "{error}");
    let binary = File::new("binary", "");
    std::fs::write(&binary.0, [0xff, 0xfe]).expect("a writable temporary directory");
    let sources =
        RouteSources { documents: vec![binary.0.clone().into()], ..RouteSources::default() };
    assert!(sources.load(&[]).expect_err("no text").to_string().contains("not UTF-8"));
}

#[test]
fn what_is_pinned_by_hand_beats_the_document() {
    let list = File::new("hand", "/users/{name}\n");
    let document = File::new(
        "document",
        "openapi: 3.0.0\npaths:\n  /users/{user_id}: {}\n  /users/{id}: {}\n  /orders: {}\n",
    );
    let sources = RouteSources {
        templates: templates(&["/orders"]),
        lists: vec![list.0.clone()],
        documents: vec![document.0.clone().into()],
    };
    assert_eq!(sources.load(&[]), Ok(templates(&["/orders", "/users/{name}"])));
}

#[test]
fn two_flags_that_match_the_same_paths_are_an_error() {
    let sources =
        RouteSources { templates: templates(&["/a/{b}", "/a/{c}"]), ..RouteSources::default() };
    let error = sources.load(&[]).expect_err("a conflict").to_string();
    assert_eq!(error, "--route: `/a/{b}` and `/a/{c}` match the same paths; keep one");
}

#[test]
fn a_shape_is_a_template_without_names() {
    for (template, expected) in [
        ("/", "/"),
        ("/users/{id}/posts/{post}", "/users/{}/posts/{}"),
        ("/files/{*rest}", "/files/{*}"),
        ("/c/{a}...{b}", "/c/{}...{}"),
        ("/star*/{a*b}", "/star*/{}"),
    ] {
        assert_eq!(shape(template), expected);
    }
}

proptest! {
    #[test]
    fn any_line_is_a_template_or_an_error(line in "\\PC{0,40}") {
        if let Ok(Some(template)) = parse_line(&line) {
            prop_assert_eq!(parse_line(template.as_str()), Ok(Some(template)));
        }
    }

    /// What `shape` calls equal, and only that, the tree of templates refuses to hold twice.
    #[test]
    fn equal_shapes_are_the_conflicts_of_the_namer(
        a in "(/(a|\\{x\\}|\\{y\\}|b\\{x\\})){1,3}(/\\{\\*r\\})?",
        b in "(/(a|\\{x\\}|\\{y\\}|b\\{y\\})){1,3}(/\\{\\*s\\})?",
    ) {
        let both = templates(&[&a, &b]);
        let conflict = crate::paths::Namer::new(&both).is_err();
        prop_assert_eq!(conflict, a != b && shape(&a) == shape(&b));
    }
}

#[test]
fn the_apps_own_description_has_its_place_among_the_sources() {
    let upstream = |text: &str| text.parse::<Document>();
    assert_eq!(upstream("upstream:"), Ok(Document::Upstream(None)));
    assert_eq!(upstream("upstream:/a?b=c"), Ok(Document::Upstream(Some("/a?b=c".to_owned()))));
    assert_eq!(upstream("api.yaml"), Ok(Document::File("api.yaml".into())));
    for wrong in ["upstream:openapi.json", "upstream:/a b", "upstream:/a#b"] {
        let error = upstream(wrong).expect_err(wrong).to_string();
        assert!(error.contains("upstream:/openapi.json"), "{error}");
    }
    let document = File::new("before", "openapi: 3.0.0\npaths: {'/a/{b}': {}}\n");
    let sources = RouteSources {
        documents: vec![document.0.clone().into(), Document::Upstream(None)],
        ..RouteSources::default()
    };
    assert_eq!(sources.load(&[]), Ok(templates(&["/a/{b}"])));
    let described = [templates(&["/a/{c}", "/d"])];
    assert_eq!(sources.load(&described), Ok(templates(&["/a/{b}", "/d"])));
    assert_eq!(sources.upstream_places(), [None]);
}
