//! A well-behaved sender, which measures how long each of its lines takes to be printed, whatever
//! other senders do.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::common::program::{Client, LIMIT};

/// Sends a line, and the next one once that is printed.
pub struct Honest {
    client: Client,
    sent: usize,
    printed: Receiver<Instant>,
}

impl Honest {
    /// Connects. Reads all of the program's output, and keeps none of the other senders' data.
    pub fn new(address: SocketAddr, output: File) -> Self {
        let (times, printed) = mpsc::channel();
        thread::spawn(move || look_for_lines(output, &times));
        Honest {
            client: Client::connect(address),
            sent: 0,
            printed,
        }
    }

    /// Sends the next line and waits until it is printed, whole; returns how long that took.
    pub fn line(&mut self) -> Duration {
        let line = line(self.sent);
        self.sent += 1;
        let before = Instant::now();
        self.client
            .write(line.as_bytes())
            .expect("the server reads");
        let printed = self.printed.recv_timeout(LIMIT);
        printed.expect("the line is printed") - before
    }

    /// The longest time that one of this many lines takes.
    pub fn slowest_of(&mut self, lines: usize) -> Duration {
        let slowest = (0..lines).map(|_| self.line()).max();
        slowest.unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.client.local_address()
    }

    /// Ends the stream cleanly; returns the number of bytes sent.
    pub fn finish(self) -> u64 {
        self.client.finish().expect("the server answers");
        (0..self.sent).map(|number| line(number).len() as u64).sum()
    }
}

/// Reports when each line was read, one after the other. The other senders' data may have no
/// newlines, or only newlines. It is searched as fast as it comes, or the program would wait for
/// this thread.
fn look_for_lines(mut output: impl Read, times: &Sender<Instant>) {
    const BLOCK: usize = 64 * 1024;
    let mut read = vec![0; BLOCK];
    let mut block = Vec::new();
    let mut wanted = (0..).map(|number| line(number).trim_end().to_owned());
    let mut next = wanted.next().expect("there is no last one");
    while let Ok(len @ 1..) = output.read(&mut read) {
        let now = Instant::now();
        block.extend_from_slice(&read[..len]);
        while let Some(at) = memmem::find(&block, next.as_bytes()) {
            block.drain(..at + next.len());
            if times.send(now).is_err() {
                // Further output must not block the program.
                let _ = std::io::copy(&mut output, &mut std::io::sink());
                return;
            }
            next = wanted.next().expect("there is no last one");
        }
        // The last line may be incomplete.
        let kept = block.len().min(next.len());
        block.drain(..block.len() - kept);
    }
}

/// The text of a line. In JSON and behind a label, it is in the middle of the printed line.
fn line(number: usize) -> String {
    format!("honest {number}.\n")
}
