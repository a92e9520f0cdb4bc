//! Tests async-tls 0.13 itself: each peculiarity that `src/tls/server/stream.rs` compensates for.

use std::io::ErrorKind;
use std::time::Duration;

use tlsink::{Connection, Cut, End, Layer, Refusal, Server, Sink, Timeout, Truncation};

use crate::common::client::{Client, DATA, HANDSHAKE, Sealer, TLS12, TLS13, config, tls};
use crate::memory::{
    Driven, Pipe, Remote, Seen, Session, data, finish, finish_connection, the_end,
};

fn server() -> (Server, Sink) {
    Server::builder().tls(tls()).build().unwrap()
}

#[test]
fn good_records_before_a_bad_one_are_delivered_then_the_error() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let batch = [
            session.client.record(b"one\n"),
            session.client.record(b"two\n"),
            session.client.bad_record(),
        ]
        .concat();
        session.remote.send(batch);
        let (seen, report) = finish(&mut session, &mut sink);
        assert_eq!(data(&seen), b"one\ntwo\n");
        assert!(
            matches!(
                the_end(&seen),
                End::Corrupt {
                    layer: Layer::Tls,
                    offset: 8,
                    ..
                }
            ),
            "{:?}",
            report.end
        );
        assert_eq!(report.conn.received(), 8);
    }
}

#[test]
fn a_bad_record_is_answered_with_an_alert() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        session.remote.take();
        session.remote.send(session.client.bad_record());
        let (seen, _) = finish(&mut session, &mut sink);
        assert!(matches!(the_end(&seen), End::Corrupt { .. }));
        let error = session.client.refused(&session.remote.take());
        assert_eq!(error, "received fatal alert: BadRecordMac");
    }
}

#[test]
fn a_malformed_hello_is_answered_with_an_alert() {
    let (server, mut sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    // A ClientHello without a body.
    session
        .remote
        .send(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00".to_vec());
    let report = session.connection.run().unwrap();
    assert!(
        matches!(report.end, End::Refused(Refusal::InvalidHandshake { .. })),
        "{report:?}"
    );
    assert_eq!(crate::memory::pull(&mut sink), []);
    let error = session.client.refused(&session.remote.take());
    assert_eq!(error, "received fatal alert: DecodeError");
}

#[test]
fn a_bad_record_batched_with_the_end_of_the_handshake_loses_nothing_before_it() {
    let (server, mut sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.shake_hands();
    let batch = [
        // The client's Finished comes first.
        session.client.record(b"good\n"),
        session.client.bad_record(),
    ]
    .concat();
    session.remote.send(batch);
    let (seen, report) = finish(&mut session, &mut sink);
    assert!(report.established);
    assert_eq!(data(&seen), b"good\n");
    assert!(matches!(
        the_end(&seen),
        End::Corrupt {
            layer: Layer::Tls,
            offset: 5,
            ..
        }
    ));
}

#[test]
fn a_bad_record_right_after_the_handshake_leaves_it_completed() {
    let (server, mut sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.shake_hands();
    let finished = session.client.records();
    let batch = [finished, session.client.bad_record()].concat();
    session.remote.send(batch);
    let (seen, report) = finish(&mut session, &mut sink);
    assert!(report.established);
    assert_eq!(data(&seen), b"");
    assert!(matches!(
        the_end(&seen),
        End::Corrupt {
            layer: Layer::Tls,
            offset: 0,
            ..
        }
    ));
}

#[test]
fn a_reset_right_after_the_handshake_ends_an_established_connection() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::new(&server, Client::new(version));
        session.remote.send(session.client.records());
        assert!(session.connection.run().is_none());
        session.client.take(&session.remote.take());
        session.remote.send(session.client.records());
        session.remote.send_error(ErrorKind::ConnectionReset);
        let (seen, report) = finish(&mut session, &mut sink);
        assert!(report.established && report.is_health_check());
        assert!(matches!(the_end(&seen), End::Reset { .. }), "{seen:?}");
    }
}

#[test]
fn an_aborted_connection_is_a_reset_not_a_clean_end() {
    let (server, mut sink) = server();
    let mut session = Session::open(&server, Client::new(&TLS13));
    let record = session.client.record(b"data\n");
    session.remote.send(record);
    session.remote.send_error(ErrorKind::ConnectionAborted);
    let (seen, _) = finish(&mut session, &mut sink);
    assert_eq!(data(&seen), b"data\n");
    assert!(matches!(the_end(&seen), End::Reset { .. }), "{seen:?}");
}

#[test]
fn an_end_without_close_notify_is_truncated() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let record = session.client.record(b"data\n");
        session.remote.send(record);
        session.remote.send_eof();
        let (seen, _) = finish(&mut session, &mut sink);
        assert_eq!(data(&seen), b"data\n");
        assert_eq!(the_end(&seen), &End::Truncated(Truncation::NoCloseNotify));
    }
}

#[test]
fn a_close_notify_is_answered_and_the_transport_closed() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let end = session.client.close_notify();
        session.remote.send(end);
        let (seen, report) = finish(&mut session, &mut sink);
        assert_eq!(seen, [Seen::Open, Seen::Close(End::Clean)]);
        assert_eq!(report.end, End::Clean);
        session.client.take(&session.remote.take());
        assert!(session.client.was_closed());
        assert!(session.remote.is_closed());
    }
}

#[test]
fn a_close_notify_waits_until_the_output_is_done_with_the_stream() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let record = session.client.record(b"data\n");
        session.remote.send(record);
        session.remote.send(session.client.close_notify());
        assert!(session.connection.run().is_none());
        for seen in ["open", "data", "close"] {
            assert!(crate::memory::pull_one(&mut sink).is_some(), "{seen}");
            assert!(session.connection.run().is_none());
            session.client.take(&session.remote.take());
            assert!(!session.client.was_closed(), "{seen} is not dealt with yet");
        }
        // A caller that asks for the next event has handled the end.
        assert_eq!(crate::memory::pull_one(&mut sink), None);
        assert!(session.connection.run().is_some());
        session.client.take(&session.remote.take());
        assert!(session.client.was_closed());
        assert!(session.remote.is_closed());
    }
}

#[test]
#[cfg(feature = "gzip")]
fn a_close_notify_is_not_answered_by_one_when_the_sink_does_not_take_the_stream() {
    // The middle of a gzip header (RFC 1952, section 2.3).
    let unfinished = [0x1f, 0x8b, 0x08, 0x00];
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let record = session.client.record(&unfinished);
        session.remote.send(record);
        session.remote.send(session.client.close_notify());
        let (_, report) = finish(&mut session, &mut sink);
        let end = End::Truncated(Truncation::Unfinished(Layer::Compression(
            tlsink::decode::Format::Gzip,
        )));
        assert_eq!(report.end, end);
        session.client.take(&session.remote.take());
        assert!(!session.client.was_closed());
        assert!(session.remote.is_closed(), "the sender waits for something");
    }
}

#[test]
fn a_handshake_that_fails_is_answered_with_an_alert_however_much_came_with_it() {
    for behind in [0, 3000, 100_000] {
        let (server, _sink) = server();
        let mut session = Session::new(&server, Client::new(&TLS13));
        session.shake_hands();
        let mut flight = session.client.records();
        *flight.last_mut().unwrap() ^= 1;
        flight.extend(session.client.record(&vec![b'x'; behind]));
        session.remote.send(flight);
        let report = session.connection.run().expect("it is refused");
        assert!(!report.established);
        let said = session.client.refused(&session.remote.take());
        assert_eq!(said, "received fatal alert: BadRecordMac", "{behind}");
    }
}

/// rustls sends no alert for these errors.
#[test]
fn a_key_share_that_is_not_valid_is_answered_with_an_alert_in_place_of_a_server_hello() {
    let (server, _sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    let mut hello = session.client.records();
    zero_key(&mut hello, &[0x00, 0x1d, 0x00, 0x20]);
    session.remote.send(hello);
    let report = session.connection.run().expect("it is refused");
    assert_eq!(
        report.end.to_string(),
        "refused (the sender's key share is not valid)"
    );
    assert_eq!(session.remote.take(), fatal(ILLEGAL_PARAMETER));

    let mut session = Session::new(&server, Client::new(&TLS12));
    session.remote.send(session.client.records());
    assert!(session.connection.run().is_none());
    session.client.take(&session.remote.take());
    let mut flight = session.client.records();
    // The key follows the header of a ClientKeyExchange with a key of 32 bytes.
    zero_key(&mut flight, &[0x10, 0x00, 0x00, 0x21, 0x20]);
    session.remote.send(flight);
    assert!(session.connection.run().is_some());
    assert_eq!(session.remote.take(), fatal(ILLEGAL_PARAMETER));
}

/// A key share of no length, and one that claims to be longer than it is.
#[test]
fn a_key_share_of_tls_1_2_that_can_not_be_read_is_answered_with_an_alert() {
    for (share, alert) in [
        (&[16, 0, 0, 0][..], DECODE_ERROR),
        (&[16, 0, 0, 2, 9, 1], DECODE_ERROR),
        (&[16, 0, 0, 3, 1, 1, 1], DECODE_ERROR),
        (&[16, 0, 0, 1, 0], ILLEGAL_PARAMETER),
    ] {
        let (server, _sink) = server();
        let mut session = Session::new(&server, Client::new(&TLS12));
        session.remote.send(session.client.records());
        assert!(session.connection.run().is_none());
        session.remote.take();
        let header = [HANDSHAKE, 3, 3, 0, share.len() as u8];
        session.remote.send([&header, share].concat());
        assert!(session.connection.run().is_some(), "{share:?}");
        assert_eq!(session.remote.take(), fatal(alert), "{share:?}");
    }
}

#[test]
fn a_protocol_with_an_empty_name_is_answered_with_an_alert() {
    for version in [&TLS12, &TLS13] {
        let (server, _sink) = server();
        let mut config = config(version);
        config.alpn_protocols = vec![Vec::new()];
        let mut session = Session::new(&server, Client::with(config));
        session.remote.send(session.client.records());
        let report = session.connection.run().expect("it is refused");
        assert_eq!(
            report.end.to_string(),
            "refused (the sender offers a protocol with an empty name (ALPN))"
        );
        assert_eq!(session.remote.take(), fatal(DECODE_ERROR));
    }
}

/// A plaintext record with a fatal alert.
fn fatal(alert: u8) -> Vec<u8> {
    vec![ALERT, 3, 3, 0, 2, 2, alert]
}

const ALERT: u8 = 21;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

/// Replaces the X25519 key behind these bytes by one with which no secret can be agreed on.
fn zero_key(bytes: &mut [u8], before: &[u8]) {
    let mut windows = bytes.windows(before.len());
    let at = windows.position(|bytes| bytes == before).unwrap() + before.len();
    bytes[at..at + 32].fill(0);
}

#[test]
fn data_behind_a_close_notify_is_ignored_however_it_comes() {
    let large = vec![b'x'; 16 * 1024];
    for version in [&TLS12, &TLS13] {
        for before in [&b"one\n"[..], &large, &[&large[..], b"1"].concat(), b""] {
            for at_once in [true, false] {
                let (server, mut sink) = server();
                let mut session = Session::open(&server, Client::new(version));
                let mut records = session.client.record(before);
                records.extend(session.client.close_notify());
                let behind = session.client.record(b"two\n");
                assert!(!behind.is_empty());
                if at_once {
                    records.extend(&behind);
                }
                session.remote.send(records);
                if !at_once {
                    assert!(session.connection.run().is_none());
                    session.remote.send(behind);
                }
                let (seen, report) = finish(&mut session, &mut sink);
                assert_eq!(data(&seen), before);
                assert_eq!(
                    (report.end, report.conn.received()),
                    (End::Clean, before.len() as u64)
                );
            }
        }
    }
}

#[test]
fn data_behind_a_close_notify_is_ignored_in_the_packet_that_ends_the_handshake() {
    let (server, mut sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.shake_hands();
    let last = [
        // The client's Finished comes first.
        session.client.record(b"one\n"),
        session.client.close_notify(),
        session.client.record(b"two\n"),
    ];
    session.remote.send(last.concat());
    let (seen, report) = finish(&mut session, &mut sink);
    assert_eq!(data(&seen), b"one\n");
    assert_eq!(report.end, End::Clean);
}

#[test]
fn no_close_notify_is_sent_for_a_stream_that_did_not_end_well() {
    let (server, mut sink) = server();
    let mut session = Session::open(&server, Client::new(&TLS13));
    server.cut();
    let (seen, _) = finish(&mut session, &mut sink);
    assert_eq!(the_end(&seen), &End::Cut(Cut::Server));
    session.client.take(&session.remote.take());
    assert!(
        !session.client.was_closed(),
        "the sender must not think that it was understood"
    );
    assert!(session.remote.is_dropped());
}

#[test]
fn a_pending_read_leaves_nothing_in_the_buffer_that_was_lent_to_it() {
    // Half a record makes the read pending, and its buffer goes back. The next read, into another
    // buffer, still gives all of the record.
    let (server, mut sink) = server();
    let mut session = Session::open(&server, Client::new(&TLS13));
    let record = session.client.record(&[b'x'; 10_000]);
    let (first, second) = record.split_at(5_000);
    session.remote.send(first);
    assert!(session.connection.run().is_none());
    assert_eq!(crate::memory::pull(&mut sink), [Seen::Open]);
    session.remote.send(second);
    session.remote.send(session.client.close_notify());
    let (seen, report) = finish(&mut session, &mut sink);
    assert_eq!(data(&seen), [b'x'; 10_000]);
    assert_eq!(report.end, End::Clean);
}

#[test]
fn no_ticket_is_sent_that_a_sender_would_leave_unread() {
    let (server, _sink) = server();
    let session = Session::open(&server, Client::new(&TLS13));
    assert_eq!(session.remote.take(), b"");
}

#[test]
fn a_client_that_asks_to_renegotiate_and_reads_no_answer_is_not_read_any_more() {
    // In TLS 1.2, rustls answers each request with an alert, and keeps those that can't be sent.
    let (server, mut sink) = server();
    let (mut connection, mut sealer, remote) = open_sealer(&server);
    remote.stop_reading();
    let before = remote.read();
    let flood = ask_to_renegotiate(&mut sealer, &remote);
    assert!(connection.run().is_none());
    let read = remote.read() - before;
    assert!(read < 256 << 10, "{read} bytes of {flood} were read");
    // Once the peer reads, all its data is received.
    remote.send(sealer.record(DATA, b"data\n"));
    remote.send(sealer.close_notify());
    remote.read_again();
    let (seen, report) = finish_connection(&mut connection, &mut sink);
    assert_eq!(data(&seen), b"data\n");
    assert_eq!(report.end, End::Clean);
}

#[test]
fn a_client_that_only_asks_to_renegotiate_is_idle() {
    let limit = Duration::from_millis(1);
    let (server, mut sink) = Server::builder()
        .tls(tls())
        .idle_timeout(limit)
        .build()
        .unwrap();
    let (mut connection, mut sealer, remote) = open_sealer(&server);
    let before = remote.read();
    // The server can't answer all of these requests within the limit.
    let flood = ask_to_renegotiate(&mut sealer, &remote);
    let (_, report) = finish_connection(&mut connection, &mut sink);
    assert_eq!(report.end, End::Timeout(Timeout::Idle(limit)));
    let read = remote.read() - before;
    assert!(read < flood, "it was only idle once it had sent everything");
}

/// In TLS 1.2, rustls answers each request with an alert, and keeps those that can't be sent.
#[cfg(feature = "client")]
#[test]
fn a_server_that_asks_to_renegotiate_and_reads_no_answer_is_not_read_any_more() {
    use crate::client::Opened;
    use crate::common::client::SEALED;

    let Opened {
        mut sender,
        remote,
        server,
    } = Opened::new(&[SEALED], &TLS12);
    let mut sealer = Sealer::with(server.extract_secrets().unwrap());

    remote.stop_reading();
    let before = remote.read();
    // Each message is only its header (RFC 5246, section 7.4.1.1).
    let hello_requests = [0; 16_000];
    let mut flood = 0;
    for _ in 0..13 {
        let record = sealer.record(HANDSHAKE, &hello_requests);
        flood += record.len();
        remote.send(record);
    }
    let mut sending = Driven::new(Box::pin(async {
        sender.send(b"text\n").await?;
        sender.finish().await
    }));
    assert!(sending.run().is_none());
    let read = remote.read() - before;
    assert!(read < 128 << 10, "{read} bytes of {flood} were read");
    // Once the server reads, all data is received.
    remote.read_again();
    assert!(sending.run().is_none());
    assert_eq!(remote.read() - before, flood);
    remote.send(sealer.close_notify());
    sending.run().expect("it is done").unwrap();
}

/// A connection whose sender seals records that no client would send.
fn open_sealer(server: &Server) -> (Driven<Connection<Pipe>>, Sealer, Remote) {
    let session = Session::open(server, Client::with(Sealer::config()));
    let sealer = Sealer::new(session.client);
    (session.connection, sealer, session.remote)
}

/// Asks thousands of times for a renegotiation; returns the number of bytes sent.
fn ask_to_renegotiate(sealer: &mut Sealer, remote: &Remote) -> usize {
    // The ClientHello without the header of its record.
    let hello = &Client::new(&TLS12).records()[5..];
    let asked = hello.repeat(16_000 / hello.len());
    (0..200)
        .map(|_| {
            let record = sealer.record(HANDSHAKE, &asked);
            remote.send(record.as_slice());
            record.len()
        })
        .sum()
}
