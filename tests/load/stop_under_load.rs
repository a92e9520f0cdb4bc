//! A stop under load: the data of every sender that was told of its delivery is there, every other
//! sender's end is reported, and the sums are right.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;

use crate::bomb::bomb_of;
use crate::common::dice::Dice;
use crate::common::pack::{gzip, zstd};
use crate::common::program::{Client, Ended, LIMIT, Outcome, Program, Stdout, Version};
use crate::machine;

/// The senders that send one stream after the other until the program accepts none any more.
const SENDERS: usize = 16;

/// The senders whose streams never end, and must be cut.
const ENDLESS: usize = 4;

/// The number of streams that have ended before the stop.
const BEFORE: usize = 100;

#[test]
fn stopped_under_load_it_has_synced_each_file_that_it_receipted() {
    let _machine = machine::alone();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let (streams, outcome) = stop_under_load(&["--output-dir", directory, "--sync"]);
    let mut whole = HashMap::new();
    let mut parts = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        match path.extension() {
            Some(end) if end == "part" => parts += 1,
            _ => *whole.entry(fs::read(&path).unwrap()).or_insert(0) += 1,
        }
    }
    for stream in &streams {
        assert_eq!(
            whole.get(stream.as_bytes()),
            Some(&1),
            "receipted, not there"
        );
    }
    let ends = outcome.ends();
    let (clean, cut): (Vec<_>, Vec<_>) = ends.iter().partition(|ended| ended.end == "clean");
    // A stream has a file once its first byte has come.
    let begun = cut.iter().filter(|ended| ended.delivered > 0).count();
    assert_eq!((whole.len(), parts), (clean.len(), begun));
}

#[test]
fn stopped_under_load_it_has_printed_each_stream_that_it_receipted() {
    let _machine = machine::alone();
    let (streams, outcome) = stop_under_load(&[]);
    let printed = outcome.stdout_text();
    let mut lines = HashMap::new();
    for line in printed.lines() {
        *lines.entry(line).or_insert(0) += 1;
    }
    for line in streams.iter().flat_map(|stream| stream.lines()) {
        assert_eq!(lines.get(line), Some(&1), "receipted, not there");
    }
    let ends = outcome.ends();
    // A newline may follow a line that was cut in its middle.
    let cut = ends.iter().filter(|ended| ended.end != "clean").count();
    let delivered: u64 = ends.iter().map(|ended| ended.delivered).sum();
    let added = printed.len() - delivered as usize;
    assert!(added <= cut, "{added} bytes too many");
}

#[test]
fn a_stop_does_not_wait_for_chunks_that_decode_to_gigabytes() {
    let _machine = machine::alone();
    const BOMBERS: usize = 8;
    for args in [
        &["--format", "json"][..],
        &["--format", "lines"],
        &["--label"],
    ] {
        let args = [args, &["--drain", "0.2"]].concat();
        let mut program = Program::start_into(&args, Stdout::Unread);
        let mut output = program.unread();
        let (begun, has_begun) = mpsc::channel();
        let reader = thread::spawn(move || {
            output.read_exact(&mut [0]).unwrap();
            begun.send(()).unwrap();
            io::copy(&mut output, &mut io::sink()).unwrap()
        });
        // Each chunk decodes to two GiB of newlines, and each sender has four chunks in flight.
        let bombs = bomb_of(b'\n', 1 << 20).repeat(8);
        let bombers: Vec<_> = (0..BOMBERS)
            .map(|_| {
                let mut bomber = Client::connect(program.address());
                bomber.write(&bombs).unwrap();
                bomber
            })
            .collect();
        has_begun.recv_timeout(LIMIT).unwrap();
        program.signal(Signal::TERM);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0);
        let ends = outcome.ends();
        assert_eq!(ends.len(), BOMBERS);
        assert!(ends.iter().all(|ended| ended.end.starts_with(CUT)));
        let undecoded = |ended: &Ended| ended.end.ends_with(" not decoded");
        assert!(ends.iter().any(undecoded), "{ends:?}");
        drop(bombers);
        reader.join().unwrap();
    }
}

/// The beginning of the reported end of a cut stream.
const CUT: &str = "cut (the server is stopping)";

/// Stops the program while all senders send, and checks that its reports and totals agree. Returns
/// the receipted data.
fn stop_under_load(args: &[&str]) -> (Vec<String>, Outcome) {
    let args = [&["--receipt", "--stats", "--drain", "1"], args].concat();
    let program = Program::start(&args);
    let address = program.address();
    let (streams, outcome) = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send_streams(address, sender)))
            .collect();
        let endless: Vec<_> = (0..ENDLESS)
            .map(|_| scope.spawn(move || send_endlessly(address)))
            .collect();
        program.wait_for_ends(BEFORE);
        program.signal(Signal::TERM);
        let outcome = program.outcome();
        let streams = senders.into_iter().flat_map(|sender| {
            let receipted = sender.join().expect("a receipt is right");
            // Each sender has delivered whole streams before the stop.
            assert_ne!(receipted.len(), 0);
            receipted
        });
        let streams: Vec<_> = streams.collect();
        for sender in endless {
            let receipt = sender.join().expect("it was connected");
            assert!(!receipt.contains("\"ok\":true"), "{receipt}");
        }
        (streams, outcome)
    });
    assert_eq!(outcome.status, 0);
    let ends = outcome.ends();
    let clean = ends.iter().filter(|ended| ended.end == "clean").count();
    assert!(streams.len() <= clean, "more receipts than clean ends");
    let cut = ends
        .iter()
        .filter(|ended| ended.end.starts_with(CUT))
        .count();
    assert!(cut >= ENDLESS, "{cut} were cut");
    assert_eq!(clean + cut, ends.len(), "there is no other way to end here");
    let received: u64 = ends.iter().map(|ended| ended.received).sum();
    let delivered: u64 = ends.iter().map(|ended| ended.delivered).sum();
    let totals = format!(
        "tlsink: {} connections, {clean} of them clean, {received} bytes received, {delivered} delivered\n",
        ends.len()
    );
    assert!(outcome.stderr.ends_with(&totals), "not {totals}");
    (streams, outcome)
}

/// Sends until sending fails; returns the receipted data.
fn send_streams(address: SocketAddr, sender: usize) -> Vec<String> {
    let mut dice = Dice::new(sender as u64);
    let mut receipted = Vec::new();
    loop {
        let number = receipted.len();
        let lines = 1 + dice.below(2_000);
        let plain: String = (0..lines)
            .map(|line| format!("sender {sender} stream {number} line {line}\n"))
            .collect();
        let sent = match number % 3 {
            0 => plain.clone().into_bytes(),
            1 => gzip(plain.as_bytes()),
            _ => zstd(plain.as_bytes()),
        };
        let receipt = Client::connect_as(address, Version::Tls13).and_then(|mut client| {
            client.write(&sent)?;
            client.finish_for_receipt()
        });
        match receipt {
            Ok(receipt) if receipt.starts_with("{\"ok\":true,") => {
                let counts = format!(
                    "\"received\":{},\"delivered\":{},\"crc32c\":\"{:08x}\"",
                    sent.len(),
                    plain.len(),
                    crc32c::crc32c(plain.as_bytes())
                );
                assert!(receipt.contains(&counts), "{receipt} of {counts}");
                receipted.push(plain);
            }
            _ => return receipted,
        }
    }
}

/// Sends until it is cut; returns the answer, if one arrives.
fn send_endlessly(address: SocketAddr) -> String {
    let mut client = Client::connect(address);
    let lines = b"a line of a stream without an end\n".repeat(100);
    while client.write(&lines).is_ok() {}
    client.read_receipt().unwrap_or_default()
}
