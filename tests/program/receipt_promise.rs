//! A receipt is a promise: the receiver has delivered the data, whatever happens to it afterwards.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::process::peak_memory;
use crate::common::program::{BINARY, LIMIT, Program, Stdout};

#[test]
fn killed_at_any_time_the_receiver_has_on_disk_the_data_that_it_receipted() {
    const ROUNDS: u64 = 10;
    const AT_ONCE: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received");
    fs::create_dir(&received).unwrap();
    let mut told = 0;
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut seed = clock.unwrap().as_nanos() as u64 | 1;
    eprintln!("killed at times made of {seed}");
    for round in 0..ROUNDS {
        let program = Program::start(&[
            "--output-dir",
            received.to_str().unwrap(),
            "--sync",
            "--receipt",
        ]);
        let senders: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let file = numbered_file(&folder, round * AT_ONCE + n);
                let child = send(program.address(), &["--receipt"], Some(&file));
                (file, child)
            })
            .collect();
        // The kill mostly comes between the first handshake and the last receipt.
        seed = random(seed);
        thread::sleep(Duration::from_micros(seed % 25_000));
        program.signal(Signal::KILL);
        drop(program);
        for (file, child) in senders {
            let delivered = outcome(child).0 == 0;
            let content = fs::read(&file).unwrap();
            let copies = complete(&received)
                .iter()
                .filter(|copy| fs::read(copy).unwrap() == content)
                .count();
            if delivered {
                told += 1;
                assert_eq!(copies, 1, "{} was receipted", file.display());
            }
        }
    }
    // Every file with its final name is whole, receipted or not.
    let sent: Vec<_> = (0..ROUNDS * AT_ONCE)
        .map(|n| fs::read(numbered_file(&folder, n)).unwrap())
        .collect();
    for copy in complete(&received) {
        let copy = fs::read(copy).unwrap();
        assert!(sent.contains(&copy));
    }
    eprintln!("{told} of {} transfers were receipted", sent.len());
}

#[test]
fn a_stream_through_any_codec_is_receipted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    let text: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    for content in ["", "x", &text] {
        fs::write(&file, content).unwrap();
        for encoding in ["zstd", "gzip", "zlib", "none"] {
            let program = Program::start(&["--receipt", "--format", "raw"]);
            let args = ["--receipt", "--encode", encoding];
            let (status, said) = outcome(send(program.address(), &args, Some(&file)));
            assert_eq!(status, 0, "{encoding}: {said}");
            assert!(said.contains("receipt matches"), "{encoding}: {said}");
            assert_eq!(program.stop().stdout_text(), content, "{encoding}");
        }
    }
}

#[test]
fn a_refused_sender_is_told_with_a_receipt_or_without() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let made = Program::run(&["cert", tls.to_str().unwrap()]);
    assert_eq!(made.status, 0, "{}", made.stderr);
    let path = |name: &str| tls.join(name).to_str().unwrap().to_owned();
    let [ca, chain, key] = ["ca.pem", "client.pem", "client.key"].map(path);
    let file = numbered_file(&folder, 1);
    for receipt in [&["--receipt"][..], &[]] {
        let strict = [&["--client-ca", &ca, "--allow-client", "somebody"], receipt].concat();
        let program = Program::start(&strict);
        let nobody = send(program.address(), receipt, Some(&file));
        let (status, said) = outcome(nobody);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("certificate"), "{said}");

        let args = [&["--cert", &chain, "--key", &key], receipt].concat();
        let (status, said) = outcome(send(program.address(), &args, Some(&file)));
        assert_eq!(status, 1, "{said}");
        let outcome = program.stop();
        assert!(outcome.stdout.is_empty());
        assert!(
            outcome.stderr.contains("refused (no certificate)")
                && outcome.stderr.contains("refused (name not allowed"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_stream_beyond_the_limit_on_file_sizes_is_not_receipted_and_leaves_a_part_file() {
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received");
    fs::create_dir(&received).unwrap();
    // The limit is in blocks of 512 bytes. Its signal would kill the program, if not ignored.
    let program = Program::start_after(
        "trap '' XFSZ; ulimit -f 100",
        &["--output-dir", received.to_str().unwrap(), "--receipt"],
    );
    let file = numbered_file(&folder, 1);
    let (status, said) = outcome(send(program.address(), &["--receipt"], Some(&file)));
    assert_eq!(status, 1, "{said}");
    let reason = "cut (the output failed: file too large)";
    assert!(said.contains(reason), "{said}");
    let ended = program.wait_for_end();
    assert!(ended.end.starts_with("cut (the output failed: "));
    // The receiver still serves others.
    assert_eq!(program.stop().status, 0);
    assert!(complete(&received).is_empty());
    let parts: Vec<_> = fs::read_dir(&received).unwrap().collect();
    assert_eq!(parts.len(), 1);
}

#[test]
fn with_an_output_that_takes_nothing_the_memory_of_both_sides_stays_flat() {
    const SENT: usize = 256 << 20;
    const MOST: u64 = 64 << 20;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    fs::write(&file, vec![b'x'; SENT]).unwrap();
    let mut program = Program::start_into(&["--format", "raw", "--receipt"], Stdout::Unread);
    let mut output = program.unread();
    let mut sender = send(
        program.address(),
        &["--receipt", "--encode", "none"],
        Some(&file),
    );
    // The first byte shows that data flows; the rest stays in place until it is requested.
    let mut piece = vec![0; 1 << 20];
    let mut total = output.read(&mut piece[..1]).unwrap();
    let mut largest = 0;
    while total < SENT {
        total += output.read(&mut piece).unwrap();
        for id in [program.id(), sender.id()] {
            largest = largest.max(peak_memory(id).unwrap_or(0));
        }
    }
    assert!(largest > 0 && largest < MOST, "{largest} bytes were in use");
    assert!(sender.wait().unwrap().success());
}

/// A file with a content of its own for each number, which is large enough to take a while.
fn numbered_file(folder: &TempDir, number: u64) -> PathBuf {
    let path = folder.path().join(format!("{number}"));
    if !path.exists() {
        let mut state = number + 1;
        let content: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = random(state);
                state as u8
            })
            .collect();
        fs::write(&path, content).unwrap();
    }
    path
}

/// The next of a sequence of random numbers (xorshift64, Marsaglia 2003).
fn random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

/// The files whose names do not end in `.part`.
fn complete(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_none_or(|end| end != "part"))
        .collect()
}

fn send(address: SocketAddr, args: &[&str], file: Option<&Path>) -> Child {
    let mut command = Command::new(BINARY);
    command
        .args(["send", "--insecure"])
        .args(args)
        .arg(address.to_string())
        .args(file)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// The exit status of a sender, and its messages.
fn outcome(mut child: Child) -> (i32, String) {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the sender never ends");
        thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said)
}
