//! Messages on standard error, a line each. A thread of its own writes them, so that a standard
//! error that is not read blocks no other thread.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anstyle::Style;
use async_channel::{Receiver, Sender};
use futures_lite::future;
use rustix::fs::fstat;
use smol::Timer;
use tlsink::output::{Timestamp, escaped};

use super::Failure;
use super::blocking::BlockingWriter;
use super::color::{self, Color, DIM};
use super::count::Count;
use super::level::Level;
use super::live::LiveLine;

/// The most queued lines; further ones are counted instead. By default, this is more than the
/// number of connections: each has one line to say when all are cut.
const MAX_QUEUED: usize = 16 * 1024;

/// The time that the end of the program waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Says lines, from any thread; clones share one queue.
#[derive(Clone)]
pub(crate) struct Say {
    level: Level,
    terminal: bool,
    lines: Sender<Message>,
    shared: Arc<SayState>,
}

/// The state that all clones and the writing thread share.
struct SayState {
    /// Lines that were dropped, as the queue was full.
    missed: AtomicU64,
    /// Each line begins with the time, except live ones, which do not stay.
    timestamps: bool,
    /// Messages have colours.
    colors: bool,
    /// Standard error is the journal, where each line begins with its priority.
    journal: bool,
}

enum Message {
    Text(String),
    /// The line at the bottom of a terminal, or none.
    Live(Option<LiveLine>),
    /// Ends the thread; nothing is shown.
    Finish,
}

impl Say {
    /// Starts the thread that writes lines, with the time before each if `timestamps`.
    pub(crate) fn start(color: Color, timestamps: bool) -> Self {
        let (lines, queue) = async_channel::unbounded();
        let shared = Arc::new(SayState {
            missed: AtomicU64::new(0),
            timestamps,
            colors: color.is_on(),
            journal: is_journal(),
        });
        let say = Say {
            level: Level::Info,
            terminal: color::is_terminal(),
            lines,
            shared: Arc::clone(&shared),
        };
        // Without a thread, nothing can be said, not even this.
        let _ = thread::Builder::new()
            .name("say".to_owned())
            .spawn(move || write_lines(&queue, &shared));
        say
    }

    /// A clone that says only messages of this level or above it.
    pub(crate) fn with_level(&self, level: Level) -> Self {
        let mut say = self.clone();
        say.level = level;
        say
    }

    /// Whether standard error is a terminal on which lines can be erased.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn error(&self, text: &str) {
        self.line(Level::Error, text, None);
    }

    pub(crate) fn warning(&self, text: &str) {
        self.line(Level::Warning, text, None);
    }

    pub(crate) fn info(&self, text: &str) {
        self.line(Level::Info, text, None);
    }

    /// Says a detail. `text` is called only if details are shown.
    pub(crate) fn detail(&self, text: impl FnOnce() -> String) {
        if Level::Detail <= self.level {
            self.line(Level::Detail, &text(), None);
        }
    }

    /// Says one line, and a second one if there is a hint: a remedy. Control characters in
    /// quotations are escaped.
    pub(crate) fn line(&self, level: Level, text: &str, hint: Option<&str>) {
        self.message(level, text, None, hint);
    }

    /// Says how a stream ended: a [line](Self::line) of which these last words tell the end. It is bad
    /// if the level is that of a warning.
    pub(crate) fn end(&self, level: Level, text: &str, end: &str, hint: Option<&str>) {
        self.message(level, text, Some(end), hint);
    }

    fn message(&self, level: Level, text: &str, end: Option<&str>, hint: Option<&str>) {
        if level <= self.level {
            let lines = self.shared.lines(level, text, end, hint);
            self.send(Message::Text(lines));
        }
    }

    /// Shows a line at the bottom of the terminal.
    pub(crate) fn live(&self, line: LiveLine) {
        if Level::Info <= self.level {
            self.send(Message::Live(Some(line)));
        }
    }

    /// Removes the live line, if there is one.
    #[cfg(feature = "send")]
    pub(crate) fn live_over(&self) {
        if Level::Info <= self.level {
            self.send(Message::Live(None));
        }
    }

    /// Says why the program failed, if it did, and waits, for a limited time, until everything is
    /// written. Later messages are dropped.
    pub(crate) fn finish(&self, failure: Option<&Failure>) {
        // The channel has room for these, whatever its length.
        if let Some(Failure { what, hint, .. }) = failure {
            let lines = self.shared.lines(Level::Error, what, None, hint.as_deref());
            let _ = self.lines.try_send(Message::Text(lines));
        }
        let _ = self.lines.try_send(Message::Finish);
        future::block_on(future::or(self.lines.closed(), async {
            Timer::after(LAST_LINES).await;
        }));
    }

    fn send(&self, line: Message) {
        if self.lines.len() >= MAX_QUEUED || self.lines.try_send(line).is_err() {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl SayState {
    /// The lines of a message, of which the last occurrence of `end` tells the end of a stream.
    fn lines(&self, level: Level, text: &str, end: Option<&str>, hint: Option<&str>) -> String {
        let mut front = String::new();
        if self.journal {
            front.push_str(level.priority());
        }
        if self.timestamps {
            let _ = write!(front, "{} ", Timestamp(SystemTime::now()));
        }
        let text = escaped(text).to_string();
        let mut lines = match end.map(|end| escaped(end).to_string()) {
            None => {
                let label = self.styled(color::of_label(level), "tlsink:");
                format!("{front}{label} {text}\n")
            }
            Some(end) => {
                let (before, behind) = text.rsplit_once(&end).unwrap_or((&text, ""));
                let end = self.styled(color::of_end(level), &end);
                format!("{front}tlsink: {before}{end}{behind}\n")
            }
        };
        if let Some(hint) = hint {
            let hint = format!("hint: {}", escaped(hint));
            let _ = writeln!(lines, "{front}{}", self.styled(DIM, &hint));
        }
        lines
    }

    /// The text in this style, if messages have colours.
    fn styled(&self, style: Style, text: &str) -> String {
        match self.colors {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }
}

/// Whether standard error is the journal: whether it is what JOURNAL_STREAM names (systemd.exec(5)).
/// Programs that the service starts inherit the variable, but may have another standard error.
fn is_journal() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|own| named == format!("{}:{}", own.st_dev, own.st_ino))
}

/// Goes to the beginning of the line and erases it (ECMA-48, EL).
const ERASE: &str = "\r\x1b[K";

/// Writes lines until the last one; the channel is closed then.
fn write_lines(queue: &Receiver<Message>, shared: &SayState) {
    let mut live = None;
    while let Ok(line) = queue.recv_blocking() {
        let (mut text, last) = match line {
            Message::Text(text) => (text, false),
            Message::Live(line) => {
                if live.is_some() || line.is_some() {
                    live = line;
                    let shown = live.as_ref().map(LiveLine::on_terminal);
                    say(&format!("{ERASE}{}", shown.unwrap_or_default()));
                }
                continue;
            }
            Message::Finish => (String::new(), true),
        };
        let missed = shared.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let missed = Count(missed, "line");
            let left_out = format!("{missed} left out: standard error was not read in time");
            text.push_str(&shared.lines(Level::Warning, &left_out, None, None));
        }
        match &live {
            None => say(&text),
            Some(_) if last => say(&format!("{ERASE}{text}")),
            Some(live) => say(&format!("{ERASE}{text}{}", live.on_terminal())),
        }
        if last {
            return;
        }
    }
}

fn say(text: &str) {
    // An error is ignored: standard error may be closed.
    let _ = BlockingWriter(io::stderr()).write_all(text.as_bytes());
}
