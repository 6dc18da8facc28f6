//! The metrics of the listener's TLS.

use ::metrics::{Counter, Gauge};

use super::sidecar::Registrar;
use super::{TLS_EXPIRY, TLS_HANDSHAKES, TLS_RELOAD};

/// What a listener that speaks TLS says of itself at one moment.
#[derive(Clone, Copy, Debug)]
pub struct TlsState {
    /// Until when its certificate is valid, in seconds since 1970.
    pub not_after_seconds: i64,
    /// Whether the certificate could be read when it was read last.
    pub last_reload_ok: bool,
    /// Handshakes that succeeded.
    pub ok: u64,
    /// Handshakes that took too long.
    pub timeout: u64,
    /// Handshakes that failed otherwise.
    pub failed: u64,
}

/// Asks a listener what it says of itself.
pub type ReadTls = Box<dyn Fn() -> TlsState + Send + Sync>;

/// The handles that show a listener.
pub(super) struct TlsMetrics {
    read: ReadTls,
    expiry: Gauge,
    reload: Gauge,
    ok: Counter,
    timeout: Counter,
    failed: Counter,
}

impl TlsMetrics {
    pub(super) fn new(to: &Registrar, read: ReadTls) -> Self {
        let handshakes = |result| to.counter(TLS_HANDSHAKES, Some(("result", result)));
        Self {
            read,
            expiry: to.gauge(TLS_EXPIRY, None),
            reload: to.gauge(TLS_RELOAD, None),
            ok: handshakes("ok"),
            timeout: handshakes("timeout"),
            failed: handshakes("failed"),
        }
    }

    /// Takes over what the listener knows.
    #[expect(clippy::cast_precision_loss, reason = "seconds of years below 9999, far below 2^52")]
    pub(super) fn collect(&self) {
        let state = (self.read)();
        self.expiry.set(state.not_after_seconds as f64);
        self.reload.set(f64::from(u8::from(state.last_reload_ok)));
        self.ok.absolute(state.ok);
        self.timeout.absolute(state.timeout);
        self.failed.absolute(state.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::ProcessMetrics;
    use super::*;

    #[test]
    fn the_certificate_is_shown_only_where_there_is_one() {
        let process = ProcessMetrics::new(1000);
        assert!(!process.render().contains("redcar_tls_"));
        process.show_tls(Box::new(|| TlsState {
            not_after_seconds: 4_070_908_800,
            last_reload_ok: false,
            ok: 3,
            timeout: 0,
            failed: 1,
        }));
        let page = process.render();
        for line in [
            "redcar_tls_certificate_expiry_timestamp_seconds 4070908800\n",
            "redcar_tls_last_reload_successful 0\n",
            "redcar_tls_handshakes_total{result=\"ok\"} 3\n",
            "redcar_tls_handshakes_total{result=\"timeout\"} 0\n",
            "redcar_tls_handshakes_total{result=\"failed\"} 1\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }
}
