//! The least work of any server: to receive the bytes and to open the records. Sizes and cipher are
//! the same as elsewhere, and one thread opens each record in the buffer that received it.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};

use crate::client::RECORD;
use crate::cores::{Cores, run_on};

/// The size of a record's header: type, version and length (RFC 8446, section 5.2).
const HEADER: usize = 5;

/// The bytes that sealing adds behind the content: its type, and the tag.
const TRAILER: usize = 1 + 16;

/// The size of a full record when it is sealed, in bytes.
pub const WHOLE: usize = sealed_size(RECORD);

/// The size of a sealed record of this many bytes.
pub const fn sealed_size(record: usize) -> usize {
    HEADER + record + TRAILER
}

/// The way in which bytes arrive.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// The number of bytes, before they are sealed.
    pub bytes: usize,
    pub senders: usize,
    /// The number of bytes that each sender writes before the next one's turn.
    pub write: usize,
    /// The most that is read at once, in bytes.
    pub read: usize,
}

/// The processor time of a thread that receives and opens all records.
pub fn measure(traffic: Traffic) -> io::Result<Duration> {
    let Traffic { senders, write, .. } = traffic;
    // All senders have the same key and send the same bytes.
    let sealed = seal(traffic.bytes / senders)?;
    let expected = traffic.bytes / senders * senders;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut sending, mut receiving) = (Vec::new(), Vec::new());
    for _ in 0..senders {
        let sender = TcpStream::connect(listener.local_addr()?)?;
        sender.set_nodelay(true)?;
        sending.push(sender);
        receiving.push(Receiver::new(listener.accept()?.0));
    }
    thread::scope(move |scope| {
        let receiving = scope.spawn(move || {
            run_on(Cores::Server)?;
            receive(receiving, traffic.read, expected)
        });
        for piece in sealed.chunks(write) {
            sending
                .iter_mut()
                .try_for_each(|sender| sender.write_all(piece))?;
        }
        // No sender has closed by now: a closed connection counts as readable for as long as it
        // exists.
        receiving.join().expect("nothing in it panics")
    })
}

fn receive(mut receivers: Vec<Receiver>, read: usize, expected: usize) -> io::Result<Duration> {
    let key = key()?;
    let mut spare = Vec::new();
    let mut events = Vec::with_capacity(receivers.len());
    // With one connection, there is no need to poll.
    let ready = match receivers.len() {
        1 => None,
        _ => Some(watch(&receivers)?),
    };
    let mut opened = 0;
    let start = thread_time();
    while opened < expected {
        match &ready {
            None => opened += receivers[0].receive(&key, &mut spare, read)?,
            Some(ready) => {
                epoll::wait(ready, spare_capacity(&mut events), None)?;
                for event in events.drain(..) {
                    let receiver = &mut receivers[event.data.u64() as usize];
                    opened += receiver.receive(&key, &mut spare, read)?;
                }
            }
        }
    }
    Ok(thread_time() - start)
}

fn watch(receivers: &[Receiver]) -> io::Result<OwnedFd> {
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, receiver) in receivers.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&ready, &receiver.socket, data, epoll::EventFlags::IN)?;
    }
    Ok(ready)
}

struct Receiver {
    socket: TcpStream,
    sequence: u64,
    /// The front of the buffer has the arrived part of a record; it is empty while none has begun.
    buffer: Vec<u8>,
    filled: usize,
}

impl Receiver {
    fn new(socket: TcpStream) -> Self {
        Receiver {
            socket,
            sequence: 0,
            buffer: Vec::new(),
            filled: 0,
        }
    }

    /// Reads once, and opens the records that are whole by then. Returns the number of bytes in
    /// them.
    fn receive(
        &mut self,
        key: &LessSafeKey,
        spare: &mut Vec<Vec<u8>>,
        read: usize,
    ) -> io::Result<usize> {
        if self.buffer.is_empty() {
            // The buffer used last is still in the cache.
            self.buffer = spare.pop().unwrap_or_else(|| vec![0; WHOLE + read]);
        }
        let buffer = &mut self.buffer;
        let n = self
            .socket
            .read(&mut buffer[self.filled..self.filled + read])?;
        if n == 0 {
            return Err(io::Error::other("not everything has come"));
        }
        let filled = self.filled + n;
        let (mut at, mut opened) = (0, 0);
        while let Some(&[_, _, _, high, low]) = buffer[at..filled].first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if filled - at < HEADER + length {
                break;
            }
            let (header, rest) = buffer[at..].split_at_mut(HEADER);
            let plain = key
                .open_in_place(nonce(self.sequence), Aad::from(header), &mut rest[..length])
                .map_err(|_| io::Error::other("the record can't be opened"))?;
            opened += plain.len() - 1;
            self.sequence += 1;
            at += HEADER + length;
        }
        buffer.copy_within(at..filled, 0);
        self.filled = filled - at;
        if self.filled == 0 {
            spare.push(mem::take(buffer));
        }
        Ok(opened)
    }
}

fn seal(bytes: usize) -> io::Result<Vec<u8>> {
    let key = key()?;
    let mut sealed = Vec::with_capacity(bytes + bytes.div_ceil(RECORD) * (HEADER + TRAILER));
    for (sequence, at) in (0..bytes).step_by(RECORD).enumerate() {
        let size = RECORD.min(bytes - at);
        let [high, low] = u16::try_from(size + TRAILER)
            .expect("a record is small")
            .to_be_bytes();
        let header = [0x17, 3, 3, high, low];
        let mut record = vec![b'x'; size];
        record.push(0x17);
        key.seal_in_place_append_tag(nonce(sequence as u64), Aad::from(header), &mut record)
            .map_err(|_| io::Error::other("the record can't be sealed"))?;
        sealed.extend_from_slice(&header);
        sealed.append(&mut record);
    }
    Ok(sealed)
}

fn key() -> io::Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_128_GCM, b"not a secret key");
    key.map(LessSafeKey::new)
        .map_err(|_| io::Error::other("the key has the wrong length"))
}

fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}
