//! The rate at which a sender is read.

#![cfg(feature = "cli")]

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::authority::{Authority, Credentials, dns};
use crate::common::client::TLS13;
use crate::common::program::{Client, Program, tcp};

const MIB: usize = 1 << 20;

/// Sends so many bytes in writes of `size`, and returns how long it took from the first byte to the
/// receipt.
fn send(address: SocketAddr, sender: &Credentials, bytes: usize, size: usize) -> Duration {
    let socket = tcp(address).unwrap();
    let mut client = Client::over(socket, sender.config(&TLS13), "localhost").unwrap();
    let text = vec![b'\n'; size];
    let start = Instant::now();
    for _ in 0..bytes / size {
        client.write(&text).unwrap();
    }
    let receipt = client.finish_for_receipt().unwrap();
    let received = format!("\"received\":{bytes},");
    assert!(receipt.contains(&received), "{receipt}");
    start.elapsed()
}

/// The bound from above, on how much is read in a time, holds however busy the machine is. The bound
/// from below needs some of its time: one try in three has to have it.
#[test]
fn a_sender_is_read_at_its_rate_on_all_its_connections_together() {
    let ca = Authority::new("Plant CA");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, ca.pem()).unwrap();
    let output = folder.path().join("output");
    let program = Program::start(&[
        "--rate=1M",
        "--receipt",
        "--format=raw",
        "--output",
        output.to_str().unwrap(),
        "--client-ca",
        ca_file.to_str().unwrap(),
    ]);
    let address = program.address();
    let [one, many, other] = ["one.example", "many.example", "other.example"]
        .map(|name| Arc::new(ca.sender(name, &[dns(name)])));
    let full = Duration::from_secs(10);
    for last in [false, false, true] {
        let begin = Arc::new(Barrier::new(12));
        let spawn = |sender: &Arc<Credentials>, bytes, size| {
            let (begin, sender) = (Arc::clone(&begin), Arc::clone(sender));
            thread::spawn(move || {
                begin.wait();
                send(address, &sender, bytes, size)
            })
        };
        let one = spawn(&one, 10 * MIB, 64 * 1024);
        let other = spawn(&other, 2 * MIB, 64 * 1024);
        let many: Vec<_> = (0..10).map(|_| spawn(&many, MIB, 2048)).collect();
        let one = one.join().unwrap();
        let many = many.into_iter().map(|one| one.join().unwrap()).max();
        let many = many.unwrap();
        let other = other.join().unwrap();
        let took = format!("one connection {one:?}, ten {many:?}, another sender {other:?}");
        for time in [one, many] {
            assert!(time > full * 19 / 20, "faster than the rate: {took}");
        }
        let is_close = [one, many].iter().all(|time| *time < full * 21 / 20);
        if is_close && other < full / 4 {
            return;
        }
        assert!(!last, "slower than the rate: {took}");
    }
}
