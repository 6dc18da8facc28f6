//! The race on a clock that is set: no socket, no resolver, no waiting.

use std::collections::BTreeMap;

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// What an address does: after so many milliseconds accept or fail. One that is not named is
/// silent.
type Does = (u64, Result<(), io::ErrorKind>);

/// What the resolver says, and after how many milliseconds.
type Says = (u64, Result<Vec<SocketAddr>, io::ErrorKind>);

#[derive(Default)]
struct Script {
    hosts: RefCell<BTreeMap<SocketAddr, Does>>,
    name: RefCell<Option<Says>>,
    /// What was tried, and when.
    log: RefCell<Vec<(u64, String)>>,
    begun: OnceCell<Instant>,
}

impl Script {
    fn note(&self, what: &str) {
        let begun = *self.begun.get_or_init(Instant::now);
        let at = u64::try_from(begun.elapsed().as_millis()).unwrap();
        self.log.borrow_mut().push((at, what.to_owned()));
    }

    /// What was tried since this was asked last, and when.
    fn tried(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.log.borrow_mut())
    }

    fn names(&self, after: u64, addresses: &[SocketAddr]) {
        *self.name.borrow_mut() = Some((after, Ok(addresses.to_vec())));
    }

    fn host(&self, address: SocketAddr, does: Does) {
        self.hosts.borrow_mut().insert(address, does);
    }
}

impl Network for Script {
    type Socket = SocketAddr;

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        self.note("look up");
        let (after, result) = self.name.borrow().clone().unwrap();
        sleep(Duration::from_millis(after)).await;
        result.map_err(io::Error::from)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.note(&address.ip().to_string());
        let does = self.hosts.borrow().get(&address).copied();
        let Some((after, result)) = does else { std::future::pending().await };
        sleep(Duration::from_millis(after)).await;
        result.map(|()| address).map_err(io::Error::from)
    }
}

const REFUSES: Does = (0, Err(io::ErrorKind::ConnectionRefused));
const ACCEPTS: Does = (0, Ok(()));

fn at(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 8000)
}

fn on_a_set_clock<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.unwrap().block_on(test)
}

fn log(entries: &[(u64, &str)]) -> Vec<(u64, String)> {
    entries.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

#[test]
fn the_next_address_is_tried_after_a_quarter_of_a_second_and_not_before() {
    // The first address answers just before, and just after the next one would be tried.
    for (answers_after, tried) in
        [(249, &[(0, "10.0.0.1")][..]), (251, &[(0, "10.0.0.1"), (250, "10.0.0.2")])]
    {
        on_a_set_clock(async {
            let network = Rc::new(Script::default());
            let addresses = Rc::new(Addresses::fixed(&[at("10.0.0.1"), at("10.0.0.2")]));
            network.host(at("10.0.0.1"), (answers_after, Ok(())));
            network.host(at("10.0.0.2"), (100, Ok(())));
            assert_eq!(connect(&network, &addresses).await.unwrap(), at("10.0.0.1"));
            assert_eq!(network.tried(), log(tried));
        });
    }
}

#[test]
fn an_address_that_fails_does_not_hold_up_the_next() {
    on_a_set_clock(async {
        let network = Rc::new(Script::default());
        let addresses = Rc::new(Addresses::fixed(&[at("10.0.0.1"), at("10.0.0.2")]));
        network.host(at("10.0.0.1"), (7, Err(io::ErrorKind::HostUnreachable)));
        network.host(at("10.0.0.2"), ACCEPTS);
        assert_eq!(connect(&network, &addresses).await.unwrap(), at("10.0.0.2"));
        assert_eq!(network.tried(), log(&[(0, "10.0.0.1"), (7, "10.0.0.2")]));
        // What worked is tried first.
        connect(&network, &addresses).await.unwrap();
        assert_eq!(network.tried(), log(&[(7, "10.0.0.2")]));
    });
}

#[test]
fn a_name_is_asked_once_and_again_when_its_address_refuses_or_is_silent() {
    for old in [Some(REFUSES), None] {
        on_a_set_clock(async {
            let network = Rc::new(Script::default());
            let addresses = Rc::new(Addresses::default());
            network.names(5, &[at("10.0.0.1")]);
            network.host(at("10.0.0.1"), ACCEPTS);
            connect(&network, &addresses).await.unwrap();
            connect(&network, &addresses).await.unwrap();
            let first = [(0, "look up"), (5, "10.0.0.1"), (5, "10.0.0.1")];
            assert_eq!(network.tried(), log(&first));
            // The app moves.
            network.names(5, &[at("10.0.0.2")]);
            network.host(at("10.0.0.2"), ACCEPTS);
            network.hosts.borrow_mut().remove(&at("10.0.0.1"));
            if let Some(old) = old {
                network.host(at("10.0.0.1"), old);
            }
            assert_eq!(connect(&network, &addresses).await.unwrap(), at("10.0.0.2"));
            let after = if old.is_some() { 5 } else { 5 + 250 };
            let moved = [(5, "10.0.0.1"), (after, "look up"), (after + 5, "10.0.0.2")];
            assert_eq!(network.tried(), log(&moved));
            assert_eq!(connect(&network, &addresses).await.unwrap(), at("10.0.0.2"));
            assert_eq!(network.tried(), log(&[(after + 5, "10.0.0.2")]));
        });
    }
}

#[test]
fn an_attempt_that_ran_out_of_time_leaves_its_look_up_to_the_next() {
    on_a_set_clock(async {
        let network = Rc::new(Script::default());
        let addresses = Rc::new(Addresses::default());
        network.names(4000, &[at("10.0.0.1")]);
        network.host(at("10.0.0.1"), ACCEPTS);
        let limit = Duration::from_secs(3);
        assert!(timeout(limit, connect(&network, &addresses)).await.is_err());
        // Two more wait for the same answer, which comes in their time.
        let (one, two) = tokio::join!(
            timeout(limit, connect(&network, &addresses)),
            timeout(limit, connect(&network, &addresses))
        );
        assert!(one.unwrap().is_ok() && two.unwrap().is_ok());
        let tried = [(0, "look up"), (4000, "10.0.0.1"), (4000, "10.0.0.1")];
        assert_eq!(network.tried(), log(&tried));
    });
}

#[test]
fn all_fail_with_the_error_that_tells_most() {
    let two = [at("127.0.0.1"), at("::1")];
    for (first, second, expected) in [
        // No IPv6 on this machine.
        (io::ErrorKind::ConnectionRefused, io::ErrorKind::AddrNotAvailable, "Refused"),
        // No port is left, and nobody listens in the other family.
        (io::ErrorKind::AddrNotAvailable, io::ErrorKind::ConnectionRefused, "Exhausted"),
        (io::ErrorKind::NetworkUnreachable, io::ErrorKind::ConnectionRefused, "Refused"),
        (io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable, "Unreachable"),
    ] {
        on_a_set_clock(async {
            let network = Rc::new(Script::default());
            network.host(two[0], (0, Err(first)));
            network.host(two[1], (0, Err(second)));
            let error = connect(&network, &Rc::new(Addresses::fixed(&two))).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        });
    }
}

#[test]
fn a_name_that_is_gone_is_the_reason_and_one_that_comes_back_is_found() {
    on_a_set_clock(async {
        let network = Rc::new(Script::default());
        let addresses = Rc::new(Addresses::default());
        *network.name.borrow_mut() = Some((1, Err(io::ErrorKind::NotFound)));
        let error = connect(&network, &addresses).await.unwrap_err();
        assert!(matches!(error, ConnectError::Name(_)), "{error:?}");
        network.names(1, &[at("10.0.0.1")]);
        network.host(at("10.0.0.1"), ACCEPTS);
        assert!(connect(&network, &addresses).await.is_ok());
        // Forgotten, because what accepted was not the app: asked again before anything is tried.
        network.tried();
        addresses.forget();
        connect(&network, &addresses).await.unwrap();
        assert_eq!(network.tried(), log(&[(2, "look up"), (3, "10.0.0.1")]));
    });
}

#[test]
fn families_take_turns() {
    let found = ["::1", "::2", "::2", "::3", "10.0.0.1", "10.0.0.2"].map(at).to_vec();
    let expected = ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"].map(at).to_vec();
    assert_eq!(alternating(found), expected);
    assert!(alternating(Vec::new()).is_empty());
}
