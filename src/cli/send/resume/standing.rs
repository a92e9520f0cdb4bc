//! The standing of a resumed stream, at the bottom of the terminal.

use std::time::{Duration, Instant};

use futures_lite::future;
use smol::Timer;

use super::super::super::bytes::Bytes;
use super::super::super::say::Say;

/// The shortest interval between two updates.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line that tells how far a stream is acknowledged, if there is a terminal.
pub(super) struct Standing {
    say: Option<Say>,
    shown: Option<(u64, u64)>,
    next: Instant,
}

impl Standing {
    pub(super) fn new(say: &Say) -> Self {
        Standing {
            say: say.is_terminal().then(|| say.clone()),
            shown: None,
            next: Instant::now(),
        }
    }

    /// Shows these numbers of bytes, once that is due; then it waits for ever. The call can be dropped
    /// and made again.
    pub(super) async fn show(&mut self, acknowledged: u64, behind: u64) {
        if let Some(say) = &self.say
            && self.shown != Some((acknowledged, behind))
        {
            Timer::at(self.next).await;
            self.next = Instant::now() + INTERVAL;
            self.shown = Some((acknowledged, behind));
            say.live(&text(acknowledged, behind));
        }
        future::pending().await
    }

    /// Removes the line.
    pub(super) fn over(&self) {
        if let (Some(say), Some(_)) = (&self.say, &self.shown) {
            say.live_over();
        }
    }
}

fn text(acknowledged: u64, behind: u64) -> String {
    let acknowledged = Bytes(acknowledged as f64);
    match behind {
        0 => format!("{acknowledged} acknowledged, nothing behind"),
        behind => format!(
            "{acknowledged} acknowledged, {} behind",
            Bytes(behind as f64)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_acknowledged_and_what_is_not() {
        assert_eq!(text(1024, 0), "1.0 KiB acknowledged, nothing behind");
        assert_eq!(text(1 << 20, 5), "1.0 MiB acknowledged, 5 B behind");
    }
}
