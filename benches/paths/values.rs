//! Values of parameters: what people, shops and programs put into paths.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::traffic::{Random, Zipf};

/// Values for each kind of parameter, in the order of their popularity.
pub(crate) struct Values {
    pub(crate) lists: HashMap<String, Vec<String>>,
    zipf: HashMap<usize, Zipf>,
}

const HEX: &str = "0123456789abcdef";
const BASE36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
const BASE62: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const BASE64: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Kinds whose values are few and known.
const ENUMERATIONS: [(&str, &str); 21] = [
    ("locale", "en de fr es it nl pl pt-br ja zh-cn"),
    ("lang", "en de fr es it nl"),
    ("locale_REGION", "en-US de fr-FR es ja zh-CN pt-BR ko ru en-GB de_DE it_IT"),
    ("region", "gb de us fr at ch es it nl se pl au"),
    (
        "country",
        "germany france italy spain greece portugal croatia turkey japan thailand usa mexico",
    ),
    (
        "city",
        "berlin paris london rome madrid vienna prague lisbon amsterdam new-york barcelona tokyo \
         munich hamburg cologne dublin oslo stockholm copenhagen helsinki warsaw krakow budapest \
         athens istanbul dubai bangkok singapore sydney melbourne san-francisco los-angeles chicago \
         boston miami toronto vancouver montreal rio-de-janeiro buenos-aires lima bogota cairo \
         marrakesh cape-town nairobi mumbai delhi seoul osaka kyoto hong-kong taipei hanoi bali \
         venice florence naples palermo porto seville valencia nice lyon marseille bordeaux zurich \
         geneva basel salzburg graz",
    ),
    ("airport", "BER FRA MUC LHR CDG AMS JFK SFO MAD FCO ZRH VIE ARN OSL CPH DUB IST DXB SIN HND"),
    (
        "section",
        "world politics business technology science health sports arts style food travel opinion",
    ),
    (
        "section2",
        "europe asia africa economy media energy space climate movies books music theater",
    ),
    ("provider", "github google slack okta azure-ad saml"),
    ("course", "breakfast lunch dinner dessert appetizer salad soup side-dish drinks snacks"),
    ("docversion", "v1.0 v1.1 v2.0 2.1 2.2 3.0.1 v3.1.0 v3.2.0 dev"),
    ("mod", "forum quiz assign resource page url folder book label glossary wiki lesson"),
    ("app", "files photos mail deck notes tasks contacts theming activity text viewer"),
    ("folder", "Documents Photos Music Work Private Notes Shared Archive Templates Scans Receipts"),
    (
        "dir",
        "src lib docs tests include cmd internal pkg scripts examples api core server client guides reference",
    ),
    (
        "community",
        "pics askreddit rust gaming aww funny worldnews programming linux cooking diy movies",
    ),
    (
        "branch",
        "main master develop staging release-1.2 release-2.0 fix-login feature-search wip gh-pages",
    ),
    (
        "ext",
        "ps_emailsubscription blockreassurance ctools token pathauto webform gtranslate news_system \
         cookieman solr gridelements ps_banner markdown emoji mentions",
    ),
    ("http", "100 200 201 301 302 304 400 401 403 404 418 500 502 503"),
    (
        "header",
        "Accept Accept-Encoding Authorization Cache-Control Content-Type Cookie ETag Host Location \
         Origin Referer Set-Cookie User-Agent Vary X-Forwarded-For",
    ),
];

/// Identifiers of the web's platform.
const CLASSES: [&str; 24] = [
    "Array",
    "Map",
    "Set",
    "Promise",
    "Object",
    "String",
    "Date",
    "RegExp",
    "JSON",
    "Intl",
    "Proxy",
    "Window",
    "Document",
    "Element",
    "HTMLElement",
    "Fetch_API",
    "WebGL_API",
    "CanvasRenderingContext2D",
    "XMLHttpRequest",
    "EventTarget",
    "AbortController",
    "URLSearchParams",
    "IntersectionObserver",
    "Node",
];
const METHODS: [&str; 22] = [
    "map",
    "filter",
    "reduce",
    "forEach",
    "querySelector",
    "addEventListener",
    "getElementById",
    "then",
    "toString",
    "fromEntries",
    "hasOwn",
    "replaceAll",
    "innerHTML",
    "appendChild",
    "fetch",
    "setTimeout",
    "observe",
    "postMessage",
    "localStorage",
    "requestAnimationFrame",
    "includes",
    "slice",
];
const GERMAN: [&str; 40] = [
    "bundestag",
    "regierung",
    "wahl",
    "streit",
    "haushalt",
    "minister",
    "kritik",
    "reform",
    "wirtschaft",
    "inflation",
    "preise",
    "mieten",
    "bahn",
    "streik",
    "klima",
    "energie",
    "ukraine",
    "krieg",
    "gipfel",
    "verhandlungen",
    "warum",
    "wie",
    "so",
    "das",
    "der",
    "die",
    "im",
    "nach",
    "gegen",
    "und",
    "neue",
    "studie",
    "forscher",
    "entdecken",
    "trainer",
    "niederlage",
    "sieg",
    "bayern",
    "berlin",
    "urteil",
];

impl Values {
    /// Reads the lists that `fetch.py` made.
    pub(crate) fn read(directory: &Path) -> Self {
        let kinds = ["user", "company", "slug", "name", "file", "mail"];
        let read = |kind: &str| {
            let file = directory.join(format!("values-{kind}.txt"));
            let text = fs::read_to_string(&file)
                .unwrap_or_else(|e| panic!("{}: {e}; run benches/paths/fetch.py", file.display()));
            text.lines().map(str::to_owned).collect()
        };
        let mut lists: HashMap<String, Vec<String>> =
            kinds.iter().map(|kind| ((*kind).to_owned(), read(kind))).collect();
        for (kind, list) in ENUMERATIONS {
            lists.insert(kind.to_owned(), list.split_whitespace().map(str::to_owned).collect());
        }
        Self { lists, zipf: HashMap::new() }
    }

    /// How many different values an app has of a kind.
    fn population(kind: &str) -> usize {
        match kind {
            "small" | "ext" | "css" => 25,
            "font" | "team" | "branch" => 10,
            "js" => 60,
            "word" | "tag" | "csprop" => 150,
            "name" => 200,
            "asset" => 333,
            "company" | "title" | "domain" => 500,
            "repo" | "img" => 800,
            "slug" | "file" | "wort" | "snake" => 2000,
            _ if ENUMERATIONS.iter().any(|(own, _)| *own == kind) => {
                let list = ENUMERATIONS.iter().find(|(own, _)| *own == kind);
                list.map_or(1, |(_, list)| list.split_whitespace().count())
            }
            _ => 5000,
        }
    }

    /// One value; the same parameter has the same values in one API, popular ones first.
    pub(crate) fn draw(&mut self, kind: &str, random: &mut Random) -> String {
        if let Some(list) = kind.strip_prefix("enum:") {
            let list: Vec<_> = list.split('|').collect();
            return list[random.below(list.len())].to_owned();
        }
        let population = Self::population(kind);
        let zipf = self.zipf.entry(population).or_insert_with(|| Zipf::new(population, 0.9));
        let rank = zipf.draw(random);
        if let Some(list) = self.lists.get(kind) {
            return list[rank % list.len()].clone();
        }
        // A value that looks random, but is the same for the same rank.
        let mut own = Random(rank as u64 * 7919 + kind.len() as u64);
        own.next();
        let own = &mut own;
        match kind {
            "uuid" => [8, 4, 4, 4, 12].map(|n| own.text(HEX, n)).join("-"),
            "hex" => own.text(HEX, 40),
            "date" => format!("20{:02}-{:02}-{:02}", own.below(26), own.below(12) + 1, rank % 28),
            "email" => format!("{}@example.com", own.text(BASE36, 8)),
            "prefixed" => format!("res_{}", own.text(BASE62, 14)),
            "nano" => own.text(BASE62, 21),
            "token" => own.text(BASE62, 32),
            "arn" => format!("arn%3Aaws%3A{}", own.text(BASE36, 8)),
            _ => self.of_web_sites(kind, rank, own),
        }
    }

    /// Values of the tables in `web`.
    fn of_web_sites(&self, kind: &str, rank: usize, own: &mut Random) -> String {
        match kind {
            "small" => (rank + 1).to_string(),
            "year" => (2025 - rank % 12).to_string(),
            "month" => format!("{:02}", own.below(12) + 1),
            "day" => format!("{:02}", own.below(28) + 1),
            "d1" => own.below(10).to_string(),
            "d3" => format!("{:03}", own.below(1000)),
            "snow" => format!("11{}", own.text("0123456789", 16)),
            "letter" => own.text("abcdefghijklmnopqrstuvwxyz", 1),
            "hash" => own.text(HEX, 8),
            "hex2" => own.text(HEX, 2),
            "hex16" => own.text(HEX, 16),
            "hex24" => own.text(HEX, 24),
            "hex32" => own.text(HEX, 32),
            "hexword" => format!("1f{}", own.text(HEX, 3)),
            "b36" => own.text(BASE36, 6),
            "b62" => own.text(BASE62, 11),
            "id11" => own.text(BASE64, 11),
            "nano22" => own.text(BASE64, 22),
            "base64" => own.text(BASE62, 40),
            "ref" => own.text("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 6),
            "sku" => format!("{}-{}", own.text(CAPITALS, 2), own.text("0123456789", 4)),
            "ticket" => format!("ENG-{}", own.below(4000)),
            "team" => own.text(CAPITALS, 3),
            "ticker" => own.text(CAPITALS, 4),
            "flight" => format!("{}{}", own.text(CAPITALS, 2), own.text("0123456789", 3)),
            "semver" => format!("v{}.{}.{}", own.below(9), own.below(20), own.below(9)),
            "jsclass" => CLASSES[rank % CLASSES.len()].to_owned(),
            "jsmethod" => METHODS[rank % METHODS.len()].to_owned(),
            "wort" => {
                let count = own.below(5) + 2;
                let words: Vec<_> = (0..count).map(|_| GERMAN[own.below(GERMAN.len())]).collect();
                words.join("-")
            }
            "word" | "tag" | "csprop" | "title" | "dotted" | "domain" | "snake" | "repo" => {
                self.of_words(kind, rank, own)
            }
            "img" | "js" | "css" | "font" | "asset" => self.asset(kind, rank, own),
            _ => (rank * 37 + own.below(37)).to_string(),
        }
    }

    /// One word, the same for the same rank.
    fn word(&self, rank: usize) -> &str {
        let list = &self.lists["slug"];
        let slug = &list[(rank * 31 + 7) % list.len()];
        slug.split('-').nth(rank % 2).unwrap_or(slug)
    }

    fn of_words(&self, kind: &str, rank: usize, own: &mut Random) -> String {
        let count = match kind {
            "word" => 1,
            "tag" | "csprop" | "repo" => own.below(2) + 1,
            "snake" => own.below(5) + 3,
            _ => own.below(3) + 1,
        };
        let words: Vec<_> = (0..count).map(|n| self.word(rank * 7 + n)).collect();
        match kind {
            "title" => words.iter().map(|w| capital(w)).collect::<Vec<_>>().join("_"),
            "dotted" => words.iter().map(|w| capital(w)).collect::<Vec<_>>().join("."),
            "domain" => format!("{}.example", words.join("-")),
            "snake" => words.join("_"),
            _ => words.join("-"),
        }
    }

    /// The name of a static file, in a style that builds and editors use.
    fn asset(&self, kind: &str, rank: usize, own: &mut Random) -> String {
        let (word, hash) = (self.word(rank), own.text(HEX, 8));
        let pick = |own: &mut Random, list: &[&'static str]| list[own.below(list.len())];
        match kind {
            "css" => match own.below(3) {
                0 => format!("{word}.css"),
                1 => format!("{word}.min.css"),
                _ => format!("{word}.{hash}.css"),
            },
            "js" => match own.below(5) {
                0 => format!("{word}.js"),
                1 => format!("{word}.min.js"),
                2 => format!("{word}-{hash}.js"),
                3 => format!("{}.{hash}.js", own.below(900)),
                _ => format!("{word}-{}.js", self.word(rank + 1)),
            },
            "font" => {
                format!("{word}-{}.woff2", pick(own, &["regular", "bold", "italic", "variable"]))
            }
            "asset" => {
                let kind = pick(own, &["css", "js", "js", "img", "img", "img", "font"]);
                self.asset(kind, rank, own)
            }
            _ => {
                let extension = pick(own, &["jpg", "jpg", "png", "webp", "svg", "gif"]);
                match own.below(5) {
                    0 => format!("IMG_{}.{extension}", own.below(9000) + 1000),
                    1 => format!("{word}.{extension}"),
                    2 => format!(
                        "{word}-{}-{}.{extension}",
                        self.word(rank + 1),
                        self.word(rank + 2)
                    ),
                    3 => format!(
                        "{word}-{}x{}.{extension}",
                        own.below(900) + 100,
                        own.below(900) + 100
                    ),
                    _ => format!("{word}_{}.{extension}", self.word(rank + 3)),
                }
            }
        }
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}
