//! Tells random text from words, of whatever language, by which letters follow which.

/// How much likelier a letter is after another in words than in random text: a row for each
/// letter, and the last for the beginning of a word; a column for each letter. In bits, and 4
/// more.
///
/// # Source
///
/// `benches/paths/pairs.py`: texts and names of people in Faker's languages of Latin letters, and
/// the words of the APIs that `benches/paths` chooses by.
const PAIRS: &[u8] = include_bytes!("pairs.txt");

/// Letters, and the end of the line.
const ROW_BYTES: usize = 27;
const BEGINNING: usize = 26;

/// Bits by which text must rather be random to be taken for it.
const PART_BITS: i32 = 6;
/// The same where only all parts together are long enough.
const WHOLE_BITS: i32 = 8;
/// Shorter text says too little.
const MIN_PART_BYTES: usize = 8;
const MIN_WHOLE_BYTES: usize = 10;

/// Tells whether text, or one of its parts between separators, is rather random than words.
/// Never panics; no allocation.
pub(super) fn is_random(text: &str) -> bool {
    let (mut bits, mut bytes, mut parts) = (0, 0, 0);
    for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        let own = bits_for_words(part);
        if part.len() >= MIN_PART_BYTES && own <= -PART_BITS {
            return true;
        }
        bits += own;
        bytes += part.len();
        parts += 1;
    }
    parts > 1 && bytes >= MIN_WHOLE_BYTES && bits <= -WHOLE_BITS
}

/// Bits of evidence that letters and digits are words: negative if they are rather random.
fn bits_for_words(part: &str) -> i32 {
    /// Words seldom change case or go on with a digit, random text does all the time.
    const CHANGE_BITS: i32 = 2;
    let (mut bits, mut before) = (0, BEGINNING);
    let mut kinds = (None, None);
    for byte in part.bytes() {
        let kind = Kind::of(byte);
        let is_hump = kinds.1 == Some(Kind::Small) && kind == Kind::Capital;
        let is_second_capital = kinds == (Some(Kind::Capital), Some(Kind::Capital));
        let is_change = match (kinds.1, kind) {
            (Some(Kind::Digit), Kind::Small | Kind::Capital)
            | (Some(Kind::Small | Kind::Capital), Kind::Digit) => true,
            (Some(Kind::Capital), Kind::Small) => is_second_capital,
            _ => is_hump,
        };
        bits -= i32::from(is_change) * CHANGE_BITS;
        if is_hump {
            before = BEGINNING;
        }
        if kind == Kind::Digit {
            before = BEGINNING;
        } else {
            let letter = usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a'));
            let likelier = PAIRS.get(before * ROW_BYTES + letter).copied().unwrap_or(b'4');
            bits += i32::from(likelier) - i32::from(b'4');
            before = letter;
        }
        kinds = (kinds.1, Some(kind));
    }
    bits
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Small,
    Capital,
}

impl Kind {
    /// The kind of a letter or digit.
    fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' => Self::Small,
            b'A'..=b'Z' => Self::Capital,
            _ => Self::Digit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_language_are_told_from_random_text() {
        assert_eq!(PAIRS.len(), (BEGINNING + 1) * ROW_BYTES);
        for words in [
            "hoaxed-joggling",
            "schedule-welders",
            "trapeze-drums-v2",
            "sitemap_products_1",
            "getUserById",
            "Rindfleischetikettierung",
            "wojciechowski-krzysztof",
            "get-ms-teams-channel-configuration",
            "strengths",
        ] {
            assert!(!is_random(words), "{words}");
        }
        for random in [
            "dQw4w9WgXcQ",
            "res_dOPlkgUDGAhkIp",
            "pDOCJxqAzwXadnjYPKAAG",
            "kjhgqwexzpvbnmtr",
            "kjhg-qwex-zpvb-nmtr",
            "x-kjhgqwexzpvbnmtr-y",
            "AbCdEfGhIjKlMnOpQrSt",
            "dGhpcyBpcyBzZWNyZXQ",
        ] {
            assert!(is_random(random), "{random}");
        }
    }
}
