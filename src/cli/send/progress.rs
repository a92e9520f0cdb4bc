//! The progress of sending, at the bottom of the terminal.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_lite::future;
use smol::Timer;

use super::super::args::{LineFraming, SendArgs};
use super::super::bytes::{Bytes, BytesOf};
use super::super::count::Count;
use super::super::live::LiveLine;
use super::super::say::Say;
use super::elapsed::Elapsed;
use super::input::Input;
use super::recent_rate::{RecentRate, per_second};
use super::relp::Lines;

/// The shortest interval between two updates.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

/// The progress of a stream.
pub(super) struct Progress<'a> {
    /// The name of the file, as it was given; none of standard input.
    name: Option<String>,
    /// The length of the input in bytes, if that is known.
    len: Option<u64>,
    /// The time since which the connection is open.
    start: Instant,
    /// The bytes of the input that were sent.
    sent: Cell<u64>,
    /// The lines of the session, in RELP.
    lines: Option<&'a Cell<Lines>>,
    /// All is sent, and this is waited for.
    awaited: Cell<Option<&'static str>>,
    /// There is a terminal, and no typed text that would run into the line.
    is_shown: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(args: &SendArgs, input: &Input, lines: &'a Cell<Lines>, say: &Say) -> Self {
        Progress {
            name: args.file.as_ref().map(|path| path.display().to_string()),
            len: input.len,
            start: Instant::now(),
            sent: Cell::new(0),
            lines: (args.framing == LineFraming::Relp).then_some(lines),
            awaited: Cell::new(None),
            is_shown: say.is_terminal() && !input.is_typed,
        }
    }

    /// Counts further bytes of the input as sent.
    pub(super) fn add(&self, bytes: usize) {
        self.sent.set(self.sent.get().saturating_add(bytes as u64));
    }

    /// All is sent, and this is waited for.
    pub(super) fn wait_for(&self, awaited: &'static str) {
        self.awaited.set(Some(awaited));
    }

    /// Shows the progress, if it is to be shown, until the future is dropped.
    pub(super) async fn show<T>(&self, say: &Say) -> T {
        if !self.is_shown {
            return future::pending().await;
        }
        let _shown = Shown(say);
        let mut rate = RecentRate::since(self.start, 0);
        loop {
            Timer::after(INTERVAL).await;
            let now = Instant::now();
            let rate = rate.at(now, self.sent.get());
            say.live(self.line(rate, now.duration_since(self.start)));
        }
    }

    fn line(&self, rate: f64, elapsed: Duration) -> LiveLine {
        let sent = self.sent.get() as f64;
        let mut line = LiveLine::default();
        if let Some(name) = &self.name {
            line = line.name(6, "", name);
        }
        line = match self.len.map(|len| len as f64) {
            Some(len) => {
                let share = if len > 0.0 { sent / len } else { 1.0 };
                // Rounded down: 100% is the end.
                let percent = (100.0 * share).floor();
                line.bar(5, " ", share)
                    .text(0, " ", format_args!("{percent}%"))
                    .text(2, ", ", BytesOf(sent, len))
            }
            None => line
                .text(0, ", ", format_args!("{} sent", Bytes(sent)))
                .text(2, " ", format_args!("in {:.0}", Elapsed(elapsed))),
        };
        if let Some(lines) = self.lines {
            let acknowledged = Count(lines.get().acknowledged, "line");
            line = line.text(4, ", ", format_args!("{acknowledged} acknowledged"));
        }
        if let Some(awaited) = self.awaited.get() {
            return line.text(1, ", ", format_args!("waiting for {awaited}"));
        }
        line = line.text(3, ", ", format_args!("{}/s", Bytes(rate)));
        let left = self.len.map(|len| (len as f64 - sent) / rate);
        // Without a rate, there is no telling.
        match left.map(Duration::try_from_secs_f64) {
            Some(Ok(left)) => line.text(1, ", ", format_args!("{:.0} left", Elapsed(left))),
            _ => line,
        }
    }

    /// The account of a stream that the server has: `notes.txt, 12.3 MiB as 4.1 MiB (zstd) to h:1 in
    /// 3.2 s, 3.8 MiB/s`.
    pub(super) fn account(&self, args: &SendArgs, encoded: u64) -> String {
        let (sent, elapsed) = (self.sent.get(), self.start.elapsed());
        let name = self.name.as_ref().map(|name| format!("{name}, "));
        format!(
            "{}{} as {} ({}) to {} in {}, {}/s",
            name.unwrap_or_default(),
            Bytes(sent as f64),
            Bytes(encoded as f64),
            args.encode.name(),
            args.to,
            Elapsed(elapsed),
            Bytes(per_second(sent, elapsed))
        )
    }
}

/// A live line, which is removed when this is dropped.
struct Shown<'a>(&'a Say);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.live_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_known_of_the_stream() {
        const MIB: u64 = 1 << 20;
        let lines = Cell::new(Lines {
            sent: 12,
            acknowledged: 1,
        });
        let line = |name: Option<&str>, len, sent, rate, is_relp: bool, awaited| {
            let progress = Progress {
                name: name.map(str::to_owned),
                len,
                start: Instant::now(),
                sent: Cell::new(sent),
                lines: is_relp.then_some(&lines),
                awaited: Cell::new(awaited),
                is_shown: true,
            };
            let line = progress.line(rate, Duration::from_secs(4)).whole();
            // The bar is as long as may be.
            let bar = line
                .split_once('[')
                .and_then(|(_, bar)| bar.split_once(']'));
            match bar {
                Some((bar, _)) => line.replace(bar, "="),
                None => line,
            }
        };
        let (file, rate) = (Some("a.txt"), MIB as f64);
        for (shown, expected) in [
            (
                line(file, Some(4 * MIB), MIB, rate, false, None),
                "a.txt [=] 25%, 1.0 of 4.0 MiB, 1.0 MiB/s, 3 s left",
            ),
            (
                line(file, Some(4 * MIB), MIB, 0.0, true, None),
                "a.txt [=] 25%, 1.0 of 4.0 MiB, 1 line acknowledged, 0 B/s",
            ),
            (
                line(None, Some(4 * MIB), 4 * MIB - 1, 1.0, false, None),
                "[=] 99%, 4.0 of 4.0 MiB, 1 B/s, 1 s left",
            ),
            (
                line(file, Some(9), 9, rate, false, Some("the receipt")),
                "a.txt [=] 100%, 9 of 9 B, waiting for the receipt",
            ),
            (
                line(file, Some(0), 0, 0.0, false, Some("the server")),
                "a.txt [=] 100%, 0 of 0 B, waiting for the server",
            ),
            (
                line(None, None, MIB, rate, false, None),
                "1.0 MiB sent in 4 s, 1.0 MiB/s",
            ),
            (
                line(Some("fifo"), None, MIB, rate, true, Some("the server")),
                "fifo, 1.0 MiB sent in 4 s, 1 line acknowledged, waiting for the server",
            ),
        ] {
            assert_eq!(shown, expected);
        }
    }
}
