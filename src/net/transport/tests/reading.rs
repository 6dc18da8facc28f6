//! What is read ahead, and what is known of a peer without reading.

use super::super::memory::{MemorySocket, pair};
use super::super::*;
use crate::net::budget::{Budget, Holders};

/// The proxy's end, whose peer has so much room, and the peer.
fn connection(budget_bytes: usize) -> (Transport, MemorySocket) {
    let (near, far) = pair([(1 << 20, usize::MAX); 2]);
    let holder = Holders::new(Budget::new(budget_bytes)).open();
    (Transport::new(Socket::Memory(near), &holder), far)
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn sends(peer: &MemorySocket, bytes: &[u8]) {
    let sent = std::pin::pin!(peer.write_all(bytes)).poll(&mut cx());
    assert!(matches!(sent, Poll::Ready(Ok(()))), "there is room");
}

fn reads(transport: &Transport, most: usize) -> Poll<Vec<u8>> {
    let mut room = vec![0; most];
    transport.poll_read(&mut cx(), &mut room).map(|count| {
        room.truncate(count.expect("no reset"));
        room
    })
}

/// A look, while nobody reads.
fn looks(transport: &Transport) -> Poll<Error> {
    transport.poll_gone(&mut cx(), &mut [0; 4096])
}

#[test]
fn bytes_given_back_go_before_all_others() {
    for most in 1..10 {
        let (transport, peer) = connection(1 << 30);
        sends(&peer, b"efg");
        transport.put_back(b"cd");
        transport.put_back(b"");
        transport.put_back(b"ab");
        let mut got = Vec::new();
        while let Poll::Ready(more) = reads(&transport, most) {
            got.extend(more);
        }
        assert_eq!(got, b"abcdefg", "{most} at a time");
        assert!(!transport.has_ahead());
    }
}

#[test]
fn a_look_reads_some_requests_ahead_and_no_more() {
    let (transport, peer) = connection(1 << 30);
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(200 * 1024).collect();
    sends(&peer, &sent);
    peer.shutdown();
    for _ in 0..3 {
        assert!(looks(&transport).is_pending());
        assert!((MAX_AHEAD_BYTES..MAX_AHEAD_BYTES + 4096).contains(&transport.ahead_bytes()));
        assert!(!transport.is_eof(), "its end is behind what was not read");
    }
    let mut got = Vec::new();
    loop {
        match reads(&transport, 10_000) {
            Poll::Ready(more) if more.is_empty() => break,
            Poll::Ready(more) => got.extend(more),
            Poll::Pending => panic!("the rest has come"),
        }
    }
    assert!(got == sent);
    assert!(transport.is_eof());
}

#[test]
fn a_look_reads_less_where_room_is_scarce() {
    let (transport, peer) = connection(100_000);
    let others = transport.holder().charge();
    others.set(90_000);
    sends(&peer, &vec![b'x'; 50_000]);
    assert!(looks(&transport).is_pending());
    assert_eq!(transport.ahead_bytes(), SMALL_BYTES, "a little, to see whether it is an end");
}

#[test]
fn a_fin_is_noted_and_a_reset_ends() {
    let (transport, peer) = connection(1 << 30);
    sends(&peer, b"next");
    peer.shutdown();
    assert!(looks(&transport).is_pending());
    assert!(transport.is_eof() && transport.has_ahead());
    assert_eq!(reads(&transport, 10), Poll::Ready(b"next".to_vec()));
    assert_eq!(reads(&transport, 10), Poll::Ready(Vec::new()));
    let (transport, peer) = connection(1 << 30);
    sends(&peer, b"next");
    peer.abort();
    drop(peer);
    assert!(looks(&transport).is_ready());
    assert_eq!(transport.ahead_bytes(), 4, "what came before it can be read");
}

#[test]
fn an_idle_connection_is_spoilt_by_whatever_comes() {
    let nothing = |_: &Transport, _: &MemorySocket| {};
    for (what, is_spoilt) in [
        (nothing as fn(&Transport, &MemorySocket), false),
        (|_, peer| sends(peer, b"x"), true),
        (|_, peer| peer.shutdown(), true),
        (|transport, _| transport.put_back(b"x"), true),
    ] {
        let (transport, peer) = connection(1 << 30);
        what(&transport, &peer);
        assert_eq!(transport.is_spoilt(), is_spoilt);
    }
}

#[test]
fn a_request_is_ahead_once_its_empty_line_is() {
    for (ahead, is_request) in [
        ("", false),
        ("\r\n\r\n", false),
        ("\n\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\nHost: a\n\n", true),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", true),
        ("\r\n\r\nGET / HTTP/1.1\r\n", false),
        ("x\r\n\r\nrest", true),
    ] {
        let (transport, _peer) = connection(1 << 30);
        transport.put_back(ahead.as_bytes());
        assert_eq!(transport.has_request_ahead(), is_request, "{ahead:?}");
        assert_eq!(transport.ahead_bytes(), ahead.len());
    }
}

#[test]
fn an_exchange_knows_what_went_over_its_connection_since_it_began() {
    let (transport, peer) = connection(1 << 30);
    let said = |transport: &Transport| (transport.has_sent(), transport.has_received());
    assert_eq!(said(&transport), (false, false));
    let written = transport.poll_write(&mut cx(), &[IoSlice::new(b"a"), IoSlice::new(b"b")]);
    assert!(matches!(written, Poll::Ready(Ok(2))));
    assert_eq!(said(&transport), (true, false));
    assert!(reads(&transport, 10).is_pending());
    assert_eq!(said(&transport), (true, false), "nothing has come");
    sends(&peer, b"x");
    assert_eq!(reads(&transport, 10), Poll::Ready(b"x".to_vec()));
    assert_eq!(said(&transport), (true, true));
    transport.begin_exchange();
    assert_eq!(said(&transport), (false, false));
    peer.shutdown();
    assert_eq!(reads(&transport, 10), Poll::Ready(Vec::new()));
    assert_eq!(said(&transport), (false, false), "an end is no byte");
}

#[test]
fn one_read_takes_at_most_so_much() {
    let (transport, peer) = connection(1 << 30);
    sends(&peer, &vec![b'x'; 2 * MAX_READ_BYTES]);
    let mut room = vec![0; 4 * MAX_READ_BYTES];
    let count = transport.poll_read(&mut cx(), &mut room);
    assert!(matches!(count, Poll::Ready(Ok(MAX_READ_BYTES))));
    let nothing = transport.poll_read(&mut cx(), &mut []);
    assert!(matches!(nothing, Poll::Ready(Ok(0))));
    assert!(!transport.is_eof(), "no room is no end");
}
