//! Words that APIs are made of.
//!
//! Whether `/settings` is a word of the app or the name of a customer cannot be told from one
//! request. That it is a common word of APIs can.

use std::collections::HashSet;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// One word a line, lower case.
///
/// # Source
///
/// Words in the paths of at least two of the APIs that `benches/paths` chooses by, and a few that
/// no description has (`healthz`, `me`).
static WORDS: LazyLock<HashSet<&str, RandomState>> =
    LazyLock::new(|| include_str!("words.txt").lines().collect());

/// Tells whether a segment consists of words that many APIs have: `settings`, `api-keys`,
/// `searchUsers`. Of what is written like an identifier (`camelCase`, `snake_case`), half will do:
/// titles and names are not written so.
pub(super) fn is_common_word(segment: &str) -> bool {
    let (mut parts, mut known, mut numbers) = (0, 0, 0);
    for part in split(segment) {
        parts += 1;
        known += usize::from(is_known(part));
        numbers += usize::from(part.bytes().all(|b| b.is_ascii_digit()));
    }
    let has_small = segment.bytes().any(|b| b.is_ascii_lowercase());
    let has_hump = segment.bytes().skip(1).any(|b| b.is_ascii_uppercase());
    let is_identifier = !segment.contains(['-', '.']) && has_small && has_hump;
    let enough = if is_identifier { known * 2 >= parts } else { known == parts };
    // `item1` is rather one of many than a name.
    let is_numbered = numbers > 0 && !is_identifier && parts > 1;
    let may_be = !is_numbered || segment.starts_with(['v', 'V']) || NUMBERED.contains(&segment);
    enough && may_be && (1..=MAX_PARTS).contains(&parts)
}

/// Common words that end in a number.
const NUMBERED: [&str; 5] = ["http2", "ipv4", "ipv6", "oauth2", "s3"];

/// Tells whether a word has a number in it, and is no version.
pub(super) fn is_numbered(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_digit()) && !is_common_word(word)
}

/// Words that end in `s` and are no plural, or one of things that have no names.
const NO_PLURALS: [&str; 12] = [
    "analytics",
    "assets",
    "contents",
    "details",
    "diagnostics",
    "docs",
    "graphics",
    "metrics",
    "news",
    "settings",
    "statistics",
    "stats",
];

/// Tells whether words below a place of this name are rather values: `/users`.
pub(super) fn is_collection(name: &str) -> bool {
    let is_plural = name.len() >= 4 && name.ends_with('s');
    is_plural
        && !["ss", "us", "is"].iter().any(|end| name.ends_with(end))
        && !NO_PLURALS.contains(&name)
}

/// Tells whether every part of a segment is such a word.
pub(super) fn is_made_of_words(segment: &str) -> bool {
    split(segment).all(is_known)
}

/// More words than that are a title.
const MAX_PARTS: usize = 7;

/// Tells whether a part is a word of APIs, a number, or such words written as one:
/// `phonenumbers`.
fn is_known(part: &str) -> bool {
    const MAX_BYTES: usize = 32;
    let mut lower = [0; MAX_BYTES];
    let Some(lower) = lower.get_mut(..part.len()) else { return false };
    lower.copy_from_slice(part.as_bytes());
    lower.make_ascii_lowercase();
    let Ok(word) = std::str::from_utf8(lower) else { return false };
    word.bytes().all(|b| b.is_ascii_digit()) || is_compound(word, 3)
}

/// At most `words` words one after the other, where the pieces of several have some length: short
/// ones make up anything.
fn is_compound(text: &str, words: usize) -> bool {
    const MIN_PIECE_BYTES: usize = 4;
    if is_word(text) {
        return true;
    }
    let last = text.len().saturating_sub(MIN_PIECE_BYTES);
    words > 1
        && (MIN_PIECE_BYTES..=last).any(|at| {
            let split = text.split_at_checked(at);
            split.is_some_and(|(head, tail)| is_word(head) && is_compound(tail, words - 1))
        })
}

/// One word, in the singular or the plural.
fn is_word(word: &str) -> bool {
    let has = |word: &str| WORDS.contains(word);
    has(word)
        || word.strip_suffix("ies").is_some_and(|stem| has(&format!("{stem}y")))
        || word.strip_suffix("es").is_some_and(has)
        || word.strip_suffix('s').is_some_and(has)
}

/// Splits at separators, before capitals, and between letters and digits.
fn split(segment: &str) -> impl Iterator<Item = &str> {
    let plain = segment.split(|c: char| !c.is_ascii_alphanumeric());
    plain.flat_map(split_humps).filter(|part| !part.is_empty())
}

fn split_humps(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let bytes = rest.as_bytes();
        let border = bytes.windows(2).position(|pair| match pair {
            [a, b] => {
                (a.is_ascii_lowercase() && b.is_ascii_uppercase())
                    || a.is_ascii_digit() != b.is_ascii_digit()
            }
            _ => false,
        });
        let end = border.map_or(rest.len(), |border| border + 1);
        let (part, tail) = rest.split_at_checked(end)?;
        rest = tail;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_apis_are_known_in_any_spelling() {
        for word in ["settings", "api-keys", "searchUsers", "Policies", "user_groups", "v2"] {
            assert!(is_common_word(word), "{word}");
        }
        for word in ["torvalds", "acme-corp", "-", "", "x".repeat(40).as_str()] {
            assert!(!is_common_word(word), "{word}");
        }
    }
}
