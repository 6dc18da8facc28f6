//! When others are asked, on a clock that stands still.

use std::cell::RefCell;

use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::metrics::buckets::Buckets;
use crate::metrics::slo::Slos;
use crate::metrics::store::{Answer, Limits, Resolved, Settled, Shard};
use crate::paths::{Namer, Rules, Since};

const MS: Duration = Duration::from_millis(1);

struct Replica {
    shard: Shard,
    begun: Instant,
    /// When others were asked, in milliseconds.
    asked: RefCell<Vec<u128>>,
}

impl Replica {
    fn serves(&self, path: &str) -> Settled {
        self.shard.settle(&self.shard.resolve(path), Answer::of_app(200))
    }

    fn knows(&self, path: &str) -> bool {
        matches!(self.shard.resolve(path), Resolved::Known(_))
    }
}

/// Runs `script` beside a replica whose source takes `slow` to say `names`.
fn run(
    slow: Duration,
    names: &NameSet,
    is_described: bool,
    script: impl AsyncFnOnce(&Replica, watch::Sender<bool>),
) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let buckets = Buckets::new(&Buckets::REQUEST).expect("bounds");
        let limits = Limits {
            max_paths: 100_000,
            max_series: 1000,
            buckets,
            exemplars: false,
            slos: Slos::default(),
        };
        // Nothing folds, so that there is no end of paths without a name.
        let store = Store::new(limits, Namer::default().with_rules(Rules::raw()));
        store.ask_for_names(true);
        let shard = Shard::new(Arc::clone(&store));
        let (begun, asked) = (Instant::now(), RefCell::default());
        let replica = Replica { shard, begun, asked };
        let (described, is_described) = watch::channel(is_described);
        let read = async || {
            replica.asked.borrow_mut().push(replica.begun.elapsed().as_millis());
            tokio::time::sleep(slow).await;
            names.clone()
        };
        tokio::select! {
            biased;
            () = keep_asking(&store, is_described, read) => {}
            () = script(&replica, described) => {}
        }
    });
}

fn set(names: &[&str]) -> NameSet {
    names.iter().map(|name| (name.parse().expect("a template"), Since::UNKNOWN)).collect()
}

#[test]
fn a_path_is_named_when_the_answer_has_come_and_has_its_name() {
    run(300 * MS, &set(&["/frobnicate"]), true, async |replica, _described| {
        replica.serves("/settings");
        replica.serves("/frobnicate");
        tokio::time::sleep(299 * MS).await;
        assert!(!replica.knows("/frobnicate") && !replica.knows("/settings"));
        tokio::time::sleep(2 * MS).await;
        // Asked before they came, but it knew one of them, and asks for the other now.
        assert!(replica.knows("/frobnicate") && !replica.knows("/settings"));
        tokio::time::sleep(1300 * MS).await;
        assert!(replica.knows("/settings"));
        assert_eq!(*replica.asked.borrow(), [0, 1300]);
    });
}

#[test]
fn who_brings_nothing_new_is_asked_less_and_less_often() {
    run(Duration::ZERO, &NameSet::default(), true, async |replica, _described| {
        for number in 0..30_000 {
            // A word that is new each time, so that there always is a reason.
            let word = |place: u32| char::from(b"bakelimoru"[(number / 10_usize.pow(place)) % 10]);
            replica.serves(&format!("/w{}", (0..5).map(word).collect::<String>()));
            tokio::time::sleep(10 * MS).await;
        }
        let asked = replica.asked.borrow();
        let pauses: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect();
        assert_eq!(pauses[..6], [2, 4, 8, 16, 30, 30], "{pauses:?}");
        assert!(asked.len() < 20);
    });
}

#[test]
fn without_a_reason_others_are_asked_every_few_minutes() {
    run(Duration::ZERO, &NameSet::default(), true, async |replica, _described| {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let asked = replica.asked.borrow();
        assert!((11..=17).contains(&asked.len()), "{asked:?}");
        let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|pause| (225_000..=375_000).contains(pause)), "{pauses:?}");
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "not all at once for ever");
    });
}

#[test]
fn nothing_is_named_before_the_app_has_described_itself() {
    run(Duration::ZERO, &set(&["/frobnicate"]), false, async |replica, described| {
        replica.serves("/frobnicate");
        tokio::time::sleep(5000 * MS).await;
        assert!(!replica.knows("/frobnicate"));
        described.send_replace(true);
        tokio::time::sleep(MS).await;
        assert!(replica.knows("/frobnicate"));
    });
}
