//! The command line.

use std::path::{Path, PathBuf};

use redcar::paths::Rules;

/// What to run, from the command line.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) tables: PathBuf,
    pub(crate) sets: Vec<String>,
    pub(crate) requests: Vec<usize>,
    pub(crate) noise: f64,
    pub(crate) scrape_every: usize,
    pub(crate) catch_all: bool,
    pub(crate) max_paths: usize,
    pub(crate) rules: Rules,
    pub(crate) compare: bool,
    pub(crate) each: bool,
    pub(crate) only: Option<String>,
    pub(crate) labels: bool,
    /// What costs the most, for each API.
    pub(crate) why: bool,
    pub(crate) seed: u64,
    /// One line for each setting of the trade-off curve instead of the whole report.
    pub(crate) curve: bool,
    /// Processes that share the traffic, to measure their agreement; 0: not measured.
    pub(crate) replicas: usize,
    /// Fails if a mean of homogeneity or completeness is below.
    pub(crate) at_least: f64,
}

const USAGE: &str = "usage: cargo bench --bench paths -- [--tables DIR] [--sets choose,held,blind]
    [--requests N,N] [--noise SHARE] [--scrape-every N] [--catch-all] [--max-paths N]
    [--rule NAME=N]... [--compare] [--each] [--only API] [--labels] [--why] [--seed N]
    [--replicas N] [--curve] [--at-least PERCENT]";

impl Plan {
    /// Reads the arguments of the program.
    pub(crate) fn parse() -> Result<Self, String> {
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
            why: false,
            seed: 1,
            curve: false,
            replicas: 0,
            at_least: 0.0,
        };
        plan.set(std::env::args().skip(1))?;
        Ok(plan)
    }

    /// Sets what the flags say.
    pub(crate) fn set(
        &mut self,
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let plan = self;
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
                "--replicas" => plan.replicas = number(value()?)?,
                "--seed" => plan.seed = number(value()?)? as u64,
                "--rule" => set_rule(&mut plan.rules, &value()?)?,
                "--only" => plan.only = Some(value()?),
                "--catch-all" => plan.catch_all = true,
                "--compare" => plan.compare = true,
                "--each" => plan.each = true,
                "--curve" => plan.curve = true,
                "--why" => plan.why = true,
                "--labels" => plan.labels = true,
                // `cargo bench` says so.
                "--bench" => {}
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(())
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
        "kept_hits" => &mut rules.kept_hits,
        "store_extensions" => &mut rules.store_extensions,
        "fold_codes" => &mut rules.fold_codes,
        "fold_identifiers" => &mut rules.fold_identifiers,
        "new_percent" => &mut rules.new_percent,
        "once_percent" => &mut rules.once_percent,
        "named_hits" => &mut rules.named_hits,
        "max_children" => &mut rules.max_children,
        _ => return Err(format!("no such rule: {name}")),
    } = number;
    Ok(())
}
