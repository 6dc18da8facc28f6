//! Languages and regions in paths: `/de/hotels`, `/en-GB/hotels`.

/// Languages and regions that are no word of anything else, in order.
///
/// # Source
///
/// ISO 639-1 and ISO 3166-1 alpha-2, of which those are left out that are words, or abbreviations
/// that apps use (`is`, `js`, `my`, `pr`): see [`RARE`].
const SURE: [&str; 46] = [
    "au", "bg", "br", "ch", "cn", "cs", "cz", "da", "de", "dk", "el", "en", "es", "et", "fi", "fr",
    "gb", "gr", "hk", "hu", "it", "ja", "jp", "ko", "kr", "lt", "lv", "mx", "nb", "nl", "nn", "nz",
    "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "tw", "uk", "us", "vi", "zh",
];

/// Those that may be words, in order: they are languages or regions only beside others.
const RARE: [&str; 58] = [
    "ae", "ar", "at", "az", "be", "bn", "bs", "by", "ca", "cl", "co", "cy", "eg", "eu", "fa", "ga",
    "ge", "gl", "he", "hi", "hr", "hy", "id", "ie", "il", "in", "is", "ka", "kk", "km", "lb", "lo",
    "lu", "mk", "mn", "ms", "mt", "my", "ne", "no", "pa", "pe", "ph", "pk", "rs", "sa", "se", "sg",
    "si", "sq", "sr", "sw", "ta", "te", "ur", "uy", "uz", "za",
];

fn is_sure(code: &str) -> bool {
    SURE.binary_search(&code).is_ok()
}

/// Tells whether a two-letter word is a language or a region, but may be another word.
pub(super) fn is_rare_locale(word: &str) -> bool {
    word.len() == 2 && RARE.binary_search(&word).is_ok()
}

/// Tells whether a segment is a language or a region: `de`, `en-GB`, `pt_BR`, `zh-Hant`, `es-419`.
pub(super) fn is_locale(segment: &str) -> bool {
    if segment.len() == 2 {
        return is_sure(segment);
    }
    let Some((language, region)) = segment.split_once(['-', '_']) else { return false };
    if !is_sure(language) && !is_rare_locale(language) {
        return false;
    }
    let lower = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
    let upper = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase());
    match region.len() {
        2 if upper(region) => true,
        2 => is_sure(language) && lower(region) && (is_sure(region) || is_rare_locale(region)),
        3 => region == "419",
        4 => ["hans", "hant", "latn", "cyrl"].iter().any(|s| region.eq_ignore_ascii_case(s)),
        7 => region
            .get(..4)
            .is_some_and(|s| s.eq_ignore_ascii_case("hans") || s.eq_ignore_ascii_case("hant")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_and_regions_are_told_from_words() {
        assert!(SURE.is_sorted() && RARE.is_sorted());
        for locale in
            ["de", "en-GB", "en_US", "pt-br", "zh-Hans", "zh-Hant-TW", "es-419", "no-NO", "sr-Latn"]
        {
            assert!(is_locale(locale), "{locale}");
        }
        for word in [
            "js", "my", "is", "no", "v1", "to-do", "is-it", "no-op", "english", "DE", "de-luxe",
            "xx-YY",
        ] {
            assert!(!is_locale(word), "{word}");
        }
    }
}
