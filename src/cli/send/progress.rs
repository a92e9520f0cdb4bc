//! The progress of sending a file, at the bottom of the terminal.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::super::bytes::Bytes;
use super::super::say::Say;

/// The shortest interval between two updates.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line with the progress, or nothing. Dropping it removes the line.
pub(crate) struct Progress(Option<ProgressLine>);

struct ProgressLine {
    say: Say,
    /// The length of the file, in bytes.
    len: u64,
    start: Instant,
    shown: Cell<Option<Instant>>,
}

impl Progress {
    /// A line for this many bytes, if the number is known and there is a terminal.
    pub(crate) fn new(len: Option<u64>, say: &Say) -> Self {
        Progress(len.filter(|_| say.is_terminal()).map(|len| ProgressLine {
            say: say.clone(),
            len,
            start: Instant::now(),
            shown: Cell::new(None),
        }))
    }

    /// Shows that this many bytes have been sent.
    pub(crate) fn set(&self, bytes: u64) {
        let Some(line) = &self.0 else { return };
        let now = Instant::now();
        let is_due = |shown: Instant| now.duration_since(shown) >= INTERVAL;
        if line.shown.get().is_none_or(is_due) {
            line.shown.set(Some(now));
            let elapsed = now.duration_since(line.start);
            line.say.live(&text(bytes, line.len, elapsed));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = &self.0
            && line.shown.get().is_some()
        {
            line.say.live_over();
        }
    }
}

fn text(bytes: u64, len: u64, elapsed: Duration) -> String {
    let (sent, all) = (bytes as f64, len as f64);
    let rate = sent / elapsed.as_secs_f64().max(f64::EPSILON);
    let left = (all - sent).max(0.0) / rate.max(f64::EPSILON);
    format!(
        "{:.0}%, {} of {}, {}/s, {} left",
        100.0 * sent / all.max(1.0),
        Bytes(sent),
        Bytes(all),
        Bytes(rate),
        time(left)
    )
}

/// A number of seconds in the largest unit that gives at least one.
fn time(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.0} s"),
        60.0..3600.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_share_amounts_rate_and_time() {
        for (bytes, len, seconds, expected) in [
            (0, 0, 0, "0%, 0 B of 0 B, 0 B/s, 0 s left"),
            (
                1 << 20,
                4 << 20,
                1,
                "25%, 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left",
            ),
            (
                1024,
                1 << 20,
                1,
                "0%, 1.0 KiB of 1.0 MiB, 1.0 KiB/s, 17 min left",
            ),
            (
                1024,
                1 << 30,
                1,
                "0%, 1.0 KiB of 1.0 GiB, 1.0 KiB/s, 291.3 h left",
            ),
        ] {
            assert_eq!(text(bytes, len, Duration::from_secs(seconds)), expected);
        }
    }
}
