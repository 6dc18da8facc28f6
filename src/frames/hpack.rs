//! The shape of header blocks: whether they decode, and whether a name begins with a colon.
//!
//! Sizes are enough for that. No name and no value is kept, whatever their length.

use super::huffman::Huffman;
use super::table::Table;

/// A header block does not decode: a connection error (RFC 9113 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken;

/// Bytes of an integer behind its prefix. HTTP needs no larger numbers, and h2 takes none.
const MAX_INTEGER_BYTES: u32 = 4;

/// What the next byte is.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The first byte of a field or of a change of the table's size.
    Field,
    /// A further byte of an integer.
    Integer { of: Number, value: usize, bytes: u32 },
    /// The length of a text.
    Length(Part),
    /// A text's bytes.
    Text(Text),
}

#[derive(Clone, Copy, Debug)]
struct Text {
    part: Part,
    left: usize,
    huffman: bool,
    seen: Huffman,
}

/// What an integer stands for.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// A whole field of the tables.
    Field,
    /// A name of the tables.
    Name,
    /// The size of the dynamic table.
    TableSize,
    /// The length of a text.
    Length { part: Part, huffman: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Name,
    Value,
}

/// A field's name.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Name {
    pub(super) bytes: usize,
    pub(super) pseudo: bool,
}

/// The decoder of one connection's header blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    table: Table,
    next: Next,
    /// The field that is being read.
    name: Name,
    indexed: bool,
    /// A field came in this block: the table's size changes before the first only.
    any: bool,
    pseudo: bool,
}

impl Blocks {
    /// Begins with an empty table.
    pub(super) fn new() -> Self {
        let (table, name) = (Table::new(), Name::default());
        Self { table, next: Next::Field, name, indexed: false, any: false, pseudo: false }
    }

    /// Reads a part of a block.
    ///
    /// # Errors
    ///
    /// The block does not decode; nothing after it does.
    ///
    /// # Shape
    ///
    /// Linear in `bytes`; a step per byte, but for texts without a code.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while let Some((first, rest)) = bytes.split_first() {
            bytes = match self.next {
                Next::Field => {
                    self.field(*first)?;
                    rest
                }
                Next::Integer { of, value, bytes } => {
                    self.integer(of, value, bytes, *first)?;
                    rest
                }
                Next::Length(part) => {
                    let of = Number::Length { part, huffman: first & 0x80 != 0 };
                    self.number(of, *first, 7)?;
                    rest
                }
                Next::Text(text) => {
                    let (own, rest) = bytes.split_at(text.left.min(bytes.len()));
                    self.text(text, own)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// The block ends; tells whether a name in it begins with a colon.
    ///
    /// # Errors
    ///
    /// It ends in the middle of a field.
    pub(super) fn end(&mut self) -> Result<bool, Broken> {
        let pseudo = self.pseudo;
        (self.any, self.pseudo) = (false, false);
        if matches!(self.next, Next::Field) { Ok(pseudo) } else { Err(Broken) }
    }

    /// What the dynamic table holds, as RFC 7541 §4.1 counts it.
    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        self.table.bytes
    }

    /// RFC 7541 §6: the first bits say what it is.
    fn field(&mut self, first: u8) -> Result<(), Broken> {
        let (of, prefix) = match first {
            0x80.. => (Number::Field, 7),
            0x40..0x80 => (Number::Name, 6),
            0x20..0x40 if self.any => return Err(Broken),
            0x20..0x40 => (Number::TableSize, 5),
            _ => (Number::Name, 4),
        };
        self.any |= !matches!(of, Number::TableSize);
        self.indexed = prefix == 6;
        self.number(of, first, prefix)
    }

    /// RFC 7541 §5.1: a number begins with the low bits of a byte.
    fn number(&mut self, of: Number, first: u8, prefix: u32) -> Result<(), Broken> {
        let mask = u8::MAX >> (8 - prefix);
        let value = usize::from(first & mask);
        if first & mask == mask {
            self.next = Next::Integer { of, value, bytes: 0 };
            return Ok(());
        }
        self.known(of, value)
    }

    fn integer(&mut self, of: Number, value: usize, bytes: u32, byte: u8) -> Result<(), Broken> {
        // At most 28 bits.
        let value = value + (usize::from(byte & 0x7f) << (7 * bytes));
        let bytes = bytes + 1;
        if byte & 0x80 == 0 {
            self.known(of, value)
        } else if bytes == MAX_INTEGER_BYTES {
            Err(Broken)
        } else {
            self.next = Next::Integer { of, value, bytes };
            Ok(())
        }
    }

    fn known(&mut self, of: Number, value: usize) -> Result<(), Broken> {
        self.next = match of {
            Number::Field => {
                self.pseudo |= self.table.name(value).ok_or(Broken)?.pseudo;
                Next::Field
            }
            Number::Name if value == 0 => Next::Length(Part::Name),
            Number::Name => {
                self.name = self.table.name(value).ok_or(Broken)?;
                Next::Length(Part::Value)
            }
            Number::TableSize => {
                self.table.resize(value)?;
                Next::Field
            }
            Number::Length { part, huffman } => {
                return self
                    .text(Text { part, left: value, huffman, seen: Huffman::default() }, &[]);
            }
        };
        Ok(())
    }

    /// Reads what of a text is in `bytes`, all of which belong to it.
    fn text(&mut self, mut text: Text, bytes: &[u8]) -> Result<(), Broken> {
        text.left -= bytes.len();
        if text.huffman {
            bytes.iter().try_for_each(|byte| text.seen.read(*byte))?;
        } else {
            text.seen.colon |= text.seen.symbols == 0 && bytes.first() == Some(&b':');
            text.seen.symbols += bytes.len();
        }
        if text.left > 0 {
            self.next = Next::Text(text);
            return Ok(());
        }
        let Huffman { symbols, colon, .. } = text.seen.end()?;
        self.next = match text.part {
            Part::Name => {
                self.name = Name { bytes: symbols, pseudo: colon };
                Next::Length(Part::Value)
            }
            Part::Value => {
                self.pseudo |= self.name.pseudo;
                if self.indexed {
                    self.table.insert(self.name, symbols);
                }
                Next::Field
            }
        };
        Ok(())
    }
}
