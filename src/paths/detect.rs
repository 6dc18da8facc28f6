//! The detectors: does a path segment look like a word or like a value?
//!
//! Stateless: each rule looks at one segment's bytes. Over-eager rules merge endpoints, shy ones
//! leak ids into labels; where in doubt a rule hides, because a secret in a label is worse than a
//! merged endpoint, and `--route` can pin what was merged.

use std::net::IpAddr;

use super::files::known_extension;
use super::locales::is_locale;
use super::random::is_random;
use super::vocabulary::{is_common_word, is_made_of_words};

/// What a segment becomes in a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Segment<'a> {
    /// A plain word, kept.
    Word,
    /// A value, `{id}`.
    Parameter,
    /// A value with a suffix worth keeping: `.js`, `:cancel`.
    ParameterThen(&'a str),
}

/// Bytes above which a segment is a value whatever it looks like.
const MAX_WORD_BYTES: usize = 48;

/// Words with three digits or more that are names all the same.
const NAMES_WITH_DIGITS: [&str; 10] = [
    "sha224", "sha256", "sha384", "sha512", "x509", "h264", "h265", "rfc3339", "rfc7807", "iso8601",
];

/// What stands for a value and is none: `/users/@me`.
const AT_WORDS: [&str; 4] = ["@me", "@self", "@all", "@original"];

/// Tells whether a path is a gRPC call's, `/package.Service/Method`: its words are the app's.
pub(crate) fn is_rpc(path: &str) -> bool {
    let mut segments = path.split('/');
    let (Some(""), Some(service), Some(method), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    path.len() <= super::MAX_LABEL_BYTES && is_service(service) && is_type_name(method)
}

/// Tells whether a segment is the full name of a gRPC service: `grpc.health.v1.Health`.
pub(crate) fn is_service(segment: &str) -> bool {
    let mut parts = segment.rsplit('.');
    let is_named = parts.next().is_some_and(is_type_name);
    let is_package = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !is_value(part)
    };
    let is_token = segment.split('.').any(looks_like_token);
    is_named && segment.contains('.') && parts.all(is_package) && !is_token
}

/// An identifier that begins with a capital and is no value.
fn is_type_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !is_value(name)
}

/// Classifies one segment, without its slashes. Never panics; no allocation.
pub(crate) fn classify(segment: &str) -> Segment<'_> {
    if let Some((head, verb)) = segment.split_once(':') {
        return classify_verb(segment, head, verb);
    }
    if AT_WORDS.contains(&segment) {
        return Segment::Word;
    }
    if segment.len() > MAX_WORD_BYTES || !segment.bytes().all(is_word_byte) {
        return value_with(known_extension(segment));
    }
    if let Some(dot) = segment.rfind('.').filter(|dot| *dot > 0 && !is_version(segment)) {
        // `main...fix-login` compares two branches.
        let is_value = segment.contains("..") || is_numbered_name(segment);
        return if is_value { Segment::Parameter } else { classify_file(segment, dot) };
    }
    if is_value(segment) || is_locale(segment) { Segment::Parameter } else { Segment::Word }
}

fn value_with(extension: &str) -> Segment<'_> {
    if extension.is_empty() { Segment::Parameter } else { Segment::ParameterThen(extension) }
}

/// `123:cancel` is a method on a value, `orders:cancel` one on a collection (Google AIP-136).
///
/// `Special:Search` is a page in a namespace of a wiki: it is judged like other words.
fn classify_verb<'a>(segment: &'a str, head: &str, verb: &str) -> Segment<'a> {
    if is_namespace(head) && segment.len() <= MAX_WORD_BYTES && classify(verb) == Segment::Word {
        return Segment::Word;
    }
    let is_verb = verb.starts_with(|c: char| c.is_ascii_lowercase())
        && verb.bytes().all(|b| b.is_ascii_alphabetic());
    if !is_verb || head.is_empty() || verb.len() > MAX_WORD_BYTES || is_value(verb) {
        return Segment::Parameter;
    }
    let is_word = head.len() <= MAX_WORD_BYTES && head.bytes().all(is_word_byte);
    if !is_word || is_value(head) {
        return segment.get(head.len()..).map_or(Segment::Parameter, Segment::ParameterThen);
    }
    Segment::Word
}

/// `Special`, `User_talk`.
fn is_namespace(head: &str) -> bool {
    head.starts_with(|c: char| c.is_ascii_uppercase())
        && head.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
        && !is_value(head)
}

/// `app.3f2a91c.js` keeps its extension, `favicon.ico` its name.
fn classify_file(segment: &str, dot: usize) -> Segment<'_> {
    let (stem, extension) = (segment.get(..dot).unwrap_or(""), segment.get(dot..).unwrap_or(""));
    let is_plain_file = !known_extension(segment).is_empty();
    let is_whole =
        if is_plain_file { is_value(stem) || is_locale(stem) } else { is_value(segment) };
    if !stem.split('.').any(is_value) && !is_whole {
        let plain = extension.get(1..).is_some_and(|e| !is_value(e));
        return if plain { Segment::Word } else { Segment::Parameter };
    }
    let name = extension.get(1..).unwrap_or("");
    let is_extension = (1..=5).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    // A token with an extension of its own, such as the end of a JWT, is no file.
    let is_token = |part: &str| part.len() >= 16 && !is_hex(part, 1) && looks_like_token(part);
    if is_extension && !stem.split('.').any(is_token) {
        Segment::ParameterThen(extension)
    } else {
        Segment::Parameter
    }
}

/// The only bytes that a label takes over from a client: RFC 3986's unreserved ones.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Tells whether a segment of word bytes is a value: a number, a date, a hash, an identifier.
fn is_value(segment: &str) -> bool {
    if segment.is_empty() || is_version(segment) || NAMES_WITH_DIGITS.contains(&segment) {
        return false;
    }
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = segment.bytes().any(|b| b.is_ascii_alphabetic());
    digits >= 3
        || (digits > 0 && !has_letter)
        || is_hex(segment, digits)
        || is_uuid(segment)
        || is_numbered_name(segment)
        || looks_like_token(segment)
}

/// `page-3`, `sitemap_products_1`, `release-1.2`, `guide-v2.0.1`: one of many.
fn is_numbered_name(segment: &str) -> bool {
    if !segment.ends_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let Some((name, number)) = segment.rsplit_once(['-', '_']) else { return false };
    let number = match number.strip_prefix('v') {
        Some(version) if version.contains('.') => version,
        _ => number,
    };
    let is_number = number
        .split('.')
        .all(|part| (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    is_number && name.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Tells whether a word is a value because of where it stands.
///
/// `before`: what comes before it, up to its slash. An API has its version at the beginning
/// (`/api/v1.0`), what comes behind is a release. And few apps shout anywhere but there
/// (`/browse/ENG`).
pub(crate) fn is_value_behind(before: &str, word: &str) -> bool {
    if word.starts_with(['v', 'V']) && word.contains('.') {
        let is_deep = || before.bytes().filter(|b| *b == b'/').count() > 2;
        return is_version(word) && (before.contains('{') || is_deep());
    }
    before.len() > 1
        && (2..=5).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_uppercase())
        && !is_common_word(word)
}

/// `v1` to `v999`, and `v2.1`. One of three parts is that of a release, and a value.
fn is_version(segment: &str) -> bool {
    let is_number = |number: &str| {
        (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
    };
    let number = segment.strip_prefix(['v', 'V']);
    number.is_some_and(|number| number.split('.').count() <= 2 && number.split('.').all(is_number))
}

/// Seven hex digits with a decimal one among them, as Git shortens hashes, or sixteen of any.
fn is_hex(segment: &str, digits: usize) -> bool {
    let length = segment.len();
    (length >= 16 || (length >= 7 && digits > 0)) && segment.bytes().all(|b| b.is_ascii_hexdigit())
}

/// 8-4-4-4-12 hex digits (RFC 9562).
fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Tells whether a segment is a token rather than words. What consists of common words is none.
fn looks_like_token(segment: &str) -> bool {
    let is_suspect = segment.starts_with("eyJ") || is_random(segment) || is_shouted(segment);
    is_suspect && (segment.starts_with("eyJ") || !is_made_of_words(segment))
}

/// `T0AKZQWRT` is an account, `UPPER_CASE` is not.
fn is_shouted(segment: &str) -> bool {
    const SHOUTED_BYTES: usize = 8;
    segment
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| part.len() >= SHOUTED_BYTES && !part.bytes().any(|b| b.is_ascii_lowercase()))
}

/// Tells whether a segment may be a secret or personal, for the mode that keeps values.
pub(crate) fn is_secret(segment: &str) -> bool {
    const MIN_BYTES: usize = 16;
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = segment.bytes().any(|b| b.is_ascii_alphabetic());
    segment.len() > MAX_WORD_BYTES
        || segment.contains(['@', '%', '='])
        || looks_like_token(segment)
        || (segment.len() >= MIN_BYTES && !is_uuid(segment) && digits > 0 && has_letter)
        || ((digits > 0 || segment.contains(':')) && is_personal(segment))
}

/// Tells whether a segment is a network address, a telephone number with its country, or the number
/// of a payment card.
fn is_personal(segment: &str) -> bool {
    let mut digits = segment.bytes().filter(|byte| !matches!(byte, b'-' | b'.' | b' '));
    let is_phone = digits.clone().next() == Some(b'+')
        && (7..=15).contains(&digits.clone().skip(1).filter(u8::is_ascii_digit).count());
    let is_card = digits.all(|byte| byte.is_ascii_digit()) && is_card_number(segment);
    is_phone || is_card || segment.parse::<IpAddr>().is_ok()
}

/// 13 to 19 digits, whose last one checks the others.
///
/// # Source
///
/// ISO/IEC 7812-1, annex B (Luhn).
fn is_card_number(segment: &str) -> bool {
    let digits =
        segment.bytes().rev().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'));
    let sum = digits.clone().enumerate().map(|(place, digit)| match place % 2 {
        0 => digit,
        _ if digit > 4 => 2 * digit - 9,
        _ => 2 * digit,
    });
    (13..=19).contains(&digits.count()) && sum.sum::<u32>().is_multiple_of(10)
}
