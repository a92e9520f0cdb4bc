//! Senders that misbehave, each in its own way. Their plans are random, and tell the expected
//! results beforehand.

use std::fmt::{self, Write};
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tlsink::decode::Format;

use super::sealed::Sealed;
use crate::common::dice::Dice;
use crate::common::flushed::Flushed;
use crate::common::program::{Program, Version};

/// The fault of a stream, and its place.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Nothing,
    /// Each byte is a packet of its own.
    OneByteAtATime,
    /// The sender stalls in the middle of a record, until most others have ended.
    Stall,
    /// After its close_notify, the sender closes its side of the socket, and reads on.
    HalfClose,
    /// The connection is closed without a close_notify.
    NoCloseNotify,
    /// The connection is closed in the middle of a record.
    NoCloseNotifyInRecord,
    /// The connection is reset.
    Reset,
    /// No more data comes, and the connection stays open.
    Vanish,
    /// No more data comes in the middle of a record, and the connection stays open.
    VanishInRecord,
    /// A close_notify comes before the end of the data.
    Truncate,
    /// A bit of a record is flipped on its way.
    FlipInRecord,
    /// A record is lost on its way.
    LostRecord,
    /// A record comes twice.
    RepeatedRecord,
    /// A record comes before the one that was sent before it.
    SwappedRecords,
    /// A bit of the compressed data was flipped before it was sealed.
    FlipInData,
}

impl Fault {
    const ALL: [Fault; 15] = [
        Fault::Nothing,
        Fault::OneByteAtATime,
        Fault::Stall,
        Fault::HalfClose,
        Fault::NoCloseNotify,
        Fault::NoCloseNotifyInRecord,
        Fault::Reset,
        Fault::Vanish,
        Fault::VanishInRecord,
        Fault::Truncate,
        Fault::FlipInRecord,
        Fault::LostRecord,
        Fault::RepeatedRecord,
        Fault::SwappedRecords,
        Fault::FlipInData,
    ];

    const COMPRESSED: [Format; 4] = [Format::Gzip, Format::Zlib, Format::Zstd, Format::Qt];

    /// Whether the bytes that arrive differ from those sent, or from those intended.
    fn is_damage(self) -> bool {
        matches!(
            self,
            Fault::FlipInRecord
                | Fault::LostRecord
                | Fault::RepeatedRecord
                | Fault::SwappedRecords
                | Fault::FlipInData
        )
    }

    /// The formats of such a stream, all of which can be detected.
    fn formats(self) -> &'static [Format] {
        match self {
            Fault::FlipInData => &Fault::COMPRESSED,
            _ => &[
                Format::Plain,
                Format::Gzip,
                Format::Zlib,
                Format::Zstd,
                Format::Qt,
            ],
        }
    }
}

/// The latest byte at which a format is detected.
pub const DETECTED: usize = 64;

/// The bytes at the front of a record that are not encrypted (RFC 8446, section 5.2).
const RECORD_HEADER: usize = 5;

/// The most bytes in a record that is broken off or damaged.
pub const MOST_IN_RECORD: usize = 1000;

/// The plan of a sender.
pub struct Plan {
    pub stream: Flushed,
    pub fault: Fault,
    /// The number of bytes of the stream that come before the fault.
    pub at: usize,
    /// Whether the flipped bit of a record is in its header.
    pub in_header: bool,
    pub version: Version,
    seed: u64,
}

impl Plan {
    pub fn roll(dice: &mut Dice, sender: usize) -> Self {
        let fault = match Fault::ALL.get(sender) {
            Some(fault) => *fault,
            None => dice.one_of(&Fault::ALL),
        };
        let format = dice.one_of(fault.formats());
        let lines = match fault {
            Fault::OneByteAtATime => 20,
            _ => dice.one_of(&[20, 200, 3000]) + dice.below(20),
        };
        let stream = roll_stream(dice, sender, format, lines);
        let len = stream.encoded.len();
        let flushes: Vec<_> = stream.flushes().collect();
        let at = match fault {
            // The damaged byte must exist, and be behind the bytes that decide the format.
            _ if fault.is_damage() => DETECTED + dice.below(len - DETECTED),
            _ if dice.below(3) == 0 => dice.one_of(&flushes),
            _ => DETECTED + dice.below(len + 1 - DETECTED),
        };
        Plan {
            stream,
            fault,
            at,
            in_header: dice.below(4) == 0,
            version: dice.one_of(&Version::ALL),
            seed: dice.next(),
        }
    }

    /// Whether the sender waits for the others to end.
    pub fn waits(&self) -> bool {
        matches!(self.fault, Fault::Stall)
    }

    /// Carries out the plan. Returns the connection if it is to stay open.
    pub fn send(
        &self,
        mut client: Sealed,
        program: &Program,
        others: &Others,
    ) -> io::Result<Option<Sealed>> {
        let dice = &mut Dice::new(self.seed);
        let all = &self.stream.encoded;
        let (before, after) = all.split_at(self.at);
        let (next, rest) = after.split_at(after.len().min(MOST_IN_RECORD));
        match self.fault {
            Fault::Nothing | Fault::HalfClose => pass_on(&mut client, dice, all)?,
            Fault::OneByteAtATime => {
                for piece in all.chunks(50) {
                    client.seal(piece);
                    client.send_bytes()?;
                }
            }
            Fault::Stall => {
                pass_on(&mut client, dice, before)?;
                if !next.is_empty() {
                    send_part_of_record(&mut client, dice, next)?;
                }
                others.wait_a_while();
                pass_on(&mut client, dice, rest)?;
            }
            Fault::NoCloseNotify
            | Fault::NoCloseNotifyInRecord
            | Fault::Vanish
            | Fault::VanishInRecord
            | Fault::Truncate => pass_on(&mut client, dice, before)?,
            Fault::Reset => {
                client.send()?;
                // A sender that breaks off its handshake has no stream.
                let peer = format!("tlsink: {}: ", client.local_address());
                program.wait_for_line(|line| line.starts_with(&peer));
                pass_on(&mut client, dice, before)?;
            }
            Fault::FlipInRecord => {
                // The damaged record may be in the same packet as the sound ones.
                seal_in_pieces(&mut client, dice, before)?;
                let sound = client.held.len();
                client.seal(next);
                let at = match (self.in_header, client.held.len() - sound - RECORD_HEADER) {
                    (true, _) => dice.below(RECORD_HEADER),
                    (false, encrypted) => RECORD_HEADER + dice.below(encrypted),
                };
                client.held[sound + at] ^= 1 << dice.below(8);
                // The server may have closed the connection by now.
                let _ = pass_on(&mut client, dice, rest);
            }
            Fault::LostRecord => {
                seal_in_pieces(&mut client, dice, before)?;
                let sound = client.held.len();
                client.seal(next);
                client.held.truncate(sound);
                let _ = pass_on(&mut client, dice, rest);
            }
            Fault::RepeatedRecord => {
                seal_in_pieces(&mut client, dice, before)?;
                let sound = client.held.len();
                client.seal(next);
                client.held.extend_from_within(sound..);
                let _ = pass_on(&mut client, dice, rest);
            }
            Fault::SwappedRecords => {
                seal_in_pieces(&mut client, dice, before)?;
                let sound = client.held.len();
                client.seal(next);
                let first = client.held.split_off(sound);
                client.seal(never_whole(rest));
                client.held.extend(first);
                let _ = client.send();
            }
            Fault::FlipInData => {
                let mut damaged = all.clone();
                damaged[self.at] ^= 1 << dice.below(8);
                let _ = pass_on(&mut client, dice, &damaged);
            }
        }
        match self.fault {
            Fault::Nothing | Fault::OneByteAtATime | Fault::Stall => {
                client.seal_close_notify();
                client.send()?;
                assert!(client.read_to_end()?, "{self}: no close_notify came");
            }
            Fault::Truncate => {
                client.seal_close_notify();
                client.send()?;
                let is_clean = self.stream.is_whole(before.len());
                assert_eq!(client.read_to_end()?, is_clean, "{self}: close_notify");
            }
            Fault::HalfClose => {
                client.seal_close_notify();
                client.send()?;
                client.stop_sending()?;
                assert!(client.read_to_end()?, "{self}: no close_notify came");
            }
            Fault::NoCloseNotify | Fault::NoCloseNotifyInRecord => {
                if let Fault::NoCloseNotifyInRecord = self.fault {
                    send_part_of_record(&mut client, dice, never_whole(next))?;
                }
                client.stop_sending()?;
                assert!(!client.read_to_end()?, "{self}: it was taken for complete");
            }
            Fault::Reset => client.reset()?,
            Fault::Vanish => return Ok(Some(client)),
            Fault::VanishInRecord => {
                send_part_of_record(&mut client, dice, never_whole(next))?;
                return Ok(Some(client));
            }
            // The server may already have received the damage, and closed the connection.
            _ => {
                client.seal_close_notify();
                let _ = client.send().and_then(|()| client.stop_sending());
                let _ = client.read_to_end();
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            stream,
            fault,
            at,
            in_header,
            version,
            ..
        } = self;
        write!(
            f,
            "{fault:?} after {at} of {} bytes of {}, in {version:?}",
            stream.encoded.len(),
            stream.format
        )?;
        if let (Fault::FlipInRecord, true) = (fault, in_header) {
            write!(f, ", in a header")?;
        }
        Ok(())
    }
}

/// The senders whose streams end by themselves.
pub struct Others {
    left: Mutex<usize>,
    fewer: Condvar,
}

impl Others {
    pub fn of(plans: &[Plan]) -> Self {
        let others = plans.iter().filter(|plan| !plan.waits());
        Others {
            left: Mutex::new(others.count()),
            fewer: Condvar::new(),
        }
    }

    pub fn one_is_through(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.fewer.notify_all();
    }

    /// Waits until all of them have ended, or long enough for a stall, but not for a timeout.
    fn wait_a_while(&self) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_secs(1);
        drop(self.fewer.wait_timeout_while(left, wait, |left| *left > 0));
    }
}

/// Numbered lines of this sender, with flushes at random places.
fn roll_stream(dice: &mut Dice, sender: usize, format: Format, lines: usize) -> Flushed {
    let mut text = String::new();
    for line in 0..lines {
        let _ = write!(text, "sender {sender} line {line} ");
        // These digits compress badly, so that the compressed streams are long enough, too.
        for _ in 0..3 + dice.below(5) {
            let _ = write!(text, "{:x}", dice.next());
        }
        text.push('\n');
    }
    if dice.below(2) == 0 {
        text.pop();
    }
    let most = 1 + text.len() / dice.one_of(&[1, 3, 10]);
    let parts: Vec<_> = dice.pieces(text.as_bytes(), most).collect();
    let per_member = 1 + dice.below(parts.len());
    Flushed::new(format, &parts, per_member)
}

/// Sends these bytes in records of many sizes, of which several may go in one packet.
fn pass_on(client: &mut Sealed, dice: &mut Dice, bytes: &[u8]) -> io::Result<()> {
    seal_in_pieces(client, dice, bytes)?;
    client.send()
}

/// Seals these bytes in records of many sizes, and sends them. The last ones may be held back.
fn seal_in_pieces(client: &mut Sealed, dice: &mut Dice, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let most = dice.one_of(&[1, 100, 5000, 40_000]);
        let (piece, after) = bytes.split_at(bytes.len().min(1 + dice.below(most)));
        client.seal(piece);
        if dice.below(2) == 0 {
            client.send()?;
        }
        bytes = after;
    }
    Ok(())
}

/// Sends the held bytes, and then a part of a record with this content; the rest of the record is
/// held.
fn send_part_of_record(client: &mut Sealed, dice: &mut Dice, content: &[u8]) -> io::Result<()> {
    client.send()?;
    client.seal(content);
    client.send_some(1 + dice.below(client.held.len() - 1))
}

/// The content of a record that will not be finished: the next data, if there is any.
fn never_whole(next: &[u8]) -> &[u8] {
    if next.is_empty() { b"more" } else { next }
}
