use std::future::poll_fn;
use std::io::{Read, Write};
use std::time::Duration;

use socket2::SockRef;

use super::*;
use crate::net::budget::{Budget, Holders};

mod reading;

const KIB: usize = 1024;

/// A connection whose socket is known to be writable, and its peer.
async fn tcp() -> (Transport, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let peer = std::net::TcpStream::connect(address).expect("it listens");
    let (socket, _) = listener.accept().expect("a connection");
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::TcpStream::from_std(socket).expect("in a runtime");
    socket.writable().await.expect("it lives");
    let holder = Holders::new(Budget::new(1 << 30)).open();
    (Transport::new(Socket::Tcp(socket), &holder), peer)
}

fn unix() -> (Transport, std::os::unix::net::UnixStream) {
    let (socket, peer) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::UnixStream::from_std(socket).expect("in a runtime");
    let holder = Holders::new(Budget::new(1 << 30)).open();
    (Transport::new(Socket::Unix(socket), &holder), peer)
}

/// Bytes that show where they belong.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).expect("less than 256")).collect()
}

/// Passes until something other than bytes comes of it, or so many have; returns both.
async fn pass_all(
    (from, to): (&Transport, &Transport),
    scratch: &mut Scratch,
    wanted: usize,
) -> (usize, Passed) {
    let mut count = 0;
    loop {
        let mut rest = Vec::new();
        let passed = poll_fn(|cx| match from.pass(cx, to, usize::MAX, (scratch, &mut rest)) {
            Ok(Passed::NotThere) if count < wanted => Poll::Pending,
            passed => Poll::Ready(passed.expect("both live")),
        });
        match passed.await {
            Passed::Bytes(more) => count += more,
            other => return (count, other),
        }
        assert_eq!(rest, b"", "as much passes as there is room for");
    }
}

#[tokio::test]
async fn bytes_pass_in_order_between_sockets_of_any_kind_until_the_end() {
    let sent = bytes(100 * KIB);
    let (from_tcp, mut tcp_peer) = tcp().await;
    let (from_unix, mut unix_peer) = unix();
    let (to_tcp, mut from_proxy) = tcp().await;
    let mut scratch = Scratch::new();
    tcp_peer.write_all(&sent).expect("room in the kernel");
    let moved = pass_all((&from_tcp, &to_tcp), &mut scratch, sent.len()).await;
    assert_eq!(moved, (sent.len(), Passed::NotThere));
    unix_peer.write_all(&sent).expect("room in the kernel");
    drop(unix_peer);
    let moved = pass_all((&from_unix, &to_tcp), &mut scratch, sent.len()).await;
    assert_eq!(moved, (sent.len(), Passed::End));
    assert!(from_unix.is_eof() && from_unix.has_received() && to_tcp.has_sent());
    let mut received = vec![0; 2 * sent.len()];
    from_proxy.read_exact(&mut received).expect("all of it");
    assert!(received == [&sent[..], &sent[..]].concat());
}

#[tokio::test]
async fn who_reads_nothing_has_the_rest_stay_with_its_sender() {
    let (from, mut sender) = tcp().await;
    let (to, mut recipient) = tcp().await;
    to.socket.borrow().os().expect("a socket").set_send_buffer_size(256 * KIB).expect("a socket");
    let sent = bytes(4 * 1024 * KIB);
    let expected = sent.clone();
    let sending = std::thread::spawn(move || sender.write_all(&sent));
    let mut scratch = Scratch::new();
    let (count, why) = pass_all((&from, &to), &mut scratch, expected.len()).await;
    assert_eq!(why, Passed::NotTaken);
    assert!(count < 2048 * KIB, "{count} were taken by who does not read");
    // As soon as it reads, the rest comes.
    let reading = std::thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        recipient.read_exact(&mut received).map(|()| received == expected)
    });
    let mut count = count;
    while count < 4 * 1024 * KIB {
        let mut rest = Vec::new();
        let passed =
            poll_fn(|cx| match from.pass(cx, &to, usize::MAX, (&mut scratch, &mut rest)) {
                Ok(Passed::NotThere | Passed::NotTaken) => Poll::Pending,
                passed => Poll::Ready(passed.expect("both live")),
            });
        let Passed::Bytes(more) = passed.await else { panic!("it ended") };
        count += more;
    }
    assert!(reading.join().expect("no panic").expect("all of it"));
    sending.join().expect("no panic").expect("all was taken");
}

#[tokio::test]
async fn what_a_broken_recipient_did_not_take_goes_to_nobody_else() {
    let (from, mut sender) = tcp().await;
    let (to, gone) = tcp().await;
    sender.write_all(b"for somebody who is gone").expect("room in the kernel");
    // A reset, and not just a FIN, behind which it might still read.
    SockRef::from(&gone).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(gone);
    let mut scratch = Scratch::new();
    let broken = poll_fn(|cx| {
        let mut rest = Vec::new();
        match from.pass(cx, &to, usize::MAX, (&mut scratch, &mut rest)) {
            Ok(Passed::NotThere | Passed::NotTaken) => Poll::Pending,
            passed => Poll::Ready(passed),
        }
    });
    assert!(matches!(broken.await, Err(PassError::To(_))));
    let (from, mut sender) = tcp().await;
    let (to, mut recipient) = tcp().await;
    sender.write_all(b"hello").expect("room in the kernel");
    assert_eq!(pass_all((&from, &to), &mut scratch, 5).await, (5, Passed::NotThere));
    let mut received = [0; 100];
    let count = recipient.read(&mut received).expect("it lives");
    assert_eq!(received.get(..count), Some(&b"hello"[..]));
}

#[tokio::test]
async fn the_kernel_tells_of_bytes_that_the_runtime_has_not_seen_yet() {
    for is_end in [false, true] {
        let (transport, mut peer) = tcp().await;
        assert!(!transport.is_readable());
        if is_end {
            drop(peer);
        } else {
            peer.write_all(b"x").expect("room in the kernel");
        }
        assert!(transport.is_readable(), "{is_end}");
    }
}

#[tokio::test]
async fn what_was_read_ahead_cannot_pass() {
    let (from, _sender) = tcp().await;
    let (to, _recipient) = tcp().await;
    from.put_back(b"ahead");
    let passed = poll_fn(|cx| {
        Poll::Ready(from.pass(cx, &to, usize::MAX, (&mut Scratch::new(), &mut Vec::new())))
    });
    assert_eq!(passed.await.expect("both live"), Passed::Unable);
}

#[test]
fn what_a_socket_does_not_take_comes_back_out_of_the_pipe() {
    let (mut sender, from) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    SockRef::from(&listener).set_recv_buffer_size(4 * KIB).expect("a socket");
    let to = std::net::TcpStream::connect(listener.local_addr().expect("it is bound"));
    let to = to.expect("it listens");
    let (mut recipient, _) = listener.accept().expect("a connection");
    to.set_nonblocking(true).expect("a socket");
    SockRef::from(&to).set_send_buffer_size(4 * KIB).expect("a socket");
    let sent = bytes(120 * KIB);
    sender.write_all(&sent).expect("room in the kernel");
    let pipe = pipe::Pipe::new().expect("two descriptors");
    let filled = pipe.fill(&from, sent.len()).expect("bytes");
    let taken = pipe.empty_into(&to, filled).expect("some room");
    assert!(taken < filled, "a small buffer has taken all {filled}");
    let mut rest = b"before ".to_vec();
    pipe.drain(filled - taken, &mut rest).expect("all that is there");
    let mut received = vec![0; taken];
    recipient.read_exact(&mut received).expect("what was taken");
    received.extend_from_slice(rest.strip_prefix(b"before ").expect("kept"));
    assert!(received == sent.get(..filled).expect("no more than was sent"));
}
