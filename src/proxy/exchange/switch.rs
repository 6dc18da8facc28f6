//! A 101: both connections leave HTTP.

use super::{Exchange, ExchangeError, Upload};
use crate::http::h1::{ResponseHead, Version, items};
use crate::http::rewrite::{Fields, Reply, prepare_response};
use crate::proxy::body::WireSink;
use crate::proxy::downstream::{Downstream, start_line};
use crate::proxy::error::ProxyError;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::PooledConnection;

impl Exchange<'_> {
    /// The upstream switches protocols, if it was asked to and to what it was asked (RFC 9110
    /// §7.8). A body that is still on its way would be taken for the new protocol.
    pub(super) fn switch(&mut self, head: &ResponseHead<'_>) -> Result<(), ExchangeError> {
        let mut out = self.interim.as_mut().map(WireSink::take_waiting).unwrap_or_default();
        start_line(&mut out, Version::Http11, 101, head.reason);
        let reply = Reply { version: Version::Http11, to_head: false };
        let fields = prepare_response(head, reply, &mut out);
        let asked = self.request.upgrade.as_deref().unwrap_or_default();
        let is_offered = |protocol: &[u8]| items(asked).any(|a| a.eq_ignore_ascii_case(protocol));
        let chosen = fields.upgrade.filter(|chosen| items(chosen).all(is_offered));
        let Some(chosen) = chosen.filter(|_| self.state == Upload::Complete) else {
            return Err(ExchangeError::Failed(ProxyError::UpgradeFailed));
        };
        self.request.observation.upstream_head_read();
        out.field("Connection", b"Upgrade");
        out.field("Upgrade", chosen);
        out.extend_from_slice(b"\r\n");
        self.request.observation.response_head_ready(101);
        if let (Some(sink), Downstream::Wire(downstream), PooledConnection::Wire(lease)) =
            (&mut self.interim, &self.front, &self.lease)
        {
            sink.put(out);
            self.tunnel = Some(Box::new(Tunnel::new(&downstream.link, &lease.link)));
        }
        Ok(())
    }
}
