//! One connection and its sink, in memory: in every case, authenticated data is delivered, and the
//! end is reported truthfully.

#![cfg(all(
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::future::{block_on, or, poll_once};
use tlsink::decode::Format;
use tlsink::{Cut, End, Layer, Peer, Refusal, Server, ServerBuilder, Sink, Timeout, Truncation};

use crate::common::client::{Client, TLS12, TLS13, tls};
use crate::common::pack::gzip;
use crate::memory::{Driven, Seen, Session, data, finish, pipe, pull, pull_one, the_end};
use crate::press::Plain;

#[test]
fn a_stream_arrives_whole_and_ends_clean() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(version));
        let text = numbered_lines(5_000);
        let records = session.client.record(&text);
        session.remote.send(records);
        let end = session.client.close_notify();
        session.remote.send(end);
        let (seen, report) = finish(&mut session, &mut sink);
        assert!(data(&seen) == text);
        assert_eq!(the_end(&seen), &End::Clean);
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.format(), Format::Plain);
        assert_eq!(
            (report.conn.received(), report.conn.delivered()),
            (text.len() as u64, text.len() as u64)
        );
    }
}

#[test]
fn one_byte_at_a_time_and_pending_at_every_point_changes_nothing() {
    for version in [&TLS12, &TLS13] {
        let (server, mut sink) = server();
        let mut session = Session::new(&server, Client::new(version));
        session.remote.stutter();
        session.shake_hands();
        let text = numbered_lines(100);
        let records = session.client.record(&gzip(&text));
        session.remote.send(session.client.records());
        session.remote.send(records);
        session.remote.send(session.client.close_notify());
        let (seen, report) = finish(&mut session, &mut sink);
        assert!(data(&seen) == text);
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.format(), Format::Gzip);
    }
}

/// A whole session of two records, whose connection is dropped after a number of polls. The
/// delivered data is a prefix of the sent data, an open connection is closed, and the reported end
/// is true.
#[test]
fn dropped_at_any_await_it_is_reported_once_and_loses_nothing_that_arrived() {
    let text = numbered_lines(10);
    let (mut dropped, mut clean) = (false, false);
    for polls in 0.. {
        let (server, mut sink) = server();
        let mut session = Session::new(&server, Client::new(&TLS13));
        session.remote.stutter();
        let mut report = None;
        let mut sent = 0;
        let mut seen = Vec::new();
        while session.connection.polls < polls && report.is_none() {
            let before = session.connection.polls;
            report = session.connection.run_at_most(polls);
            seen.extend(pull(&mut sink));
            session.client.take(&session.remote.take());
            session.remote.send(session.client.records());
            if !session.client.is_handshaking() && sent < 3 {
                let next = match sent {
                    0 => session.client.record(&text[..50]),
                    1 => session.client.record(&text[50..]),
                    _ => session.client.close_notify(),
                };
                session.remote.send(next);
                sent += 1;
            }
            if session.connection.polls == before && report.is_none() {
                break;
            }
        }
        let read_to_the_end = session.remote.is_closed();
        let polled = session.connection.polls;
        drop(session);
        server.stop();
        seen.extend(pull(&mut sink));
        assert!(text.starts_with(&data(&seen)));
        if seen.is_empty() {
            assert!(!read_to_the_end);
        } else {
            match the_end(&seen) {
                End::Clean => {
                    assert!(data(&seen) == text);
                    clean = true;
                }
                End::Cut(Cut::Dropped) => {
                    assert!(!read_to_the_end);
                    dropped = true;
                }
                other => panic!("{other:?} after {polls} polls"),
            }
        }
        assert_eq!(server.connections(), 0);
        if polled < polls {
            break;
        }
    }
    assert!(dropped && clean, "both ends were met");
}

#[test]
fn an_open_stream_can_go_on_where_its_sink_is() {
    let (server, mut sinks) = Server::builder().tls(tls()).build_lanes(3).unwrap();
    for _ in 0..3 {
        let mut client = Client::new(&TLS13);
        let (io, remote) = pipe();
        let mut connection = server.connection(io, Peer::label("test"));
        let mut established = || block_on(poll_once(connection.established()));
        assert_eq!(established(), None);
        remote.send(client.records());
        assert_eq!(established(), None);
        client.take(&remote.take());
        remote.send(client.records());
        assert_eq!(established(), Some(true));
        // The answer stays the same, however often it is asked for.
        assert_eq!(established(), Some(true));
        remote.send(client.record(b"hello\n"));
        remote.send(client.close_notify());
        let lane = connection.lane();
        let mut connection = Driven::new(connection);
        assert!(connection.run().is_none());
        for (place, sink) in sinks.iter_mut().enumerate() {
            let seen = pull(sink);
            match place == lane {
                true => assert_eq!(
                    (data(&seen), the_end(&seen)),
                    (b"hello\n".to_vec(), &End::Clean)
                ),
                false => assert_eq!(seen, []),
            }
        }
        let report = connection.run().unwrap();
        assert!(report.established && report.end == End::Clean, "{report:?}");
    }
}

#[test]
fn a_handshake_that_fails_is_over_too_and_its_end_is_reported() {
    let (server, mut sink) = server();
    let (io, remote) = pipe();
    let mut connection = server.connection(io, Peer::label("test"));
    remote.send(*b"GET / HTTP/1.1\r\n\r\n");
    assert!(!block_on(connection.established()));
    assert!(!block_on(connection.established()));
    assert_eq!(server.connections(), 1);
    let report = block_on(connection);
    assert_eq!(report.end, End::Refused(Refusal::NotTls));
    assert!(!report.established);
    assert_eq!((server.connections(), server.failures().refused), (0, 1));
    assert_eq!(pull(&mut sink), []);
}

#[test]
fn a_failed_handshake_that_nobody_awaits_is_still_counted_with_its_reason() {
    let (server, _sink) = build(|builder| builder.tls(tls()));
    let (pipe, remote) = pipe();
    remote.send(*b"not TLS\n");
    let mut connection = server.connection(pipe, Peer::label("refused"));
    assert!(!block_on(connection.established()));
    drop(connection);
    let failures = server.failures();
    assert_eq!((failures.refused, failures.total()), (1, 1));
}

#[test]
fn a_cut_stream_is_truncated_in_its_own_format() {
    let gzip = gzip(&numbered_lines(1_000));
    for (close_notify, truncation) in [
        (
            true,
            Truncation::Unfinished(Layer::Compression(Format::Gzip)),
        ),
        (false, Truncation::Both(Layer::Compression(Format::Gzip))),
    ] {
        let (server, mut sink) = server();
        let mut session = Session::open(&server, Client::new(&TLS13));
        let half = session.client.record(&gzip[..gzip.len() / 2]);
        session.remote.send(half);
        if close_notify {
            session.remote.send(session.client.close_notify());
        } else {
            session.remote.send_eof();
        }
        let (seen, _) = finish(&mut session, &mut sink);
        assert_eq!(the_end(&seen), &End::Truncated(truncation));
        assert!(numbered_lines(1_000).starts_with(&data(&seen)));
        assert!(!data(&seen).is_empty());
    }
}

#[test]
fn no_bytes_at_all_are_a_clean_stream_unless_a_compressed_format_was_named() {
    for format in Format::ALL.iter().copied() {
        let (server, mut sink) = build(|builder| builder.decode(format));
        let mut session = Session::open(&server, Client::new(&TLS13));
        session.remote.send(session.client.close_notify());
        let (seen, _) = finish(&mut session, &mut sink);
        let end = match format {
            Format::Auto | Format::Plain => End::Clean,
            format => End::Truncated(Truncation::Unfinished(Layer::Compression(format))),
        };
        assert_eq!(seen, [Seen::Open, Seen::Close(end)]);
    }
}

#[test]
fn corrupt_data_ends_the_stream_although_the_sender_goes_on() {
    let (server, mut sink) = server();
    let mut session = Session::open(&server, Client::new(&TLS13));
    let mut bytes = gzip(b"fine\n");
    bytes.extend(b"not gzip");
    session.remote.send(session.client.record(&bytes));
    let (seen, report) = finish(&mut session, &mut sink);
    assert_eq!(data(&seen), b"fine\n");
    let End::Corrupt { layer, offset, .. } = the_end(&seen) else {
        panic!("{seen:?}")
    };
    assert_eq!(*layer, Layer::Compression(Format::Gzip));
    assert_eq!(*offset, (bytes.len() - 8) as u64);
    assert_eq!(&report.end, the_end(&seen));
    assert!(
        session.remote.is_dropped(),
        "the sender learns that nobody reads on"
    );
}

#[test]
fn a_stream_over_its_limit_is_delivered_up_to_it() {
    for compressed in [false, true] {
        let (server, mut sink) = build(|builder| builder.max_decoded(100));
        let mut session = Session::open(&server, Client::new(&TLS13));
        let text = numbered_lines(100);
        let bytes = if compressed {
            gzip(&text)
        } else {
            text.clone()
        };
        session.remote.send(session.client.record(&bytes));
        let (seen, report) = finish(&mut session, &mut sink);
        assert_eq!(data(&seen), text[..100]);
        assert!(matches!(report.end, End::Limit { .. }), "{:?}", report.end);
        assert_eq!(report.conn.delivered(), 100);
    }
}

#[test]
fn a_stream_that_just_reaches_its_limit_is_clean() {
    for compressed in [false, true] {
        let text = numbered_lines(100);
        let (server, mut sink) = build(|builder| builder.max_decoded(text.len() as u64));
        let mut session = Session::open(&server, Client::new(&TLS13));
        let bytes = if compressed {
            gzip(&text)
        } else {
            text.clone()
        };
        session.remote.send(session.client.record(&bytes));
        session.remote.send(session.client.close_notify());
        let (seen, report) = finish(&mut session, &mut sink);
        assert!(data(&seen) == text);
        assert_eq!(report.end, End::Clean);
    }
}

#[test]
fn the_receipt_waits_until_the_output_is_done_with_the_stream() {
    let (server, mut sink) = Server::builder().receipts(true).build().unwrap();
    let mut sender = Plain::new(&server);
    sender.remote.send(*b"hello\n");
    sender.remote.send_eof();
    assert!(sender.connection.run().is_none());
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    assert_eq!(pull_one(&mut sink), Some(Seen::Data(b"hello\n".to_vec())));
    assert!(matches!(pull_one(&mut sink), Some(Seen::Close(_))));
    assert!(sender.connection.run().is_none());
    assert!(sender.remote.take().is_empty());
    // A caller that asks for the next event has handled the end.
    assert_eq!(pull_one(&mut sink), None);
    assert!(sender.connection.run().is_some());
    assert!(sender.remote.take().starts_with(b"{\"ok\":true,"));
    assert!(sender.remote.is_closed());
}

#[test]
fn a_sink_that_is_gone_ends_the_connection_whenever_it_goes() {
    // The sink goes before the handshake is complete.
    let (server, sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    drop(sink);
    session.shake_hands();
    session.remote.send(session.client.records());
    let report = session.connection.run().expect("it ends by itself");
    assert_eq!(report.end, End::Cut(Cut::SinkGone));

    // The sink goes before it has seen the connection.
    let (server, sink) = server_and_sink();
    let mut session = Session::open(&server, Client::new(&TLS13));
    drop(sink);
    let report = session.connection.run().expect("it ends by itself");
    assert_eq!(report.end, End::Cut(Cut::SinkGone));

    // The sink goes while the connection waits for its peer.
    let (server, mut sink) = server_and_sink();
    let mut session = Session::open(&server, Client::new(&TLS13));
    session.remote.send(session.client.record(b"abc"));
    assert!(session.connection.run().is_none());
    assert_eq!(pull(&mut sink), [Seen::Open, Seen::Data(b"abc".to_vec())]);
    drop(sink);
    let report = session.connection.run().expect("it ends by itself");
    assert_eq!(report.end, End::Cut(Cut::SinkGone));
    assert_eq!((report.conn.received(), report.conn.delivered()), (3, 3));

    // The sink goes when the connection waits only for its outcome.
    let (server, mut sink) = server_and_sink();
    let mut session = Session::open(&server, Client::new(&TLS13));
    session.remote.send(session.client.close_notify());
    assert!(session.connection.run().is_none());
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    drop(sink);
    let report = session.connection.run().expect("it ends by itself");
    assert_eq!(report.end, End::Cut(Cut::SinkGone));
}

#[test]
fn a_peer_that_never_completes_its_handshake_makes_no_stream() {
    // The peer closes the connection.
    let (server, mut sink) = server();
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.remote.send_eof();
    let report = session.connection.run().unwrap();
    assert_eq!(report.end, End::Truncated(Truncation::Handshake));
    assert!(!report.established);

    // The connection breaks.
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.remote.send_error(ErrorKind::ConnectionReset);
    let report = session.connection.run().unwrap();
    assert!(matches!(report.end, End::Reset { .. }), "{:?}", report.end);

    // The peer speaks another protocol.
    let mut session = Session::new(&server, Client::new(&TLS13));
    session.remote.send(*b"GET / HTTP/1.1\r\n\r\n");
    let report = session.connection.run().unwrap();
    assert_eq!(report.end, End::Refused(Refusal::NotTls));

    assert_eq!(pull(&mut sink), []);
}

#[test]
fn a_handshake_that_takes_too_long_is_a_timeout() {
    let limit = Duration::from_millis(20);
    let (server, _sink) = build(|builder| builder.handshake_timeout(limit));
    let (pipe, _remote) = pipe();
    let report = block_on(server.connection(pipe, Peer::label("stalled")));
    assert_eq!(report.end, End::Timeout(Timeout::Handshake(limit)));
    assert!(!report.established);
}

#[test]
fn a_sender_that_is_idle_for_too_long_is_a_timeout() {
    let limit = Duration::from_millis(20);
    let (server, sink) = build(|builder| builder.idle_timeout(limit));
    let (pipe, remote) = pipe();
    remote.send(*b"then silence");
    let output = Collect::default();
    let connection = server.plain(pipe, Peer::label("idle"));
    let both = async {
        let report = connection.await;
        server.stop();
        report
    };
    let (report, totals) = block_on(futures_lite::future::zip(both, sink.run(output.clone())));
    assert_eq!(report.end, End::Timeout(Timeout::Idle(limit)));
    assert_eq!(totals.unwrap().delivered, 12);
    assert_eq!(output.bytes(), b"then silence");
}

#[test]
fn a_sender_that_is_kept_waiting_is_not_idle() {
    let limit = Duration::from_millis(20);
    let (server, mut sink) = build(|builder| builder.idle_timeout(limit));
    let (pipe, remote) = pipe();
    remote.send(vec![b'x'; 1_000_000]);
    let connection = server.plain(pipe, Peer::label("eager"));
    block_on(async {
        // The connection gets no credits for three times the limit.
        let wait = async {
            smol::Timer::after(3 * limit).await;
            None
        };
        let mut connection = connection;
        assert!(
            or(async { Some((&mut connection).await) }, wait)
                .await
                .is_none()
        );
        remote.send_eof();
        let mut received = 0;
        let report = loop {
            while let Some(seen) = poll_once(sink.next()).await.flatten() {
                if let tlsink::SinkEvent::Data(_, bytes) = seen {
                    received += bytes.len();
                }
            }
            if let Some(report) = poll_once(&mut connection).await {
                break report;
            }
        };
        assert_eq!(report.end, End::Clean);
        assert_eq!(received, 1_000_000);
    });
}

#[test]
fn a_plain_stream_carries_the_name_that_the_application_gave_it() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let (pipe, remote) = pipe();
    let peer = Peer::label("bus").named("boiler");
    let mut connection = Driven::new(server.plain(pipe, peer));
    remote.send(gzip(b"hello\n"));
    remote.send_eof();
    assert!(connection.run().is_none());
    block_on(async {
        let Some(tlsink::SinkEvent::Open(conn)) = sink.next().await else {
            panic!("it opens first")
        };
        assert_eq!(conn.names(), ["boiler"]);
        assert_eq!(conn.peer().to_string(), "bus");
    });
    assert_eq!(
        pull(&mut sink),
        [Seen::Data(b"hello\n".to_vec()), Seen::Close(End::Clean)]
    );
    let report = connection.run().unwrap();
    assert_eq!(report.end, End::Clean);
    assert_eq!(report.conn.peer().names(), ["boiler"]);
}

#[test]
fn without_a_certificate_a_tls_connection_is_refused() {
    let (server, _sink) = Server::builder().build().unwrap();
    let (pipe, _remote) = pipe();
    let report = block_on(server.connection(pipe, Peer::label("test")));
    assert_eq!(report.end, End::Refused(Refusal::NoServerCertificate));
}

#[test]
fn cut_ends_open_connections_and_delivers_the_bytes_that_had_arrived() {
    let (server, mut sink) = server();
    let mut session = Session::open(&server, Client::new(&TLS13));
    let mut handshaking = Session::new(&server, Client::new(&TLS13));
    assert!(handshaking.connection.run().is_none());
    session.remote.send(session.client.record(b"arrived\n"));
    assert!(session.connection.run().is_none());
    server.cut();
    let (seen, report) = finish(&mut session, &mut sink);
    assert_eq!(data(&seen), b"arrived\n");
    assert_eq!(report.end, End::Cut(Cut::Server));
    let report = handshaking
        .connection
        .run()
        .expect("the handshake ends as well");
    assert_eq!(report.end, End::Cut(Cut::Server));
    assert!(!report.established);
}

#[test]
fn after_stop_open_connections_may_finish_and_then_the_sink_ends() {
    let (server, mut sink) = server();
    let mut open = Session::open(&server, Client::new(&TLS13));
    server.stop();
    let mut late = Session::new(&server, Client::new(&TLS13));
    let report = late.connection.run().unwrap();
    assert_eq!(report.end, End::Cut(Cut::Server));
    open.remote.send(open.client.record(b"last words\n"));
    open.remote.send(open.client.close_notify());
    let (seen, _) = finish(&mut open, &mut sink);
    assert_eq!(data(&seen), b"last words\n");
    assert_eq!(the_end(&seen), &End::Clean);
    drop(open);
    assert!(block_on(sink.next()).is_none());
}

#[test]
fn dropping_the_last_handle_stops_the_server() {
    let (server, mut sink) = server();
    let other = server.clone();
    drop(server);
    assert!(
        block_on(poll_once(sink.next())).is_none(),
        "there is one more handle"
    );
    drop(other);
    assert!(block_on(sink.next()).is_none());
}

#[test]
fn stop_after_counts_completed_handshakes_alone() {
    let (server, mut sink) = build(|builder| builder.stop_after(1));
    let mut probe = Session::new(&server, Client::new(&TLS13));
    probe.remote.send_eof();
    assert!(probe.connection.run().is_some());
    let mut late = Session::new(&server, Client::new(&TLS13));
    late.shake_hands();
    let mut first = Session::open(&server, Client::new(&TLS13));
    // The connection was in its handshake when the first one completed.
    late.remote.send(late.client.records());
    let report = late.connection.run().unwrap();
    assert_eq!(report.end, End::Cut(Cut::Server));
    assert!(!report.established);
    first.remote.send(first.client.record(b"only me\n"));
    first.remote.send(first.client.close_notify());
    let (seen, _) = finish(&mut first, &mut sink);
    assert_eq!(data(&seen), b"only me\n");
}

#[test]
fn a_place_is_free_only_after_the_sink_is_done_with_its_connection() {
    let (server, mut sink) = build(|builder| builder.max_connections(1));
    let mut first = Session::open(&server, Client::new(&TLS13));
    let mut second = Session::new(&server, Client::new(&TLS13));
    second.remote.send(second.client.records());
    assert!(second.connection.run().is_none());
    assert_eq!(second.remote.read(), 0, "it waits for its place");
    first.remote.send(first.client.close_notify());
    assert!(first.connection.run().is_none());
    assert!(second.connection.run().is_none());
    assert_eq!(
        second.remote.read(),
        0,
        "the sink does not know that the first has ended"
    );
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    assert_eq!(pull_one(&mut sink), Some(Seen::Close(End::Clean)));
    assert!(second.connection.run().is_none());
    assert_eq!(
        second.remote.read(),
        0,
        "the end has been seen, not dealt with"
    );
    assert_eq!(pull_one(&mut sink), None);
    assert!(first.connection.run().is_some());
    assert!(second.connection.run().is_none());
    assert!(second.remote.read() > 0);
}

#[test]
fn a_connection_is_send_if_its_stream_is() {
    fn send<T: Send>(_: T) {}
    let (server, sink) = server();
    let (pipe, _remote) = pipe();
    send(server.connection(pipe, Peer::label("test")));
    send(sink);
    send(server);
}

fn server() -> (Server, Sink) {
    build(|builder| builder)
}

fn server_and_sink() -> (Server, Sink) {
    server()
}

fn build(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Sink) {
    set(Server::builder().tls(tls())).build().unwrap()
}

fn numbered_lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| format!("line number {i}\n").into_bytes())
        .collect()
}

/// An output that keeps everything.
#[derive(Clone, Debug, Default)]
struct Collect(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Collect {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl tlsink::output::Output for Collect {
    fn data(&mut self, _: &tlsink::Conn, bytes: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }
}
