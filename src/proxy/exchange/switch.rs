//! A 101: both connections leave HTTP.

use super::{Exchange, ExchangeError, Upload};
use crate::http::h1::{ResponseHead, items};
use crate::http::response::write_switch;
use crate::proxy::body::WireSink;
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::PooledConnection;

impl Exchange<'_> {
    /// The upstream switches protocols, if it was asked to and to what it was asked (RFC 9110
    /// §7.8). A body that is still on its way would be taken for the new protocol.
    pub(super) fn switch(&mut self, head: &ResponseHead<'_>) -> Result<(), ExchangeError> {
        let mut out = self.interim.as_mut().map(WireSink::take_waiting).unwrap_or_default();
        let chosen = write_switch(head, self.request.to, &mut out);
        let asked = self.request.upgrade.as_deref().unwrap_or_default();
        let is_offered = |protocol: &[u8]| items(asked).any(|a| a.eq_ignore_ascii_case(protocol));
        if !chosen.is_some_and(|chosen| items(chosen).all(is_offered))
            || self.state != Upload::Complete
        {
            return Err(ExchangeError::Failed(ProxyError::UpgradeFailed));
        }
        self.request.observation.upstream_head_read();
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
