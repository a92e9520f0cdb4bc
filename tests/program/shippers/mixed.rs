//! Senders of all kinds at once, on one port.

use std::collections::HashSet;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use crate::common::clients::*;
use crate::common::pack::{gzip, qt, zlib, zstd};
use crate::common::program::Program;
use crate::common::sender;
use crate::common::shipped::{RSYSLOG_INPUT, Shipped, guide};
use crate::common::skip::is_installed;

/// Senders that the test itself makes.
const SENDERS: usize = 200;

/// Records of each sender.
const RECORDS: usize = 100;

#[test]
fn every_record_of_200_senders_of_all_kinds_on_one_port_is_whole() {
    let shipped = Shipped::with(RECORDS);
    let server = shipped.path("server.pem");
    let program = Program::start(&["--cert", &server, "--key", &server]);
    let address = program.address();
    let mut shippers = Vec::new();
    if is_installed("rsyslogd") {
        let config = RSYSLOG_INPUT.to_owned() + &guide("RELP", "text");
        shippers.push(shipped.start_rsyslog(&config, address.port()));
    }
    if is_installed("syslog-ng") {
        shippers.push(shipped.start_syslog_ng("syslog", address.port()));
    }
    let clients = [
        &LOG4J,
        &RFC5424,
        &PYGELF,
        &PYLOGBEAT,
        &LOGSTASH_ASYNC,
        &LUMBERJACK_PROTOCOL,
        &LUMBERJACK_CLIENT,
        &GO_LUMBER,
        &FLUENT_ORG,
        &FLUENT_LOGGER,
        &FLUENT_LOGGER_GO,
        &FLUENCY,
    ];
    let mut hellos = 0;
    let mut clients: Vec<_> = clients
        .into_iter()
        .filter_map(|kind| {
            let client = Sender::start(&shipped, kind, address.port(), RECORDS)?;
            hellos += kind.hellos();
            Some(client)
        })
        .collect();
    let streams: Vec<_> = (0..SENDERS).map(Stream::new).collect();
    let all_connected = Barrier::new(SENDERS);
    let ends: Vec<(String, String)> = thread::scope(|scope| {
        let senders: Vec<_> = streams
            .iter()
            .map(|stream| scope.spawn(|| stream.send(address, &all_connected)))
            .collect();
        senders
            .into_iter()
            .zip(&streams)
            .map(|(sender, stream)| (sender.join().unwrap().to_string(), stream.end.to_owned()))
            .collect()
    });
    for client in &mut clients {
        client.succeed();
    }
    // The shippers tell nobody when they are through.
    let senders = shippers.len() + clients.len();
    program.wait_for_printed_lines((SENDERS + senders) * RECORDS + hellos);
    drop(shippers);
    let outcome = program.stop();
    let seen: HashSet<(String, String)> = outcome
        .ends()
        .into_iter()
        .map(|ended| (ended.peer, ended.end))
        .collect();
    // A client may have had the same port, before or after.
    for end in ends {
        assert!(seen.contains(&end), "{end:?}");
    }
    let mut left: Vec<_> = streams.iter().map(|stream| stream.lines.iter()).collect();
    let mut times = vec![0; RECORDS];
    for line in outcome.stdout_text().lines() {
        if let Some((_, text)) = line.split_once("sender ") {
            let (sender, _) = text.split_once(' ').unwrap();
            let expected = left[sender.parse::<usize>().unwrap()].next();
            assert_eq!(expected.map(String::as_str), Some(line));
        } else if let Some(number) = number(line) {
            times[number] += 1;
        } else {
            assert!(line.contains("hello"), "{line}");
        }
    }
    assert!(left.into_iter().all(|mut lines| lines.next().is_none()));
    assert_eq!(times, vec![senders; RECORDS]);
}

/// The number of a message of the real clients.
fn number(line: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    line.split("message ")
        .skip(1)
        .find_map(|rest| rest[..digits(rest)].parse().ok())
}

/// One of the test's own senders.
struct Stream {
    bytes: Vec<u8>,
    /// The lines that its records become.
    lines: Vec<String>,
    /// The last answer that it waits for.
    answer: Vec<u8>,
    end: &'static str,
}

/// Makes the bytes, and the last answer, of these records.
type Frame = fn(&[String]) -> (Vec<u8>, Vec<u8>);

/// The line that a record becomes.
type Line = fn(&str) -> String;

/// Compresses a stream.
type Pack = fn(&[u8]) -> Vec<u8>;

impl Stream {
    fn new(sender: usize) -> Self {
        let object: Line = |record| format!("{{\"m\":\"{record}\"}}");
        let syslog: Line = |record| format!("<13>{record}");
        let event: Line = |record| {
            let time = "2026-11-27T09:02:26.123456789Z";
            format!("{{\"tag\":\"app\",\"time\":\"{time}\",\"record\":{{\"m\":\"{record}\"}}}}")
        };
        let framings: [(Frame, Line, &str); 11] = [
            (lines, str::to_owned, "clean"),
            (octet, syslog, "octet, clean"),
            (nul, object, "nul, clean"),
            (relp, syslog, "relp, clean"),
            (lumberjack_2, object, "lumberjack, clean"),
            (lumberjack_2_compressed, object, "lumberjack, clean"),
            (
                lumberjack_1,
                |record| format!("{{\"line\":\"{record}\"}}"),
                "lumberjack, clean",
            ),
            (message, event, "forward, clean"),
            (forward, event, "forward, clean"),
            (packed_forward, event, "forward, clean"),
            (compressed_packed_forward, event, "forward, clean"),
        ];
        let packs: [Pack; 5] = [<[u8]>::to_vec, gzip, zstd, zlib, qt];
        let (frame, line, end) = framings[sender % framings.len()];
        let pack = packs[sender / framings.len() % packs.len()];
        // Records of many lengths.
        let record = |at| {
            format!(
                "sender {sender} record {at} {}",
                "x".repeat(at * sender % 90)
            )
        };
        let records: Vec<_> = (0..RECORDS).map(record).collect();
        let (bytes, answer) = frame(&records);
        Stream {
            bytes: pack(&bytes),
            lines: records.iter().map(|record| line(record)).collect(),
            answer,
            end,
        }
    }

    /// Sends the stream in pieces, once all senders have connected, and waits for the last answer.
    fn send(&self, address: SocketAddr, all_connected: &Barrier) -> SocketAddr {
        let mut sender = sender::Sender::connect(address);
        let peer = sender.address();
        all_connected.wait();
        for piece in self.bytes.chunks(700) {
            sender.write(piece);
        }
        let mut answers = Vec::new();
        while !answers.ends_with(&self.answer) {
            let mut piece = [0; 1024];
            let read = sender.0.read(&mut piece).unwrap();
            assert!(read > 0, "the answer is missing behind {answers:?}");
            answers.extend(&piece[..read]);
        }
        sender.finish();
        peer
    }
}

fn lines(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let lines = records.iter().map(|record| format!("{record}\n"));
    (lines.collect::<String>().into_bytes(), Vec::new())
}

fn octet(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let frames = records.iter().map(|record| {
        let message = format!("<13>{record}");
        format!("{} {message}", message.len())
    });
    (frames.collect::<String>().into_bytes(), Vec::new())
}

fn nul(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let frames = records
        .iter()
        .map(|record| format!("{{\"m\":\"{record}\"}}\0"));
    (frames.collect::<String>().into_bytes(), Vec::new())
}

fn relp(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let offer = "relp_version=0\nrelp_software=test\ncommands=syslog";
    let mut frames = format!("1 open {} {offer}\n", offer.len());
    for (number, record) in (2..).zip(records) {
        frames += &format!("{number} syslog {} <13>{record}\n", record.len() + 4);
    }
    let answer = format!("{} rsp 6 200 OK\n", records.len() + 1);
    (frames.into_bytes(), answer.into_bytes())
}

/// The `J` frames of version 2.
fn json_frames(records: &[String]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (sequence, record) in (1..).zip(records) {
        let payload = format!("{{\"m\":\"{record}\"}}");
        frames.extend(head(b"2J", sequence));
        frames.extend(length(payload.len()).to_be_bytes());
        frames.extend(payload.bytes());
    }
    frames
}

fn lumberjack_2(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let count = length(records.len());
    let frames = [head(b"2W", count), json_frames(records)].concat();
    (frames, head(b"2A", count))
}

fn lumberjack_2_compressed(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let count = length(records.len());
    let packed = zlib(&json_frames(records));
    let head_of_packed = head(b"2C", length(packed.len()));
    (
        [head(b"2W", count), head_of_packed, packed].concat(),
        head(b"2A", count),
    )
}

fn lumberjack_1(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let count = length(records.len());
    let mut frames = head(b"1W", count);
    for (sequence, record) in (1..).zip(records) {
        frames.extend(head(b"1D", sequence));
        frames.extend(1_u32.to_be_bytes());
        for text in ["line", record] {
            frames.extend(length(text.len()).to_be_bytes());
            frames.extend(text.bytes());
        }
    }
    (frames, head(b"1A", count))
}

/// A frame's kind, and the number behind it.
fn head(kind: &[u8; 2], number: u32) -> Vec<u8> {
    [&kind[..], &number.to_be_bytes()].concat()
}

fn length(length: usize) -> u32 {
    length.try_into().unwrap()
}

/// A message for each record.
fn message(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let frames = (1..).zip(records).map(|(chunk, record)| {
        let option = acknowledge(&format!("chunk {chunk}"));
        [&[0x94], &text("app")[..], &TIME, &map(record), &option].concat()
    });
    (frames.collect::<Vec<_>>().concat(), last(records.len()))
}

/// All records in an array.
fn forward(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let array = [&[0xdc], &count[..], &entries(records)].concat();
    let option = acknowledge("chunk 1");
    (
        [&[0x93], &text("app")[..], &array, &option].concat(),
        last(1),
    )
}

fn packed_forward(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let option = acknowledge("chunk 1");
    let packed = binary(&entries(records));
    (
        [&[0x93], &text("app")[..], &packed, &option].concat(),
        last(1),
    )
}

fn compressed_packed_forward(records: &[String]) -> (Vec<u8>, Vec<u8>) {
    let packed = binary(&gzip(&entries(records)));
    let chunk = [text("chunk"), text("chunk 1")].concat();
    let compressed = [text("compressed"), text("gzip")].concat();
    let option = [&[0x82], &chunk[..], &compressed].concat();
    (
        [&[0x93], &text("app")[..], &packed, &option].concat(),
        last(1),
    )
}

/// An EventTime (extension type 0): seconds and nanoseconds.
const TIME: [u8; 10] = [0xd7, 0, 0x6b, 0x09, 0x47, 0x22, 0x07, 0x5b, 0xcd, 0x15];

fn entries(records: &[String]) -> Vec<u8> {
    let entries = records
        .iter()
        .map(|record| [&[0x92], &TIME[..], &map(record)].concat());
    entries.collect::<Vec<_>>().concat()
}

/// The record of a forward event.
fn map(record: &str) -> Vec<u8> {
    [&[0x81], &text("m")[..], &text(record)].concat()
}

fn acknowledge(chunk: &str) -> Vec<u8> {
    [&[0x81], &text("chunk")[..], &text(chunk)].concat()
}

/// The acknowledgement of this chunk.
fn last(chunk: usize) -> Vec<u8> {
    [&[0x81], &text("ack")[..], &text(&format!("chunk {chunk}"))].concat()
}

/// A string of msgpack.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let head = match length {
        ..32 => vec![0xa0 | length],
        _ => vec![0xd9, length],
    };
    [&head[..], text.as_bytes()].concat()
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let length = length(bytes.len()).to_be_bytes();
    [&[0xc6], &length[..], bytes].concat()
}
