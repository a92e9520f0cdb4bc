//! The standing of a resumed stream, at the bottom of the terminal.

use std::time::{Duration, Instant};

use futures_lite::future;
use smol::Timer;

use super::super::super::bytes::Bytes;
use super::super::super::live::LiveLine;
use super::super::super::say::Say;
use super::super::progress::INTERVAL;
use super::super::recent_rate::RecentRate;

/// The interval of updates while nothing changes but the rate, and perhaps the terminal's width.
const IDLE: Duration = Duration::from_secs(1);

/// A line that tells how far a stream is acknowledged, if there is a terminal.
pub(super) struct Standing {
    say: Option<Say>,
    /// The name of the followed file.
    name: Option<String>,
    shown: Option<Shown>,
}

/// The last update.
struct Shown {
    at: Instant,
    acknowledged: u64,
    behind: u64,
    rate: RecentRate,
}

impl Standing {
    /// A line about this file, or about standard input. There is none where text is typed, which would
    /// run into it.
    pub(super) fn new(name: Option<String>, is_typed: bool, say: &Say) -> Self {
        Standing {
            say: (say.is_terminal() && !is_typed).then(|| say.clone()),
            name,
            shown: None,
        }
    }

    /// Shows these numbers of bytes whenever that is due. The call can be dropped and made again.
    pub(super) async fn show(&mut self, acknowledged: u64, behind: u64) {
        while let Some(due) = self.due(acknowledged, behind) {
            Timer::at(due).await;
            self.draw(acknowledged, behind);
        }
        future::pending().await
    }

    /// Shows these numbers of bytes if that is due.
    pub(super) fn update(&mut self, acknowledged: u64, behind: u64) {
        let due = self.due(acknowledged, behind);
        if due.is_some_and(|due| due <= Instant::now()) {
            self.draw(acknowledged, behind);
        }
    }

    /// The time of the next update, if there is a line.
    fn due(&self, acknowledged: u64, behind: u64) -> Option<Instant> {
        self.say.as_ref()?;
        let Some(shown) = &self.shown else {
            return Some(Instant::now());
        };
        let is_same = (shown.acknowledged, shown.behind) == (acknowledged, behind);
        Some(shown.at + if is_same { IDLE } else { INTERVAL })
    }

    fn draw(&mut self, acknowledged: u64, behind: u64) {
        let at = Instant::now();
        let rate = self.shown.take().map(|shown| shown.rate);
        let mut rate = rate.unwrap_or_else(|| RecentRate::since(at, acknowledged));
        let recent = rate.at(at, acknowledged);
        if let Some(say) = &self.say {
            say.live(line(self.name.as_deref(), acknowledged, behind, recent));
        }
        self.shown = Some(Shown {
            at,
            acknowledged,
            behind,
            rate,
        });
    }

    /// The acknowledged bytes so far were not sent by this program, and count for no rate.
    pub(super) fn begin_again(&mut self) {
        self.shown = None;
    }

    /// Removes the line.
    pub(super) fn over(&self) {
        if let Some(say) = &self.say {
            say.live_over();
        }
    }
}

fn line(name: Option<&str>, acknowledged: u64, behind: u64, rate: f64) -> LiveLine {
    let mut line = LiveLine::default();
    if let Some(name) = name {
        line = line.name(3, "", name);
    }
    let acknowledged = Bytes(acknowledged as f64);
    line = line.text(1, ", ", format_args!("{acknowledged} acknowledged"));
    match behind {
        0 => line.text(0, ", ", "nothing behind"),
        behind => line
            .text(0, ", ", format_args!("{} behind", Bytes(behind as f64)))
            .text(2, ", ", format_args!("{}/s", Bytes(rate))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_acknowledged_and_what_is_not() {
        let shown =
            |acknowledged, behind, rate| line(Some("app.log"), acknowledged, behind, rate).whole();
        assert_eq!(
            shown(1024, 0, 9.0),
            "app.log, 1.0 KiB acknowledged, nothing behind"
        );
        assert_eq!(
            shown(1 << 20, 5, 2048.0),
            "app.log, 1.0 MiB acknowledged, 5 B behind, 2.0 KiB/s"
        );
    }
}
