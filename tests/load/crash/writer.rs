//! A program that writes a log, which is rotated meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::common::dice::Dice;

/// The lines of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each begins with the writer's tag.
    Tagged,
    /// Some are empty, too.
    Any,
}

/// The manner in which a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    No,
    /// By a rename, at most this many times: a sender waits for some seconds each time.
    Rename(usize),
    /// By a copy, after which the file is truncated, once everything is delivered.
    CopyTruncate(usize),
}

/// Rolls a line. Its number makes it unique.
pub fn roll_line(dice: &mut Dice, kind: Kind, tag: &str, number: usize) -> Vec<u8> {
    if kind == Kind::Any && dice.below(8) == 0 {
        return b"\n".to_vec();
    }
    let most = match dice.below(100) {
        0 => 100_000,
        1..20 => 2000,
        _ => 100,
    };
    let mut line = format!("{tag} {number} ");
    // These digits compress badly, so that a cut has many places.
    for _ in 0..dice.below(most) / 16 {
        line += &format!("{:x}", dice.next());
    }
    line += dice.one_of(&["\n", "\n", "\n", "\r\n", " in\rside\n"]);
    line.into_bytes()
}

/// Writes lines to a file that is followed. Returns all bytes that are to be delivered.
pub fn write_log(
    path: &Path,
    (kind, tag, lines): (Kind, &str, usize),
    rotation: Rotation,
    is_delivered: impl Fn(&[u8]) -> bool,
    mut dice: Dice,
) -> Vec<u8> {
    let open = || -> File {
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(path).unwrap()
    };
    let mut file = open();
    let mut all = Vec::new();
    let mut rotated = 0;
    for number in 0..lines {
        let line = roll_line(&mut dice, kind, tag, number);
        let most = dice.one_of(&[10, 1000, 100_000]);
        for piece in dice.pieces(&line, most) {
            file.write_all(piece).unwrap();
        }
        all.extend(line);
        if dice.below(20) == 0 {
            thread::sleep(Duration::from_millis(dice.below(50) as u64));
        }
        if dice.below(lines / 4 + 1) > 0 {
            continue;
        }
        let aside = numbered(path, rotated + 1);
        match rotation {
            Rotation::Rename(most) if rotated < most => {
                if dice.below(2) == 0 {
                    // The line's end never comes, and is added.
                    let part = format!("{tag} unfinished {number}");
                    file.write_all(part.as_bytes()).unwrap();
                    all.extend(part.into_bytes());
                    all.push(b'\n');
                }
                fs::rename(path, aside).unwrap();
                file = open();
            }
            Rotation::CopyTruncate(most) if rotated < most => {
                while !is_delivered(&all) {
                    thread::sleep(Duration::from_millis(20));
                }
                fs::copy(path, aside).unwrap();
                file.set_len(0).unwrap();
            }
            _ => continue,
        }
        rotated += 1;
    }
    all
}

/// The name of a log that was rotated.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
