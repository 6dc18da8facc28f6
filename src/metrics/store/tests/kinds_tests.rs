//! Kinds of paths that real sites have, each with a small input.

use super::*;

/// The labels that there are after some requests and scrapes.
struct Site {
    store: Arc<Store>,
    shard: Shard,
}

impl Site {
    fn new() -> Self {
        let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
        let limits = Limits {
            max_paths: 500,
            max_series: 5000,
            buckets,
            exemplars: false,
            slos: Slos::default(),
        };
        let store = Store::new(limits, Namer::default());
        Self { shard: Shard::new(Arc::clone(&store)), store }
    }

    fn ask(&self, paths: &[&str]) {
        for path in paths {
            serve(&self.shard, path, 200);
        }
    }

    fn scrape(&self) -> Vec<String> {
        self.store.snapshot();
        let listed = self.store.list_paths();
        let learned = listed.iter().filter(|path| path.kind == PathKind::Learned);
        learned.map(|path| path.template.to_string()).collect()
    }

    /// The label of a path that is asked for now.
    fn label(&self, path: &str, status: u16) -> String {
        let route = serve(&self.shard, path, status);
        self.store.snapshot();
        self.shard.route_name(&route).to_string()
    }
}

/// Different words that no vocabulary has.
fn words(count: u32) -> Vec<String> {
    let word = |number: u32| {
        let syllables = ["ba", "ke", "li", "mo", "ru", "ta", "ne", "si", "do", "fu"];
        let digits = [number / 100 % 10, number / 10 % 10, number % 10].map(|d| d as usize);
        digits.map(|digit| syllables[digit]).concat() + "sta"
    };
    (0..count).map(word).collect()
}

#[test]
fn a_language_in_front_is_a_value() {
    let site = Site::new();
    site.ask(&["/de/hotels", "/fr/hotels", "/en-GB/hotels", "/pt_BR/hotels", "/zh-hans/hotels"]);
    // May be a word, but not beside languages.
    site.ask(&["/no/hotels", "/hr/hotels"]);
    assert_eq!(site.scrape(), ["/{id}/hotels"]);
    let site = Site::new();
    site.ask(&["/js/x", "/my/account", "/to-do/list", "/no/problem"]);
    assert_eq!(site.scrape(), ["/js/x", "/my/account", "/no/problem", "/to-do/list"]);
}

#[test]
fn not_all_that_ends_in_s_is_a_plural() {
    for place in ["js", "apis", "settings", "stats", "docs", "assets", "news", "status", "access"] {
        let site = Site::new();
        let paths: Vec<_> = words(6).iter().map(|word| format!("/{place}/{word}")).collect();
        site.ask(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(site.scrape(), paths, "{place}");
    }
}

#[test]
fn common_words_at_the_root_are_names_whenever_they_come() {
    let own = ["/search", "/account"];
    let paths: Vec<_> = words(40).iter().map(|word| format!("/{word}")).collect();
    let others: Vec<_> = paths.iter().map(String::as_str).collect();
    for turn in [[&own[..], &others[..]], [&others[..], &own[..]]] {
        let site = Site::new();
        for paths in turn {
            site.ask(paths);
            site.scrape();
        }
        assert_eq!(site.scrape(), ["/account", "/search", "/{id}"]);
    }
}

#[test]
fn a_fold_keeps_extensions_apart() {
    let site = Site::new();
    site.ask(&["/search.php"]);
    for word in words(30) {
        site.ask(&[&format!("/{word}.html")]);
    }
    assert_eq!(site.scrape(), ["/search.php", "/{id}.html"]);
    for turn in [false, true] {
        let site = Site::new();
        let hashed = || site.ask(&["/app.3f2a91cd.js"]);
        if turn {
            hashed();
        }
        for word in words(23) {
            site.ask(&[&format!("/{word}")]);
        }
        hashed();
        assert_eq!(site.scrape(), ["/{id}", "/{id}.js"]);
    }
}

#[test]
fn a_store_of_files_of_any_kind_has_one_label() {
    let site = Site::new();
    for (word, extension) in words(40).iter().zip([".pdf", ".csv", ".docx", ".zip"].iter().cycle())
    {
        site.ask(&[&format!("/documents/{word}{extension}")]);
    }
    site.ask(&["/documents/20261122.xlsx"]);
    assert_eq!(site.scrape(), ["/documents/{id}"]);
}

#[test]
fn static_files_have_a_label_for_each_folder_and_kind() {
    let site = Site::new();
    for word in words(111) {
        for file in ["css/W.css", "js/W.min.js", "img/icons/W.png"] {
            site.ask(&[&format!("/assets/{}", file.replace('W', &word))]);
        }
    }
    site.ask(&["/favicon.ico", "/api/users/42/avatar.png", "/checkout"]);
    let labels = [
        "/api/users/{id}/avatar.png",
        "/assets/css/{*rest}.css",
        "/assets/img/{*rest}.{ext}",
        "/assets/js/{*rest}.js",
        "/checkout",
        "/favicon.ico",
    ];
    assert_eq!(site.scrape(), labels);
}

#[test]
fn operations_at_one_place_are_names() {
    let site = Site::new();
    let operation = |word: &String| format!("/api/{word}.postZettel");
    let mut paths: Vec<_> = words(50).iter().map(operation).collect();
    paths.sort_unstable();
    for path in paths.iter().chain(&paths).chain(&paths) {
        site.ask(&[path]);
    }
    assert_eq!(site.scrape(), paths);
    let site = Site::new();
    for word in words(40) {
        site.ask(&[&format!("/{word}")]);
    }
    for path in ["/-/liveness", "/_cat/indices", "/users/@me", "/_search"] {
        assert_eq!(site.label(path, 200), path);
    }
}

#[test]
fn an_answer_says_whether_there_is_such_a_path() {
    let site = Site::new();
    assert_eq!(site.label("/frobnicate.css", 304), "/frobnicate.css");
    assert_eq!(site.label("/login", 303), "/login");
    let respelled = Answer { is_respelling: true, ..Answer::of_app(301) };
    for _ in 0..10 {
        let resolved = site.shard.resolve("/wp-login.php");
        assert_eq!(site.shard.settle(&resolved, respelled), named(RouteId::UNMATCHED));
    }
}

#[test]
fn what_is_not_there_does_not_count_under_a_word_that_stands_for_any() {
    let site = Site::new();
    for word in words(60) {
        site.ask(&[&format!("/{word}")]);
    }
    site.scrape();
    site.ask(&["/lorem/settings"]);
    for scanned in ["/phpinfo", "/zurkano", "/backup/settings"] {
        assert_eq!(site.label(scanned, 404), "_UNMATCHED", "{scanned}");
    }
    // One that was there, one that is there only in part, and one that is there now.
    let known = &words(1)[0];
    assert_eq!(site.label(&format!("/{known}"), 404), "/{id}");
    assert_eq!(site.label("/zurkano", 200), "/{id}");
    assert_eq!(site.label("/zurkano/settings", 404), "/{id}/settings");
}

#[test]
fn ten_requests_of_a_newcomer_leave_no_label_each() {
    let site = Site::new();
    for number in 1..=10 {
        site.ask(&[&format!("/items/item{number}")]);
        site.scrape();
    }
    assert_eq!(site.scrape(), ["/items/{id}"]);
}
