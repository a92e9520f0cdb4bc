//! Senders of every kind, faulty ones among them, for as long as there is time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::dice::Dice;
use crate::common::pack::{gzip, qt, zlib, zstd};
use crate::common::process::{memory, peak_memory};
use crate::common::program::{Client, Program, Stdout, Version};
use crate::faults::FAULTS;
use crate::machine;
use crate::process::{open_files, wait_for_open_files};

/// Senders whose streams are whole, and senders with every fault.
const SENDERS: usize = 8;
const FAULTY: usize = 4;

/// The duration, unless `TLSINK_SOAK_SECONDS` sets another.
const SECONDS: u64 = 600;

/// The most memory that the program has at any time, in bytes: a window and a few chunks for each
/// sender are less.
const MOST: u64 = 128 << 20;

/// The bytes by which memory may grow after the first third: chance decides how much is in flight.
const FLAT: u64 = 24 << 20;

/// The open files of a connection. One that has ended may still exist for a moment.
const FILES_EACH: usize = 2;

/// `TLSINK_SOAK_SECONDS=60 cargo test --release --test load soak -- --ignored`
#[test]
#[ignore = "takes ten minutes"]
fn mixed_senders_are_served_for_a_long_time_and_no_resource_use_grows() {
    let _machine = machine::alone();
    let seconds = std::env::var("TLSINK_SOAK_SECONDS").map_or(SECONDS, |seconds| {
        seconds.parse().expect("it is a number of seconds")
    });
    let length = Duration::from_secs(seconds);
    let mut program = Program::start_into(&["--receipt"], Stdout::Unread);
    let (id, address) = (program.id(), program.address());
    let files = open_files(id).unwrap();
    let output = program.unread();
    let over = AtomicBool::new(false);
    let reading = thread::spawn(move || lines_of_each(output));
    let sent: Vec<u64> = thread::scope(|scope| {
        let over = &over;
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send_streams(address, sender, over)))
            .collect();
        for number in 0..FAULTY {
            scope.spawn(move || {
                for fault in FAULTS.iter().cycle().skip(number * 2) {
                    if over.load(Ordering::Acquire) {
                        break;
                    }
                    // The connection may fail in more than one way.
                    let _ = fault(address);
                }
            });
        }
        let start = Instant::now();
        let mut seen: Vec<u64> = Vec::new();
        let all = files + (SENDERS + FAULTY) * FILES_EACH;
        let mut grown = None;
        while grown.is_none() && start.elapsed() < length {
            thread::sleep((length / 300).min(Duration::from_secs(1)));
            seen.push(memory(id).expect("the program runs"));
            let open = open_files(id).expect("the program runs");
            grown = (open > all).then_some(open);
        }
        // The senders end first, even after a failure.
        over.store(true, Ordering::Release);
        let sent = senders
            .into_iter()
            .map(|sender| sender.join().expect("every stream is receipted"));
        let sent = sent.collect();
        assert_eq!(grown, None, "descriptors are open, and {all} would do");
        let (early, late) = seen.split_at(seen.len() / 3);
        let (early, late) = (early.iter().max(), late.iter().max());
        eprintln!("most memory in the first third, and later: {early:?}, {late:?}");
        assert!(late <= early.map(|early| early + FLAT).as_ref());
        sent
    });
    let peak = peak_memory(id).unwrap();
    assert!(peak <= MOST, "{peak} bytes were in use");
    wait_for_open_files(id, files);
    assert_eq!(program.stop().status, 0);
    let printed = reading.join().expect("every line is in its place");
    eprintln!("streams of each sender: {sent:?}");
    assert_eq!(printed, sent);
}

/// The number of lines of a stream: up to a few hundred KiB, usually few.
fn lines(sender: usize, stream: u64) -> usize {
    let mut dice = Dice::new(stream * SENDERS as u64 + sender as u64);
    let most = 1 << (2 + dice.below(12));
    1 + dice.below(most)
}

/// Sends one stream after the other, each in pieces that respect no line; returns their number.
fn send_streams(address: SocketAddr, sender: usize, over: &AtomicBool) -> u64 {
    let mut dice = Dice::new(!(sender as u64));
    let mut stream = 0;
    while !over.load(Ordering::Acquire) {
        let plain: String = (0..lines(sender, stream))
            .map(|line| format!("sender {sender} {stream} {line}\n"))
            .collect();
        let plain = plain.into_bytes();
        let sent = match stream % 5 {
            0 => gzip(&plain),
            1 => zlib(&plain),
            2 => zstd(&plain),
            3 => qt(&plain),
            _ => plain,
        };
        let version = dice.one_of(&Version::ALL);
        let mut client = Client::connect_as(address, version).expect("the handshake succeeds");
        let most = 1 << (6 + dice.below(11));
        for piece in dice.pieces(&sent, most) {
            client.write(piece).expect("the server reads");
        }
        let receipt = client.finish_for_receipt();
        let receipt = receipt.expect("the server answers close_notify");
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        stream += 1;
    }
    stream
}

/// Checks that each sender's lines come in order and none is missing; returns the number of its
/// whole streams.
fn lines_of_each(output: File) -> Vec<u64> {
    let mut next = vec![(0, 0); SENDERS];
    for line in BufReader::new(output).lines() {
        let line = line.expect("only text was sent");
        let Some(line) = line.strip_prefix("sender ") else {
            assert!(line.starts_with(crate::faults::FAULTY), "{line}");
            continue;
        };
        let numbers: Vec<usize> = line.split(' ').flat_map(str::parse).collect();
        let [sender, stream, number] = numbers[..] else {
            panic!("nobody sent {line}");
        };
        assert_eq!(next[sender], (stream as u64, number), "of sender {sender}");
        next[sender].1 += 1;
        if next[sender].1 == lines(sender, stream as u64) {
            next[sender] = (stream as u64 + 1, 0);
        }
    }
    assert!(next.iter().all(|(_, line)| *line == 0), "{next:?}");
    next.into_iter().map(|(stream, _)| stream).collect()
}
