use proptest::prelude::*;

use super::*;

fn detected(path: &str) -> String {
    let mut scratch = String::new();
    match Namer::default().name(path, &mut scratch) {
        Name::Detected(name) => name.to_owned(),
        Name::Pinned(index) => panic!("nothing is pinned, got {index}"),
    }
}

fn namer(templates: &[&str]) -> Namer {
    let parsed: Vec<_> = templates.iter().map(|t| t.parse().expect("a template")).collect();
    Namer::new(&parsed).expect("no conflict")
}

#[test]
fn words_are_kept() {
    for path in [
        "/",
        "/ruok",
        "/users/",
        "/v1/users",
        "/v12/Users",
        "/favicon.ico",
        "/oauth2/token",
        "/s3/buckets",
        "/sha256",
        "/.well-known/openid-configuration",
        "/api/getUserById",
        "/_next/static",
        "/orders:cancel",
        "/robots.txt",
        "/jquery.min.js",
        "/~alice",
        "/get-ms-teams-channel-configuration",
        "/create-slack-channel-configuration",
        "/hoaxed-joggling.html",
        "/schedule-welders.html",
        "/trapeze-drums-v2",
        "/UPPER_CASE",
        "/wiki/Special:Search",
        "/wiki/User_talk:Alice",
        "/api/v1.0/users",
        "/API/users",
        "/GPS/track",
        "/users/@me",
        "/v2.1/users",
    ] {
        assert_eq!(detected(path), path);
    }
}

#[test]
fn values_become_a_parameter() {
    for (path, expected) in [
        ("/users/1", "/users/{id}"),
        ("/users/42/posts/7", "/users/{id}/posts/{id}"),
        ("/d/2026-11-22", "/d/{id}"),
        ("/o/6f1c9e5a-1b2c-4d3e-8f90-abcdefabcdef", "/o/{id}"),
        ("/c/deadbeef1", "/c/{id}"),
        ("/c/abcdefabcdefabcd", "/c/{id}"),
        ("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{id}"),
        ("/n/V1StGXR8_Z5jdHi6B-myT", "/n/{id}"),
        ("/k/AbCdEfGhIjKlMnOpQrSt", "/k/{id}"),
        ("/jobs/123:cancel", "/jobs/{id}:cancel"),
        ("/app.3f2a91c8.js", "/{id}.js"),
        ("/20261122.png", "/{id}.png"),
        ("/static/app.3f2a91c8.js", "/static/{*rest}.js"),
        ("/img/20261122.png", "/img/{*rest}.{ext}"),
        ("/img/a/b/c.png", "/img/{*rest}.{ext}"),
        ("/assets/css/a.css", "/assets/css/{*rest}.css"),
        ("/apps/files/js/a.js", "/apps/{*rest}.js"),
        ("/wp-content/uploads/2024/05/a.png", "/wp-content/uploads/{*rest}.{ext}"),
        ("/wp-content/uploads/2024/05/a.pdf", "/wp-content/uploads/{*rest}.{ext}"),
        ("/acme/shop/-/blob/main/src/a.css", "/acme/shop/-/blob/{*rest}.{ext}"),
        ("/attachments/7", "/attachments/{id}"),
        ("/uploads/shell.php", "/uploads/shell.php"),
        ("/api/uploads/a.pdf", "/api/uploads/a.pdf"),
        ("/images/v/db/c.png", "/images/{*rest}.{ext}"),
        ("/q/caf%C3%A9.html", "/q/{id}.html"),
        ("/releases/v1.2.3", "/releases/{id}"),
        ("/v9.18.0/x", "/{id}/x"),
        ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
        ("/commit/a1bcdef", "/commit/{id}"),
        ("/de/hotels", "/{id}/hotels"),
        ("/docs/en-US/web", "/docs/{id}/web"),
        ("/wiki/Talk:2024-05-01", "/wiki/{id}"),
        ("/wiki/talk:Key", "/wiki/{id}"),
        ("/t/Bearer:kjhgqwexzpvbnmtr", "/t/{id}"),
        ("/threads/page-3", "/threads/{id}"),
        ("/sitemap_products_1.xml", "/{id}.xml"),
        ("/tree/release-1.2/src", "/tree/{id}/src"),
        ("/get/guide-v2.0.1.zip", "/get/{id}.zip"),
        ("/get/guide-1.2.tar", "/get/{id}.tar"),
        ("/compare/main...fix-login", "/compare/{id}"),
        ("/i18n/de.json", "/i18n/{id}.json"),
        ("/i18n/pt-BR.json", "/i18n/{id}.json"),
        ("/docs/guide/v1.0/x", "/docs/guide/{id}/x"),
        ("/de/v1.0/x", "/{id}/{id}/x"),
        ("/browse/ENG", "/browse/{id}"),
        ("/api/ENG/issues", "/api/{id}/issues"),
        ("/ip/10.0.0.1", "/ip/{id}"),
        ("/mail/bob@example.com", "/mail/{id}"),
        ("/q/a%20b", "/q/{id}"),
        ("/q/a%0ab", "/q/{id}"),
        ("/x/\"quoted\"", "/x/{id}"),
        ("/x/{id}", "/x/{id}"),
        ("/x/caf\u{e9}", "/x/{id}"),
        ("/x/<script>", "/x/{id}"),
        ("/k/kjhgqwexzpvbnmtr", "/k/{id}"),
        ("/k/kjhg-qwex-zpvb-nmtr", "/k/{id}"),
        ("/k/x-kjhgqwexzpvbnmtr-y", "/k/{id}"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.abcDEFghi", "/t/{id}"),
    ] {
        assert_eq!(detected(path), expected, "{path}");
    }
}

#[test]
fn the_query_and_repeated_slashes_are_no_part_of_a_name() {
    assert_eq!(detected("/a?b=/c/1"), "/a");
    assert_eq!(detected("//a///b//"), "/a/b/");
    assert_eq!(detected("*"), "*");
    assert_eq!(detected(""), "/");
}

#[test]
fn a_deep_or_long_path_ends_in_rest() {
    let deep = "/a".repeat(40);
    assert_eq!(detected(&deep), format!("{}/{{*rest}}", "/a".repeat(14)));
    let long = format!("/{}", "word-word/".repeat(30));
    assert!(detected(&long).len() <= MAX_LABEL_BYTES);
}

#[test]
fn a_literal_beats_a_parameter_beats_the_rest() {
    let namer = namer(&["/users/{id}", "/users/me", "/users/{*rest}", "/{*rest}"]);
    let mut scratch = String::new();
    assert_eq!(namer.name("/users/me", &mut scratch), Name::Pinned(1));
    assert_eq!(namer.name("/users/bob", &mut scratch), Name::Pinned(0));
    assert_eq!(namer.name("/users/bob/x", &mut scratch), Name::Pinned(2));
    assert_eq!(namer.name("/other", &mut scratch), Name::Pinned(3));
}

#[test]
fn a_dead_end_behind_a_literal_is_left_again() {
    let namer = namer(&["/a/b/c", "/a/{x}/d", "/{*rest}"]);
    let mut scratch = String::new();
    assert_eq!(namer.name("/a/b/d", &mut scratch), Name::Pinned(1));
    assert_eq!(namer.name("/a/b/e", &mut scratch), Name::Pinned(2));
}

#[test]
fn a_parameter_may_have_text_around_it() {
    let namer = namer(&["/compare/{base}...{head}", "/{name}.json", "/img-{id}.png", "/{other}"]);
    let mut scratch = String::new();
    for (path, number) in [
        ("/compare/main...dev", Some(0)),
        ("/compare/...dev", None),
        ("/a.json", Some(1)),
        ("/.json", Some(3)),
        ("/img-1.png", Some(2)),
        ("/img-.png", Some(3)),
        ("/", None),
    ] {
        let pinned = match namer.name(path, &mut scratch) {
            Name::Pinned(number) => Some(number),
            Name::Detected(_) => None,
        };
        assert_eq!(pinned, number, "{path}");
    }
}

#[test]
fn a_rest_may_end_in_an_extension() {
    let namer = namer(&["/a/{*rest}.css", "/a/{*rest}.{ext}", "/a/{*rest}", "/b/{*rest}.min.js"]);
    let mut scratch = String::new();
    for (path, number) in [
        ("/a/x/y.css", Some(0)),
        ("/a/x/y.png", Some(1)),
        ("/a/x.css/y", Some(2)),
        ("/a/x/.png", Some(2)),
        ("/b/x/y.min.js", Some(3)),
        ("/b/x/y.js", None),
    ] {
        let pinned = match namer.name(path, &mut scratch) {
            Name::Pinned(number) => Some(number),
            Name::Detected(_) => None,
        };
        assert_eq!(pinned, number, "{path}");
    }
}

#[test]
fn learned_labels_can_be_pinned() {
    for label in
        ["/a/{*rest}.css", "/a/{*rest}.{ext}", "/{id}.html", "/a/{id}:cancel", "/a/{*rest}"]
    {
        assert_eq!(Template::read(label).map(|t| t.as_str().to_owned()).as_deref(), Ok(label));
    }
}

#[test]
fn a_redirect_to_the_same_path_is_told_from_others() {
    for (path, location, expected) in [
        ("/blog", "/blog/", true),
        ("/blog/", "https://www.example.com/blog?x=1", true),
        ("/Blog", "/blog", true),
        ("/", "https://example.com", true),
        ("/blog", "/login?next=/blog", false),
        ("/blog", "blog/", false),
        ("/a", "https://example.com/b", false),
    ] {
        assert_eq!(is_respelling(path, location), expected, "{path} to {location}");
    }
}

#[test]
fn parameters_may_have_different_names_at_one_place() {
    let namer = namer(&["/a/{x}/b", "/a/{y}/c"]);
    let mut scratch = String::new();
    assert_eq!(namer.name("/a/1/c", &mut scratch), Name::Pinned(1));
}

#[test]
fn templates_that_do_not_parse_say_why() {
    for (text, word) in [
        ("users", "must begin with"),
        ("/a b", "contains ' '"),
        ("/a\"", "contains"),
        ("/{id", "not closed"),
        ("/{*rest}/x", "rest"),
        ("/{}", "{}"),
        ("/{a}{b}", "text between"),
        ("/a}", "braces"),
        ("/x{*rest}", "last segment"),
        ("/{*rest}x", "last segment"),
    ] {
        let error = text.parse::<Template>().expect_err(text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    let conflict = ["/a/{x}", "/a/{y}"].map(|t| t.parse().expect("a template"));
    let error = Namer::new(&conflict).expect_err("a conflict").to_string();
    assert!(error.contains("/a/{x}") && error.contains("/a/{y}"), "{error}");
}

proptest! {
    #[test]
    fn any_path_gets_a_short_plain_name(path in ".{0,400}") {
        let name = detected(&path);
        prop_assert!(name.len() <= MAX_LABEL_BYTES);
        prop_assert!(name.starts_with('/') || name == "*");
        prop_assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'));
    }

    #[test]
    fn paths_that_differ_in_an_id_have_one_name(
        words in proptest::collection::vec("[a-z]{1,7}", 1..6), a in 0u64.., b in 0u64..,
    ) {
        let path = |id| format!("/{}/{id}/x", words.join("/"));
        prop_assert_eq!(detected(&path(a)), detected(&path(b)));
    }

    #[test]
    fn any_template_parses_or_says_why(text in ".{0,60}") {
        if let Err(error) = text.parse::<Template>() {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn the_path_of_a_grpc_call_is_its_name() {
    let namer = Namer::default();
    let mut scratch = String::new();
    for path in ["/grpc.health.v1.Health/Check", "/redcar.test.Shapes/Empty", "/a.b_c.D2/E"] {
        assert_eq!(namer.name(path, &mut scratch), Name::Detected(path));
    }
    let token =
        "/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6/X";
    for path in ["/app.3f2a91c.js/Load", token] {
        assert_ne!(namer.name(path, &mut scratch), Name::Detected(path), "{path}");
    }
}

#[test]
fn a_path_in_a_log_has_no_number_of_a_person() {
    for (path, logged) in [
        ("/card/4111111111111111", "/card/{id}"),
        ("/card/4111-1111-1111-1111/x", "/card/{id}/x"),
        ("/card/378282246310005", "/card/{id}"),
        ("/phone/+15551234567", "/phone/{id}"),
        ("/phone/+49-30-1234567", "/phone/{id}"),
        ("/phone/%2B15551234567", "/phone/{id}"),
        ("/ip/10.1.2.3", "/ip/{id}"),
        ("/ip/2001:db8::1", "/ip/{id}"),
        ("/ip/fe80::a", "/ip/{id}"),
        // Neither: a card's number with a wrong last digit, an order, a version, a sum.
        ("/order/4111111111111112", "/order/4111111111111112"),
        ("/order/100000", "/order/100000"),
        ("/v1.2.3/a", "/v1.2.3/a"),
        ("/plus/+12", "/plus/+12"),
    ] {
        assert_eq!(without_secrets(path), logged);
    }
}
