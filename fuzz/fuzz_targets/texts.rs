//! Texts from operators and scrapers parse or say why; what parses prints as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redcar::buckets::Buckets;
use redcar::config::{ListenAddr, Upstream, parse_bytes, parse_duration, parse_methods};
use redcar::exposition::{Format, accepts_gzip, label};

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<ListenAddr>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert_eq!(upstream.to_string().parse(), Ok(upstream));
    }
    if let Ok(buckets) = text.parse::<Buckets>() {
        assert_eq!(buckets.labels().count(), buckets.len());
    }
    let _ = (parse_bytes(text), parse_duration(text), parse_methods(text));
    let _ = (Format::negotiate(text), accepts_gzip(text));
    let mut out = String::new();
    label(&mut out, "path", text);
    assert!(!out.contains('\n'));
});
