//! A sender of a resumed stream: what it says, and what it makes of a server's answers.

use std::io::{Read, Write};

use futures_lite::future::block_on;
use rustls::ServerConnection;
use rustls::{ALL_CIPHER_SUITES, SupportedProtocolVersion};
use tlsink::client::{ResumeError, ResumedSender, SendError};
use tlsink::resume::{MAX_LINE, Position, Preamble};

use crate::client::{Opened, records, take};
use crate::common::client::{TLS12, TLS13};
use crate::memory::{Driven, Pipe, Remote};

const RECEIPT: &str = "{\"ok\":true,\"received\":3,\"delivered\":3,\"crc32c\":\"00000000\"}";

#[test]
fn a_stream_goes_on_where_the_server_has_it_and_is_acknowledged() {
    for version in [&TLS12, &TLS13] {
        let (mut peer, opened) = Peer::open(version, "{\"at\":6,\"crc32c\":\"0000beef\"}\n");
        let mut sender = opened.unwrap();
        assert_eq!(peer.read(), PREAMBLE);
        let at = Position {
            offset: 6,
            crc32c: 0xbeef,
        };
        assert_eq!((sender.at(), sender.acknowledged()), (at, 6));
        block_on(sender.send(b"abc", 9)).unwrap();
        block_on(sender.flush()).unwrap();
        assert_eq!(peer.read(), b"abc");
        assert!(waits(&mut sender));

        // Answers come in pieces, and several in one.
        peer.answer("{\"ack\":");
        assert!(waits(&mut sender));
        peer.answer("7}\n{\"ack\":8}\n");
        assert_eq!(block_on(sender.acknowledgement()), Ok(8));
        assert!(waits(&mut sender));
        // One that is repeated is no news.
        peer.answer("{\"ack\":8}\n");
        assert!(waits(&mut sender));

        // They are also read by other calls.
        peer.answer("{\"ack\":9}\n");
        block_on(sender.flush()).unwrap();
        assert_eq!(sender.acknowledged(), 9);
        assert_eq!(block_on(sender.acknowledgement()), Ok(9));

        block_on(sender.send(b"de", 11)).unwrap();
        let mut finishing = Driven::new(Box::pin(sender.finish()));
        assert!(finishing.run().is_none());
        assert_eq!(peer.read(), b"de");
        peer.answer(&format!("{RECEIPT}\n"));
        assert!(finishing.run().is_none());
        peer.server.send_close_notify();
        peer.answer("");
        let receipt = finishing.run().unwrap();
        assert_eq!(receipt, Ok(RECEIPT.as_bytes().to_vec()));
        drop(finishing);
        assert_eq!(sender.acknowledged(), 11);
        assert_eq!(block_on(sender.finish()), receipt);
    }
}

#[test]
fn a_stream_that_is_not_opened_has_a_reason() {
    let no_answer = |line: &str| ResumeError::NoAnswer {
        line: line.to_owned(),
    };
    for (answer, error) in [
        (
            "{\"error\":\"no state\"}\n",
            ResumeError::Refused {
                reason: "no state".to_owned(),
            },
        ),
        ("hello\n", no_answer("hello")),
        ("{\"ack\":6}\n", no_answer("{\"ack\":6}")),
        (&*format!("{RECEIPT}\n"), no_answer(RECEIPT)),
        (
            "{\"ok\":false,\"received\":0,\"delivered\":0,\"reason\":\"cut (stopped)\"}\n",
            ResumeError::Ended {
                reason: "cut (stopped)".to_owned(),
            },
        ),
        // It never ends.
        (&*"x".repeat(MAX_LINE), no_answer(&"x".repeat(100))),
    ] {
        let (_, opened) = Peer::open(&TLS13, answer);
        assert_eq!(opened.unwrap_err(), error, "{answer}");
    }
}

#[test]
fn a_wrong_answer_ends_a_stream_for_good() {
    let taken_over = "{\"ok\":false,\"received\":0,\"delivered\":0,\"reason\":\"cut (another \
                      connection took the stream over)\"}\n";
    for (answer, error) in [
        (
            "{\"ack\":10}\n",
            ResumeError::AcknowledgedMore {
                sent: 9,
                offset: 10,
            },
        ),
        (
            "{\"ack\":8}\n{\"ack\":7}\n",
            ResumeError::AcknowledgedLess {
                before: 8,
                offset: 7,
            },
        ),
        (
            "{\"ack\":5}\n",
            ResumeError::AcknowledgedLess {
                before: 6,
                offset: 5,
            },
        ),
        (
            "{\"at\":6,\"crc32c\":\"00000000\"}\n",
            ResumeError::NoAnswer {
                line: "{\"at\":6,\"crc32c\":\"00000000\"}".to_owned(),
            },
        ),
        (
            &*format!("{RECEIPT}\n{{\"ack\":9}}\n"),
            ResumeError::NoAnswer {
                line: "{\"ack\":9}".to_owned(),
            },
        ),
        (taken_over, ResumeError::TakenOver),
        ("{\"ack\":8,\"go\":true}\n", ResumeError::Go),
        (
            "{\"ack\":10,\"go\":true}\n",
            ResumeError::AcknowledgedMore {
                sent: 9,
                offset: 10,
            },
        ),
        (
            "{\"error\":\"full\"}\n",
            ResumeError::Refused {
                reason: "full".to_owned(),
            },
        ),
    ] {
        let (mut peer, opened) = Peer::open(&TLS13, "{\"at\":6,\"crc32c\":\"00000000\"}\n");
        let mut sender = opened.unwrap();
        block_on(sender.send(b"abc", 9)).unwrap();
        peer.answer(answer);
        assert_eq!(block_on(sender.flush()), Err(error.clone()), "{answer}");
        assert_eq!(block_on(sender.send(b"d", 10)), Err(error.clone()));
        assert_eq!(block_on(sender.finish()), Err(error.clone()));
        if sender.acknowledged() > 6 {
            assert_eq!(block_on(sender.acknowledgement()), Ok(8));
        }
        assert_eq!(block_on(sender.acknowledgement()), Err(error));
    }
}

#[test]
fn an_end_comes_after_the_acknowledgements_before_it() {
    let (mut peer, opened) = Peer::open(&TLS13, "{\"at\":6,\"crc32c\":\"00000000\"}\n");
    let mut sender = opened.unwrap();
    block_on(sender.send(b"abc", 9)).unwrap();
    peer.server.writer().write_all(b"{\"ack\":7}\n").unwrap();
    peer.server.send_close_notify();
    peer.answer("");
    let ended = ResumeError::Connection(SendError::Ended);
    assert_eq!(block_on(sender.acknowledgement()), Ok(7));
    assert_eq!(block_on(sender.acknowledgement()), Err(ended.clone()));
    assert_eq!(block_on(sender.finish()), Err(ended));
}

#[test]
fn an_answer_is_taken_though_the_server_has_ended_the_connection() {
    for (answer, expected) in [
        ("{\"at\":6,\"crc32c\":\"00000000\"}\n", Ok(6)),
        (
            "{\"error\":\"full\"}\n",
            Err(ResumeError::Refused {
                reason: "full".to_owned(),
            }),
        ),
    ] {
        let mut opened = Opened::new(ALL_CIPHER_SUITES, &TLS13);
        opened.server.writer().write_all(answer.as_bytes()).unwrap();
        opened.server.send_close_notify();
        opened.answer();
        let preamble = Preamble::new("test", Position::START).unwrap();
        let sender = block_on(ResumedSender::open(opened.sender, &preamble, || {}));
        assert_eq!(sender.map(|sender| sender.at().offset), expected);
    }
}

#[test]
fn many_acknowledgements_may_wait() {
    let (mut peer, opened) = Peer::open(&TLS13, "{\"at\":6,\"crc32c\":\"00000000\"}\n");
    let mut sender = opened.unwrap();
    block_on(sender.send(b"abc", 10_006)).unwrap();
    peer.server.set_buffer_limit(None);
    for offset in 7..=10_006 {
        let line = format!("{{\"ack\":{offset}}}\n");
        peer.server.writer().write_all(line.as_bytes()).unwrap();
    }
    peer.answer("");
    assert_eq!(block_on(sender.acknowledgement()), Ok(10_006));
}

const PREAMBLE: &[u8] = b"tlsink/1 {\"stream\":\"test\",\"from\":5,\"crc32c\":\"00000007\"}\n";

/// A server whose every answer the test makes.
struct Peer {
    remote: Remote,
    server: ServerConnection,
}

impl Peer {
    /// Opens a stream, with this answer.
    fn open(
        version: &'static SupportedProtocolVersion,
        answer: &str,
    ) -> (Self, Result<ResumedSender<Pipe>, ResumeError>) {
        let Opened {
            sender,
            remote,
            server,
        } = Opened::new(ALL_CIPHER_SUITES, version);
        let from = Position {
            offset: 5,
            crc32c: 7,
        };
        let preamble = Preamble::new("test", from).unwrap();
        let mut opening = Driven::new(Box::pin(ResumedSender::open(sender, &preamble, || {})));
        assert!(opening.run().is_none());
        let mut peer = Peer { remote, server };
        peer.answer(answer);
        let opened = opening.run().expect("the server has answered");
        drop(opening);
        (peer, opened)
    }

    /// Answers this, and all that waits.
    fn answer(&mut self, answer: &str) {
        self.server.writer().write_all(answer.as_bytes()).unwrap();
        self.remote.send(records(&mut self.server));
    }

    /// Takes all bytes that the sender has sent.
    fn read(&mut self) -> Vec<u8> {
        take(&mut self.server, &self.remote);
        let mut bytes = vec![0; 1 << 16];
        let read = self.server.reader().read(&mut bytes).unwrap();
        bytes.truncate(read);
        bytes
    }
}

/// Whether the sender waits for an acknowledgement.
fn waits(sender: &mut ResumedSender<Pipe>) -> bool {
    Driven::new(Box::pin(sender.acknowledgement()))
        .run()
        .is_none()
}
