//! Places in files, and the fingerprints by which a file is known again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The bytes at the beginning of a file, and before a place in it, that tell it from others.
pub(crate) const MARKED: usize = 1024;

/// A place in a file, with bytes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    offset: u64,
    /// The first bytes of the file, at most [`MARKED`], and none behind the place.
    first: Vec<u8>,
    /// The bytes before the place, at most [`MARKED`].
    last: Vec<u8>,
}

/// A place in a file, and checksums (CRC-32C) of what is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) offset: u64,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Mark {
    /// Reads what is marked at this place; `None` if the file is shorter.
    ///
    /// # Errors
    ///
    /// When the file can't be read.
    pub(crate) fn read(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let len = usize::try_from(offset).unwrap_or(MARKED).min(MARKED);
        let (mut first, mut last) = (vec![0; len], vec![0; len]);
        let read = file
            .read_exact_at(&mut first, 0)
            .and_then(|()| file.read_exact_at(&mut last, offset.saturating_sub(len as u64)));
        match read {
            Ok(()) => Ok(Some(Mark {
                offset,
                first,
                last,
            })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the place behind these bytes, which follow it in the file.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        let missing = MARKED.saturating_sub(self.first.len());
        let more = bytes.get(..missing.min(bytes.len())).unwrap_or_default();
        self.first.extend_from_slice(more);
        let newest = bytes.len().saturating_sub(MARKED);
        self.last
            .extend_from_slice(bytes.get(newest..).unwrap_or_default());
        let surplus = self.last.len().saturating_sub(MARKED);
        self.last.drain(..surplus);
    }

    /// The number of bytes before the place.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes before the place, at most [`MARKED`].
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            offset: self.offset,
            first: crc32c::crc32c(&self.first),
            last: crc32c::crc32c(&self.last),
        }
    }
}

impl Fingerprint {
    /// Whether it tells one file from others by itself, whatever their inodes: files may well begin
    /// with the same lines.
    pub(crate) fn is_distinct(&self) -> bool {
        self.offset >= MARKED as u64
    }

    /// The place in this file, if its bytes are those of the fingerprint.
    ///
    /// # Errors
    ///
    /// When the file can't be read.
    pub(crate) fn find_in(&self, file: &File) -> io::Result<Option<Mark>> {
        let mark = Mark::read(file, self.offset)?;
        Ok(mark.filter(|mark| mark.fingerprint() == *self))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_mark_is_the_same_however_the_file_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n / 7) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        for piece in [1, 10, 1023, 1024, 1025, 5000] {
            let mut mark = Mark::default();
            for bytes in bytes.chunks(piece) {
                mark.advance(bytes);
                let read = Mark::read(&file, mark.offset()).unwrap();
                assert_eq!(read.as_ref(), Some(&mark));
                assert_eq!(mark.fingerprint().find_in(&file).unwrap(), read);
            }
        }
        assert_eq!(Mark::read(&file, 5001).unwrap(), None);
        assert_eq!(Mark::read(&file, 0).unwrap(), Some(Mark::default()));
    }

    #[test]
    fn another_file_has_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut bytes = vec![b'x'; 4000];
        let mut mark = Mark::default();
        mark.advance(&bytes);
        let fingerprint = mark.fingerprint();
        for (at, is_marked) in [
            (0, true),
            (1023, true),
            (1024, false),
            (2975, false),
            (2976, true),
            (3999, true),
        ] {
            bytes[at] = b'y';
            fs::write(&path, &bytes).unwrap();
            let found = fingerprint.find_in(&File::open(&path).unwrap()).unwrap();
            assert_eq!(found.is_none(), is_marked, "{at}");
            bytes[at] = b'x';
        }
        fs::write(&path, &bytes[..3999]).unwrap();
        let found = fingerprint.find_in(&File::open(&path).unwrap()).unwrap();
        assert_eq!(found, None);
    }
}
