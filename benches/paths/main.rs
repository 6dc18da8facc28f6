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

use std::path::{Path, PathBuf};

use redcar::metrics::{
    Answer, Buckets, Key, Limits, MethodId, Resolved, Settled, Shard, Slos, Store,
};
use redcar::paths::{Name, Namer, PathMode, is_respelling};

use self::plan::Plan;
use self::score::{Score, Tally};
use self::traffic::{Api, Random, Sent};
use self::values::Values;
use self::ways::{Digits, Direction, Raw, Trie};

mod curve;
mod plan;
mod replicas;
mod score;
mod traffic;
mod values;
mod ways;

/// Names traffic as the proxy does.
struct Redcar {
    shard: Shard,
    store: std::sync::Arc<Store>,
}

impl Redcar {
    fn new(plan: &Plan, mode: PathMode) -> Self {
        let buckets = Buckets::new(&Buckets::REQUEST).unwrap();
        let (max_paths, max_series) = (plan.max_paths, 100_000);
        let limits =
            Limits { max_paths, max_series, buckets, exemplars: false, slos: Slos::default() };
        let namer = Namer::default().with_mode(mode).with_rules(plan.rules);
        let store = Store::new(limits, namer);
        Self { shard: Shard::new(std::sync::Arc::clone(&store)), store }
    }

    fn serve(&self, sent: &Sent) -> Settled {
        let resolved: Resolved = self.shard.resolve(&sent.path);
        let location = sent.location.as_deref();
        let is_respelling = location.is_some_and(|to| is_respelling(&sent.path, to));
        let answer = Answer { is_respelling, ..Answer::of_app(sent.status) };
        let route = self.shard.settle(&resolved, answer);
        let key = Key {
            route,
            method: MethodId::OTHER,
            status: sent.status,
            error: None,
            grpc: None,
            wire: None,
        };
        self.shard.with_row(&key, |row, buckets| row.durations.record(buckets, 1000));
        key.route
    }

    /// Serves all requests, and tallies each under the label that it ended up with.
    fn run(&self, plan: &Plan, api: &Api, requests: &[Sent]) -> Score {
        let mut tally = Tally::default();
        for interval in requests.chunks(plan.scrape_every) {
            let routes: Vec<_> = interval.iter().map(|sent| self.serve(sent)).collect();
            self.store.snapshot();
            for (sent, route) in interval.iter().zip(routes) {
                tally.add(sent, &self.shard.route_name(&route));
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
        if plan.why {
            println!("{}", api.name);
            tally.explain(|number| api.template(number));
        }
        tally.score()
    }
}

/// Names traffic another way; where the way has no gate, so has the tally.
fn run_way(way: &mut dyn Direction, gated: bool, detect: bool, requests: &[Sent]) -> Score {
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
        for count in &plan.requests {
            if plan.curve {
                curve::print(&plan, set, &mut values, *count);
            } else {
                report(&plan, set, &mut values, *count);
            }
        }
    }
}

/// The tables of a set.
fn tables(plan: &Plan, set: &str) -> Vec<PathBuf> {
    // Those of web applications were written for this, the others are fetched.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/paths");
    let directory = if set.starts_with("web/") { own.join(set) } else { plan.tables.join(set) };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort_unstable();
    let is_chosen = |f: &PathBuf| {
        plan.only.as_ref().is_none_or(|only| f.file_stem().unwrap().to_str() == Some(only))
    };
    files.retain(is_chosen);
    files
}

/// The scores of one way of naming, one for each API.
type Scores = Vec<(String, Score)>;

/// Runs every way on every API of a set.
fn evaluate(
    plan: &Plan,
    set: &str,
    values: &mut Values,
    count: usize,
) -> Vec<(&'static str, Scores)> {
    let mut scores: Vec<(&str, Scores)> = Vec::new();
    for (index, file) in tables(plan, set).iter().enumerate() {
        let api = Api::read(file, plan.seed + index as u64);
        let mut random = Random(plan.seed * 1000 + index as u64);
        let requests: Vec<_> = (0..count)
            .map(|_| api.request(values, &mut random, plan.noise, plan.catch_all))
            .collect();
        let mut learned = Redcar::new(plan, PathMode::Learn).run(plan, &api, &requests);
        if plan.replicas > 0 {
            learned.agreement = replicas::agreement(plan, &requests);
        }
        if plan.each {
            println!("{}  {} ({} templates)", learned, api.name, api.templates());
        }
        let mut ways = vec![("redcar", learned)];
        if plan.compare {
            ways.push(("raw path", run_way(&mut Raw, false, false, &requests)));
            ways.push(("segments with digits", run_way(&mut Digits, false, false, &requests)));
            ways.push(("fold at 10", run_way(&mut Trie::new(10), false, true, &requests)));
            let merge = run_way(&mut Trie::new(100), true, true, &requests);
            ways.push(("merge at 100, 404 gate", merge));
        }
        for (name, score) in ways {
            match scores.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => list.push((api.name.clone(), score)),
                None => scores.push((name, vec![(api.name.clone(), score)])),
            }
        }
    }
    scores
}

/// Evaluates a set and prints what came out.
fn report(plan: &Plan, set: &str, values: &mut Values, count: usize) {
    println!(
        "{set}: {count} requests each, {:.0} % noise, a scrape every {}{}",
        plan.noise * 100.0,
        plan.scrape_every,
        if plan.catch_all { ", an app that answers 200 to everything" } else { "" }
    );
    println!("{}", Score::HEADER);
    let scores = evaluate(plan, set, values, count);
    for (name, named) in &scores {
        let list: Vec<_> = named.iter().map(|(_, score)| *score).collect();
        println!("{}  {name}, mean of {} APIs", Score::mean(&list), list.len());
        if list.len() > 1 {
            println!("{}  {name}, one in ten is worse", Score::tail(&list, 10));
            println!("{}  {name}, worst", Score::tail(&list, usize::MAX));
            let vendors = score::by_vendor(named);
            println!("{}  {name}, mean of {} vendors", Score::mean(&vendors), vendors.len());
        }
        if *name == "redcar" {
            let reach = |h, c| list.iter().filter(|score| score.reaches(h, c)).count();
            println!("{} APIs reach 90/90, {} 95/97", reach(90.0, 90.0), reach(95.0, 97.0));
        }
    }
    println!();
    let learned: Vec<_> = scores.iter().take(1).flat_map(|(_, list)| list).collect();
    let learned: Vec<_> = learned.iter().map(|(_, score)| *score).collect();
    assert!(
        Score::mean(&learned).is_at_least(plan.at_least),
        "below {} %, or a path changed its label",
        plan.at_least
    );
}
