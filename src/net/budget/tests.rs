use super::*;

const KIB: usize = 1024;

fn holders(high: usize) -> Rc<Holders> {
    Holders::new(Budget::new(high))
}

#[test]
fn what_is_kept_is_charged_and_given_back_whatever_ends_it() {
    let all = holders(1000 * KIB);
    let (one, other) = (all.open(), all.open());
    let mut kept = Kept::new(&one);
    kept.extend(&[1; 3000]);
    assert_eq!((one.bytes(), all.budget.held_bytes()), (3000, 3000));
    let charge = other.charge();
    charge.set(70 * KIB);
    assert_eq!(all.budget.held_bytes(), 3000 + 70 * KIB);
    assert_eq!(kept.take(), [1; 3000]);
    assert_eq!((one.bytes(), other.bytes()), (0, 70 * KIB));
    drop(charge);
    assert_eq!(all.budget.held_bytes(), 0);
    assert_eq!(all.open.borrow().len(), 2);
    drop((one, kept, other));
    assert_eq!(all.open.borrow().len(), 0);
}

#[test]
fn what_is_small_costs_nothing() {
    let all = holders(1000 * KIB);
    let mut kept = Kept::new(&all.open());
    kept.extend(&[1; SMALL_BYTES]);
    assert_eq!(all.budget.held_bytes(), 0);
    kept.extend(&[1]);
    assert!(all.budget.held_bytes() > SMALL_BYTES);
}

/// The low mark is at 750 KiB, the high one at 1000, the last at 1125.
#[test]
fn the_fuller_it_is_the_less_a_holder_may_have() {
    for (others, holds, more, is_admitted) in [
        (0, 0, 740, true),
        (0, 0, 760, false),
        (700, 0, 60, true),
        (700, 10, 60, false),
        (950, 0, 60, false),
        (950, 0, 32, true),
        (1000, 0, 32, true),
        (1000, 20, 13, false),
        (1110, 0, 20, false),
        (1110, 0, 1, true),
        (2000, 500, 1, true),
    ] {
        let all = holders(1000 * KIB);
        let (crowd, one) = (all.open().charge(), all.open());
        let (before, charge) = (one.charge(), one.charge());
        before.set(holds * KIB);
        crowd.set((others - holds.min(others)) * KIB);
        let is_ok = charge.try_set(more * KIB).is_ok();
        assert_eq!(is_ok, is_admitted, "{more} more than {holds} where all have {others}");
        assert_eq!(charge.bytes.get() > 0, is_admitted && more > 1);
    }
}

#[test]
fn whoever_is_idle_for_longest_makes_place() {
    let all = holders(KIB);
    let open: Vec<_> = (0..100).map(|_| all.open()).collect();
    open[0].works();
    open[1].rests();
    for expected in [2, 3, 4] {
        assert!(all.make_place());
        assert!(open[expected].should_leave(), "{expected}");
    }
    // It was looked up, and has been busy since.
    open[5].works();
    assert!(all.make_place());
    assert!(open[6].should_leave() && !open[5].should_leave());
    for _ in 7..100 {
        assert!(all.make_place());
    }
    assert!(all.make_place());
    assert!(open[1].should_leave() && !open[0].should_leave());
    assert!(!all.make_place());
    // A request that came before the question was heard counts more.
    open[1].works();
    assert!(!open[1].should_leave());
    open[1].rests();
    assert!(!open[1].should_leave());
}

#[test]
fn who_holds_most_and_moves_least_is_cut_off() {
    let all = holders(1000 * KIB);
    let holders: Vec<_> = (0..5).map(|_| all.open()).collect();
    let charges: Vec<_> = holders.iter().map(Holder::charge).collect();
    for (charge, kib) in charges.iter().zip([300, 200, 310, 3, 100]) {
        for holder in &holders {
            holder.works();
        }
        charge.set(kib * KIB);
    }
    // 913 KiB are between the marks: only who stalls.
    for _ in 0..3 {
        holders[0].moves();
        holders[2].moves();
        assert_eq!(all.relieve(1, 3), Relieved::default());
    }
    holders[0].moves();
    holders[2].moves();
    assert_eq!(all.relieve(1, 3), Relieved { idle: 0, cut: 1 });
    assert!(holders[1].is_cut());
    charges[1].set(0);
    assert_eq!(all.relieve(1, 3), Relieved::default(), "there is room again");
    charges[4].set(600 * KIB);
    for holder in &holders {
        holder.moves();
    }
    // Beyond the high one whoever holds most, until there is room.
    assert_eq!(all.relieve(1, 3), Relieved { idle: 0, cut: 1 });
    assert!(holders[4].is_cut() && !holders[2].is_cut());
}

#[test]
fn many_that_hold_little_are_cut_off_beyond_the_high_mark() {
    let all = holders(1000 * KIB);
    let holders: Vec<_> = (0..200).map(|_| all.open()).collect();
    let charges: Vec<_> = holders.iter().map(Holder::charge).collect();
    for (holder, charge) in holders.iter().zip(&charges) {
        holder.works();
        charge.set(6 * KIB);
    }
    // A bystander.
    charges[7].set(3 * KIB);
    assert_eq!(all.relieve(1, 3), Relieved { idle: 0, cut: 33 });
    assert!(!holders[7].is_cut());
    for (charge, holder) in charges.iter().zip(&holders) {
        charge.set(if holder.is_cut() { 0 } else { charge.bytes.get() });
    }
    assert_eq!(all.budget.level(), Level::Scarce);
    assert_eq!(all.relieve(1, 3), Relieved::default());
}

#[test]
fn idle_connections_end_the_oldest_first_where_room_is_scarce() {
    let all = holders(1000 * KIB);
    let holders: Vec<_> = (0..100).map(|_| all.open()).collect();
    let charges: Vec<_> = holders.iter().map(Holder::charge).collect();
    for charge in &charges {
        charge.set(8 * KIB);
    }
    holders[0].works();
    for _ in 0..IDLE_ROUNDS {
        holders[1].moves();
        assert_eq!(all.relieve(1, 3), Relieved::default());
    }
    holders[1].moves();
    assert_eq!(all.relieve(1, 3), Relieved { idle: 7, cut: 0 });
    for (at, holder) in holders.iter().enumerate() {
        assert_eq!(holder.should_leave(), (2..=8).contains(&at), "{at}");
    }
}

#[test]
fn a_cut_ends_the_work() {
    let all = holders(KIB);
    let holder = all.open();
    let mut work = std::pin::pin!(std::future::pending::<()>());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(holder.poll_unless_cut(&mut cx, work.as_mut()).is_pending());
    holder.asks(Ask::Cut);
    assert_eq!(holder.poll_unless_cut(&mut cx, work.as_mut()), Poll::Ready(None));
}
