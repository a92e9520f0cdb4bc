//! The program whose instructions benches/instructions.sh counts. Only those in [`measured`] count:
//! the code before it prepares the data.
//!
//! ```text
//! instructions records SIZE OUTPUT COUNT
//! instructions decode FORMAT BYTES
//! ```
//!
//! It prints the number of records, or of decoded bytes.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_lite::future::{block_on, poll_once, zip};
use futures_lite::{AsyncRead, AsyncWrite};
use tlsink::decode::Format;
use tlsink::output::{Lines, Output, Raw};
use tlsink::{Peer, Server};

use client::{Client, TLS13};

#[path = "../../tests/common/client.rs"]
#[allow(dead_code, unused_imports, reason = "tests use more of it")]
mod client;
#[path = "../common/drain.rs"]
mod drain;
#[path = "../../tests/common/pack.rs"]
mod pack;
#[path = "../common/text.rs"]
mod text;

/// The most that one read yields, in bytes, from a transport that always has more.
const READ: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["records", size, output, count] => {
            let (size, count) = (size.parse()?, count.parse()?);
            match *output {
                "raw" => records(size, count, Raw::new(io::sink())),
                "lines" => records(size, count, Lines::new(io::sink())),
                other => return Err(format!("unknown output {other}").into()),
            }
            println!("{count}");
            Ok(())
        }
        ["decode", format, bytes] => {
            println!("{}", decode(format.parse()?, bytes.parse()?));
            Ok(())
        }
        // Cargo runs this program without arguments.
        _ => {
            println!("run benches/instructions.sh");
            Ok(())
        }
    }
}

/// benches/instructions.sh finds this function by its name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Receives records through a connection and a sink, from a transport in memory.
fn records(size: usize, count: usize, output: impl Output) {
    let (server, sink) = Server::builder()
        .tls(client::tls())
        // No timers are needed, as no connection has to wait.
        .handshake_timeout(None)
        .decode(Format::Plain)
        .build()
        .expect("the settings are sound");
    let transport = Memory::default();
    let mut connection = server.connection(transport.clone(), Peer::label("memory"));
    let mut client = Client::new(&TLS13);
    while client.is_handshaking() {
        transport.send(client.records());
        assert!(block_on(poll_once(&mut connection)).is_none());
        client.take(&transport.written());
    }
    let plain = text::short_lines(size * count);
    let mut sealed = client.records();
    for record in plain.chunks(size) {
        sealed.extend(client.record(record));
    }
    sealed.extend(client.close_notify());
    transport.send(sealed);
    // Open connections may finish, and then the sink ends.
    server.stop();

    let mut receiving = Some((connection, sink, output));
    measured(&mut || {
        let (connection, sink, output) = receiving.take().expect("it is called once");
        let (report, totals) = block_on(zip(connection, sink.run(output)));
        assert!(report.end.is_clean(), "{:?}", report.end);
        assert!(totals.is_ok());
        assert_eq!(report.conn.delivered(), plain.len() as u64);
    });
}

fn decode(format: Format, bytes: usize) -> usize {
    let text = text::log(bytes);
    let packed = match format {
        Format::Gzip => pack::gzip(&text),
        Format::Zlib => pack::zlib(&text),
        Format::Deflate => pack::deflate(&text),
        Format::Zstd => pack::zstd(&text),
        Format::Qt => text.chunks(1 << 20).flat_map(pack::qt).collect(),
        _ => text.clone(),
    };
    let mut decoded = 0;
    let mut output = Vec::new();
    measured(&mut || decoded = drain::drain(format, black_box(&packed), READ, &mut output));
    assert_eq!(decoded, bytes);
    decoded
}

/// A transport in memory. The server and the benchmark each hold a clone of it.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    incoming: io::Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Memory {
    fn send(&self, bytes: Vec<u8>) {
        self.0.lock().expect("nothing panics").incoming = io::Cursor::new(bytes);
    }

    fn written(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().expect("nothing panics").written)
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = buf.len().min(READ);
        let incoming = &mut self.0.lock().expect("nothing panics").incoming;
        match incoming.read(&mut buf[..most]) {
            // A caller that has sent more polls again.
            Ok(0) => Poll::Pending,
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.lock().expect("nothing panics").written.write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
