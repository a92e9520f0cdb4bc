//! Connections, and the output printed for them.

use std::io::ErrorKind;
use std::pin::Pin;
use std::thread;

use futures_lite::future::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tlsink::output::{Output, OutputError};
use tlsink::{Connection, End, Peer, Server, ServerBuilder, Sink, Totals};

use crate::memory::{Driven, Pipe, Remote, pipe};

pub use crate::common::page::Page;

/// A connection over a pipe, without TLS.
pub struct Plain {
    pub connection: Driven<Connection<Pipe>>,
    pub remote: Remote,
    pub done: bool,
}

impl Plain {
    pub fn new(server: &Server) -> Self {
        Plain::of(server, Peer::label("test"))
    }

    pub fn of(server: &Server, peer: Peer) -> Self {
        let (pipe, remote) = pipe();
        Plain {
            connection: Driven::new(server.plain(pipe, peer)),
            remote,
            done: false,
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Result<Totals, OutputError>>>>;

/// The output for two connections, `a` and `b`. Each part arrives, and is printed as far as it can
/// be, before the next part is sent.
pub struct Press {
    senders: [Plain; 2],
    running: Vec<Driven<Running>>,
    page: Page,
}

impl Press {
    pub fn new<O: Output + 'static>(output: impl FnOnce(Page) -> O) -> Self {
        Press::of([Peer::label("a"), Peer::label("b")], output)
    }

    /// The output for two connections from these peers.
    pub fn of<O: Output + 'static>(peers: [Peer; 2], output: impl FnOnce(Page) -> O) -> Self {
        Press::with(Server::builder(), peers, output)
    }

    /// The output for two connections to a server with these settings.
    pub fn built<O: Output + 'static>(
        builder: ServerBuilder,
        output: impl FnOnce(Page) -> O,
    ) -> Self {
        Press::with(builder, [Peer::label("a"), Peer::label("b")], output)
    }

    fn with<O: Output + 'static>(
        builder: ServerBuilder,
        peers: [Peer; 2],
        output: impl FnOnce(Page) -> O,
    ) -> Self {
        let (server, sink) = builder.build().unwrap();
        let page = Page::default();
        let output = output(page.clone());
        Press {
            senders: peers.map(|peer| Plain::of(&server, peer)),
            running: vec![run(sink, output)],
            page,
        }
    }

    /// The output of two lanes, one for each of the two connections.
    pub fn in_lanes<O: Output + Clone + 'static>(output: impl FnOnce(Page) -> O) -> Self {
        let (server, sinks) = Server::builder().build_lanes(2).unwrap();
        let page = Page::default();
        let output = output(page.clone());
        let lanes = sinks.into_iter().map(|sink| run(sink, output.clone()));
        Press {
            senders: ["a", "b"].map(|peer| Plain::of(&server, Peer::label(peer))),
            running: lanes.collect(),
            page,
        }
    }

    pub fn a(&mut self, bytes: impl Into<Vec<u8>>) {
        self.senders[0].remote.send(bytes);
        self.drive(0);
    }

    pub fn b(&mut self, bytes: impl Into<Vec<u8>>) {
        self.senders[1].remote.send(bytes);
        self.drive(1);
    }

    pub fn end_a(&mut self) {
        self.senders[0].remote.send_eof();
        self.drive(0);
    }

    pub fn break_a(&mut self) {
        self.senders[0]
            .remote
            .send_error(ErrorKind::ConnectionReset);
        self.drive(0);
    }

    pub fn end_b(&mut self) {
        self.senders[1].remote.send_eof();
        self.drive(1);
    }

    fn drive(&mut self, sender: usize) {
        let sender = &mut self.senders[sender];
        for _ in 0..2 {
            sender.done = sender.done || sender.connection.run().is_some();
            for lane in &mut self.running {
                lane.run();
            }
        }
    }

    pub fn text(&self) -> String {
        self.page.text()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.page.bytes()
    }
}

fn run(sink: Sink, output: impl Output + 'static) -> Driven<Running> {
    Driven::new(Box::pin(sink.run(output)))
}

impl Page {
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

/// Prints the texts of these senders through two lanes, each on a thread of its own. The texts
/// arrive in parts of this many bytes.
pub fn print_on_threads<const SENDERS: usize>(
    output: impl Output + Clone + Send + 'static,
    texts: [(&'static str, String); SENDERS],
    part: usize,
) {
    let (server, sinks) = Server::builder().build_lanes(2).unwrap();
    let lanes: Vec<_> = sinks
        .into_iter()
        .map(|sink| (sink, output.clone()))
        .map(|(sink, output)| thread::spawn(move || sink.run_blocking(output)))
        .collect();
    let senders = texts.map(|(name, text)| {
        let (pipe, remote) = pipe();
        for part in text.as_bytes().chunks(part) {
            remote.send(part);
        }
        remote.send_eof();
        let connection = server.plain(pipe, Peer::label(name));
        thread::spawn(move || block_on(connection))
    });
    for sender in senders {
        assert_eq!(sender.join().unwrap().end, End::Clean);
    }
    server.stop();
    for lane in lanes {
        lane.join().unwrap().unwrap();
    }
}

/// The reads of one connection: many are cut in the middle of a character.
pub fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let bytes = select(vec![
        &b"a"[..],
        b"bc\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b"\"\\",
        b"\x1b",
        b"\xff",
        b"\xc2",
        b"\x9b",
        b"\xe2\x80",
        b"\xae",
        b"\xe2\x82\xac",
        b"\xf0\x9f\xa6",
        b"\x80",
    ]);
    let part = vec(bytes, 1..5).prop_map(|parts| parts.concat());
    vec(part, 1..12)
}
