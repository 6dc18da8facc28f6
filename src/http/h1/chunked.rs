//! The chunked transfer coding (RFC 9112 §7.1), read strictly: CRLF only, hexadecimal only, and
//! extensions by their grammar.

use std::ops::Range;

use super::is_token;

/// Bytes of chunk extensions that one body may have; they are dropped. hyper allows as many.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;

/// The body cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChunkError {
    /// It is not chunked as it says.
    #[error("a chunk is malformed")]
    Malformed,
    /// The trailer section is beyond its limit.
    #[error("the trailer section is too large")]
    TrailersTooLarge,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before the first digit of a size.
    Start,
    /// Behind a digit.
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extension {
    /// White space before `;`, which has to come.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// White space behind a name: `=` or `;` has to come.
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind the closing quote.
    Closed,
}

impl Extension {
    /// What comes behind one more byte; `None`: the byte does not belong there.
    fn next(self, byte: u8) -> Option<Self> {
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        match (self, byte) {
            (Self::Quoted, b'"') => Some(Self::Closed),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, _) => is_text.then_some(Self::Quoted),
            (Self::BeforeSemicolon | Self::Value | Self::Closed, b' ' | b'\t') => {
                Some(Self::BeforeSemicolon)
            }
            (Self::BeforeName | Self::BeforeValue | Self::AfterName, b' ' | b'\t') => Some(self),
            (Self::Name, b' ' | b'\t') => Some(Self::AfterName),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),
            (
                Self::BeforeSemicolon | Self::Name | Self::AfterName | Self::Value | Self::Closed,
                b';',
            ) => Some(Self::BeforeName),
            (Self::BeforeValue, b'"') => Some(Self::Quoted),
            (Self::BeforeName | Self::Name, _) => is_token(byte).then_some(Self::Name),
            (Self::BeforeValue | Self::Value, _) => is_token(byte).then_some(Self::Value),
            (Self::BeforeSemicolon | Self::AfterName | Self::Closed, _) => None,
        }
    }

    /// Tells whether the line may end here.
    fn is_whole(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Closed)
    }
}

/// Finds the data in a chunked body that comes in pieces.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the chunk still to come; while its size is read, the size so far.
    remaining: u64,
    extension_bytes: usize,
    trailers: Vec<u8>,
    max_trailer_bytes: usize,
}

/// What one step made of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes of the input that were used up.
    pub consumed: usize,
    /// Which of them are data; perhaps none.
    pub data: Range<usize>,
}

impl Decoder {
    /// A body whose trailer section may have so many bytes.
    pub fn new(max_trailer_bytes: usize) -> Self {
        let (state, trailers) = (State::Start, Vec::new());
        Self { state, remaining: 0, extension_bytes: 0, trailers, max_trailer_bytes }
    }

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
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError::Malformed)?;
                let shifted = self.remaining.checked_mul(16).ok_or(ChunkError::Malformed)?;
                self.remaining = shifted | u64::from(digit);
                State::Size
            }
            (State::Size, b'\r') => State::SizeLf,
            (State::Extension(extension), b'\r') if extension.is_whole() => State::SizeLf,
            // The white space or `;` behind a size is as that behind a value.
            (State::Size, _) => self.extension(Extension::Closed, byte)?,
            (State::Extension(extension), _) => self.extension(extension, byte)?,
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (State::Trailers, _) => return self.trailer(byte),
            _ => return Err(ChunkError::Malformed),
        };
        Ok(())
    }

    fn extension(&mut self, behind: Extension, byte: u8) -> Result<State, ChunkError> {
        self.extension_bytes += 1;
        let next = behind.next(byte).filter(|_| self.extension_bytes <= MAX_EXTENSION_BYTES);
        next.map(State::Extension).ok_or(ChunkError::Malformed)
    }

    /// The section ends with an empty line; each line ends with CRLF.
    fn trailer(&mut self, byte: u8) -> Result<(), ChunkError> {
        let is_after_cr = self.trailers.last() == Some(&b'\r');
        if (byte == b'\n') != is_after_cr {
            return Err(ChunkError::Malformed);
        }
        if self.trailers.len() >= self.max_trailer_bytes {
            return Err(ChunkError::TrailersTooLarge);
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

    const MAX_TRAILER_BYTES: usize = 1024;

    fn decode(input: &[u8], size: usize) -> Result<Parts, ChunkError> {
        let mut decoder = Decoder::new(MAX_TRAILER_BYTES);
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
        if decoder.is_done() {
            Ok((data, decoder.trailers.clone(), rest))
        } else {
            Err(ChunkError::Malformed)
        }
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
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\t\r\nhello\r\n0\r\n\r\n",
            b"5;\r\nhello\r\n0\r\n\r\n",
            b"5; \r\nhello\r\n0\r\n\r\n",
            b"5 ;\r\nhello\r\n0\r\n\r\n",
            b"5;a \r\nhello\r\n0\r\n\r\n",
            b"5;;a\r\nhello\r\n0\r\n\r\n",
            b"5;a;\r\nhello\r\n0\r\n\r\n",
            b"5;=a\r\nhello\r\n0\r\n\r\n",
            b"5;a=\r\nhello\r\n0\r\n\r\n",
            b"5;a==b\r\nhello\r\n0\r\n\r\n",
            b"5;a b\r\nhello\r\n0\r\n\r\n",
            b"5;a=b c\r\nhello\r\n0\r\n\r\n",
            b"5;a=b=c\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\"c\"\r\nhello\r\n0\r\n\r\n",
            b"5;\"a\"=b\r\nhello\r\n0\r\n\r\n",
            b"5;bad[=x\r\nhello\r\n0\r\n\r\n",
            b"5;a=\xff\r\nhello\r\n0\r\n\r\n",
            b"5,a\r\nhello\r\n0\r\n\r\n",
            b"5 a\r\nhello\r\n0\r\n\r\n",
            b"0;\r\n\r\n",
            b"0 \r\n\r\n",
            b"10000000000000000\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(decode(input, 64).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn extensions_are_read_by_their_grammar_and_dropped() {
        for line in [
            "5;a",
            "5;a=b",
            "5;a;b",
            "5;a=b;c=d",
            "5;a=\"\"",
            "5;a=\"b c;d=\\\"e\\\\\"",
            "5;a=\"b\u{e9}\"",
            "5 ;a",
            "5\t; a",
            "5 ; a = b ; c = \"d\" ;e",
            "5;!#$%&'*+-.^_`|~9=~",
            "0005;a",
        ] {
            let body = format!("{line}\r\nhello\r\n0;x=y\r\n\r\n");
            for size in [1, 3, 100] {
                let decoded = decode(body.as_bytes(), size);
                assert_eq!(decoded.expect(line).0, b"hello", "{line}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let malformed = Some(ChunkError::Malformed);
        let long = "x".repeat(MAX_EXTENSION_BYTES + 1);
        assert_eq!(decode(format!("0;{long}\r\n\r\n").as_bytes(), 4096).err(), malformed);
        let spaces = " ".repeat(MAX_EXTENSION_BYTES);
        assert_eq!(decode(format!("0{spaces};a\r\n\r\n").as_bytes(), 4096).err(), malformed);
        let just = "x".repeat(MAX_TRAILER_BYTES - "A: \r\n\r\n".len());
        assert!(decode(format!("0\r\nA: {just}\r\n\r\n").as_bytes(), 4096).is_ok());
        let beyond = decode(format!("0\r\nA: {just}x\r\n\r\n").as_bytes(), 4096);
        assert_eq!(beyond.err(), Some(ChunkError::TrailersTooLarge));
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
