//! What a service manager is told, if there is one: systemd's notifications.

use sd_notify::NotifyState;

/// Tells that everything is served now (`Type=notify`).
pub(super) fn is_ready() {
    tell(&NotifyState::Ready);
}

/// Tells that the shutdown has begun.
pub(super) fn is_stopping() {
    tell(&NotifyState::Stopping);
}

/// Without a manager nothing is told, and nothing depends on it.
fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "the service manager cannot be told: {state}");
    }
}
