//! Terminals for the program to write to. Nothing but a terminal is one to it, so these are real,
//! with the test in the place of whoever looks at them.

#![cfg(feature = "cli")]

use std::fs::File;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize};
use rustix::termios::{tcgetattr, tcsetattr, tcsetwinsize};

/// What erases an unfinished line: the cursor goes to its beginning, and the rest is cleared
/// (ECMA-48, EL).
pub const ERASE: &str = "\r\x1b[K";

/// The two sides of a terminal of 24 lines of 80 columns.
pub struct Terminal {
    /// What programs write to.
    pub user: File,
    /// What reads what they wrote. When the last one has closed its side, it gives what is left
    /// and then EIO.
    pub controller: File,
}

impl Terminal {
    /// Opens one that shows exactly what is written to it.
    pub fn open() -> Terminal {
        Terminal::of_columns(80)
    }

    pub fn of_columns(columns: u16) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("there are terminals");
        grantpt(&controller).expect("the terminal is ours");
        unlockpt(&controller).expect("the terminal is locked");
        let path = ptsname(&controller, Vec::new()).expect("the terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let user = rustix::fs::open(path, flags, Mode::empty()).expect("the terminal is unlocked");
        // Else it would make CR-LF of each newline, and nobody could tell whose the CR is.
        let mut modes = tcgetattr(&user).expect("it is a terminal");
        modes.output_modes.remove(OutputModes::OPOST);
        tcsetattr(&user, OptionalActions::Now, &modes).expect("it is a terminal");
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&user, size).expect("it is a terminal");
        Terminal {
            user: user.into(),
            controller: controller.into(),
        }
    }
}

/// What is left to see of a line that has been erased and written again.
pub fn as_shown(line: &str) -> &str {
    line.rsplit_once(ERASE).map_or(line, |(_, last)| last)
}
