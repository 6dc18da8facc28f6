//! Traffic for an app whose templates are known: popular and rare ones, realistic values, noise.

use std::fs;
use std::path::Path;

use crate::values::Values;

/// A small generator of random numbers (`splitmix64`), so that a run can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn text(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
    }
}

/// Ranks drawn with Zipf's popularity: the first is `2^s` times as popular as the second.
pub(crate) struct Zipf(Vec<f64>);

impl Zipf {
    pub(crate) fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut add = |rank| {
            sum += f64::powf(rank as f64, -exponent);
            sum
        };
        Self((1..=ranks).map(&mut add).collect())
    }

    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let at = random.share() * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

/// How an endpoint is used, which decides what it is answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// By programs.
    Api,
    /// By a browser: a page, a file, a form.
    Page,
    File,
    Form,
}

/// One template of a table.
struct Endpoint {
    /// The texts around the values.
    pieces: Vec<String>,
    kinds: Vec<String>,
    used: Use,
}

impl Endpoint {
    /// A line of an API's table: method, template with `{}`, kinds.
    fn of_api(line: &str) -> Self {
        let mut cells = line.split('\t').skip(1);
        let pieces = cells.next().unwrap().split("{}").map(str::to_owned).collect();
        let kinds = cells.next().unwrap_or("");
        let kinds = kinds.split(',').filter(|k| !k.is_empty()).map(str::to_owned);
        Self { pieces, kinds: kinds.collect(), used: Use::Api }
    }

    /// A line of a web application's table: method, and a template with the kinds in it.
    fn of_web(line: &str) -> Self {
        let (method, template) = line.split_once(' ').unwrap();
        let (mut pieces, mut kinds) = (vec![String::new()], Vec::new());
        for part in template.split_inclusive(['{', '}']) {
            if let Some(kind) = part.strip_suffix('}') {
                kinds.push(kind.to_owned());
                pieces.push(String::new());
            } else {
                let text = part.strip_suffix('{').unwrap_or(part);
                pieces.last_mut().unwrap().push_str(text);
            }
        }
        let files =
            ["css", "js", "png", "jpg", "svg", "ico", "woff2", "img", "font", "asset", "webp"];
        let end = template.trim_end_matches('}').rsplit(['.', '{', '/']).next().unwrap();
        let used = match method {
            "GET" if files.contains(&end) => Use::File,
            "GET" if !template.contains("/api/") => Use::Page,
            "POST" if !template.contains("/api/") => Use::Form,
            _ => Use::Api,
        };
        Self { pieces, kinds, used }
    }
}

/// An app under traffic.
pub(crate) struct Api {
    pub(crate) name: String,
    endpoints: Vec<Endpoint>,
    popularity: Zipf,
    is_web: bool,
}

/// Whose request it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The request of a client for the template of this number.
    Client(usize),
    /// Somebody who spells an address in another way and is redirected.
    Misspeller,
    /// Somebody who looks for holes.
    Scanner,
}

/// One request, and the app's answer.
pub(crate) struct Sent {
    pub(crate) sender: Sender,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Where the answer leads to, if it is a redirect.
    pub(crate) location: Option<String>,
}

impl Sent {
    pub(crate) fn template(&self) -> Option<usize> {
        match self.sender {
            Sender::Client(template) => Some(template),
            Sender::Misspeller | Sender::Scanner => None,
        }
    }
}

impl Api {
    /// Reads a table; which templates are popular depends on the seed.
    pub(crate) fn read(file: &Path, seed: u64) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let is_web = file.extension().is_some_and(|extension| extension == "txt");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut endpoints: Vec<Endpoint> =
            lines.map(if is_web { Endpoint::of_web } else { Endpoint::of_api }).collect();
        if is_web {
            // A template has one name, whatever the method.
            let mut known = std::collections::HashSet::new();
            endpoints.retain(|e| known.insert((e.pieces.clone(), e.kinds.clone())));
        }
        let mut random = Random(seed);
        for index in (1..endpoints.len()).rev() {
            endpoints.swap(index, random.below(index + 1));
        }
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let popularity = Zipf::new(endpoints.len(), 1.0);
        Self { name, endpoints, popularity, is_web }
    }

    pub(crate) fn templates(&self) -> usize {
        self.endpoints.len()
    }

    /// A template as it is written, with the kinds of its values.
    pub(crate) fn template(&self, number: usize) -> String {
        let Endpoint { pieces, kinds, .. } = &self.endpoints[number];
        let kinds = kinds.iter().map(|kind| format!("{{{kind}}}")).chain([String::new()]);
        pieces.iter().zip(kinds).flat_map(|(piece, kind)| [piece.clone(), kind]).collect()
    }

    /// The next request. A catch-all app answers everything with 200.
    pub(crate) fn request(
        &self,
        values: &mut Values,
        random: &mut Random,
        noise: f64,
        catch_all: bool,
    ) -> Sent {
        let (sender, path, mut answer);
        if random.share() < noise {
            sender = Sender::Scanner;
            path = scan(values, random);
            // A site redirects those who come without TLS before it looks at what they want.
            let redirects = self.is_web && random.below(5) == 0;
            let location = redirects.then(|| format!("https://www.example.com{path}"));
            answer = (if redirects { 301 } else { 404 }, location);
        } else {
            let template = self.popularity.draw(random);
            let endpoint = &self.endpoints[template];
            path = endpoint.path(values, random);
            answer = match endpoint.used {
                Use::Api => (of_api(random), None),
                Use::Page => of_page(random),
                Use::File => (of_file(random), None),
                Use::Form => of_form(random),
            };
            if endpoint.used == Use::Page && path.len() > 1 && random.below(60) == 0 {
                let other = match path.strip_suffix('/') {
                    Some(bare) => bare.to_owned(),
                    None => format!("{path}/"),
                };
                let location = Some(path);
                let status = if catch_all { 200 } else { 301 };
                return Sent { sender: Sender::Misspeller, path: other, status, location };
            }
            sender = Sender::Client(template);
        }
        if catch_all {
            answer = (200, None);
        }
        let (status, location) = answer;
        Sent { sender, path, status, location }
    }
}

impl Endpoint {
    fn path(&self, values: &mut Values, random: &mut Random) -> String {
        let mut pieces = self.pieces.iter();
        let mut path = pieces.next().unwrap().clone();
        for (piece, kind) in pieces.zip(&self.kinds) {
            path.push_str(&values.draw(kind, random));
            path.push_str(piece);
        }
        path
    }
}

/// What apps answer programs on paths that exist.
fn of_api(random: &mut Random) -> u16 {
    match random.below(200) {
        0..=2 => 304,
        3..=8 => 404,
        9..=11 => 401,
        12 | 13 => 403,
        14..=16 => 422,
        17 => 500,
        18 => 503,
        19..=30 => 201,
        31..=40 => 204,
        _ => 200,
    }
}

/// A page of a site: some are for those who are logged in.
fn of_page(random: &mut Random) -> (u16, Option<String>) {
    match random.below(200) {
        0..=11 => (304, None),
        12..=17 => (404, None),
        18 | 19 => (403, None),
        20..=25 => (302, Some("/login".to_owned())),
        26 => (500, None),
        27 => (503, None),
        _ => (200, None),
    }
}

/// A file that browsers keep and ask for again.
fn of_file(random: &mut Random) -> u16 {
    match random.below(100) {
        0..=39 => 304,
        40 => 404,
        _ => 200,
    }
}

/// What is answered to a form: see that page.
fn of_form(random: &mut Random) -> (u16, Option<String>) {
    match random.below(100) {
        0..=34 => (302, Some("/done".to_owned())),
        35..=54 => (303, Some("/done".to_owned())),
        55..=59 => (422, None),
        60 | 61 => (403, None),
        62 => (500, None),
        _ => (200, None),
    }
}

/// What scanners ask for.
fn scan(values: &Values, random: &mut Random) -> String {
    const WELL_KNOWN: [&str; 12] = [
        "/.env",
        "/wp-login.php",
        "/wp-admin/setup-config.php",
        "/.git/config",
        "/phpmyadmin/index.php",
        "/admin",
        "/administrator/index.php",
        "/xmlrpc.php",
        "/cgi-bin/test.cgi",
        "/backup.sql",
        "/config.json",
        "/server-status",
    ];
    if random.below(3) == 0 {
        return WELL_KNOWN[random.below(WELL_KNOWN.len())].to_owned();
    }
    let list = &values.lists["slug"];
    let mut path = String::new();
    for _ in 0..=random.below(3) {
        let slug = &list[random.below(list.len())];
        path.push('/');
        path.push_str(slug.split('-').nth(random.below(2)).unwrap_or(slug));
    }
    path + ["", ".php", ".bak", ".asp", ".zip", "/"][random.below(6)]
}
