//! Whether the upstream speaks HTTP/2, as far as is known, and what follows from it.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::Protocol;
use crate::config::UpstreamProtocol;
use crate::net::transport::Verdict;
use crate::proxy::error::ProxyError;

/// How long a request waits for the upstream's first bytes before it goes by HTTP/1.1 for now. An
/// app that is not busy answers the preface within a few milliseconds.
pub(super) const VERDICT_WAIT: Duration = Duration::from_millis(100);

/// How long the connection that asks stays open then. It holds a place in the app's queue; an app
/// that is busy for longer is asked again later.
pub(super) const VERDICT_LIMIT: Duration = Duration::from_secs(10);

/// When an app that said nothing is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How long requests are refused without another look where HTTP/2 is demanded and not spoken: one
/// handshake a second at most.
const REFUSAL: Duration = Duration::from_secs(1);

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Nothing,
    /// A connection waits for the upstream's first bytes.
    Asking,
    /// It did not say; asked again after.
    Silent(Instant),
    Http1,
    Http2,
}

/// What is known of one upstream. One per worker.
pub(super) struct Speech {
    wanted: UpstreamProtocol,
    known: Cell<Known>,
    /// Until when nobody needs to look.
    refused: Cell<Option<Instant>>,
    /// What was logged last: only changes are.
    said: Cell<bool>,
}

impl Speech {
    pub(super) fn new(wanted: UpstreamProtocol) -> Self {
        Self {
            wanted,
            known: Cell::new(Known::Nothing),
            refused: Cell::new(None),
            said: Cell::new(true),
        }
    }

    /// HTTP/2 is demanded.
    pub(super) fn is_forced(&self) -> bool {
        self.wanted == UpstreamProtocol::Http2
    }

    /// How a request should be prepared.
    pub(super) fn protocol(&self, is_http2: bool) -> Protocol {
        match self.wanted {
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::Auto if is_http2 && self.known.get() != Known::Http1 => {
                Protocol::Http2
            }
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => Protocol::Http1,
        }
    }

    /// Tells whether a request goes by HTTP/2 now.
    pub(super) fn goes_by_http2(&self, protocol: Protocol) -> bool {
        match (protocol, self.wanted) {
            (Protocol::Http1, _) | (_, UpstreamProtocol::Http1) => false,
            (_, UpstreamProtocol::Http2) => true,
            (Protocol::Http2, UpstreamProtocol::Auto) => match self.known.get() {
                Known::Nothing | Known::Http2 => true,
                Known::Silent(until) => Instant::now() >= until,
                Known::Asking | Known::Http1 => false,
            },
            // There is no gRPC in HTTP/1.
            (Protocol::Grpc, UpstreamProtocol::Auto) => self.known.get() != Known::Http1,
        }
    }

    /// Tells whether a connection may be used as HTTP/2 before the upstream has said a word, as
    /// with prior knowledge (RFC 9113 §3.3).
    pub(super) fn needs_no_verdict(&self, protocol: Protocol) -> bool {
        self.is_forced() || protocol == Protocol::Grpc || self.known.get() == Known::Http2
    }

    /// The upstream was asked and has not answered yet.
    pub(super) fn asking(&self) {
        self.known.set(Known::Asking);
    }

    /// The upstream has said what it speaks, or nothing.
    pub(super) fn learned(&self, verdict: Verdict) {
        let known = match verdict {
            Verdict::Http2 => Known::Http2,
            Verdict::Other => Known::Http1,
            // Who spoke it and ends a connection was perhaps restarted.
            Verdict::Nothing if self.known.get() == Known::Http2 => return,
            Verdict::Nothing => Known::Silent(Instant::now() + ASK_AGAIN),
        };
        self.known.set(known);
        let speaks = match verdict {
            Verdict::Http2 => true,
            Verdict::Other => false,
            Verdict::Nothing => return,
        };
        if self.said.replace(speaks) == speaks {
            return;
        }
        match (speaks, self.is_forced()) {
            (true, _) => tracing::info!("the upstream speaks HTTP/2"),
            (false, false) => {
                tracing::info!("the upstream does not speak HTTP/2; it gets HTTP/1.1");
            }
            (false, true) => tracing::warn!(
                "the upstream does not speak HTTP/2, which --upstream-protocol http2 demands; \
                 requests get 502"
            ),
        }
    }

    /// Connecting failed: whatever comes back may be another program.
    pub(super) fn forget(&self) {
        self.known.set(Known::Nothing);
    }

    /// Refuses if HTTP/2 is demanded and the upstream turned out not to speak it.
    pub(super) fn refuse(&self) -> Result<(), ProxyError> {
        if !self.is_forced() {
            return Ok(());
        }
        self.refused.set(Some(Instant::now() + REFUSAL));
        Err(NOT_SPOKEN)
    }

    /// Refuses as long as the last refusal holds.
    pub(super) fn still_refused(&self) -> Result<(), ProxyError> {
        let is_refused = self.refused.get().is_some_and(|until| Instant::now() < until);
        if is_refused { Err(NOT_SPOKEN) } else { Ok(()) }
    }
}

const NOT_SPOKEN: ProxyError = ProxyError::Protocol("it does not speak HTTP/2");

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn on_a_set_clock<T>(test: impl Future<Output = T>) -> T {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn an_upstream_that_said_nothing_is_asked_again_after_half_a_minute() {
        on_a_set_clock(async {
            let speech = Speech::new(UpstreamProtocol::Auto);
            assert!(speech.goes_by_http2(Protocol::Http2));
            speech.asking();
            assert!(!speech.goes_by_http2(Protocol::Http2));
            assert!(
                speech.goes_by_http2(Protocol::Grpc) && speech.needs_no_verdict(Protocol::Grpc)
            );
            speech.learned(Verdict::Nothing);
            advance(29_999 * MS).await;
            assert!(!speech.goes_by_http2(Protocol::Http2));
            advance(MS).await;
            assert!(speech.goes_by_http2(Protocol::Http2));
        });
    }

    #[test]
    fn what_is_demanded_and_not_spoken_is_refused_for_a_second_without_another_look() {
        on_a_set_clock(async {
            let speech = Speech::new(UpstreamProtocol::Http2);
            assert!(speech.still_refused().is_ok());
            speech.learned(Verdict::Other);
            assert!(speech.refuse().is_err() && speech.still_refused().is_err());
            assert!(speech.goes_by_http2(Protocol::Http2), "never by HTTP/1.1");
            advance(999 * MS).await;
            assert!(speech.still_refused().is_err());
            advance(MS).await;
            assert!(speech.still_refused().is_ok());
        });
    }

    #[test]
    fn a_verdict_holds_until_a_connect_fails() {
        on_a_set_clock(async {
            let speech = Speech::new(UpstreamProtocol::Auto);
            speech.learned(Verdict::Other);
            for protocol in [Protocol::Http2, Protocol::Grpc] {
                assert!(!speech.goes_by_http2(protocol));
            }
            assert_eq!(speech.protocol(true), Protocol::Http1);
            assert!(speech.refuse().is_ok());
            speech.forget();
            assert_eq!(speech.protocol(true), Protocol::Http2);
            speech.learned(Verdict::Http2);
            // A connection that ends without a word is no verdict.
            speech.learned(Verdict::Nothing);
            assert!(speech.goes_by_http2(Protocol::Http2));
            assert_eq!(speech.protocol(false), Protocol::Http1);
        });
    }
}
