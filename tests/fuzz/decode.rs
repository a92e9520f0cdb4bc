//! Any bytes, split in any way, through any decoder. `fuzz/` runs this too.

use std::cell::{Cell, RefCell};
use std::iter;

use tlsink::decode::{Decoder, Fault, Format, Limits, Step};
use tlsink::output::Memory;

/// The result of decoding a stream.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub output: Vec<u8>,
    pub format: Format,
    pub fault: Option<Fault>,
    pub boundary: bool,
}

/// A stream is decoded up to this size, in bytes: twice deflate's window. More output shows nothing
/// new, few bytes decode to gigabytes, and a fuzzer that waits for them tries fewer streams.
const MOST_OUTPUT: usize = 64 * 1024;

/// The number of small pieces, and of small rooms, before their sizes begin to grow. Small steps
/// find a fault at any place, and through a whole stream they would mostly take time.
const FINE: usize = 32;

/// The number of sizes after which they double.
const DOUBLING: usize = 4;

/// Limits on windows and on memory, in bytes: more than most streams need, less than some need, and
/// less than any needs. A window of megabytes shows no more, and takes long to allocate.
const LIMITS: [(u64, usize); 5] = [
    (256 << 10, 1 << 30),
    (16 << 10, 1 << 30),
    (256 << 10, 400_000),
    (256 << 10, 100_000),
    (256 << 10, 1000),
];

/// The upper bounds of the sizes of pieces and rooms.
const SIZES: [usize; 6] = [2, 3, 8, 100, 5000, ROOM];

/// Room for the output of a stream in one piece.
const ROOM: usize = 64 * 1024;

thread_local! {
    /// The output buffer, reused for one stream after another: a new one would be zeroed first.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Decodes a stream as one piece and split, and compares the two. The first eight bytes choose the
/// format, the limits, the sizes of pieces and of rooms, and a seed for the places and the sizes.
/// Returns the result for the one piece.
pub fn check(bytes: &[u8]) -> Option<Outcome> {
    let (&[format, limits, pieces, rooms, seed @ ..], stream) = bytes.split_first_chunk::<8>()?;
    let named = pick(Format::ALL, format);
    let (max_window, memory) = pick(&LIMITS, limits);
    // Both decoders share it, so that the second lacks memory that the first does not return.
    let limits = Limits::default()
        .max_window(max_window)
        .memory(Memory::new(memory));
    let mut at_once = Decoder::new(named, &limits);
    let (whole, whole_ended) = drive(&mut at_once, [stream], |output| {
        (output < MOST_OUTPUT).then_some(ROOM)
    });
    drop(at_once);

    let mut random = Random(u32::from_le_bytes(seed));
    // Half of the streams are split from the first byte on, the others from some later byte on.
    let start = random.below(2 * stream.len() + 1);
    let (before, after) = stream.split_at(start.saturating_sub(stream.len()));
    let is_split = Cell::new(false);
    let after = split(after, &mut Sizes::below(pick(&SIZES, pieces)), &mut random);
    let after = after.into_iter().inspect(|_| is_split.set(true));
    let mut rooms = Sizes::below(pick(&SIZES, rooms));
    let mut in_pieces = Decoder::new(named, &limits);
    let (outcome, ended) = drive(&mut in_pieces, iter::once(before).chain(after), |output| {
        (output < MOST_OUTPUT).then(|| match is_split.get() {
            true => rooms.next(&mut random),
            false => ROOM,
        })
    });

    if whole_ended && ended {
        assert!(outcome == whole, "{outcome:?} in pieces, {whole:?} as one");
    } else {
        let most = outcome.output.len().min(whole.output.len());
        assert!(
            outcome.output[..most] == whole.output[..most],
            "the first {most} bytes differ"
        );
    }
    if whole.format == Format::Plain {
        assert_eq!(whole.fault, None);
        assert!(stream.starts_with(&whole.output));
        assert!(!whole_ended || whole.output.len() == stream.len());
    }
    if whole.format == Format::Zstd && window(stream).is_some_and(|window| window > max_window) {
        assert!(
            matches!(whole.fault, Some(Fault::Limit(_))),
            "{:?}",
            whole.fault
        );
        assert!(whole.output.is_empty());
    }
    Some(whole)
}

/// Feeds the pieces to a decoder, and takes its output until there is no more, a fault occurs, or
/// `room` has no size for the next output. Returns whether all of the stream was decoded.
pub fn drive<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut room: impl FnMut(usize) -> Option<usize>,
) -> (Outcome, bool) {
    let mut output = Vec::new();
    let mut buffer = BUFFER.take();
    let feed = || {
        for piece in pieces {
            push(decoder, piece, &mut buffer, &mut room, &mut output)?;
        }
        decoder.finish();
        push(decoder, &[], &mut buffer, &mut room, &mut output)?;
        assert_eq!(
            decoder.decode(&[], &mut [0]),
            Step::default(),
            "there was no more"
        );
        Ok(())
    };
    let stopped = feed().err();
    BUFFER.set(buffer);
    let ended = !matches!(stopped, Some(Stopped::NoRoom));
    let fault = stopped.and_then(|stopped| match stopped {
        Stopped::Fault(fault) => Some(fault),
        Stopped::NoRoom => None,
    });
    let outcome = Outcome {
        output,
        format: decoder.format(),
        boundary: decoder.at_boundary(),
        fault,
    };
    if let Some(fault) = &outcome.fault {
        assert!(!outcome.boundary);
        let again = decoder.decode(&[0], &mut [0]);
        assert_eq!((again.read, again.written), (0, 0));
        assert_eq!(again.fault.as_ref(), Some(fault));
    }
    (outcome, ended)
}

/// The reason why there is no more output.
#[derive(Debug)]
pub enum Stopped {
    Fault(Fault),
    NoRoom,
}

/// Feeds `input`, and takes all output before there is more input.
pub fn push(
    decoder: &mut Decoder,
    mut input: &[u8],
    buffer: &mut Vec<u8>,
    mut room: impl FnMut(usize) -> Option<usize>,
    output: &mut Vec<u8>,
) -> Result<(), Stopped> {
    loop {
        let room = room(output.len()).ok_or(Stopped::NoRoom)?;
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let step = decoder.decode(input, &mut buffer[..room]);
        // These would panic if the decoder claimed more than there is.
        output.extend_from_slice(&buffer[..room][..step.written]);
        input = &input[step.read..];
        if let Some(fault) = step.fault {
            return Err(Stopped::Fault(fault));
        }
        if input.is_empty() && step.written < room {
            return Ok(());
        }
        let stuck = step.read == 0 && step.written == 0 && room > 0;
        assert!(!stuck, "with {} bytes to read", input.len());
    }
}

fn split<'a>(stream: &'a [u8], sizes: &mut Sizes, random: &mut Random) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(sizes.next(random).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// Random sizes, small ones first.
struct Sizes {
    below: usize,
    given: usize,
}

impl Sizes {
    fn below(below: usize) -> Self {
        Sizes { below, given: 0 }
    }

    fn next(&mut self, random: &mut Random) -> usize {
        self.given += 1;
        if self.given > FINE && self.given.is_multiple_of(DOUBLING) {
            self.below = (self.below * 2).min(ROOM);
        }
        random.below(self.below)
    }
}

fn pick<T: Copy>(choices: &[T], byte: u8) -> T {
    choices[usize::from(byte) % choices.len()]
}

/// A sequence that its seed determines.
struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // The lower bits have short periods.
        (self.0 >> 8) as usize % end
    }
}

/// The window that the first frame of a zstd stream asks for, in bytes, if its header is whole and
/// valid, and asks for no dictionary (RFC 8878, section 3.1.1.1).
fn window(stream: &[u8]) -> Option<u64> {
    let header = stream.strip_prefix(b"\x28\xb5\x2f\xfd")?;
    let (&descriptor, header) = header.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(single_segment),
        n => 1 << n,
    };
    if descriptor & 0b1011 != 0 || header.len() < size_bytes + usize::from(!single_segment) {
        return None;
    }
    if single_segment {
        let mut size = [0; 8];
        size[..size_bytes].copy_from_slice(&header[..size_bytes]);
        let size = u64::from_le_bytes(size);
        return Some(if size_bytes == 2 { size + 256 } else { size });
    }
    let base = 1 << (10 + (header[0] >> 3));
    Some(base + base / 8 * u64::from(header[0] & 7))
}
