//! Texts from operators and scrapers parse or say why; what parses prints as itself.

use redcar::admin::{accepts_gzip, format, prefers_html, prefers_json};
use redcar::config::{
    Exclusions, ListenAddr, PathGlob, Upstream, parse_bytes, parse_duration, parse_methods,
    parse_openapi, shape,
};
use redcar::metrics::{Buckets, label};

/// Panics if that does not hold for these bytes.
pub(crate) fn check(text: &str) {
    if let Ok(address) = text.parse::<ListenAddr>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert_eq!(upstream.to_string().parse(), Ok(upstream));
    }
    if let Ok(buckets) = text.parse::<Buckets>() {
        assert_eq!(buckets.labels().count(), buckets.len());
    }
    drop((parse_bytes(text), parse_duration(text), parse_methods(text)));
    let _ = (format(text), accepts_gzip(text), prefers_json(text), prefers_html(text));
    drop((parse_openapi(text), shape(text)));
    if let Ok(glob) = text.parse::<PathGlob>() {
        let exclusions = Exclusions::new(&[glob], &[]).ok().flatten();
        let _ = exclusions.map(|exclusions| exclusions.excludes(text, Some(text.as_bytes())));
    }
    let mut out = String::new();
    label(&mut out, "path", text);
    assert!(!out.contains('\n'));
}
