//! What the service manager that started the daemon is told: that it is ready, looks anew, ends. Where none asked for
//! it (`NOTIFY_SOCKET`), nobody is told, and nothing is wrong.

use sd_notify::NotifyState;

/// Everything listens; `doing` is what `systemctl status` shows.
pub fn ready(doing: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(doing)]);
}

/// The source is looked at because somebody asked (`systemctl reload`). [`reloaded`] has to follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // Without this time, a unit of `Type=notify-reload` would be ended.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no clock for the service manager"),
    }
}

/// The look is under way.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// It ends, on purpose.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told how the daemon stands");
    }
}
