//! The chunked transfer coding (RFC 9112 §7.1), read strictly: CRLF only, hexadecimal only.

use std::ops::Range;

/// Bytes of chunk extensions that one body may have; they are dropped. hyper allows as many.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// Bytes of a trailer section.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// The body is not chunked as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a chunk is malformed")]
pub struct ChunkError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before the first digit of a size.
    Start,
    /// Behind a digit.
    Size,
    /// White space behind the size; then an extension or the end of the line.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Finds the data in a chunked body that comes in pieces.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the chunk still to come; while its size is read, the size so far.
    remaining: u64,
    extension_bytes: usize,
    trailers: Vec<u8>,
}

/// What one step made of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes of the input that were used up.
    pub consumed: usize,
    /// Which of them are data; perhaps none.
    pub data: Range<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Start, remaining: 0, extension_bytes: 0, trailers: Vec::new() }
    }
}

impl Decoder {
    /// Tells whether the body's end was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer section as sent, with the empty line that ends it.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads up to and including the next run of data, or all of `input`, or to the body's end.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]; the end of the body is unknown from then on.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            match self.state {
                State::Done => break,
                State::Data => {
                    let here = input.len() - at;
                    let take = usize::try_from(self.remaining).unwrap_or(here).min(here);
                    self.remaining -= take as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Step { consumed: at + take, data: at..at + take });
                }
                _ => self.control(*byte)?,
            }
            at += 1;
        }
        Ok(Step { consumed: at, data: at..at })
    }

    /// Takes one byte that is not data.
    fn control(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Start | State::Size, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError)?;
                let shifted = self.remaining.checked_mul(16).ok_or(ChunkError)?;
                self.remaining = shifted | u64::from(digit);
                State::Size
            }
            (State::Size | State::Space, b' ' | b'\t') => State::Space,
            (State::Size | State::Space, b';') => State::Extension,
            (State::Size | State::Space | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) if byte == b'\t' || !byte.is_ascii_control() => {
                self.extension_bytes += 1;
                if self.extension_bytes > MAX_EXTENSION_BYTES {
                    return Err(ChunkError);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (State::Trailers, _) => return self.trailer(byte),
            _ => return Err(ChunkError),
        };
        Ok(())
    }

    /// The section ends with an empty line; each line ends with CRLF.
    fn trailer(&mut self, byte: u8) -> Result<(), ChunkError> {
        let is_after_cr = self.trailers.last() == Some(&b'\r');
        if (byte == b'\n') != is_after_cr || self.trailers.len() >= MAX_TRAILER_BYTES {
            return Err(ChunkError);
        }
        self.trailers.push(byte);
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            self.state = State::Done;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// All data, the trailers, and what was left over; in pieces of `size`.
    type Parts = (Vec<u8>, Vec<u8>, Vec<u8>);

    fn decode(input: &[u8], size: usize) -> Result<Parts, ChunkError> {
        let mut decoder = Decoder::default();
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for piece in input.chunks(size) {
            let mut piece = piece;
            while !piece.is_empty() && !decoder.is_done() {
                let step = decoder.step(piece)?;
                data.extend_from_slice(&piece[step.data]);
                piece = &piece[step.consumed..];
            }
            rest.extend_from_slice(piece);
        }
        if decoder.is_done() { Ok((data, decoder.trailers.clone(), rest)) } else { Err(ChunkError) }
    }

    #[test]
    fn chunks_extensions_and_trailers_are_told_apart_in_pieces_of_any_size() {
        let input = b"3;a=\"b\"\r\nabc\r\n0A \t;x\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\nNEXT";
        for size in 1..input.len() {
            let (data, trailers, rest) = decode(input, size).expect("well-formed");
            assert_eq!(data, b"abc0123456789");
            assert_eq!(trailers, b"A: b\r\nC: d\r\n\r\n");
            assert_eq!(rest, b"NEXT");
        }
        assert_eq!(decode(b"0\r\n\r\n", 1).expect("empty"), (vec![], b"\r\n".to_vec(), vec![]));
    }

    #[test]
    fn whatever_two_recipients_could_read_differently_is_refused() {
        for input in [
            &b" 3\r\nabc\r\n0\r\n\r\n"[..],
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"-1\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"3_0\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcX\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3;a\nabc\r\n0\r\n\r\n",
            b"3;a\0\r\nabc\r\n0\r\n\r\n",
            b"3;a\x7f\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n0\r\nA: b\n\r\n",
            b"3\r\nabc\r\n0\r\nA: b\rC\r\n\r\n",
            b"10000000000000000\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(decode(input, 64).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = "x".repeat(MAX_EXTENSION_BYTES + 1);
        assert!(decode(format!("0;{long}\r\n\r\n").as_bytes(), 4096).is_err());
        assert!(decode(format!("0\r\nA: {long}\r\n\r\n").as_bytes(), 4096).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_the_same_in_pieces_of_any_size(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';'), any::<u8>()],
                0..64),
            size in 1_usize..8,
        ) {
            prop_assert_eq!(decode(&input, 64).ok(), decode(&input, size).ok());
        }

        #[test]
        fn what_was_encoded_is_decoded(chunks in proptest::collection::vec("[ -~]{1,40}", 0..6)) {
            let mut input = String::new();
            for chunk in &chunks {
                let _infallible = write!(input, "{:X}\r\n{chunk}\r\n", chunk.len());
            }
            input.push_str("0\r\n\r\n");
            let (data, _, _) = decode(input.as_bytes(), 7).expect("well-formed");
            prop_assert_eq!(data, chunks.concat().into_bytes());
        }
    }
}
