//! The end of a connection: the verdict on a half-closed client, and a close that lingers.

use std::rc::Rc;
use std::time::Duration;

use crate::downstream::{Delivery, Downstream};

/// How long a half-closed client's kernel gets to refuse the answer. In a pod or a rack the
/// reset comes within a millisecond; beyond that the answer counts as delivered.
const DELIVERY_GRACE: Duration = Duration::from_millis(250);

/// Limits of a lingering close; nginx's `lingering_time` and `lingering_timeout`.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);

/// Closes so that the last answer arrives.
///
/// Closing a socket with unread bytes makes the kernel send a reset, which destroys what the
/// client has not read yet: an early 413 would be lost. So the rest is read and thrown away.
///
/// # Source
///
/// RFC 9112 §9.6.
pub async fn close(downstream: &Rc<Downstream>) {
    if downstream.has_deferred() {
        let aborted =
            tokio::time::timeout(DELIVERY_GRACE, wait_for_reset(downstream)).await.is_ok();
        downstream.decide(if aborted { Delivery::Aborted } else { Delivery::Delivered });
    }
    if downstream.has_unread_upload() && downstream.shutdown().await.is_ok() {
        // Out of time or out of client: either way there is nothing more to do for it.
        let _elapsed = tokio::time::timeout(LINGER, discard(downstream)).await;
    }
}

async fn wait_for_reset(downstream: &Downstream) {
    const INTERVAL: Duration = Duration::from_millis(10);
    while downstream.take_error().is_none() {
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn discard(downstream: &Rc<Downstream>) {
    let mut scratch = vec![0; 16 * 1024];
    loop {
        let read = tokio::time::timeout(LINGER_SILENCE, downstream.discard(&mut scratch)).await;
        if !matches!(read, Ok(Ok(count)) if count > 0) {
            return;
        }
    }
}
