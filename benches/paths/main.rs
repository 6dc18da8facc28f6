//! How well paths are named, measured on real API descriptions.
//!
//!     benches/paths/run                     fetches the descriptions, then runs this
//!     cargo bench --bench paths -- --help
//!
//! Drives the library's own `Store` and `Shard` as the data plane does: the path is resolved when
//! a request begins and settled when it ends; every so many requests there is a scrape.
#![expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a program that prints tables")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a run that cannot go on ends")]
#![expect(clippy::iter_over_hash_type, reason = "maxima do not depend on the order")]
#![expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#![expect(clippy::cast_precision_loss, reason = "shares of counts")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use redcar::buckets::Buckets;
use redcar::labels::MethodId;
use redcar::paths::{Name, Namer, PathMode, Rules};
use redcar::series::{Key, Limits, Resolved, RouteId, Shard, Store};

use self::score::{Score, Tally};
use self::traffic::{Api, Random, Sent, Values};
use self::ways::{Digits, Raw, Trie, Way};

mod score;
mod traffic;
mod ways;

/// What to run, from the command line.
struct Plan {
    tables: PathBuf,
    sets: Vec<String>,
    requests: Vec<usize>,
    noise: f64,
    scrape_every: usize,
    catch_all: bool,
    max_paths: usize,
    rules: Rules,
    compare: bool,
    each: bool,
    only: Option<String>,
    labels: bool,
    seed: u64,
    /// Fails if a mean of homogeneity or completeness is below.
    at_least: f64,
}

const USAGE: &str = "usage: cargo bench --bench paths -- [--tables DIR] [--sets choose,held]
    [--requests N,N] [--noise SHARE] [--scrape-every N] [--catch-all] [--max-paths N]
    [--rule NAME=N]... [--compare] [--each] [--only API] [--labels] [--seed N]
    [--at-least PERCENT]";

impl Plan {
    fn parse() -> Result<Self, String> {
        let mut plan = Self {
            tables: Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/paths/small"),
            sets: vec!["held".to_owned()],
            requests: vec![20_000],
            noise: 0.05,
            scrape_every: 1500,
            catch_all: false,
            max_paths: 500,
            rules: Rules::default(),
            compare: false,
            each: false,
            only: None,
            labels: false,
            seed: 1,
            at_least: 0.0,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
            let number = |text: String| text.parse::<usize>().map_err(|_| USAGE.to_owned());
            match flag.as_str() {
                "--tables" => plan.tables = value()?.into(),
                "--sets" => plan.sets = value()?.split(',').map(str::to_owned).collect(),
                "--requests" => {
                    let list = value()?;
                    let list = list.split(',').map(|n| number(n.to_owned()));
                    plan.requests = list.collect::<Result<_, _>>()?;
                }
                "--noise" => plan.noise = value()?.parse().map_err(|_| USAGE.to_owned())?,
                "--scrape-every" => plan.scrape_every = number(value()?)?,
                "--max-paths" => plan.max_paths = number(value()?)?,
                "--at-least" => plan.at_least = value()?.parse().map_err(|_| USAGE.to_owned())?,
                "--seed" => plan.seed = number(value()?)? as u64,
                "--rule" => set_rule(&mut plan.rules, &value()?)?,
                "--only" => plan.only = Some(value()?),
                "--catch-all" => plan.catch_all = true,
                "--compare" => plan.compare = true,
                "--each" => plan.each = true,
                "--labels" => plan.labels = true,
                // `cargo bench` says so.
                "--bench" => {}
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(plan)
    }
}

fn set_rule(rules: &mut Rules, text: &str) -> Result<(), String> {
    let (name, number) = text.split_once('=').ok_or(USAGE)?;
    let number: u32 = number.parse().map_err(|_| USAGE)?;
    *match name {
        "free_words" => &mut rules.free_words,
        "free_words_below_collection" => &mut rules.free_words_below_collection,
        "fold_words" => &mut rules.fold_words,
        "fold_words_below_collection" => &mut rules.fold_words_below_collection,
        "once_percent" => &mut rules.once_percent,
        "named_hits" => &mut rules.named_hits,
        "max_children" => &mut rules.max_children,
        _ => return Err(format!("no such rule: {name}")),
    } = number;
    Ok(())
}

/// Names traffic as the proxy does.
struct Redcar {
    shard: Shard,
    store: std::sync::Arc<Store>,
}

impl Redcar {
    fn new(plan: &Plan, mode: PathMode) -> Self {
        let buckets = Buckets::new(&Buckets::REQUEST).unwrap();
        let (max_paths, max_series) = (plan.max_paths, 100_000);
        let limits = Limits { max_paths, max_series, buckets, exemplars: false };
        let namer = Namer::default().with_mode(mode).with_rules(plan.rules);
        let store = Store::new(limits, namer);
        Self { shard: Shard::new(std::sync::Arc::clone(&store)), store }
    }

    fn serve(&self, sent: &Sent) -> RouteId {
        let resolved: Resolved = self.shard.resolve(&sent.path);
        let route = self.shard.settle(&resolved, sent.status, true);
        let key =
            Key { route, method: MethodId::OTHER, status: sent.status, error: None, grpc: None };
        self.shard.with_row(key, |row, buckets| row.durations.record(buckets, 1000));
        route
    }

    /// Serves all requests, and tallies each under the label that it ended up with.
    fn run(&self, plan: &Plan, requests: &[Sent]) -> Score {
        let mut tally = Tally::default();
        for interval in requests.chunks(plan.scrape_every) {
            let routes: Vec<_> = interval.iter().map(|sent| self.serve(sent)).collect();
            self.store.snapshot();
            let mut names = HashMap::new();
            for (sent, route) in interval.iter().zip(routes) {
                let name = names.entry(route).or_insert_with(|| self.shard.route_name(route));
                tally.add(sent, name);
            }
        }
        if plan.labels {
            for listed in self.store.list_paths() {
                println!(
                    "{:8} {:?} {:?} {}",
                    listed.hits, listed.kind, listed.state, listed.template
                );
            }
        }
        tally.score()
    }
}

/// Names traffic another way; where the way has no gate, so has the tally.
fn run_way(way: &mut dyn Way, gated: bool, detect: bool, requests: &[Sent]) -> Score {
    let mut tally = Tally::default();
    let (namer, mut scratch) = (Namer::default(), String::new());
    for sent in requests {
        if gated && sent.status == 404 {
            tally.add(sent, "_UNMATCHED");
            continue;
        }
        let path = if detect {
            match namer.name(&sent.path, &mut scratch) {
                Name::Detected(name) => name,
                Name::Pinned(_) => unreachable!("nothing is pinned"),
            }
        } else {
            &sent.path
        };
        tally.add(sent, &way.name(path));
    }
    tally.score()
}

fn main() {
    let plan = match Plan::parse() {
        Ok(plan) => plan,
        Err(text) => {
            println!("{text}");
            std::process::exit(2);
        }
    };
    let mut values = Values::read(&plan.tables);
    for set in &plan.sets {
        let mut files: Vec<PathBuf> = std::fs::read_dir(plan.tables.join(set))
            .unwrap_or_else(|e| panic!("{}/{set}: {e}", plan.tables.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort_unstable();
        let is_chosen = |f: &PathBuf| {
            plan.only.as_ref().is_none_or(|only| f.file_stem().unwrap().to_str() == Some(only))
        };
        files.retain(is_chosen);
        for count in &plan.requests {
            evaluate(&plan, set, &files, &mut values, *count);
        }
    }
}

/// Runs every way on every API of a set, and prints the means.
fn evaluate(plan: &Plan, set: &str, files: &[PathBuf], values: &mut Values, count: usize) {
    println!(
        "{set}: {} APIs, {count} requests each, {:.0} % noise, a scrape every {}{}",
        files.len(),
        plan.noise * 100.0,
        plan.scrape_every,
        if plan.catch_all { ", an app that answers 200 to everything" } else { "" }
    );
    println!("{}", Score::HEADER);
    let mut scores: Vec<(&str, Vec<Score>)> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let api = Api::read(file, plan.seed + index as u64);
        let mut random = Random(plan.seed * 1000 + index as u64);
        let requests: Vec<_> = (0..count)
            .map(|_| api.request(values, &mut random, plan.noise, plan.catch_all))
            .collect();
        let learned = Redcar::new(plan, PathMode::Learn).run(plan, &requests);
        if plan.each {
            println!("{}  {} ({} templates)", learned, api.name, api.templates());
        }
        let mut ways = vec![("redcar", learned)];
        if plan.compare {
            ways.push(("raw path", run_way(&mut Raw, false, false, &requests)));
            ways.push(("segments with digits", run_way(&mut Digits, false, false, &requests)));
            ways.push(("fold at 10", run_way(&mut Trie::new(10), false, true, &requests)));
            ways.push((
                "merge at 100, 404 gate",
                run_way(&mut Trie::new(100), true, true, &requests),
            ));
        }
        for (name, score) in ways {
            match scores.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => list.push(score),
                None => scores.push((name, vec![score])),
            }
        }
    }
    for (name, list) in &scores {
        println!("{}  {name}, mean", Score::mean(list));
        if list.len() > 1 {
            println!("{}  {name}, worst", Score::worst(list));
        }
    }
    println!();
    let learned = scores.first().map(|(_, list)| Score::mean(list));
    assert!(
        learned.is_some_and(|score| score.is_at_least(plan.at_least)),
        "below {} %, or a path changed its label",
        plan.at_least
    );
}
