//! The file that the records are in.
//!
//! ```text
//! "tlsinkJ1" | id (16 bytes) | number of the first record (u64) | crc32c (u32) | zeros up to 64 bytes
//! len (u32) | crc32c (u32) | number (u64) | synced (u64) | kind and fields | zeros up to 8 bytes
//! …
//! zeros
//! ```
//!
//! All numbers are little-endian. `len` counts the bytes from `number` to the fields. The checksum of
//! a record covers the id of the file, `len` and everything behind it, so that no record of another
//! journal is taken for one of this. `synced` is the size up to which the file was known to be synced
//! when the record was written: it tells a torn tail from damage.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::record::Record;

const MAGIC: &[u8; 8] = b"tlsinkJ1";

/// The size of the header, in bytes.
const HEADER: u64 = 64;

/// The sizes of `len` and `crc32c`, and of `number` and `synced`, in bytes.
const PREFIX: usize = 8;
const NUMBERS: usize = 16;

/// The least size of a journal, in bytes: with the zeros written in advance, a sync has no changes of
/// the file's size to write.
pub(super) const SIZE: u64 = 16 << 20;

/// The most zeros that are written at once.
const PIECE: usize = 1 << 20;

/// A journal that records are appended to.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: Arc<File>,
    id: [u8; 16],
    /// The size of the header and all records, in bytes.
    end: u64,
    /// The size with the zeros, in bytes.
    size: u64,
    /// Up to where it is synced.
    synced: u64,
    /// The number of the next record.
    next: u64,
    /// The last record, encoded; kept for its room.
    encoded: Vec<u8>,
}

/// The records of a journal, up to a torn tail.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The records and their numbers.
    pub(super) records: Vec<(u64, Record)>,
    /// The number of the next record.
    pub(super) next: u64,
}

impl JournalFile {
    /// Creates a journal with these records, of which the first gets the number `first`, in place of
    /// what has this path.
    ///
    /// # Errors
    ///
    /// When it can't be written or synced. Then the path is as it was.
    pub(super) fn create(
        path: &Path,
        first: u64,
        records: &[Record],
        least: u64,
    ) -> io::Result<Self> {
        let new = path.with_extension("new");
        let made = JournalFile::make(&new, first, records, least)
            .and_then(|journal| fs::rename(&new, path).map(|()| journal))
            .inspect_err(|_| _ = fs::remove_file(&new))?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(made)
    }

    fn make(path: &Path, first: u64, records: &[Record], least: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.open(path)?;
        let mut journal = JournalFile {
            file: Arc::new(file),
            id: random(),
            end: HEADER,
            size: 0,
            synced: 0,
            next: first,
            encoded: Vec::new(),
        };
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&journal.id);
        header.extend_from_slice(&first.to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        header.resize(usize::try_from(HEADER).unwrap_or_default(), 0);
        (&*journal.file).write_all(&header)?;
        for record in records {
            journal.append(record)?;
        }
        let wanted = journal.end.saturating_mul(4).max(least);
        journal.size = wanted.next_multiple_of(PIECE as u64);
        let zeros = vec![0; PIECE];
        let mut left = journal.size.saturating_sub(journal.end);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            (&*journal.file).write_all(zeros.get(..count).unwrap_or(&zeros))?;
            left = left.saturating_sub(count as u64);
        }
        journal.file.sync_all()?;
        journal.synced = journal.end;
        Ok(journal)
    }

    /// Appends a record, which is not synced; returns its number.
    ///
    /// # Errors
    ///
    /// When it can't be written. Then nothing can be appended any more.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<u64> {
        let number = self.next;
        let encoded = &mut self.encoded;
        encoded.clear();
        encoded.resize(PREFIX, 0);
        encoded.extend_from_slice(&number.to_le_bytes());
        encoded.extend_from_slice(&self.synced.to_le_bytes());
        record.encode(encoded);
        let len = u32::try_from(encoded.len().saturating_sub(PREFIX))
            .map_err(|_| io::Error::from(ErrorKind::FileTooLarge))?;
        let len = len.to_le_bytes();
        let body = encoded.get(PREFIX..).unwrap_or_default();
        let checksum = checksum(&self.id, len, body).to_le_bytes();
        let prefix = len.into_iter().chain(checksum);
        for (to, byte) in encoded.iter_mut().zip(prefix) {
            *to = byte;
        }
        encoded.resize(encoded.len().next_multiple_of(8), 0);
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(encoded)?;
        self.end = self.end.saturating_add(encoded.len() as u64);
        self.next = number.saturating_add(1);
        Ok(number)
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether so little room is left that a new journal is due.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.end > self.size / 4 * 3
    }

    /// The file to sync, and the size up to which it is synced then; `None` if it is.
    pub(super) fn unsynced(&self) -> Option<(Arc<File>, u64)> {
        (self.synced < self.end).then(|| (Arc::clone(&self.file), self.end))
    }

    /// The size of the header and all records, in bytes.
    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// It is synced up to this size.
    pub(super) fn set_synced(&mut self, end: u64) {
        self.synced = self.synced.max(end);
    }
}

impl Scanned {
    /// Reads the journal with this path; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When it can't be read, or with [`InvalidData`](ErrorKind::InvalidData) if it is damaged.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match Scanned::of(&bytes) {
            Some(scanned) => Ok(Some(scanned)),
            None => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Reads a whole journal; `None` if it is damaged.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (id, mut next) = parse_header(bytes)?;
        let mut at = usize::try_from(HEADER).ok()?;
        let mut records = Vec::new();
        while let Some(raw) = RawRecord::at(bytes, at, &id)
            && raw.number == next
            && let Some(record) = Record::decode(raw.fields)
        {
            records.push((next, record));
            next = next.saturating_add(1);
            at = raw.end;
        }
        // Everything before that is synced was good when it was synced.
        let was_synced = (at..bytes.len()).step_by(8).any(|behind| {
            RawRecord::at(bytes, behind, &id).is_some_and(|raw| raw.synced > at as u64)
        });
        (!was_synced).then_some(Scanned { records, next })
    }
}

/// A record whose checksum is right.
struct RawRecord<'a> {
    number: u64,
    synced: u64,
    fields: &'a [u8],
    /// The position behind it.
    end: usize,
}

impl<'a> RawRecord<'a> {
    fn at(bytes: &'a [u8], at: usize, id: &[u8; 16]) -> Option<Self> {
        let (len, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
        let (crc32c, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        if size < NUMBERS {
            return None;
        }
        let body = rest.get(..size)?;
        if checksum(id, *len, body) != u32::from_le_bytes(*crc32c) {
            return None;
        }
        let (number, fields) = body.split_first_chunk::<8>()?;
        let (synced, fields) = fields.split_first_chunk::<8>()?;
        let len = PREFIX.checked_add(size)?.checked_next_multiple_of(8)?;
        Some(RawRecord {
            number: u64::from_le_bytes(*number),
            synced: u64::from_le_bytes(*synced),
            fields,
            end: at.checked_add(len)?,
        })
    }
}

fn parse_header(bytes: &[u8]) -> Option<([u8; 16], u64)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (crc32c, _) = rest.split_first_chunk::<4>()?;
    let covered = bytes.get(..MAGIC.len() + 16 + 8)?;
    (crc32c::crc32c(covered) == u32::from_le_bytes(*crc32c))
        .then(|| (*id, u64::from_le_bytes(*first)))
}

fn checksum(id: &[u8; 16], len: [u8; 4], body: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(id), &len);
    crc32c::crc32c_append(checksum, body)
}

/// Bytes that no other journal has.
fn random() -> [u8; 16] {
    // Each of these has other keys.
    let number = || RandomState::new().build_hasher().finish();
    let mut bytes = [0; 16];
    let numbers = [number(), number()];
    let random = numbers.iter().flat_map(|number| number.to_le_bytes());
    for (to, byte) in bytes.iter_mut().zip(random) {
        *to = byte;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::all;
    use super::*;

    /// A journal with some synced records, others behind them, and the positions of their ends.
    struct Made {
        bytes: Vec<u8>,
        ends: Vec<usize>,
        synced: usize,
    }

    impl Made {
        /// Records of a number and sizes that depend on `seed`; all but the last few are synced.
        fn new(records: usize, unsynced: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let all = all();
            let mut journal = JournalFile::create(&path, 5, &all[..1], 0).unwrap();
            let mut ends = vec![journal.end as usize];
            let mut synced = ends[0];
            for number in 1..records {
                journal.append(&all[number % all.len()]).unwrap();
                ends.push(journal.end as usize);
                if number + unsynced < records {
                    journal.set_synced(journal.end);
                    synced = journal.end as usize;
                }
            }
            let mut bytes = fs::read(path).unwrap();
            assert_eq!(bytes.len() as u64, journal.size);
            // Reading all of the zeros takes long in a debug build.
            bytes.truncate(journal.end as usize + 8192);
            Made {
                bytes,
                ends,
                synced,
            }
        }

        /// The number of records that end within this many bytes.
        fn whole(&self, len: usize) -> usize {
            self.ends.iter().filter(|end| **end <= len).count()
        }
    }

    fn count(bytes: &[u8]) -> Option<usize> {
        let scanned = Scanned::of(bytes)?;
        let numbers = scanned.records.iter().map(|(number, _)| *number);
        assert!(numbers.eq(5..scanned.next));
        for (number, record) in &scanned.records {
            let all = all();
            assert_eq!(*record, all[(*number as usize - 5) % all.len()]);
        }
        Some(scanned.records.len())
    }

    #[test]
    fn all_records_are_read_again() {
        let made = Made::new(40, 3);
        assert_eq!(count(&made.bytes), Some(40));
    }

    #[test]
    fn a_journal_without_room_for_zeros_behind_its_records_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = JournalFile::create(&path, 0, &[], 0).unwrap();
        let mut written = 0;
        while journal.end <= journal.size {
            journal.append(&all()[0]).unwrap();
            written += 1;
        }
        assert!(journal.is_nearly_full());
        let scanned = Scanned::read(&path).unwrap().unwrap();
        assert_eq!(scanned.records.len(), written);
    }

    #[test]
    fn no_journal_is_none_and_an_empty_one_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert!(Scanned::read(&path).unwrap().is_none());
        fs::write(&path, "").unwrap();
        let error = Scanned::read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_cut_anywhere_leaves_the_records_before_it() {
        let made = Made::new(30, 4);
        let last = *made.ends.last().unwrap();
        for len in (0..last + 9).rev() {
            let zeroed = {
                let mut bytes = made.bytes.clone();
                bytes[len..last + 9].fill(0);
                bytes
            };
            let whole = made.whole(len);
            for bytes in [&made.bytes[..len], &zeroed] {
                match count(bytes) {
                    Some(count) => assert!(count >= whole && count <= whole + 1),
                    None => assert!(len < MAGIC.len() + 28),
                }
            }
        }
    }

    #[test]
    fn bytes_of_another_journal_do_not_count() {
        let (one, other) = (Made::new(10, 0), Made::new(30, 0));
        let mut bytes = one.bytes;
        let end = *one.ends.last().unwrap();
        let other_end = *other.ends.last().unwrap();
        bytes[end..other_end].copy_from_slice(&other.bytes[end..other_end]);
        assert_eq!(count(&bytes), Some(10));
    }

    proptest! {
        #[test]
        fn a_zeroed_block_behind_the_last_sync_is_a_torn_tail(
            records in 2..40_usize,
            unsynced in 1..20_usize,
            from in 0..4000_usize,
            len in 1..600_usize,
        ) {
            let made = Made::new(records, unsynced);
            let from = made.synced + from % (made.ends.last().unwrap() - made.synced + 8);
            let mut bytes = made.bytes.clone();
            bytes[from..from + len].fill(0);
            let count = count(&bytes);
            prop_assert!(count >= Some(made.whole(from)));
            prop_assert!(count >= Some(made.whole(made.synced)));
        }

        #[test]
        fn a_flipped_bit_that_was_synced_before_the_last_records_is_damage(
            records in 4..40_usize,
            at in 0..4000_usize,
            bit in 0..8_u8,
        ) {
            // The last record knows of the sync of all but itself.
            let made = Made::new(records, 1);
            let at = HEADER as usize + at % (made.synced - HEADER as usize);
            let mut bytes = made.bytes.clone();
            bytes[at] ^= 1_u8 << bit;
            if let Some(all) = count(&bytes) {
                // Padding is not covered.
                prop_assert_eq!((all, made.bytes[at]), (records, 0));
            }
        }
    }
}
