//! Whether replicas of one service call a path the same.

use std::collections::{BTreeMap, HashMap};

use redcar::metrics::Settled;

use super::plan::Plan;
use super::traffic::{Random, Sent};
use super::{PathMode, Redcar};

/// A process, and its requests since its last scrape.
struct Replica {
    /// Counts processes; one that replaces another has a number of its own.
    number: usize,
    redcar: Redcar,
    waiting: Vec<(usize, Settled)>,
}

impl Replica {
    fn new(plan: &Plan, number: usize) -> Self {
        Self { number, redcar: Redcar::new(plan, PathMode::Learn), waiting: Vec::new() }
    }

    /// Is scraped: what waited has labels now.
    fn scrape(&mut self, labels: &mut [(usize, String)]) {
        self.redcar.store.snapshot();
        for (index, route) in self.waiting.drain(..) {
            let label = self.redcar.shard.route_name(&route).to_string();
            labels[index] = (self.number, label);
        }
    }
}

/// The share of requests whose label is the one that most processes give to that path, in percent.
///
/// The requests are split at random over the replicas, which are scraped one after the other;
/// in the middle each is replaced by one that has seen nothing.
pub(crate) fn agreement(plan: &Plan, requests: &[Sent]) -> f64 {
    let count = plan.replicas;
    let mut replicas: Vec<_> = (0..count).map(|number| Replica::new(plan, number)).collect();
    let mut random = Random(plan.seed);
    let mut labels = vec![(0, String::new()); requests.len()];
    for (index, sent) in requests.iter().enumerate() {
        let replica = &mut replicas[random.below(count)];
        let route = replica.redcar.serve(sent);
        replica.waiting.push((index, route));
        for (turn, replica) in replicas.iter_mut().enumerate() {
            let shifted = index + turn * plan.scrape_every / count;
            if shifted % plan.scrape_every == plan.scrape_every - 1 {
                replica.scrape(&mut labels);
            }
            // A rollout of a twentieth of the whole time.
            if index == requests.len() / 2 + turn * requests.len() / 20 / count {
                replica.scrape(&mut labels);
                *replica = Replica::new(plan, count + turn);
            }
        }
    }
    for replica in &mut replicas {
        replica.scrape(&mut labels);
    }
    share_of_the_most(plan, requests, &labels)
}

fn share_of_the_most(plan: &Plan, requests: &[Sent], labels: &[(usize, String)]) -> f64 {
    let mut votes: HashMap<&str, HashMap<usize, &str>> = HashMap::new();
    let of_clients = || requests.iter().zip(labels).filter(|(sent, _)| sent.template().is_some());
    for (sent, (process, label)) in of_clients() {
        let votes = votes.entry(&sent.path).or_default();
        // Before a process has named a path, it has not voted.
        if !label.starts_with('_') {
            votes.insert(*process, label);
        }
    }
    let most = |votes: &HashMap<usize, &str>| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for label in votes.values() {
            *counts.entry(label).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(label, count)| (*count, label.len()));
        most.map(|(label, _)| label.to_owned())
    };
    let most: HashMap<&str, Option<String>> =
        votes.iter().map(|(path, votes)| (*path, most(votes))).collect();
    // What nobody has named is called the same by all.
    let agrees = |(sent, (_, label)): &(&Sent, &(usize, String))| {
        let most = most.get(&*sent.path).and_then(Option::as_deref);
        most.is_none_or(|most| most == label)
    };
    if plan.why {
        let mut lost: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (sent, (_, label)) in of_clients().filter(|pair| !agrees(pair)) {
            let expected = most.get(&*sent.path).and_then(Option::as_deref).unwrap_or("nothing");
            *lost.entry((expected, label)).or_default() += 1;
        }
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_by_key(|(_, count)| usize::MAX - count);
        for ((expected, label), count) in lost.into_iter().take(8) {
            println!("  {count} requests are {label}, but mostly {expected}");
        }
    }
    let (all, same) = (of_clients().count(), of_clients().filter(agrees).count());
    same as f64 * 100.0 / all.max(1) as f64
}
