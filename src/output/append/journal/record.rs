//! The records of the journal.

use std::sync::Arc;

use crate::resume::{Position, Resumed};

/// A fact about streams and files. Records count in the order of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::output::append) enum Record {
    /// A stream is known from now on, or was used on another day.
    Stream {
        stream: u32,
        name: Arc<Resumed>,
        at: Position,
        /// The day of its last use, counted from 1970.
        day: u32,
    },
    /// A stream is no longer known.
    Forget { stream: u32 },
    /// A stream, whose lines are in no file that is known here, has this position.
    Moved { stream: u32, to: Position, day: u32 },
    /// A file was opened.
    File {
        file: u64,
        identity: Identity,
        /// Its path, below the output folder.
        name: String,
        /// Its size, in bytes.
        len: u64,
    },
    /// Bytes are about to be written to a file.
    Batch { file: u64, batch: Batch },
    /// The batches of a file whose records have this number or a later one are given up.
    Undo { file: u64, from: u64 },
    /// A sync of a file failed, so its batches that are not committed are lost.
    Lost { file: u64 },
    /// All records with a lower number are synced in their files.
    Commit { below: u64, day: u32 },
    /// A file is about to be renamed, and complete.
    Rotate { file: u64, to: String },
    /// A file is complete, and needs nothing at the next start.
    Closed { file: u64 },
}

/// The properties by which a file is found again when it was renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::output::append) struct Identity {
    pub(in crate::output::append) inode: u64,
    /// When it was created, in nanoseconds since 1970, as numbers of inodes are used again; 0 if the
    /// file system does not tell.
    pub(in crate::output::append) born: u64,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::output::append) struct Batch {
    pub(in crate::output::append) position: u64,
    pub(in crate::output::append) len: u64,
    /// The CRC-32C of the bytes.
    pub(in crate::output::append) crc32c: u32,
    /// The positions of the streams that the bytes come from, behind them. Empty if these are not
    /// resumed ones.
    pub(in crate::output::append) streams: Vec<(u32, Position)>,
}

impl Batch {
    /// The position behind the bytes.
    pub(in crate::output::append) fn end(&self) -> u64 {
        self.position.saturating_add(self.len)
    }

    /// Whether the senders of the bytes send them again if they are not committed.
    pub(in crate::output::append) fn is_resumed(&self) -> bool {
        !self.streams.is_empty()
    }
}

impl Record {
    /// Appends the kind and the fields.
    pub(in crate::output::append) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Record::Stream {
                stream,
                name,
                at,
                day,
            } => {
                to.push(1);
                put_u32(to, *stream);
                put_position(to, *at);
                put_u32(to, *day);
                to.push(u8::from(name.client.is_some()));
                put_text(to, name.client.as_deref().unwrap_or_default());
                put_text(to, &name.name);
            }
            Record::Forget { stream } => {
                to.push(2);
                put_u32(to, *stream);
            }
            Record::File {
                file,
                identity,
                name,
                len,
            } => {
                to.push(3);
                put_u64(to, *file);
                put_u64(to, identity.inode);
                put_u64(to, identity.born);
                put_u64(to, *len);
                put_text(to, name);
            }
            Record::Batch { file, batch } => {
                to.push(4);
                put_u64(to, *file);
                put_u64(to, batch.position);
                put_u64(to, batch.len);
                put_u32(to, batch.crc32c);
                put_u32(to, u32::try_from(batch.streams.len()).unwrap_or(u32::MAX));
                for (stream, at) in &batch.streams {
                    put_u32(to, *stream);
                    put_position(to, *at);
                }
            }
            Record::Undo { file, from } => {
                to.push(5);
                put_u64(to, *file);
                put_u64(to, *from);
            }
            Record::Lost { file } => {
                to.push(6);
                put_u64(to, *file);
            }
            Record::Commit { below, day } => {
                to.push(7);
                put_u64(to, *below);
                put_u32(to, *day);
            }
            Record::Rotate { file, to: name } => {
                to.push(8);
                put_u64(to, *file);
                put_text(to, name);
            }
            Record::Closed { file } => {
                to.push(9);
                put_u64(to, *file);
            }
            Record::Moved {
                stream,
                to: at,
                day,
            } => {
                to.push(10);
                put_u32(to, *stream);
                put_position(to, *at);
                put_u32(to, *day);
            }
        }
    }

    /// Decodes a kind and its fields; `None` if they are not valid.
    pub(in crate::output::append) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Fields(bytes);
        let record = match from.u8()? {
            1 => {
                let (stream, at, day) = (from.u32()?, from.position()?, from.u32()?);
                let has_client = from.u8()? != 0;
                let (client, name) = (from.text()?, from.text()?);
                let client = has_client.then_some(client);
                Record::Stream {
                    stream,
                    name: Arc::new(Resumed { client, name }),
                    at,
                    day,
                }
            }
            2 => Record::Forget {
                stream: from.u32()?,
            },
            3 => Record::File {
                file: from.u64()?,
                identity: Identity {
                    inode: from.u64()?,
                    born: from.u64()?,
                },
                len: from.u64()?,
                name: from.text()?,
            },
            4 => {
                let (file, position, len) = (from.u64()?, from.u64()?, from.u64()?);
                let (crc32c, count) = (from.u32()?, from.u32()?);
                let streams = (0..count).map(|_| Some((from.u32()?, from.position()?)));
                let streams = streams.collect::<Option<_>>()?;
                let batch = Batch {
                    position,
                    len,
                    crc32c,
                    streams,
                };
                Record::Batch { file, batch }
            }
            5 => Record::Undo {
                file: from.u64()?,
                from: from.u64()?,
            },
            6 => Record::Lost { file: from.u64()? },
            7 => Record::Commit {
                below: from.u64()?,
                day: from.u32()?,
            },
            8 => Record::Rotate {
                file: from.u64()?,
                to: from.text()?,
            },
            9 => Record::Closed { file: from.u64()? },
            10 => Record::Moved {
                stream: from.u32()?,
                to: from.position()?,
                day: from.u32()?,
            },
            _ => return None,
        };
        from.0.is_empty().then_some(record)
    }
}

fn put_u32(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_position(to: &mut Vec<u8>, at: Position) {
    put_u64(to, at.offset);
    put_u32(to, at.crc32c);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put_u32(to, u32::try_from(text.len()).unwrap_or(u32::MAX));
    to.extend_from_slice(text.as_bytes());
}

/// The fields that are not decoded yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            offset: self.u64()?,
            crc32c: self.u32()?,
        })
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::*;

    pub(in super::super) fn at(offset: u64) -> Position {
        Position {
            offset,
            crc32c: u32::MAX - 7,
        }
    }

    pub(in super::super) fn stream(stream: u32, name: &str, offset: u64) -> Record {
        Record::Stream {
            stream,
            name: Arc::new(Resumed {
                client: None,
                name: name.to_owned(),
            }),
            at: at(offset),
            day: 20_000,
        }
    }

    /// One record of each kind.
    pub(in super::super) fn all() -> Vec<Record> {
        let batch = |streams| Batch {
            position: 77,
            len: u64::MAX,
            crc32c: 5,
            streams,
        };
        vec![
            stream(3, "web1/é", 9),
            Record::Stream {
                stream: 4,
                name: Arc::new(Resumed {
                    client: Some(String::new()),
                    name: "s".to_owned(),
                }),
                at: at(0),
                day: 0,
            },
            Record::Forget { stream: 3 },
            Record::File {
                file: 1,
                identity: Identity {
                    inode: u64::MAX,
                    born: 1,
                },
                name: "a/b.log".to_owned(),
                len: 77,
            },
            Record::Batch {
                file: 1,
                batch: batch(Vec::new()),
            },
            Record::Batch {
                file: 1,
                batch: batch(vec![(3, at(10)), (4, at(1))]),
            },
            Record::Undo { file: 1, from: 5 },
            Record::Lost { file: 1 },
            Record::Commit { below: 8, day: 1 },
            Record::Rotate {
                file: 1,
                to: "a/b.log.1".to_owned(),
            },
            Record::Closed { file: 1 },
            Record::Moved {
                stream: 4,
                to: at(11),
                day: 2,
            },
        ]
    }

    #[test]
    fn a_record_is_the_same_behind_its_bytes_and_no_part_of_them_is_one() {
        for record in all() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes).as_ref(), Some(&record));
            for len in 0..bytes.len() {
                assert_eq!(Record::decode(&bytes[..len]), None, "{record:?}");
            }
            bytes.push(0);
            assert_eq!(Record::decode(&bytes), None);
        }
        assert_eq!(Record::decode(&[99]), None);
    }
}
