//! The records of the [library](shim.c) that the program preloads.

use std::fs;
use std::path::Path;

/// An event that the program caused. Paths are relative to the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file was made.
    Create {
        inode: u64,
        path: String,
    },
    Write {
        inode: u64,
        path: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A file's size was set.
    Resize {
        inode: u64,
        path: String,
        size: u64,
    },
    /// A file or a folder was synced, or was not.
    Sync {
        inode: u64,
        path: String,
        failed: bool,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    /// A file or a folder was removed.
    Remove {
        path: String,
    },
    MakeFolder {
        inode: u64,
        path: String,
    },
    /// Bytes were sent to the peer with this port.
    Sent {
        port: u16,
        count: u64,
    },
}

impl Event {
    /// The events of this log, in order.
    ///
    /// # Panics
    ///
    /// If the program changed something in a manner that the library can't record.
    pub fn read_all(log: &Path) -> Vec<Event> {
        let log = fs::read(log).expect("the program has the library");
        let mut rest = &log[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            events.push(Event::read(&mut rest));
        }
        events
    }

    fn read(rest: &mut &[u8]) -> Event {
        let mut take = |count: usize| {
            let (taken, after) = rest.split_at(count);
            *rest = after;
            taken
        };
        let kind = int(take(4)) as u8;
        let failed = int(take(4)) != 0;
        let (inode, offset) = (int(take(8)), int(take(8)));
        let [path, to, data] = [(); 3].map(|()| int(take(4)) as usize);
        take(4);
        let mut text = |len| String::from_utf8(take(len).to_vec()).expect("paths are ASCII");
        let (path, to) = (text(path), text(to));
        let bytes = take(data).to_vec();
        match kind {
            b'C' => Event::Create { inode, path },
            b'W' => Event::Write {
                inode,
                path,
                offset,
                bytes,
            },
            b'T' => Event::Resize {
                inode,
                path,
                size: offset,
            },
            b'S' => Event::Sync {
                inode,
                path,
                failed,
            },
            b'R' => Event::Rename { from: path, to },
            b'L' => Event::Link { from: path, to },
            b'U' => Event::Remove { path },
            b'M' => Event::MakeFolder { inode, path },
            b'N' => Event::Sent {
                port: u16::try_from(offset).expect("a port has 16 bits"),
                count: inode,
            },
            _ => panic!("the program used {path}, which is not recorded"),
        }
    }
}

/// A number in the byte order of the machines that the library runs on.
fn int(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
}
