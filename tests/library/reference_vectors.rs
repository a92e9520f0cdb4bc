//! Streams built bit by bit, in the shapes of the reference decoders' own test files. The decoders
//! deliver the same bytes as `gzip -dc`, `zstd -dc` and zlib, and find the same streams whole.

#![cfg(all(
    feature = "cli",
    feature = "deflate",
    feature = "gzip",
    feature = "qt",
    feature = "zlib",
    feature = "zstd"
))]

use std::process::Command;

use tlsink::decode::{Decoder, Fault, Format, Limits};
use zstd_safe::{CCtx, CParameter};

use crate::by_hand::{
    COMPRESSED, FCOMMENT, FEXTRA, FHCRC, FNAME, FTEXT, GZIP_HEADER, RAW, RESERVED, RLE,
    block_header, gzip_header, gzip_trailer, skippable,
};
use crate::common::program::{Client, Program, run_if_installed};
use crate::fuzz::decode as fuzz;

/// The expected result of decoding a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Unfinished,
    Corrupt,
    /// The window is larger than allowed.
    Limit,
    Unsupported,
}

use Verdict::{Corrupt, Limit, Unfinished, Unsupported, Whole};

/// A stream, the bytes that a decoder delivers of it, and the verdict.
#[derive(Clone, Debug)]
struct Vector {
    name: String,
    stream: Vec<u8>,
    delivered: Vec<u8>,
    verdict: Verdict,
}

/// Room for the output as a sink gives it.
const ROOM: usize = 256 * 1024;

fn vector(name: &str, stream: impl Into<Vec<u8>>, delivered: &[u8], verdict: Verdict) -> Vector {
    Vector {
        name: name.to_owned(),
        stream: stream.into(),
        delivered: delivered.to_vec(),
        verdict,
    }
}

#[test]
fn gzip_is_decoded_as_by_gzip() {
    // GNU gzip misses these faults in the body, prints wrong bytes, and fails at the checksum.
    let missed = [
        "distance too long, at the start",
        "distance too long by one",
        "distance of 32 KiB, too long by one",
        "dynamic, no code for the end of the block",
    ];
    let vectors = gzip_vectors();
    check(Format::Gzip, &vectors);
    for vector in &vectors {
        let mut gzip = Command::new("gzip");
        let Some(output) = run_if_installed(gzip.arg("-dc"), &vector.stream) else {
            return;
        };
        let decoded = match missed.contains(&vector.name.as_str()) {
            true => &[],
            false => &output.stdout[..],
        };
        agrees_with_reference(vector, output.status.success(), decoded);
    }
}

#[test]
fn zstd_is_decoded_as_by_zstd() {
    let vectors = zstd_vectors();
    check(Format::Zstd, &vectors);
    for vector in &vectors {
        let mut zstd = Command::new("zstd");
        // The limit is the default of --max-window.
        let zstd = zstd.args(["-dcq", "--memory=8MiB"]);
        let Some(output) = run_if_installed(zstd, &vector.stream) else {
            return;
        };
        agrees_with_reference(vector, output.status.success(), &output.stdout);
    }
}

#[test]
fn zlib_and_deflate_are_decoded_as_by_zlib() {
    /// Decompresses the stream in each line, byte by byte. A line holds `wbits`, and the stream
    /// in hexadecimal.
    const SCRIPT: &str = "
import sys, zlib
for line in sys.stdin:
    bits, stream = line.split()
    decoder = zlib.decompressobj(int(bits))
    output, ok = b'', True
    try:
        for byte in bytes.fromhex(stream):
            ok = ok and not decoder.eof
            output += decoder.decompress(bytes([byte]))
    except zlib.error:
        ok = False
    print(int(ok and decoder.eof), output.hex() or '-')
";
    let zlib: Vec<_> = zlib_vectors().into_iter().map(|v| (15, v)).collect();
    let deflate: Vec<_> = deflate_vectors().into_iter().map(|v| (-15, v)).collect();
    for (format, vectors) in [(Format::Zlib, &zlib), (Format::Deflate, &deflate)] {
        let vectors: Vec<_> = vectors.iter().map(|(_, vector)| vector.clone()).collect();
        check(format, &vectors);
    }
    let vectors = [zlib, deflate].concat();
    let lines: String = vectors
        .iter()
        .map(|(bits, vector)| format!("{bits} {}\n", hex(&vector.stream)))
        .collect();
    let mut python = Command::new("python3");
    let Some(output) = run_if_installed(python.args(["-c", SCRIPT]), lines.as_bytes()) else {
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), vectors.len());
    for (line, (_, vector)) in text.lines().zip(&vectors) {
        let (ok, decoded) = line.split_once(' ').unwrap();
        agrees_with_reference(vector, ok == "1", &unhex(decoded.trim_matches('-')));
    }
}

/// The program prints the same bytes as the library delivers.
#[test]
fn the_program_reports_the_end_of_each_stream() {
    for (option, vectors) in [
        ("gzip", gzip_vectors()),
        ("zlib", zlib_vectors()),
        ("deflate", deflate_vectors()),
        ("zstd", zstd_vectors()),
    ] {
        let program = Program::start(&["-d", option, "-f", "raw"]);
        let mut printed: Vec<u8> = Vec::new();
        for (number, vector) in vectors.iter().enumerate() {
            let mut client = Client::connect(program.address());
            client.write(&vector.stream).unwrap();
            match vector.verdict {
                Whole => client.finish().unwrap(),
                // The server may have closed the connection before.
                _ => drop(client.finish_unclean()),
            }
            printed.extend(&vector.delivered);
            let ended = program.wait_for_ends(number + 1).swap_remove(number);
            let word = match vector.verdict {
                Whole => "clean".to_owned(),
                Unfinished => format!("truncated ({option} not finished)"),
                Corrupt => format!("corrupt ({option}: "),
                Limit => "limit (".to_owned(),
                Unsupported => "refused (".to_owned(),
            };
            assert!(
                ended.end.starts_with(&word),
                "{}: {}",
                vector.name,
                ended.end
            );
            assert_eq!(
                ended.delivered,
                vector.delivered.len() as u64,
                "{}",
                vector.name
            );
        }
        let outcome = program.stop();
        assert!(outcome.stdout == printed, "{option}");
    }
}

/// Decodes each stream as one piece, byte by byte, and in small pieces into room for one byte.
fn check(format: Format, vectors: &[Vector]) {
    for vector in vectors {
        let name = &vector.name;
        for (piece, room) in [(usize::MAX, ROOM), (1, ROOM), (7, 1)] {
            // Long streams take too long byte by byte in a debug build, and show no more.
            if vector.stream.len().max(vector.delivered.len()) > 10_000 && piece < usize::MAX {
                continue;
            }
            let mut decoder = Decoder::new(format, &Limits::default());
            let pieces = vector.stream.chunks(piece);
            let (outcome, _) = fuzz::drive(&mut decoder, pieces, |_| Some(room));
            let verdict = match &outcome.fault {
                None if outcome.boundary => Whole,
                None => Unfinished,
                Some(Fault::Corrupt { .. }) => Corrupt,
                Some(Fault::Limit(_)) => Limit,
                Some(Fault::Unsupported(_)) => Unsupported,
                Some(other) => panic!("{name}: {other:?}"),
            };
            assert_eq!(verdict, vector.verdict, "{name}: {:?}", outcome.fault);
            assert!(
                outcome.output == vector.delivered,
                "{name}: {:?} is delivered",
                String::from_utf8_lossy(&outcome.output)
            );
        }
    }
}

/// Compares with the reference, which may keep back bytes before an error.
fn agrees_with_reference(vector: &Vector, accepted: bool, decoded: &[u8]) {
    let name = &vector.name;
    assert_eq!(
        vector.verdict == Whole,
        accepted,
        "{name}, by the reference"
    );
    assert!(
        vector.delivered.starts_with(decoded),
        "{name}: {:?} by the reference",
        String::from_utf8_lossy(decoded)
    );
    assert!(!accepted || vector.delivered == decoded, "{name}");
}

// DEFLATE (RFC 1951).

/// A writer of bits. It fills each byte from its least significant bit.
#[derive(Clone, Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

/// The symbol for the end of a block.
const END: usize = 256;

/// The types of blocks: stored, with the fixed codes, and with codes of their own (section 3.2.3).
const STORED: u32 = 0;
const FIXED: u32 = 1;
const DYNAMIC: u32 = 2;

impl Bits {
    /// Appends a number, its least significant bit first.
    fn put(&mut self, value: u32, count: u32) -> &mut Self {
        for bit in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= u8::from(u64::from(value) >> bit & 1 == 1) << self.used;
            self.used = (self.used + 1) % 8;
        }
        self
    }

    /// Appends a Huffman code, its most significant bit first (section 3.1.1).
    fn code(&mut self, code: u32, count: u32) -> &mut Self {
        self.put(code.reverse_bits() >> (32 - count), count)
    }

    fn block(&mut self, kind: u32, last: bool) -> &mut Self {
        self.put(u32::from(last), 1).put(kind, 2)
    }

    fn stored(&mut self, data: &[u8], last: bool) -> &mut Self {
        let length = u16::try_from(data.len()).unwrap();
        self.stored_as(length, !length, data, last)
    }

    fn stored_as(&mut self, length: u16, complement: u16, data: &[u8], last: bool) -> &mut Self {
        self.block(STORED, last);
        self.used = 0;
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(complement.to_le_bytes());
        self.bytes.extend(data);
        self
    }

    /// Appends a literal, the end of a block, or a length, in the fixed code (section 3.2.6).
    fn fixed(&mut self, symbol: usize) -> &mut Self {
        let n = symbol as u32;
        match n {
            0..=143 => self.code(0x30 + n, 8),
            144..=255 => self.code(0x190 + n - 144, 9),
            256..=279 => self.code(n - 256, 7),
            _ => self.code(0xc0 + n - 280, 8),
        }
    }

    fn literals(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            self.fixed(usize::from(*byte));
        }
        self
    }

    /// Appends the header of a dynamic block: the numbers of its codes and their lengths, each as a
    /// code of four bits.
    fn lengths(&mut self, literals: &[u8], distances: &[u8]) -> &mut Self {
        self.put(literals.len() as u32 - 257, 5);
        self.put(distances.len() as u32 - 1, 5);
        self.put(19 - 4, 4);
        // Symbols 16, 17 and 18 come first, and are not used. All others have codes of four bits.
        for symbol in 0..19 {
            self.put(if symbol < 3 { 0 } else { 4 }, 3);
        }
        for length in [literals, distances].concat() {
            self.code(u32::from(length), 4);
        }
        self
    }

    fn symbol(&mut self, lengths: &[u8], symbol: usize) -> &mut Self {
        let (code, length) = canonical(lengths, symbol);
        self.code(code, length)
    }

    fn done(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// The code of a symbol and its length, from the code lengths of all symbols (section 3.2.2).
fn canonical(lengths: &[u8], symbol: usize) -> (u32, u32) {
    let length = lengths[symbol];
    let mut code = 0;
    for shorter in 1..=length {
        code <<= 1;
        if shorter < length {
            code += lengths.iter().filter(|l| **l == shorter).count() as u32;
        }
    }
    let before = lengths[..symbol].iter().filter(|l| **l == length).count();
    (code + before as u32, u32::from(length))
}

/// The code lengths of all symbols. Symbols that are not listed have no code.
fn lengths_of<const N: usize>(symbols: &[(usize, u8)]) -> [u8; N] {
    let mut lengths = [0; N];
    for (symbol, length) in symbols {
        lengths[*symbol] = *length;
    }
    lengths
}

/// Whole, unfinished and corrupt DEFLATE streams, without a header or a trailer.
fn deflate_bodies() -> Vec<Vector> {
    let bits = Bits::default;
    let a = usize::from(b'a');
    let all: Vec<u8> = (0..=255).collect();
    let long = vec![b'l'; 65_535];
    // The largest distance, 32 KiB, leads from the end of this text to its first byte.
    let far = [&[b'f'][..], &vec![b'z'; 32_767]].concat();
    let mut cases = vec![
        vector(
            "stored",
            bits().stored(b"text", true).done(),
            b"text",
            Whole,
        ),
        vector("stored, empty", bits().stored(b"", true).done(), b"", Whole),
        vector(
            "stored, empty before, between and behind others",
            bits()
                .stored(b"", false)
                .stored(b"one ", false)
                .stored(b"", false)
                .stored(b"two", false)
                .stored(b"", true)
                .done(),
            b"one two",
            Whole,
        ),
        vector(
            "stored, the longest",
            bits().stored(&long, true).done(),
            &long,
            Whole,
        ),
        vector(
            "stored, not last",
            bits().stored(b"text", false).done(),
            b"text",
            Unfinished,
        ),
        vector(
            "stored, wrong complement",
            bits()
                .stored(b"one ", false)
                .stored_as(3, !3 ^ 0x100, b"two", true)
                .done(),
            b"one ",
            Corrupt,
        ),
        vector(
            "stored, complement equal to the length",
            bits().stored_as(4, 4, b"text", true).done(),
            b"",
            Corrupt,
        ),
        vector(
            "block of the reserved type",
            bits()
                .stored(b"one ", false)
                .block(3, true)
                .put(0, 32)
                .done(),
            b"one ",
            Corrupt,
        ),
        vector(
            "fixed, empty",
            bits().block(FIXED, true).fixed(END).done(),
            b"",
            Whole,
        ),
        vector(
            "fixed, every literal",
            bits().block(FIXED, true).literals(&all).fixed(END).done(),
            &all,
            Whole,
        ),
        vector(
            "fixed, no end of the block",
            bits().block(FIXED, true).literals(b"text").done(),
            // The padding is shorter than a code.
            b"text",
            Unfinished,
        ),
        vector(
            "empty blocks of every type, none of them the last but one",
            bits()
                .block(FIXED, false)
                .fixed(END)
                .stored(b"", false)
                .block(FIXED, false)
                .fixed(END)
                .block(FIXED, true)
                .fixed(END)
                .done(),
            b"",
            Whole,
        ),
        vector(
            "padding that is not zero",
            bits().block(FIXED, true).fixed(END).put(0x3f, 6).done(),
            b"",
            Whole,
        ),
    ];
    for (name, symbol, extra, length) in [
        ("length 3", 257, (0, 0), 3),
        ("length 257", 284, (30, 5), 257),
        ("length 258", 285, (0, 0), 258),
        ("length 258 in its longer form", 284, (31, 5), 258),
    ] {
        let mut stream = bits();
        stream.block(FIXED, true).literals(b"a").fixed(symbol);
        stream.put(extra.0, extra.1).code(0, 5).fixed(END);
        cases.push(vector(name, stream.done(), &vec![b'a'; length + 1], Whole));
    }
    for symbol in [286, 287] {
        let mut stream = bits();
        stream.block(FIXED, true).literals(b"a").fixed(symbol);
        let name = format!("length code {symbol}");
        cases.push(vector(
            &name,
            stream.code(0, 5).put(0, 32).done(),
            b"a",
            Corrupt,
        ));
    }
    for code in [30, 31] {
        let mut stream = bits();
        stream.block(FIXED, true).literals(b"a").fixed(257);
        let name = format!("distance code {code}");
        cases.push(vector(
            &name,
            stream.code(code, 5).put(0, 32).done(),
            b"a",
            Corrupt,
        ));
    }
    for (name, before, code, extra, verdict) in [
        (
            "distance too long, at the start",
            &b""[..],
            0,
            (0, 0),
            Corrupt,
        ),
        ("distance too long by one", b"aaa", 3, (0, 0), Corrupt),
        ("distance as long as can be", b"aaaa", 3, (0, 0), Whole),
        ("distance of 32 KiB", &far, 29, (0x1fff, 13), Whole),
        (
            "distance of 32 KiB, too long by one",
            &far[1..],
            29,
            (0x1fff, 13),
            Corrupt,
        ),
    ] {
        let mut stream = bits();
        stream.block(FIXED, true).literals(before).fixed(257);
        stream.code(code, 5).put(extra.0, extra.1).fixed(END);
        // A corrupt stream goes on, so that it does not look unfinished.
        stream.put(0, if verdict == Whole { 0 } else { 64 });
        let copied: &[u8] = match verdict {
            Whole => &before[..3],
            _ => b"",
        };
        cases.push(vector(
            name,
            stream.done(),
            &[before, copied].concat(),
            verdict,
        ));
    }

    // Blocks with codes of their own.
    let literals: [u8; 258] = lengths_of(&[(a, 2), (a + 1, 2), (END, 2), (257, 2)]);
    let only_literals: [u8; 257] = lengths_of(&[(a, 1), (END, 1)]);
    let skewed: [u8; 270] = {
        // One literal for each code length up to 15.
        let mut symbols: Vec<_> = (1..15)
            .map(|length| (a + usize::from(length), length))
            .collect();
        symbols.extend([(a + 15, 15), (END, 15)]);
        lengths_of(&symbols)
    };
    let mut longest = bits();
    longest.block(DYNAMIC, true).lengths(&skewed, &[0]);
    for symbol in a + 1..=a + 15 {
        longest.symbol(&skewed, symbol);
    }
    longest.symbol(&skewed, END);
    let begun = |literals: &[u8], distances: &[u8]| {
        let mut stream = bits();
        stream.stored(b"one ", false).block(DYNAMIC, true);
        stream.lengths(literals, distances);
        stream
    };
    let ended = |literals: &[u8], distances: &[u8]| {
        let mut stream = begun(literals, distances);
        stream.symbol(literals, a).symbol(literals, END);
        stream.done()
    };
    let with_copy = |distances: &[u8], code: u32, length: u32| {
        let mut stream = begun(&literals, distances);
        stream.symbol(&literals, a).symbol(&literals, 257);
        stream.code(code, length).symbol(&literals, END).put(0, 64);
        stream.done()
    };
    cases.extend([
        vector(
            "dynamic, codes of every length",
            longest.done(),
            b"bcdefghijklmnop",
            Whole,
        ),
        vector(
            "dynamic, no distance code",
            ended(&only_literals, &[0]),
            b"one a",
            Whole,
        ),
        vector(
            "dynamic, one distance code",
            ended(&literals, &[1]),
            b"one a",
            Whole,
        ),
        vector(
            "dynamic, a length without a distance code",
            with_copy(&[0], 0, 1),
            b"one a",
            Corrupt,
        ),
        vector(
            "dynamic, the half of the one distance code that means nothing",
            with_copy(&[1], 1, 1),
            b"one a",
            Corrupt,
        ),
        vector(
            "dynamic, only the end of the block has a code",
            {
                let only_end: [u8; 257] = lengths_of(&[(END, 1)]);
                let mut stream = begun(&only_end, &[0]);
                stream.symbol(&only_end, END).done()
            },
            b"one ",
            Whole,
        ),
    ]);
    for (name, literals, distances) in [
        ("incomplete literal code", &[(a, 2), (END, 2)][..], &[0][..]),
        (
            "over-subscribed literal code",
            &[(a, 1), (a + 1, 1), (END, 1)],
            &[0],
        ),
        ("incomplete distance code", &[(a, 1), (END, 1)], &[2, 2]),
        (
            "over-subscribed distance code",
            &[(a, 1), (END, 1)],
            &[1, 1, 1],
        ),
        (
            "no code for the end of the block",
            &[(a, 1), (a + 1, 1)],
            &[0],
        ),
    ] {
        let lengths: [u8; 257] = lengths_of(literals);
        let mut stream = begun(&lengths, distances);
        stream.put(0, 64);
        cases.push(vector(
            &format!("dynamic, {name}"),
            stream.done(),
            b"one ",
            Corrupt,
        ));
    }
    for (literals, distances) in [(287, 1), (288, 1), (257, 31), (257, 32)] {
        let mut lengths = vec![0; literals];
        (lengths[a], lengths[END]) = (1, 1);
        let mut stream = begun(&lengths, &vec![0; distances]);
        stream.symbol(&lengths, a).symbol(&lengths, END);
        let name = format!("dynamic, {literals} literal and {distances} distance codes");
        cases.push(vector(&name, stream.put(0, 64).done(), b"one ", Corrupt));
    }

    // The code in which lengths are written. Its own lengths begin with those of 16, 17, 18 and 0.
    for (name, code_lengths, body, verdict) in [
        (
            "over-subscribed code of lengths",
            &[1, 1, 1, 0][..],
            (0, 32),
            Corrupt,
        ),
        (
            "incomplete code of lengths",
            &[2, 2, 2, 0],
            (0, 32),
            Corrupt,
        ),
        ("no code of lengths", &[0, 0, 0, 0], (0, 32), Corrupt),
        // Symbol 16 repeats the previous length, but nothing precedes it.
        ("repeat of nothing", &[1, 1, 0, 0], (0, 32), Corrupt),
        // Symbol 18 comes three times with 138 zeros, but there are only 258 lengths.
        (
            "repeat beyond the end",
            &[0, 0, 1, 1],
            (0x00ff_ffff, 24),
            Corrupt,
        ),
    ] {
        let mut stream = bits();
        stream.stored(b"one ", false).block(DYNAMIC, true);
        stream.put(0, 5).put(0, 5).put(0, 4);
        for length in code_lengths {
            stream.put(*length, 3);
        }
        stream.put(body.0, body.1);
        for _ in 0..5 {
            stream.put(0, 64);
        }
        cases.push(vector(
            &format!("dynamic, {name}"),
            stream.done(),
            b"one ",
            verdict,
        ));
    }
    cases.push(vector(
        "dynamic, a repeat from literals into distances",
        {
            // The code for the length 1 has one bit, those for the symbols 16 and 18 have two.
            let mut stream = bits();
            stream.stored(b"one ", false).block(DYNAMIC, true);
            stream.put(0, 5).put(2, 5).put(18 - 4, 4);
            // In the order 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1.
            for length in [2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] {
                stream.put(length, 3);
            }
            let (one, repeat, zeros) = ((0, 1), (0b10, 2), (0b11, 2));
            // The literals are 97 zeros, `a`, and 158 zeros. The end of the block has length 1,
            // which is repeated for the three distances.
            stream.code(zeros.0, zeros.1).put(97 - 11, 7);
            stream.code(one.0, one.1);
            stream.code(zeros.0, zeros.1).put(138 - 11, 7);
            stream.code(zeros.0, zeros.1).put(20 - 11, 7);
            stream.code(one.0, one.1);
            stream.code(repeat.0, repeat.1).put(0, 2);
            // At most two distance codes of one bit fit.
            stream.put(0, 64).done()
        },
        b"one ",
        Corrupt,
    ));
    // A dynamic block cut at every byte.
    let whole = ended(&literals, &[1]);
    for end in 1..whole.len() {
        let delivered = match end + 1 == whole.len() {
            true => b"one a",
            false => &b"one "[..end.saturating_sub(5).min(4)],
        };
        let name = format!("dynamic, cut at {end}");
        cases.push(vector(&name, &whole[..end], delivered, Unfinished));
    }
    cases
}

fn deflate_vectors() -> Vec<Vector> {
    let mut vectors = deflate_bodies();
    vectors.push(vector(
        "data behind the end",
        Bits::default()
            .stored(b"text", true)
            .stored(b"more", true)
            .done(),
        b"text",
        Corrupt,
    ));
    vectors
}

// zlib (RFC 1950).

fn zlib_vectors() -> Vec<Vector> {
    let body = Bits::default().stored(b"text", true).done();
    let good = [&[0x78, 0x9c], &body[..], &adler(b"text")].concat();
    let with = |header: [u8; 2]| [&header, &good[2..]].concat();
    let mut vectors = vec![
        vector("whole", &good[..], b"text", Whole),
        vector("window of 256 bytes", with([0x08, 0x1d]), b"text", Whole),
        vector("wrong FCHECK", with([0x78, 0x9d]), b"", Corrupt),
        vector("method 7", with([0x77, 0x85]), b"", Corrupt),
        vector("method 15", with([0x7f, 0x9e]), b"", Corrupt),
        vector("window of 64 KiB", with([0x88, 0x1c]), b"", Corrupt),
        // FDICT is set, and the checksum of a dictionary follows.
        vector(
            "preset dictionary",
            [&[0x78, 0xbb], &adler(b"dictionary")[..], &good[2..]].concat(),
            b"",
            Unsupported,
        ),
        vector(
            "data behind the end",
            [&good[..], b"x"].concat(),
            b"text",
            Corrupt,
        ),
        vector("two streams", [&good[..], &good].concat(), b"text", Corrupt),
    ];
    for at in good.len() - 4..good.len() {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        vectors.push(vector(
            &format!("wrong Adler-32 at {at}"),
            wrong,
            b"text",
            Corrupt,
        ));
    }
    for end in 1..good.len() {
        let delivered = &b"text"[..end.saturating_sub(7).min(4)];
        vectors.push(vector(
            &format!("cut at {end}"),
            &good[..end],
            delivered,
            Unfinished,
        ));
    }
    vectors.extend(deflate_bodies().into_iter().map(|body| Vector {
        name: format!("zlib: {}", body.name),
        stream: match body.verdict {
            Unfinished => [&[0x78, 0x9c], &body.stream[..]].concat(),
            _ => [&[0x78, 0x9c], &body.stream[..], &adler(&body.delivered)].concat(),
        },
        ..body
    }));
    vectors
}

/// The Adler-32 checksum, which follows the data (section 8.2).
fn adler(data: &[u8]) -> [u8; 4] {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    (b << 16 | a).to_be_bytes()
}

// gzip (RFC 1952).

fn gzip_vectors() -> Vec<Vector> {
    let body = Bits::default().stored(b"text", true).done();
    let trailer = gzip_trailer(b"text");
    let with = |header: &[u8]| [header, &body, &trailer].concat();
    let good = with(&GZIP_HEADER);
    let mut vectors = vec![
        vector("whole", &good[..], b"text", Whole),
        vector(
            "two members",
            [&good[..], &good].concat(),
            b"texttext",
            Whole,
        ),
        vector(
            "zeros behind",
            [&good[..], &[0; 600]].concat(),
            b"text",
            Whole,
        ),
        vector(
            "garbage behind",
            [&good[..], b"garbage"].concat(),
            b"text",
            Corrupt,
        ),
        vector(
            "garbage behind zeros",
            [&good[..], &[0; 9], b"garbage"].concat(),
            b"text",
            Corrupt,
        ),
        vector(
            "the second member cut in its header",
            [&good[..], &good[..5]].concat(),
            b"text",
            Unfinished,
        ),
        vector(
            "the second member cut in its trailer",
            [&good[..], &good[..good.len() - 1]].concat(),
            b"texttext",
            Unfinished,
        ),
        vector(
            "an empty member between others",
            [
                &good[..],
                &GZIP_HEADER,
                &Bits::default().stored(b"", true).done(),
                &gzip_trailer(b""),
                &good,
            ]
            .concat(),
            b"texttext",
            Whole,
        ),
        vector(
            "wrong magic",
            [&[0x1f, 0x8c], &good[2..]].concat(),
            b"",
            Corrupt,
        ),
        vector(
            "method 7",
            [&[0x1f, 0x8b, 7], &good[3..]].concat(),
            b"",
            Corrupt,
        ),
    ];
    for flags in 0..FCOMMENT << 1 {
        vectors.push(vector(
            &format!("flags {flags:#07b}"),
            with(&gzip_header(flags)),
            b"text",
            Whole,
        ));
    }
    for flags in [FHCRC, FHCRC | FEXTRA | FNAME | FCOMMENT, FHCRC | FTEXT] {
        for byte in [1, 2] {
            let mut header = gzip_header(flags);
            let at = header.len() - byte;
            header[at] ^= 1;
            let name = format!("flags {flags:#07b}, FHCRC wrong");
            vectors.push(vector(&name, with(&header), b"", Corrupt));
        }
    }
    for bit in [5, 6, 7] {
        let mut header = GZIP_HEADER;
        header[3] = 1 << bit;
        vectors.push(vector(
            &format!("reserved flag {bit}"),
            with(&header),
            b"",
            Corrupt,
        ));
    }
    for at in good.len() - 8..good.len() {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        let name = format!("wrong checksum or size at {at}");
        vectors.push(vector(&name, wrong, b"text", Corrupt));
    }
    for end in 1..good.len() {
        let delivered = &b"text"[..end.saturating_sub(15).min(4)];
        vectors.push(vector(
            &format!("cut at {end}"),
            &good[..end],
            delivered,
            Unfinished,
        ));
    }
    let flagged = gzip_header(FHCRC | FEXTRA | FNAME | FCOMMENT);
    for end in 11..flagged.len() {
        let name = format!("cut at {end} of a long header");
        vectors.push(vector(&name, &flagged[..end], b"", Unfinished));
    }
    vectors.extend(deflate_bodies().into_iter().map(|body| {
        Vector {
            stream: match body.verdict {
                Unfinished => [&GZIP_HEADER, &body.stream[..]].concat(),
                _ => [
                    &GZIP_HEADER,
                    &body.stream[..],
                    &gzip_trailer(&body.delivered),
                ]
                .concat(),
            },
            ..body
        }
    }));
    vectors
}

// Zstandard (RFC 8878).

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The descriptor of the smallest window, 1 KiB (section 3.1.1.1.2).
const SMALLEST: u8 = 0;

const SINGLE_SEGMENT: u8 = 1 << 5;
const UNUSED_BIT: u8 = 1 << 4;
const RESERVED_BIT: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;

fn zstd_vectors() -> Vec<Vector> {
    let text = block(RAW, b"text", true);
    let frame = |descriptor: u8, header: &[u8], blocks: &[u8]| {
        [&MAGIC[..], &[descriptor], header, blocks].concat()
    };
    let whole = frame(0, &[SMALLEST], &text);
    let checked = frame(
        CHECKSUM,
        &[SMALLEST],
        &[&text[..], &xxh64(b"text")].concat(),
    );
    let of_one = |last: &[u8]| {
        frame(
            0,
            &[SMALLEST],
            &[&block(RAW, b"one ", false), last].concat(),
        )
    };
    let run = |size: usize| [&block_header(RLE, size, true)[..], b"r"].concat();
    let mut vectors = vec![
        vector("raw block", &whole[..], b"text", Whole),
        vector(
            "raw block, empty",
            frame(0, &[SMALLEST], &block(RAW, b"", true)),
            b"",
            Whole,
        ),
        vector(
            "run",
            frame(0, &[SMALLEST], &run(1024)),
            &[b'r'; 1024],
            Whole,
        ),
        vector("run, empty", frame(0, &[SMALLEST], &run(0)), b"", Whole),
        vector(
            "run longer than a block",
            frame(0, &[SMALLEST], &run(1025)),
            b"",
            Corrupt,
        ),
        vector(
            "run of 128 KiB",
            frame(0, &[7 << 3], &run(128 << 10)),
            &vec![b'r'; 128 << 10],
            Whole,
        ),
        vector(
            "run of more than 128 KiB",
            frame(0, &[8 << 3], &run((128 << 10) + 1)),
            b"",
            Corrupt,
        ),
        vector(
            "raw block longer than a block",
            frame(0, &[SMALLEST], &block(RAW, &[b'x'; 1025], true)),
            b"",
            Corrupt,
        ),
        vector(
            "block of the reserved type",
            of_one(&block(RESERVED, b"text", true)),
            b"one ",
            Corrupt,
        ),
        vector(
            "compressed block, empty",
            of_one(&block(COMPRESSED, b"", true)),
            b"one ",
            Whole,
        ),
        vector(
            "compressed block of a byte",
            of_one(&block(COMPRESSED, &[0], true)),
            b"one ",
            Corrupt,
        ),
        vector(
            "no sequences, raw literals",
            of_one(&block(
                COMPRESSED,
                &[4 << 3, b't', b'e', b'x', b't', 0],
                true,
            )),
            b"one text",
            Whole,
        ),
        vector(
            "no sequences, literals of one byte",
            of_one(&block(COMPRESSED, &[5 << 3 | 1, b'r', 0], true)),
            b"one rrrrr",
            Whole,
        ),
        vector(
            "no sequences, but bytes behind",
            of_one(&block(
                COMPRESSED,
                &[4 << 3, b't', b'e', b'x', b't', 0, 0],
                true,
            )),
            b"one ",
            Corrupt,
        ),
        vector(
            "literals longer than the block",
            of_one(&block(
                COMPRESSED,
                &[9 << 3, b't', b'e', b'x', b't', 0],
                true,
            )),
            b"one ",
            Corrupt,
        ),
        vector(
            "literals by a Huffman code that was never given",
            of_one(&block(COMPRESSED, &[0x43, 0x40, 0x00, 1, 0], true)),
            b"one ",
            Corrupt,
        ),
        // The literal `a`, and a copy of three bytes.
        vector(
            "a sequence",
            frame(0, &[SMALLEST], &sequence(0)),
            b"aaaa",
            Whole,
        ),
        vector(
            "an offset before the start",
            frame(0, &[SMALLEST], &sequence(1)),
            b"",
            Corrupt,
        ),
        vector(
            "an offset into the block before",
            of_one(&sequence(3)),
            b"one ane ",
            Whole,
        ),
        vector(
            "reserved bit",
            frame(RESERVED_BIT, &[SMALLEST], &text),
            b"",
            Corrupt,
        ),
        vector(
            "unused bit",
            frame(UNUSED_BIT, &[SMALLEST], &text),
            b"text",
            Whole,
        ),
        vector("checksum", &checked[..], b"text", Whole),
        vector(
            "checksum of nothing",
            frame(
                CHECKSUM,
                &[SMALLEST],
                &[&block(RAW, b"", true)[..], &xxh64(b"")].concat(),
            ),
            b"",
            Whole,
        ),
        vector(
            "two frames",
            [&whole[..], &checked].concat(),
            b"texttext",
            Whole,
        ),
        vector(
            "garbage behind",
            [&whole[..], b"garbage"].concat(),
            b"text",
            Corrupt,
        ),
        vector(
            "zeros behind",
            [&whole[..], &[0; 8]].concat(),
            b"text",
            Corrupt,
        ),
        vector("wrong magic", [&[0x29], &whole[1..]].concat(), b"", Corrupt),
        vector(
            "dictionary 0, which is none",
            frame(1, &[SMALLEST, 0], &text),
            b"text",
            Whole,
        ),
        vector(
            "dictionary of a byte",
            frame(1, &[SMALLEST, 7], &text),
            b"",
            Unsupported,
        ),
        vector(
            "dictionary of two bytes",
            frame(2, &[SMALLEST, 7, 1], &text),
            b"",
            Unsupported,
        ),
        vector(
            "dictionary of four bytes",
            frame(3, &[SMALLEST, 7, 1, 1, 1], &text),
            b"",
            Unsupported,
        ),
    ];
    for at in checked.len() - 4..checked.len() {
        let mut wrong = checked.clone();
        wrong[at] ^= 1;
        vectors.push(vector(
            &format!("wrong checksum at {at}"),
            wrong,
            b"text",
            Corrupt,
        ));
    }

    // Right, too large and too small content sizes, in fields of each width.
    let many = vec![b'm'; 300];
    let many = many.as_slice();
    for (width, flag, data) in [
        (1, 0, &b"text"[..]),
        (2, 1 << 6, many),
        (4, 2 << 6, b"text"),
        (8, 3 << 6, b"text"),
    ] {
        for (single, window) in [(SINGLE_SEGMENT, &[][..]), (0, &[SMALLEST])] {
            if single == 0 && width == 1 {
                continue;
            }
            for (wrong, name) in [(0, "right"), (1, "too large"), (-1_i64, "too small")] {
                let size = data.len() as i64 + wrong - if width == 2 { 256 } else { 0 };
                let size = &size.to_le_bytes()[..width];
                let blocks = block(RAW, data, true);
                let name = format!("size of {width} bytes, {name}, single {}", single != 0);
                let stream = frame(flag | single, &[window, size].concat(), &blocks);
                // The last block shows the wrong size, and none of it is decoded then.
                let (delivered, verdict) = match wrong {
                    0 => (data, Whole),
                    _ => (&b""[..], Corrupt),
                };
                vectors.push(vector(&name, stream, delivered, verdict));
            }
        }
    }
    vectors.push(vector(
        "size 0",
        frame(SINGLE_SEGMENT, &[0], &block(RAW, b"", true)),
        b"",
        Whole,
    ));

    // Window descriptors hold an exponent and eighths.
    for (name, descriptor, verdict) in [
        ("1 KiB and 7/8", 7, Whole),
        ("8 MiB", 13 << 3, Whole),
        ("8 MiB and 1/8", 13 << 3 | 1, Limit),
        ("16 MiB", 14 << 3, Limit),
        ("the largest", 0xff, Limit),
    ] {
        let delivered: &[u8] = if verdict == Whole { b"text" } else { b"" };
        let stream = frame(0, &[descriptor], &text);
        vectors.push(vector(
            &format!("window of {name}"),
            stream,
            delivered,
            verdict,
        ));
    }

    for number in 0..16 {
        for content in [&b""[..], b"skipped"] {
            let skipped = skippable(number, content);
            let name = format!("skippable frame {number:x}, {} bytes", content.len());
            let around = [&skipped, &whole[..], &skipped].concat();
            vectors.push(vector(&name, around, b"text", Whole));
        }
    }
    let skipped = skippable(3, b"skipped");
    vectors.push(vector("only a skippable frame", &skipped[..], b"", Whole));
    for end in 1..skipped.len() {
        let name = format!("skippable frame cut at {end}");
        let stream = [&whole[..], &skipped[..end]].concat();
        vectors.push(vector(&name, stream, b"text", Unfinished));
    }
    for end in 1..checked.len() {
        let delivered = &b"text"[..end.saturating_sub(9).min(4)];
        vectors.push(vector(
            &format!("cut at {end}"),
            &checked[..end],
            delivered,
            Unfinished,
        ));
    }
    vectors
}

fn block(kind: u32, content: &[u8], last: bool) -> Vec<u8> {
    [&block_header(kind, content.len(), last), content].concat()
}

/// A last block of the literal `a`, and a copy of three bytes from `back + 1` bytes before its end:
/// one sequence, each of whose three codes is the only one of its table (section 3.1.1.3.2).
fn sequence(back: u8) -> Vec<u8> {
    let (one_literal, offset_of_two_bits, three_bytes) = (1, 2, 0);
    let all_run_length = 0b0101_0100;
    // Bits are read backwards, from behind the highest bit that is set.
    let bits = 0b100 | back;
    let content = [
        1 << 3,
        b'a',
        1,
        all_run_length,
        one_literal,
        offset_of_two_bits,
        three_bytes,
        bits,
    ];
    block(COMPRESSED, &content, true)
}

/// The four bytes at the end of a frame with a checksum (section 3.1.1).
fn xxh64(data: &[u8]) -> [u8; 4] {
    let mut context = CCtx::create();
    context
        .set_parameter(CParameter::ChecksumFlag(true))
        .unwrap();
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(data.len()) + 100);
    context.compress2(&mut frame, data).unwrap();
    *frame.last_chunk().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
