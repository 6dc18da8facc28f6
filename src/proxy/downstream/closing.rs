//! The end of a connection: a close that lingers.

use std::future::poll_fn;
use std::time::Duration;

use super::ClientConnection;

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
pub(crate) async fn close(downstream: &ClientConnection) {
    let transport = &downstream.transport;
    let unread = downstream.has_unread() || transport.has_ahead();
    if !unread && !transport.has_closing_message() {
        return;
    }
    let shutdown = poll_fn(|cx| transport.poll_shutdown(cx));
    let shutdown = tokio::time::timeout(LINGER_SILENCE, shutdown).await;
    if unread && matches!(shutdown, Ok(Ok(()))) {
        // Out of time or out of client: either way there is nothing more to do for it.
        let _elapsed = tokio::time::timeout(LINGER, discard(downstream)).await;
    }
}

async fn discard(downstream: &ClientConnection) {
    let mut scratch = vec![0; 16 * 1024];
    loop {
        // Whoever sends at full speed must not keep others waiting.
        tokio::task::yield_now().await;
        let read = poll_fn(|cx| downstream.transport.poll_read(cx, &mut scratch));
        let read = tokio::time::timeout(LINGER_SILENCE, read).await;
        if !matches!(read, Ok(Ok(count)) if count > 0) {
            return;
        }
    }
}
