//! `tlsink send --follow` and `--resume`: each byte of the stream reaches the server, in its order,
//! whatever breaks.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tlsink::decode::{Decoder, Format, Limits};
use tlsink::resume::{Answer, Position};

use crate::common::program::{FREE, Outcome, Program, Stderr};
use crate::common::terminal::Terminal;
use crate::send::server::{Resuming, ResumingPeer};

/// The time within which a sender that waits for nothing is back.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn whole_lines_are_sent_as_they_come_and_the_next_start_goes_on_behind_them() {
    let log = Log::new("one\ntwo\nha");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    let name = peer.preamble.stream().to_owned();
    assert_eq!(peer.preamble.from(), Position::START);
    peer.answer_at(b"");
    peer.expect("one\ntwo\n");
    log.append("lf\n");
    peer.expect("half\n");
    peer.acknowledge(13);
    log.append("not whole");
    sender.signal(Signal::TERM);
    assert_eq!(peer.finish(), b"");
    let outcome = sender.outcome();
    let said = outcome.stderr;
    let following = format!("following {} as stream {name:?}, from byte 0\n", log.path());
    assert!(said.contains(&following), "{said}");
    let end = format!("tlsink: everything up to byte 13 of {name:?} is acknowledged\n");
    assert!(said.ends_with(&end), "{said}");
    assert_eq!(outcome.status, 0);
    assert!(name.contains(&log.path()), "{name}");

    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.stream(), name);
    assert_eq!(
        peer.preamble.from(),
        Position::START.behind(b"one\ntwo\nhalf\n")
    );
    peer.answer_at(b"one\ntwo\nhalf\n");
    log.append("\n");
    peer.expect("not whole\n");
    sender.signal(Signal::INT);
    assert_eq!(peer.finish(), b"");
    assert_eq!(sender.outcome().status, 0);
    assert_eq!(log.names(), [".app.log.tlsink", "app.log"]);
}

#[test]
fn each_encoding_begins_anew_with_each_connection() {
    let lines = numbered(0..1000);
    for encoding in ["zstd", "gzip", "zlib", "none"] {
        let log = Log::new(&lines);
        let sender = log.follow(&["-e", encoding]);
        let mut there = Vec::new();
        for _ in 0..3 {
            let mut peer = log.server.accept();
            peer.answer_at(&there);
            let mut stream = Decoding::new(encoding);
            let wanted = there.len() + 2000;
            while there.len() < wanted {
                there.extend(stream.decode(&peer.read_some().unwrap()));
            }
            there.truncate(wanted);
            peer.cut();
        }
        assert!(lines.as_bytes().starts_with(&there));
        let mut peer = log.server.accept();
        peer.answer_at(&there);
        let mut stream = Decoding::new(encoding);
        while there.len() < lines.len() {
            there.extend(stream.decode(&peer.read_some().unwrap()));
        }
        peer.acknowledge(lines.len());
        assert!(there == lines.as_bytes());
        sender.signal(Signal::KILL);
        assert_eq!(sender.outcome().status, -9);
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end_and_then_the_new_one() {
    let log = Log::new("one\n");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    let mut old = log.open();
    log.rotate("app.log.1");
    log.write("three\n");
    old.write_all(b"two, without its end").unwrap();
    peer.expect("two, without its end\nthree\n");
    log.append("four\n");
    peer.expect("four\n");

    // Once more, without a new file at first.
    log.rotate("app.log.2");
    sender.wait_for_line(|line| line.ends_with("does not exist any more: waiting for it"));
    log.write("five\n");
    peer.expect("five\n");
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
}

/// The first file stays newer than the second, as far as the time of the last change tells.
#[test]
fn a_rotated_file_that_was_read_is_not_read_again() {
    for is_down in [false, true] {
        let log = Log::new("one\n");
        let sender = log.follow(&[]);
        let mut peer = log.server.accept();
        peer.answer_at(b"");
        peer.expect("one\n");
        let mut old = log.open();
        log.rotate("app.log.1");
        log.write("two\n");
        log.age("app.log", 100);
        old.write_all(b"late\n").unwrap();
        peer.expect("late\ntwo\n");
        peer.acknowledge(13);
        let rotate_again = || {
            fs::rename(log.path() + ".1", log.path() + ".2").unwrap();
            log.rotate("app.log.1");
            log.write("three\n");
        };
        let (sender, mut peer) = if is_down {
            sender.signal(Signal::TERM);
            peer.finish();
            assert_eq!(sender.outcome().status, 0);
            rotate_again();
            let sender = log.follow(&[]);
            let mut peer = log.server.accept();
            peer.answer_at(b"one\nlate\ntwo\n");
            (sender, peer)
        } else {
            rotate_again();
            (sender, peer)
        };
        peer.expect("three\n");
        sender.signal(Signal::TERM);
        assert_eq!(peer.finish(), b"");
        assert_eq!(sender.outcome().status, 0);
    }
}

#[test]
fn a_file_that_is_copied_and_truncated_is_read_anew() {
    let before = numbered(0..200);
    let log = Log::new(&before);
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect(&before);
    fs::copy(log.path(), log.path() + ".1").unwrap();
    log.open().set_len(0).unwrap();
    sender.wait_for_line(|line| line.contains(" shrank from "));
    log.append("new\n");
    peer.expect("new\n");
    // The next one has grown again before anybody looks.
    log.write(&"other lines\n".repeat(1000));
    peer.expect("other lines\n".repeat(1000));
    sender.signal(Signal::TERM);
    peer.finish();
    let outcome = sender.outcome();
    assert!(outcome.stderr.contains(": reading it from its start\n"));
    assert_eq!(outcome.status, 0);
}

#[test]
fn files_that_were_rotated_while_nobody_followed_are_sent_in_their_order() {
    let log = Log::new("one\n");
    let there = log.send_all(b"", "one\n");
    log.append("two");
    log.rotate("app.log.1");
    // A file that had the name in between, an older one, and others.
    log.write_as("app.log.2", "older\n");
    log.age("app.log.2", 3000);
    log.age("app.log.1", 2000);
    log.write_as("app.log-20260102", "three\n");
    log.age("app.log-20260102", 1000);
    log.write_as("app.log.1.gz", "compressed\n");
    log.write("four\n");
    let there = log.send_all(&there, "two\nthree\nfour\n");

    // A copy is found by its content, if there is enough of it.
    let lines = numbered(0..200);
    log.append(&lines);
    let there = log.send_all(&there, &lines);
    log.append("five\n");
    fs::copy(log.path(), log.path() + ".9").unwrap();
    log.write("six\n");
    let there = log.send_all(&there, "five\nsix\n");

    // A file that is gone is missed. The other one is made before, or it might get its inode.
    log.write_as("seven", "seven\n");
    fs::rename(log.in_folder("seven"), log.path()).unwrap();
    let sender = log.follow(&[]);
    sender.wait_for_line(|line| line.ends_with("lines of that one may be missing"));
    let mut peer = log.server.accept();
    peer.answer_at(&there);
    peer.expect("seven\n");
    peer.acknowledge(there.len() + 6);
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);

    // So is what was in a file that was truncated.
    log.open().set_len(0).unwrap();
    let sender = log.follow(&[]);
    sender.wait_for_line(|line| line.contains(" was truncated or overwritten since "));
}

#[test]
fn a_file_that_ends_without_a_newline_gets_one_once() {
    let log = Log::new("one\n");
    let there = log.send_all(b"", "one\n");
    log.append("two");
    log.rotate("app.log.1");
    // The new file has nothing yet, so that the state stays with the old one.
    log.write("");
    let there = log.send_all(&there, "two\n");
    log.append("three\n");
    log.send_all(&there, "three\n");
}

#[test]
fn a_file_may_come_later_and_a_long_line_is_sent_before_it_ends() {
    let log = Log::new("");
    fs::remove_file(log.path()).unwrap();
    let sender = log.follow(&[]);
    sender.wait_for_line(|line| line.ends_with("does not exist yet: waiting for it"));
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    let long = "x".repeat(3 << 20);
    log.write(&long);
    peer.expect(&long);
    log.append("the end\n");
    peer.expect("the end\n");
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn the_stream_is_continuous_whatever_is_cut_or_killed() {
    let log = Log::new("");
    let lines = numbered(0..100_000);
    let path = log.path();
    let pieces = lines.clone();
    // The writer goes on while the connection and the sender come and go.
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        for piece in pieces.as_bytes().chunks(1777) {
            file.write_all(piece).unwrap();
            thread::yield_now();
        }
    });
    let mut sender = log.follow(&[]);
    let mut store = Store::default();
    let mut random = 7_usize;
    for round in 0..12 {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
        let peer = log.server.accept();
        store.take(peer, Some(random % 60_000 + 1));
        if round % 3 == 2 {
            sender.signal(Signal::KILL);
            assert_eq!(sender.outcome().status, -9);
            sender = log.follow(&[]);
        }
    }
    writer.join().unwrap();
    let end = lines.len();
    let peer = log.server.accept();
    store.take(peer, Some(end - store.bytes.len()));
    assert!(store.bytes == lines.as_bytes());
    sender.signal(Signal::TERM);
    // The last acknowledgement may have been lost with the connection.
    while let Some(peer) = log.server.accept_within(Duration::from_secs(2)) {
        store.take(peer, None);
    }
    assert_eq!(sender.outcome().status, 0);
    assert!(store.bytes == lines.as_bytes());
}

#[test]
fn an_answer_that_is_wrong_ends_it() {
    const NO_STATE: &str = "\nhint: the server must be a tlsink of this version or a later one, with --state DIR or --kafka";
    let no_answer = "the server's answer is none to a resumed stream: ";
    for (opening, acknowledgement, error, hint) in [
        (
            "{\"error\":\"no --state here\"}\n",
            "",
            "the server does not take the stream: no --state here".to_owned(),
            "",
        ),
        (
            "220 mail.example ESMTP\r\n",
            "",
            format!("{no_answer}220 mail.example ESMTP\\x0d"),
            NO_STATE,
        ),
        (
            "{\"ack\":0}\n",
            "",
            format!("{no_answer}{{\"ack\":0}}"),
            NO_STATE,
        ),
        (
            "{\"ok\":false,\"received\":9,\"delivered\":0,\"reason\":\"corrupt (zstd)\"}\n",
            "",
            "the server ended the stream: corrupt (zstd)".to_owned(),
            NO_STATE,
        ),
        (
            "{\"at\":0,\"crc32c\":\"00000000\"}\n",
            "{\"ack\":9}\n",
            "the server acknowledged byte 9, but the stream was sent only up to byte 8".to_owned(),
            "",
        ),
        (
            "{\"at\":0,\"crc32c\":\"00000000\"}\n",
            "{\"ack\":4}\n{\"ack\":8}\n{\"ack\":4}\n",
            "the server acknowledged byte 4 after byte 8, which is further on".to_owned(),
            "",
        ),
        (
            "{\"at\":0,\"crc32c\":\"00000000\"}\n",
            "{\"at\":0,\"crc32c\":\"00000000\"}\n",
            format!("{no_answer}{{\"at\":0,\"crc32c\":\"00000000\"}}"),
            "",
        ),
    ] {
        let log = Log::new("one\ntwo\n");
        let sender = log.follow(&[]);
        let mut peer = log.server.accept();
        peer.say(opening.as_bytes());
        if !acknowledgement.is_empty() {
            peer.expect("one\ntwo\n");
            peer.say(acknowledgement.as_bytes());
        }
        let outcome = sender.outcome();
        let said = format!("tlsink: {}: {error}", log.server.address());
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(hint), "{}", outcome.stderr);
        assert_eq!(outcome.status, 1);
    }
}

#[test]
fn a_server_that_takes_the_name_for_data_is_given_up() {
    let log = Log::new("one\n");
    let sender = log.follow(&[]);
    let peer = log.server.accept();
    let outcome = sender.outcome();
    let said = "the server did not say within 10 s how much of the stream it has";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert_eq!(outcome.status, 1);
    drop(peer);
}

#[test]
fn a_receipt_must_match() {
    let log = Log::new("one\n");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    sender.signal(Signal::TERM);
    assert_eq!(peer.read_some().unwrap(), b"");
    peer.say(b"{\"ok\":true,\"received\":4,\"delivered\":4,\"crc32c\":\"00000000\"}\n");
    peer.accepted.close_notify();
    let outcome = sender.outcome();
    let said = "the receipt does not match: 4 bytes delivered with crc32c 00000000, not 4 with ";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert_eq!(outcome.status, 1);
}

#[test]
fn a_server_with_something_else_gets_a_new_stream_from_the_last_acknowledgement() {
    let log = Log::new("one\ntwo\nthree\n");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    let name = peer.preamble.stream().to_owned();
    peer.answer_at(b"");
    peer.expect("one\ntwo\nthree\n");
    peer.acknowledge(4);
    peer.cut();

    // More than there is.
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.from(), Position::START.behind(b"one\n"));
    peer.answer_at(b"one\ntwo\nthree\nfour\n");
    sender.wait_for_line(|line| {
        line.contains(" of which there are only 14 here; going on from byte 4")
    });
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.stream(), format!("{name}.2"));
    assert_eq!(peer.preamble.from(), Position::START.behind(b"one\n"));
    // Something else.
    peer.answer_at(b"one\nTWO\n");
    sender
        .wait_for_line(|line| line.contains(" are not those that are here; going on from byte 4"));
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.stream(), format!("{name}.3"));
    peer.answer_at(b"one\n");
    peer.expect("two\nthree\n");
    peer.acknowledge(14);
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);

    // The state has it too.
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.stream(), format!("{name}.3"));
    peer.answer_at(b"one\ntwo\nthree\n");
    log.append("four\n");
    peer.expect("four\n");
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn a_server_that_lost_a_part_is_an_error_unless_that_is_accepted() {
    let log = Log::new("one\ntwo\n");
    let there = log.send_all(b"", "one\ntwo\n");
    let sender = log.follow(&[]);
    log.server.accept().answer_at(b"one\n");
    let outcome = sender.outcome();
    let said = "the server has only 4 of the 8 bytes of ";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("\nhint: another server may have them; --accept-gap ")
    );
    assert_eq!(outcome.status, 1);

    let sender = log.follow(&["--accept-gap"]);
    let mut peer = log.server.accept();
    let name = peer.preamble.stream().to_owned();
    peer.answer_at(b"one\n");
    sender.wait_for_line(|line| line.contains(said) && line.contains("; going on from byte 8"));
    let mut peer = log.server.accept();
    assert_eq!(peer.preamble.stream(), format!("{name}.2"));
    peer.answer_at(&there);
    log.append("three\n");
    peer.expect("three\n");
}

#[test]
fn several_servers_have_the_stream_in_turn_and_only_a_loss_of_their_own_is_a_gap() {
    for is_input in [false, true] {
        let log = Log::new("one\n");
        let (first, second) = (&log.server, Resuming::new());
        let addresses = [first.address(), second.address()];
        let mut stdin = None;
        let start = || log.follow_to(&addresses, &[]);
        let mut sender = match is_input {
            true => {
                let mut sender = resume(&second, &[&first.address().to_string()]);
                stdin = Some(sender.stdin());
                sender
            }
            false => start(),
        };
        let mut add = |text: &str| match &mut stdin {
            Some(stdin) => stdin.write_all(text.as_bytes()).unwrap(),
            None => log.append(text),
        };
        if is_input {
            add("one\n");
        }
        let mut peer = first.accept();
        let name = peer.preamble.stream().to_owned();
        peer.answer_at(b"");
        peer.expect("one\n");
        peer.acknowledge(4);
        add("two\n");
        peer.expect("two\n");
        peer.cut();

        // The second one does not know the stream, and begins it.
        let mut peer = second.accept();
        assert_eq!(peer.preamble.stream(), name);
        peer.answer_at(b"one\n");
        peer.expect("two\n");
        peer.acknowledge(8);
        sender.wait_for_line(|line| line.ends_with("going on from byte 4"));
        peer.cut();

        // The first one has everything that it acknowledged, and more.
        let mut peer = first.accept();
        assert_eq!(peer.preamble.from(), Position::START.behind(b"one\ntwo\n"));
        peer.answer_at(b"one\nt");
        let said = format!(
            "tlsink: {}: the server has all 5 bytes of {name:?} that it acknowledged; other \
             servers have the bytes behind them; going on from byte 8 as stream \"{name}.2\"",
            first.address()
        );
        sender.wait_for_line(|line| line == said);
        let mut peer = first.accept();
        assert_eq!(peer.preamble.stream(), format!("{name}.2"));
        assert_eq!(peer.preamble.from(), Position::START.behind(b"one\ntwo\n"));
        peer.answer_at(b"one\ntwo\n");
        add("three\n");
        peer.expect("three\n");
        peer.acknowledge(14);
        add("four\n");
        peer.expect("four\n");

        // The state has it too, and the next start begins with the first one.
        if is_input {
            peer.cut();
        } else {
            sender.signal(Signal::TERM);
            peer.finish();
            assert_eq!(sender.outcome().status, 0);
            let state = fs::read_to_string(log.state()).unwrap();
            for (server, generation, acknowledged) in [(first, 2, 19), (&second, 1, 8)] {
                let kept = format!(
                    "\"{}\":{{\"acknowledged\":{acknowledged},\"generation\":{generation}}}",
                    server.address()
                );
                assert!(state.contains(&kept), "{state}");
            }
            sender = start();
            first.accept().cut();
        }

        // The second one has lost a part of its own.
        let mut peer = second.accept();
        assert_eq!(peer.preamble.stream(), name);
        peer.answer_at(b"one\ntw");
        let outcome = sender.outcome();
        let said = format!(
            "tlsink: {}: the server has only 6 of the 8 bytes of {name:?} that it acknowledged",
            second.address()
        );
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        assert_eq!(outcome.status, 1);
    }
}

#[test]
fn a_state_keeps_offsets_of_the_servers_in_the_arguments_alone() {
    let log = Log::new("one\n");
    log.send_all(b"", "one\n");
    let other = Resuming::new();
    let sender = log.follow_to(&[other.address()], &[]);
    let mut peer = other.accept();
    peer.answer_at(b"one\n");
    log.append("two\n");
    peer.expect("two\n");
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
    let state = fs::read_to_string(log.state()).unwrap();
    assert!(
        state.contains(&format!("\"{}\":", other.address())),
        "{state}"
    );
    assert!(
        !state.contains(&log.server.address().to_string()),
        "{state}"
    );
}

#[test]
fn a_server_that_never_goes_on_with_a_stream_gets_no_flood_of_new_ones() {
    let log = Log::new("one\n");
    log.send_all(b"", "one\n");
    let other = Resuming::new();
    let sender = log.follow_to(&[other.address()], &[]);
    let start = Instant::now();
    for _ in 0..5 {
        other.accept().answer_at(b"o");
    }
    sender.wait_for_lines(5, |line| line.contains("; going on from byte 4 as stream "));
    // All pauses but the first are random: up to 0.5, 1 and 2 s.
    assert!(start.elapsed() > Duration::from_millis(20));
}

#[test]
fn a_sender_that_was_taken_over_waits() {
    let log = Log::new("one\n");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    peer.acknowledge(4);
    peer.say(
        b"{\"ok\":false,\"received\":4,\"delivered\":4,\
          \"reason\":\"cut (another connection took the stream over)\"}\n",
    );
    drop(peer);
    sender.wait_for_line(|line| {
        line.contains("another connection took the stream over; going on in 30 s")
    });
    assert!(log.server.accept_within(Duration::from_secs(2)).is_none());
    // Everything is acknowledged, so that it can stop.
    sender.signal(Signal::TERM);
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn an_outage_is_said_once_and_another_server_is_tried() {
    let log = Log::new("one\n");
    let away = TcpListener::bind(FREE).unwrap();
    let nowhere = away.local_addr().unwrap();
    drop(away);
    let sender = log.follow_to(&[nowhere], &["-v"]);
    sender.wait_for_line(|line| {
        line.contains(&format!("can't connect to {nowhere}: ")) && line.ends_with("; trying again")
    });
    sender.wait_for_lines(3, |line| line.contains("can't connect to "));
    let server = Resuming::on(TcpListener::bind(nowhere).unwrap());
    let mut peer = server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    peer.acknowledge(4);
    sender.wait_for_line(|line| line.contains(": connected again after "));
    sender.signal(Signal::TERM);
    peer.finish();
    let outcome = sender.outcome();
    assert_eq!(outcome.stderr.matches("; trying again\n").count(), 1);
    assert_eq!(outcome.status, 0);

    drop(server);
    log.append("two\n");
    let sender = log.follow_to(&[nowhere, log.server.address()], &[]);
    let mut peer = log.server.accept_within(SOON).unwrap();
    peer.answer_at(b"one\n");
    peer.expect("two\n");
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn a_quiet_sender_says_outages_and_their_ends() {
    let log = Log::new("one\n");
    let sender = log.follow(&["-q"]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    peer.cut();
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    peer.acknowledge(4);
    sender.signal(Signal::TERM);
    peer.finish();
    let outcome = sender.outcome();
    let to = log.server.address();
    let said: Vec<_> = outcome.stderr.lines().collect();
    let [unverified, outage, end] = said[..] else {
        panic!("{said:?}");
    };
    assert!(unverified.contains(": the server is not verified; "));
    assert!(outage.starts_with(&format!("tlsink: {to}: the connection broke: ")));
    assert!(outage.ends_with("; trying again"), "{outage}");
    assert!(end.starts_with(&format!("tlsink: {to}: connected again after ")));
    assert!(end.ends_with(" s, going on from byte 0"), "{end}");
    assert_eq!(outcome.status, 0);
}

#[test]
fn without_a_server_a_signal_ends_it_with_what_waits() {
    let away = TcpListener::bind(FREE).unwrap();
    let nowhere = away.local_addr().unwrap();
    drop(away);
    let log = Log::new("");
    let sender = log.follow_to(&[nowhere], &[]);
    sender.wait_for_line(|line| line.ends_with("; trying again"));
    sender.signal(Signal::TERM);
    assert_eq!(sender.outcome().status, 0);

    log.append("one\n");
    for again in [false, true] {
        let terminal = Terminal::open();
        let path = log.path();
        let to = nowhere.to_string();
        let args = ["send", "--insecure", "--follow", &path, &to];
        let sender = Program::start_command(&args, Stdio::null(), Stderr::Terminal(terminal));
        let waits = |line: &str| line.ends_with(", 0 B acknowledged, 4 B behind, 0 B/s");
        sender.wait_for_live_line(waits);
        sender.signal(Signal::TERM);
        sender.wait_for_line(|line| line.contains("stopping: up to 10 s to finish"));
        if again {
            sender.signal(Signal::INT);
        }
        let outcome = sender.outcome();
        let said = match again {
            false => {
                "no server had everything 10 s after the signal; 4 bytes wait for the next start"
            }
            true => "stopped before a server had everything; 4 bytes wait for the next start",
        };
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert_eq!(outcome.status, 1);
    }
    log.send_all(b"", "one\n");
}

#[test]
fn a_file_that_was_empty_is_found_again_after_it_was_renamed() {
    let log = Log::new("");
    let unheard = Resuming::new();
    let sender = log.follow_to(&[unheard.address()], &[]);
    sender.wait_for_line(|line| line.ends_with(", from byte 0"));
    sender.signal(Signal::KILL);
    assert_eq!(sender.outcome().status, -9);
    log.append("one\n");
    log.rotate("app.log.1");
    log.write("two\n");
    log.send_all(b"", "one\ntwo\n");
}

#[test]
fn a_state_is_used_by_one_sender_and_a_damaged_one_by_none() {
    let log = Log::new("one\n");
    let sender = log.follow(&[]);
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    peer.expect("one\n");
    let outcome = log.follow(&[]).outcome();
    let said = format!(
        "tlsink: {} is in use: another tlsink send follows the file with it\n\
         hint: --follow-state FILE keeps the state of each in a file of its own\n",
        log.state()
    );
    assert_eq!((outcome.status, outcome.stderr), (2, said));
    let own = log.path() + ".own-state";
    let other = log.follow(&["--follow-state", &own, "--stream", "other"]);
    let mut second = log.server.accept();
    assert_eq!(second.preamble.stream(), "other");
    second.answer_at(b"");
    second.expect("one\n");
    other.signal(Signal::TERM);
    second.finish();
    assert_eq!(other.outcome().status, 0);
    let outcome = log
        .follow(&["--follow-state", &own, "--stream", "else"])
        .outcome();
    let said = format!("tlsink: {own} is of stream \"other\", not \"else\"\n");
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);

    let state = fs::read(log.state()).unwrap();
    fs::write(log.state(), &state[..state.len() / 2]).unwrap();
    let outcome = log.follow(&[]).outcome();
    let said = format!(
        "tlsink: {} is damaged, or is no state of tlsink send\n",
        log.state()
    );
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    assert_eq!(outcome.status, 2);
}

#[test]
fn a_file_that_can_t_be_followed_is_refused() {
    let log = Log::new("");
    let folder = log.folder.path().to_str().unwrap().to_owned();
    let state = log.path() + ".state";
    for (path, what) in [
        (
            folder.clone(),
            format!("can't follow {folder}: it is not a regular file"),
        ),
        (
            "/dev/null".to_owned(),
            "can't follow /dev/null: it is not a regular file".to_owned(),
        ),
    ] {
        let to = log.server.address().to_string();
        let args = [
            "send",
            "--insecure",
            "--follow",
            &path,
            "--follow-state",
            &state,
            &to,
        ];
        let outcome = Program::run(&args);
        let said =
            format!("tlsink: {what}\nhint: --resume sends standard input, which may be a pipe\n");
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
}

#[test]
fn standard_input_goes_on_after_a_break_and_ends_when_all_is_acknowledged() {
    let server = Resuming::new();
    let mut sender = resume(&server, &[]);
    let mut stdin = sender.stdin();
    stdin.write_all(b"one\ntwo\n").unwrap();
    let mut peer = server.accept();
    assert!(peer.preamble.stream().contains(":stdin:"));
    peer.answer_at(b"");
    peer.expect("one\ntwo\n");
    peer.acknowledge(4);
    stdin.write_all(b"three, without").unwrap();
    peer.expect("three, without");
    peer.cut();
    let mut peer = server.accept();
    peer.answer_at(b"one\ntwo\n");
    peer.expect("three, without");
    stdin.write_all(b" its end").unwrap();
    drop(stdin);
    assert_eq!(peer.finish(), b" its end");
    let outcome = sender.outcome();
    assert!(
        outcome
            .stderr
            .contains("tlsink: everything up to byte 30 of ")
    );
    assert_eq!(outcome.status, 0);
}

#[test]
fn standard_input_goes_behind_a_stream_that_has_a_name() {
    let server = Resuming::new();
    let mut sender = resume(&server, &["--stream", "jobs"]);
    drop(sender.stdin());
    let mut peer = server.accept();
    assert_eq!(
        (peer.preamble.stream(), peer.preamble.from()),
        ("jobs", Position::START)
    );
    peer.answer_at(b"of an earlier job\n");
    assert_eq!(peer.finish(), b"");
    assert_eq!(sender.outcome().status, 0);

    let mut sender = resume(&server, &["--stream", "jobs"]);
    let mut stdin = sender.stdin();
    stdin.write_all(b"of a later job\n").unwrap();
    let mut peer = server.accept();
    peer.answer_at(b"of an earlier job\n");
    peer.expect("of a later job\n");
    peer.acknowledge(33);
    sender.signal(Signal::TERM);
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
    drop(stdin);
}

/// Servers acknowledge whole lines, until a connection ends.
#[test]
fn a_line_that_is_longer_than_the_buffer_takes_several_connections() {
    let line = "x".repeat(5 << 20);
    let log = Log::new(&format!("before\n{line}\nbehind\n"));
    let sender = log.follow(&["--buffer", "2M"]);
    let mut there = Vec::new();
    let mut peer = log.server.accept();
    peer.answer_at(b"");
    while !there.ends_with(b"behind\n") {
        match peer.read_some() {
            Ok(some) if !some.is_empty() => {
                let begin = there.len();
                there.extend(some);
                let newline = there[begin..].iter().rposition(|byte| *byte == b'\n');
                if let Some(newline) = newline {
                    peer.acknowledge(begin + newline + 1);
                }
            }
            _ => {
                peer.finish();
                peer = log.server.accept();
                peer.answer_at(&there);
            }
        }
    }
    assert_eq!(there.len(), "before\nbehind\n".len() + line.len() + 1);
    sender.signal(Signal::TERM);
    assert_eq!(peer.finish(), b"");
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn a_full_buffer_stops_reading_and_nothing_is_lost() {
    let server = Resuming::new();
    let mut sender = resume(&server, &["--buffer", "2M"]);
    let mut stdin = sender.stdin();
    let all = numbered(0..1_000_000);
    let written = all.clone();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(written.as_bytes());
    });
    let mut peer = server.accept();
    peer.answer_at(b"");
    let mut there = Vec::new();
    // Nothing is acknowledged, so that the sender has to stop; the rest stays in the pipe.
    peer.accepted
        .tcp
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    while let Ok(some) = peer.read_some() {
        there.extend(some);
    }
    assert!(
        (1 << 19..=2 << 20).contains(&there.len()),
        "{}",
        there.len()
    );
    peer.cut();
    let mut peer = server.accept();
    peer.answer_at(&there);
    while there.len() < all.len() {
        there.extend(peer.read_some().unwrap());
        peer.acknowledge(there.len());
    }
    assert!(there == all.as_bytes());
    peer.finish();
    assert_eq!(sender.outcome().status, 0);
    writer.join().unwrap();
}

#[test]
fn each_error_in_the_arguments_is_reported() {
    const USAGE: &str = "tlsink send [OPTIONS] --follow FILE HOST:PORT [HOST:PORT...]";
    for (args, what, hint) in [
        ("--follow f", "send needs HOST:PORT", USAGE),
        (
            "h:1 --follow f app.log",
            "app.log: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
            USAGE,
        ),
        (
            "--follow f --resume h:1",
            "--follow and --resume can't be combined",
            "--follow FILE sends a file, --resume sends standard input",
        ),
        (
            "--follow - h:1",
            "--follow -: expected a file",
            "--resume sends standard input",
        ),
        (
            "--resume --follow-state s h:1",
            "--follow-state needs --follow FILE",
            "",
        ),
        (
            "--stream s h:1",
            "--stream needs --follow FILE or --resume",
            "",
        ),
        (
            "--accept-gap h:1",
            "--accept-gap needs --follow FILE or --resume",
            "",
        ),
        (
            "--resume --buffer 1M h:1",
            "--buffer 1M: expected at least 2M",
            "",
        ),
        (
            "--resume --retry 3 h:1",
            "--retry can't be combined with --follow and --resume",
            "with these, tlsink tries again until it is stopped",
        ),
        (
            "--resume --receipt h:1",
            "--receipt can't be combined with --follow and --resume",
            "with these, the server acknowledges everything anyway",
        ),
        (
            "--resume --framing octet h:1",
            "--framing can't be combined with --follow and --resume",
            "they have a protocol of their own, for which the server needs --state or --kafka",
        ),
    ] {
        let args: Vec<_> = std::iter::once("send").chain(args.split(' ')).collect();
        let outcome = Program::run(&args);
        let hint = match hint {
            "" => String::new(),
            hint => format!("hint: {hint}\n"),
        };
        let said = format!("tlsink: {what}\n{hint}");
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
}

/// A log that is followed, and a server for it.
struct Log {
    folder: TempDir,
    server: Resuming,
}

impl Log {
    fn new(text: &str) -> Self {
        let log = Log {
            folder: tempfile::tempdir().unwrap(),
            server: Resuming::new(),
        };
        log.write(text);
        log
    }

    fn path(&self) -> String {
        self.in_folder("app.log")
    }

    fn state(&self) -> String {
        self.in_folder(".app.log.tlsink")
    }

    fn in_folder(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, text: &str) {
        self.write_as("app.log", text);
    }

    fn write_as(&self, name: &str, text: &str) {
        fs::write(self.in_folder(name), text).unwrap();
    }

    fn open(&self) -> File {
        OpenOptions::new().append(true).open(self.path()).unwrap()
    }

    fn append(&self, text: &str) {
        self.open().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, name: &str) {
        fs::rename(self.path(), self.in_folder(name)).unwrap();
    }

    /// Makes the last change of a file this many seconds old.
    fn age(&self, name: &str, seconds: u64) {
        let file = File::options()
            .append(true)
            .open(self.in_folder(name))
            .unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn follow(&self, args: &[&str]) -> Program {
        self.follow_to(&[self.server.address()], args)
    }

    fn follow_to(&self, servers: &[SocketAddr], args: &[&str]) -> Program {
        let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
        let path = self.path();
        let mut all = vec!["send", "--insecure", "--follow", &path];
        if !args.contains(&"-e") {
            all.extend(["-e", "none"]);
        }
        all.extend(args);
        all.extend(servers.iter().map(String::as_str));
        Program::start_command(&all, Stdio::null(), Stderr::Pipe)
    }

    /// Runs a sender until it has sent exactly this; returns the whole stream.
    fn send_all(&self, there: &[u8], expected: &str) -> Vec<u8> {
        let sender = self.follow(&[]);
        let mut peer = self.server.accept();
        assert_eq!(peer.preamble.from(), Position::START.behind(there));
        peer.answer_at(there);
        peer.expect(expected);
        let there = [there, expected.as_bytes()].concat();
        peer.acknowledge(there.len());
        sender.signal(Signal::TERM);
        assert_eq!(peer.finish(), b"");
        let outcome: Outcome = sender.outcome();
        assert_eq!(outcome.status, 0);
        there
    }
}

/// A server's store, which takes whole lines.
#[derive(Default)]
struct Store {
    bytes: Vec<u8>,
}

impl Store {
    /// Takes this many bytes from a sender, and cuts the connection then; without a number, takes
    /// everything up to the end of the stream.
    fn take(&mut self, mut peer: ResumingPeer, most: Option<usize>) {
        assert!(peer.preamble.from().offset <= self.bytes.len() as u64);
        peer.answer_at(&self.bytes);
        let Some(most) = most else {
            let rest = peer.finish();
            self.bytes.extend(rest);
            return;
        };
        let mut line = Vec::new();
        let mut left = most;
        while left > 0 {
            let Ok(mut some) = peer.read_some() else {
                return;
            };
            assert!(!some.is_empty(), "the sender ended the stream");
            some.truncate(left);
            left -= some.len();
            line.extend(some);
            if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
                let rest = line.split_off(end + 1);
                self.bytes.extend(std::mem::replace(&mut line, rest));
                // Some acknowledgements are lost.
                if left % 3 != 0 {
                    peer.answer(&Answer::Acknowledged(self.bytes.len() as u64));
                }
            }
        }
        peer.cut();
    }
}

/// Compressed bytes that come in pieces.
struct Decoding(Decoder);

impl Decoding {
    fn new(encoding: &str) -> Self {
        let format: Format = encoding.parse().unwrap();
        Decoding(Decoder::new(format, &Limits::default()))
    }

    fn decode(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = vec![0; 64 << 10];
        loop {
            let step = self.0.decode(bytes, &mut out);
            assert!(step.fault.is_none());
            all.extend_from_slice(&out[..step.written]);
            bytes = &bytes[step.read..];
            if bytes.is_empty() && step.written < out.len() {
                return all;
            }
        }
    }
}

/// Runs a sender of standard input.
fn resume(server: &Resuming, args: &[&str]) -> Program {
    let to = server.address().to_string();
    let all = ["send", "--insecure", "-e", "none", "--resume"];
    Program::start_command(
        &[&all[..], args, &[&to]].concat(),
        Stdio::piped(),
        Stderr::Pipe,
    )
}

/// Lines that tell their number.
fn numbered(numbers: std::ops::Range<usize>) -> String {
    let mut lines = String::new();
    for number in numbers {
        writeln!(lines, "line {number}").unwrap();
    }
    lines
}
