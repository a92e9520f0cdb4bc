//! Short streams in each format, truncated after every byte or damaged at every bit: only a whole
//! stream ends clean, and the data before the fault is delivered.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use tlsink::decode::Format;

use crate::common::flushed::Flushed;
use crate::common::objects::{Printed, streams};
use crate::common::program::{Client, Program};

const PARTS: [&[u8]; 4] = [
    b"the first line\nand a second one\n",
    b"in a part of its own\n",
    b"the first line again, and the first line once more\n",
    b"no newline",
];

const COMPRESSED: [Format; 5] = [
    Format::Gzip,
    Format::Zlib,
    Format::Deflate,
    Format::Zstd,
    Format::Qt,
];

#[test]
fn broken_off_anywhere_a_stream_of_a_named_format_is_clean_at_its_ends_only() {
    for format in [&[Format::Plain][..], &COMPRESSED].concat() {
        let stream = short(format);
        let cuts = (0..=stream.encoded.len()).map(|cut| &stream.encoded[..cut]);
        for (cut, got) in receive_each(format.name(), cuts).iter().enumerate() {
            let what = format!("{format} after {cut} bytes: {got:?}");
            assert_eq!(got.received, cut, "{what}");
            is_prefix(&stream, cut, got, &what);
            let end = match cut {
                // With a named format, an empty stream is not whole.
                0 if format != Format::Plain => ("truncated", format!("{format} not finished")),
                cut => told_end(&stream, cut),
            };
            assert_eq!(told(got), end, "{what}");
            assert_eq!(got.format, format.name(), "{what}");
        }
    }
}

#[test]
fn broken_off_anywhere_a_detected_stream_is_clean_at_its_ends_only() {
    // Raw deflate is never detected.
    let detected = COMPRESSED.into_iter().filter(|it| *it != Format::Deflate);
    for format in detected {
        let stream = short(format);
        let cuts = (0..=stream.encoded.len()).map(|cut| &stream.encoded[..cut]);
        for (cut, got) in receive_each("auto", cuts).iter().enumerate() {
            let what = format!("{format} after {cut} bytes: {got:?}");
            assert_eq!(got.received, cut, "{what}");
            if (1..signature(format)).contains(&cut) {
                // The stream is too short to be detected, so it passes through as plain.
                assert_eq!(got.bytes, stream.encoded[..cut], "{what}");
                assert_eq!((&*got.format, &*got.end), ("plain", "clean"), "{what}");
                continue;
            }
            is_prefix(&stream, cut, got, &what);
            assert_eq!(told(got), told_end(&stream, cut), "{what}");
            let format = if cut == 0 { "auto" } else { format.name() };
            assert_eq!(got.format, format, "{what}");
        }
    }
}

#[test]
fn no_flipped_bit_of_a_gzip_stream_ends_clean_with_wrong_data() {
    flip_each_bit(Format::Gzip);
}

#[test]
fn no_flipped_bit_of_a_zlib_stream_ends_clean_with_wrong_data() {
    flip_each_bit(Format::Zlib);
}

#[test]
fn no_flipped_bit_of_a_zstd_stream_ends_clean_with_wrong_data() {
    flip_each_bit(Format::Zstd);
}

fn flip_each_bit(format: Format) {
    let stream = short(format);
    let bits = 0..stream.encoded.len() * 8;
    let damaged: Vec<_> = bits
        .map(|bit| {
            let mut damaged = stream.encoded.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged
        })
        .collect();
    let mut clean = 0;
    let all = receive_each(format.name(), damaged.iter().map(Vec::as_slice));
    for (bit, got) in all.iter().enumerate() {
        let what = format!("{format} with bit {} of byte {}: {got:?}", bit % 8, bit / 8);
        let sound = stream.decodable(bit / 8);
        assert!(got.bytes.starts_with(&stream.plain[..sound]), "{what}");
        match &*got.end {
            // Some bits mean nothing for the data: the time in gzip's header, padding.
            "clean" => {
                assert_eq!(got.bytes, stream.plain, "{what}");
                clean += 1;
            }
            // A damaged stream may ask for more data than there is.
            "truncated" => assert_eq!(got.error, format!("{format} not finished"), "{what}"),
            // It may also ask for a window that is too large, or for a dictionary.
            "limit" | "refused" => assert_eq!(format, Format::Zstd, "{what}"),
            end => assert_eq!(end, "corrupt", "{what}"),
        }
    }
    // These formats have few bits without a meaning.
    assert!(clean < all.len() / 8, "{clean} of {} were clean", all.len());
}

/// A short stream with all parts that its format can hold: flushes, several members, and parts that
/// decode to nothing.
fn short(format: Format) -> Flushed {
    let mut stream = Flushed::new(format, &PARTS, 2);
    match format {
        Format::Gzip => (0..3).for_each(|_| stream.add_empty(&[0])),
        // A skippable frame of two bytes (RFC 8878, section 3.1.2).
        Format::Zstd => stream.add_empty(b"\x5a\x2a\x4d\x18\x02\0\0\0xx"),
        Format::Qt => stream.add_empty(&[0; 4]),
        _ => {}
    }
    stream
}

/// The least number of bytes at which a truncated stream is distinguished from plain data.
fn signature(format: Format) -> usize {
    match format {
        Format::Gzip => 1,
        Format::Zlib => 2,
        Format::Zstd => 2,
        Format::Qt => 6,
        other => unreachable!("{other}"),
    }
}

/// Checks that the sent data is delivered in order and once, and at least the flushed part of it.
fn is_prefix(stream: &Flushed, received: usize, got: &Printed, what: &str) {
    assert!(stream.plain.starts_with(&got.bytes), "{what}");
    assert!(got.bytes.len() >= stream.decodable(received), "{what}");
    if received == stream.encoded.len() {
        assert_eq!(got.bytes, stream.plain, "{what}");
    }
}

fn told(got: &Printed) -> (&str, String) {
    (&got.end, got.error.clone())
}

/// The expected report for a stream of this many bytes that ended with a close_notify.
fn told_end(stream: &Flushed, received: usize) -> (&'static str, String) {
    if stream.is_whole(received) {
        ("clean", String::new())
    } else {
        ("truncated", format!("{} not finished", stream.format))
    }
}

/// Sends these streams to a program that decodes this format, one after the other, each over a
/// connection of its own and with a close_notify.
fn receive_each<'a>(format: &str, all: impl Iterator<Item = &'a [u8]>) -> Vec<Printed> {
    let program = Program::start(&["-v", "--format", "json", "--decode", format]);
    let mut count = 0;
    for bytes in all {
        let mut client = Client::connect(program.address());
        // The program may end a damaged stream before all of it is sent.
        let _ = client.write(bytes).and_then(|()| client.finish());
        count += 1;
    }
    program.wait_for_ends(count);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    // Connections are numbered in their order.
    let streams = streams(&outcome.stdout);
    assert!(streams.keys().copied().eq(1..=count as u64));
    streams.into_values().collect()
}
