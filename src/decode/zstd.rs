//! Zstandard (RFC 8878): frames and skippable frames, one after another.
//!
//! The library decodes, while this codec follows the frame structure beside it, for three reasons.
//! First, it checks and reserves the window before the library takes any memory for it. Second, it
//! gives the library one block at a time, and takes all of its output before the next block: when a
//! call fails, the library forgets what that call has written, and bytes decoded before an error
//! must not be lost. Third, the offset of an error is that of its block.

use std::fmt;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::{Codec, Fault, Format, Limits, Step};
use crate::limit::Limit;
use crate::memory::{Memory, Reservation};

pub(super) struct Zstd {
    context: DCtx<'static>,
    state: State,
    /// The library may have more output than fitted in the buffer.
    pending: bool,
    /// The number of bytes read of the whole stream.
    offset: u64,
    /// The offset at which the current frame, block or checksum begins.
    start: u64,
    /// The announced size of the frame's content, less the bytes decoded so far.
    content: Option<u64>,
    /// The frame's window, in bytes.
    window: u64,
    /// The number of bytes that the frame has decoded to.
    decoded: u64,
    max_window: u64,
    memory: Memory,
    reservation: Reservation,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a header, of which the library has no byte yet.
    Header(Header),
    /// In a block, of which `left` bytes are left.
    Block {
        left: usize,
        last: bool,
        checksum: bool,
    },
    /// In the frame's checksum, of which `left` bytes are left.
    Checksum { left: usize },
    /// In a skippable frame, of which `left` bytes are left.
    Skip { left: u32 },
}

/// The beginning of a frame or of a block, while it is incomplete.
#[derive(Clone, Copy, Debug)]
struct Header {
    bytes: [u8; HEADER],
    len: usize,
    kind: HeaderKind,
}

#[derive(Clone, Copy, Debug)]
enum HeaderKind {
    Frame,
    Block { checksum: bool },
}

/// The longest header: magic number 4, descriptor 1, window 1, dictionary 4, content size 8.
const HEADER: usize = 18;

/// The largest block in either form, in bytes (RFC 8878, section 3.1.1.2.4).
const BLOCK: u64 = 128 * 1024;

/// The memory that the library takes besides the window and the blocks, in bytes: mostly entropy
/// tables.
const CONTEXT: u64 = 128 * 1024;

impl Zstd {
    pub(super) fn new(limits: &Limits) -> Result<Self, Fault> {
        let reservation = reserve(&limits.memory, CONTEXT)?;
        let mut context = DCtx::try_create().ok_or_else(out_of_memory)?;
        // The library's own limit is a power of two; the exact one is checked before.
        let log = limits.max_window.max(1 << 10).ilog2() + 1;
        context
            .set_parameter(DParameter::WindowLogMax(log.min(MOST_WINDOW_LOG)))
            .map_err(|_| out_of_memory())?;
        Ok(Zstd {
            context,
            state: State::Header(Header::new(HeaderKind::Frame)),
            pending: false,
            offset: 0,
            start: 0,
            content: None,
            window: 0,
            decoded: 0,
            max_window: limits.max_window,
            memory: limits.memory.clone(),
            reservation,
        })
    }

    /// The state after a complete header.
    fn enter(&mut self, header: &Header, first: Entry) -> Result<State, Fault> {
        match first {
            Entry::Skippable { size } => Ok(after_skip(size)),
            Entry::Dictionary => Err(Fault::Unsupported("zstd with a dictionary")),
            Entry::Frame {
                window,
                content,
                checksum,
            } => {
                self.check_window(window)?;
                self.content = content;
                self.window = window;
                self.decoded = 0;
                self.feed(header.filled())?;
                Ok(State::Header(Header::new(HeaderKind::Block { checksum })))
            }
            Entry::Block {
                size,
                decoded,
                last,
                checksum,
            } => {
                self.check_content(decoded, last)?;
                self.reserve(decoded.map_or(BLOCK, u64::from))?;
                self.feed(header.filled())?;
                Ok(after_block(size, last, checksum))
            }
        }
    }

    fn check_window(&self, window: u64) -> Result<(), Fault> {
        if window > self.max_window {
            let most = self.max_window;
            return Err(Fault::Limit(Limit::Window { window, most }));
        }
        match usize::try_from(window) {
            Ok(window) if window <= self.memory.most() => Ok(()),
            _ => Err(out_of_memory_for(window)),
        }
    }

    /// Reserves the memory for a block that decodes to at most `block` bytes. The library allocates
    /// all of its buffers at once and fills them from the start: memory that it has not written to
    /// takes no room, so only the part written so far counts. Otherwise the few bytes of a frame
    /// header could take a window's memory from everybody else.
    fn reserve(&mut self, block: u64) -> Result<(), Fault> {
        // The library's buffers hold the window, two blocks behind it, and one block of input.
        let buffer = self.window.saturating_add(2 * BLOCK);
        let used = self.decoded.saturating_add(block).min(buffer);
        let needed = used
            .saturating_add(BLOCK + CONTEXT)
            .try_into()
            .unwrap_or(usize::MAX);
        // The library keeps its buffers from frame to frame, so the largest counts.
        match self.reservation.try_grow(needed) {
            true => Ok(()),
            false => Err(out_of_memory_for(self.window)),
        }
    }

    /// Checks a block's size against the announced content. The library would notice a wrong size
    /// only while it writes the block, and the bytes written before that would depend on how the
    /// input was split. This check ends the stream before the block.
    fn check_content(&self, decoded: Option<u32>, last: bool) -> Result<(), Fault> {
        match (self.content, decoded.map(u64::from)) {
            (Some(left), Some(size)) if size > left || (last && size < left) => {
                Err(self.corrupt("the content is not as long as announced"))
            }
            _ => Ok(()),
        }
    }

    /// Feeds the library bytes that produce no output.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let step = self.call(bytes, &mut []);
        match step.fault {
            Some(fault) => Err(fault),
            None if step.read == bytes.len() => Ok(()),
            None => Err(self.corrupt("invalid header")),
        }
    }

    fn call(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(output);
        match self.context.decompress_stream(&mut to, &mut from) {
            Ok(_) => {
                let (read, written) = (from.pos(), to.pos());
                self.decoded = self.decoded.saturating_add(written as u64);
                self.content = self.content.map(|left| left.saturating_sub(written as u64));
                Step {
                    read,
                    written,
                    fault: None,
                }
            }
            Err(code) => Step {
                fault: Some(self.corrupt(get_error_name(code))),
                ..Step::default()
            },
        }
    }

    fn corrupt(&self, reason: &str) -> Fault {
        Fault::Corrupt {
            format: Format::Zstd,
            offset: self.start,
            reason: reason.to_owned(),
        }
    }
}

impl Codec for Zstd {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step::default();
        loop {
            let rest = input.get(step.read..).unwrap_or_default();
            let room = output.get_mut(step.written..).unwrap_or_default();
            if self.pending {
                if room.is_empty() {
                    return step;
                }
                let flushed = self.call(&[], room);
                step.written += flushed.written;
                step.fault = flushed.fault;
                self.pending = step.written == output.len();
                if self.pending || step.fault.is_some() {
                    return step;
                }
                continue;
            }
            if rest.is_empty() {
                return step;
            }
            if self.state.is_start() {
                self.start = self.offset;
            }
            let result = match self.state {
                State::Header(mut header) => {
                    let (read, entry) = header.push(rest);
                    step.read += read;
                    self.state = State::Header(header);
                    let entered = match entry {
                        Ok(None) => Ok(self.state),
                        Ok(Some(entry)) => self.enter(&header, entry),
                        Err(reason) => Err(self.corrupt(reason)),
                    };
                    self.offset = self.offset.saturating_add(read as u64);
                    entered
                }
                State::Block {
                    left,
                    last,
                    checksum,
                } => {
                    let body = rest.get(..left).unwrap_or(rest);
                    let done = self.call(body, room);
                    step.read += done.read;
                    step.written += done.written;
                    self.offset = self.offset.saturating_add(done.read as u64);
                    self.pending = step.written == output.len();
                    match done.fault {
                        Some(fault) => Err(fault),
                        None if done.read == 0 && !self.pending => {
                            Err(self.corrupt("a block that does not end"))
                        }
                        None => Ok(after_block(left - done.read.min(left), last, checksum)),
                    }
                }
                State::Checksum { left } => {
                    let part = rest.get(..left).unwrap_or(rest);
                    let checked = self.feed(part);
                    step.read += part.len();
                    self.offset = self.offset.saturating_add(part.len() as u64);
                    checked.map(|()| after_checksum(left - part.len()))
                }
                State::Skip { left } => {
                    let n = rest.len().min(left as usize);
                    step.read += n;
                    self.offset = self.offset.saturating_add(n as u64);
                    Ok(after_skip(left - n as u32))
                }
            };
            match result {
                Ok(state) => self.state = state,
                Err(fault) => {
                    step.fault = Some(fault);
                    return step;
                }
            }
        }
    }

    fn at_boundary(&self) -> bool {
        let between = matches!(
            self.state,
            State::Header(Header {
                len: 0,
                kind: HeaderKind::Frame,
                ..
            })
        );
        between && !self.pending
    }
}

impl State {
    /// Whether no byte of the header or checksum has been read.
    fn is_start(&self) -> bool {
        matches!(
            self,
            State::Header(Header { len: 0, .. }) | State::Checksum { left: 4 }
        )
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("state", &self.state)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// The content of a complete header.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Skippable {
        size: u32,
    },
    /// A frame that needs a dictionary.
    Dictionary,
    Frame {
        window: u64,
        /// The size of the content, in bytes, if the header gives it.
        content: Option<u64>,
        checksum: bool,
    },
    Block {
        /// The size of the block's body, in bytes.
        size: usize,
        /// The size of the decoded block, in bytes, if the header gives it.
        decoded: Option<u32>,
        last: bool,
        checksum: bool,
    },
}

impl Header {
    fn new(kind: HeaderKind) -> Self {
        Header {
            bytes: [0; HEADER],
            len: 0,
            kind,
        }
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Takes bytes of `input` until the header is complete or the input is used up.
    fn push(&mut self, input: &[u8]) -> (usize, Result<Option<Entry>, &'static str>) {
        for (i, byte) in input.iter().enumerate() {
            let Some(place) = self.bytes.get_mut(self.len) else {
                return (i, Err("invalid frame header"));
            };
            *place = *byte;
            self.len += 1;
            match self.parse() {
                Ok(None) => {}
                parsed => return (i + 1, parsed),
            }
        }
        (input.len(), Ok(None))
    }

    fn parse(&self) -> Result<Option<Entry>, &'static str> {
        match self.kind {
            HeaderKind::Frame => parse_frame(self.filled()),
            HeaderKind::Block { checksum } => parse_block(self.filled(), checksum),
        }
    }
}

/// Parses the header of a frame or of a skippable frame (RFC 8878, sections 3.1.1.1 and 3.1.2).
fn parse_frame(bytes: &[u8]) -> Result<Option<Entry>, &'static str> {
    let [a, b, c, d, rest @ ..] = bytes else {
        return Ok(None);
    };
    match u32::from_le_bytes([*a, *b, *c, *d]) {
        0xfd2f_b528 => {}
        0x184d_2a50..=0x184d_2a5f => {
            return Ok(rest.first_chunk().map(|size| Entry::Skippable {
                size: u32::from_le_bytes(*size),
            }));
        }
        _ => return Err("not a zstd frame"),
    }
    let Some((descriptor, rest)) = rest.split_first() else {
        return Ok(None);
    };
    let single_segment = descriptor & (1 << 5) != 0;
    let window_size = usize::from(!single_segment);
    let dictionary_size = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    if rest.len() < window_size + dictionary_size + content_size {
        return Ok(None);
    }
    let (window, rest) = rest.split_at(window_size);
    let (dictionary, content) = rest.split_at(dictionary_size);
    if descriptor & (1 << 3) != 0 {
        return Err("a reserved bit is set");
    }
    if little_endian(dictionary) != 0 {
        return Ok(Some(Entry::Dictionary));
    }
    let content = match content.get(..content_size).unwrap_or_default() {
        [] => None,
        // Section 3.1.1.1.4: two bytes are offset by 256.
        [a, b] => Some(u64::from(u16::from_le_bytes([*a, *b])) + 256),
        bytes => Some(little_endian(bytes)),
    };
    let window = match window {
        [byte] => {
            let base = 1u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        // Section 3.1.1.1.2: a single segment is its own window.
        _ => content.unwrap_or_default(),
    };
    Ok(Some(Entry::Frame {
        window,
        content,
        checksum: descriptor & (1 << 2) != 0,
    }))
}

/// Parses the header of a block (RFC 8878, section 3.1.1.2).
fn parse_block(bytes: &[u8], checksum: bool) -> Result<Option<Entry>, &'static str> {
    let [a, b, c] = bytes else {
        return Ok(None);
    };
    let header = u32::from_le_bytes([*a, *b, *c, 0]);
    let size = header >> 3;
    if u64::from(size) > BLOCK {
        return Err("a block is too large");
    }
    let (size, decoded) = match (header >> 1) & 3 {
        // Raw.
        0 => (size as usize, Some(size)),
        // Run-length: one byte, repeated `size` times.
        1 => (1, Some(size)),
        // Compressed.
        2 => (size as usize, None),
        _ => return Err("reserved block type"),
    };
    Ok(Some(Entry::Block {
        size,
        decoded,
        last: header & 1 != 0,
        checksum,
    }))
}

fn after_block(left: usize, last: bool, checksum: bool) -> State {
    match (left, last, checksum) {
        (0, false, _) => State::Header(Header::new(HeaderKind::Block { checksum })),
        (0, true, true) => State::Checksum { left: 4 },
        (0, true, false) => State::Header(Header::new(HeaderKind::Frame)),
        (left, ..) => State::Block {
            left,
            last,
            checksum,
        },
    }
}

fn after_checksum(left: usize) -> State {
    match left {
        0 => State::Header(Header::new(HeaderKind::Frame)),
        left => State::Checksum { left },
    }
}

fn after_skip(left: u32) -> State {
    match left {
        0 => State::Header(Header::new(HeaderKind::Frame)),
        left => State::Skip { left },
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn reserve(memory: &Memory, bytes: u64) -> Result<Reservation, Fault> {
    usize::try_from(bytes)
        .ok()
        .and_then(|bytes| memory.try_reserve(bytes))
        .ok_or_else(out_of_memory)
}

fn out_of_memory() -> Fault {
    Fault::Limit(Limit::Memory {
        purpose: "a zstd decoder".to_owned(),
    })
}

fn out_of_memory_for(window: u64) -> Fault {
    Fault::Limit(Limit::Memory {
        purpose: format!("a zstd window of {window} bytes"),
    })
}

/// The largest window that the library accepts: 2 GiB.
const MOST_WINDOW_LOG: u32 = 31;
