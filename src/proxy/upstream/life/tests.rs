//! A connection's life on a clock that is set, with PINGs that a script answers.

use std::future::Future;

use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{advance, sleep};

use super::*;
use crate::metrics::WorkerStats;
use crate::net::budget::{Budget, Holders};
use crate::net::transport::{Socket, TransportIo};

const MS: Duration = Duration::from_millis(1);
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PONG: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const HEADERS: &[u8] = &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];

/// What the connection's owner sees: PINGs that were sent, and when.
#[derive(Clone)]
struct Sent(Rc<RefCell<Vec<u128>>>, Instant);

impl Pings for Sent {
    fn send(&mut self) {
        self.0.borrow_mut().push(self.1.elapsed().as_millis());
    }

    fn poll_answer(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        Poll::Pending
    }
}

struct Stage {
    life: Rc<Life>,
    sent: Sent,
    /// Reads what the peer sends.
    io: TransportIo,
    peer: UnixStream,
}

impl Stage {
    fn new() -> Self {
        let (own, peer) = UnixStream::pair().unwrap();
        let holder = Holders::new(Budget::new(1 << 20)).open();
        let transport = Rc::new(Transport::new(Socket::Unix(own), &holder));
        let life = Life::new(&transport, Counted::new(&WorkerStats::new(), Use::Idle, None));
        let io = TransportIo::new(&transport, Some(&life.hearing));
        Self { life, sent: Sent(Rc::default(), Instant::now()), io, peer }
    }

    async fn hears(&mut self, bytes: &[u8]) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        self.peer.write_all(bytes).await.unwrap();
        let mut room = vec![0; bytes.len()];
        self.io.read_exact(&mut room).await.unwrap();
    }

    fn watch(&self, idle_limit: Duration) -> impl Future<Output = Leave> + 'static {
        let (life, sent) = (Rc::clone(&self.life), self.sent.clone());
        async move { life.watch_with(sent, idle_limit).await }
    }

    fn pings(&self) -> Vec<u128> {
        std::mem::take(&mut self.sent.0.borrow_mut())
    }
}

fn on_a_set_clock<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.unwrap().block_on(test)
}

#[test]
fn an_idle_connection_is_left_after_its_time_and_one_that_is_used_is_not() {
    on_a_set_clock(async {
        let stage = Stage::new();
        let watch = tokio::task::spawn_local(stage.watch(1500 * MS));
        stage.life.stream_begins();
        sleep(20_001 * MS).await;
        assert!(!watch.is_finished());
        stage.life.stream_ends();
        // Looked at every half second; at 20 s it was still in use.
        sleep(1498 * MS).await;
        assert!(!watch.is_finished());
        sleep(MS).await;
        assert_eq!(watch.await.unwrap(), Leave::Idle);
    });
}

#[test]
fn a_connection_is_proven_for_at_least_half_a_second_behind_a_byte() {
    on_a_set_clock(async {
        let mut stage = Stage::new();
        let watch = tokio::task::spawn_local(stage.watch(60_000 * MS));
        sleep(400 * MS).await;
        stage.hears(SETTINGS).await;
        sleep(500 * MS).await;
        assert!(stage.life.is_proven());
        sleep(200 * MS).await;
        assert!(!stage.life.is_proven(), "quiet for 0.7 s");
        stage.hears(PONG).await;
        assert!(stage.life.is_proven());
        watch.abort();
    });
}

#[test]
fn a_silent_connection_is_asked_before_it_is_used_and_left_alone_if_it_says_nothing() {
    for answers_after in [Some(249), Some(251), None] {
        on_a_set_clock(async {
            let mut stage = Stage::new();
            let watch = tokio::task::spawn_local(stage.watch(60_000 * MS));
            sleep(2000 * MS).await;
            let life = Rc::clone(&stage.life);
            let asked = tokio::task::spawn_local(async move { life.gives_a_sign().await });
            if let Some(after) = answers_after {
                sleep(after * MS).await;
                stage.hears(PONG).await;
            }
            let in_time = answers_after == Some(249);
            assert_eq!(asked.await.unwrap(), in_time, "{answers_after:?}");
            assert_eq!(stage.pings(), [2000]);
            // What came too late is a sign for the next request.
            assert_eq!(stage.life.may_be_asked(), answers_after.is_some());
            assert_eq!(stage.life.is_proven(), answers_after.is_some());
            watch.abort();
        });
    }
}

#[test]
fn a_connection_whose_requests_wait_is_asked_after_five_seconds_and_given_up_after_thirty_more() {
    on_a_set_clock(async {
        let stage = Stage::new();
        stage.life.stream_begins();
        let watch = tokio::task::spawn_local(stage.watch(1500 * MS));
        sleep(4999 * MS).await;
        assert!(stage.pings().is_empty());
        sleep(2 * MS).await;
        assert_eq!(stage.pings(), [5000]);
        sleep(29_998 * MS).await;
        assert!(!watch.is_finished());
        sleep(2 * MS).await;
        assert_eq!(watch.await.unwrap(), Leave::Dead);
    });
}

#[test]
fn any_byte_is_life_and_only_a_message_lets_ping_again() {
    on_a_set_clock(async {
        let mut stage = Stage::new();
        stage.life.stream_begins();
        let watch = tokio::task::spawn_local(stage.watch(1500 * MS));
        // A PING is out and not answered, but the app is sending all the while.
        sleep(5001 * MS).await;
        assert_eq!(stage.pings(), [5000]);
        for _ in 0..10 {
            sleep(10_000 * MS).await;
            stage.hears(HEADERS).await;
        }
        assert!(!watch.is_finished());
        watch.abort();
    });
}

/// Answers each PING at once.
#[derive(Clone)]
struct Answered(Sent);

impl Pings for Answered {
    fn send(&mut self) {
        self.0.send();
    }

    fn poll_answer(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn no_more_pings_than_a_grpc_server_suffers_are_sent_without_a_message_in_between() {
    on_a_set_clock(async {
        let mut stage = Stage::new();
        stage.life.stream_begins();
        let (life, sent) = (Rc::clone(&stage.life), Answered(stage.sent.clone()));
        let watch = tokio::task::spawn_local(async move { life.watch_with(sent, MS).await });
        for _ in 0..10 {
            sleep(60_000 * MS).await;
            stage.hears(PONG).await;
        }
        assert_eq!(stage.pings().len(), usize::from(MAX_UNANSWERED_PINGS));
        stage.hears(HEADERS).await;
        sleep(60_000 * MS).await;
        assert_eq!(stage.pings().len(), usize::from(MAX_UNANSWERED_PINGS));
        assert!(!watch.is_finished());
        advance(MS).await;
        watch.abort();
    });
}
