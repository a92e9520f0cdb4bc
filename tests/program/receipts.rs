//! `--receipt`: the answers that senders get.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::pack::gzip;
use crate::common::program::{Client, Program, Stdout, Version, run_if_installed};
use crate::common::skip::is_installed;

/// The CRC-32C of `123456789`, as given in catalogues of checksums.
const CHECK: &str = "e3069283";

#[test]
fn a_clean_stream_is_receipted_with_the_checksum_of_its_decoded_bytes() {
    let program = Program::start(&["--receipt"]);
    for version in [Version::Tls12, Version::Tls13] {
        for sent in [b"123456789".to_vec(), gzip(b"123456789")] {
            let mut client = Client::connect_as(program.address(), version).unwrap();
            client.write(&sent).unwrap();
            let receipt = client.finish_for_receipt().unwrap();
            let received = sent.len();
            assert_eq!(
                receipt,
                format!(
                    "{{\"ok\":true,\"received\":{received},\"delivered\":9,\"crc32c\":\"{CHECK}\"}}\n"
                )
            );
        }
    }
}

/// These clients go on reading after their close_notify.
#[test]
fn the_guides_commands_for_socat_and_python_print_the_receipt() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("GUIDE.md");
    let guide = fs::read_to_string(guide).unwrap();
    let block = |what: &str| {
        let mut blocks = guide.split("\n```");
        let block = blocks.find(|block| block.contains(what)).unwrap();
        block.split_once('\n').unwrap().1.to_owned()
    };
    for (shell, script, delivered) in [
        (&["sh", "-c"], block("socat -t"), 6),
        (&["python3", "-c"], block("MemoryBIO()"), 9),
    ] {
        if script.contains("socat") && !is_installed("socat") {
            continue;
        }
        let program = Program::start(&["--receipt", "--once"]);
        let port = program.address().port().to_string();
        let script = script.replace("4433", &port);
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(&script);
        let Some(output) = run_if_installed(&mut command, b"") else {
            continue;
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        let counted = format!("\"delivered\":{delivered},");
        assert!(printed.starts_with("{\"ok\":true,"), "{script}: {printed}");
        assert!(printed.contains(&counted), "{script}: {printed}");
        assert_eq!(program.outcome().status, 0);
    }
}

#[test]
fn no_bytes_at_all_are_receipted_too() {
    let program = Program::start(&["--receipt"]);
    let receipt = Client::connect(program.address()).finish_for_receipt();
    assert_eq!(
        receipt.unwrap(),
        "{\"ok\":true,\"received\":0,\"delivered\":0,\"crc32c\":\"00000000\"}\n"
    );
}

#[test]
fn many_chunks_have_one_checksum() {
    let program = Program::start(&["--receipt", "--decode", "none", "--format", "raw"]);
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut client = Client::connect(program.address());
    client.write(&sent).unwrap();
    let receipt = client.finish_for_receipt().unwrap();
    let crc32c = crc32c::crc32c(&sent);
    assert!(
        receipt.contains(&format!("\"crc32c\":\"{crc32c:08x}\"")),
        "{receipt}"
    );
    assert!(receipt.contains("\"delivered\":3000000,"), "{receipt}");
}

#[test]
fn the_sender_of_an_unfinished_stream_is_told() {
    let program = Program::start(&["--receipt"]);
    for version in [Version::Tls12, Version::Tls13] {
        let packed = gzip(b"123456789");
        let mut client = Client::connect_as(program.address(), version).unwrap();
        client.write(&packed[..packed.len() - 1]).unwrap();
        let receipt = client.finish_for_receipt().unwrap();
        assert_eq!(
            receipt,
            format!(
                "{{\"ok\":false,\"received\":{},\"delivered\":9,\
                 \"reason\":\"truncated (gzip not finished)\"}}\n",
                packed.len() - 1
            )
        );

        let mut client = Client::connect_as(program.address(), version).unwrap();
        client.write(b"1\n").unwrap();
        client.stop_sending().unwrap();
        let receipt = client.read_receipt().unwrap();
        assert_eq!(
            receipt,
            "{\"ok\":false,\"received\":2,\"delivered\":2,\
             \"reason\":\"truncated (no close_notify)\"}\n"
        );
    }
}

#[test]
fn a_sender_that_goes_on_after_a_fault_is_told_of_it_all_the_same() {
    let program = Program::start(&["--receipt", "--max-decoded", "10"]);
    for version in [Version::Tls12, Version::Tls13] {
        let mut client = Client::connect_as(program.address(), version).unwrap();
        // The data exceeds the socket buffers, so the write returns only if the server reads.
        client.write(&vec![b'x'; 64 << 20]).unwrap();
        let receipt = client.finish_for_receipt().unwrap();
        assert!(
            receipt.starts_with("{\"ok\":false,") && receipt.contains("\"delivered\":10,"),
            "{receipt}"
        );
        assert!(
            receipt.ends_with("\"reason\":\"limit (more than 10 bytes when decoded)\"}\n"),
            "{receipt}"
        );
    }
}

#[test]
fn a_client_that_waits_for_the_socket_to_be_shut_down_waits_only_briefly() {
    let program = Program::start(&["--receipt", "--max-decoded", "10"]);
    let mut client = Client::connect(program.address());
    client.write(b"more than ten bytes\n").unwrap();
    let receipt = client.read_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":false,"), "{receipt}");
    client.wait_for_shutdown().unwrap();
    // The socket is not closed, or this would fail: the socket buffers don't hold as much.
    client.write(&vec![b'x'; 64 << 20]).unwrap();
}

#[test]
fn the_sender_of_a_cut_stream_is_told() {
    let program = Program::start(&["--receipt", "--drain", "0"]);
    let mut client = Client::connect(program.address());
    client.write(b"begun\n").unwrap();
    program.wait_for_stdout("begun\n");
    program.signal(Signal::TERM);
    let receipt = client.read_receipt().unwrap();
    assert_eq!(
        receipt,
        "{\"ok\":false,\"received\":6,\"delivered\":6,\
         \"reason\":\"cut (the server is stopping)\"}\n"
    );
    assert_eq!(program.outcome().status, 0);
}

#[test]
fn a_sender_that_stays_silent_too_long_is_told_so() {
    let program = Program::start(&["--receipt", "--idle-timeout", "0.1"]);
    let mut client = Client::connect(program.address());
    let receipt = client.read_receipt().unwrap();
    assert_eq!(
        receipt,
        "{\"ok\":false,\"received\":0,\"delivered\":0,\
         \"reason\":\"timeout (nothing came for 0.1 s)\"}\n"
    );
}

#[test]
fn data_that_could_not_be_written_is_not_receipted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let program = Program::start_into(&["--receipt"], Stdout::File(full));
    let mut client = Client::connect(program.address());
    client.write(b"lost\n").unwrap();
    let receipt = client.read_receipt().unwrap_or_default();
    assert!(!receipt.contains("\"ok\":true"), "{receipt}");
    assert_eq!(program.outcome().status, 1);
}

#[test]
fn a_sender_that_never_reads_its_receipt_delivers_everything() {
    let program = Program::start(&["--receipt"]);
    let mut client = Client::connect(program.address());
    client.write(b"all of it\n").unwrap();
    client.finish_without_reading().unwrap();
    program.wait_for_stdout("all of it\n");
    assert_eq!(program.wait_for_end().end, "clean");
}
