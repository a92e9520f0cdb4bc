//! Any bytes, split in any way, in any framing. `fuzz/` runs this too.

use tlsink::decode::Limits;
use tlsink::frame::{Fault, Framing, RecordBuffer, Unframer};

/// The most bytes that one call may make: a full buffer, and what one more part of a frame expands to.
const MOST_AT_ONCE: usize = 512 * 1024;

/// The records of a stream.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The bytes of each record, and whether it has ended: all have but the last.
    pub records: Vec<(Vec<u8>, bool)>,
    pub framing: Framing,
    pub fault: Option<Fault>,
    pub boundary: bool,
}

/// Makes records of a stream in one piece and split, and compares the two. The first byte chooses
/// the framing, the second the size of the pieces. Returns the result for the one piece.
pub fn check(bytes: &[u8]) -> Option<Outcome> {
    let (&[framing, size], stream) = bytes.split_first_chunk::<2>()?;
    let framing = Framing::ALL[usize::from(framing) % Framing::ALL.len()];
    let whole = unframe(framing, stream, stream.len().max(1));
    assert_eq!(unframe(framing, stream, usize::from(size % 16) + 1), whole);
    if !whole.framing.has_events() {
        // Frames have more bytes than their records, and no record is made of nothing.
        let made: usize = whole
            .records
            .iter()
            .map(|(bytes, ends)| bytes.len() + usize::from(*ends))
            .sum();
        assert!(made <= stream.len(), "{made} of {}", stream.len());
    }
    if whole.framing == Framing::Forward {
        for (record, _) in whole.records.iter().filter(|(_, ends)| *ends) {
            let event: Result<serde_json::Value, _> = serde_json::from_slice(record);
            assert!(event.is_ok(), "{:?}", record.escape_ascii().to_string());
        }
    }
    if framing == Framing::None {
        let mut joined = Vec::new();
        for (bytes, ends) in &whole.records {
            joined.extend(bytes);
            joined.extend(ends.then_some(b'\n'));
        }
        assert_eq!(joined, stream);
    }
    if let Some(Fault::Corrupt { offset, .. }) = &whole.fault {
        assert!(*offset <= stream.len() as u64);
    }
    Some(whole)
}

fn unframe(framing: Framing, stream: &[u8], size: usize) -> Outcome {
    let mut unframer = Unframer::new(framing, &Limits::default());
    let mut outcome = Outcome {
        records: Vec::new(),
        framing,
        fault: None,
        boundary: false,
    };
    let mut records = RecordBuffer::default();
    'stream: for mut piece in stream.chunks(size) {
        loop {
            records = RecordBuffer::default();
            let pushed = unframer.push(piece, &mut records);
            outcome.collect(&records);
            assert!(records.records().lines().len() <= MOST_AT_ONCE);
            match pushed {
                Ok(taken) => piece = &piece[taken..],
                Err(error) => {
                    assert_eq!(unframer.push(b"1 a", &mut records), Err(error.clone()));
                    outcome.fault = Some(error);
                    break 'stream;
                }
            }
            if piece.is_empty() && !unframer.has_more() {
                break;
            }
        }
    }
    if outcome.fault.is_none() {
        records = RecordBuffer::default();
        unframer.finish(&mut records);
        outcome.collect(&records);
    }
    drop(records);
    outcome.framing = unframer.framing();
    outcome.boundary = unframer.at_boundary();
    outcome
}

impl Outcome {
    fn collect(&mut self, records: &RecordBuffer) {
        for record in records.records().iter() {
            match self.records.last_mut() {
                Some((bytes, ends @ false)) => {
                    bytes.extend_from_slice(record.bytes);
                    *ends = record.ends;
                }
                _ => self.records.push((record.bytes.to_vec(), record.ends)),
            }
        }
    }
}
