//! The metrics of the listener's TLS.

use std::sync::Arc;

use ::metrics::{Counter, Gauge};

use super::{Registrar, TLS_EXPIRY, TLS_HANDSHAKES, TLS_RELOAD};
use crate::tls::Listener;

/// A listener, and the handles that show it.
pub(super) struct TlsMetrics {
    listener: Arc<Listener>,
    expiry: Gauge,
    reload: Gauge,
    ok: Counter,
    timeout: Counter,
    failed: Counter,
}

impl TlsMetrics {
    pub(super) fn new(to: &Registrar, listener: Arc<Listener>) -> Self {
        let handshakes = |result| to.counter(TLS_HANDSHAKES, Some(("result", result)));
        Self {
            listener,
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
        self.expiry.set(self.listener.not_after_seconds() as f64);
        self.reload.set(f64::from(u8::from(self.listener.last_reload_ok())));
        let handshakes = self.listener.handshakes();
        self.ok.absolute(handshakes.ok);
        self.timeout.absolute(handshakes.timeout);
        self.failed.absolute(handshakes.failed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Cold, Collected};
    use super::*;
    use crate::tls::{Alpn, Identity};

    #[test]
    fn the_certificate_is_shown_only_where_there_is_one() {
        let cold = Cold::new(64, 10, 1000);
        assert!(!cold.render(Collected::default(), &[]).contains("redcar_tls_"));
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        let cert = params.self_signed(&key).expect("a certificate").pem();
        let file = std::env::temp_dir().join(format!("redcar-metrics-{}.pem", std::process::id()));
        std::fs::write(&file, cert + &key.serialize_pem()).expect("a file");
        let identity = Identity { cert: file.clone(), key: file.clone() };
        let listener = Listener::load(identity, &[Alpn::Http1], Duration::from_secs(1));
        std::fs::remove_file(file).expect("our file");
        let listener = Arc::new(listener.expect("a pair"));
        cold.show_tls(Arc::clone(&listener));
        listener.reload();
        let page = cold.render(Collected::default(), &[]);
        for line in [
            "redcar_tls_certificate_expiry_timestamp_seconds 4070908800\n",
            "redcar_tls_last_reload_successful 0\n",
            "redcar_tls_handshakes_total{result=\"timeout\"} 0\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }
}
