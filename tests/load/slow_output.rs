//! An output that is slow, or stops for a while, slows the senders down. No data is lost, and none
//! piles up.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::common::process::{memory, peak_memory};
use crate::common::program::{Client, LIMIT, Program, Stdout};
use crate::machine;

const SENDERS: usize = 4;

/// A line with its newline, in bytes.
const LINE: usize = 1024;

/// The most memory that the program has at any time, in bytes: the data of a few connections in
/// flight is little beside the program itself.
const MOST: u64 = 32 << 20;

/// The bytes by which memory may grow once everything stands still, for the allocator's own
/// purposes.
const FLAT: u64 = 4 << 20;

#[test]
fn an_output_that_takes_1_mb_a_second_slows_all_senders_down_and_loses_nothing() {
    let _machine = machine::shared();
    const FOR: Duration = Duration::from_secs(4);
    const RATE: f64 = 1_000_000.0;
    let_through(|output, program| {
        let start = Instant::now();
        while start.elapsed() < FOR {
            // This pause only makes the output slow.
            let due = start + Duration::from_secs_f64(output.taken as f64 / RATE);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            output.take();
            program.watch();
        }
    });
}

#[test]
fn an_output_that_stops_for_3_seconds_makes_all_senders_wait_and_loses_nothing() {
    let _machine = machine::shared();
    stops_for(Duration::from_secs(3));
}

/// `cargo test --test load slow_output -- --ignored`
#[test]
#[ignore = "takes longer than the one with 3 seconds, which shows the same"]
fn an_output_that_stops_for_10_seconds_makes_all_senders_wait_and_loses_nothing() {
    let _machine = machine::shared();
    stops_for(Duration::from_secs(10));
}

#[test]
fn while_the_output_takes_nothing_handshakes_go_on() {
    let _machine = machine::shared();
    const LINES: usize = 1_000;
    let mut program = Program::start_into(&["--lanes", "1", "-v"], Stdout::Unread);
    let mut output = program.unread();
    let address = program.address();
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| send_lines(address, 0, LINES, &sent));
        wait_until_full(&output);
        // The program has one lane, so their streams would be printed behind the data that it can't
        // print.
        for _ in 0..3 {
            drop(Client::connect(address));
        }
        let mut came = vec![0; LINES * LINE];
        output.read_exact(&mut came).expect("all of it comes");
        let expected: Vec<u8> = (0..LINES).flat_map(|number| line(0, number)).collect();
        assert!(came == expected);
    });
    program.wait_for_ends(4);
    assert_eq!(program.stop().status, 0);
}

/// Waits until a pipe has no free page. The number of bytes is unknown: data that does not fit into
/// the rest of a page goes into the next one whole.
fn wait_until_full(pipe: &File) {
    let other_end = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let other_end = File::options().write(true).open(other_end).unwrap();
    let start = Instant::now();
    let mut writable = [PollFd::new(&other_end, PollFlags::OUT)];
    while poll(&mut writable, Some(&Timespec::default())) != Ok(0) {
        assert!(start.elapsed() < LIMIT, "the program prints little");
        thread::sleep(Duration::from_millis(1));
    }
}

fn stops_for(pause: Duration) {
    let_through(|output, program| {
        let start = Instant::now();
        // The test reads for a while, and then it stops.
        output.take();
        while start.elapsed() < pause {
            thread::sleep(pause / 20);
            program.watch();
        }
    });
}

/// Lets all senders send to an output that `slowly` reads first, and that is then read at full
/// speed.
fn let_through(slowly: impl FnOnce(&mut Output, &mut Watched)) {
    // The kernel buffers this much for each connection, at both ends; the program's chunks and the
    // pipe hold less than the rest.
    let on_the_way = kernel_limit("tcp_wmem") + kernel_limit("tcp_rmem") + (2 << 20);
    // The senders send more than the buffers hold.
    let lines = on_the_way / 2 * 3 / LINE;
    let mut program = Program::start_into(&[], Stdout::Unread);
    let mut output = Output {
        file: program.unread(),
        taken: 0,
        partial: Vec::new(),
        next: [0; SENDERS],
    };
    let mut watched = Watched {
        id: program.id(),
        seen: Vec::new(),
    };
    let address = program.address();
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let sent = &sent;
            scope.spawn(move || send_lines(address, sender, lines, sent));
        }
        slowly(&mut output, &mut watched);
        // The senders were held up: data that is not read is not sent, except the data in flight.
        let ahead = (sent.load(Ordering::Acquire) as usize).saturating_sub(output.taken);
        assert!(
            ahead <= SENDERS * on_the_way,
            "{ahead} bytes are on the way"
        );
        watched.is_flat();
        while output.taken < SENDERS * lines * LINE {
            output.take();
        }
    });
    assert_eq!(output.next, [lines; SENDERS]);
    let peak = peak_memory(program.id()).unwrap();
    assert!(peak <= MOST, "{peak} bytes were in use");
    for ended in program.wait_for_ends(SENDERS) {
        assert_eq!(ended.end, "clean");
        assert_eq!(ended.delivered, (lines * LINE) as u64);
    }
    assert_eq!(program.stop().status, 0);
}

/// Sends numbered lines, and ends cleanly.
fn send_lines(address: SocketAddr, sender: usize, lines: usize, sent: &AtomicU64) {
    let mut client = Client::connect(address);
    for number in 0..lines {
        client
            .write(&line(sender, number))
            .expect("the server reads");
        sent.fetch_add(LINE as u64, Ordering::Release);
    }
    client.finish().expect("the server answers close_notify");
}

fn line(sender: usize, number: usize) -> Vec<u8> {
    let mut line = format!("{sender} {number} ").into_bytes();
    line.resize(LINE - 1, b'x');
    line.push(b'\n');
    line
}

/// The program's output, which the test reads at its own pace.
struct Output {
    file: File,
    /// The number of bytes read.
    taken: usize,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// The number of each sender's next line.
    next: [usize; SENDERS],
}

impl Output {
    /// Reads a pipe's worth, and checks that it continues the senders' data.
    fn take(&mut self) {
        let mut readable = [PollFd::new(&self.file, PollFlags::IN)];
        let limit = LIMIT.try_into().expect("it is not long");
        assert_eq!(poll(&mut readable, Some(&limit)), Ok(1), "nothing comes");
        let mut piece = vec![0; 64 << 10];
        let read = self.file.read(&mut piece).expect("the pipe can be read");
        assert_ne!(read, 0, "the program has closed its output");
        self.taken += read;
        self.partial.extend_from_slice(&piece[..read]);
        let whole = self.partial.len() / LINE * LINE;
        for came in self.partial.drain(..whole).as_slice().chunks_exact(LINE) {
            let sender = usize::from(came[0].wrapping_sub(b'0'));
            let next = self.next.get_mut(sender).expect("it is a sender's line");
            assert!(came == line(sender, *next), "not line {next} of {sender}");
            *next += 1;
        }
    }
}

/// The program's memory.
struct Watched {
    id: u32,
    seen: Vec<u64>,
}

impl Watched {
    fn watch(&mut self) {
        self.seen.push(memory(self.id).expect("the program runs"));
    }

    /// Checks that memory stays flat in the second half; in the first half, buffers may still fill.
    fn is_flat(&self) {
        let (filling, full) = self.seen.split_at(self.seen.len() / 2);
        let (before, after) = (filling.iter().max(), full.iter().max());
        let (Some(before), Some(after)) = (before, after) else {
            panic!("it was not watched");
        };
        eprintln!("{before} bytes, then {after}");
        assert!(*after <= before + FLAT, "{before} bytes became {after}");
    }
}

/// The most that the kernel buffers for one end of a TCP connection, in bytes (tcp(7)).
fn kernel_limit(name: &str) -> usize {
    let limits = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
    let most = limits.split_whitespace().last().unwrap();
    most.parse().unwrap()
}
