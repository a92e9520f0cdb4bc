//! Telling the service manager how the program is (sd_notify(3)), if there is one.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tlsink::Server;

use super::super::bytes::Bytes;
use super::super::count::Count;
use super::super::say::Say;
use super::health::{self, Health};

/// The time between two texts that `systemctl status` shows.
const STATUS: Duration = Duration::from_secs(10);

/// The service that the program is, with what it tells again and again.
pub(crate) struct Service {
    health: Arc<Health>,
    server: Server,
    /// The time in which the manager wants a sign of life.
    watchdog: Option<Duration>,
    /// The time between two ticks; `None` if nobody wants to know.
    every: Option<Duration>,
    last: Instant,
    /// The last text, and its time; `None` if there is no manager.
    status: Option<(Instant, String)>,
}

impl Service {
    /// `is_asked` is whether others than the manager want to know the health.
    pub(super) fn new(health: Arc<Health>, server: Server, is_asked: bool) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let has_manager = env::var_os("NOTIFY_SOCKET").is_some();
        let beat = match watchdog {
            Some(limit) => health::BEAT.min(limit / 4),
            None => health::BEAT,
        };
        Service {
            health,
            server,
            watchdog,
            every: (has_manager || is_asked).then_some(beat),
            last: Instant::now(),
            status: has_manager.then(|| (Instant::now(), String::new())),
        }
    }

    /// The time of the next tick, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.last.checked_add(self.every?)
    }

    /// Asks all threads whether they turn; tells the manager that they do, and what the program does.
    pub(super) fn tick(&mut self) {
        self.last = Instant::now();
        self.health.beat();
        if let Some(limit) = self.watchdog
            && !self.health.needs_restart(limit / 2)
        {
            tell(&[NotifyState::Watchdog]);
        }
        if let Some((at, before)) = &mut self.status
            && (before.is_empty() || at.elapsed() >= STATUS)
        {
            let totals = self.server.totals();
            let text = format!(
                "{} connected, {}, {} received, {} delivered",
                self.server.connections(),
                Count(totals.connections, "connection"),
                Bytes(totals.received as f64),
                Bytes(totals.delivered as f64),
            );
            *at = Instant::now();
            if text != *before {
                tell(&[NotifyState::Status(&text)]);
                *before = text;
            }
        }
    }

    /// Tells that the program takes no more connections, once.
    pub(super) fn stopping(&self) {
        if !self.health.is_stopping() {
            self.health.stops();
            tell(&[NotifyState::Stopping]);
        }
    }
}

/// Tells that the program listens.
pub(super) fn ready(say: &Say) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        say.warning(&format!("can't tell the service manager: {error}"));
    }
}

/// Runs a reload, and tells that it begins and ends.
pub(super) fn reloading<T>(reload: impl FnOnce() -> T) -> T {
    // Managers before systemd 253 want no time, and ignore it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    let result = reload();
    tell(&[NotifyState::Ready]);
    result
}

/// Tells the manager something. One that does not hear it acts as if the program hung.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
