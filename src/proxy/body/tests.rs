//! One direction between two connections in memory, moved by hand.

use std::mem::discriminant;
use std::rc::Rc;
use std::task::Waker;

use super::*;
use crate::http::h1::{BodyLength, Decoder};
use crate::http::rewrite::Named;
use crate::net::budget::{Budget, Holder, Holders};
use crate::net::transport::memory::{MemorySocket, pair};
use crate::net::transport::{Socket, Transport};

const MAX_TRAILER_BYTES: usize = 100;
/// Room for everything, all of it at once.
const WIDE: (usize, usize) = (1 << 20, usize::MAX);

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What a future comes to without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut cx()) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The proxy's end of a connection, and its peer's. `ours` and `theirs`: what is on the way there,
/// and what one call moves.
fn connection(
    holder: &Rc<Holder>,
    ours: (usize, usize),
    theirs: (usize, usize),
) -> (Rc<Transport>, MemorySocket) {
    let (near, far) = pair([ours, theirs]);
    (Rc::new(Transport::new(Socket::Memory(near), holder)), far)
}

fn sends(socket: &MemorySocket, bytes: &[u8]) {
    now(socket.write_all(bytes)).expect("room").expect("a connection");
}

/// Everything that has come.
fn takes(socket: &MemorySocket) -> Vec<u8> {
    let (mut all, mut room) = (Vec::new(), [0; 4096]);
    while let Some(Ok(count @ 1..)) = now(socket.read(&mut room)) {
        all.extend_from_slice(&room[..count]);
    }
    all
}

/// A body on its way from one peer to another.
struct Way {
    holder: Rc<Holder>,
    pump: Pump,
    from: Rc<Transport>,
    sender: MemorySocket,
    recipient: MemorySocket,
    scratch: Scratch,
}

impl Way {
    fn new(length: BodyLength, delimiter: Delimiter, ends: [(usize, usize); 2]) -> Self {
        let holder = Holders::new(Budget::new(1 << 30)).open();
        let [ours, theirs] = ends;
        let (from, sender) = connection(&holder, ours, WIDE);
        let (to, recipient) = connection(&holder, WIDE, theirs);
        let source = Http1Source::new(&from, length, Named::new(), MAX_TRAILER_BYTES);
        let sink = Http1Sink::new(&to, Vec::new(), delimiter);
        let pump = Pump::new(Source::Http1(source), Sink::Http1(sink));
        Self { holder, pump, from, sender, recipient, scratch: Scratch::new() }
    }

    fn poll(&mut self) -> Poll<Result<(), PumpError>> {
        self.pump.poll(&mut cx(), &mut self.scratch)
    }

    /// Polls for many turns. What the recipient got by then is returned, too.
    fn run(&mut self) -> (Vec<u8>, Poll<Result<(), PumpError>>) {
        let (mut got, mut polled) = (Vec::new(), Poll::Pending);
        for _ in 0..100 {
            polled = self.poll();
            got.extend(takes(&self.recipient));
            if polled.is_ready() {
                break;
            }
        }
        (got, polled)
    }
}

/// The data and the trailers of whole chunks.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut decoder, mut data) = (Decoder::new(MAX_TRAILER_BYTES), Vec::new());
    while !decoder.is_done() {
        assert!(!bytes.is_empty(), "the last chunk is missing behind {data:?}");
        let step = decoder.step(bytes).expect("chunks");
        data.extend_from_slice(&bytes[step.data]);
        bytes = &bytes[step.consumed..];
    }
    assert_eq!(bytes, b"", "bytes behind the last chunk");
    (data, decoder.trailers().to_vec())
}

#[test]
fn a_body_is_as_long_as_it_says_and_what_follows_belongs_to_the_next_message() {
    let chunks = "5\r\nhello\r\n3;a=b\r\n, x\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n";
    for (length, sent, data, trailers, ahead) in [
        (BodyLength::None, "NEXT", "", "", ""),
        (BodyLength::Known(0), "NEXT", "", "", ""),
        (BodyLength::Known(5), "helloNEXT", "hello", "", "NEXT"),
        (BodyLength::Known(5), "hello", "hello", "", ""),
        (BodyLength::Chunked, chunks, "hello, x", "X-Sum: 1\r\n", ""),
        (BodyLength::Chunked, "0\r\n\r\nNEXT", "", "", "NEXT"),
        (BodyLength::UntilClose, "hello", "hello", "", ""),
    ] {
        for delimiter in [Delimiter::Plain, Delimiter::Chunked] {
            for piece in [1, 2, 3, 7, usize::MAX] {
                let mut way = Way::new(length, delimiter, [(1 << 16, piece), (1 << 16, piece)]);
                sends(&way.sender, sent.as_bytes());
                if length == BodyLength::UntilClose {
                    way.sender.shutdown();
                }
                let (got, polled) = way.run();
                assert!(matches!(polled, Poll::Ready(Ok(()))), "{length:?} {piece}: {polled:?}");
                assert!(way.pump.has_ended());
                assert_eq!(way.pump.bytes, data.len() as u64, "{length:?} {piece}");
                if delimiter == Delimiter::Plain || data.is_empty() && way.pump.source.is_empty() {
                    assert_eq!(got, data.as_bytes(), "{length:?} {piece}");
                } else {
                    let (got, fields) = unchunked(&got);
                    assert_eq!(got, data.as_bytes(), "{length:?} {piece}");
                    assert_eq!(fields, format!("{trailers}\r\n").as_bytes(), "{length:?} {piece}");
                }
                // What follows may have come already, or not.
                let read = way.from.ahead_bytes();
                assert!(read <= ahead.len(), "{length:?} {piece}: {read} bytes are left");
            }
        }
    }
}

#[test]
fn a_body_that_breaks_has_passed_up_to_there_and_has_no_end() {
    let trailers = format!("5\r\nhello\r\n0\r\nA: {}\r\n\r\n", "x".repeat(MAX_TRAILER_BYTES));
    let many = format!("5\r\nhello\r\n0\r\n{}\r\n", "a:\r\n".repeat(101));
    for (length, sent, passes, expected) in [
        (BodyLength::Known(9), "hello", "hello", SourceError::Incomplete),
        (BodyLength::Chunked, "5\r\nhel", "hel", SourceError::Incomplete),
        (BodyLength::Chunked, "5\r\nhello\r\n", "hello", SourceError::Incomplete),
        (BodyLength::Chunked, "5\r\nhello\r\n0\r\n", "hello", SourceError::Incomplete),
        (BodyLength::Chunked, "5\r\nhello\r\nx", "hello", SourceError::Malformed),
        (BodyLength::Chunked, "5\r\nhelloX", "hello", SourceError::Malformed),
        (BodyLength::Chunked, "5\r\nhello\r\n0\r\nA b\r\n\r\n", "hello", SourceError::Malformed),
        (BodyLength::Chunked, &trailers, "hello", SourceError::TrailersTooLarge),
        (BodyLength::Chunked, &many, "hello", SourceError::TrailersTooLarge),
    ] {
        for delimiter in [Delimiter::Plain, Delimiter::Chunked] {
            for piece in [1, 4, usize::MAX] {
                let mut way = Way::new(length, delimiter, [(1 << 16, piece), WIDE]);
                sends(&way.sender, sent.as_bytes());
                way.sender.shutdown();
                let (got, polled) = way.run();
                let Poll::Ready(Err(PumpError::Source(error))) = polled else {
                    panic!("{sent:?} {piece}: {polled:?}");
                };
                let is_right = discriminant(&error) == discriminant(&expected);
                assert!(is_right, "{sent:?} {piece}: {error:?}");
                if delimiter == Delimiter::Plain {
                    assert_eq!(got, passes.as_bytes(), "{sent:?} {piece}");
                } else {
                    // The recipient can tell that the rest is missing.
                    let (data, _) = unchunked(&[&got, &b"0\r\n\r\n"[..]].concat());
                    assert_eq!(data, passes.as_bytes(), "{sent:?} {piece}");
                }
            }
        }
    }
}

#[test]
fn a_sender_that_resets_and_a_recipient_that_left_are_told_apart() {
    let mut way = Way::new(BodyLength::Known(9), Delimiter::Plain, [WIDE, WIDE]);
    sends(&way.sender, b"hello");
    way.sender.abort();
    let Way { sender, .. } = &mut way;
    drop(std::mem::replace(sender, pair([WIDE, WIDE]).0));
    let (got, polled) = way.run();
    assert_eq!(got, b"hello", "what came before a reset can be read");
    assert!(matches!(polled, Poll::Ready(Err(PumpError::Source(SourceError::Io)))));
    let mut way = Way::new(BodyLength::Known(9), Delimiter::Plain, [WIDE, WIDE]);
    drop(std::mem::replace(&mut way.recipient, pair([WIDE, WIDE]).0));
    let broke = (0..3).any(|_| {
        sends(&way.sender, b"abc");
        matches!(way.poll(), Poll::Ready(Err(PumpError::Sink(_))))
    });
    assert!(broke, "nobody takes it");
}

#[test]
fn nothing_more_is_read_before_the_recipient_has_taken_what_was() {
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(9000).collect();
    for delimiter in [Delimiter::Plain, Delimiter::Chunked] {
        let mut way = Way::new(BodyLength::Known(9000), delimiter, [WIDE, (4, usize::MAX)]);
        sends(&way.sender, &sent[..3000]);
        assert!(way.poll().is_pending());
        assert!(way.pump.sink.is_blocked());
        assert_eq!(way.pump.bytes, 3000);
        let kept = way.holder.bytes();
        assert!((2996..=3010).contains(&kept), "{kept} are charged");
        sends(&way.sender, &sent[3000..]);
        for _ in 0..3 {
            assert!(way.poll().is_pending());
            assert_eq!(way.pump.bytes, 3000, "the next piece was read too early");
        }
        let mut got = Vec::new();
        while way.poll().is_pending() {
            let more = takes(&way.recipient);
            assert!(!more.is_empty() && more.len() <= 4);
            got.extend(more);
        }
        got.extend(takes(&way.recipient));
        let got = if delimiter == Delimiter::Chunked { unchunked(&got).0 } else { got };
        assert!(got == sent);
        assert!(!way.pump.sink.is_blocked());
        let holder = Rc::clone(&way.holder);
        drop(way);
        assert_eq!(holder.bytes(), 0, "nothing is kept any more");
    }
}

#[test]
fn what_was_read_with_the_head_goes_before_the_rest() {
    let sent = b"5\r\nhello\r\n2\r\n, \r\n5\r\nworld\r\n0\r\n\r\nNEXT";
    for at in 0..=sent.len() {
        let mut way = Way::new(BodyLength::Chunked, Delimiter::Plain, [WIDE, WIDE]);
        let (mut with_head, later) = (sent[..at].to_vec(), &sent[at..]);
        way.pump.push(&mut cx(), &mut with_head).expect("a recipient");
        sends(&way.sender, later);
        let (got, polled) = way.run();
        assert!(matches!(polled, Poll::Ready(Ok(()))), "{at}");
        assert_eq!(got, b"hello, world", "{at}");
        assert_eq!(way.pump.bytes, 12, "{at}");
    }
    // What is wrong with it shows when it is polled, behind what was right.
    let mut way = Way::new(BodyLength::Chunked, Delimiter::Plain, [WIDE, WIDE]);
    way.pump.push(&mut cx(), &mut b"5\r\nhello\r\nx".to_vec()).expect("a recipient");
    let (got, polled) = way.run();
    assert_eq!(got, b"hello");
    assert!(matches!(polled, Poll::Ready(Err(PumpError::Source(SourceError::Malformed)))));
}

#[test]
fn a_turn_ends_after_some_pieces_or_some_bytes() {
    let mut way = Way::new(BodyLength::Known(1000), Delimiter::Plain, [(1 << 16, 1), WIDE]);
    sends(&way.sender, &[b'x'; 100]);
    assert!(way.poll().is_pending());
    assert_eq!(way.pump.bytes, PIECES_PER_TURN as u64);
    let mut way = Way::new(BodyLength::UntilClose, Delimiter::Plain, [(1 << 20, usize::MAX); 2]);
    sends(&way.sender, &vec![b'x'; 1 << 20]);
    assert!(way.poll().is_pending());
    assert_eq!(way.pump.bytes, BYTES_PER_TURN as u64);
}

#[test]
fn a_message_is_the_same_however_little_its_socket_takes_at_once() {
    let (head, data) = (b"HTTP/1.1 200 OK\r\n\r\n", b"0123456789abcdef");
    let trailers = [Field { name: "X-Sum", value: b"1" }, Field { name: "y", value: b"" }];
    for (delimiter, body) in [
        (Delimiter::Plain, "0123456789abcdef0123456789abcdef"),
        (
            Delimiter::Chunked,
            "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\ny: \r\n\r\n",
        ),
    ] {
        let whole = [&head[..], body.as_bytes()].concat();
        for most in 1..=whole.len() {
            let holder = Holders::new(Budget::new(1 << 30)).open();
            let (to, recipient) = connection(&holder, WIDE, (most, usize::MAX));
            let mut sink = Http1Sink::new(&to, head.to_vec(), delimiter);
            sink.send(&mut cx(), data, None).expect("a recipient");
            sink.send(&mut cx(), data, Some(&trailers)).expect("a recipient");
            let mut got = Vec::new();
            while sink.poll_flush(&mut cx()).is_pending() {
                assert!(sink.is_blocked());
                got.extend(takes(&recipient));
            }
            got.extend(takes(&recipient));
            assert!(!sink.is_blocked());
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&whole), "{most}");
            assert_eq!(sink.written_bytes, whole.len() as u64, "{most}");
        }
    }
}

#[test]
fn an_empty_piece_is_no_last_chunk() {
    let holder = Holders::new(Budget::new(1 << 30)).open();
    let (to, recipient) = connection(&holder, WIDE, WIDE);
    let mut sink = Http1Sink::new(&to, Vec::new(), Delimiter::Chunked);
    sink.send(&mut cx(), b"", None).expect("a recipient");
    assert_eq!(takes(&recipient), b"");
    sink.send(&mut cx(), b"", Some(&[])).expect("a recipient");
    assert_eq!(takes(&recipient), b"0\r\n\r\n");
}

#[test]
fn a_head_that_nobody_took_goes_whole_over_another_connection() {
    let holder = Holders::new(Budget::new(1 << 30)).open();
    let (lost, gone) = connection(&holder, WIDE, WIDE);
    gone.abort();
    drop(gone);
    let mut sink = Http1Sink::new(&lost, b"GET / HTTP/1.1\r\n\r\n".to_vec(), Delimiter::Plain);
    assert!(matches!(sink.poll_flush(&mut cx()), Poll::Ready(Err(_))));
    assert_eq!(sink.written_bytes, 0);
    let (to, recipient) = connection(&holder, WIDE, WIDE);
    sink.resend(&to);
    assert!(sink.poll_flush(&mut cx()).is_ready());
    assert_eq!(takes(&recipient), b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn what_waits_can_be_taken_to_go_before_something_else() {
    let holder = Holders::new(Budget::new(1 << 30)).open();
    let (to, recipient) = connection(&holder, WIDE, (5, usize::MAX));
    let mut sink = Http1Sink::new(&to, b"0123456789".to_vec(), Delimiter::Plain);
    assert!(sink.poll_flush(&mut cx()).is_pending());
    assert_eq!(sink.take_waiting(), b"56789");
    assert!(!sink.is_blocked());
    assert_eq!(sink.take_waiting(), b"");
    sink.put(b"abc".to_vec());
    assert!(sink.is_blocked());
    assert_eq!(takes(&recipient), b"01234");
    assert!(sink.poll_flush(&mut cx()).is_ready());
    assert_eq!(takes(&recipient), b"abc");
}

#[test]
fn what_came_with_the_head_says_nothing_of_how_the_rest_comes() {
    for (is_ahead, expected) in [(true, Pace::Read), (false, Pace::Pass)] {
        let ends = [WIDE, (4, usize::MAX)];
        let mut way = Way::new(BodyLength::UntilClose, Delimiter::Plain, ends);
        if is_ahead {
            way.from.put_back(b"more than is taken");
        } else {
            sends(&way.sender, b"more than is taken");
        }
        assert!(way.poll().is_pending());
        assert!(way.pump.sink.is_blocked());
        assert_eq!(way.pump.pace, expected, "{is_ahead}");
    }
}
