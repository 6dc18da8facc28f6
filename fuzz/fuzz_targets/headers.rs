//! Whatever the fields are: nothing hop-by-hop is forwarded, and framing is unambiguous.
#![no_main]

use http::{HeaderName, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use redcar::headers::{BodyLength, Downstream, Forwarded, prepare_request, prepare_response};

const NAMES: [&str; 16] = [
    "connection",
    "host",
    "te",
    "transfer-encoding",
    "content-length",
    "keep-alive",
    "upgrade",
    "x-a",
    "x-b",
    "trailer",
    "x-forwarded-for",
    "content_length",
    "proxy-connection",
    "set-cookie",
    "max-forwards",
    "forwarded",
];

fn fields(data: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let field = |line: &[u8]| {
        let (first, value) = line.split_first()?;
        let name = HeaderName::from_static(NAMES[usize::from(*first) % NAMES.len()]);
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    data.split(|b| *b == b'\n').filter_map(field).collect()
}

fuzz_target!(|data: &[u8]| {
    let peer = HeaderValue::from_static("192.0.2.1");
    let mut request = Request::new(()).into_parts().0;
    let mut response = Response::new(()).into_parts().0;
    for (name, value) in fields(data) {
        request.headers.append(name.clone(), value.clone());
        response.headers.append(name, value);
    }
    let downstream = Downstream { peer: &peer, forwarded: Forwarded::Append, via: true };
    if prepare_request(&mut request, BodyLength::Unknown, downstream).is_ok() {
        for name in ["keep-alive", "proxy-connection", "upgrade", "content_length"] {
            assert!(!request.headers.contains_key(name), "{name}");
        }
        assert_eq!(request.headers.get_all("transfer-encoding").iter().count(), 1);
    }
    if prepare_response(&mut response).is_ok() {
        assert!(!response.headers.contains_key("transfer-encoding"));
        assert!(response.headers.get_all("content-length").iter().count() <= 1);
    }
});
