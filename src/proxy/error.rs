//! Why a request got no upstream response: error → status, label token, words for the client.
//!
//! Pure mappings; the kernel's errors are classified where they occur. Exhaustive on
//! purpose: a new variant has to be mapped everywhere before it compiles.
#![warn(clippy::wildcard_enum_match_arm)]

use std::io;

use http::StatusCode;

use crate::http::rewrite::RequestError;
use crate::metrics::labels::{CLIENT_CLOSED_REQUEST, ErrorToken};
use crate::net::tls::HandshakeError;

/// Why a request got no answer from the upstream.
///
/// Display describes this level only; the cause is in `source()`.
///
/// # Source
///
/// RFC 9209 §2.3, which also recommends the status codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The upstream refused the connection.
    #[error("the upstream refused the connection")]
    ConnectionRefused(#[source] io::Error),
    /// The connection ended before a byte of the answer arrived.
    #[error("the upstream closed the connection before answering")]
    ConnectionTerminated(#[source] io::Error),
    /// No connection within `--connect-timeout`.
    #[error("connecting to the upstream timed out")]
    ConnectionTimeout,
    /// No file descriptor or port left for a connection.
    #[error("no resources left to connect to the upstream")]
    ConnectionLimitReached(#[source] io::Error),
    /// The upstream's name did not resolve.
    #[error("the upstream's name did not resolve")]
    Dns(#[source] io::Error),
    /// The upstream cannot be reached for another reason.
    #[error("the upstream is unreachable")]
    DestinationUnavailable(#[source] io::Error),
    /// The upstream was reached, but not verified or not understood.
    #[error("no TLS connection to the upstream")]
    Tls(#[source] HandshakeError),
    /// The request may not be forwarded.
    #[error("{0}")]
    Request(RequestError),
    /// The answer ended inside its head.
    #[error("the upstream's response head is incomplete")]
    ResponseIncomplete(#[source] io::Error),
    /// The answer is not HTTP, or not a kind we may forward.
    #[error("the upstream's response is malformed: {0}")]
    Protocol(&'static str),
    /// No response head within `--response-timeout`.
    #[error("the upstream did not answer in time")]
    ResponseTimeout,
    /// A 101 nobody asked for.
    #[error("the upstream switched protocols without being asked")]
    UpgradeFailed,
    /// The client's body broke while it was forwarded.
    #[error("the request body is malformed")]
    DownstreamBody,
    /// The client went away while its body was forwarded.
    #[error("the client went away")]
    DownstreamAborted,
}

impl ProxyError {
    /// The status to record.
    pub fn status(&self) -> u16 {
        self.answer().map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
    }

    /// The status of the answer, if there is anybody to answer.
    pub fn answer(&self) -> Option<StatusCode> {
        Some(match self {
            Self::ConnectionRefused(_)
            | Self::ConnectionTerminated(_)
            | Self::Dns(_)
            | Self::Tls(_)
            | Self::ResponseIncomplete(_)
            | Self::Protocol(_)
            | Self::UpgradeFailed => StatusCode::BAD_GATEWAY,
            Self::ConnectionTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ConnectionLimitReached(_) | Self::DestinationUnavailable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Request(error) => error.status(),
            Self::DownstreamBody => StatusCode::BAD_REQUEST,
            Self::DownstreamAborted => return None,
        })
    }

    /// The `error` label.
    pub fn token(&self) -> ErrorToken {
        match self {
            Self::ConnectionRefused(_) => ErrorToken::ConnectionRefused,
            Self::ConnectionTerminated(_) => ErrorToken::ConnectionTerminated,
            Self::ConnectionTimeout => ErrorToken::ConnectionTimeout,
            Self::ConnectionLimitReached(_) => ErrorToken::ConnectionLimitReached,
            Self::Dns(_) => ErrorToken::DnsError,
            Self::DestinationUnavailable(_) => ErrorToken::DestinationUnavailable,
            Self::Tls(error) => tls_token(error),
            Self::Request(_) => ErrorToken::HttpRequestError,
            Self::ResponseIncomplete(_) => ErrorToken::HttpResponseIncomplete,
            Self::Protocol(_) => ErrorToken::HttpProtocolError,
            Self::ResponseTimeout => ErrorToken::HttpResponseTimeout,
            Self::UpgradeFailed => ErrorToken::HttpUpgradeFailed,
            Self::DownstreamBody => ErrorToken::DownstreamBodyError,
            Self::DownstreamAborted => ErrorToken::DownstreamAborted,
        }
    }

    /// The status of a gRPC call that failed so.
    ///
    /// # Source
    ///
    /// gRPC's status codes, and its mapping of HTTP statuses.
    pub fn grpc_status(&self) -> u8 {
        const CANCELLED: u8 = 1;
        const DEADLINE_EXCEEDED: u8 = 4;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        match self.status() {
            CLIENT_CLOSED_REQUEST => CANCELLED,
            504 => DEADLINE_EXCEEDED,
            501 => UNIMPLEMENTED,
            502 | 503 => UNAVAILABLE,
            _ => INTERNAL,
        }
    }
}

fn tls_token(error: &HandshakeError) -> ErrorToken {
    match error {
        HandshakeError::Timeout(_)
        | HandshakeError::Plain
        | HandshakeError::Io(_)
        | HandshakeError::Protocol(_) => ErrorToken::TlsProtocolError,
        HandshakeError::Alert(_) => ErrorToken::TlsAlertReceived,
        HandshakeError::NameMismatch { .. }
        | HandshakeError::UnknownIssuer { .. }
        | HandshakeError::AuthorityAsServer
        | HandshakeError::Validity(_)
        | HandshakeError::Certificate(_) => ErrorToken::TlsCertificateError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_one_status_one_token_and_one_grpc_status() {
        let io = || io::Error::from(io::ErrorKind::Other);
        let stranger = HandshakeError::UnknownIssuer { roots: String::new() };
        for (error, status, token, grpc) in [
            (ProxyError::ConnectionRefused(io()), 502, ErrorToken::ConnectionRefused, 14),
            (ProxyError::ConnectionTerminated(io()), 502, ErrorToken::ConnectionTerminated, 14),
            (ProxyError::ConnectionTimeout, 504, ErrorToken::ConnectionTimeout, 4),
            (ProxyError::ConnectionLimitReached(io()), 503, ErrorToken::ConnectionLimitReached, 14),
            (ProxyError::Dns(io()), 502, ErrorToken::DnsError, 14),
            (ProxyError::DestinationUnavailable(io()), 503, ErrorToken::DestinationUnavailable, 14),
            (ProxyError::Tls(stranger), 502, ErrorToken::TlsCertificateError, 14),
            (ProxyError::Tls(HandshakeError::Plain), 502, ErrorToken::TlsProtocolError, 14),
            (ProxyError::Request(RequestError::HostMissing), 400, ErrorToken::HttpRequestError, 13),
            (
                ProxyError::Request(RequestError::TrailersTooLarge),
                431,
                ErrorToken::HttpRequestError,
                13,
            ),
            (
                ProxyError::Request(RequestError::ConnectUnsupported),
                501,
                ErrorToken::HttpRequestError,
                12,
            ),
            (ProxyError::ResponseIncomplete(io()), 502, ErrorToken::HttpResponseIncomplete, 14),
            (ProxyError::Protocol("x"), 502, ErrorToken::HttpProtocolError, 14),
            (ProxyError::ResponseTimeout, 504, ErrorToken::HttpResponseTimeout, 4),
            (ProxyError::UpgradeFailed, 502, ErrorToken::HttpUpgradeFailed, 14),
            (ProxyError::DownstreamBody, 400, ErrorToken::DownstreamBodyError, 13),
            (ProxyError::DownstreamAborted, 499, ErrorToken::DownstreamAborted, 1),
        ] {
            let got = (error.status(), error.token(), error.grpc_status());
            assert_eq!(got, (status, token, grpc), "{error:?}");
            let is_sent = error.answer().map(|status| status.as_u16()) == Some(status);
            assert_eq!(is_sent, !matches!(error, ProxyError::DownstreamAborted), "{error:?}");
        }
    }
}
