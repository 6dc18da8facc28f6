//! Connections between two requests: which are kept, for how long, and who gets which.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::advance;

use super::stage::{config, ms, settled, workplace};
use crate::config::{Host, Upstream, UpstreamProtocol};
use crate::net::transport::memory::{MemorySocket, MemoryUpstream, Reception, connect_to};
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::{Pool, PooledConnection, PooledHttp1, Protocol, Turn};
use crate::proxy::worker::Worker;

/// A pool whose app is in memory, on a stopped clock.
struct Pooling {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    app: Rc<RefCell<MemoryUpstream>>,
}

fn pooling(test: impl AsyncFnOnce(&Pooling)) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let ends = [(1 << 16, usize::MAX); 2];
        let app = MemoryUpstream { ends, ..MemoryUpstream::default() };
        let app = Rc::new(RefCell::new(app));
        connect_to(Some(Rc::clone(&app)));
        let mut config = config(Upstream::Tcp { host: Host::Name("app".to_owned()), port: 1 });
        config.upstream_protocol = UpstreamProtocol::Http1;
        let (worker, pool, _store) = workplace(config);
        test(&Pooling { worker, pool, app }).await;
        connect_to(None);
    });
}

impl Pooling {
    /// A new connection, and the app's end of it.
    async fn opened(&self) -> (PooledHttp1, MemorySocket) {
        let opened = self.pool.connect(Protocol::Http1, Turn::First).await;
        let connection = http1(opened.expect("the app listens"));
        let end = self.app.borrow_mut().waiting.pop_front();
        (connection, end.expect("the app's end"))
    }

    fn found(&self, replayable: bool) -> Option<PooledHttp1> {
        self.pool.checkout(Protocol::Http1, replayable).map(http1)
    }

    /// How many carry a request, and how many wait for one.
    fn counted(&self) -> (u64, u64) {
        let stats = &self.worker.stats;
        (stats.upstream_active.load(Relaxed), stats.upstream_idle.load(Relaxed))
    }
}

fn http1(connection: PooledConnection) -> PooledHttp1 {
    match connection {
        PooledConnection::Http1(connection) => connection,
        PooledConnection::Http2(_) => panic!("a stream in HTTP/1"),
    }
}

#[test]
fn a_connection_is_kept_as_long_as_both_sides_say() {
    // `--upstream-idle-timeout` is 1.5 s here; half a second less than the app says.
    for (announced, kept) in [
        (None, ms(1500)),
        (Some(0), Duration::ZERO),
        (Some(1), ms(500)),
        (Some(2), ms(1500)),
        (Some(3), ms(1500)),
        (Some(u64::MAX), ms(1500)),
    ] {
        pooling(async |test| {
            let (connection, _app) = test.opened().await;
            connection.release(announced);
            if kept.is_zero() {
                assert_eq!(test.counted(), (0, 0), "{announced:?}");
                assert!(test.found(true).is_none(), "{announced:?}");
                return;
            }
            advance(kept.saturating_sub(ms(1))).await;
            let again = test.found(true).expect("it is kept");
            assert!(again.is_reused());
            again.release(announced);
            advance(kept).await;
            assert!(test.found(true).is_none(), "{announced:?}");
            settled().await;
            assert_eq!(test.counted(), (0, 0), "{announced:?}");
        });
    }
}

/// What an app does with its end; whether it keeps it.
type Does = fn(MemorySocket) -> Option<MemorySocket>;

#[test]
fn a_connection_on_which_something_else_has_come_is_not_kept() {
    let stray: Does = |app| {
        let sent =
            std::pin::pin!(app.write_all(b"stray")).poll(&mut Context::from_waker(Waker::noop()));
        assert!(sent.is_ready());
        Some(app)
    };
    let closes: Does = |_app| None;
    let half_closes: Does = |app| {
        app.shutdown();
        Some(app)
    };
    let resets: Does = |app| {
        app.abort();
        None
    };
    for does in [stray, closes, half_closes, resets] {
        for is_before in [true, false] {
            pooling(async |test| {
                let (connection, app) = test.opened().await;
                let _end;
                if is_before {
                    _end = does(app);
                    connection.release(None);
                } else {
                    connection.release(None);
                    assert_eq!(test.counted(), (0, 1));
                    _end = does(app);
                }
                assert!(test.found(true).is_none(), "{is_before}");
                assert_eq!(test.counted(), (0, 0), "{is_before}");
            });
        }
    }
}

#[test]
fn what_was_read_ahead_belongs_to_no_next_answer() {
    pooling(async |test| {
        let (connection, _app) = test.opened().await;
        connection.transport.put_back(b"x");
        connection.release(None);
        assert_eq!(test.counted(), (0, 0));
    });
}

#[test]
fn what_cannot_be_sent_twice_goes_only_where_somebody_was_just_now() {
    pooling(async |test| {
        let (connection, _app) = test.opened().await;
        connection.release(None);
        advance(ms(499)).await;
        test.found(false).expect("it is fresh").release(None);
        advance(ms(500)).await;
        assert!(test.found(false).is_none(), "the app may be about to close it");
        assert_eq!(test.counted(), (0, 1), "others may have it");
        assert!(test.found(true).is_some());
    });
}

#[test]
fn the_warmest_connection_goes_first_and_the_others_age() {
    pooling(async |test| {
        let (first, _app) = test.opened().await;
        let (second, _app) = test.opened().await;
        let (cold, warm) = (Rc::clone(&first.transport), Rc::clone(&second.transport));
        first.release(None);
        second.release(None);
        assert_eq!(test.counted(), (0, 2));
        for _ in 0..3 {
            advance(ms(400)).await;
            let found = test.found(true).expect("both are kept");
            assert!(Rc::ptr_eq(&found.transport, &warm));
            assert_eq!(test.counted(), (1, 1));
            found.release(None);
        }
        advance(ms(400)).await;
        let found = test.found(true).expect("it was used just now");
        assert!(Rc::ptr_eq(&found.transport, &warm) && !Rc::ptr_eq(&found.transport, &cold));
        settled().await;
        assert!(test.found(true).is_none(), "the other is too old");
    });
}

#[test]
fn a_connection_that_is_dropped_ends_for_the_app() {
    pooling(async |test| {
        let (connection, app) = test.opened().await;
        assert_eq!(test.counted(), (1, 0));
        drop(connection);
        assert_eq!(test.counted(), (0, 0));
        assert_eq!(app.read(&mut [0]).await.expect("a FIN"), 0);
        let (connection, app) = test.opened().await;
        connection.release(None);
        test.pool.close_idle();
        assert_eq!(test.counted(), (0, 0));
        assert_eq!(app.read(&mut [0]).await.expect("a FIN"), 0);
    });
}

#[test]
fn nothing_is_kept_once_all_connections_are_cut() {
    pooling(async |test| {
        let (connection, _app) = test.opened().await;
        test.worker.drain.cut();
        connection.release(None);
        assert_eq!(test.counted(), (0, 0));
    });
}

#[test]
fn connecting_ends_in_time_and_says_why() {
    for (reception, limit, is_right) in [
        (
            Reception::Refuse,
            ms(0),
            (|e| matches!(e, ProxyError::ConnectionRefused(_))) as fn(_) -> _,
        ),
        (Reception::Silence, ms(3000), |e| matches!(e, ProxyError::ConnectionTimeout)),
    ] {
        pooling(async |test| {
            test.app.borrow_mut().reception = reception;
            let begun = tokio::time::Instant::now();
            let refused = test.pool.connect(Protocol::Http1, Turn::First).await;
            assert!(is_right(refused.err().expect("nobody is there")), "{reception:?}");
            assert_eq!(begun.elapsed(), limit, "{reception:?}");
            assert_eq!(test.counted(), (0, 0));
        });
    }
}
