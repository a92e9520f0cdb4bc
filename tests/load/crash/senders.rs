//! Senders that are started again until all of their data is acknowledged.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::writer::{Kind, roll_line};
use crate::common::dice::Dice;
use crate::common::program::{Program, Stderr};

/// Lines in one plain stream.
const EACH: usize = 10;

/// The most lines in one session of RELP.
const SESSION: usize = 300;

pub struct Resender {
    /// The address of the proxy.
    pub address: String,
    /// For files that senders read.
    pub folder: PathBuf,
    pub deadline: Instant,
}

impl Resender {
    /// Sends numbered lines as RELP until all are acknowledged, and returns them. The sender dies now and
    /// then; what it knew of acknowledgements is gone then, and the lines are sent again.
    pub fn relp(&self, tag: &str, count: usize, mut dice: Dice) -> Vec<String> {
        let lines = roll_lines(tag, count, &mut dice);
        let mut done = 0;
        while done < lines.len() {
            let encode = dice.one_of(&["zstd", "none"]);
            let args = ["--framing", "relp", "--encode", encode];
            let most = dice.one_of(&[10, SESSION]);
            let rest = &lines[done..];
            let rest = &rest[..rest.len().min(1 + dice.below(most))];
            let program = self.start(tag, &args, rest);
            // One that is always killed would never be through.
            if dice.below(4) == 0 {
                thread::sleep(Duration::from_millis(dice.below(300) as u64));
                program.signal(Signal::KILL);
            }
            let outcome = program.outcome();
            done += match outcome.status {
                0 => rest.len(),
                _ => acknowledged(&outcome.stderr),
            };
            self.wait(&mut dice);
        }
        lines
    }

    /// Sends plain streams, one after the other; returns the lines of those with a receipt.
    pub fn plain(&self, tag: &str, count: usize, mut dice: Dice) -> Vec<String> {
        let lines = roll_lines(tag, count, &mut dice);
        let streams = lines.chunks(EACH).map(|lines| {
            let outcome = self.start(tag, &["--receipt"], lines).outcome();
            self.wait(&mut dice);
            match outcome.status {
                0 => lines,
                _ => &[],
            }
        });
        streams.flatten().cloned().collect()
    }

    /// Sends lines as a resumed stream from standard input; returns its bytes.
    pub fn resume(&self, (kind, tag, count): (Kind, &str, usize), mut dice: Dice) -> Vec<u8> {
        let args = ["send", "--insecure", "--resume", &self.address];
        let mut program = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
        let mut stdin = program.stdin();
        let mut all = Vec::new();
        for number in 0..count {
            let line = roll_line(&mut dice, kind, tag, number);
            stdin.write_all(&line).expect("it reads");
            all.extend(line);
            if dice.below(20) == 0 {
                thread::sleep(Duration::from_millis(dice.below(50) as u64));
            }
        }
        drop(stdin);
        // It ends by itself once everything is acknowledged.
        assert_eq!(program.outcome().status, 0);
        all
    }

    fn start(&self, tag: &str, args: &[&str], lines: &[String]) -> Program {
        let input = self.folder.join(tag);
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        fs::write(&input, text).unwrap();
        let input = input.display().to_string();
        let args = [&["send", "--insecure"], args, &[&self.address, &input]].concat();
        Program::start_command(&args, Stdio::null(), Stderr::Pipe)
    }

    fn wait(&self, dice: &mut Dice) {
        assert!(
            Instant::now() < self.deadline,
            "the sender is never through"
        );
        let most = dice.one_of(&[20, 200]);
        thread::sleep(Duration::from_millis(dice.below(most) as u64));
    }
}

/// The number of lines that a sender knows to be acknowledged.
fn acknowledged(said: &str) -> usize {
    let count = said.rsplit_once("acknowledged ").unwrap_or_default().1;
    let count = count.split(' ').next().and_then(|count| count.parse().ok());
    count.unwrap_or(0)
}

fn roll_lines(tag: &str, count: usize, dice: &mut Dice) -> Vec<String> {
    let line = |number| {
        let most = dice.one_of(&[1, 100, 5000]);
        format!("{tag} {number} {}", "x".repeat(dice.below(most)))
    };
    (0..count).map(line).collect()
}
