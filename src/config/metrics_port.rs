//! Who may read the metrics port, and how.

use std::path::PathBuf;
use std::str::FromStr;

use super::ConfigError;
use crate::net::tls::Identity;

/// What is particular to the metrics port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricsPort {
    /// Its certificate and key; without them it speaks plain HTTP.
    pub identity: Option<Identity>,
    /// Roots of the certificates that readers have to show.
    pub client_ca: Option<PathBuf>,
    /// Tokens that readers have to show, one a line.
    pub token_file: Option<PathBuf>,
    /// Names under which browsers may ask, beside those that are known to be ours.
    pub hosts: Vec<HostPattern>,
    /// Whether an orderly shutdown waits for a last scrape: only where another instance serves
    /// meanwhile.
    pub last_scrape: bool,
}

/// A host name, or all names below one: `*.example.com`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPattern {
    /// In lower case.
    name: Box<str>,
    is_below: bool,
}

impl HostPattern {
    /// Tells whether `host`, a name in lower case without port, is meant.
    pub fn matches(&self, host: &str) -> bool {
        if !self.is_below {
            return host == &*self.name;
        }
        host.strip_suffix(&*self.name).is_some_and(|start| start.len() > 1 && start.ends_with('.'))
    }
}

impl FromStr for HostPattern {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_name) {
            return Err(ConfigError::Host(text.to_owned()));
        }
        Ok(Self { name: name.trim_end_matches('.').to_ascii_lowercase().into(), is_below })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_all_below_one() {
        for (pattern, host, is_meant) in [
            ("a.example.com", "a.example.com", true),
            ("A.Example.com.", "a.example.com", true),
            ("a.example.com", "b.a.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "b.a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "notexample.com", false),
        ] {
            let parsed: HostPattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.matches(host), is_meant, "{pattern} {host}");
        }
        for wrong in ["", "*", "*.", "a b", "http://a", "a:9464", "a.*.com", ".a", "a/b", "*.*.a"] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
    }
}
