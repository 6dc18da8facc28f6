//! The live page: one file without anything from elsewhere, which polls `/metrics` by itself.
//!
//! `build.rs` makes it from the files in `src/admin/page` and writes the policy that names the
//! hashes of its style and script: nothing else may run or load on it, and no label can.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::accept::prefers_html;
use super::answer::AdminBody;

/// The page, ready to be sent.
const PAGE: &str = include_str!(concat!(env!("OUT_DIR"), "/page.html"));

/// Its Content-Security-Policy.
const POLICY: &str = env!("REDCAR_PAGE_POLICY");

/// What a client without a browser gets.
const LIST: &str = "redcar\n\n/metrics\n/paths\n/livez\n/readyz\n/wait-for-drain\n\
    /  the live page, in a browser\n";

/// Answers `/`: the page for browsers, a list for everything else.
pub(super) fn answer(accept: &str) -> Response<AdminBody> {
    let html = prefers_html(accept);
    let mut response = super::text(StatusCode::OK, if html { PAGE } else { LIST });
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if html {
        protect(headers);
    }
    response
}

fn protect(headers: &mut HeaderMap) {
    let set = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The page of an older sidecar must not read the metrics of a newer one.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::CATALOGUE;
    use crate::metrics::labels::ErrorToken;

    use super::*;

    #[test]
    fn the_page_loads_nothing_and_the_policy_allows_nothing_else() {
        for foreign in ["http://", "https://", "src=", "@import", "innerHTML", "eval("] {
            let found = PAGE.match_indices(foreign).filter_map(|(at, _)| PAGE.get(at..at + 40));
            // The name space of SVG and the address of a target are no loads.
            let found: Vec<_> = found.filter(|text| !text.contains("www.w3.org")).collect();
            assert!(found.is_empty(), "{found:?}");
        }
        assert!(POLICY.starts_with("default-src 'none'; script-src 'sha256-"), "{POLICY}");
        assert!(POLICY.contains("frame-ancestors 'none'") && !POLICY.contains("unsafe"));
        assert!(PAGE.is_ascii() && PAGE.len() < 64 * 1024, "{} bytes", PAGE.len());
    }

    #[test]
    fn the_page_knows_every_error_and_who_failed() {
        for token in ErrorToken::ALL {
            let entry = format!("{token}: ['{}', '", token.side().as_str());
            assert!(PAGE.contains(&entry), "{entry}");
        }
    }

    #[test]
    fn the_page_names_metrics_of_the_catalogue_only() {
        let table = PAGE.split("const NAMES = {").nth(1).expect("the table of names");
        let table = table.split("\n};").next().expect("its end");
        let names: Vec<_> = table.split('\'').filter(|name| name.contains("redcar_")).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            assert!(CATALOGUE.iter().any(|family| family.name == name), "{name}");
        }
        assert!(table.contains("'http_requests_total'"));
    }
}
