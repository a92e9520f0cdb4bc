//! Connections leave nothing behind, however they ended.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::pack::zstd;
use crate::common::process::memory;
use crate::common::program::{Client, Program, Stdout};
use crate::faults::FAULTS;
use crate::machine;
use crate::process::{open_files, threads, wait_for_open_files};

/// The number of simultaneous connections.
const AT_ONCE: usize = 4;

/// After this many connections, everything permanent exists: threads, buffers, the allocator's
/// reserves.
const WARM_UP: usize = 600;

#[test]
fn after_2000_connections_memory_descriptors_and_threads_are_as_before() {
    let _machine = machine::alone();
    // If each connection left 1 KiB behind, memory would grow by twice as much.
    leave_nothing(2_000, 1 << 20);
}

/// `cargo test --release --test load leak -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn after_100000_connections_memory_descriptors_and_threads_are_as_before() {
    let _machine = machine::alone();
    // If each connection left 42 bytes behind, memory would grow by as much.
    leave_nothing(100_000, 4 << 20);
}

/// The bytes by which memory may grow, because the allocator keeps some freed memory.
fn leave_nothing(connections: usize, allowed: u64) {
    let nowhere = File::options().write(true).open("/dev/null").unwrap();
    let program = Program::start_into(&["--receipt"], Stdout::File(nowhere));
    let files = open_files(program.id()).unwrap();
    let settle = || {
        wait_for_open_files(program.id(), files);
        (
            memory(program.id()).unwrap(),
            threads(program.id()).unwrap(),
        )
    };
    come_and_go(program.address(), WARM_UP);
    let (memory_before, threads_before) = settle();
    come_and_go(program.address(), connections);
    let (memory, threads) = settle();
    eprintln!("{memory_before} bytes, {threads_before} threads; then {memory}, {threads}");
    assert!(memory <= memory_before + allowed);
    assert!(threads <= threads_before);
    // The program still serves.
    send_for_receipt(program.address(), b"still there\n");
    assert_eq!(program.stop().status, 0);
}

/// Every other connection is clean, the others fail in every possible way.
fn come_and_go(address: SocketAddr, connections: usize) {
    let packed = zstd(&b"a line of a stream that ends well\n".repeat(1000));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= connections {
                        break;
                    }
                    if number.is_multiple_of(2) {
                        send_for_receipt(address, &packed);
                    } else {
                        // The connection may fail in more than one way.
                        let _ = FAULTS[number / 2 % FAULTS.len()](address);
                    }
                }
            });
        }
    });
}

fn send_for_receipt(address: SocketAddr, bytes: &[u8]) {
    let mut client = Client::connect(address);
    client.write(bytes).expect("the server reads");
    let receipt = client.finish_for_receipt();
    let receipt = receipt.expect("the server answers close_notify");
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
}
