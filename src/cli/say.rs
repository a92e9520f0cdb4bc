//! What the program says, on standard error: a line each, from a thread of its own, so that a
//! standard error that nobody reads blocks nothing but itself.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written, at most; further ones are counted instead.
const WAITING: usize = 1024;

/// How long the end of the program waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Says lines, from any thread; clones say to the same place.
#[derive(Clone)]
pub(crate) struct Say {
    lines: SyncSender<Line>,
    missed: Arc<AtomicU64>,
}

enum Line {
    Text(String),
    /// Everything before this has been written; tell so.
    Finish(SyncSender<()>),
}

impl Say {
    pub(crate) fn start() -> Self {
        let (lines, queue) = mpsc::sync_channel(WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let say = Say {
            lines,
            missed: Arc::clone(&missed),
        };
        // Without a thread nothing is said; there is nobody left to tell.
        let _ = thread::Builder::new()
            .name("say".to_owned())
            .spawn(move || write_lines(&queue, &missed));
        say
    }

    /// Says one line. What it quotes is made harmless: control characters are escaped.
    pub(crate) fn line(&self, text: &str) {
        self.send(format!("tlsink: {}\n", escape(text)));
    }

    /// Says what can be done about the line before.
    pub(crate) fn hint(&self, text: &str) {
        self.send(format!("hint: {}\n", escape(text)));
    }

    /// Waits, for a while, until everything has been written.
    pub(crate) fn finish(&self) {
        let (done, finished) = mpsc::sync_channel(1);
        if self.lines.try_send(Line::Finish(done)).is_ok() {
            let _ = finished.recv_timeout(LAST_LINES);
        }
    }

    fn send(&self, line: String) {
        if self.lines.try_send(Line::Text(line)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(queue: &Receiver<Line>, missed: &AtomicU64) {
    // Standard error may be closed, and then there is nobody to say it to.
    let mut stderr = io::stderr();
    for line in queue {
        match line {
            Line::Text(text) => {
                let _ = stderr.write_all(text.as_bytes());
            }
            Line::Finish(done) => {
                let _ = done.try_send(());
            }
        }
        let missed = missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let _ = writeln!(stderr, "tlsink: {missed} lines were not said in time");
        }
    }
}

/// Replaces what could change the terminal, or begin another line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_is_said_stays_on_its_line_and_leaves_the_terminal_alone() {
        assert_eq!(escape("a\nb\x1b[2J\u{9b}é"), "a\\nb\\u{1b}[2J\\u{9b}é");
    }
}
