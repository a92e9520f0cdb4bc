//! How far a file has been sent, at the bottom of the terminal.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;

use super::super::say::{LIVE_START, Say};

/// How often a second it is drawn at most.
const DRAWN: u8 = 5;

/// What indicatif can still lay out. What is too long is cut where it is said.
const NARROWEST: u16 = 20;

const TEMPLATE: &str = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// A progress bar, or nothing. It is gone when this is dropped.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Of this many bytes, if there is a terminal to show it on and it is known how many.
    pub(crate) fn new(len: Option<u64>, say: &Say) -> Self {
        Progress(len.filter(|_| say.is_terminal()).map(|len| {
            let screen = Box::new(Screen {
                say: say.clone(),
                line: Mutex::default(),
            });
            let bar = ProgressBar::with_draw_target(
                Some(len),
                ProgressDrawTarget::term_like_with_hz(screen, DRAWN),
            );
            // It is known to be one; any other would do as well.
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("#>-"));
            }
            bar
        }))
    }

    /// So much of it was taken.
    pub(crate) fn set(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The terminal, by way of the thread that says everything else: nothing waits for it, and no line
/// runs into the bar.
struct Screen {
    say: Say,
    line: Mutex<String>,
}

impl Screen {
    fn line(&self) -> std::sync::MutexGuard<'_, String> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

/// There is one line, so the cursor has nowhere to go.
impl TermLike for Screen {
    fn width(&self) -> u16 {
        // A terminal that doesn't know its size says 0.
        let columns = match tcgetwinsize(io::stderr()) {
            Ok(size) if size.ws_col > 0 => size.ws_col,
            _ => 80,
        };
        let taken = u16::try_from(LIVE_START.len()).unwrap_or(columns);
        // The last column stays free: some terminals wrap as soon as it is taken.
        columns
            .saturating_sub(taken)
            .saturating_sub(1)
            .max(NARROWEST)
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.line().push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.line().clear();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let line = std::mem::take(&mut *self.line());
        match line.trim() {
            "" => self.say.live_over(),
            line => self.say.live(line),
        }
        Ok(())
    }
}
