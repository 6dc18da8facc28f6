//! The closed label sets: methods and error tokens.
//!
//! A peer chooses its method and how it fails, never the text of a label: what is not in these
//! sets becomes `_OTHER`. No I/O, no clock, no `await`.

use std::fmt;

/// Index of a method in [`Methods`]; 0 is `_OTHER`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MethodId(pub(crate) u8);

impl MethodId {
    /// Every method that is not known, and requests whose method could not be parsed.
    pub const OTHER: Self = Self(0);
}

/// The methods that have a label of their own.
#[derive(Clone, Debug)]
pub struct Methods(Vec<Box<str>>);

impl Methods {
    /// How many methods `--known-methods` may name: an index has to fit six bits.
    pub const MAX: usize = 62;

    /// The methods of RFC 9110, PATCH (RFC 5789) and QUERY (RFC 10008 draft, safe with a body).
    pub const DEFAULT: [&'static str; 10] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"];

    /// Builds the set from names in order; the first is found fastest.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut methods = vec![Box::from("_OTHER")];
        methods.extend(names.into_iter().take(Self::MAX).map(Box::from));
        Self(methods)
    }

    /// Finds a method's label. Cost: one comparison for the first name, no allocation.
    pub fn resolve(&self, name: &str) -> MethodId {
        let found = self.0.iter().skip(1).position(|known| **known == *name);
        MethodId(found.and_then(|index| u8::try_from(index + 1).ok()).unwrap_or(0))
    }

    /// Every label that a method can get, `_OTHER` first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MethodId> + use<> {
        (0..=u8::MAX).map(MethodId).take(self.0.len())
    }

    /// The label value of a method.
    pub fn name(&self, id: MethodId) -> &str {
        self.0.get(usize::from(id.0)).map_or("_OTHER", |name| name)
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

/// Why a request was not answered whole by the upstream: the `error` label.
///
/// # Source
///
/// RFC 9209 §2.3 where a name exists there; the `downstream_*` ones and `draining` are ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ErrorToken {
    /// The upstream refused the connection.
    ConnectionRefused = 1,
    /// The upstream closed or reset the connection before an answer.
    ConnectionTerminated,
    /// Connecting took longer than `--connect-timeout`.
    ConnectionTimeout,
    /// We ran out of connections or file descriptors.
    ConnectionLimitReached,
    /// The upstream's name did not resolve.
    DnsError,
    /// The upstream cannot be reached: no route, no such socket.
    DestinationUnavailable,
    /// The request is not one we may forward.
    HttpRequestError,
    /// The upstream's answer ended early.
    HttpResponseIncomplete,
    /// The upstream's answer is not HTTP.
    HttpProtocolError,
    /// No response head within `--response-timeout`.
    HttpResponseTimeout,
    /// The upstream switched protocols without being asked.
    HttpUpgradeFailed,
    /// A defect in the sidecar.
    ProxyInternalError,
    /// Shutdown cut the request off.
    Draining,
    /// The client went away.
    DownstreamAborted,
    /// The client's body is not what its framing announced.
    DownstreamBodyError,
    /// The client was too slow.
    DownstreamTimeout,
    /// The TLS handshake with the upstream failed.
    TlsProtocolError,
    /// The upstream's certificate could not be verified.
    TlsCertificateError,
    /// The upstream ended the TLS handshake with an alert.
    TlsAlertReceived,
    /// There was no room to keep it, or it was cut off to make room.
    Overloaded,
}

impl ErrorToken {
    /// Every token, in the order of its number.
    pub const ALL: [Self; 20] = [
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionLimitReached,
        Self::DnsError,
        Self::DestinationUnavailable,
        Self::HttpRequestError,
        Self::HttpResponseIncomplete,
        Self::HttpProtocolError,
        Self::HttpResponseTimeout,
        Self::HttpUpgradeFailed,
        Self::ProxyInternalError,
        Self::Draining,
        Self::DownstreamAborted,
        Self::DownstreamBodyError,
        Self::DownstreamTimeout,
        Self::TlsProtocolError,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
        Self::Overloaded,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::DnsError => "dns_error",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::HttpRequestError => "http_request_error",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpProtocolError => "http_protocol_error",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::Draining => "draining",
            Self::DownstreamAborted => "downstream_aborted",
            Self::DownstreamBodyError => "downstream_body_error",
            Self::DownstreamTimeout => "downstream_timeout",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::Overloaded => "overloaded",
        }
    }

    /// Who failed. The live page and the table in `docs/metrics.md` are held to it by tests.
    pub const fn side(self) -> Side {
        match self {
            Self::ConnectionRefused
            | Self::ConnectionTerminated
            | Self::HttpResponseIncomplete
            | Self::HttpProtocolError
            | Self::HttpResponseTimeout
            | Self::HttpUpgradeFailed
            | Self::TlsProtocolError
            | Self::TlsCertificateError
            | Self::TlsAlertReceived => Side::App,
            Self::ConnectionTimeout | Self::DnsError | Self::DestinationUnavailable => {
                Side::Network
            }
            Self::ConnectionLimitReached
            | Self::ProxyInternalError
            | Self::Draining
            | Self::Overloaded => Side::Sidecar,
            Self::HttpRequestError
            | Self::DownstreamAborted
            | Self::DownstreamBodyError
            | Self::DownstreamTimeout => Side::Client,
        }
    }

    /// The token with this name, if there is one. The inverse of [`Self::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|token| token.as_str() == name)
    }

    /// The token with this number, if there is one. The inverse of `as u8`.
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index).checked_sub(1)?).copied()
    }
}

/// How a gRPC call ended: the `grpc_status` label.
///
/// # Source
///
/// gRPC's status codes, 0 to 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    const NAMES: [&'static str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// Reads a `grpc-status` field; what is no code counts as UNKNOWN. Never panics.
    pub fn parse(value: &[u8]) -> Self {
        const UNKNOWN: u8 = 2;
        let code = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u8>().ok());
        Self(code.filter(|code| usize::from(*code) < Self::NAMES.len()).unwrap_or(UNKNOWN))
    }

    /// The label value.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).unwrap_or(&"UNKNOWN")
    }

    /// Tells whether it says that the server failed, not the client.
    ///
    /// # Source
    ///
    /// `OpenTelemetry`'s semantic conventions for gRPC, the status of server spans.
    pub(crate) fn is_of_server(self) -> bool {
        const OF_SERVER: [u8; 6] = [2, 4, 12, 13, 14, 15];
        OF_SERVER.contains(&self.0)
    }

    /// A number of five bits that is never 0.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.0) + 1
    }
}

/// Who failed when a request was not answered whole by the upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The upstream, or its answer.
    App,
    /// What is between here and the upstream.
    Network,
    /// We.
    Sidecar,
    /// The downstream.
    Client,
}

impl Side {
    /// Every side.
    pub const ALL: [Self; 4] = [Self::App, Self::Network, Self::Sidecar, Self::Client];

    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Network => "network",
            Self::Sidecar => "sidecar",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for ErrorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// nginx's status for a client that left before its answer. Only ever in metrics and logs.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_is_other() {
        let methods = Methods::default();
        assert_eq!(methods.resolve("BREW"), MethodId::OTHER);
        assert_eq!(methods.name(MethodId::OTHER), "_OTHER");
        assert_eq!(methods.name(methods.resolve("PATCH")), "PATCH");
        // Methods are case-sensitive (RFC 9110 §9.1).
        assert_eq!(methods.resolve("get"), MethodId::OTHER);
    }

    #[test]
    fn a_token_survives_its_number() {
        for token in ErrorToken::ALL {
            assert_eq!(ErrorToken::from_index(token as u8), Some(token));
            assert_eq!(ErrorToken::from_name(token.as_str()), Some(token));
        }
        assert_eq!(ErrorToken::from_index(0), None);
        assert_eq!(ErrorToken::from_index(21), None);
    }
}
