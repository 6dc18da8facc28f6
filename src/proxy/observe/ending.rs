//! All the ways in which a request can end, and what each counts as. A new one has its row here.

use crate::metrics::labels::{CLIENT_CLOSED_REQUEST, ErrorToken};

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The client got an answer that was meant for it, whole.
    Answered,
    /// The proxy answered instead of the upstream.
    Failed(ErrorToken),
    /// The upstream's answer ended before its end.
    AnswerIncomplete,
    /// What came behind the head of the upstream's answer is not HTTP.
    AnswerMalformed,
    /// The client neither sent nor read for `--idle-timeout`.
    ClientSlow(ResponseHead),
    /// The client went away.
    ClientLeft(ResponseHead),
    /// A task panicked.
    Panicked,
    /// The shutdown cut it off.
    CutOff,
    /// The account of buffered bytes cut its connection off.
    Shed,
    /// Its task was dropped, which only a client's leaving does otherwise.
    Dropped,
}

/// Whether the client can have seen the head of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResponseHead {
    /// It was sent to somebody who may have been there.
    Seen,
    /// It was not sent, or sent to a client that had its side ended before.
    Unseen,
}

/// The status that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CountedStatus {
    /// That of the head.
    Sent,
    /// That of the head, if there was one.
    SentOr(u16),
    /// This one: nobody has seen the head.
    Unsent(u16),
}

impl Ending {
    /// What is counted: the `error` and the status.
    pub(super) fn counts_as(self) -> (Option<ErrorToken>, CountedStatus) {
        use CountedStatus::{Sent, SentOr, Unsent};
        use ResponseHead::{Seen, Unseen};
        let (error, status) = match self {
            Self::Answered => return (None, Sent),
            Self::Failed(error) => (error, Sent),
            Self::AnswerIncomplete => (ErrorToken::HttpResponseIncomplete, Sent),
            Self::AnswerMalformed => (ErrorToken::HttpProtocolError, Sent),
            Self::ClientSlow(Seen) => (ErrorToken::DownstreamTimeout, Sent),
            Self::ClientSlow(Unseen) => (ErrorToken::DownstreamTimeout, Unsent(408)),
            Self::ClientLeft(Seen) => (ErrorToken::DownstreamAborted, Sent),
            Self::ClientLeft(Unseen) => {
                (ErrorToken::DownstreamAborted, Unsent(CLIENT_CLOSED_REQUEST))
            }
            Self::Panicked => (ErrorToken::ProxyInternalError, SentOr(500)),
            Self::CutOff => (ErrorToken::Draining, SentOr(503)),
            Self::Shed => (ErrorToken::Overloaded, SentOr(503)),
            Self::Dropped => (ErrorToken::DownstreamAborted, SentOr(CLIENT_CLOSED_REQUEST)),
        };
        (Some(error), status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_has_one_error_and_one_status() {
        use CountedStatus::{Sent, SentOr, Unsent};
        use ErrorToken as E;
        use ResponseHead::{Seen, Unseen};
        for (ending, error, status) in [
            (Ending::Answered, None, Sent),
            (Ending::Failed(E::DnsError), Some(E::DnsError), Sent),
            (Ending::AnswerIncomplete, Some(E::HttpResponseIncomplete), Sent),
            (Ending::AnswerMalformed, Some(E::HttpProtocolError), Sent),
            (Ending::ClientSlow(Seen), Some(E::DownstreamTimeout), Sent),
            (Ending::ClientSlow(Unseen), Some(E::DownstreamTimeout), Unsent(408)),
            (Ending::ClientLeft(Seen), Some(E::DownstreamAborted), Sent),
            (Ending::ClientLeft(Unseen), Some(E::DownstreamAborted), Unsent(499)),
            (Ending::Panicked, Some(E::ProxyInternalError), SentOr(500)),
            (Ending::CutOff, Some(E::Draining), SentOr(503)),
            (Ending::Shed, Some(E::Overloaded), SentOr(503)),
            (Ending::Dropped, Some(E::DownstreamAborted), SentOr(499)),
        ] {
            assert_eq!(ending.counts_as(), (error, status), "{ending:?}");
        }
    }
}
