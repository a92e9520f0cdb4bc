//! What no server can do without: receiving the bytes, and opening the records. The same sizes and
//! the same cipher as in bulk, with one thread, blocking reads, and each record opened in the buffer
//! that it was received into.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};

use crate::client::RECORD;
use crate::cores::{Cores, run_on};

/// Type, version and length (RFC 8446, section 5.2).
const HEADER: usize = 5;

/// The content's type behind it, and the tag.
const TRAILER: usize = 1 + 16;

/// The processor time of a thread that receives and opens `bytes`, with reads of at most `read`
/// bytes.
pub fn measure(bytes: usize, read: usize) -> io::Result<Duration> {
    let sealed = seal(bytes)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    sender.set_nodelay(true)?;
    let (receiver, _) = listener.accept()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            run_on(Cores::Server)?;
            open(receiver, read, bytes)
        });
        for piece in sealed.chunks(64 << 10) {
            sender.write_all(piece)?;
        }
        drop(sender);
        receiving.join().expect("nothing in it panics")
    })
}

fn open(mut socket: TcpStream, read: usize, expected: usize) -> io::Result<Duration> {
    let key = key()?;
    let whole = HEADER + RECORD + TRAILER;
    // What is left of a record is moved to the front, and takes less than one.
    let mut buffer = vec![0; whole + read];
    let (mut filled, mut sequence, mut opened) = (0, 0, 0);
    let start = thread_time();
    loop {
        let n = socket.read(&mut buffer[filled..filled + read])?;
        if n == 0 {
            break;
        }
        filled += n;
        let mut at = 0;
        while let Some(&[_, _, _, high, low]) = buffer[at..filled].first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if filled - at < HEADER + length {
                break;
            }
            let (header, rest) = buffer[at..].split_at_mut(HEADER);
            let plain = key
                .open_in_place(nonce(sequence), Aad::from(header), &mut rest[..length])
                .map_err(|_| io::Error::other("the record can't be opened"))?;
            opened += plain.len() - 1;
            sequence += 1;
            at += HEADER + length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    let time = thread_time() - start;
    if opened != expected {
        return Err(io::Error::other("not everything has come"));
    }
    Ok(time)
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
