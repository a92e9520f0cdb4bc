//! Data that decodes to gigabytes delays no other sender, takes no more memory than allowed, and is
//! cut where a limit says so.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::bomb::bomb_of;
use crate::common::pack::{gzip, zstd};
use crate::common::process::peak_memory;
use crate::common::program::{Client, Program, Stdout, send};
use crate::common::zstd::with_window;
use crate::honest::Honest;
use crate::host::connect_from_another_host;
use crate::machine;

/// The longest delay of a line by other senders, even on a busy machine. A line that waits for all
/// of their data waits far longer. The tests print the delays: a release build on an idle machine
/// aims at less than 100 ms.
const DELAY: Duration = Duration::from_secs(5);

/// The memory that the program takes beyond `--max-memory`: itself, its threads, a buffer for each
/// lane, and some KiB for each connection.
const BESIDE: u64 = 48 << 20;

const MIB: u64 = 1 << 20;

#[test]
fn a_bomb_of_64_kib_delays_no_line_of_another_sender() {
    let _machine = machine::alone();
    bombs_delay_no_line(1);
}

#[test]
fn fifty_bombs_of_64_kib_delay_no_line_of_another_sender() {
    let _machine = machine::alone();
    bombs_delay_no_line(50);
}

/// Each newline of the decoded data becomes an object.
#[test]
#[cfg_attr(debug_assertions, ignore = "a debug build prints too slowly to tell")]
fn fifty_bombs_of_newlines_delay_no_line_of_another_sender_in_json() {
    let _machine = machine::alone();
    bombs_of_delay_no_line(b'\n', 50, &["--format", "json"]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "a debug build prints too slowly to tell")]
fn fifty_bombs_of_newlines_delay_no_line_of_another_sender_with_labels() {
    let _machine = machine::alone();
    bombs_of_delay_no_line(b'\n', 50, &["--label"]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "a debug build prints too slowly to tell")]
fn fifty_bombs_of_newlines_delay_no_line_of_another_sender_without_labels() {
    let _machine = machine::alone();
    bombs_of_delay_no_line(b'\n', 50, &[]);
}

/// Each control character becomes an escape of six characters.
#[test]
#[cfg_attr(debug_assertions, ignore = "a debug build prints too slowly to tell")]
fn fifty_bombs_of_control_characters_delay_no_line_of_another_sender_in_json() {
    let _machine = machine::alone();
    bombs_of_delay_no_line(1, 50, &["--format", "json"]);
}

fn bombs_delay_no_line(count: usize) {
    bombs_of_delay_no_line(0, count, &[]);
}

fn bombs_of_delay_no_line(byte: u8, count: usize, args: &[&str]) {
    // One host may use half of it for windows and lines. Fifty bombs take about three MiB each.
    const MEMORY: u64 = 512 * MIB;
    let memory = MEMORY.to_string();
    let args = [&["--max-memory", &memory], args].concat();
    let mut program = Program::start_into(&args, Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    honest.slowest_of(10);
    // Each sends several bombs in a row, so that none ends before the last line.
    let bombs = bomb_of(byte, 1 << 20).repeat(8);
    let mut bombers: Vec<_> = (0..count)
        .map(|_| Client::connect(program.address()))
        .collect();
    for bomber in &mut bombers {
        bomber.write(&bombs).unwrap();
    }
    // Other load on the machine may delay a line now and then, while bombs would delay one in each
    // round.
    let mut rounds: Vec<_> = (0..5).map(|_| honest.slowest_of(30)).collect();
    rounds.sort_unstable();
    // A new sender is served too.
    let before = Instant::now();
    let mut late = Client::connect(program.address());
    late.write(b"late\n").unwrap();
    late.finish().unwrap();
    let served = before.elapsed();
    eprintln!("a new connection was served after {served:?}");
    assert!(served < DELAY, "{served:?}");
    program.wait_for_ends(1);
    eprintln!("the slowest line of each round: {rounds:?}");
    assert!(rounds[rounds.len() / 2] <= DELAY, "{rounds:?}");
    // The bombs ran all the time.
    let said = program.stderr();
    assert_eq!(said.matches(" bytes received").count(), 1, "{said}");
    let peak = peak_memory(program.id()).unwrap();
    assert!(peak <= MEMORY + BESIDE, "{peak} bytes were in use");
    let sent = honest.finish();
    let ended = program.wait_for_ends(2).swap_remove(1);
    assert_eq!((ended.end.as_str(), ended.delivered), ("clean", sent));
}

#[test]
fn a_stream_that_ends_is_receipted_while_a_bomb_goes_on() {
    let _machine = machine::alone();
    // There is one lane, and it always has something to decode.
    let mut program = Program::start_into(&["--receipt", "--lanes", "1"], Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    let mut bomber = Client::connect(program.address());
    bomber.write(&bomb(1 << 20)).unwrap();
    honest.line();
    for _ in 0..20 {
        let mut client = Client::connect(program.address());
        client.write(b"short\n").unwrap();
        let before = Instant::now();
        let receipt = client.finish_for_receipt().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        assert!(before.elapsed() < Duration::from_secs(5));
    }
    for ended in program.wait_for_ends(20) {
        assert_eq!((ended.end.as_str(), ended.delivered), ("clean", 6));
    }
}

/// Each holder's frame asks for the largest window, and fills one byte of it.
#[test]
fn unused_windows_leave_memory_for_used_ones() {
    let _machine = machine::alone();
    const HOLDERS: usize = 224;
    const FRAME: [u8; 10] = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 8, 0, 0, b'\n'];
    let program = Program::start(&["--max-memory", "256M"]);
    let holders: Vec<_> = (0..HOLDERS)
        .map(|_| {
            let mut holder = Client::connect(program.address());
            holder.write(&FRAME).unwrap();
            holder
        })
        .collect();
    program.wait_for_printed_lines(HOLDERS);
    let lines = b"a line of an honest sender\n".repeat(500_000);
    let mut honest = Client::connect(program.address());
    honest.write(&zstd(&lines)).unwrap();
    honest.finish().unwrap();
    let ended = program.wait_for_end();
    assert_eq!(
        (&*ended.end, ended.delivered),
        ("clean", lines.len() as u64)
    );
    drop(holders);
}

/// Each sender uses all of the largest window.
#[test]
fn windows_that_one_host_holds_leave_another_host_one() {
    let _machine = machine::alone();
    const HOLDERS: usize = 20;
    let null = File::create("/dev/null").unwrap();
    let program = Program::start_into(&["--max-memory", "128M"], Stdout::File(null));
    let window = &bomb(8 << 20)[..4 * 80];
    let mut holders = Vec::new();
    for _ in 0..HOLDERS {
        let mut holder = connect_from_another_host(program.address());
        holder.write(window).unwrap();
        holders.push(holder);
    }
    // Memory has room for eleven windows, and one host may have half of them.
    for ended in program.wait_for_ends(HOLDERS - 5) {
        assert!(ended.end.starts_with("limit (no memory left "), "{ended:?}");
    }
    let lines = b"a line of an honest sender\n".repeat(500_000);
    let mut honest = Client::connect(program.address());
    honest.write(&with_window(&lines, 23)).unwrap();
    honest.finish().unwrap();
    let ended = program.wait_for_ends(HOLDERS - 4).pop().unwrap();
    assert_eq!(
        (&*ended.end, ended.delivered),
        ("clean", lines.len() as u64)
    );
}

/// Chunks that decode to gigabytes last for hours.
#[test]
fn chunks_that_one_host_sends_leave_another_host_some() {
    let _machine = machine::alone();
    const BOMBS: usize = 40;
    let mut program = Program::start_into(&["--max-memory", "8M"], Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    honest.line();
    let bombs = bomb(128 << 10).repeat(4);
    let bombers: Vec<_> = (0..BOMBS)
        .map(|_| {
            let mut bomber = connect_from_another_host(program.address());
            // The sender may be refused before it has sent everything.
            let _ = bomber.write(&bombs);
            bomber
        })
        .collect();
    honest.slowest_of(100);
    drop(bombers);
    honest.finish();
}

#[test]
fn unfinished_lines_of_one_host_leave_another_hosts_line_whole() {
    let _machine = machine::alone();
    const LINES: usize = 100;
    let program = Program::start(&["--max-memory", "64M"]);
    let line = [b"begin ".to_vec(), vec![b'x'; 900_000], b" end".to_vec()].concat();
    let (first, second) = line.split_at(line.len() / 2);
    let mut honest = Client::connect(program.address());
    honest.write(b"a line\n").unwrap();
    honest.write(first).unwrap();
    program.wait_for_printed_lines(1);
    let hoarders: Vec<_> = (0..LINES)
        .map(|_| {
            let mut hoarder = connect_from_another_host(program.address());
            hoarder.write(&[b'-'; 400_000]).unwrap();
            hoarder
        })
        .collect();
    // The lines take 40 MB, of which one host may hold 24 MiB.
    program.wait_for_printed_lines(20);
    honest.write(second).unwrap();
    honest.write(b"\n").unwrap();
    honest.finish().unwrap();
    program.wait_for_ends(1);
    drop(hoarders);
    let stdout = program.stop().stdout;
    let is_whole = stdout.split(|byte| *byte == b'\n').any(|seen| seen == line);
    assert!(is_whole, "the line was written in pieces");
}

#[test]
fn windows_of_fifty_bombs_take_no_more_than_max_memory() {
    let _machine = machine::alone();
    const MEMORY: u64 = 64 * MIB;
    const BOMBS: usize = 50;
    let memory = MEMORY.to_string();
    let mut program = Program::start_into(&["--max-memory", &memory], Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    // Each window is as large as is allowed; together they would take 400 MiB.
    let bomb = bomb(8 << 20);
    let mut bombers = Vec::new();
    for _ in 0..BOMBS {
        let mut bomber = Client::connect(program.address());
        // The sender may be refused before it has sent everything.
        let _ = bomber.write(&bomb);
        bombers.push(bomber);
    }
    // Fewer than half of the windows find room once they are used.
    for ended in program.wait_for_ends(BOMBS / 2) {
        assert!(ended.end.starts_with("limit (no memory left "), "{ended:?}");
        assert!(ended.delivered < 8 << 20, "{ended:?}");
    }
    honest.slowest_of(100);
    let peak = peak_memory(program.id()).unwrap();
    assert!(peak <= MEMORY + BESIDE, "{peak} bytes were in use");
    honest.finish();
}

#[test]
fn max_decoded_cuts_each_of_fifty_bombs_and_says_why() {
    let _machine = machine::alone();
    const BOMBS: usize = 50;
    const MOST: u64 = 3 * MIB + 1;
    let most = MOST.to_string();
    let mut program = Program::start_into(&["--max-decoded", &most], Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    let bomb = bomb(1 << 20);
    let bombers: Vec<_> = (0..BOMBS)
        .map(|_| {
            let mut bomber = Client::connect(program.address());
            // The sender may be cut before it has sent everything.
            let _ = bomber.write(&bomb);
            bomber
        })
        .collect();
    for ended in program.wait_for_ends(BOMBS) {
        assert_eq!(
            ended.end,
            format!("limit (more than {MOST} bytes when decoded)")
        );
        assert_eq!((ended.format.as_str(), ended.delivered), ("zstd", MOST));
    }
    drop(bombers);
    // A sender below the limit is not affected.
    honest.slowest_of(100);
    let sent = honest.finish();
    let last = program.wait_for_ends(BOMBS + 1).pop().unwrap();
    assert_eq!((last.end.as_str(), last.delivered), ("clean", sent));
}

#[test]
fn gzip_within_gzip_is_decoded_once() {
    let _machine = machine::alone();
    let inner = gzip(&vec![0; 1 << 20]);
    let sent = gzip(&inner);
    for decode in ["auto", "gzip"] {
        let program = Program::start(&["--decode", decode, "--format", "raw"]);
        send(program.address(), &sent);
        let ended = program.wait_for_end();
        assert_eq!(
            (ended.end.as_str(), ended.format.as_str()),
            ("clean", "gzip")
        );
        assert_eq!(ended.delivered, inner.len() as u64);
        assert!(
            program.stop().stdout == inner,
            "{decode}: what came differs"
        );
    }
}

/// Two GiB of zeros in 64 KiB, with a window of this size, a power of two.
fn bomb(window: u32) -> Vec<u8> {
    bomb_of(0, window)
}
