//! Which page is watched, and asking for it.

use std::fmt;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::time::Duration;

use http::Uri;
use redcar::admin::VIEWER;
use redcar::config::ListenAddr;
use redcar::net::{Connector, Identity, Port, file};
use tokio::time::Instant;

use super::ReaderArgs;
use super::page::Page;
use crate::cli::probe::{get, reachable};

/// A look that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest page that is read: ten times that of a sidecar with 5,000 series.
pub(crate) const MAX_PAGE_BYTES: usize = 96 << 20;

/// Where the page is, and what it wants to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    is_tls: bool,
    tls: Option<Connector>,
    /// Fields that show a token.
    authorization: String,
}

/// Why a text names no page.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is no metrics page: write http://host:9464/metrics, https://host:9464, host:9464 or :9464"
)]
pub(crate) struct TargetError(String);

impl Target {
    pub(crate) fn local(metrics: ListenAddr) -> Self {
        let address = reachable(metrics);
        Self::at(address.ip().to_string(), address.port(), "/metrics", false)
    }

    fn at(host: String, port: u16, path: &str, is_tls: bool) -> Self {
        Self { host, port, path: path.to_owned(), is_tls, tls: None, authorization: String::new() }
    }

    /// The same with what the flags say to trust and to show.
    ///
    /// # Errors
    ///
    /// A file that cannot be used.
    pub(crate) fn with_credentials(mut self, flags: &ReaderArgs) -> io::Result<Self> {
        if self.is_tls {
            let pair = flags.cert.clone().zip(flags.key.clone());
            let identity = pair.map(|(cert, key)| Identity { cert, key, port: Port::Reader });
            let tls = Connector::of_reader(&self.host, flags.ca.as_deref(), identity.as_ref());
            self.tls = Some(tls.map_err(io::Error::other)?);
        }
        if let Some(file) = &flags.token_file {
            let place = |error: io::Error| {
                io::Error::new(error.kind(), format!("--token-file {}: {error}", file.display()))
            };
            let mut text = String::new();
            file::open(file).and_then(|mut open| open.read_to_string(&mut text)).map_err(place)?;
            let token = text.lines().map(str::trim).find(|line| !line.is_empty());
            let is_plain = |token: &&str| token.bytes().all(|byte| byte.is_ascii_graphic());
            let token =
                token.filter(is_plain).ok_or_else(|| place(io::Error::other("no token")))?;
            self.authorization = format!("Authorization: Bearer {token}\r\n");
        }
        Ok(self)
    }

    /// Reads `http://host:port/path`, `host:port` or `:port`. Never panics.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError(text.escape_debug().to_string());
        let full = match text {
            _ if text.contains("://") => text.to_owned(),
            _ if text.starts_with(':') => format!("http://127.0.0.1{text}"),
            _ => format!("http://{text}"),
        };
        let uri: Uri = full.parse().map_err(|_not_a_uri| wrong())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority = authority.rsplit_once('@').map_or(authority, |(_user, rest)| rest);
        let port = match authority.strip_prefix(host) {
            Some("") if uri.scheme_str() == Some("https") => 443,
            Some("") => 80,
            _ => uri.port_u16().filter(|port| *port > 0).ok_or_else(wrong)?,
        };
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { "/metrics" } else { path };
        Ok(Self::at(host.trim_matches(['[', ']']).to_owned(), port, path, is_tls))
    }

    fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }

    /// Asks for the page. Blocks for some seconds at most.
    ///
    /// # Errors
    ///
    /// What went wrong, with the address.
    pub(crate) fn ask(&self) -> io::Result<Page> {
        let failed =
            |error: &dyn fmt::Display| io::Error::other(format!("no page from {self}: {error}"));
        let fields = format!(
            "{VIEWER}: top\r\nAccept: application/openmetrics-text;version=1.0.0,\
             text/plain;version=0.0.4;q=0.5\r\n{}",
            self.authorization
        );
        let mut last = failed(&"the name has no address");
        let addresses =
            (&*self.host, self.port).to_socket_addrs().map_err(|error| failed(&error))?;
        for address in addresses {
            let line = (address, self.tls.as_ref());
            match get(line, &self.authority(), &self.path, &fields, (TIMEOUT, MAX_PAGE_BYTES)) {
                Ok(answer) if answer.status == 200 => {
                    let page = String::from_utf8_lossy(&answer.body);
                    if answer.has("application/openmetrics-text") && !page.ends_with("# EOF\n") {
                        return Err(failed(&"it is cut off"));
                    }
                    return Ok(Page::of(&page, Instant::now()));
                }
                Ok(answer) => last = failed(&format!("it answers {}", answer.status)),
                Err(error) => last = failed(&error),
            }
        }
        Err(last)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https://" } else { "" };
        write!(f, "{scheme}{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_may_be_short() {
        for (text, shown) in [
            (":9464", "127.0.0.1:9464/metrics"),
            ("10.0.0.7:9464", "10.0.0.7:9464/metrics"),
            ("app", "app:80/metrics"),
            ("8:8", "8:8/metrics"),
            ("http://app:1/x/metrics?a=b", "app:1/x/metrics?a=b"),
            ("https://app/metrics", "https://app:443/metrics"),
            ("https://app:9464", "https://app:9464/metrics"),
            ("http://[::1]:9464/", "[::1]:9464/metrics"),
            ("[::1]:9464", "[::1]:9464/metrics"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "gopher://app/metrics", "http://", "a b", ":99999", "ftp://a"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_an_error(text: String) {
            let _parsed = Target::parse(&text);
        }
    }
}
