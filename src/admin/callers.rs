//! Who asks: browsers that were tricked, scrapers, hooks of the pod itself.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, header};

use crate::config::HostPattern;

/// Fields that a browser always sends, at least one of them, and no page can take away.
const OF_BROWSERS: [HeaderName; 7] = [
    header::ACCEPT_LANGUAGE,
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-ch-ua"),
];

/// How scrapers begin their User-Agent.
const SCRAPERS: [&str; 12] = [
    "Prometheus/",
    "Google-Prometheus",
    "vm_promscrape",
    "vmagent",
    "VictoriaMetrics",
    "Alloy/",
    "GrafanaAgent/",
    "otelcol",
    "OpenTelemetry",
    "Datadog Agent/",
    "Telegraf/",
    "Vector/",
];

/// What Prometheus says beside Accept, whatever its product is called.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// Tells whether a browser may have sent this. Scrapers, probes and curl do not look like one.
fn is_of_browser(headers: &HeaderMap) -> bool {
    let begins = |value: &http::HeaderValue| value.as_bytes().starts_with(b"Mozilla/");
    headers.get(header::USER_AGENT).is_some_and(begins)
        || OF_BROWSERS.iter().any(|name| headers.contains_key(name))
}

/// Tells whether this comes regularly, and once more at the end.
pub(super) fn is_scraper(headers: &HeaderMap, accept: &str) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let known = agent.is_some_and(|agent| SCRAPERS.iter().any(|name| agent.starts_with(name)));
    let formats = ["application/openmetrics-text", "application/vnd.google.protobuf"];
    known
        || (headers.contains_key(SCRAPE_TIMEOUT)
            && formats.iter().any(|format| accept.contains(format)))
}

/// What a request calls us, without port and brackets.
///
/// # Errors
///
/// It is no authority.
fn host<B>(request: &Request<B>) -> Result<Option<String>, ()> {
    let authority = match (request.uri().authority(), request.headers().get(header::HOST)) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_| ())?,
        (None, None) => return Ok(None),
    };
    let host = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
    Ok(Some(host.to_ascii_lowercase()).filter(|host| !host.is_empty()))
}

/// Tells whether a page of somebody else may have its browser ask us under a name of its own, which
/// leads here (DNS rebinding). Nobody else is kept from any name.
pub(super) fn is_rebound<B>(request: &Request<B>, known: &[HostPattern]) -> bool {
    if !is_of_browser(request.headers()) {
        return false;
    }
    match host(request) {
        Ok(Some(host)) => !is_ours(&host) && !known.iter().any(|name| name.matches(&host)),
        Ok(None) => false,
        Err(()) => true,
    }
}

/// Names that nobody can register for an attack: addresses, names without a dot, those of a
/// cluster, this machine's own.
fn is_ours(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || [".localhost", ".svc", ".cluster.local"].iter().any(|end| host.ends_with(end))
        || rustix::system::uname()
            .nodename()
            .to_str()
            .is_ok_and(|name| name.eq_ignore_ascii_case(host))
}

/// Tells whether a request to a hook is the pod's own: it calls us by this machine or by the
/// address that it reached, as the kubelet does, and comes from no browser.
pub(super) fn is_of_pod<B>(request: &Request<B>, local: Option<IpAddr>) -> bool {
    let is_own = |host: &str| {
        let own = |ip: IpAddr| ip.is_loopback() || Some(ip) == local.map(|ip| ip.to_canonical());
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| own(ip.to_canonical()))
    };
    let is_own = host(request).is_ok_and(|host| host.is_none_or(|host| is_own(&host)));
    is_own && !is_of_browser(request.headers())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().uri("/metrics");
        let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        fields.iter().fold(request, add).body(()).expect("a request")
    }

    #[test]
    fn a_browser_asks_under_known_names_only() {
        let given = ["metrics.example.com", "*.dev.example.org"];
        let given = given.map(|name| name.parse().expect("a name"));
        for (host, fine) in [
            ("localhost:9464", true),
            ("LOCALHOST", true),
            ("a.localhost:9464", true),
            ("127.0.0.1:9464", true),
            ("[::1]:9464", true),
            ("10.1.2.3", true),
            ("app:9464", true),
            ("app.shop.svc", true),
            ("app.shop.svc.cluster.local.:9464", true),
            ("metrics.example.com", true),
            ("Metrics.Example.com.", true),
            ("a.dev.example.org:1", true),
            ("dev.example.org", false),
            ("example.com", false),
            ("evil.com:9464", false),
            ("localhost.evil.com", false),
            ("127.0.0.1.nip.io", false),
            ("a b", false),
        ] {
            for sign in [
                ("user-agent", "Mozilla/5.0 (X11)"),
                ("accept-language", ""),
                ("origin", "http://evil.com:9464"),
                ("sec-fetch-site", "same-origin"),
            ] {
                let asked = request(&[("host", host), sign]);
                assert_eq!(!is_rebound(&asked, &given), fine, "{host} {sign:?}");
            }
            let scraped = request(&[("host", host), ("user-agent", "Prometheus/3.5.0")]);
            assert!(!is_rebound(&scraped, &given), "{host}");
        }
        assert!(!is_rebound(&request(&[]), &[]));
    }

    #[test]
    fn a_hook_is_for_the_pod_itself() {
        let own = "10.1.2.3".parse().ok();
        let kubelet = ("user-agent", "kube-lifecycle/1.32");
        for (host, fine) in [
            ("10.1.2.3:9464", true),
            ("[::ffff:10.1.2.3]:9464", true),
            ("127.0.0.1:9464", true),
            ("localhost:9464", true),
            ("[::1]", true),
            ("10.1.2.4:9464", false),
            ("app.shop.svc:9464", false),
            ("evil.com", false),
        ] {
            assert_eq!(is_of_pod(&request(&[("host", host), kubelet]), own), fine, "{host}");
        }
        assert!(is_of_pod(&request(&[kubelet]), own) && is_of_pod(&request(&[]), None));
        for sign in [("origin", "null"), ("referer", "http://a/"), ("user-agent", "Mozilla/5.0")] {
            assert!(!is_of_pod(&request(&[("host", "localhost"), sign]), own), "{sign:?}");
        }
    }

    #[test]
    fn curl_is_no_scraper() {
        let open = "application/openmetrics-text;version=1.0.0,text/plain";
        for (fields, accept, scrapes) in [
            (&[("user-agent", "Prometheus/2.53.0")][..], "*/*", true),
            (&[("user-agent", "vm_promscrape")], "text/plain", true),
            (&[("user-agent", "Alloy/v1.9.0"), (SCRAPE_TIMEOUT, "10")], open, true),
            (&[("user-agent", "own/1"), (SCRAPE_TIMEOUT, "10")], open, true),
            (&[("user-agent", "own/1"), (SCRAPE_TIMEOUT, "10")], "*/*", false),
            (&[("user-agent", "curl/8.14.1")], "*/*", false),
            (&[("user-agent", "curl/8.14.1")], open, false),
            (&[], "", false),
        ] {
            assert_eq!(is_scraper(request(fields).headers(), accept), scrapes, "{fields:?}");
        }
    }
}
