//! Terminals for the program to write to. The program recognizes only real terminals, so these are
//! pseudoterminals, and the test takes the place of their user.

#![cfg(feature = "cli")]

use std::fs::File;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize};
use rustix::termios::{tcgetattr, tcsetattr, tcsetwinsize};

/// The sequence that erases an unfinished line: the cursor goes to its beginning, and the rest is
/// cleared (ECMA-48, EL).
pub const ERASE: &str = "\r\x1b[K";

/// The two sides of a terminal of 24 lines of 80 columns.
pub struct Terminal {
    /// The side that programs write to.
    pub user: File,
    /// The side on which their output is read. When the last program has closed its side, it yields
    /// the rest and then EIO.
    pub controller: File,
}

impl Terminal {
    /// Opens a terminal that shows exactly the bytes written to it.
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
        // Otherwise the terminal would make CR-LF of each newline, and a test could not tell the
        // origin of a CR.
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

/// The visible rest of a line that has been erased and written again.
pub fn as_shown(line: &str) -> &str {
    line.rsplit_once(ERASE).map_or(line, |(_, last)| last)
}
