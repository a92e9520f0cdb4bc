//! Many senders at once: no sender's lines are lost, mixed or out of order.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use crate::common::dice::Dice;
use crate::common::pack::{gzip, zstd};
use crate::common::program::{Client, Program, Version};
use crate::machine;

const SENDERS: usize = 200;

#[test]
fn with_one_lane_every_line_of_200_senders_arrives_whole_and_in_its_senders_order() {
    let _machine = machine::alone();
    every_line_arrives("1");
}

#[test]
fn with_two_lanes_every_line_of_200_senders_arrives_whole_and_in_its_senders_order() {
    let _machine = machine::alone();
    every_line_arrives("2");
}

fn every_line_arrives(lanes: &str) {
    let program = Program::start(&["--lanes", lanes]);
    let address = program.address();
    let streams: Vec<Stream> = (0..SENDERS).map(Stream::new).collect();
    let all_connected = Barrier::new(SENDERS);
    let peers: HashMap<String, &Stream> = thread::scope(|scope| {
        let senders: Vec<_> = streams
            .iter()
            .map(|stream| (stream, scope.spawn(|| stream.send(address, &all_connected))))
            .collect();
        senders
            .into_iter()
            .map(|(stream, sender)| {
                let peer = sender.join().expect("the sender is served");
                (peer.to_string(), stream)
            })
            .collect()
    });
    let ends = program.wait_for_ends(SENDERS);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);

    assert_eq!(ends.len(), SENDERS);
    for ended in ends {
        let stream = peers[&ended.peer];
        assert_eq!(ended.end, "clean");
        assert_eq!(ended.format, stream.format);
        assert_eq!(ended.received, stream.encoded.len() as u64);
        assert_eq!(ended.delivered, stream.plain.len() as u64);
    }

    let printed = String::from_utf8(outcome.stdout).expect("only text was sent");
    assert!(printed.ends_with('\n'));
    let mut left: Vec<_> = streams.iter().map(|stream| stream.plain.lines()).collect();
    for line in printed.lines() {
        let sender: usize = line
            .split(' ')
            .nth(1)
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("nobody sent {line:?}"));
        assert_eq!(left[sender].next(), Some(line));
    }
    for (sender, mut left) in left.into_iter().enumerate() {
        assert_eq!(left.next(), None, "a line of sender {sender} is missing");
    }
}

/// The data of one sender.
struct Stream {
    sender: usize,
    plain: String,
    encoded: Vec<u8>,
    format: &'static str,
}

impl Stream {
    fn new(sender: usize) -> Self {
        let mut dice = Dice::new(sender as u64);
        let mut plain = String::new();
        for line in 0..200 + sender % 17 {
            let _ = write!(plain, "sender {sender} line {line} ");
            // These digits compress badly, so that the compressed streams come in pieces, too.
            for _ in 0..dice.below(8) {
                let _ = write!(plain, "{:x}", dice.next());
            }
            plain.push('\n');
        }
        let (format, encoded) = match sender % 3 {
            0 => ("gzip", gzip(plain.as_bytes())),
            1 => ("zstd", zstd(plain.as_bytes())),
            _ => ("plain", plain.clone().into_bytes()),
        };
        Stream {
            sender,
            plain,
            encoded,
            format,
        }
    }

    /// Sends the data in pieces that respect no line, once all senders have connected.
    fn send(&self, address: SocketAddr, all_connected: &Barrier) -> SocketAddr {
        let client = Client::connect_as(address, Version::Tls13);
        // A sender that failed arrives too, as the others wait for it.
        all_connected.wait();
        let mut client = client.expect("the handshake succeeds");
        let peer = client.local_address();
        let mut dice = Dice::new(!(self.sender as u64));
        for piece in dice.pieces(&self.encoded, 700) {
            client.write(piece).expect("the server reads");
        }
        client.finish().expect("the server answers close_notify");
        peer
    }
}
