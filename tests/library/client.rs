//! A sender as a writer: the arrival of the written bytes, and the server's verdict on them.

use std::io::{self, ErrorKind, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::future::block_on;
use futures_lite::io::BufWriter;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt};
use rustls::{
    ALL_CIPHER_SUITES, Certificate, PrivateKey, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use tlsink::client::{Connector, MAX_ANSWER, SendError, Sender, ServerVerifier};
use tlsink::{Connection, End, Peer, Server, Sink};

use crate::common::client::{TLS12, TLS13, tls};
use crate::memory::{Driven, Pipe, Remote, Seen, data, pipe, pull, pull_one, the_end};

/// Three records, of which the last one is not full.
const LENGTH: usize = 40_000;

fn text() -> Vec<u8> {
    (0u8..=255).cycle().take(LENGTH).collect()
}

#[test]
fn bytes_written_through_a_buffer_arrive_and_closing_it_waits_for_the_server() {
    for stutter in [false, true] {
        let mut receiver = Receiver::new(|server| server);
        let mut sender = receiver.connect(stutter);
        let text = text();

        let mut writing = Driven::new(Box::pin(async {
            let mut writer = BufWriter::with_capacity(1000, &mut sender);
            for piece in text.chunks(777) {
                writer.write_all(piece).await?;
            }
            writer.flush().await?;
            writer.close().await
        }));
        let mut seen = Vec::new();
        // A sink has handled an end once it is asked for the next event.
        while !matches!(seen.last(), Some(Seen::Close(_))) {
            assert!(receiver.run(&mut writing).is_none());
            seen.extend(pull_one(&mut receiver.sink));
        }
        assert_eq!(data(&seen), text);
        assert_eq!(the_end(&seen), &End::Clean);
        assert!(receiver.run(&mut writing).is_none());
        assert_eq!(pull(&mut receiver.sink), []);
        receiver
            .run(&mut writing)
            .expect("the server has confirmed the stream")
            .expect("the stream is whole");
        drop(writing);

        assert_eq!(block_on(sender.finish()), Ok(()));
        assert_eq!(block_on(sender.finish()), Ok(()));
    }
}

#[test]
fn flushed_bytes_arrive_while_the_stream_stays_open() {
    let mut receiver = Receiver::new(|server| server);
    let mut sender = receiver.connect(false);
    for line in ["one\n", "two\n"] {
        let mut writing = Driven::new(Box::pin(async {
            AsyncWriteExt::write_all(&mut sender, line.as_bytes()).await?;
            AsyncWriteExt::flush(&mut sender).await
        }));
        receiver
            .run(&mut writing)
            .expect("it waits for nothing")
            .unwrap();
        receiver.serve();
        assert_eq!(data(&pull(&mut receiver.sink)), line.as_bytes());
    }
}

#[test]
fn closing_a_stream_that_the_server_does_not_take_whole_fails_as_finishing_it_does() {
    let mut receiver = Receiver::new(|server| server.max_decoded(10));
    let mut sender = receiver.connect(false);
    let mut writing = Driven::new(Box::pin(async {
        sender.write_all(b"more than ten bytes").await?;
        sender.close().await
    }));
    let mut seen = Vec::new();
    let error = loop {
        if let Some(closed) = receiver.run(&mut writing) {
            break closed.unwrap_err();
        }
        seen.extend(pull(&mut receiver.sink));
    };
    assert!(matches!(the_end(&seen), End::Limit(_)), "{seen:?}");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(reason(error), SendError::NoCloseNotify);
    drop(writing);

    // Every later call fails for the same reason.
    assert_eq!(block_on(sender.finish()), Err(SendError::NoCloseNotify));
    let sent = block_on(sender.send(b"more"));
    assert_eq!(sent, Err(SendError::NoCloseNotify));
    let flushed = block_on(AsyncWriteExt::flush(&mut sender)).unwrap_err();
    assert_eq!(reason(flushed), SendError::NoCloseNotify);
    let closed = block_on(sender.close()).unwrap_err();
    assert_eq!(reason(closed), SendError::NoCloseNotify);
}

#[test]
fn a_stream_that_the_server_ends_early_fails_and_gets_no_close_notify() {
    for version in [&TLS12, &TLS13] {
        for write in [false, true] {
            let mut opened = Opened::new(ALL_CIPHER_SUITES, version);
            opened.server.send_close_notify();
            opened.answer();
            let sender = &mut opened.sender;
            if write {
                let written = block_on(sender.write(b"text")).unwrap_err();
                assert_eq!(written.kind(), ErrorKind::BrokenPipe);
                assert_eq!(reason(written), SendError::Ended);
            }
            let closed = block_on(sender.close()).unwrap_err();
            assert_eq!(reason(closed), SendError::Ended);
            assert_eq!(block_on(sender.finish()), Err(SendError::Ended));
            assert_eq!(opened.remote.take(), b"");
            assert!(!opened.remote.is_closed());
        }
    }
}

#[test]
fn an_alert_that_answers_written_bytes_is_the_error_of_the_writer() {
    let mut receiver = Opened::new(ALL_CIPHER_SUITES, &TLS13);
    // A record whose content was never encrypted.
    let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    receiver.server.read_tls(&mut &*forged).unwrap();
    receiver.server.process_new_packets().unwrap_err();
    receiver.answer();
    let error = block_on(receiver.sender.write(b"text")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    let SendError::Alert(alert) = reason(error) else {
        panic!("the server has sent an alert");
    };
    assert!(alert.to_string().ends_with("(bad_record_mac)"), "{alert}");
}

#[test]
fn a_finished_stream_takes_no_more_bytes() {
    let mut opened = Opened::new(ALL_CIPHER_SUITES, &TLS13);
    // The call is dropped while the server has yet to answer.
    assert!(Driven::new(pin!(opened.sender.finish())).run().is_none());
    let before = opened.remote.take();
    assert!(!before.is_empty());
    let written = block_on(opened.sender.write(b"text")).unwrap_err();
    assert_eq!(reason(written), SendError::Finished);
    let sent = block_on(opened.sender.send(b"text"));
    assert_eq!(sent, Err(SendError::Finished));
    block_on(opened.sender.flush()).expect("everything was handed over");
    assert_eq!(opened.remote.take(), b"");

    opened.server.read_tls(&mut &*before).unwrap();
    opened.server.process_new_packets().unwrap();
    opened.server.send_close_notify();
    opened.answer();
    assert_eq!(block_on(opened.sender.finish()), Ok(()));
    let sent = block_on(opened.sender.send(b"text"));
    assert_eq!(sent, Err(SendError::Finished));
}

#[test]
fn answers_are_taken_as_they_come_and_before_the_end() {
    let mut opened = Opened::new(ALL_CIPHER_SUITES, &TLS13);
    assert!(
        Driven::new(pin!(opened.sender.take_answer()))
            .run()
            .is_none()
    );
    // Together they are longer than any answer that nobody takes may be.
    let answer = [b'a'; MAX_ANSWER];
    for _ in 0..3 {
        opened.server.writer().write_all(&answer).unwrap();
        opened.answer();
        let mut taken = Vec::new();
        while taken.len() < answer.len() {
            taken.extend(block_on(opened.sender.take_answer()).unwrap());
        }
        assert!(taken == answer && opened.sender.answer().is_empty());
    }

    opened.server.writer().write_all(b"the last").unwrap();
    opened.server.send_close_notify();
    opened.answer();
    let sent = block_on(opened.sender.send(b"text"));
    assert_eq!(sent, Err(SendError::Ended));
    assert_eq!(opened.sender.answer(), b"the last");
    let taken = block_on(opened.sender.take_answer());
    assert_eq!(taken, Ok(b"the last".to_vec()));
    for _ in 0..2 {
        let taken = block_on(opened.sender.take_answer());
        assert_eq!(taken, Err(SendError::Ended));
    }
}

#[test]
fn an_answer_that_is_longer_than_it_may_be_ends_the_stream() {
    let mut opened = Opened::new(ALL_CIPHER_SUITES, &TLS13);
    let answer = [b'a'; MAX_ANSWER + 1];
    opened.server.writer().write_all(&answer).unwrap();
    opened.answer();
    let limit = MAX_ANSWER;
    let flushed = block_on(opened.sender.flush());
    assert_eq!(flushed, Err(SendError::Answer { limit }));
    assert!(opened.sender.answer().len() <= limit);
    let taken = block_on(opened.sender.take_answer()).unwrap();
    assert!(answer.starts_with(&taken));
    let taken = block_on(opened.sender.take_answer());
    assert_eq!(taken, Err(SendError::Answer { limit }));
}

#[test]
fn a_stream_that_the_server_has_confirmed_has_no_more_answers() {
    let mut opened = Opened::new(ALL_CIPHER_SUITES, &TLS13);
    assert!(Driven::new(pin!(opened.sender.finish())).run().is_none());
    take(&mut opened.server, &opened.remote);
    opened.server.writer().write_all(b"receipt").unwrap();
    opened.server.send_close_notify();
    opened.answer();
    assert_eq!(block_on(opened.sender.finish()), Ok(()));
    for expected in [&b"receipt"[..], b"", b""] {
        let taken = block_on(opened.sender.take_answer());
        assert_eq!(taken, Ok(expected.to_vec()));
    }
}

#[test]
fn a_server_may_answer_while_the_transport_is_closed() {
    for version in [&TLS12, &TLS13] {
        let mut opened = Opened::over(ALL_CIPHER_SUITES, version, |pipe| SlowToClose {
            pipe,
            polls_left: 2,
        });
        let mut finishing = Driven::new(Box::pin(opened.sender.finish()));
        assert!(finishing.run_at_most(1).is_none());
        take(&mut opened.server, &opened.remote);
        opened.server.send_close_notify();
        opened.remote.send(records(&mut opened.server));
        let finished = finishing.run().expect("the server has answered");
        assert_eq!(finished, Ok(()));
        assert!(opened.remote.is_closed());
    }
}

/// A transport that closes only after several calls.
struct SlowToClose {
    pipe: Pipe,
    polls_left: usize,
}

impl AsyncRead for SlowToClose {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for SlowToClose {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.polls_left > 0 {
            self.polls_left -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.pipe).poll_close(cx)
    }
}

fn reason(error: io::Error) -> SendError {
    error.downcast().expect("the error is a sender's")
}

/// A sender, and a server whose every record the test makes.
pub struct Opened<IO = Pipe> {
    pub sender: Sender<IO>,
    pub remote: Remote,
    pub server: ServerConnection,
}

impl Opened {
    /// Shakes hands by one of these suites. The secrets can be extracted from the server.
    pub fn new(
        suites: &[SupportedCipherSuite],
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Opened::over(suites, version, |pipe| pipe)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Opened<IO> {
    /// Shakes hands over a transport that is built on a pipe.
    fn over(
        suites: &[SupportedCipherSuite],
        version: &'static SupportedProtocolVersion,
        transport: impl FnOnce(Pipe) -> IO,
    ) -> Self {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut config = ServerConfig::builder()
            .with_cipher_suites(suites)
            .with_safe_default_kx_groups()
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![Certificate(key.cert.der().to_vec())],
                PrivateKey(key.signing_key.serialize_der()),
            )
            .unwrap();
        config.enable_secret_extraction = true;
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let (pipe, remote) = pipe();
        let connector = Connector::new(ServerVerifier::anyone()).unwrap();
        let connecting = connector.connect("localhost", transport(pipe));
        let mut connecting = Driven::new(Box::pin(connecting));
        let sender = loop {
            if let Some(connected) = connecting.run() {
                break connected.unwrap();
            }
            take(&mut server, &remote);
            remote.send(records(&mut server));
        };
        // In TLS 1.3, the sender's last message is still on its way.
        take(&mut server, &remote);
        Opened {
            sender,
            remote,
            server,
        }
    }

    /// Sends all that the server has to send.
    pub fn answer(&mut self) {
        self.remote.send(records(&mut self.server));
    }
}

/// Takes all that the sender has sent.
pub fn take(server: &mut ServerConnection, remote: &Remote) {
    let records = remote.take();
    let mut rest = &*records;
    while !rest.is_empty() {
        server.read_tls(&mut rest).unwrap();
        server.process_new_packets().unwrap();
    }
}

/// All that the server has to send.
pub fn records(server: &mut ServerConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut records).unwrap();
    }
    records
}

/// A server of this crate with one connection, whose sender is joined to it in memory.
struct Receiver {
    connection: Driven<Connection<Pipe>>,
    sink: Sink,
    /// The transport of the connection, seen from the sender.
    remote: Remote,
    /// The transport of the sender, seen from the connection.
    sender: Option<Remote>,
    ended: bool,
}

impl Receiver {
    fn new(settings: impl FnOnce(tlsink::ServerBuilder) -> tlsink::ServerBuilder) -> Self {
        let (server, sink) = settings(Server::builder().tls(tls())).build().unwrap();
        let (transport, remote) = pipe();
        Receiver {
            connection: Driven::new(server.connection(transport, Peer::label("test"))),
            sink,
            remote,
            sender: None,
            ended: false,
        }
    }

    fn connect(&mut self, stutter: bool) -> Sender<Pipe> {
        let (transport, sender) = pipe();
        if stutter {
            sender.stutter();
        }
        self.sender = Some(sender);
        let connector = Connector::new(ServerVerifier::anyone()).unwrap();
        let mut connecting = Driven::new(Box::pin(connector.connect("localhost", transport)));
        let connected = self.run(&mut connecting);
        connected.expect("the handshake is completed").unwrap()
    }

    /// Runs the future and the connection until the future is done, or both wait.
    fn run<F: Future + Unpin>(&mut self, sending: &mut Driven<F>) -> Option<F::Output> {
        loop {
            if let Some(output) = sending.run() {
                return Some(output);
            }
            if !self.serve() {
                return None;
            }
        }
    }

    /// Runs the connection, and carries bytes both ways; returns whether there were any.
    fn serve(&mut self) -> bool {
        let sender = self.sender.as_ref().expect("it is connected");
        let sent = sender.take();
        self.remote.send(&*sent);
        let ended = !self.ended && self.connection.run().is_some();
        let answered = self.remote.take();
        sender.send(&*answered);
        if ended {
            self.ended = true;
            sender.send_eof();
        }
        ended || !sent.is_empty() || !answered.is_empty()
    }
}
