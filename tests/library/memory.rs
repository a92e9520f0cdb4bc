//! Connections without sockets: a transport in memory, a driver that polls only when woken, and the
//! events that a sink delivered.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncRead, AsyncWrite};
use tlsink::{Connection, End, Peer, Report, Server, Sink, SinkEvent};

use crate::common::client::Client;

/// The server's end of a transport in memory.
#[derive(Debug)]
pub struct Pipe(Arc<Mutex<State>>);

/// The test's end: it decides what the server reads, and when.
#[derive(Debug)]
pub struct Remote(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    incoming: VecDeque<Incoming>,
    written: Vec<u8>,
    reader: Option<Waker>,
    /// The most that one read gives.
    most: Option<usize>,
    /// Every other read is pending, and so is every other write; both wake at once.
    stutter: bool,
    read_stuttered: bool,
    write_stuttered: bool,
    /// Writes wait until they are let through.
    full: bool,
    writer: Option<Waker>,
    /// Bytes read in all.
    read: usize,
    closed: bool,
    dropped: bool,
}

#[derive(Debug)]
enum Incoming {
    Bytes(Vec<u8>),
    Error(io::ErrorKind),
    Eof,
}

pub fn pipe() -> (Pipe, Remote) {
    let state = Arc::new(Mutex::new(State::default()));
    (Pipe(Arc::clone(&state)), Remote(state))
}

impl Remote {
    /// Gives these bytes to one read, or as many of them as its buffer holds.
    pub fn send(&self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.push(Incoming::Bytes(bytes));
        }
    }

    pub fn send_error(&self, kind: io::ErrorKind) {
        self.push(Incoming::Error(kind));
    }

    pub fn send_eof(&self) {
        self.push(Incoming::Eof);
    }

    /// From now on, each read gives one byte, and every other call is pending.
    pub fn stutter(&self) {
        let mut state = self.0.lock().unwrap();
        state.most = Some(1);
        state.stutter = true;
    }

    /// Takes none of the server's writes until [`read_again`](Self::read_again).
    pub fn stop_reading(&self) {
        self.0.lock().unwrap().full = true;
    }

    pub fn read_again(&self) {
        let mut state = self.0.lock().unwrap();
        state.full = false;
        if let Some(waker) = state.writer.take() {
            waker.wake();
        }
    }

    /// The bytes that the server has written since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap().written)
    }

    /// The number of bytes that the server has read in all.
    pub fn read(&self) -> usize {
        self.0.lock().unwrap().read
    }

    /// Whether the server has closed the transport for writing.
    pub fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }

    /// Whether the server has let go of the transport.
    pub fn is_dropped(&self) -> bool {
        self.0.lock().unwrap().dropped
    }

    fn push(&self, incoming: Incoming) {
        let mut state = self.0.lock().unwrap();
        state.incoming.push_back(incoming);
        if let Some(waker) = state.reader.take() {
            waker.wake();
        }
    }
}

/// Whether this call is one of the pending ones.
fn stutters(on: bool, stuttered: &mut bool, cx: &Context<'_>) -> bool {
    *stuttered = on && !*stuttered;
    if *stuttered {
        cx.waker().wake_by_ref();
    }
    *stuttered
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.lock().unwrap();
        if stutters(state.stutter, &mut state.read_stuttered, cx) {
            return Poll::Pending;
        }
        match state.incoming.front_mut() {
            None => {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Incoming::Eof) => return Poll::Ready(Ok(0)),
            Some(Incoming::Error(kind)) => return Poll::Ready(Err((*kind).into())),
            Some(Incoming::Bytes(_)) => {}
        }
        let most = buf.len().min(state.most.unwrap_or(usize::MAX));
        let Some(Incoming::Bytes(mut bytes)) = state.incoming.pop_front() else {
            unreachable!("it was looked at")
        };
        let n = most.min(bytes.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        bytes.drain(..n);
        if !bytes.is_empty() {
            state.incoming.push_front(Incoming::Bytes(bytes));
        }
        state.read += n;
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.lock().unwrap();
        if stutters(state.stutter, &mut state.write_stuttered, cx) {
            return Poll::Pending;
        }
        if state.full {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = buf.len().min(state.most.unwrap_or(usize::MAX));
        state.written.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock().unwrap();
        if stutters(state.stutter, &mut state.write_stuttered, cx) {
            return Poll::Pending;
        }
        state.closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.lock().unwrap().dropped = true;
    }
}

/// A future that is polled only when it was woken, so that a lost wake-up shows.
pub struct Driven<F> {
    future: Option<F>,
    flag: Arc<Flag>,
    pub polls: usize,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future + Unpin> Driven<F> {
    pub fn new(future: F) -> Self {
        Driven {
            future: Some(future),
            flag: Arc::new(Flag(AtomicBool::new(true))),
            polls: 0,
        }
    }

    /// Polls the future as often as it is woken.
    pub fn run(&mut self) -> Option<F::Output> {
        self.run_at_most(usize::MAX)
    }

    /// Polls the future as often as it is woken, up to this many polls in all.
    pub fn run_at_most(&mut self, polls: usize) -> Option<F::Output> {
        let waker = Waker::from(Arc::clone(&self.flag));
        let mut cx = Context::from_waker(&waker);
        while self.polls < polls && self.flag.0.swap(false, Ordering::SeqCst) {
            self.polls += 1;
            let future = self.future.as_mut().expect("polled after it was done");
            if let Poll::Ready(output) = Pin::new(future).poll(&mut cx) {
                self.future = None;
                return Some(output);
            }
        }
        None
    }
}

/// A connection over a pipe, and its client.
pub struct Session {
    pub connection: Driven<Connection<Pipe>>,
    pub client: Client,
    pub remote: Remote,
}

impl Session {
    pub fn new(server: &Server, client: Client) -> Self {
        let (pipe, remote) = pipe();
        Session {
            connection: Driven::new(server.connection(pipe, Peer::label("test"))),
            client,
            remote,
        }
    }

    /// Does the handshake until the client is done; the caller delivers the client's last bytes.
    pub fn shake_hands(&mut self) {
        while self.client.is_handshaking() {
            self.remote.send(self.client.records());
            assert!(self.connection.run().is_none());
            let records = self.remote.take();
            self.client.take(&records);
        }
    }

    /// Completes the handshake.
    pub fn open(server: &Server, client: Client) -> Self {
        let mut session = Session::new(server, client);
        session.shake_hands();
        session.remote.send(session.client.records());
        assert!(session.connection.run().is_none());
        session
    }
}

/// An event that a sink delivered.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Open,
    Data(Vec<u8>),
    Close(End),
}

/// All events that the sink can deliver by now.
pub fn pull(sink: &mut Sink) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(one) = pull_one(sink) {
        seen.push(one);
    }
    seen
}

/// The next event that the sink can deliver by now.
pub fn pull_one(sink: &mut Sink) -> Option<Seen> {
    match block_on(poll_once(sink.next())) {
        None | Some(None) => None,
        Some(Some(SinkEvent::Open(_))) => Some(Seen::Open),
        Some(Some(SinkEvent::Data(_, bytes))) => Some(Seen::Data(bytes.to_vec())),
        Some(Some(SinkEvent::Records(_, records))) => Some(Seen::Data(records.lines().to_vec())),
        Some(Some(SinkEvent::Close(_, end))) => Some(Seen::Close(end.clone())),
        Some(Some(other)) => panic!("{other:?}"),
    }
}

/// The data of all events, put together.
pub fn data(seen: &[Seen]) -> Vec<u8> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Data(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
        .collect::<Vec<_>>()
        .concat()
}

/// The end of the only connection: it was opened once, and closed once, last.
pub fn the_end(seen: &[Seen]) -> &End {
    let opened = seen.iter().filter(|seen| **seen == Seen::Open).count();
    let ends: Vec<&End> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Close(end) => Some(end),
            _ => None,
        })
        .collect();
    assert_eq!((opened, ends.len()), (1, 1), "{seen:?}");
    assert_eq!(seen.first(), Some(&Seen::Open));
    assert!(matches!(seen.last(), Some(Seen::Close(_))));
    ends[0]
}

/// Drives a session's connection and its sink until both have ended.
pub fn finish(session: &mut Session, sink: &mut Sink) -> (Vec<Seen>, Report) {
    finish_connection(&mut session.connection, sink)
}

pub fn finish_connection(
    connection: &mut Driven<Connection<Pipe>>,
    sink: &mut Sink,
) -> (Vec<Seen>, Report) {
    let mut seen = Vec::new();
    loop {
        let report = connection.run();
        let more = pull(sink);
        if let Some(report) = report {
            assert!(more.is_empty(), "nothing comes after the outcome");
            return (seen, report);
        }
        seen.extend(more);
    }
}
