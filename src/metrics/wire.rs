//! How requests come and whether they are answered, which only `--naming otel` tells apart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::labels::{MethodId, Methods};

/// The scheme that the client used, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme of this name, if it is one of HTTP. Never panics.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The version of HTTP that the client spoke.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// How a request came, and whether it was answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Wire {
    /// By which scheme.
    pub scheme: Scheme,
    /// In which version.
    pub version: HttpVersion,
    /// Whether the status that is counted was sent: it may have been cut off before.
    pub is_answered: bool,
}

impl Wire {
    /// A number of four bits that is never 0.
    pub(super) fn packed(self) -> u64 {
        1 + ((self.version as u64 * 2 + self.scheme as u64) << 1 | u64::from(self.is_answered))
    }
}

/// Requests under way by method and scheme, of one worker, who alone writes.
#[derive(Debug)]
pub struct ActiveRequests(Box<[Pair]>);

#[derive(Debug, Default)]
struct Pair {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Default for ActiveRequests {
    fn default() -> Self {
        // 2 KiB.
        let pairs = (0..=Methods::MAX).flat_map(|_| Scheme::ALL).map(|_| Pair::default());
        Self(pairs.collect())
    }
}

impl ActiveRequests {
    fn pair(&self, method: MethodId, scheme: Scheme) -> Option<&Pair> {
        self.0.get(usize::from(method.0) * Scheme::ALL.len() + scheme as usize)
    }

    /// A request has begun. To be called by the owning thread only.
    pub fn begin(&self, method: MethodId, scheme: Scheme) {
        if let Some(pair) = self.pair(method, scheme) {
            super::bump(&pair.begun);
        }
    }

    /// It has ended. To be called by the owning thread only.
    pub fn end(&self, method: MethodId, scheme: Scheme) {
        if let Some(pair) = self.pair(method, scheme) {
            super::bump(&pair.ended);
        }
    }

    /// How many are under way; `None` if there never was one. `ended` is read first, so that it is
    /// never negative.
    pub(super) fn count(&self, method: MethodId, scheme: Scheme) -> Option<u64> {
        let pair = self.pair(method, scheme)?;
        let ended = pair.ended.load(Relaxed);
        let begun = pair.begun.load(Relaxed);
        (begun > 0).then(|| begun.saturating_sub(ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_come_has_a_number_of_its_own() {
        let mut numbers = Vec::new();
        for version in [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2] {
            for is_answered in [false, true] {
                let wire = |scheme| Wire { scheme, version, is_answered };
                numbers.extend(Scheme::ALL.map(|scheme| wire(scheme).packed()));
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        for (name, scheme) in
            [("https", Some(Scheme::Https)), ("HTTP", Some(Scheme::Http)), ("ws", None), ("", None)]
        {
            assert_eq!(Scheme::parse(name.as_bytes()), scheme);
        }
    }

    #[test]
    fn what_never_began_has_no_number() {
        let active = ActiveRequests::default();
        let last = MethodId(62);
        assert_eq!(active.count(last, Scheme::Https), None);
        active.begin(last, Scheme::Https);
        active.begin(MethodId::OTHER, Scheme::Http);
        active.end(MethodId::OTHER, Scheme::Http);
        assert_eq!(active.count(last, Scheme::Https), Some(1));
        assert_eq!(active.count(MethodId::OTHER, Scheme::Http), Some(0));
        assert_eq!(active.count(last, Scheme::Http), None);
    }
}
