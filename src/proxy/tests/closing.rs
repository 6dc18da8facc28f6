//! The end of a connection whose client may still be sending.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep};

use super::stage::{ms, settled};
use crate::net::budget::{Budget, Holders};
use crate::net::transport::Socket;
use crate::net::transport::memory::{MemorySocket, pair};
use crate::proxy::downstream::{ClientConnection, close};

/// Closes a connection, while its client does as it likes. Tells how long that took.
fn closing(is_unread: bool, client: impl AsyncFnOnce(MemorySocket) + 'static) -> Duration {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let (near, far) = pair([(1 << 16, usize::MAX); 2]);
        let holder = Holders::new(Budget::new(1 << 30)).open();
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let connection =
            ClientConnection::new(Socket::Memory(near), peer, Instant::now(), &Rc::clone(&holder));
        if is_unread {
            connection.mark_unread();
        }
        let client = tokio::task::spawn_local(client(far));
        settled().await;
        let begun = Instant::now();
        close(&connection).await;
        let took = begun.elapsed();
        drop(connection);
        client.await.expect("no panic");
        took
    })
}

#[test]
fn who_has_sent_nothing_more_is_not_waited_for() {
    let took = closing(false, async |client| {
        assert_eq!(client.read(&mut [0; 9]).await.expect("a FIN"), 0);
    });
    assert_eq!(took, Duration::ZERO);
}

#[test]
fn who_may_be_sending_gets_a_fin_first_and_is_waited_for() {
    let took = closing(true, async |client| {
        client.write_all(b"the rest").await.expect("it is read");
        assert_eq!(client.read(&mut [0; 9]).await.expect("a FIN, no reset"), 0);
        sleep(ms(700)).await;
    });
    assert_eq!(took, ms(700));
}

#[test]
fn who_says_nothing_is_waited_for_some_seconds() {
    for pause in [ms(4999), ms(60_000)] {
        let took = closing(true, async move |client| {
            sleep(pause).await;
            let _gone = client.write_all(b"x").await;
            sleep(ms(60_000)).await;
        });
        // Whoever goes on within five seconds has five more.
        let expected = if pause < ms(5000) { pause + ms(5000) } else { ms(5000) };
        assert_eq!(took, expected);
    }
}

#[test]
fn who_never_ends_is_waited_for_half_a_minute() {
    let took = closing(true, async |client| {
        while client.write_all(&[b'x'; 1000]).await.is_ok() {
            sleep(ms(1000)).await;
        }
    });
    assert_eq!(took, Duration::from_secs(30));
}
