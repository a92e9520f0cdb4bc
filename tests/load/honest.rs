//! A sender that does nothing wrong, and how long each of its lines takes to be printed, whatever
//! others do.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::common::program::{Client, LIMIT};

/// What its lines begin with.
const NAME: &str = "honest";

/// As much of a line as is read at once: what others send may have no end of lines.
const PIECE: u64 = 1 << 20;

/// Sends a line, and the next one once that is printed.
pub struct Honest {
    client: Client,
    sent: usize,
    printed: Receiver<(String, Instant)>,
}

impl Honest {
    /// Connects. Reads all of the program's output, and keeps nothing of what others send.
    pub fn new(address: SocketAddr, output: File) -> Self {
        let (lines, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::with_capacity(64 * 1024, output);
            let mut piece = Vec::new();
            while let Ok(1..) = (&mut output).take(PIECE).read_until(b'\n', &mut piece) {
                let now = Instant::now();
                if memmem::find(&piece, NAME.as_bytes()).is_some() {
                    let line = String::from_utf8_lossy(&piece).into_owned();
                    if lines.send((line, now)).is_err() {
                        break;
                    }
                }
                piece.clear();
            }
            // Whatever still comes must not block the program.
            let _ = std::io::copy(&mut output, &mut std::io::sink());
        });
        Honest {
            client: Client::connect(address),
            sent: 0,
            printed,
        }
    }

    /// Sends the next line and waits until it is printed, whole; yields how long that took.
    pub fn line(&mut self) -> Duration {
        let line = format!("{NAME} {}.\n", self.sent);
        self.sent += 1;
        let before = Instant::now();
        self.client
            .write(line.as_bytes())
            .expect("the server reads");
        let printed = self.printed.recv_timeout(LIMIT);
        let (printed, at) = printed.expect("the line is printed");
        // In JSON and behind a label too.
        assert!(printed.contains(line.trim_end()), "{printed}");
        at - before
    }

    /// The longest that one of so many lines takes.
    pub fn slowest_of(&mut self, lines: usize) -> Duration {
        let slowest = (0..lines).map(|_| self.line()).max();
        slowest.unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.client.local_address()
    }

    /// Ends cleanly; yields how many bytes were sent.
    pub fn finish(self) -> u64 {
        self.client.finish().expect("the server answers");
        let sent = (0..self.sent).map(|number| format!("{NAME} {number}.\n").len() as u64);
        sent.sum()
    }
}
