//! Terminals for the program to write to. The program recognizes only real terminals, so these are
//! pseudoterminals, and the test takes the place of their user.

#![cfg(feature = "cli")]

use std::fs::File;
use std::io::Write;

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
        let terminal = Terminal {
            user: user.into(),
            controller: controller.into(),
        };
        terminal.seat().resize(columns);
        terminal
    }

    /// A seat at this terminal, which stays with the user when a program has taken the terminal.
    pub fn seat(&self) -> Seat {
        Seat(self.controller.try_clone().expect("it can be duplicated"))
    }
}

/// The place of a terminal's user, who can type, and make the window wider or narrower.
pub struct Seat(File);

impl Seat {
    pub fn resize(&self, columns: u16) {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.0, size).expect("it is a terminal");
    }

    /// Types keys. Ctrl-D is `\x04`.
    pub fn type_keys(&mut self, keys: &str) {
        self.0.write_all(keys.as_bytes()).expect("it is a terminal");
    }
}

/// Splits the output on a terminal into the lines that stay, and the texts that took the place of
/// an erased last line.
#[track_caller]
pub fn taken_apart(said: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines = Vec::new();
    let mut lives = Vec::new();
    for (at, drawn) in said.split(ERASE).enumerate() {
        let (whole, live) = drawn
            .rfind('\n')
            .map_or(("", drawn), |end| drawn.split_at(end + 1));
        lines.extend(whole.lines());
        if at > 0 {
            lives.push(live);
        } else {
            assert_eq!(live, "", "it is not drawn where it will be erased");
        }
    }
    let all = lines.iter().chain(&lives);
    assert!(
        all.into_iter().all(|text| !text.contains(char::is_control)),
        "{said:?}"
    );
    (lines, lives)
}

/// The visible rest of a line that has been erased and written again.
pub fn as_shown(line: &str) -> &str {
    line.rsplit_once(ERASE).map_or(line, |(_, last)| last)
}
