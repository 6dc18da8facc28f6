//! What a client wants: the one reader of Accept and Accept-Encoding fields.
//!
//! No I/O, no clock, no `await`.
//!
//! # Source
//!
//! RFC 9110 §12.4.2 (quality), §12.5.1 (Accept), §12.5.3 (Accept-Encoding).

use crate::metrics::text::Format;

/// Qualities are counted in thousandths, the finest that there are.
const BEST: u16 = 1000;

/// How close a range without wildcards is at least.
const NAMED: usize = 2;

/// One element of such a field: a range of media, or a coding.
struct Range<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: u16,
}

impl<'a> Range<'a> {
    /// Reads an element; none if its quality is no quality.
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = split(element, ';');
        let name = parts.next()?.trim();
        let mut range = Self { name, parameters: Vec::new(), quality: BEST };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else {
                range.parameters.push((key, value));
            }
        }
        Some(range)
    }

    /// How closely the range names what is offered; `None` if it does not cover it.
    ///
    /// A parameter that the offer does not have, such as a charset, is no objection.
    fn closeness(&self, offer: &Media) -> Option<usize> {
        let (kind, subtype) = self.name.split_once('/')?;
        let (own_kind, own_subtype) = offer.name.split_once('/')?;
        match (kind, subtype) {
            ("*", "*") => return Some(0),
            (kind, _) if !kind.eq_ignore_ascii_case(own_kind) => return None,
            (_, "*") => return Some(1),
            (_, subtype) if !subtype.eq_ignore_ascii_case(own_subtype) => return None,
            _ => {}
        }
        let mut closeness = NAMED;
        for (key, value) in &self.parameters {
            let own = offer.parameters.iter().find(|(own, _)| own.eq_ignore_ascii_case(key));
            match own {
                Some((_, own)) if !own.eq_ignore_ascii_case(value) => return None,
                Some(_) => closeness += 1,
                None => {}
            }
        }
        Some(closeness)
    }
}

/// What can be sent.
struct Media {
    name: &'static str,
    parameters: &'static [(&'static str, &'static str)],
}

const fn plain(name: &'static str) -> Media {
    Media { name, parameters: &[] }
}

/// The formats of a scrape. The first wins a tie.
const FORMATS: [(Format, Media); 3] = [
    (Format::Text, Media { name: "text/plain", parameters: &[("version", "0.0.4")] }),
    (
        Format::OpenMetrics,
        Media { name: "application/openmetrics-text", parameters: &[("version", "1.0.0")] },
    ),
    (
        Format::Protobuf,
        Media {
            name: "application/vnd.google.protobuf",
            parameters: &[
                ("proto", "io.prometheus.client.MetricFamily"),
                ("encoding", "delimited"),
            ],
        },
    ),
];

/// The format of a page of metrics for whoever sends this Accept field; text where nothing fits.
///
/// # Shape
///
/// Any text. Never panics.
pub fn format(accept: &str) -> Format {
    let mut best = (0, Format::Text);
    for (format, media) in &FORMATS {
        let (closeness, quality) = closest(accept, media);
        // Bytes are for those who name them; a wildcard may stand for a person.
        let is_named = closeness >= NAMED || *format != Format::Protobuf;
        if quality > best.0 && is_named {
            best = (quality, *format);
        }
    }
    best.1
}

/// Tells whether JSON is wanted rather than text; text wins a tie. Never panics.
pub fn prefers_json(accept: &str) -> bool {
    prefers(accept, &plain("application/json"))
}

/// Tells whether HTML is wanted rather than text, as only by browsers. Never panics.
pub fn prefers_html(accept: &str) -> bool {
    prefers(accept, &plain("text/html"))
}

/// Tells whether an Accept-Encoding field asks for gzip. Never panics.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let of = |names: &[&str]| {
        let named = ranges(accept_encoding)
            .filter(|range| names.iter().any(|name| range.name.eq_ignore_ascii_case(name)));
        named.map(|range| range.quality).max()
    };
    let gzip = of(&["gzip", "x-gzip"]).or_else(|| of(&["*"])).unwrap_or(0);
    gzip > 0 && of(&["identity"]).is_none_or(|identity| gzip >= identity)
}

fn prefers(accept: &str, media: &Media) -> bool {
    quality_of(accept, media) > quality_of(accept, &plain("text/plain"))
}

/// The quality that the closest range gives to a medium; 0 if none covers it.
fn quality_of(accept: &str, media: &Media) -> u16 {
    closest(accept, media).1
}

/// How closely the closest range names a medium, and the quality that it gives.
fn closest(accept: &str, media: &Media) -> (usize, u16) {
    let covering = ranges(accept).filter_map(|range| {
        let closeness = range.closeness(media)?;
        Some((closeness, range.quality))
    });
    covering.max().unwrap_or((0, 0))
}

fn ranges(field: &str) -> impl Iterator<Item = Range<'_>> {
    split(field, ',').filter_map(Range::parse)
}

/// Splits at a separator that is not in a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => is_escaped = is_quoted,
            _ => {}
        }
        c == separator && !is_quoted
    })
}

/// `0.25` in thousandths. More digits than the three that are allowed are cut.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"000").take(3);
    let thousandths = thousandths.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" | "" => Some(thousandths),
        "1" => Some(BEST),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;\
        proto=io.prometheus.client.MetricFamily;encoding=delimited";

    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;\
        escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
        text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn the_format_is_the_one_with_the_higher_quality() {
        for (accept, expected) in [
            (PROMETHEUS_3, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            ("application/openmetrics-text;Q=0.5, */*;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0.1,application/*, */*;q=0.5", Format::Text),
            (
                "application/openmetrics-text; version=\"1.0.0\"; q=0.9, */*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            (&format!("{PROTOBUF};q=0.7,{PROMETHEUS_3}"), Format::Protobuf),
            (&format!("{PROTOBUF};q=0.5,{PROMETHEUS_3}"), Format::OpenMetrics),
            (&format!("{PROTOBUF};q=0, */*"), Format::Text),
            (&PROTOBUF.replace("delimited", "text"), Format::Text),
            ("application/vnd.google.protobuf", Format::Protobuf),
            ("application/*", Format::OpenMetrics),
            ("a/b;c=\"x,application/openmetrics-text\"", Format::Text),
            ("a;q=x,;;=,", Format::Text),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[test]
    fn json_is_sent_to_whoever_prefers_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("Application/JSON;q=0.9, */*;q=0.8", true),
            ("text/html, application/json;q=0.5, text/plain;q=0.6", false),
            ("application/json, text/plain", false),
            ("application/json;q=0, */*", false),
            ("application/*, text/*;q=0.1", true),
            ("application/json;q=x,;=", false),
        ] {
            assert_eq!(prefers_json(accept), expected, "{accept}");
        }
    }

    #[test]
    fn only_browsers_get_the_page() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, expected) in [
            (chromium, true),
            ("TEXT/HTML;q=0.5", true),
            ("text/html;q=0, */*;q=0.5", false),
            ("*/*", false),
            ("", false),
            ("text/plain", false),
        ] {
            assert_eq!(prefers_html(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_only_when_asked_for() {
        for (field, accepted) in [
            ("gzip", true),
            ("x-gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; Q=0", false),
            ("gzip; Q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0.5, identity", false),
            ("gzip, identity;q=0.5, *;q=0", true),
            ("gzip;q=nan", false),
            ("gzip;q=-1", false),
            ("", false),
            ("br", false),
        ] {
            assert_eq!(accepts_gzip(field), accepted, "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_field_is_read(field in ".{0,80}") {
            let _ = (format(&field), prefers_json(&field), accepts_gzip(&field));
        }

        /// The order of ranges says nothing (RFC 9110 §12.5.1).
        #[test]
        fn the_order_of_ranges_says_nothing(
            a in "(text|application|\\*)/(plain|openmetrics-text|json|\\*)(;q=0(\\.[0-9]{1,3})?)?",
            b in "(text|application|\\*)/(plain|openmetrics-text|json|\\*)(;q=0(\\.[0-9]{1,3})?)?",
        ) {
            let (one, other) = (format!("{a},{b}"), format!("{b},{a}"));
            prop_assert_eq!(format(&one), format(&other));
            prop_assert_eq!(prefers_json(&one), prefers_json(&other));
        }
    }
}
