//! Traffic for an API whose templates are known: popular and rare ones, realistic values, noise.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

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

    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn text(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
    }
}

/// Ranks drawn with Zipf's popularity: the first is `2^s` times as popular as the second.
struct Zipf(Vec<f64>);

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut add = |rank| {
            sum += f64::powf(rank as f64, -exponent);
            sum
        };
        Self((1..=ranks).map(&mut add).collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.share() * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

/// Values for each kind of parameter, in the order of their popularity.
pub(crate) struct Values {
    lists: HashMap<String, Vec<String>>,
    zipf: HashMap<usize, Zipf>,
}

const HEX: &str = "0123456789abcdef";
const BASE36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
const BASE62: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

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
        let lists = kinds.iter().map(|kind| ((*kind).to_owned(), read(kind))).collect();
        Self { lists, zipf: HashMap::new() }
    }

    /// How many different values an app has of a kind.
    fn population(kind: &str) -> usize {
        match kind {
            "name" => 200,
            "company" => 500,
            "slug" | "file" => 2000,
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
        match kind {
            "uuid" => [8, 4, 4, 4, 12].map(|n| own.text(HEX, n)).join("-"),
            "hex" => own.text(HEX, 40),
            "date" => format!("20{:02}-{:02}-{:02}", own.below(26), own.below(12) + 1, rank % 28),
            "email" => format!("{}@example.com", own.text(BASE36, 8)),
            "prefixed" => format!("res_{}", own.text(BASE62, 14)),
            "nano" => own.text(BASE62, 21),
            "token" => own.text(BASE62, 32),
            "arn" => format!("arn%3Aaws%3A{}", own.text(BASE36, 8)),
            _ => (rank * 37 + own.below(37)).to_string(),
        }
    }
}

/// One template of a table.
struct Endpoint {
    path: String,
    kinds: Vec<String>,
}

/// An API under traffic.
pub(crate) struct Api {
    pub(crate) name: String,
    endpoints: Vec<Endpoint>,
    popularity: Zipf,
}

/// One request: which template, or `None` for noise; its path and the app's answer.
pub(crate) struct Sent {
    pub(crate) template: Option<usize>,
    pub(crate) path: String,
    pub(crate) status: u16,
}

impl Api {
    /// Reads a table; which templates are popular depends on the seed.
    pub(crate) fn read(file: &Path, seed: u64) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let mut endpoints: Vec<Endpoint> = text
            .lines()
            .map(|line| {
                let mut cells = line.split('\t').skip(1);
                let path = cells.next().unwrap().to_owned();
                let kinds = cells.next().unwrap_or("");
                let kinds = kinds.split(',').filter(|k| !k.is_empty()).map(str::to_owned);
                Endpoint { path, kinds: kinds.collect() }
            })
            .collect();
        let mut random = Random(seed);
        for index in (1..endpoints.len()).rev() {
            endpoints.swap(index, random.below(index + 1));
        }
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let popularity = Zipf::new(endpoints.len(), 1.0);
        Self { name, endpoints, popularity }
    }

    pub(crate) fn templates(&self) -> usize {
        self.endpoints.len()
    }

    /// The next request. A catch-all app answers everything with 200.
    pub(crate) fn request(
        &self,
        values: &mut Values,
        random: &mut Random,
        noise: f64,
        catch_all: bool,
    ) -> Sent {
        if random.share() < noise {
            let path = scan(values, random);
            return Sent { template: None, path, status: if catch_all { 200 } else { 404 } };
        }
        let template = self.popularity.draw(random);
        let endpoint = &self.endpoints[template];
        let mut path = String::new();
        let mut pieces = endpoint.path.split("{}");
        path.push_str(pieces.next().unwrap());
        for (piece, kind) in pieces.zip(&endpoint.kinds) {
            path.push_str(&values.draw(kind, random));
            path.push_str(piece);
        }
        let status = if catch_all { 200 } else { answer(random) };
        Sent { template: Some(template), path, status }
    }
}

/// What apps answer on paths that exist.
fn answer(random: &mut Random) -> u16 {
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

/// What scanners ask for.
fn scan(values: &mut Values, random: &mut Random) -> String {
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
