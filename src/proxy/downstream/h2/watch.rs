//! What passes between an HTTP/2 client and the library that the library keeps to itself.
//!
//! The library refuses some requests before anybody sees them: malformed heads by a reset, large
//! ones by a 431. It drops trailers beyond its limit in silence. Their frames tell. Only the nine
//! bytes before each frame are read, and the clients' SETTINGS; no header block.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::room::{Patience, SendQueue};
use crate::metrics::Shed;
use crate::net::budget::{Charge, Holder};
use crate::net::turn::give_way;

/// Bytes before a frame's payload (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// `PRI * HTTP/2.0` and so on, before the client's first frame.
const PREFACE_BYTES: usize = 24;
/// Streams that are remembered; more than the library lets a client begin and break.
const MAX_REMEMBERED: usize = 4096;

/// What the library may keep of a head whose end has not come: a list of 16 KiB in many fields.
const PARTIAL_HEAD_BYTES: usize = 48 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// Frames, and bytes, that are read before other tasks get a turn.
const FRAMES_PER_TURN: u32 = 16;
const BYTES_PER_TURN: usize = 64 * 1024;

/// What was seen of one connection.
pub(crate) struct Seen {
    /// Streams that the client began, and that were neither accepted nor refused so far.
    begun: RefCell<VecDeque<u32>>,
    /// Streams that the library has refused, with the status that says why; unless they are
    /// accepted after all: a stream may break before anybody has looked at it.
    refused: RefCell<Vec<(u32, u16)>>,
    /// Streams that the sidecar resets because their requests are malformed.
    malformed: RefCell<VecDeque<u32>>,
    /// Streams whose trailers may not be whole.
    cut_trailers: RefCell<VecDeque<u32>>,
    /// The client wants a smaller table of header compression than there is at first.
    has_small_table: Cell<bool>,
    holder: Rc<Holder>,
    /// What its streams wait to send.
    pub queue: SendQueue,
    /// What the beginning of a head may become.
    head: Charge,
    patience: Patience,
    /// Frames and bytes that were read in this turn.
    turn: Cell<(u32, usize)>,
    /// Why the connection has to end.
    ends: Cell<Option<Shed>>,
}

impl Seen {
    /// Nothing so far, of a connection of `holder`.
    pub(crate) fn new(holder: &Rc<Holder>) -> Rc<Self> {
        Rc::new(Self {
            begun: RefCell::default(),
            refused: RefCell::default(),
            malformed: RefCell::default(),
            cut_trailers: RefCell::default(),
            has_small_table: Cell::new(false),
            holder: Rc::clone(holder),
            queue: SendQueue::new(holder),
            head: holder.charge(),
            patience: Patience::new(),
            turn: Cell::new((0, 0)),
            ends: Cell::new(None),
        })
    }

    /// To whom is charged what is kept for the connection.
    pub(crate) fn holder(&self) -> &Rc<Holder> {
        &self.holder
    }

    /// Other tasks have had their turn.
    pub(crate) fn begin_turn(&self) {
        self.turn.set((0, 0));
    }

    /// Why the connection has to end at once, if it has to.
    pub(crate) fn ends(&self) -> Option<Shed> {
        self.ends.get()
    }

    /// A frame came that carries something, or not.
    fn came(&self, frame: FrameHead, is_last_of_head: bool) {
        let (frames, bytes) = self.turn.get();
        self.turn.set((frames + 1, bytes));
        match frame.kind {
            HEADERS | CONTINUATION => self.patience.restore(),
            DATA if frame.payload > 0 => self.patience.restore(),
            _ if self.patience.spend() => {}
            _ => self.ends.set(Some(Shed::Flood)),
        }
        match frame.kind {
            HEADERS | CONTINUATION if is_last_of_head => self.head.set(0),
            HEADERS if self.head.try_set(PARTIAL_HEAD_BYTES).is_err() => {
                self.ends.set(Some(Shed::Request));
            }
            RST_STREAM => self.queue.forget(frame.stream),
            _ => {}
        }
    }

    /// The library has handed out a stream.
    pub(crate) fn accepted(&self, stream: u32) {
        self.forget(stream);
        self.refused.borrow_mut().retain(|(refused, _)| *refused != stream);
    }

    /// The next reset of a stream says that its request is malformed: a 400 goes before it. Tells
    /// whether that is possible.
    pub(crate) fn answer_before_reset(&self, stream: u32) -> bool {
        let can = !self.has_small_table.get();
        if can {
            remember(&self.malformed, stream);
        }
        can
    }

    /// The statuses of requests that the library has refused. Only while it has no stream to hand
    /// out.
    pub(crate) fn take_refused(&self) -> Vec<u16> {
        self.refused.borrow_mut().drain(..).map(|(_, status)| status).collect()
    }

    /// How many requests had begun when the library ended the connection for what the client sent.
    pub(crate) fn take_begun(&self) -> usize {
        self.begun.borrow_mut().drain(..).count()
    }

    /// Tells whether the library may have dropped some of a stream's trailers.
    pub(crate) fn has_cut_trailers(&self, stream: u32) -> bool {
        self.cut_trailers.borrow().contains(&stream)
    }

    /// Tells whether a stream had not been accepted or refused so far; it has now.
    fn forget(&self, stream: u32) -> bool {
        let mut begun = self.begun.borrow_mut();
        begun.binary_search(&stream).ok().and_then(|at| begun.remove(at)).is_some()
    }

    /// Tells whether a reset of this stream for a malformed request is answered first.
    fn is_answered(&self, stream: u32) -> bool {
        // With a smaller table the first block has to say so, which only the library can.
        !self.has_small_table.get()
            && (self.begun.borrow().contains(&stream) || self.malformed.borrow().contains(&stream))
    }
}

fn remember(list: &RefCell<VecDeque<u32>>, stream: u32) {
    let mut list = list.borrow_mut();
    if list.len() == MAX_REMEMBERED {
        list.pop_front();
    }
    list.push_back(stream);
}

/// The nine bytes before a payload.
#[derive(Clone, Copy)]
struct FrameHead {
    payload: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn of(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            payload: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }
}

/// What the client sends.
struct Inbound {
    seen: Rc<Seen>,
    head: [u8; HEAD_BYTES],
    /// How much of the head is there.
    have: usize,
    /// Bytes up to the next head.
    skip: usize,
    newest: u32,
    /// The stream whose trailers come, and their bytes so far.
    trailers: Option<(u32, usize)>,
    max_trailer_bytes: usize,
    /// The setting that is being read, of a payload of SETTINGS.
    setting: Option<([u8; 6], usize)>,
}

impl Inbound {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= skipped.len();
                self.read_settings(skipped);
                bytes = rest;
                continue;
            }
            for (to, byte) in self.head.iter_mut().skip(self.have).zip(bytes) {
                *to = *byte;
            }
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            self.have += taken;
            (_, bytes) = bytes.split_at(taken);
            if self.have == HEAD_BYTES {
                self.have = 0;
                self.begin(FrameHead::of(self.head));
            }
        }
    }

    fn begin(&mut self, frame: FrameHead) {
        const ACK: u8 = 1;
        const END_HEADERS: u8 = 4;
        self.skip = frame.payload;
        self.seen.came(frame, frame.flags & END_HEADERS != 0);
        let is_settings = frame.kind == SETTINGS && frame.flags & ACK == 0;
        self.setting = is_settings.then_some(([0; 6], 0));
        self.trailers = match (frame.kind, self.trailers) {
            (HEADERS, _) if frame.stream > self.newest => {
                self.newest = frame.stream;
                remember(&self.seen.begun, frame.stream);
                None
            }
            (HEADERS, _) => Some((frame.stream, frame.payload)),
            (CONTINUATION, Some((stream, bytes))) => Some((stream, bytes + frame.payload)),
            _ => None,
        };
        if let Some((stream, bytes)) = self.trailers
            && bytes > self.max_trailer_bytes
        {
            self.trailers = None;
            remember(&self.seen.cut_trailers, stream);
        }
    }

    fn read_settings(&mut self, payload: &[u8]) {
        const HEADER_TABLE_SIZE: u16 = 1;
        const FIRST_TABLE_BYTES: u32 = 4096;
        let Some((setting, have)) = &mut self.setting else {
            return;
        };
        for byte in payload {
            if let Some(to) = setting.get_mut(*have) {
                *to = *byte;
            }
            *have = (*have + 1) % setting.len();
            let [name_high, name_low, value @ ..] = *setting;
            let is_table = u16::from_be_bytes([name_high, name_low]) == HEADER_TABLE_SIZE;
            if *have == 0 && is_table && u32::from_be_bytes(value) < FIRST_TABLE_BYTES {
                self.seen.has_small_table.set(true);
            }
        }
    }
}

/// What the library sends.
struct Outbound {
    seen: Rc<Seen>,
    /// Bytes up to the next frame.
    left: usize,
    /// What goes before it, and how much of that is out.
    answer: Vec<u8>,
    at: usize,
    refusal_block: RefusalBlock,
}

/// Makes the header block of the answer to a malformed request: short, and such that the state of
/// the library's compression stays as it is.
pub(crate) type RefusalBlock = Box<dyn Fn() -> Vec<u8>>;

impl Outbound {
    /// Where the first reset begins that an answer of ours goes before, and its stream.
    ///
    /// The library writes whole heads of frames into the first slice of a write, and payloads of
    /// DATA into a second.
    fn refusal(&self, first: &[u8]) -> Option<(usize, u32)> {
        let mut at = self.left;
        while let Some(frame) = head_at(first, at) {
            let code = first.get(at + HEAD_BYTES..).unwrap_or_default();
            if frame.kind == RST_STREAM
                && code.starts_with(&PROTOCOL_ERROR)
                && self.seen.is_answered(frame.stream)
            {
                return Some((at, frame.stream));
            }
            at += HEAD_BYTES + frame.payload;
        }
        None
    }

    /// Makes the answer to a malformed request (RFC 9113 §8.1.1: it may come before the reset).
    fn answer(&mut self, stream: u32) {
        const END_STREAM_AND_HEADERS: u8 = 0x5;
        if self.seen.forget(stream) {
            self.seen.refused.borrow_mut().push((stream, 400));
        }
        self.seen.malformed.borrow_mut().retain(|malformed| *malformed != stream);
        let block = (self.refusal_block)();
        let [.., high, low] = block.len().to_be_bytes();
        self.answer = vec![0, high, low, HEADERS, END_STREAM_AND_HEADERS];
        self.answer.extend_from_slice(&stream.to_be_bytes());
        self.answer.extend_from_slice(&block);
        self.at = 0;
    }

    /// So many bytes of a write went out.
    fn sent(&mut self, first: &[u8], count: usize) {
        let mut at = self.left;
        while at < count
            && let Some(frame) = head_at(first, at)
        {
            self.began(frame, first.get(at + HEAD_BYTES..).unwrap_or_default());
            at += HEAD_BYTES + frame.payload;
        }
        self.left = at.saturating_sub(count);
    }

    /// A frame is on its way.
    fn began(&self, frame: FrameHead, payload: &[u8]) {
        match frame.kind {
            DATA => {
                self.seen.patience.restore();
                return self.seen.queue.sent(frame.stream, frame.payload);
            }
            RST_STREAM => self.seen.queue.forget(frame.stream),
            HEADERS => {}
            _ => return,
        }
        if !self.seen.forget(frame.stream) {
            return;
        }
        let status = match frame.kind {
            HEADERS => 431,
            _ if payload.starts_with(&PROTOCOL_ERROR) => 400,
            // Refused for the limit of streams: it may come again, and will be counted then.
            _ => return,
        };
        self.seen.refused.borrow_mut().push((frame.stream, status));
    }
}

fn head_at(bytes: &[u8], at: usize) -> Option<FrameHead> {
    bytes.get(at..)?.first_chunk().map(|head| FrameHead::of(*head))
}

/// A client's connection whose frames are looked at as they pass.
pub(crate) struct Watched<T> {
    io: T,
    inbound: Inbound,
    outbound: Outbound,
}

impl<T> Watched<T> {
    /// Tells `seen` what passes over `io`. Trailers whose frames have more than `max_trailer_bytes`
    /// may have been cut.
    pub(crate) fn new(
        io: T,
        seen: &Rc<Seen>,
        max_trailer_bytes: usize,
        refusal_block: RefusalBlock,
    ) -> Self {
        let inbound = Inbound {
            seen: Rc::clone(seen),
            head: [0; HEAD_BYTES],
            have: 0,
            skip: PREFACE_BYTES,
            newest: 0,
            trailers: None,
            max_trailer_bytes,
            setting: None,
        };
        let (seen, answer) = (Rc::clone(seen), Vec::new());
        let outbound = Outbound { seen, left: 0, answer, at: 0, refusal_block };
        Self { io, inbound, outbound }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let seen = &this.inbound.seen;
        if seen.ends().is_some() {
            // Its task looks after each turn. Nothing more is read.
            return Poll::Pending;
        }
        let (frames, bytes) = seen.turn.get();
        if frames >= FRAMES_PER_TURN || bytes >= BYTES_PER_TURN {
            give_way(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let (_, read) = buffer.filled().split_at(before);
        seen.turn.set((frames, bytes + read.len()));
        this.inbound.read(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let out = &mut this.outbound;
        let first: &[u8] = slices.first().map_or(&[], |slice| slice);
        if out.answer.is_empty()
            && let Some((0, stream)) = out.refusal(first)
        {
            out.answer(stream);
        }
        while let Some(rest) = out.answer.get(out.at..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut this.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => out.at += count,
            }
        }
        out.answer.clear();
        let written = match out.refusal(first) {
            Some((at, _)) => {
                let (before, _) = first.split_at(at);
                ready!(Pin::new(&mut this.io).poll_write(cx, before))?
            }
            None => ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?,
        };
        out.sent(first, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;
    use crate::net::budget::{Budget, Holders};

    /// Takes so many bytes of each write.
    struct Slow {
        at_once: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = self.at_once.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn block() -> RefusalBlock {
        Box::new(|| vec![9; 300])
    }

    fn fresh() -> Rc<Seen> {
        Seen::new(&Holders::new(Budget::new(1 << 30)).open())
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Writes `first` and then `payload`, as the library does; tells what came out.
    fn written(seen: &Rc<Seen>, at_once: usize, first: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut io = Watched::new(Slow { at_once, taken: Vec::new() }, seen, 1000, block());
        let mut cx = Context::from_waker(Waker::noop());
        let (mut first, mut payload) = (first, payload);
        while !first.is_empty() || !payload.is_empty() {
            let slices = [IoSlice::new(first), IoSlice::new(payload)];
            let slices = if first.is_empty() { &slices[1..] } else { &slices };
            match Pin::new(&mut io).poll_write_vectored(&mut cx, slices) {
                Poll::Ready(Ok(count)) => {
                    let of_first = count.min(first.len());
                    first = &first[of_first..];
                    payload = &payload[count - of_first..];
                }
                other => panic!("{other:?}"),
            }
        }
        io.io.taken
    }

    fn reset(stream: u32, code: u8) -> Vec<u8> {
        frame(RST_STREAM, 0, stream, &[0, 0, 0, code])
    }

    #[test]
    fn a_reset_that_refuses_a_request_is_answered_first_however_it_is_written() {
        let data = frame(0, 0, 3, &[9; 50]);
        let (head, payload) = data.split_at(HEAD_BYTES);
        for at_once in 1..80 {
            let seen = fresh();
            for stream in [1, 3, 5, 7, 9, 11] {
                remember(&seen.begun, stream);
            }
            seen.accepted(3);
            assert!(seen.answer_before_reset(3));
            let out = [
                &reset(1, 1),
                &frame(HEADERS, 4, 7, b"431"),
                &reset(7, 1),
                &reset(9, 7),
                &reset(5, 1),
                &reset(3, 1),
                &reset(13, 1),
                head,
            ];
            let got = written(&seen, at_once, &out.concat(), payload);
            let answer = |stream| frame(HEADERS, 5, stream, &[9; 300]);
            let [one, head_7, reset_7, refused_9, five, three, thirteen, head] = out;
            let expected = [
                &answer(1),
                one,
                head_7,
                reset_7,
                refused_9,
                &answer(5),
                five,
                &answer(3),
                three,
                thirteen,
                head,
                payload,
            ];
            assert_eq!(got, expected.concat(), "{at_once} bytes at once");
            // 5 broke before it was handed out; 3 is counted by its task; 9 may come again.
            seen.accepted(5);
            assert_eq!(seen.take_refused(), [400, 431]);
            assert_eq!(seen.take_begun(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_made_of_frames_that_carry_nothing() {
        const END_HEADERS: u8 = 4;
        for (kind, payload, is_flood) in [
            (DATA, &b"x"[..], false),
            (DATA, b"", true),
            (HEADERS, b"", false),
            (CONTINUATION, b"", false),
            (SETTINGS, b"", true),
            (RST_STREAM, &[0, 0, 0, 8], true),
            (6, b"12345678", true),
            (8, &[0, 0, 0, 1], true),
            (0xff, b"unknown", true),
        ] {
            let seen = fresh();
            let mut io = Watched::new((), &seen, 1000, block());
            io.inbound.read(&[b'x'; PREFACE_BYTES]);
            for _ in 0..1001 {
                assert_eq!(seen.ends(), None, "{kind}");
                io.inbound.read(&frame(kind, END_HEADERS, 1, payload));
            }
            assert_eq!(seen.ends(), is_flood.then_some(Shed::Flood), "{kind} {payload:?}");
        }
    }

    #[test]
    fn no_answer_goes_to_a_client_with_a_small_table() {
        let seen = fresh();
        let mut io = Watched::new((), &seen, 1000, block());
        io.inbound.read(&[b'x'; PREFACE_BYTES]);
        io.inbound.read(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0]));
        assert!(seen.answer_before_reset(1));
        io.inbound.read(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0x0f, 0xff]));
        assert!(!seen.answer_before_reset(1));
        remember(&seen.begun, 5);
        assert_eq!(written(&seen, 80, &reset(5, 1), &[]), reset(5, 1));
        assert_eq!(seen.take_refused(), [400]);
    }

    proptest! {
        #[test]
        fn what_a_client_begins_is_seen_in_pieces_of_any_size(size in 1_usize..40) {
            let bytes = [
                vec![b'x'; PREFACE_BYTES],
                frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]),
                frame(HEADERS, 4, 1, &[1; 900]),
                frame(0, 0, 1, &[1; 3000]),
                frame(HEADERS, 4, 3, &[1; 1100]),
                // Trailers, large only together.
                frame(HEADERS, 1, 1, &[1; 900]),
                frame(CONTINUATION, 4, 1, &[1; 101]),
                frame(HEADERS, 1, 3, &[1; 900]),
                frame(CONTINUATION, 4, 3, &[1; 100]),
                frame(HEADERS, 5, 5, &[]),
            ]
            .concat();
            let seen = fresh();
            let mut io = Watched::new((), &seen, 1000, block());
            for piece in bytes.chunks(size) {
                io.inbound.read(piece);
            }
            prop_assert_eq!(&*seen.begun.borrow(), &[1, 3, 5]);
            prop_assert!(seen.has_cut_trailers(1) && !seen.has_cut_trailers(3));
            prop_assert!(seen.has_small_table.get());
        }

        #[test]
        fn any_bytes_pass_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            at_once in 1_usize..50,
        ) {
            let seen = fresh();
            let mut io = Watched::new((), &seen, 10, block());
            io.inbound.read(&bytes);
            let got = written(&fresh(), at_once, &bytes, &[]);
            prop_assert_eq!(got, bytes);
        }
    }
}
