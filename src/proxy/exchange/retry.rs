//! When a request is sent a second time.

use super::{Failure, HalfClose, Sides};
use crate::proxy::error::ProxyError;
use crate::proxy::upstream::PooledConnection;

/// How often a request was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    First,
    Second,
}

/// What is known of a request that got no answer on its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Processed {
    Unknown,
    /// The upstream says that it did nothing with it.
    No,
    /// The connection took no stream.
    NotTaken,
    /// The connection ended under it.
    Lost,
}

/// What became of a request on its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Delivery {
    /// It may have been answered.
    Unknown,
    /// The upstream says that it did nothing with it, and nothing of its body is used up.
    Declined,
    /// The connection was going away, and nothing of the body is used up.
    NotTaken,
    /// Not a byte was written.
    NotSent,
    /// Some was written, and not a byte came back.
    NoResponse,
}

/// Why a request is sent once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RetryReason {
    /// The upstream cannot have got it.
    NotSent,
    /// The same, and it was no try: a connection that served others takes no more streams.
    NotTaken,
    /// It got no response, and may be sent twice.
    NoResponse,
}

impl Delivery {
    /// The rule: on a connection that had served another request, and either nothing of it was
    /// written, or it may be sent twice and got not a byte of an answer. What was declined may go
    /// anywhere.
    ///
    /// # Source
    ///
    /// RFC 9110 §9.2.2, RFC 9112 §9.3.1, RFC 9113 §8.7.
    fn retry_reason(self, is_reused: bool, is_replayable: bool) -> Option<RetryReason> {
        match self {
            Self::NotTaken if is_reused => Some(RetryReason::NotTaken),
            // A fresh connection that takes none counts: the next may not either.
            Self::NotTaken | Self::Declined => Some(RetryReason::NotSent),
            Self::NotSent if is_reused => Some(RetryReason::NotSent),
            Self::NoResponse if is_reused && is_replayable => Some(RetryReason::NoResponse),
            Self::NotSent | Self::NoResponse | Self::Unknown => None,
        }
    }
}

impl Sides<'_> {
    /// Why the request may be sent once more, if it may: once, and if no time limit struck.
    pub(super) fn retry_reason(&self, failure: &Failure) -> Option<RetryReason> {
        // What was waited for in vain would be waited for again.
        let is_final = matches!(
            failure.error,
            ProxyError::ResponseTimeout | ProxyError::DownstreamBody | ProxyError::Request(_)
        );
        let delivery = self.delivery(failure.processed);
        let reason = delivery.retry_reason(self.upstream.is_reused(), self.request.is_replayable());
        match (self.attempt, reason) {
            // An upstream that gave up because its client left has not lost the request.
            _ if is_final || self.half_close != HalfClose::Open => None,
            (Attempt::First, _) | (Attempt::Second, Some(RetryReason::NotTaken)) => reason,
            (Attempt::Second, Some(RetryReason::NotSent | RetryReason::NoResponse) | None) => None,
        }
    }

    fn delivery(&self, processed: Processed) -> Delivery {
        match &self.upstream {
            PooledConnection::Http1(connection) if connection.transport.has_received() => {
                Delivery::Unknown
            }
            PooledConnection::Http1(connection) if connection.transport.has_sent() => {
                Delivery::NoResponse
            }
            PooledConnection::Http1(_) => Delivery::NotSent,
            PooledConnection::Http2(_) => {
                // The end of a body is no byte of it, but cannot be read a second time either.
                let has_ended = self.request.has_body() && self.upload.has_ended();
                let is_untouched = self.upload.bytes == 0 && !has_ended;
                match processed {
                    Processed::NotTaken if is_untouched => Delivery::NotTaken,
                    Processed::No if is_untouched => Delivery::Declined,
                    Processed::Lost => Delivery::NoResponse,
                    Processed::NotTaken | Processed::No | Processed::Unknown => Delivery::Unknown,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_again_only_where_it_cannot_do_harm() {
        use RetryReason::{NoResponse, NotSent, NotTaken};
        // Delivery, and the reason on: a fresh connection, one again, the same for what may be sent
        // twice.
        for (delivery, fresh, reused, fresh_replayable, reused_replayable) in [
            (Delivery::Unknown, None, None, None, None),
            (Delivery::Declined, Some(NotSent), Some(NotSent), Some(NotSent), Some(NotSent)),
            (Delivery::NotTaken, Some(NotSent), Some(NotTaken), Some(NotSent), Some(NotTaken)),
            (Delivery::NotSent, None, Some(NotSent), None, Some(NotSent)),
            (Delivery::NoResponse, None, None, None, Some(NoResponse)),
        ] {
            for (is_reused, is_replayable, expected) in [
                (false, false, fresh),
                (true, false, reused),
                (false, true, fresh_replayable),
                (true, true, reused_replayable),
            ] {
                let reason = delivery.retry_reason(is_reused, is_replayable);
                assert_eq!(reason, expected, "{delivery:?} {is_reused} {is_replayable}");
            }
        }
    }
}
