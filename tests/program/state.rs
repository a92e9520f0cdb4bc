//! Streams that outlive their connection and the receiver: `--state`.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp"
))]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::version::TLS13;
use tempfile::TempDir;
use tlsink::resume::{Answer, Position, Preamble};

use crate::append::SmallDisk;
use crate::common::authority::{Authority, dns};
use crate::common::program::{Client, LIMIT, Outcome, Program, Stderr, send, tcp};
use crate::common::skip::can_trace;
use crate::common::strace::third_call_fails;

#[test]
fn a_stream_is_written_once_however_often_the_receiver_is_killed() {
    for args in [&["--lanes", "1"][..], &["--rotate", "20k"]] {
        let site = Site::new();
        let lines = numbered("resumed", 20_000);
        let mut acknowledged = 0;
        for kill in 0..8 {
            let program = site.start(args);
            let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
            assert!(sender.at >= acknowledged, "an acknowledged line is missing");
            let before = site.len();
            thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    // Until the receiver is killed.
                    let _ = sender.send_all(1999, 4000);
                    sender.acknowledged
                });
                // A moment that has nothing to do with acknowledgements.
                site.wait_until(|| site.len() > before + 10_000 + kill * 7777);
                program.signal(Signal::KILL);
                acknowledged = sending.join().unwrap();
            });
            assert_eq!(program.outcome().status, -9);
        }
        let program = site.start(args);
        let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
        sender.send_all(lines.len(), usize::MAX).unwrap();
        let receipt = sender.finish().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        assert_eq!(program.stop().status, 0);
        let all = site.texts();
        assert!(all == lines, "{} of {} bytes", all.len(), lines.len());
    }
}

#[test]
fn lines_of_all_senders_share_a_file_with_those_of_resumed_streams() {
    let site = Site::new();
    let lines = numbered("resumed", 5000);
    let (plain, relp) = (numbered("plain", 2000), numbered("relp", 500));
    let input = site.outer.path().join("input");
    fs::write(&input, &relp).unwrap();
    let mut acknowledged = 0;
    for kill in [true, true, false] {
        let program = site.start(&[]);
        let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
        let before = site.len();
        let address = program.address();
        thread::scope(|scope| {
            let beside = scope.spawn(|| {
                let mut client = Client::connect(address);
                client.write(plain.as_bytes())?;
                client.finish()
            });
            let acknowledging = relp_sender(address, &input);
            let sending = scope.spawn(|| {
                let _ = sender.send_all(997, 30_000);
                sender.acknowledged
            });
            if kill {
                site.wait_until(|| site.len() > before + 40_000);
                program.signal(Signal::KILL);
            }
            acknowledged = sending.join().unwrap();
            let is_whole = beside.join().unwrap().is_ok();
            let outcome = acknowledging.outcome();
            assert!(kill || (is_whole && outcome.status == 0));
        });
        if !kill {
            sender.finish().unwrap();
            assert_eq!(program.stop().status, 0);
        }
    }
    let all = site.read("log");
    let of = |own: &str| -> String {
        let lines = all
            .split_inclusive('\n')
            .filter(|line| line.starts_with(own));
        lines.collect()
    };
    assert!(of("resumed") == lines);
    // What was told to be written is there, once at least.
    assert!(of("plain").ends_with(&numbered("plain", 2000)));
    assert!(of("relp").ends_with(&relp));
}

#[test]
fn a_second_connection_takes_the_stream_over() {
    let site = Site::new();
    let program = site.start(&["--lanes", "2"]);
    let lines = numbered("resumed", 1000);
    let mut first = Sender::open(program.address(), "s", &lines, 0);
    first.send(500).unwrap();
    // Within a line, which comes again.
    first.client.write(b"resum").unwrap();
    first.wait_for(500).unwrap();
    let mut second = Sender::open(program.address(), "s", &lines, 0);
    assert_eq!(second.at, 500 - tail(&lines, 500));
    // The first one hears of it, and what it sends has no effect.
    let _ = first.client.write(b"lost\n");
    let said = first.rest();
    let taken_over = "cut (another connection took the stream over";
    assert!(said.contains(taken_over), "{said}");
    second.send_all(lines.len(), usize::MAX).unwrap();
    second.finish().unwrap();
    assert_eq!(site.read("log"), lines);
    // Another stream of this name is the same, after a clean end too.
    let third = Sender::open(program.address(), "s", &lines, 0);
    assert_eq!(third.at, lines.len());
    let other = Sender::open(program.address(), "t", &lines, 0);
    assert_eq!(other.at, 0);
    drop((third, other));
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(outcome.stderr.contains(&format!("resume, {taken_over}")));
}

#[test]
fn a_verified_client_can_not_touch_the_streams_of_another() {
    let site = Site::new();
    let ca = Authority::new("ca");
    let file = site.outer.path().join("ca.pem");
    fs::write(&file, ca.pem()).unwrap();
    let program = site.start(&["--client-ca", file.to_str().unwrap()]);
    let lines = ["web1", "web2"].map(|name| numbered(name, 100));
    let mut senders = Vec::new();
    for (name, lines) in ["web1", "web2"].iter().zip(&lines) {
        let config = ca.sender("", &[dns(name)]).config(&TLS13);
        let client = Client::over(tcp(program.address()).unwrap(), config, "localhost").unwrap();
        let mut sender = Sender::over(client, "s", lines, 0).unwrap();
        assert_eq!(sender.at, 0);
        sender.send(lines.len()).unwrap();
        senders.push(sender);
    }
    // The first one was not taken over.
    for sender in senders {
        let receipt = sender.finish().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    }
    assert_eq!(program.stop().status, 0);
    let written = site.read("log");
    assert_eq!(written.lines().count(), 200);
    for (name, lines) in ["web1", "web2"].iter().zip(&lines) {
        let own = written.split_inclusive('\n');
        let own: String = own.filter(|line| line.starts_with(name)).collect();
        assert!(own == *lines);
    }
}

#[test]
fn many_connections_that_take_over_at_once_lose_and_repeat_nothing() {
    let site = Site::new();
    let program = site.start(&["--lanes", "2"]);
    let lines = numbered("resumed", 3000);
    thread::scope(|scope| {
        for number in 0..8 {
            let lines = &lines;
            let address = program.address();
            scope.spawn(move || {
                for _ in 0..10 {
                    if let Ok(mut sender) = Sender::try_open(address, "s", lines, 0) {
                        let _ = sender.send_all(313 + number, 2000);
                    }
                }
            });
        }
    });
    let mut last = Sender::open(program.address(), "s", &lines, 0);
    last.send_all(lines.len(), usize::MAX).unwrap();
    last.finish().unwrap();
    assert!(site.read("log") == lines);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_receiver_that_does_not_know_a_stream_begins_where_its_sender_can() {
    let site = Site::new();
    let lines = numbered("resumed", 100);
    let from = 1000 - tail(&lines, 1000);
    let program = site.start(&[]);
    let mut sender = Sender::open(program.address(), "s", &lines, from);
    assert_eq!(sender.at, from);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    assert_eq!(site.read("log"), lines[from..]);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_last_line_without_a_newline_is_ended_and_its_newline_not_counted() {
    let site = Site::new();
    let program = site.start(&[]);
    let mut sender = Sender::open(program.address(), "s", "one\ntwo", 0);
    sender.send(7).unwrap();
    sender.finish().unwrap();
    assert_eq!(site.read("log"), "one\ntwo\n");
    let again = Sender::open(program.address(), "s", "one\ntwo", 0);
    assert_eq!(again.at, 7);
    drop(again);
    // An end that is not clean leaves the unfinished line to the next connection.
    let mut sender = Sender::open(program.address(), "t", "three\nfour\n", 0);
    sender.send(8).unwrap();
    sender.wait_for(6).unwrap();
    sender.client.abandon().unwrap();
    let mut sender = Sender::open(program.address(), "t", "three\nfour\n", 0);
    assert_eq!(sender.at, 6);
    sender.send(11).unwrap();
    sender.finish().unwrap();
    assert_eq!(site.read("log"), "one\ntwo\nthree\nfour\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn pieces_of_an_overlong_line_count() {
    let site = Site::new();
    let program = site.start(&["--max-line", "10"]);
    let stream = "0123456789abc\nnext\n";
    let mut sender = Sender::open(program.address(), "s", stream, 0);
    sender.send(13).unwrap();
    sender.wait_for(13).unwrap();
    sender.send(14).unwrap();
    sender.wait_for(14).unwrap();
    sender.send(19).unwrap();
    sender.finish().unwrap();
    assert_eq!(site.read("log"), "0123456789abc\nnext\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_file_that_is_moved_away_loses_nothing() {
    let site = Site::new();
    let program = site.start(&[]);
    let lines = numbered("resumed", 3000);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    sender.send(20_000).unwrap();
    sender.wait_for(20_000 - tail(&lines, 20_000)).unwrap();
    fs::rename(site.path("log"), site.path("log.1")).unwrap();
    program.signal(Signal::HUP);
    sender.send(40_000).unwrap();
    sender.wait_for(40_000 - tail(&lines, 40_000)).unwrap();
    // The same file again.
    program.signal(Signal::HUP);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    assert_eq!(program.stop().status, 0);
    let all = site.read("log.1") + &site.read("log");
    assert!(all == lines);
}

#[test]
fn a_file_that_another_program_shortens_is_said() {
    let site = Site::new();
    let program = site.start(&[]);
    let lines = numbered("resumed", 200);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    let half = lines.len() / 2;
    let half = half - tail(&lines, half);
    sender.send(half).unwrap();
    sender.wait_for(half).unwrap();
    fs::write(site.path("log"), "").unwrap();
    sender.send(lines.len()).unwrap();
    sender.finish().unwrap();
    let log = site.path("log").display().to_string();
    let said = format!("tlsink: another program has shortened {log}, so lines may be lost");
    program.wait_for_line(|line| line == said);
    // Lines from then on are as sure as before.
    program.signal(Signal::KILL);
    drop(program.outcome());
    let program = site.start(&[]);
    let sender = Sender::open(program.address(), "s", &lines, 0);
    assert_eq!(sender.at, lines.len());
    assert!(site.read("log") == lines[half..]);
    drop(sender);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_failed_sync_of_a_file_sets_it_aside_and_its_lines_come_again() {
    if !can_trace() {
        return;
    }
    let site = Site::new();
    let lines = numbered("resumed", 1000);
    let strace = third_call_fails("fdatasync", &site.path("log"));
    let program = site.start_after(&strace, &[]);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    let mut failed = false;
    for end in (1000..).step_by(1000).take_while(|end| *end < 20_000) {
        let sent = sender
            .send(end)
            .and_then(|()| sender.wait_for(end - tail(&lines, end)));
        if sent.is_err() {
            failed = true;
            break;
        }
    }
    assert!(failed);
    let acknowledged = sender.acknowledged;
    let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
    assert_eq!(sender.at, acknowledged);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    let said = program.wait_for_line(|line| line.contains("can't sync"));
    assert!(said.contains("it is now"), "{said}");
    assert_eq!(program.stop().status, 0);
    let bad: Vec<_> = site.files();
    let bad: Vec<_> = bad
        .iter()
        .filter(|file| file.starts_with("log.bad-"))
        .collect();
    assert_eq!(bad.len(), 1);
    assert!(site.read(bad[0]) + &site.read("log") == lines);
}

/// Once it is, others may remove files that are closed: nothing in them has to be verified.
#[test]
fn an_idle_journal_is_soon_synced_up_to_its_last_record() {
    if !can_trace() {
        return;
    }
    let site = Site::new();
    let trace = site.outer.path().join("trace");
    let strace = format!(
        "set -- strace -D -f -y -o '{}' -e trace=write,fdatasync -P '{}' \"$@\"",
        trace.display(),
        site.state("journal").display()
    );
    // The path must exist for strace.
    assert_eq!(site.start(&[]).stop().status, 0);
    let program = site.start_after(&strace, &[]);
    let lines = numbered("resumed", 100);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    site.wait_until(|| {
        let trace = fs::read_to_string(&trace).unwrap_or_default();
        let mut calls = trace.lines().filter(|line| line.contains("/journal>"));
        trace.contains("write(")
            && calls
                .next_back()
                .is_some_and(|line| line.contains("fdatasync("))
    });
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_failed_write_is_undone_and_its_lines_come_again() {
    if !can_trace() {
        return;
    }
    let site = Site::new();
    let lines = numbered("resumed", 1000);
    let strace = third_call_fails("write", &site.path("log"));
    let program = site.start_after(&strace, &[]);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    let mut acknowledged = 0;
    for end in (1000..10_000).step_by(1000) {
        let sent = sender.send(end);
        if sent.and_then(|()| sender.wait_for(end)).is_err() {
            acknowledged = sender.acknowledged;
            sender = Sender::open(program.address(), "s", &lines, acknowledged);
            assert_eq!(sender.at, acknowledged);
        }
    }
    assert_ne!(acknowledged, 0);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    assert_eq!(program.stop().status, 0);
    assert_eq!(site.files(), ["log"]);
    assert!(site.read("log") == lines);
}

#[test]
fn a_write_that_fails_half_way_leaves_no_part_of_it() {
    // More than the journal's size.
    const LIMIT_BLOCKS: usize = 17 << 11;
    let site = Site::new();
    let lines = numbered("resumed", 540_000);
    assert!(lines.len() > LIMIT_BLOCKS * 512 + 1_000_000);
    let limit = format!("trap '' XFSZ; ulimit -f {LIMIT_BLOCKS}");
    let program = site.start_after(&limit, &[]);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    sender.send_all(50_000, 1 << 20).unwrap_err();
    let written = fs::metadata(site.path("log")).unwrap().len();
    let acknowledged = sender.acknowledged;
    assert!(acknowledged as u64 <= written && written < LIMIT_BLOCKS as u64 * 512);
    let sender = Sender::open(program.address(), "s", &lines, acknowledged);
    assert_eq!(sender.at as u64, written);
    drop(sender);
    assert_eq!(program.stop().status, 0);
    let program = site.start(&[]);
    let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
    sender.send_all(50_000, 1 << 20).unwrap();
    sender.finish().unwrap();
    assert_eq!(program.stop().status, 0);
    assert!(site.read("log") == lines);
}

#[test]
fn on_a_full_disk_lines_wait_and_are_written_once() {
    let site = Site::new();
    let state = site.state("").display().to_string();
    let Some(disk) = SmallDisk::with(&["--state", &state]) else {
        return;
    };
    fs::write(disk.root.join("filler"), vec![0; 40_000]).unwrap();
    let lines = numbered("resumed", 1000);
    let mut sender = Sender::open(disk.program.address(), "s", &lines, 0);
    sender.send(lines.len()).unwrap();
    let full = format!(
        "tlsink: no space left for {}; waiting until there is",
        disk.log
    );
    disk.program.wait_for_line(|line| line == full);
    // Another connection takes it over meanwhile, and waits for the lines of the first.
    let mut second = Client::connect(disk.program.address());
    let preamble = Preamble::new("s", Position::START).unwrap();
    second.write(&preamble.to_line()).unwrap();
    fs::remove_file(disk.root.join("filler")).unwrap();
    let answer = second.read_line().unwrap().unwrap();
    let at = Position::START.behind(lines.as_bytes());
    assert_eq!(Answer::parse(answer.as_bytes()), Ok(Answer::At(at)));
    let log = fs::read_to_string(disk.root.join("log")).unwrap();
    assert!(log == lines);
    drop(second);
    assert_eq!(disk.program.stop().status, 0);
}

#[test]
fn objects_and_labels_and_packed_files_are_recovered_too() {
    for args in [
        &["--format", "json"][..],
        &["--format", "json", "--max-line", "20", "--rotate", "30k"],
        &["--label"],
        &["--prefix", "{stream} ", "--rotate", "30k"],
    ] {
        let site = Site::new();
        let lines = numbered("resumed", 5000);
        let mut acknowledged = 0;
        for kill in 0..4 {
            let program = site.start(args);
            let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
            let before = site.len();
            thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    let _ = sender.send_all(1999, 10_000);
                    sender.acknowledged
                });
                site.wait_until(|| site.len() > before + 10_000 + kill * 7777);
                program.signal(Signal::KILL);
                acknowledged = sending.join().unwrap();
            });
            drop(program.outcome());
        }
        let program = site.start(args);
        let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
        sender.send_all(lines.len(), usize::MAX).unwrap();
        sender.finish().unwrap();
        assert_eq!(program.stop().status, 0);
        let mut text = String::new();
        for line in site.texts().lines() {
            if args[0] != "--format" {
                let (_, line) = line.split_once(" resumed").unwrap();
                writeln!(text, "resumed{line}").unwrap();
                continue;
            }
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(line) = object["text"].as_str() {
                // Nothing is missing and nothing there twice.
                assert_eq!(object["offset"], text.len());
                text.push_str(line);
                if object.get("partial").is_none() {
                    text.push('\n');
                }
            }
        }
        assert!(text == lines, "{args:?}");
    }
    let site = Site::new();
    let lines = numbered("resumed", 5000);
    let program = site.start(&["--rotate", "30k", "--compress"]);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    sender.send_all(1999, 30_000).unwrap();
    sender.finish().unwrap();
    site.wait_until(|| {
        site.files()
            .iter()
            .filter(|file| file.ends_with(".zst"))
            .count()
            >= 4
    });
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_failed_sync_of_the_journal_ends_the_program() {
    if !can_trace() {
        return;
    }
    let site = Site::new();
    let lines = numbered("resumed", 1000);
    let journal = site.state("journal").display().to_string();
    let strace = third_call_fails("fdatasync", &site.state("journal"));
    // The path must exist for strace.
    assert_eq!(site.start(&[]).stop().status, 0);
    let program = site.start_after(&strace, &[]);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    let _ = sender.send_all(100, 100);
    let acknowledged = sender.acknowledged;
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    let said = format!("can't write the output: {journal}: ");
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    let program = site.start(&[]);
    let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
    sender.send_all(lines.len(), usize::MAX).unwrap();
    sender.finish().unwrap();
    assert_eq!(program.stop().status, 0);
    assert!(site.read("log") == lines);
}

#[test]
fn a_damaged_journal_is_refused_and_can_be_moved_away() {
    let site = Site::new();
    let program = site.start(&[]);
    let lines = numbered("resumed", 100);
    let mut sender = Sender::open(program.address(), "s", &lines, 0);
    for end in [500, 1000, 1500] {
        sender.send(end).unwrap();
        sender.wait_for(end - tail(&lines, end)).unwrap();
    }
    drop(sender);
    assert_eq!(program.stop().status, 0);
    let path = site.state("journal");
    let mut journal = fs::read(&path).unwrap();
    journal[100] ^= 1;
    fs::write(&path, journal).unwrap();
    let outcome = site.run(&[]);
    assert_eq!(outcome.status, 2);
    let state = site.state("").display().to_string();
    let state = state.trim_end_matches('/');
    let said = format!(
        "tlsink: can't use the state in {state}: {state}/journal is damaged\n\
         hint: move it away to begin anew: senders go on from their last acknowledgement, so nothing \
         is missing, but lines may come twice\n"
    );
    assert!(outcome.stderr.ends_with(&said), "{}", outcome.stderr);
    fs::rename(&path, site.state("journal.damaged")).unwrap();
    let program = site.start(&[]);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn one_file_can_be_the_output() {
    let site = Site::new();
    let file = site.outer.path().join("all{}.part");
    let (state, file) = (site.state(""), file.display().to_string());
    let args = ["--state", state.to_str().unwrap(), "--output", &file];
    fs::write(&file, "before").unwrap();
    let lines = numbered("resumed", 2000);
    let mut acknowledged = 0;
    for end in [30_000, lines.len()] {
        let program = Program::start(&args);
        let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
        let _ = sender.send_all(end, usize::MAX);
        if end < lines.len() {
            sender.wait_for(end - tail(&lines, end)).unwrap();
            program.signal(Signal::KILL);
        } else {
            sender.finish().unwrap();
            send(program.address(), b"plain\n");
            assert_eq!(program.stop().status, 0);
            break;
        }
        acknowledged = sender.acknowledged;
        drop(program.outcome());
    }
    let expected = format!("before\n{lines}plain\n");
    assert!(fs::read_to_string(&file).unwrap() == expected);
    // Nothing but a regular file can be cut back.
    let outcome = Program::run(&["--state", args[1], "--output", "/dev/null"]);
    assert_eq!(outcome.status, 2);
    assert!(
        outcome.stderr.contains("/dev/null is not a regular file"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn standard_output_has_each_line_at_least_once() {
    let site = Site::new();
    let state = site.state("").display().to_string();
    let lines = numbered("resumed", 20_000);
    let (mut printed, mut acknowledged) = (String::new(), 0);
    for kill in 1..=4 {
        let program = Program::start(&["--state", &state, "--lanes", "2"]);
        let mut sender = Sender::open(program.address(), "s", &lines, acknowledged);
        // What was acknowledged was printed, and all that was printed were whole lines in order.
        assert!(sender.at >= acknowledged, "an acknowledged line is missing");
        let from = sender.at;
        if kill == 4 {
            sender.send_all(lines.len(), usize::MAX).unwrap();
            sender.finish().unwrap();
            let outcome = program.stop();
            assert_eq!(outcome.status, 0);
            printed.truncate(from);
            printed += &outcome.stdout_text();
            break;
        }
        let end = kill * lines.len() / 4;
        sender.send_all(end, usize::MAX).unwrap();
        sender.wait_for(end - tail(&lines, end)).unwrap();
        acknowledged = sender.acknowledged;
        program.signal(Signal::KILL);
        printed.truncate(from);
        printed += &program.outcome().stdout_text();
        assert!(printed.len() >= acknowledged);
    }
    assert!(printed == lines);
}

#[test]
fn a_second_program_waits_for_the_state_of_the_first() {
    let site = Site::new();
    let other = Site::new();
    let first = site.start(&[]);
    let state = site.state("").display().to_string();
    let logs = other.path("").display().to_string();
    let args = [
        "--output-dir",
        &logs,
        "--append",
        "--name",
        "log",
        "--state",
        &state,
    ];
    let second = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    let state = state.trim_end_matches('/');
    second.wait_for_line(|line| {
        line == format!("tlsink: another process keeps its state in {state}; waiting until it ends")
            || line.contains("another process keeps its state in")
    });
    assert_eq!(first.stop().status, 0);
    second.wait_for_line(|line| line.contains("listening on"));
    assert_eq!(second.stop().status, 0);
}

#[test]
fn the_state_needs_a_place_and_says_who_can_take_a_stream_over() {
    let site = Site::new();
    let outcome = Program::run(&["--state", "S", "--output-dir", "D"]);
    assert_eq!(outcome.status, 2);
    let said = "tlsink: --state can't be combined with a file for each connection\n";
    assert!(outcome.stderr.starts_with(said), "{}", outcome.stderr);
    let missing = site.outer.path().join("missing").display().to_string();
    let outcome = Program::run(&["--output", &format!("{missing}.log"), "--state", &missing]);
    assert_eq!(outcome.status, 2);
    let said = format!("tlsink: can't keep the state in {missing}: ");
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .ends_with("hint: --state must exist: make it first\n")
    );
    let program = site.start(&[]);
    let said = "tlsink: without --client-ca, anybody who knows a stream's name can take it over";
    program.wait_for_line(|line| line == said);
    assert_eq!(program.stop().status, 0);
}

/// The folders of a receiver.
struct Site {
    outer: TempDir,
}

impl Site {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        for folder in ["logs", "state"] {
            fs::create_dir(outer.path().join(folder)).unwrap();
        }
        Site { outer }
    }

    fn args(&self) -> Vec<String> {
        let folder = |name| self.outer.path().join(name).display().to_string();
        let (logs, state) = (folder("logs"), folder("state"));
        let args = [
            "--output-dir",
            &logs,
            "--append",
            "--name",
            "log",
            "--state",
            &state,
        ];
        args.map(str::to_owned).to_vec()
    }

    fn start(&self, args: &[&str]) -> Program {
        self.start_after("", args)
    }

    fn start_after(&self, commands: &str, args: &[&str]) -> Program {
        let common = self.args();
        let common = common.iter().map(String::as_str);
        let args: Vec<_> = common.chain(args.iter().copied()).collect();
        match commands {
            "" => Program::start(&args),
            commands => Program::start_after(commands, &args),
        }
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let common = self.args();
        let common = common.iter().map(String::as_str);
        let args: Vec<_> = common.chain(args.iter().copied()).collect();
        Program::run(&args)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join("logs").join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.outer.path().join("state").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of all files, in the order of their lines: the one without an addition is the last.
    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("")).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = files.collect();
        files.sort_by_key(|file| (file == "log", file.clone()));
        files
    }

    fn texts(&self) -> String {
        self.files().iter().map(|file| self.read(file)).collect()
    }

    /// The bytes of all files together.
    fn len(&self) -> u64 {
        let files = fs::read_dir(self.path("")).unwrap();
        // A file may get another name meanwhile.
        let facts = files.filter_map(|file| file.ok()?.metadata().ok());
        facts.map(|facts| facts.len()).sum()
    }

    fn wait_until(&self, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?}", self.files());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The sender of a resumed stream.
struct Sender<'a> {
    client: Client,
    stream: &'a str,
    /// The offset at which the stream went on.
    at: usize,
    sent: usize,
    acknowledged: usize,
}

impl<'a> Sender<'a> {
    fn open(address: SocketAddr, name: &str, stream: &'a str, from: usize) -> Self {
        Sender::try_open(address, name, stream, from).unwrap()
    }

    fn try_open(address: SocketAddr, name: &str, stream: &'a str, from: usize) -> io::Result<Self> {
        Sender::over(Client::connect(address), name, stream, from)
    }

    fn over(mut client: Client, name: &str, stream: &'a str, from: usize) -> io::Result<Self> {
        let position = |at: usize| Position::START.behind(&stream.as_bytes()[..at]);
        client.write(&Preamble::new(name, position(from)).unwrap().to_line())?;
        let line = client.read_line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Ok(Answer::At(at)) = Answer::parse(line.as_bytes()) else {
            return Err(io::Error::other(line));
        };
        assert_eq!(at, position(at.offset as usize));
        Ok(Sender {
            client,
            stream,
            at: at.offset as usize,
            sent: at.offset as usize,
            acknowledged: at.offset as usize,
        })
    }

    /// Sends the stream up to this offset.
    fn send(&mut self, to: usize) -> io::Result<()> {
        self.client.write(&self.stream.as_bytes()[self.sent..to])?;
        self.sent = to;
        Ok(())
    }

    /// Sends the rest of the stream in pieces, of which at most `ahead` bytes are not acknowledged; waits
    /// for the last acknowledgements, if it ends in a newline.
    fn send_all(&mut self, piece: usize, ahead: usize) -> io::Result<()> {
        while self.sent < self.stream.len() {
            self.send((self.sent + piece).min(self.stream.len()))?;
            let ahead = ahead.max(piece + 100);
            self.wait_for(self.sent.saturating_sub(ahead))?;
        }
        self.wait_for(self.sent)
    }

    /// Waits until the stream is acknowledged up to this offset.
    fn wait_for(&mut self, offset: usize) -> io::Result<()> {
        let offset = offset.min(self.sent - tail(self.stream, self.sent));
        while self.acknowledged < offset {
            let line = self
                .client
                .read_line()?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let Ok(Answer::Acknowledged(offset)) = Answer::parse(line.as_bytes()) else {
                return Err(io::Error::other(line));
            };
            let offset = offset as usize;
            assert!(self.acknowledged <= offset && offset <= self.sent);
            self.acknowledged = offset;
        }
        Ok(())
    }

    /// Everything that the receiver says until it ends the connection.
    fn rest(&mut self) -> String {
        let mut said = String::new();
        while let Ok(Some(line)) = self.client.read_line() {
            writeln!(said, "{line}").unwrap();
        }
        said
    }

    /// Ends the stream; returns the receipt.
    fn finish(self) -> io::Result<String> {
        let answers = self.client.finish_for_answer()?;
        let (answers, close_notify) = answers;
        let receipt = answers.lines().last().unwrap_or_default().to_owned();
        match close_notify && receipt.starts_with("{\"ok\":true,") {
            true => Ok(receipt),
            false => Err(io::Error::other(answers)),
        }
    }
}

/// The number of bytes between the last newline before an offset and that.
fn tail(stream: &str, at: usize) -> usize {
    let newline = stream[..at].rfind('\n');
    at - newline.map_or(0, |newline| newline + 1)
}

fn numbered(name: &str, lines: usize) -> String {
    (0..lines).fold(String::new(), |mut text, number| {
        writeln!(text, "{name} {number} {}", "x".repeat(number % 50)).unwrap();
        text
    })
}

/// `tlsink send`, which sends this file as RELP.
fn relp_sender(address: SocketAddr, input: &Path) -> Program {
    let to = address.to_string();
    let args = ["send", "--insecure", "--framing", "relp", "-e", "none", &to];
    let input = input.to_str().unwrap();
    Program::start_command(&[&args[..], &[input]].concat(), Stdio::null(), Stderr::Pipe)
}
