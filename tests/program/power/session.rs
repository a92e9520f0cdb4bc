//! Senders that know by which byte from the server a line was acknowledged.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::common::client::{TLS13, config};
use crate::common::sender::{LIMIT, Sender};

/// Data that a server has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub what: What,
    /// The sender's port.
    pub port: u16,
    /// The number of bytes that the server had sent by then, up to the acknowledgement.
    pub received: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A line, without its newline.
    Line(String),
    /// A resumed stream, up to this offset.
    Stream { name: String, offset: u64 },
}

/// Sends these lines as RELP, at most `window` of them without an answer.
pub fn relp(address: SocketAddr, lines: &[String], window: usize) -> Vec<Acknowledged> {
    let mut done = Vec::new();
    // A server whose journal has failed is gone.
    let Ok(mut session) = Session::connect(address) else {
        return done;
    };
    let offers = "relp_version=0\nrelp_software=test\ncommands=syslog";
    let open = format!("1 open {} {offers}\n", offers.len());
    if session.write(open.as_bytes()).is_err() || session.frame().is_err() {
        return done;
    }
    let mut answered = |session: &mut Session| {
        session.frame().map(|_| {
            let line = lines[done.len()].clone();
            done.push(session.acknowledged(What::Line(line)));
        })
    };
    let ended = (|| {
        for (number, line) in lines.iter().enumerate() {
            let frame = format!("{} syslog {} {line}\n", number + 2, line.len());
            session.write(frame.as_bytes())?;
            if number >= window {
                answered(&mut session)?;
            }
        }
        (0..window.min(lines.len())).try_for_each(|_| answered(&mut session))
    })();
    // A server that stops, or whose disk fails, ends the session.
    drop::<io::Result<()>>(ended);
    done
}

/// Sends these lines as they are, and reads the receipt.
pub fn receipt(address: SocketAddr, lines: &[String]) -> Vec<Acknowledged> {
    let Ok(mut session) = Session::connect(address) else {
        return Vec::new();
    };
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let answer = session
        .write(text.as_bytes())
        .and_then(|()| session.finish())
        .and_then(|()| session.line());
    match answer {
        Ok(answer) if answer.starts_with("{\"ok\":true") => {
            let lines = lines.iter().cloned().map(What::Line);
            lines.map(|line| session.acknowledged(line)).collect()
        }
        _ => Vec::new(),
    }
}

/// Sends a stream that outlives its connection, from its first byte or the server's on.
pub struct Resumed {
    session: Session,
    name: String,
    /// The offset from which the server wants the stream.
    pub at: u64,
}

impl Resumed {
    /// Announces a stream of which everything before `from` was acknowledged.
    pub fn open(address: SocketAddr, name: &str, from: u64, crc32c: &str) -> io::Result<Self> {
        let mut session = Session::connect(address)?;
        let opening =
            format!("tlsink/1 {{\"stream\":\"{name}\",\"from\":{from},\"crc32c\":\"{crc32c}\"}}\n");
        session.write(opening.as_bytes())?;
        let answer = session.line()?;
        let fault = || io::Error::other(format!("the server answered {answer}"));
        let object: Value = serde_json::from_str(&answer)?;
        Ok(Resumed {
            at: object["at"].as_u64().ok_or_else(fault)?,
            session,
            name: name.to_owned(),
        })
    }

    /// Sends the rest of the stream, in lines, of which at most `window` bytes are not acknowledged.
    pub fn send(mut self, all: &[u8], window: u64) -> Vec<Acknowledged> {
        let mut done = Vec::new();
        let mut sent = self.at;
        let mut last = self.at;
        let rest = &all[usize::try_from(self.at).unwrap()..];
        let ended = (|| {
            for line in rest.split_inclusive(|byte| *byte == b'\n') {
                self.session.write(line)?;
                sent += line.len() as u64;
                while sent - last > window {
                    last = self.acknowledgement(&mut done)?;
                }
            }
            self.session.finish()?;
            while last < all.len() as u64 {
                last = self.acknowledgement(&mut done)?;
            }
            Ok(())
        })();
        drop::<io::Result<()>>(ended);
        done
    }

    /// Reads one answer; returns the offset up to which the stream is acknowledged.
    fn acknowledgement(&mut self, done: &mut Vec<Acknowledged>) -> io::Result<u64> {
        let answer: Value = serde_json::from_str(&self.session.line()?)?;
        let offset = match (answer["ack"].as_u64(), answer["delivered"].as_u64()) {
            (Some(offset), _) => offset,
            (None, Some(delivered)) if answer["ok"] == true => self.at + delivered,
            _ => return Err(io::Error::other(answer.to_string())),
        };
        let name = self.name.clone();
        done.push(self.session.acknowledged(What::Stream { name, offset }));
        Ok(offset)
    }
}

struct Session {
    sender: Sender<Counted>,
    port: u16,
}

impl Session {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let counted = Counted {
            tcp,
            received: 0,
            header: [0; HEADER],
            header_left: 0,
            left: 0,
        };
        Ok(Session {
            sender: Sender::over(counted, config(&TLS13))?,
            port,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sender.0.write_all(bytes)?;
        self.sender.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sender.0.conn.send_close_notify();
        self.sender.0.flush()
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.sender.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn until(&mut self, end: u8) -> io::Result<String> {
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                byte if byte == end => return String::from_utf8(text).map_err(io::Error::other),
                byte => text.push(byte),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        self.until(b'\n')
    }

    /// Reads an answer of RELP, which must be positive.
    fn frame(&mut self) -> io::Result<()> {
        self.until(b' ')?;
        let command = self.until(b' ')?;
        let len: usize = self.until(b' ')?.parse().map_err(io::Error::other)?;
        let mut data = vec![0; len + 1];
        self.sender.0.read_exact(&mut data)?;
        match command == "rsp" && data.starts_with(b"200") {
            true => Ok(()),
            false => Err(io::Error::other(command)),
        }
    }

    fn acknowledged(&self, what: What) -> Acknowledged {
        Acknowledged {
            what,
            port: self.port,
            received: self.sender.0.sock.received,
        }
    }
}

/// The header of a record (RFC 8446, section 5.1), in bytes.
const HEADER: usize = 5;

/// A connection of which no more than a record is read at a time.
struct Counted {
    tcp: TcpStream,
    received: u64,
    header: [u8; HEADER],
    /// The bytes of the header that are not passed on yet, and those of the record behind it.
    header_left: usize,
    left: usize,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.header_left == 0 {
            match self.tcp.read_exact(&mut self.header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => read?,
            }
            self.header_left = HEADER;
            self.left = u16::from_be_bytes([self.header[3], self.header[4]]).into();
        }
        let count = match self.header_left {
            0 => {
                let most = buffer.len().min(self.left);
                let count = self.tcp.read(&mut buffer[..most])?;
                self.left -= count;
                count
            }
            left => {
                let count = left.min(buffer.len());
                let at = HEADER - left;
                buffer[..count].copy_from_slice(&self.header[at..at + count]);
                self.header_left -= count;
                count
            }
        };
        self.received += count as u64;
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
