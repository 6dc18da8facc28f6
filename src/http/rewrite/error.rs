//! What is wrong with a message.
#![warn(clippy::wildcard_enum_match_arm)]

use http::StatusCode;

/// Why a request is refused before it reaches the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// RFC 9112 §3.2: an HTTP/1.1 request without Host must get 400.
    #[error("the Host field is missing")]
    HostMissing,
    /// RFC 9112 §3.2: more than one Host line must get 400.
    #[error("the Host field is repeated")]
    HostRepeated,
    /// RFC 9112 §3.2: an invalid Host must get 400.
    #[error("the Host field is invalid")]
    HostInvalid,
    /// RFC 9112 §3.2: the target's form does not belong to its method.
    #[error("the request target is invalid")]
    TargetInvalid,
    /// RFC 9113 §8.2.1: a value must not begin or end with white space.
    #[error("the value of a field is invalid")]
    FieldInvalid,
    /// RFC 9110 §8.6: Content-Length is a number.
    #[error("the Content-Length field is invalid")]
    LengthInvalid,
    /// RFC 6585 §5 of the fields behind the body: they are beyond the limit of a head.
    #[error("the trailer section is too large")]
    TrailersTooLarge,
    /// A reverse proxy in front of one app is not a tunnel.
    #[error("CONNECT is not supported")]
    ConnectUnsupported,
}

impl RequestError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::TargetInvalid
            | Self::FieldInvalid
            | Self::LengthInvalid => StatusCode::BAD_REQUEST,
            Self::TrailersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ConnectUnsupported => StatusCode::NOT_IMPLEMENTED,
        }
    }
}
