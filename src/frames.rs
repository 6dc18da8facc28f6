//! A client's HTTP/2 frames, watched on their way to the h2 library: rules that it does not hold
//! to, or whose breach it answers with another code than RFC 9113 asks for.
//!
//! Pure: no I/O, no clock. What it does not know is left to the library, which judges each frame
//! again.

use self::ended::Ended;
use self::hpack::Blocks;

mod ended;
mod hpack;
mod huffman;
mod payload;
mod table;
#[cfg(test)]
mod tests;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
/// Where a head has the frame's type.
const KIND_AT: usize = 3;
/// What a frame may carry; our SETTINGS name no other limit.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024;
const PRIORITY_BYTES: usize = 5;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// A type that no document defines.
const UNASSIGNED: u8 = 0xff;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

/// A breach that ends the connection.
///
/// # Source
///
/// RFC 9113 §7. A stream error may be taken for a connection error (§5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// `PROTOCOL_ERROR`
    Protocol = 1,
    /// `FLOW_CONTROL_ERROR`
    FlowControl = 3,
    /// `STREAM_CLOSED`
    StreamClosed = 5,
    /// `FRAME_SIZE_ERROR`
    FrameSize = 6,
    /// `COMPRESSION_ERROR`
    Compression = 9,
}

/// The frames of one client.
///
/// # Shape
///
/// Some kilobytes at most. DATA is skipped, not read; of header blocks the lengths are read.
#[derive(Debug)]
pub struct Frames {
    at: At,
    head: [u8; HEAD_BYTES],
    /// The first frame was SETTINGS.
    begun: bool,
    /// The highest stream that the client opened.
    highest: u32,
    ended: Ended,
    block: Option<Block>,
    blocks: Blocks,
}

/// Where in the bytes of the client it is.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In the preface, with so many bytes to come.
    Preface(usize),
    /// In a frame's head, of which so many bytes are there.
    Head(usize),
    /// In a payload.
    Payload(payload::Payload),
}

/// A header block that goes on.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    trailers: bool,
    /// The frame that is being read is its last.
    last: bool,
}

/// A frame's head.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn new(head: [u8; HEAD_BYTES]) -> Self {
        let [high, mid, low, kind, flags, stream @ ..] = head;
        let length = usize::from(high) << 16 | usize::from(mid) << 8 | usize::from(low);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Self { length, kind, flags, stream }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// Begins before the preface.
    pub fn new() -> Self {
        Self {
            at: At::Preface(PREFACE_BYTES),
            head: [0; HEAD_BYTES],
            begun: false,
            highest: 0,
            ended: Ended::default(),
            block: None,
            blocks: Blocks::new(),
        }
    }

    /// Looks at what came next. A GOAWAY is made a frame of unknown type, which is ignored: it says
    /// nothing of the streams that the client opened, and the library would end an idle connection
    /// before a PING behind it is answered.
    ///
    /// # Errors
    ///
    /// The breach, and how many of these bytes may still be handed on: without the others the frame
    /// that is wrong is never whole. Nothing may be shown after that.
    pub fn watch(&mut self, bytes: &mut [u8]) -> Result<(), (usize, Fault)> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done += self.step(rest).map_err(|fault| (done, fault))?;
        }
        Ok(())
    }

    /// Takes at least one byte, of one frame.
    fn step(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        match self.at {
            At::Preface(left) => {
                let taken = left.min(bytes.len());
                let left = left - taken;
                self.at = if left == 0 { At::Head(0) } else { At::Preface(left) };
                Ok(taken)
            }
            At::Head(have) => {
                let free = self.head.get_mut(have..).unwrap_or_default();
                let taken = free.len().min(bytes.len());
                free.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
                if let [_, _, _, GOAWAY, ..] = self.head
                    && let Some(kind) = KIND_AT.checked_sub(have).and_then(|at| bytes.get_mut(at))
                {
                    *kind = UNASSIGNED;
                }
                if have + taken < HEAD_BYTES {
                    self.at = At::Head(have + taken);
                } else {
                    let payload = self.begin(Head::new(self.head))?;
                    self.enter(payload)?;
                }
                Ok(taken)
            }
            At::Payload(mut payload) => {
                let taken = payload.read(bytes, &mut self.blocks)?;
                self.enter(payload)?;
                Ok(taken)
            }
        }
    }

    /// Goes on in a payload, or behind it.
    fn enter(&mut self, payload: payload::Payload) -> Result<(), Fault> {
        if !payload.is_over() {
            self.at = At::Payload(payload);
            return Ok(());
        }
        self.at = At::Head(0);
        if let Some(block) = self.block.take_if(|block| block.last) {
            let pseudo = self.blocks.end().map_err(|_broken| Fault::Compression)?;
            if pseudo && block.trailers {
                return Err(Fault::Protocol);
            }
        }
        Ok(())
    }

    /// Judges a frame by its head.
    fn begin(&mut self, head: Head) -> Result<payload::Payload, Fault> {
        if !self.begun && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(Fault::Protocol);
        }
        self.begun = true;
        if head.length > MAX_PAYLOAD_BYTES || !fits(head) {
            return Err(Fault::FrameSize);
        }
        let continues = head.kind == CONTINUATION;
        if self.block.map(|block| block.stream) != continues.then_some(head.stream) {
            return Err(Fault::Protocol);
        }
        match head.kind {
            HEADERS => self.headers(head)?,
            DATA if self.ended.contains(head.stream) => return Err(Fault::StreamClosed),
            DATA if head.has(END_STREAM) => self.end(head.stream),
            RST_STREAM => self.end(head.stream),
            PUSH_PROMISE => return Err(Fault::Protocol),
            PING | GOAWAY | SETTINGS if head.stream != 0 => return Err(Fault::Protocol),
            CONTINUATION => {
                if let Some(block) = &mut self.block {
                    block.last = head.has(END_HEADERS);
                }
            }
            _ => {}
        }
        payload::Payload::new(head)
    }

    fn headers(&mut self, head: Head) -> Result<(), Fault> {
        let stream = head.stream;
        if stream.is_multiple_of(2) {
            return Err(Fault::Protocol);
        }
        if self.ended.contains(stream) {
            return Err(Fault::StreamClosed);
        }
        let trailers = stream <= self.highest;
        self.highest = self.highest.max(stream);
        if head.has(END_STREAM) {
            self.end(stream);
        }
        self.block = Some(Block { stream, trailers, last: head.has(END_HEADERS) });
        Ok(())
    }

    fn end(&mut self, stream: u32) {
        if stream <= self.highest {
            self.ended.insert(stream);
        }
    }
}

/// RFC 9113 §4.2 and §6: whether a frame has the length that its type asks for.
fn fits(head: Head) -> bool {
    let Head { length, kind, .. } = head;
    let padded = usize::from(head.has(PADDED));
    match kind {
        HEADERS if head.has(PRIORITISED) => length >= padded + PRIORITY_BYTES,
        DATA | HEADERS => length >= padded,
        PRIORITY => length == PRIORITY_BYTES,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if head.has(ACK) => length == 0,
        SETTINGS => length % 6 == 0,
        PING => length == 8,
        GOAWAY => length >= 8,
        _ => true,
    }
}
