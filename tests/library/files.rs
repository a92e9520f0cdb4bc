//! A file for each connection: `Files`, and `--output-dir` through the real binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tlsink::output::{Files, OutputError, Template};
use tlsink::{Cut, End, Peer, Report, Server, Totals};

use crate::memory::Driven;
use crate::press::Plain;

#[test]
fn a_file_has_its_name_when_its_stream_ended_clean_and_not_before() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.run();
    folder.holds(&[]);
    inbox.send(&mut sender, b"one, ");
    folder.holds(&[("a.part", "one, ")]);
    inbox.send(&mut sender, b"two");
    folder.holds(&[("a.part", "one, two")]);
    let report = inbox.end(&mut sender);
    assert_eq!((report.end, report.conn.delivered()), (End::Clean, 8));
    folder.holds(&[("a", "one, two")]);
}

#[test]
fn a_clean_stream_of_no_bytes_is_an_empty_file() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    folder.holds(&[("a", "")]);
}

#[test]
fn a_stream_of_no_bytes_that_does_not_end_clean_leaves_no_file() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut broken = inbox.sender(Peer::label("broken"));
    inbox.run();
    broken
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    let report = inbox.report(&mut broken);
    assert_eq!(report.end.word(), "reset");
    assert!(report.is_health_check());
    let mut cut = inbox.sender(Peer::label("cut"));
    inbox.server.cut();
    let report = inbox.report(&mut cut);
    assert_eq!(report.end, End::Cut(Cut::Server));
    assert!(!report.is_health_check());
    assert!(folder.names().is_empty());
    assert_eq!(inbox.server.totals().health_checks, 1);
}

#[test]
fn a_file_has_the_time_of_its_connection_and_not_of_its_first_byte() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{time}"));
    let mut first = inbox.sender(Peer::label("first"));
    inbox.run();
    let mut second = inbox.sender(Peer::label("second"));
    inbox.run();
    inbox.send(&mut second, b"second");
    inbox.send(&mut first, b"first");
    assert!(inbox.end(&mut second).end.is_clean());
    assert!(inbox.end(&mut first).end.is_clean());
    let texts: Vec<_> = folder.files_in_it().into_values().collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn a_stream_that_does_not_end_clean_leaves_a_part_file() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut broken = inbox.sender(Peer::label("broken"));
    inbox.send(&mut broken, b"so far");
    broken
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    assert_eq!(inbox.report(&mut broken).end.word(), "reset");
    let mut cut = inbox.sender(Peer::label("cut"));
    inbox.send(&mut cut, b"until then");
    inbox.server.cut();
    assert_eq!(inbox.report(&mut cut).end, End::Cut(Cut::Server));
    let left = [("broken.part", "so far"), ("cut.part", "until then")];
    folder.holds(&left);
}

#[test]
fn streams_that_run_when_the_sink_is_dropped_leave_part_files() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"so far");
    drop(inbox);
    folder.holds(&[("a.part", "so far")]);
}

#[test]
fn the_default_name_sorts_by_time_and_holds_the_senders_address() {
    let folder = Folder::new();
    let before = SystemTime::now();
    let mut inbox = Inbox::new(Files::new(folder.path()).unwrap());
    for _ in 0..12 {
        let mut sender = inbox.sender(Peer::from(SocketAddr::from(([192, 0, 2, 7], 40312))));
        inbox.end(&mut sender);
    }
    let names = folder.names();
    assert_eq!(names.len(), 12);
    for (number, name) in names.iter().enumerate() {
        let (time, rest) = name.split_once('-').unwrap();
        assert_eq!(rest, format!("192.0.2.7-{}", number + 1));
        assert_eq!((time.len(), &time[8..9], &time[15..16]), (23, "T", "."));
        let seconds = date(&["-u", "-d", &readable(time), "+%s"]);
        let opened = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap());
        assert!(opened + Duration::from_secs(1) > before && opened <= SystemTime::now());
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let folder = Folder::new();
    folder.write("log", "old");
    folder.write("log-1.part", "left over");
    symlink("/nowhere", folder.path().join("log-2")).unwrap();
    symlink(folder.path().join("log"), folder.path().join("log-3.part")).unwrap();
    fs::create_dir(folder.path().join("log-4")).unwrap();
    let mut inbox = Inbox::new(folder.files("log"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"new");
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    assert_eq!(folder.read("log"), "old");
    assert_eq!(folder.read("log-1.part"), "left over");
    assert!(fs::read_link(folder.path().join("log-2")).is_ok());
    assert_eq!(folder.read("log-5"), "new");
    assert_eq!(folder.names().len(), 6);
}

#[test]
fn a_name_that_was_taken_while_the_stream_ran_is_not_overwritten_either() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("log"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"new");
    folder.holds(&[("log.part", "new")]);
    folder.write("log", "somebody else's");
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    folder.holds(&[("log", "somebody else's"), ("log-1", "new")]);
}

#[test]
fn streams_of_the_same_name_are_numbered_in_every_lane() {
    let folder = Folder::new();
    let files = folder.files("{client}");
    let mut inboxes = [Inbox::new(files.clone()), Inbox::new(files)];
    let peer = || Peer::label("x").named("web");
    let mut open: Vec<_> = (0..6)
        .map(|number| {
            let inbox = &mut inboxes[number % 2];
            let mut sender = inbox.sender(peer());
            inbox.send(&mut sender, number.to_string().as_bytes());
            (number % 2, sender)
        })
        .collect();
    // The streams end in another order than they began.
    for (lane, sender) in open.iter_mut().rev() {
        assert_eq!(inboxes[*lane].end(sender).end, End::Clean);
    }
    let expected = [
        ("web", "0"),
        ("web-1", "1"),
        ("web-2", "2"),
        ("web-3", "3"),
        ("web-4", "4"),
        ("web-5", "5"),
    ];
    folder.holds(&expected);
}

#[test]
fn a_fixed_name_serves_any_number_of_streams() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("log"));
    for number in 0..1000 {
        let mut sender = inbox.sender(Peer::label("a"));
        inbox.send(&mut sender, number.to_string().as_bytes());
        assert_eq!(inbox.end(&mut sender).end, End::Clean);
    }
    assert_eq!(folder.names().len(), 1000);
    assert_eq!(folder.read("log"), "0");
    for number in 1..1000 {
        assert_eq!(folder.read(&format!("log-{number}")), number.to_string());
    }
}

#[test]
fn synced_files_are_named_like_any_others() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}").sync(true));
    let mut clean = inbox.sender(Peer::label("clean"));
    let mut broken = inbox.sender(Peer::label("broken"));
    inbox.send(&mut clean, b"whole");
    inbox.send(&mut broken, b"so far");
    assert_eq!(inbox.end(&mut clean).end, End::Clean);
    broken
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    assert_eq!(inbox.report(&mut broken).end.word(), "reset");
    folder.holds(&[("broken.part", "so far"), ("clean", "whole")]);
}

#[test]
fn a_file_that_can_not_get_its_name_ends_its_stream_and_no_other() {
    for sync in [false, true] {
        let folder = Folder::new();
        let mut inbox = Inbox::new(folder.files("{peer}").sync(sync));
        let [mut removed, mut replaced, mut other] =
            ["removed", "replaced", "other"].map(|name| inbox.sender(Peer::label(name)));
        for sender in [&mut removed, &mut replaced, &mut other] {
            inbox.send(sender, b"begun, ");
        }
        for name in ["removed.part", "replaced.part"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        folder.write("replaced.part", "somebody else's");
        let part = |name: &str| folder.path().join(name).display().to_string();

        let (kind, what) = output_failed(inbox.end(&mut removed));
        assert_eq!(kind, std::io::ErrorKind::NotFound);
        let said = format!("{}: ", part("removed.part"));
        assert!(what.starts_with(&said), "{what}");
        let (_, what) = output_failed(inbox.end(&mut replaced));
        let said = "another file has taken its place";
        assert_eq!(what, format!("{}: {said}", part("replaced.part")));

        inbox.send(&mut other, b"finished");
        assert_eq!(inbox.end(&mut other).end, End::Clean);
        folder.holds(&[
            ("other", "begun, finished"),
            ("replaced.part", "somebody else's"),
        ]);
        assert_eq!(inbox.server.totals().ends.clean, 1);
        assert!(inbox.result.is_none());
    }
}

#[test]
fn a_file_that_can_not_be_made_ends_its_stream_and_the_next_one_may_succeed() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut open = inbox.sender(Peer::label("open"));
    inbox.run();
    fs::remove_dir(folder.path()).unwrap();
    let path = folder.path().join("a.part").display().to_string();
    for bytes in [&b"lost"[..], b""] {
        let mut sender = inbox.sender(Peer::label("a"));
        sender.remote.send(bytes);
        let report = inbox.end(&mut sender);
        // Bytes that the output did not take are not delivered.
        assert_eq!(
            (report.conn.received(), report.conn.delivered()),
            (bytes.len() as u64, 0)
        );
        let (kind, what) = output_failed(report);
        assert_eq!(kind, std::io::ErrorKind::NotFound);
        assert!(what.starts_with(&format!("{path}: ")), "{what}");
    }
    assert_eq!(inbox.server.totals().delivered, 0);
    fs::create_dir(folder.path()).unwrap();
    inbox.send(&mut open, b"kept");
    assert_eq!(inbox.end(&mut open).end, End::Clean);
    folder.holds(&[("open", "kept")]);
    assert!(inbox.result.is_none());
}

#[test]
fn only_a_directory_that_can_be_written_to_is_taken() {
    let folder = Folder::new();
    folder.write("file", "");
    for (name, kind) in [
        ("none", std::io::ErrorKind::NotFound),
        ("file", std::io::ErrorKind::NotADirectory),
    ] {
        let error = Files::new(folder.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    Files::new(folder.path()).unwrap();
    // The attempts left no file behind.
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn no_name_of_a_peer_leaves_the_directory_or_makes_a_surprising_file() {
    let long = "x".repeat(10_000);
    let slashes = "/".repeat(10_000);
    let nasty = [
        "../../etc/passwd",
        "../secret",
        "/etc/passwd",
        "..",
        ".",
        "",
        ".hidden",
        "-rf",
        "--help",
        "a\0b",
        "con.part",
        "con.PART",
        ".part",
        "a/b/c.part",
        "a\\b",
        "a b",
        " ",
        "\n\r\t\x1b[2J",
        "caf\u{e9}",
        "\u{65e5}\u{672c}",
        "\u{202e}gpj.exe",
        "\u{2028}",
        "%2e%2e%2f",
        "{time}",
        "~root",
        "$(reboot)",
        "*",
        &long,
        &slashes,
    ];
    let names = [
        "{client}",
        "{peer}",
        "{client}{peer}",
        "x.{client}",
        "{peer}.pa{client}",
    ];
    let unix = |name: &str| Peer::unix(Some(Path::new(name)));
    let not_utf8 = PathBuf::from(OsString::from_vec(b"\xff/\xfe\x80".to_vec()));
    for template in names {
        let folder = Folder::new();
        folder.write_outside("secret", "mine");
        let mut peers: Vec<_> = nasty
            .iter()
            .flat_map(|name| [Peer::label(*name).named(*name), unix(name).named(*name)])
            .collect();
        peers.push(Peer::unix(Some(&not_utf8)).named("rt"));
        let mut inbox = Inbox::new(folder.files(template));
        for (number, peer) in peers.iter().enumerate() {
            for clean in [true, false] {
                let mut sender = inbox.sender(peer.clone());
                inbox.send(&mut sender, format!("{number} {clean}").as_bytes());
                if !clean {
                    sender
                        .remote
                        .send_error(std::io::ErrorKind::ConnectionReset);
                }
                assert_eq!(inbox.end(&mut sender).end.is_clean(), clean, "{peer:?}");
            }
        }
        assert!(inbox.result.is_none());

        let files = folder.files_in_it();
        assert_eq!(files.len(), 2 * peers.len(), "{template}");
        let mut seen: Vec<_> = files.values().cloned().collect();
        seen.sort();
        let mut sent: Vec<_> = (0..peers.len())
            .flat_map(|number| [true, false].map(|clean| format!("{number} {clean}")))
            .collect();
        sent.sort();
        assert_eq!(seen, sent);
        for (name, text) in &files {
            assert_eq!(name.ends_with(".part"), text.ends_with("false"), "{name}");
            assert!(
                !name.to_lowercase().ends_with(".part") || text.ends_with("false"),
                "{name}"
            );
            assert!(!name.starts_with(['.', '-']) && name.len() <= 255, "{name}");
            let harmless = |c: char| c.is_ascii_alphanumeric() || "_-.@+%".contains(c);
            assert!(name.chars().all(harmless), "{name}");
        }
        // The files beside the directory are the ones that were there before.
        assert_eq!(folder.outside(), ["incoming", "secret"]);
        assert_eq!(folder.read("../secret"), "mine");
    }
}

/// `--output-dir` through the real binary, and the program's messages.
#[cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]
mod program {
    use std::io::Write;
    use std::process::Command;
    use std::thread;
    use std::time::Instant;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use rustix::process::Signal;

    use super::*;
    use crate::common::pack::{gzip, zstd};
    use crate::common::program::{
        BINARY, Client, LIMIT, Program, Stderr, Stdout, Version, send, tcp,
    };
    use crate::common::skip::can_trace;
    use crate::common::strace::traced;

    #[test]
    fn each_stream_becomes_a_file_of_the_bytes_that_were_sent() {
        let folder = Folder::new();
        let program = start(&folder, &["--name", "{peer}-{port}"]);
        let bytes: Vec<u8> = (0..1_000_000_u64)
            .map(|n| (n * n).to_le_bytes()[1])
            .collect();
        let mut names = Vec::new();
        for version in [Version::Tls12, Version::Tls13] {
            for packed in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
                let mut client = Client::connect_as(program.address(), version).unwrap();
                names.push(format!("127.0.0.1-{}", client.local_address().port()));
                client.write(&packed).unwrap();
                client.finish().unwrap();
            }
        }
        let ends = program.wait_for_ends(6);
        assert!(ends.iter().all(|ended| ended.end == "clean"), "{ends:?}");
        names.sort();
        assert_eq!(folder.names(), names);
        for name in names {
            assert!(
                fs::read(folder.path().join(&name)).unwrap() == bytes,
                "{name}"
            );
        }
        let outcome = program.stop();
        assert_eq!((outcome.status, outcome.stdout_text().as_str()), (0, ""));
    }

    #[test]
    fn an_incomplete_stream_leaves_a_part_file_with_the_bytes_before_its_end() {
        let folder = Folder::new();
        let program = start(&folder, &["--name", "{conn}", "--format", "raw"]);
        let unfinished = {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(b"half of it").unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        };
        let mut damaged = gzip(b"all but the checksum");
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;

        let connect = || Client::connect(program.address());
        let mut client = connect();
        client.write(b"no close_notify").unwrap();
        client.abandon().unwrap();
        program.wait_for_ends(1);
        let mut client = connect();
        client.write(&unfinished).unwrap();
        client.finish_unclean().unwrap();
        program.wait_for_ends(2);
        let mut client = connect();
        client.write(&damaged).unwrap();
        program.wait_for_ends(3);
        let mut forger = connect();
        forger.write(b"before the forgery").unwrap();
        forger.write_forged().unwrap();
        program.wait_for_ends(4);
        let mut breaking = connect();
        breaking.write(b"before the reset").unwrap();
        // The reset can't overtake data that is in the file already.
        folder.wait_for("5.part", b"before the reset");
        breaking.reset().unwrap();
        let ends = program.wait_for_ends(5);
        let words = ["truncated", "truncated", "corrupt", "corrupt", "reset"];
        for (ended, word) in ends.iter().zip(words) {
            assert!(ended.end.starts_with(word), "{ended:?}");
        }
        send(program.address(), &gzip(b"whole"));
        program.wait_for_ends(6);
        folder.holds(&[
            ("1.part", "no close_notify"),
            ("2.part", "half of it"),
            ("3.part", "all but the checksum"),
            ("4.part", "before the forgery"),
            ("5.part", "before the reset"),
            ("6", "whole"),
        ]);
    }

    #[test]
    fn two_hundred_senders_at_once_are_two_hundred_files() {
        const SENDERS: usize = 200;
        let folder = Folder::new();
        let program = start(&folder, &["--sync"]);
        let mut clients: Vec<_> = (0..SENDERS)
            .map(|_| Client::connect(program.address()))
            .collect();
        let text = |number: usize| format!("sender {number}\n").repeat(1000);
        for (number, client) in clients.iter_mut().enumerate() {
            client.write(text(number).as_bytes()).unwrap();
        }
        thread::scope(|scope| {
            for client in clients {
                scope.spawn(|| client.finish().unwrap());
            }
        });
        program.wait_for_ends(SENDERS);
        let files = folder.files_in_it();
        assert!(files.keys().all(|name| !name.ends_with(".part")));
        let mut received: Vec<_> = files.into_values().collect();
        received.sort();
        let mut sent: Vec<_> = (0..SENDERS).map(text).collect();
        sent.sort();
        assert!(received == sent, "what was received differs");
        assert_eq!(program.stop().status, 0);
    }

    #[test]
    fn another_run_overwrites_nothing_of_the_last_one() {
        let folder = Folder::new();
        for run in ["first", "second", "third"] {
            let program = start(&folder, &["--name", "log"]);
            send(program.address(), run.as_bytes());
            program.wait_for_end();
            let mut client = Client::connect(program.address());
            client.write(b"part of ").unwrap();
            client.write(run.as_bytes()).unwrap();
            client.abandon().unwrap();
            program.wait_for_ends(2);
        }
        folder.holds(&[
            ("log", "first"),
            ("log-1.part", "part of first"),
            ("log-2", "second"),
            ("log-3.part", "part of second"),
            ("log-4", "third"),
            ("log-5.part", "part of third"),
        ]);
    }

    #[test]
    fn a_file_beyond_the_size_limit_ends_its_stream_is_named_and_stays_part() {
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let args = ["--output-dir", &path, "--name", "{conn}", "--receipt"];
        let program = Program::start_after("ulimit -f 8", &args);
        let mut other = Client::connect(program.address());
        other.write(b"before, ").unwrap();
        folder.wait_for("1.part", b"before, ");
        let sent = "too much for this file\n".repeat(10_000);
        for (number, version) in [(2, Version::Tls12), (3, Version::Tls13)] {
            let mut client = Client::connect_as(program.address(), version).unwrap();
            client.write(sent.as_bytes()).unwrap();
            // The receipt names none of the receiver's files, and precedes the sender's end.
            let receipt = client.read_receipt().unwrap();
            let reason = ",\"reason\":\"cut (the output failed: file too large)\"}\n";
            assert!(receipt.ends_with(reason), "{receipt}");
            drop(client);
            let ended = program.wait_for_ends(number - 1).pop().unwrap();
            let said = format!(
                "cut (the output failed: {path}/{number}.part: File too large (os error 27))"
            );
            assert_eq!(ended.end, said);
            let left = folder.read(&format!("{number}.part"));
            assert!(!left.is_empty() && left.len() <= 8192 && sent.starts_with(&left));
        }
        other.write(b"after").unwrap();
        let receipt = other.finish_for_receipt().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        assert_eq!(folder.read("1"), "before, after");
        assert_eq!(folder.names(), ["1", "2.part", "3.part"]);
        assert_eq!(program.stop().status, 0);
    }

    #[test]
    fn deleting_one_part_ends_one_stream_whose_sender_hears_of_it() {
        let reason = "cut (the output failed: entity not found)";
        for args in [
            &[][..],
            &["--sync"],
            &["--receipt"],
            &["--sync", "--receipt"],
        ] {
            let folder = Folder::new();
            let common = ["--name", "{conn}", "--stats"];
            let program = start(&folder, &[&common, args].concat());
            let mut clients = [Version::Tls12, Version::Tls13, Version::Tls13]
                .map(|version| Client::connect_as(program.address(), version).unwrap());
            for (number, client) in (1..).zip(&mut clients) {
                client.write(b"until now").unwrap();
                folder.wait_for(&format!("{number}.part"), b"until now");
            }
            let [first, second, mut last] = clients;
            for (number, client) in (1..).zip([first, second]) {
                let part = folder.path().join(format!("{number}.part"));
                fs::remove_file(&part).unwrap();
                if args.contains(&"--receipt") {
                    let receipt = client.finish_for_receipt().unwrap();
                    let expected = format!(
                        "{{\"ok\":false,\"received\":9,\"delivered\":9,\"reason\":\"{reason}\"}}\n"
                    );
                    assert_eq!(receipt, expected);
                } else {
                    client.finish_unclean().unwrap();
                }
                let ended = program.wait_for_ends(number).pop().unwrap();
                let error = std::io::Error::from(rustix::io::Errno::NOENT);
                let said = format!("cut (the output failed: {}: {error})", part.display());
                assert_eq!(ended.end, said);
            }
            last.write(b", and on").unwrap();
            match args.contains(&"--receipt") {
                true => drop(last.finish_for_receipt().unwrap()),
                false => last.finish().unwrap(),
            }
            let outcome = program.stop();
            assert_eq!(outcome.status, 0);
            let totals = "3 connections, 1 of them clean, 35 bytes received, 35 delivered\n";
            assert!(outcome.stderr.ends_with(totals), "{}", outcome.stderr);
            folder.holds(&[("3", "until now, and on")]);
        }
    }

    #[test]
    fn a_directory_that_went_away_ends_each_stream_by_itself_until_it_is_back() {
        let folder = Folder::new();
        let program = start(&folder, &["--name", "{conn}"]);
        fs::remove_dir(folder.path()).unwrap();
        for number in 1..=2 {
            let mut client = Client::connect(program.address());
            client.write(b"for nobody").unwrap();
            client.finish_unclean().unwrap();
            let ended = program.wait_for_ends(number).pop().unwrap();
            assert_eq!((ended.received, ended.delivered), (10, 0));
            assert!(
                ended.end.starts_with("cut (the output failed: "),
                "{ended:?}"
            );
        }
        fs::create_dir(folder.path()).unwrap();
        send(program.address(), b"back");
        program.wait_for_ends(3);
        folder.holds(&[("3", "back")]);
        assert_eq!(program.stop().status, 0);
    }

    #[test]
    fn once_ends_with_1_if_the_file_of_its_stream_fails() {
        let folder = Folder::new();
        let program = start(&folder, &["--name", "log", "--once"]);
        let mut client = Client::connect(program.address());
        client.write(b"until now").unwrap();
        folder.wait_for("log.part", b"until now");
        fs::remove_file(folder.path().join("log.part")).unwrap();
        client.finish_unclean().unwrap();
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        let ends = outcome.ends();
        assert!(
            ends[0].end.starts_with("cut (the output failed: "),
            "{ends:?}"
        );
        let last = "tlsink: the stream was not clean\n";
        assert!(outcome.stderr.ends_with(last), "{}", outcome.stderr);
    }

    #[test]
    fn a_health_check_makes_no_file_and_a_clean_stream_of_no_bytes_does() {
        let folder = Folder::new();
        let program = start(&folder, &["-v", "--name", "{conn}"]);
        for version in [Version::Tls12, Version::Tls13] {
            let connect = || Client::connect_as(program.address(), version).unwrap();
            connect().reset().unwrap();
            connect().abandon().unwrap();
        }
        Client::connect(program.address()).finish().unwrap();
        program.wait_for_ends(5);
        folder.holds(&[("5", "")]);
    }

    #[test]
    fn a_signal_leaves_a_stream_part_unless_it_is_finished_in_time() {
        let folder = Folder::new();
        let program = start(&folder, &["--name", "{conn}", "--drain", "0"]);
        let mut client = Client::connect(program.address());
        client.write(b"until then").unwrap();
        folder.wait_for("1.part", b"until then");
        assert_eq!(program.stop().status, 0);
        folder.holds(&[("1.part", "until then")]);

        let program = start(&folder, &["--name", "{conn}-finished"]);
        let mut client = Client::connect(program.address());
        client.write(b"before, ").unwrap();
        folder.wait_for("1-finished.part", b"before, ");
        program.signal(Signal::TERM);
        program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
        client.write(b"after").unwrap();
        client.finish().unwrap();
        assert_eq!(program.outcome().status, 0);
        folder.holds(&[("1-finished", "before, after"), ("1.part", "until then")]);
    }

    #[test]
    fn verbose_says_which_file_a_stream_goes_to() {
        let folder = Folder::new();
        let program = start(&folder, &["-v", "--name", "{conn}.log"]);
        let mut client = Client::connect(program.address());
        client.write(b"hello").unwrap();
        let path = folder.path().join("1.log.part");
        let said = format!(
            "tlsink: {}: writing to {}",
            client.local_address(),
            path.display()
        );
        program.wait_for_line(|line| line == said);
        client.finish().unwrap();
        program.wait_for_end();
        folder.holds(&[("1.log", "hello")]);
    }

    #[test]
    fn the_file_limit_leaves_room_for_a_socket_and_a_file_each() {
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let limit = "ulimit -n 48";
        let program = Program::start_after(limit, &["--output-dir", &path, "--lanes", "2"]);
        let address = program.address();
        // Connections beyond the limit wait, and nothing fails.
        thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(move || send(address, b"served"));
            }
        });
        program.wait_for_ends(30);
        assert!(!program.stderr().contains("can't"));
        assert_eq!(folder.names().len(), 30);

        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limit}; exec \"$@\""), "sh", BINARY])
            .args(["--lanes", "2", "--max-connections", "8"])
            .args(["--output-dir", &path]);
        let outcome = Program::run_by(command, Stdout::Collected, Stderr::Pipe);
        assert_eq!(outcome.status, 2);
        let said = "tlsink: --max-connections 8 with --output-dir needs more open files than the \
                    limit of 48\n\
                    hint: allow more open files (ulimit -Hn), or give --max-connections at most 7\n";
        assert_eq!(outcome.stderr, said);
    }

    #[test]
    fn a_probe_makes_no_file() {
        let folder = Folder::new();
        let program = start(&folder, &["--once"]);
        drop(tcp(program.address()).unwrap());
        program.wait_for_line(|line| line.ends_with(": truncated (closed during the handshake)"));
        assert!(folder.names().is_empty());
        send(program.address(), b"the one");
        assert_eq!(program.outcome().status, 0);
        assert_eq!(folder.names().len(), 1);
    }

    #[test]
    fn a_stream_is_reported_clean_after_its_file_and_its_name_are_synced() {
        let Some(traced) = Traced::run(
            "trace=fsync,linkat,?unlink,?unlinkat,?open,openat,write",
            &["--sync"],
            0,
        ) else {
            return;
        };
        traced.folder.holds(&[("log", "synced")]);
        let dir = "incoming";
        let expected = [
            ("open", "log.part"),
            ("write", "log.part"),
            ("fsync", "log.part"),
            ("link", "log.part"),
            ("unlink", "log.part"),
            ("open", dir),
            ("fsync", dir),
            ("write", "clean"),
        ];
        assert_eq!(traced.calls(), expected);
        assert!(traced.trace.contains("|O_CREAT|O_EXCL|"));

        // No connection waits for the disk by default.
        let traced = Traced::run("trace=fsync", &[], 0).unwrap();
        assert!(!traced.trace.contains("fsync("), "{}", traced.trace);
    }

    #[test]
    fn a_file_that_can_not_be_synced_is_not_complete() {
        // The fsync of the file fails, which is the lane's first. On a full disk, the system may have
        // dropped the bytes, so a second one would tell nothing.
        for error in ["EIO", "ENOSPC", "EDQUOT"] {
            let inject = format!("inject=fsync:error={error} -P DIR/log.part");
            let Some(traced) = Traced::run(&inject, &["--sync"], 1) else {
                return;
            };
            traced.folder.holds(&[("log.part", "synced")]);
            let path = traced.folder.path().join("log.part").display().to_string();
            let said = format!(", plain, cut (the output failed: {path}: ");
            assert!(traced.stderr.contains(&said), "{}", traced.stderr);
            assert!(!traced.stderr.contains(", clean"), "{}", traced.stderr);
        }

        // The second fsync of each thread fails. The lane's second one is for the directory.
        let traced = Traced::run("inject=fsync:error=EIO:when=2", &["--sync"], 1).unwrap();
        let path = traced.folder.path().display().to_string();
        let said = format!(", plain, cut (the output failed: {path}: ");
        assert!(traced.stderr.contains(&said), "{}", traced.stderr);
        assert!(!traced.stderr.contains(", clean"), "{}", traced.stderr);
        // The final name would say that the file is complete.
        traced.folder.holds(&[("log.part", "synced")]);
    }

    #[test]
    fn a_system_error_of_one_file_ends_its_stream_with_that_error() {
        for (calls, error) in [
            ("write", "EIO"),
            ("linkat,?link", "EIO"),
            ("?unlink,?unlinkat", "EROFS"),
            ("?open,openat", "EACCES"),
            ("?open,openat", "ENAMETOOLONG"),
            ("?open,openat", "EMFILE"),
        ] {
            let inject = format!("inject={calls}:error={error} -P DIR/log.part");
            let Some(traced) = Traced::run(&inject, &["--sync"], 1) else {
                return;
            };
            let path = traced.folder.path().join("log.part").display().to_string();
            let said = format!(", plain, cut (the output failed: {path}: ");
            assert!(traced.stderr.contains(&said), "{error}: {}", traced.stderr);
            let left: &[_] = match calls.contains("open") {
                true => &[],
                false => &["log.part"],
            };
            assert_eq!(traced.folder.names(), left, "{error}");
        }
    }

    #[test]
    fn a_file_system_without_hard_links_is_enough() {
        for error in ["EPERM", "EOPNOTSUPP", "ENOSYS"] {
            let inject = format!("inject=linkat:error={error}");
            let Some(traced) = Traced::run(&inject, &["--sync"], 0) else {
                return;
            };
            assert!(traced.trace.contains("(INJECTED)"));
            traced.folder.holds(&[("log", "synced")]);
        }
    }

    #[test]
    fn a_directory_that_can_not_be_synced_is_said_before_any_stream_comes() {
        if !can_trace() {
            return;
        }
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let trace = folder.outer.path().join("trace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "inject=fsync:error=EINVAL", "-o"])
            .arg(trace)
            .args([BINARY, "--sync", "--output-dir", &path]);
        let outcome = Program::run_by(command, Stdout::Collected, Stderr::Pipe);
        assert_eq!(outcome.status, 2);
        let error = std::io::Error::from(rustix::io::Errno::INVAL);
        let said = format!(
            "tlsink: can't sync {path}: {error}\n\
             hint: --sync needs a readable directory, on a file system that supports it\n"
        );
        assert_eq!(outcome.stderr, said);
        assert!(folder.names().is_empty());
    }

    fn start(folder: &Folder, args: &[&str]) -> Program {
        let path = folder.path().display().to_string();
        Program::start(&[&["--output-dir", &path], args].concat())
    }

    impl Folder {
        /// Waits until a file has this content.
        fn wait_for(&self, name: &str, bytes: &[u8]) {
            let deadline = Instant::now() + LIMIT;
            while fs::read(self.path().join(name)).ok().as_deref() != Some(bytes) {
                assert!(Instant::now() < deadline, "{name} never holds all of it");
                thread::yield_now();
            }
        }
    }

    /// The program with `--once` under strace(1), and one stream, which it has received as `log`.
    struct Traced {
        folder: Folder,
        trace: String,
        stderr: String,
    }

    impl Traced {
        /// Runs strace with the expression `what`, in which `DIR` stands for the directory.
        fn run(what: &str, args: &[&str], status: i32) -> Option<Self> {
            let folder = Folder::new();
            let path = folder.path().display().to_string();
            let what = what.replace("DIR", &path);
            let args = [&["--name", "log", "--output-dir", &path], args].concat();
            let (trace, outcome) = traced(&what, folder.outer.path(), &args, b"synced")?;
            assert_eq!(outcome.status, status, "{}", outcome.stderr);
            Some(Traced {
                trace,
                stderr: outcome.stderr,
                folder,
            })
        }

        /// The calls that concern the file, in order, and the one that reports its stream as clean.
        fn calls(&self) -> Vec<(&str, &str)> {
            let lines = self.trace.lines();
            let lines = lines.skip_while(|line| !line.contains("log.part"));
            lines
                .filter_map(|line| {
                    let (call, rest) = line.split_once('(')?;
                    let call = call.rsplit(' ').next()?;
                    // Some systems have openat(2) and no open(2), and so on.
                    let call = call.strip_suffix("at").unwrap_or(call);
                    let what = ["log.part", ", clean", "incoming"];
                    let what = what.into_iter().find(|what| rest.contains(what))?;
                    Some((call, what.trim_start_matches(", ")))
                })
                .collect()
        }
    }
}

/// Connections whose streams go to files.
struct Inbox {
    server: Server,
    running: Driven<Pin<Box<dyn Future<Output = Ended>>>>,
    result: Option<Ended>,
}

type Ended = Result<Totals, OutputError>;

impl Inbox {
    fn new(files: Files) -> Self {
        let (server, sink) = Server::builder().build().unwrap();
        Inbox {
            server,
            running: Driven::new(Box::pin(sink.run(files))),
            result: None,
        }
    }

    fn run(&mut self) {
        if self.result.is_none() {
            self.result = self.running.run();
        }
    }

    fn sender(&mut self, peer: Peer) -> Plain {
        let mut sender = Plain::of(&self.server, peer);
        assert!(sender.connection.run().is_none());
        sender
    }

    /// Sends bytes, and lets them arrive.
    fn send(&mut self, sender: &mut Plain, bytes: &[u8]) {
        sender.remote.send(bytes);
        assert!(sender.connection.run().is_none());
        self.run();
    }

    /// Ends the stream, if it has not ended in another way.
    fn end(&mut self, sender: &mut Plain) -> Report {
        sender.remote.send_eof();
        self.report(sender)
    }

    fn report(&mut self, sender: &mut Plain) -> Report {
        assert!(sender.connection.run().is_none());
        self.run();
        sender
            .connection
            .run()
            .expect("the sink is through with it")
    }
}

/// The error with which the output failed for this stream.
fn output_failed(report: Report) -> (std::io::ErrorKind, String) {
    match report.end {
        End::Cut(Cut::Output { kind, reason, .. }) => (kind, reason),
        end => panic!("it ended as {end}"),
    }
}

/// A directory for files, inside a temporary one.
struct Folder {
    outer: TempDir,
}

impl Folder {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("incoming")).unwrap();
        Folder { outer }
    }

    fn path(&self) -> PathBuf {
        self.outer.path().join("incoming")
    }

    fn files(&self, template: &str) -> Files {
        let template: Template = template.parse().unwrap();
        Files::new(self.path()).unwrap().name(template)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn write_outside(&self, name: &str, text: &str) {
        fs::write(self.outer.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path().join(name)).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(&self.path())
    }

    fn outside(&self) -> Vec<String> {
        names(self.outer.path())
    }

    /// The names and contents of all files in the directory.
    fn files_in_it(&self) -> BTreeMap<String, String> {
        let names = self.names().into_iter();
        names.map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// Checks that the directory holds these files, and no others.
    fn holds(&self, expected: &[(&str, &str)]) {
        let files = self.files_in_it();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        assert_eq!(files, expected);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `20261123T193201.123456Z` as date(1) reads it.
fn readable(time: &str) -> String {
    let part = |from, to| &time[from..to];
    format!(
        "{}-{}-{} {}:{}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    )
}

fn date(args: &[&str]) -> String {
    let output = std::process::Command::new("date").args(args).output();
    let output = output.expect("there is date(1)").stdout;
    String::from_utf8(output).unwrap().trim().to_owned()
}
