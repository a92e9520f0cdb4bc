//! Connections, and the output printed for them.

use std::pin::Pin;

use tlsink::output::{Output, OutputError};
use tlsink::{Connection, Peer, Server, Sink, Totals};

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
        let (server, sink) = Server::builder().build().unwrap();
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
