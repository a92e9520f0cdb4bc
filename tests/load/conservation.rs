//! Many senders at once, most of which misbehave: every byte that arrived authenticated before a
//! fault is delivered, in order and once; missing data is never passed off as complete; and no
//! sender's fault costs another sender anything.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

mod faulty;
mod sealed;

use crate::common::dice::Dice;
use crate::common::objects::streams;
use crate::common::program::{Ended, Program, Stdout};
use crate::machine;
use faulty::{DETECTED, Fault, MOST_IN_RECORD, Others, Plan};
use sealed::Sealed;

const SENDERS: usize = 24;

const ROUNDS: usize = 2;

/// The idle timeout, in seconds: longer than an active sender ever waits, however busy the machine
/// is.
const IDLE_TIMEOUT: &str = "8";

#[test]
fn each_arrived_byte_is_in_its_senders_file_once_though_others_misbehave() {
    let _machine = machine::shared();
    let mut dice = Dice::fresh();
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let path = folder.path().to_str().expect("its name is ASCII");
        let args = ["--output-dir", path, "--name", "{port}"];
        let (round, _) = Round::run(&mut dice, &args, Reader::Prompt);
        round.verify(in_files(folder.path(), &round.ends));
    }
}

#[test]
fn each_arrived_byte_is_in_the_common_output_once_though_others_misbehave() {
    let _machine = machine::shared();
    let mut dice = Dice::fresh();
    for _ in 0..ROUNDS {
        let (round, printed) = Round::run(&mut dice, &["--format", "json"], Reader::Prompt);
        round.verify(in_objects(&printed));
    }
}

#[test]
fn each_arrived_byte_reaches_a_slow_reader_once_though_others_misbehave() {
    let _machine = machine::shared();
    let mut dice = Dice::fresh();
    for _ in 0..ROUNDS {
        let (round, printed) = Round::run(&mut dice, &["--format", "json"], Reader::Slow);
        round.verify(in_objects(&printed));
    }
}

/// The reader of the program's standard output.
#[derive(Clone, Copy)]
enum Reader {
    Prompt,
    /// With pauses, which slow the reader down and decide nothing.
    Slow,
}

impl Reader {
    fn read(self, mut pipe: File) -> Vec<u8> {
        let mut all = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            match pipe.read(&mut piece).expect("the pipe can be read") {
                0 => return all,
                read => all.extend_from_slice(&piece[..read]),
            }
            if let Reader::Slow = self {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// The streams of a round, by the senders' addresses.
struct Round {
    plans: HashMap<String, Plan>,
    ends: Vec<Ended>,
}

/// The program's results for a stream.
struct Delivered {
    bytes: Vec<u8>,
    is_complete: bool,
}

impl Round {
    /// Runs all senders at once. Also returns the printed output.
    fn run(dice: &mut Dice, args: &[&str], reader: Reader) -> (Self, Vec<u8>) {
        let plans: Vec<_> = (0..SENDERS).map(|n| Plan::roll(dice, n)).collect();
        let lanes = dice.one_of(&["1", "2", "3"]);
        let common = [
            "--verbose",
            "--idle-timeout",
            IDLE_TIMEOUT,
            "--lanes",
            lanes,
        ];
        let mut program = Program::start_into(&[&common, args].concat(), Stdout::Unread);
        let output = program.unread();
        let output = thread::spawn(move || reader.read(output));
        let others = Others::of(&plans);
        let all_connected = Barrier::new(SENDERS);
        let run = |plan: &Plan| {
            let client = Sealed::connect(program.address(), plan.version);
            // A sender that failed arrives too, as the others wait for it.
            all_connected.wait();
            let sent = client.and_then(|client| {
                let peer = client.local_address();
                Ok((peer, plan.send(client, &program, &others)?))
            });
            if !plan.waits() {
                others.one_is_through();
            }
            sent.unwrap_or_else(|error| panic!("{plan}: {error}"))
        };
        let sent: Vec<(SocketAddr, Option<Sealed>)> = thread::scope(|scope| {
            let senders: Vec<_> = plans.iter().map(|plan| scope.spawn(|| run(plan))).collect();
            let joined = senders.into_iter().map(|sender| sender.join());
            joined.map(|sent| sent.expect("it is served")).collect()
        });
        program.wait_for_ends(SENDERS);
        let (peers, open): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        drop(open);
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        let ends = outcome.ends();
        assert_eq!(ends.len(), SENDERS);
        let peers = peers.iter().map(SocketAddr::to_string);
        let round = Round {
            plans: peers.zip(plans).collect(),
            ends,
        };
        (round, output.join().expect("the output can be read"))
    }

    fn verify(&self, mut delivered: HashMap<String, Delivered>) {
        for ended in &self.ends {
            let delivered = delivered.remove(&ended.peer).expect("it has its output");
            verify(&self.plans[&ended.peer], ended, &delivered);
        }
        assert!(delivered.is_empty(), "there is output of nobody");
    }
}

/// The content of each sender's file. A sender whose data never arrived, and whose stream did not
/// end clean, has none.
fn in_files(folder: &Path, ends: &[Ended]) -> HashMap<String, Delivered> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let files = entries.map(|entry| {
        let path = entry.expect("the folder can be read").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let port: u16 = stem.and_then(|port| port.parse().ok()).expect("a port");
        let delivered = Delivered {
            bytes: fs::read(&path).expect("the file can be read"),
            is_complete: path.extension().is_none(),
        };
        (format!("127.0.0.1:{port}"), delivered)
    });
    let files: Vec<_> = files.collect();
    let fileless = ends
        .iter()
        .filter(|ended| ended.delivered == 0 && ended.end != "clean");
    let fileless = fileless.map(|ended| {
        let delivered = Delivered {
            bytes: Vec::new(),
            is_complete: false,
        };
        (ended.peer.clone(), delivered)
    });
    let all: Vec<_> = files.into_iter().chain(fileless).collect();
    assert_eq!(all.len(), SENDERS, "each sender has one file");
    all.into_iter().collect()
}

/// The content of each sender's objects.
fn in_objects(printed: &[u8]) -> HashMap<String, Delivered> {
    let streams = streams(printed).into_values().map(|stream| {
        let delivered = Delivered {
            bytes: stream.bytes,
            is_complete: stream.end == "clean",
        };
        (stream.peer, delivered)
    });
    streams.collect()
}

/// Compares the delivered bytes and the report of a stream with the sent bytes.
fn verify(plan: &Plan, ended: &Ended, delivered: &Delivered) {
    let Plan {
        stream, fault, at, ..
    } = plan;
    let Delivered { bytes, is_complete } = delivered;
    let what = format!("{plan}, of which was said {ended:?}");
    let received = ended.received as usize;
    assert_eq!(ended.delivered, bytes.len() as u64, "{what}");
    assert_eq!(*is_complete, ended.end == "clean", "{what}");

    if let Fault::Reset = fault {
        // A reset may have dropped the rest on its way.
        assert!(received <= *at, "{what}");
        assert!(ended.end.starts_with("reset ("), "{what}");
        if received < DETECTED && stream.encoded.starts_with(bytes) {
            // Too little data came to detect the format, so it was passed on unchanged.
            return;
        }
    }
    let format = stream.format.name();
    let shown = if received == 0 { "" } else { format };
    assert_eq!(ended.format, shown, "{what}");

    if let Fault::FlipInData = fault {
        let sound = stream.decodable(*at);
        assert!(bytes.starts_with(&stream.plain[..sound]), "{what}");
        let corrupt = format!("corrupt ({format}: ");
        let unfinished = format!("truncated ({format} not finished)");
        assert!(
            ended.end.starts_with(&corrupt)
                || ended.end == unfinished
                // A flipped bit of padding changes nothing.
                || ended.end == "clean" && *bytes == stream.plain,
            "{what}"
        );
        return;
    }
    assert!(stream.plain.starts_with(bytes), "{what}");
    assert!(bytes.len() >= stream.decodable(received), "{what}");

    let all = stream.encoded.len();
    let unfinished = match stream.is_whole(received) {
        true => None,
        false => Some(format!("{format} not finished")),
    };
    let said = |end: &str| assert_eq!(ended.end, end, "{what}");
    let came = |count| assert_eq!(received, count, "{what}");
    let is_whole = || {
        said("clean");
        came(all);
        assert!(*bytes == stream.plain, "{what}");
    };
    // The data after this many bytes could not be authenticated.
    let is_bad_after = |count| {
        came(count);
        assert!(ended.end.starts_with("corrupt (tls: "), "{what}");
        let place = format!(" at byte {count})");
        assert!(ended.end.ends_with(&place), "{what}");
    };
    match fault {
        Fault::Nothing | Fault::OneByteAtATime | Fault::Stall | Fault::HalfClose => is_whole(),
        Fault::NoCloseNotify | Fault::NoCloseNotifyInRecord => {
            came(*at);
            match unfinished {
                None => said("truncated (no close_notify)"),
                Some(unfinished) => said(&format!("truncated (no close_notify, {unfinished})")),
            }
        }
        Fault::Vanish | Fault::VanishInRecord => {
            came(*at);
            said(&format!("timeout (nothing came for {IDLE_TIMEOUT} s)"));
        }
        Fault::Truncate => {
            came(*at);
            match unfinished {
                None => said("clean"),
                Some(unfinished) => said(&format!("truncated ({unfinished})")),
            }
        }
        // The server may ignore the header's type and version, which carry no information (RFC
        // 8446, section 5.2).
        Fault::FlipInRecord if plan.in_header && ended.end == "clean" => is_whole(),
        // A record whose length was increased may have no end.
        Fault::FlipInRecord if plan.in_header && ended.end.contains("no close_notify") => came(*at),
        Fault::FlipInRecord | Fault::LostRecord | Fault::SwappedRecords => is_bad_after(*at),
        Fault::RepeatedRecord => is_bad_after(at + (all - at).min(MOST_IN_RECORD)),
        // Checked above.
        Fault::Reset | Fault::FlipInData => {}
    }
}
