//! The promises of the decoders: every format, cut anywhere, whole, truncated and corrupt.

#![cfg(all(
    feature = "deflate",
    feature = "gzip",
    feature = "qt",
    feature = "zlib",
    feature = "zstd"
))]

use std::fmt;
use std::fs;
use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compress, Compression, FlushCompress, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tlsink::decode::{Decoder, Fault, Format, Limits};
use tlsink::limits::CHUNK;
use tlsink::output::Memory;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer};

use crate::by_hand::{
    FHCRC, FNAME, GZIP_HEADER, RAW, RLE, block_header, gzip_header, gzip_trailer, skippable,
};
use crate::common::pack::zstd;
use crate::common::zstd::zstd_part;
use crate::fuzz::decode::{self as fuzz, Outcome, Stopped};

/// The formats that a caller can name.
const NAMED: [Format; 6] = [
    Format::Plain,
    Format::Gzip,
    Format::Zlib,
    Format::Deflate,
    Format::Zstd,
    Format::Qt,
];

/// Room for the output as a sink gives it.
const ROOM: usize = 256 * 1024;

// Round trips.

#[test]
fn every_format_gives_back_nothing_and_one_byte_at_any_cut() {
    for data in [&b""[..], b"l", b"\n", b"\xe7", b"\x78", b"\x00"] {
        round_trip(data, &[1, CHUNK], &[1, 7, ROOM]);
    }
}

#[test]
fn every_format_gives_back_text_around_the_size_of_a_chunk() {
    for size in [CHUNK - 1, CHUNK, CHUNK + 1] {
        round_trip(&text(size), &[CHUNK, usize::MAX], &[7, ROOM]);
    }
    round_trip(&text(CHUNK), &[1], &[ROOM]);
    round_trip(&text(CHUNK + 1), &[CHUNK], &[1]);
}

#[test]
fn every_format_gives_back_noise_around_the_size_of_a_chunk() {
    for size in [CHUNK - 1, CHUNK, CHUNK + 1] {
        round_trip(&noise(size), &[CHUNK, usize::MAX], &[7, ROOM]);
    }
    round_trip(&noise(CHUNK), &[1], &[ROOM]);
    round_trip(&noise(CHUNK + 1), &[CHUNK], &[1]);
}

#[test]
fn every_format_gives_back_megabytes() {
    round_trip(&text(3 << 20), &[CHUNK, usize::MAX], &[ROOM]);
    round_trip(&noise(2 << 20), &[CHUNK], &[ROOM]);
}

#[test]
fn empty_chunks_change_nothing() {
    let data = text(5000);
    for (format, named) in formats(&data) {
        let packed = pack(format, &data, 1000);
        let mut pieces: Vec<&[u8]> = vec![&[], &[]];
        for piece in packed.chunks(3) {
            pieces.extend([piece, &[], &[]]);
        }
        for room in [1, 7, ROOM] {
            assert_eq!(run(named, &pieces, room), whole(&data, format), "{named}");
        }
    }
}

#[test]
fn no_bytes_at_all_are_a_whole_stream_unless_a_compressed_format_was_named() {
    for format in Format::ALL.iter().copied() {
        let is_whole = matches!(format, Format::Auto | Format::Plain);
        let decoder = Decoder::new(format, &Limits::default());
        assert_eq!(decoder.at_boundary(), is_whole, "{format}");
        for pieces in [&[][..], &[&b""[..], b"", b""]] {
            let outcome = run(format, pieces, 7);
            let expected = Outcome {
                boundary: is_whole,
                ..whole(b"", format)
            };
            assert_eq!(outcome, expected);
        }
    }
}

#[test]
fn a_stream_that_is_broken_off_delivers_its_beginning_and_is_not_whole() {
    let data = text(300);
    for format in NAMED.into_iter().filter(|f| *f != Format::Plain) {
        let packed = pack(format, &data, usize::MAX);
        for end in 1..packed.len() {
            let outcome = run(format, &[&packed[..end]], ROOM);
            assert!(data.starts_with(&outcome.output), "{format} at {end}");
            assert_eq!(outcome.fault, None, "{format} at {end}");
            assert!(!outcome.boundary, "{format} at {end}");
        }
    }
}

#[test]
fn a_line_is_decoded_when_its_flush_has_arrived() {
    let lines = [&b"h\n"[..], b"\n", b"hello, world\n", &text(2000), b"x^2\n"];
    for format in [Format::Gzip, Format::Zlib, Format::Deflate, Format::Zstd] {
        for named in [format, Format::Auto] {
            if format == Format::Deflate && named == Format::Auto {
                continue;
            }
            for size in [1, usize::MAX] {
                let mut decoder = Decoder::new(named, &Limits::default());
                for (i, flushed) in pack_each(format, &lines).iter().enumerate() {
                    let mut output = Vec::new();
                    for piece in flushed.chunks(size.min(flushed.len())) {
                        push(&mut decoder, piece, 7, &mut output).unwrap();
                    }
                    assert_eq!(output, lines[i], "{named}, line {i}");
                    assert!(!decoder.at_boundary());
                }
                assert_eq!(decoder.format(), format);
            }
        }
    }
}

#[test]
fn only_plain_data_passes_through_unchanged() {
    let passes_through = |format, bytes: &[u8]| {
        let mut decoder = Decoder::new(format, &Limits::default());
        push(&mut decoder, bytes, 100, &mut Vec::new()).unwrap();
        decoder.is_pass_through()
    };
    assert!(passes_through(Format::Plain, b""));
    assert!(passes_through(Format::Plain, b"\x1f\x8b\x08"));
    assert!(passes_through(Format::Auto, b"hello"));
    assert!(passes_through(Format::Auto, b"xylophone"));
    assert!(!passes_through(Format::Auto, b""));
    assert!(!passes_through(Format::Auto, b"x"));
    for format in NAMED.into_iter().filter(|f| *f != Format::Plain) {
        assert!(!passes_through(format, &pack(format, b"text", usize::MAX)));
    }
    // Data does not pass through while the decoder still holds bytes of it.
    let mut decoder = Decoder::new(Format::Auto, &Limits::default());
    let _ = decoder.decode(b"x", &mut [0; 4]);
    let step = decoder.decode(b"yz", &mut [0; 1]);
    assert_eq!((step.read, step.written), (1, 1));
    assert!(!decoder.is_pass_through());
    let step = decoder.decode(b"z", &mut [0; 1]);
    assert_eq!((step.read, step.written), (0, 1));
    assert!(decoder.is_pass_through());
}

// Any split.

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_split_of_plain_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Plain, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_gzip_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Gzip, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_zlib_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Zlib, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_deflate_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Deflate, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_zstd_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Zstd, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_qt_delivers_the_same(stream in stream(), split in split()) {
        same_at_any_split(Format::Qt, &stream, &split, delivery)?;
    }

    #[test]
    fn any_split_of_gzip_ends_with_the_same_fault(stream in stream(), split in split()) {
        same_at_any_split(Format::Gzip, &stream, &split, |outcome| outcome.fault.clone())?;
    }

    #[test]
    fn any_split_of_zlib_ends_with_the_same_fault(stream in stream(), split in split()) {
        same_at_any_split(Format::Zlib, &stream, &split, |outcome| outcome.fault.clone())?;
    }

    #[test]
    fn any_split_of_deflate_ends_with_the_same_fault(stream in stream(), split in split()) {
        same_at_any_split(Format::Deflate, &stream, &split, |outcome| outcome.fault.clone())?;
    }

    #[test]
    fn any_split_of_zstd_ends_with_the_same_fault(stream in stream(), split in split()) {
        same_at_any_split(Format::Zstd, &stream, &split, |outcome| outcome.fault.clone())?;
    }

    #[test]
    fn any_split_of_qt_ends_with_the_same_fault(stream in stream(), split in split()) {
        same_at_any_split(Format::Qt, &stream, &split, |outcome| outcome.fault.clone())?;
    }

    #[test]
    fn any_text_comes_out_of_auto_unchanged(
        prefix in prop_oneof![
            select(&["", "x", "x^", "x\u{6b0}", "P*M", "P", "_*M", "(", "BZh9", "BZh91AY&S"][..])
                .prop_map(str::to_owned),
            select(zlib_headers_in_text()),
        ],
        body in vec(character(), 0..100),
        split in split(),
    ) {
        let text: String = prefix.chars().chain(body).collect();
        // The ten bytes that bzip2 begins with are text, too.
        prop_assume!(!text.starts_with("BZh91AY&SY"));
        let outcome = run(Format::Auto, &split.cut(text.as_bytes()), split.room);
        let format = if text.is_empty() { Format::Auto } else { Format::Plain };
        prop_assert_eq!(outcome, whole(text.as_bytes(), format));
    }

    #[test]
    fn any_bytes_are_decoded_the_same_and_within_limits_whatever_the_split(
        how: [u8; 8],
        begin in select(BEGINNINGS),
        bytes in vec(any::<u8>(), 0..400),
    ) {
        fuzz::check(&[&how, begin, &bytes].concat());
    }

    #[test]
    fn any_stream_is_decoded_the_same_and_within_limits_whatever_the_split(
        how: [u8; 8],
        format in select(&NAMED),
        stream in stream(),
    ) {
        fuzz::check(&[&how[..], &stream.packed(format)].concat());
    }
}

/// A seed that is refused at its first bytes does not show a fuzzer the decoder behind them.
#[test]
fn each_seed_of_the_fuzzer_reaches_the_decoder_that_it_is_for() {
    // A package of this crate has no fuzz/.
    let Ok(seeds) = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/decode")) else {
        return;
    };
    let mut reached = Vec::new();
    for seed in seeds {
        let seed = seed.unwrap();
        let name = seed.file_name().into_string().unwrap();
        let outcome = fuzz::check(&fs::read(seed.path()).unwrap()).unwrap();
        match &*name {
            "bzip2" => assert_eq!(outcome.fault, Some(Fault::Unsupported("bzip2"))),
            "zstd-window" => assert!(matches!(outcome.fault, Some(Fault::Limit(_)))),
            _ => {
                assert_eq!((outcome.fault, outcome.boundary), (None, true), "{name}");
                let text = String::from_utf8(outcome.output).unwrap();
                assert!(text.contains("line 1, worth 1\n"), "{name}: {text}");
                reached.push(outcome.format);
            }
        }
    }
    for format in NAMED {
        assert!(reached.contains(&format), "{format}");
    }
}

#[test]
fn a_zstd_fault_is_at_the_same_offset_whatever_the_split() {
    let frame = pack(Format::Zstd, &text(3000), 1000);
    let blocks = blocks(&frame);
    let block = blocks[1].clone();
    let with = |at: usize, bytes: &[u8]| {
        let mut broken = frame.clone();
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        broken
    };
    let reserved_type = with(block.start - 3, &[frame[block.start - 3] | 6]);
    let body = with(block.start, &vec![0xff; block.len()]);
    let checksum = with(frame.len() - 1, &[!frame[frame.len() - 1]]);
    let garbage = [&frame[..], b"garbage"].concat();
    let reserved_bit = with(4, &[frame[4] | 8]);
    for (what, broken, place) in [
        ("block header", reserved_type, block.start - 3..block.start),
        ("block", body, block.start - 3..block.start),
        ("checksum", checksum, frame.len() - 4..frame.len()),
        ("garbage", garbage, frame.len()..frame.len() + 4),
        ("frame header", reserved_bit, 0..6),
    ] {
        let at_once = corrupt_at(&run(Format::Zstd, &[&broken], ROOM), Format::Zstd);
        assert!(place.contains(&at_once), "{what}: {at_once}, not {place:?}");
        for size in [1, 2, 3, 5] {
            let outcome = run(Format::Zstd, &chunks(&broken, size), ROOM);
            let at = corrupt_at(&outcome, Format::Zstd);
            assert_eq!(at, at_once, "{what}, in pieces of {size}");
        }
    }
}

// The library delivers the part of a raw block that has come, so its output before it finds that a
// frame is longer or shorter than announced could depend on how the input was split.
#[test]
fn a_zstd_frame_of_another_size_than_announced_delivers_the_same_whatever_the_split() {
    for announced in [4, 12] {
        // A single segment with a content size of one byte, and one raw block.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, announced];
        frame.extend(block_header(RAW, 8, true));
        frame.extend(b"12345678");
        let at_once = run(Format::Zstd, &[&frame], ROOM);
        corrupt_at(&at_once, Format::Zstd);
        for size in [1, 2, 3, 5] {
            let outcome = run(Format::Zstd, &chunks(&frame, size), ROOM);
            assert_eq!(
                String::from_utf8_lossy(&outcome.output),
                String::from_utf8_lossy(&at_once.output),
                "announced {announced}, in pieces of {size}"
            );
        }
    }
}

// Faults.

#[test]
fn a_foreign_format_is_refused_by_name() {
    for (begin, name) in [
        (&b"\xfd7zXZ\0"[..], "xz"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"BZh91AY&SY", "bzip2"),
        (b"BZh11AY&SY", "bzip2"),
    ] {
        let input = [begin, b"and what follows"].concat();
        for size in [1, 3, CHUNK] {
            let outcome = run(Format::Auto, &chunks(&input, size), 7);
            assert_eq!(outcome.fault, Some(Fault::Unsupported(name)));
            assert_eq!(outcome.output, b"");
            assert!(!outcome.boundary);
        }
        let named = run(Format::Plain, &[&input], ROOM);
        assert_eq!(named, whole(&input, Format::Plain), "not if it is named");
    }
}

#[test]
fn after_a_fault_a_decoder_returns_only_that_fault() {
    for format in NAMED.into_iter().filter(|f| *f != Format::Plain) {
        let packed = pack(format, &text(100), usize::MAX);
        // These bytes are no valid deflate block, nor the header of a zlib, gzip or zstd stream.
        let broken = [&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &packed].concat();
        let mut decoder = Decoder::new(format, &Limits::default());
        let fault = push(&mut decoder, &broken, 7, &mut Vec::new()).unwrap_err();
        for input in [&packed[..], &[], &broken, &[0]] {
            decoder.finish();
            let step = decoder.decode(input, &mut [0; 7]);
            assert_eq!((step.read, step.written), (0, 0));
            assert_eq!(step.fault.as_ref(), Some(&fault));
            assert_eq!(decoder.format(), format);
            assert!(!decoder.at_boundary());
            assert!(!decoder.is_pass_through());
        }
    }
}

#[test]
fn without_memory_every_codec_is_refused() {
    let limits = Limits::default().memory(Memory::new(1000));
    for (format, named) in formats(b"text") {
        if format == Format::Plain {
            continue;
        }
        let packed = pack(format, b"text", usize::MAX);
        let outcome = run_with(named, &limits, &[&packed], ROOM);
        assert!(matches!(outcome.fault, Some(Fault::Limit(_))), "{named}");
        assert_eq!(outcome.output, b"");
    }
}

#[test]
fn a_decoder_gives_its_memory_back_when_it_fails_and_when_it_is_dropped() {
    for format in NAMED.into_iter().filter(|f| *f != Format::Plain) {
        let packed = pack(format, b"text", usize::MAX);
        // With this much memory, each format can have one decoder and none can have many.
        let limits = Limits::default().memory(Memory::new(1 << 20));
        let mut decoders = Vec::new();
        let refused = |decoders: &mut Vec<Decoder>| {
            let mut decoder = Decoder::new(format, &limits);
            let fault = push(&mut decoder, &packed, 7, &mut Vec::new()).err();
            decoders.push(decoder);
            match fault {
                None => false,
                Some(Fault::Limit(_)) => true,
                Some(other) => panic!("{other:?}"),
            }
        };
        assert!(!refused(&mut decoders));
        assert!((0..100).any(|_| refused(&mut decoders)), "{format}");
        assert!(refused(&mut decoders));
        // Garbage after the end makes the first one fail.
        let _ = push(&mut decoders[0], &[0xff; 40], 7, &mut Vec::new()).unwrap_err();
        assert!(!refused(&mut decoders), "{format}: not freed by a fault");
        assert!(refused(&mut decoders));
        decoders.clear();
        assert!(!refused(&mut decoders), "{format}: not freed by a drop");
    }
}

// gzip.

#[test]
fn gzip_members_follow_one_another_with_zeros_between_and_after_them() {
    let one = pack(Format::Gzip, b"one\n", usize::MAX);
    let none = pack(Format::Gzip, b"", usize::MAX);
    let two = pack(Format::Gzip, &text(70_000), usize::MAX);
    let stream = [
        &one,
        &none,
        &two,
        &[0; 1][..],
        &one,
        &[0; 700],
        &two,
        &[0; 3],
    ]
    .concat();
    let data = [b"one\n", &text(70_000)[..], b"one\n", &text(70_000)].concat();
    for size in [1, 7, CHUNK] {
        let outcome = run(Format::Auto, &chunks(&stream, size), ROOM);
        assert_eq!(outcome, whole(&data, Format::Gzip));
    }
}

#[test]
fn gzip_may_end_after_each_member_and_within_the_zeros_only() {
    let one = pack(Format::Gzip, b"one\n", usize::MAX);
    let stream = [&one, &[0, 0][..], &one].concat();
    for end in 0..=stream.len() {
        let boundary = run(Format::Gzip, &[&stream[..end]], 7).boundary;
        let expected = (one.len()..=one.len() + 2).contains(&end);
        assert_eq!(boundary, expected || end == stream.len(), "at {end}");
    }
}

#[test]
fn every_combination_of_gzip_header_fields_is_read() {
    for flags in 0..32 {
        let stream = [member(flags, b"first "), member(flags, b"second")].concat();
        for size in [1, CHUNK] {
            let outcome = run(Format::Auto, &chunks(&stream, size), 7);
            assert_eq!(
                outcome,
                whole(b"first second", Format::Gzip),
                "{flags:#07b}"
            );
        }
    }
}

#[test]
fn an_empty_gzip_extra_field_is_read() {
    let packed = pack(Format::Deflate, b"text", usize::MAX);
    let stream = [
        &[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 0, 0][..],
        &packed,
        &gzip_trailer(b"text"),
    ]
    .concat();
    let outcome = run(Format::Gzip, &[&stream], ROOM);
    assert_eq!(outcome, whole(b"text", Format::Gzip));
}

#[test]
fn a_gzip_fault_is_told_with_its_place_after_everything_before_it() {
    let good = member(0, b"good\n");
    let last = member(FHCRC | FNAME, b"last\n");
    let trailer = last.len() - 8;
    // The checksum of two bytes follows the ten fixed bytes, the name and its zero.
    let header = 10 + 5;
    let flip = |at: usize| {
        let mut broken = last.clone();
        broken[at] ^= 0x80;
        broken
    };
    let garbage = |padding: usize| [&last, &vec![0; padding][..], b"garbage"].concat();
    let end = last.len();
    for (what, broken, place, delivered) in [
        ("identification", flip(1), 1..2, ""),
        ("method", flip(2), 2..3, ""),
        ("reserved flags", flip(3), 3..4, ""),
        ("FHCRC, low", flip(header), header..header + 2, ""),
        ("FHCRC, high", flip(header + 1), header..header + 2, ""),
        ("name, by FHCRC", flip(12), header..header + 2, ""),
        ("CRC, low", flip(trailer), trailer..end, "last\n"),
        ("CRC, high", flip(trailer + 3), trailer..end, "last\n"),
        ("ISIZE, low", flip(trailer + 4), trailer + 4..end, "last\n"),
        ("ISIZE, high", flip(trailer + 7), trailer + 4..end, "last\n"),
        ("garbage", garbage(0), end..end + 1, "last\n"),
        (
            "garbage behind zeros",
            garbage(9),
            end + 9..end + 10,
            "last\n",
        ),
    ] {
        let stream = [&good[..], &broken].concat();
        for size in [1, 3, CHUNK] {
            for room in [1, ROOM] {
                let outcome = run(Format::Auto, &chunks(&stream, size), room);
                let output = String::from_utf8_lossy(&outcome.output);
                assert_eq!(output, format!("good\n{delivered}"), "{what}");
                let at = corrupt_at(&outcome, Format::Gzip) - good.len();
                assert!(place.contains(&at), "{what}: at {at}, not in {place:?}");
            }
        }
    }
}

#[test]
fn a_corrupt_gzip_body_is_told_with_its_place_after_everything_before_it() {
    let packed = pack_each(Format::Deflate, &[b"delivered\n"]).concat();
    // A block of the reserved type follows the flush.
    let stream = [&member(0, b"good\n")[..], &GZIP_HEADER, &packed, &[7]].concat();
    for size in [1, CHUNK] {
        let outcome = run(Format::Gzip, &chunks(&stream, size), 7);
        assert_eq!(outcome.output, b"good\ndelivered\n");
        let at = corrupt_at(&outcome, Format::Gzip);
        assert!((stream.len() - 1..=stream.len()).contains(&at), "{at}");
    }
}

#[test]
fn named_gzip_must_begin_with_a_member() {
    for begin in [&b"text"[..], &[0, 0, 0]] {
        let outcome = run(Format::Gzip, &[begin], ROOM);
        assert_eq!(corrupt_at(&outcome, Format::Gzip), 0);
    }
}

// zlib and deflate.

#[test]
fn data_after_the_end_of_zlib_or_deflate_is_corrupt() {
    for format in [Format::Zlib, Format::Deflate] {
        let packed = pack(format, &text(1000), usize::MAX);
        for after in [&b"\0"[..], b"more", &packed] {
            let stream = [&packed, after].concat();
            for size in [1, packed.len(), CHUNK] {
                let outcome = run(format, &chunks(&stream, size), 7);
                assert_eq!(outcome.output, text(1000));
                assert_eq!(corrupt_at(&outcome, format), packed.len());
            }
        }
    }
}

#[test]
fn a_wrong_zlib_checksum_is_told_after_everything_is_delivered() {
    let mut packed = pack(Format::Zlib, &text(1000), usize::MAX);
    let end = packed.len();
    packed[end - 1] ^= 1;
    for named in [Format::Zlib, Format::Auto] {
        for size in [1, CHUNK] {
            let outcome = run(named, &chunks(&packed, size), 7);
            assert_eq!(outcome.output, text(1000));
            let at = corrupt_at(&outcome, Format::Zlib);
            assert!((end - 4..=end).contains(&at), "{at} of {end}");
        }
    }
}

#[test]
fn zlib_with_a_preset_dictionary_is_refused() {
    // RFC 1950, section 2.2: FDICT is set, and four bytes name the dictionary.
    let stream = [0x78, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8];
    for size in [1, CHUNK] {
        let outcome = run(Format::Zlib, &chunks(&stream, size), ROOM);
        let fault = Fault::Unsupported("zlib with a preset dictionary");
        assert_eq!(outcome.fault, Some(fault));
    }
}

#[test]
fn zlib_is_detected_at_every_level_and_size() {
    for level in 0..10 {
        for size in [1, 2, 3, 10, 60, 100, 1000] {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(&text(size)).unwrap();
            let packed = encoder.finish().unwrap();
            for pieces in [chunks(&packed, 1), chunks(&packed, CHUNK)] {
                let outcome = run(Format::Auto, &pieces, ROOM);
                assert_eq!(outcome, whole(&text(size), Format::Zlib), "{level}, {size}");
            }
        }
    }
}

#[test]
fn zlib_and_qt_are_detected_with_every_window() {
    for window_bits in 9..=15 {
        for size in [0, 1, 60, 1000] {
            let plain = text(size);
            let mut packer = Compress::new_with_window_bits(Compression::best(), true, window_bits);
            let mut zlib = Vec::with_capacity(size + 100);
            let status = packer.compress_vec(&plain, &mut zlib, FlushCompress::Finish);
            assert_eq!(status.unwrap(), Status::StreamEnd);
            assert_eq!(zlib[0] >> 4, window_bits - 8);
            for piece in [1, CHUNK] {
                let outcome = run(Format::Auto, &chunks(&zlib, piece), ROOM);
                assert_eq!(
                    outcome,
                    whole(&plain, Format::Zlib),
                    "{window_bits}, {size}"
                );
                let qt = [&(size as u32).to_be_bytes()[..], &zlib].concat();
                if size > 0 {
                    let outcome = run(Format::Auto, &chunks(&qt, piece), ROOM);
                    assert_eq!(outcome, whole(&plain, Format::Qt), "{window_bits}, {size}");
                }
            }
        }
    }
}

/// The header of a zlib stream is so short that other data may begin with the same bytes.
#[test]
fn binary_data_that_begins_like_zlib_is_plain_but_for_one_stream_in_a_hundred() {
    let mut random = 1u32;
    let (mut streams, mut taken) = (0, 0);
    for first in (0x08..=0x78).step_by(0x10) {
        for second in (0..=0xff).filter(|second| (first * 256 + second) % 31 == 0) {
            for _ in 0..20 {
                let mut data = vec![first as u8, second as u8];
                data.resize_with(200, || {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                });
                let outcome = run(Format::Auto, &[&data], ROOM);
                streams += 1;
                taken += usize::from(outcome != whole(&data, Format::Plain));
            }
        }
    }
    assert!(taken * 100 < streams, "{taken} of {streams}");
}

// zstd.

#[test]
fn zstd_frames_and_skippable_frames_follow_one_another() {
    let one = pack(Format::Zstd, b"one\n", usize::MAX);
    let none = pack(Format::Zstd, b"", usize::MAX);
    let two = pack(Format::Zstd, &text(300_000), 100_000);
    let stream = [
        skippable(0, b"first"),
        skippable(15, b""),
        one.clone(),
        none.clone(),
        two.clone(),
        two,
        skippable(7, &text(100_000)),
        none,
        one,
        skippable(3, b"last"),
    ]
    .concat();
    let data = [b"one\n", &text(300_000)[..], &text(300_000), b"one\n"].concat();
    for size in [1, 7, CHUNK] {
        let outcome = run(Format::Auto, &chunks(&stream, size), ROOM);
        assert!(outcome == whole(&data, Format::Zstd), "pieces of {size}");
    }
}

#[test]
fn zstd_may_consist_of_skippable_frames_and_not_end_within_one() {
    let stream = skippable(4, b"12345678");
    for end in 0..=stream.len() {
        let outcome = run(Format::Zstd, &[&stream[..end]], 7);
        assert_eq!(outcome.output, b"");
        assert_eq!(outcome.boundary, end == stream.len());
    }
}

#[test]
fn a_wrong_zstd_checksum_is_told_after_everything_is_delivered() {
    let good = pack(Format::Zstd, &text(200_000), 50_000);
    let end = good.len();
    let mut broken = good.clone();
    broken[end - 2] ^= 1;
    for size in [1, CHUNK] {
        assert_eq!(
            run(Format::Zstd, &chunks(&good, size), 1000),
            whole(&text(200_000), Format::Zstd)
        );
        let outcome = run(Format::Zstd, &chunks(&broken, size), 1000);
        assert!(outcome.output == text(200_000));
        let at = corrupt_at(&outcome, Format::Zstd);
        assert!((end - 4..end).contains(&at), "{at} of {end}");
    }
}

#[test]
fn data_after_the_end_of_zstd_is_corrupt() {
    let good = pack(Format::Zstd, b"text", usize::MAX);
    let outcome = run(Format::Zstd, &[&good, b"garbage"], ROOM);
    assert_eq!(outcome.output, b"text");
    assert_eq!(corrupt_at(&outcome, Format::Zstd), good.len());
}

#[test]
fn a_zstd_window_at_the_limit_passes_and_above_it_is_refused_before_anything() {
    for log in [10, 13, 17, 20, 23] {
        let data = text(3000);
        let frame = frame_with_window(log, &data);
        let limit = |max_window| Limits::default().max_window(max_window);
        for pieces in [chunks(&frame, 1), chunks(&frame, CHUNK)] {
            let at = run_with(Format::Zstd, &limit(1 << log), &pieces, 1000);
            assert_eq!(at, whole(&data, Format::Zstd), "2^{log}");
            for max_window in [(1 << log) - 1, 1, 0] {
                let above = run_with(Format::Auto, &limit(max_window), &pieces, 1000);
                assert!(matches!(above.fault, Some(Fault::Limit(_))));
                assert_eq!(above.output, b"");
                assert_eq!(above.format, Format::Zstd);
            }
        }
        // The magic number, the descriptor and the window are enough to refuse a frame.
        let header = run_with(Format::Zstd, &limit((1 << log) - 1), &[&frame[..6]], 1000);
        assert!(matches!(header.fault, Some(Fault::Limit(_))));
    }
}

#[test]
fn a_zstd_window_between_powers_of_two_counts_exactly() {
    // The window is 1 KiB and three eighths of it.
    let window = 1024 + 3 * 128;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 3];
    frame.extend(block_header(RAW, 4, true));
    frame.extend(b"text");
    for (max_window, passes) in [(window, true), (window - 1, false)] {
        let limits = Limits::default().max_window(max_window);
        let outcome = run_with(Format::Zstd, &limits, &[&frame], ROOM);
        assert_eq!(outcome.fault.is_none(), passes, "{outcome:?}");
        assert_eq!(outcome.output, if passes { &b"text"[..] } else { b"" });
    }
}

#[test]
fn the_size_of_a_single_zstd_segment_is_its_window() {
    let frame = zstd(&text(100_000));
    assert_eq!(frame[4] & 0x20, 0x20, "the encoder made a single segment");
    for (max_window, passes) in [(100_000, true), (99_999, false)] {
        let limits = Limits::default().max_window(max_window);
        let outcome = run_with(Format::Zstd, &limits, &[&frame], ROOM);
        assert_eq!(outcome.fault.is_none(), passes);
        assert_eq!(outcome.output.len(), if passes { 100_000 } else { 0 });
    }
}

#[test]
fn the_largest_windows_that_zstd_can_announce_are_refused() {
    let limits = Limits::default().max_window(u64::MAX);
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xff];
    let mut segment = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    segment.extend([0xff; 8]);
    for header in [&window[..], &segment] {
        for limits in [&limits, &Limits::default()] {
            let outcome = run_with(Format::Zstd, limits, &[header], ROOM);
            assert!(matches!(outcome.fault, Some(Fault::Limit(_))));
        }
    }
}

#[test]
fn a_zstd_window_that_memory_is_not_left_for_is_refused() {
    let limits = Limits::default().memory(Memory::new(12 << 20));
    // All the memory would be too little for this window.
    let larger = frame_with_window(24, b"larger\n");
    let limits_of_window = limits.clone().max_window(u64::MAX);
    let outcome = run_with(Format::Zstd, &limits_of_window, &[&larger], ROOM);
    assert_eq!(outcome.output, b"");
    assert!(matches!(outcome.fault, Some(Fault::Limit(_))));

    // Only the used part of a window counts, so the second window grows until memory is used up.
    let much = frame_with_window(23, &text(8 << 20));
    let mut other = Decoder::new(Format::Zstd, &limits);
    push(&mut other, &much[..much.len() / 2], ROOM, &mut Vec::new()).unwrap();
    let little = frame_with_window(23, b"little\n");
    let outcome = run_with(Format::Zstd, &limits, &[&little, &much], ROOM);
    assert!(outcome.output.starts_with(b"little\nline at 0,"));
    let came = outcome.output.len();
    assert!((3 << 20..6 << 20).contains(&came), "{came} bytes came");
    assert!(matches!(outcome.fault, Some(Fault::Limit(_))));
}

#[test]
fn a_zstd_window_of_which_little_is_used_leaves_the_memory_to_others() {
    let limits = Limits::default().memory(Memory::new(32 << 20));
    // Each decoder is in its first block. Their windows together would be 400 MiB.
    let frame = frame_with_window(23, &text(2000));
    let mut decoders: Vec<_> = (0..50)
        .map(|_| {
            let mut decoder = Decoder::new(Format::Zstd, &limits);
            let mut output = Vec::new();
            push(&mut decoder, &frame[..frame.len() - 1], ROOM, &mut output).unwrap();
            decoder
        })
        .collect();
    let honest = frame_with_window(21, &text(5 << 20));
    let outcome = run_with(Format::Zstd, &limits, &[&honest], ROOM);
    assert_eq!(outcome.fault, None);
    for decoder in &mut decoders {
        push(decoder, &frame[frame.len() - 1..], ROOM, &mut Vec::new()).unwrap();
        assert!(decoder.at_boundary());
    }
}

#[test]
fn the_memory_accounted_for_a_zstd_window_covers_the_librarys_own() {
    let mut over = Vec::new();
    for log in [10, 12, 15, 16, 17, 18, 20] {
        // The frame uses all of the window and of the buffers behind it.
        let frame = frame_with_window(log, &text((1 << log) + (1 << 19)));
        let (_, context) = decode_by_library(&frame, log);
        // Finds the least memory that is enough. A quarter of it is kept back for chunks.
        let (mut too_little, mut enough) = (0, 64 << 20);
        while enough - too_little > 1 {
            let middle = (too_little + enough) / 2;
            let limits = Limits::default().memory(Memory::new(middle));
            match run_with(Format::Zstd, &limits, &[&frame], ROOM).fault {
                None => enough = middle,
                Some(_) => too_little = middle,
            }
        }
        let accounted = enough - enough / 4;
        if context.sizeof() > accounted {
            over.push((log, context.sizeof(), accounted));
        }
    }
    assert!(over.is_empty(), "(log, taken, accounted): {over:?}");
}

#[test]
fn a_zstd_frame_that_needs_a_dictionary_is_refused() {
    for id in [&[1][..], &[0, 1], &[0, 0, 0, 1]] {
        let descriptor = match id.len() {
            1 => 1,
            2 => 2,
            _ => 3,
        };
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, descriptor, 0], id, &[1, 0, 0]].concat();
        for size in [1, CHUNK] {
            let outcome = run(Format::Auto, &chunks(&frame, size), ROOM);
            let fault = Fault::Unsupported("zstd with a dictionary");
            assert_eq!(outcome.fault, Some(fault));
        }
        // The dictionary ID 0 stands for no dictionary.
        let frame = [&frame[..6], &vec![0; id.len()], &[1, 0, 0]].concat();
        let outcome = run(Format::Auto, &[&frame], ROOM);
        assert_eq!(outcome, whole(b"", Format::Zstd));
    }
}

#[test]
fn every_zstd_block_before_a_corrupt_one_is_delivered() {
    // The first frame has a block for each 128 KiB, the second has many small blocks.
    let large = text(600_000);
    let small = text(3000);
    for (data, frame) in [
        (&large, zstd(&large)),
        (&small, pack(Format::Zstd, &small, 100)),
    ] {
        let blocks = blocks(&frame);
        assert!(blocks.len() > 3);
        for block in [1, blocks.len() / 2, blocks.len() - 2] {
            let place = blocks[block].clone();
            let (delivered, _) = decode_by_library(&frame[..place.start], 23);
            assert!(!delivered.is_empty() && data.starts_with(&delivered));
            let mut broken = frame.clone();
            broken[place.clone()].fill(0xff);
            for size in [1, 1000, CHUNK, usize::MAX] {
                // One of the rooms is exactly as large as the delivered bytes.
                for room in [7, delivered.len(), ROOM, 1 << 20] {
                    let outcome = run(Format::Zstd, &chunks(&broken, size), room);
                    assert!(
                        outcome.output == delivered,
                        "{} bytes instead of {}, pieces of {size}, room of {room}",
                        outcome.output.len(),
                        delivered.len()
                    );
                    let at = corrupt_at(&outcome, Format::Zstd);
                    assert_eq!(at, place.start - 3, "the block begins with its header");
                }
            }
        }
    }
}

#[test]
fn a_small_zstd_stream_that_decodes_to_gigabytes_comes_in_steps() {
    const BLOCK: usize = 128 * 1024;
    // The frame has no content size, and a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    while frame.len() + 4 <= CHUNK {
        frame.extend(block_header(RLE, BLOCK, false));
        frame.push(b'z');
    }
    assert!((frame.len() - 6) / 4 * BLOCK > 1 << 30);
    let expected = vec![b'z'; ROOM];
    let mut output = vec![0; ROOM];
    let mut decoder = Decoder::new(Format::Auto, &Limits::default());
    let (mut read, mut written) = (0, 0);
    while written < 300 << 20 {
        let step = decoder.decode(&frame[read..], &mut output);
        assert_eq!(step.fault, None);
        assert_eq!(step.written, ROOM, "there is more to come");
        assert!(output == expected);
        read += step.read;
        written += step.written;
        // The decoder takes no more input than the output has room for.
        assert!(read <= 6 + (written / BLOCK + 1) * 4);
    }
    assert!(!decoder.at_boundary());
}

// qt.

#[test]
fn qt_blocks_follow_one_another_with_empty_ones_between() {
    let block = |data: &[u8]| pack(Format::Qt, data, usize::MAX);
    let stream = [
        block(b"one\n"),
        block(b""),
        block(b""),
        block(&text(100_000)),
        block(b"two\n"),
        block(b""),
    ]
    .concat();
    let data = [b"one\n", &text(100_000)[..], b"two\n"].concat();
    for named in [Format::Qt, Format::Auto] {
        for size in [1, 7, CHUNK] {
            let outcome = run(named, &chunks(&stream, size), ROOM);
            assert!(outcome == whole(&data, Format::Qt), "pieces of {size}");
        }
    }
}

#[test]
fn qt_may_end_between_blocks_only() {
    let block = pack(Format::Qt, b"text", usize::MAX);
    let stream = [&[0; 4][..], &block].concat();
    for end in 0..=stream.len() {
        let outcome = run(Format::Qt, &[&stream[..end]], ROOM);
        assert_eq!(outcome.boundary, [4, stream.len()].contains(&end));
    }
}

#[test]
fn a_wrong_size_in_front_of_a_qt_block_is_ignored() {
    let zlib = pack(Format::Zlib, &text(1000), usize::MAX);
    for size in [
        1u32,
        999,
        1001,
        0x00ff_ffff,
        0x0100_0000,
        0x08ff_ffff,
        u32::MAX,
    ] {
        let stream = [&size.to_be_bytes()[..], &zlib].concat();
        let outcome = run(Format::Qt, &[&stream], ROOM);
        assert_eq!(outcome, whole(&text(1000), Format::Qt), "{size}");
        if size < u32::MAX {
            let detected = run(Format::Auto, &[&stream], ROOM);
            assert_eq!(detected, whole(&text(1000), Format::Qt), "{size}");
        }
    }
}

#[test]
fn a_detected_qt_stream_may_open_with_empty_blocks() {
    for empty in [1, 2, 15] {
        let stream = [&vec![0; 4 * empty], &*pack(Format::Qt, b"text", usize::MAX)].concat();
        for size in [1, CHUNK] {
            for format in [Format::Qt, Format::Auto] {
                let outcome = run(format, &chunks(&stream, size), ROOM);
                assert_eq!(outcome, whole(b"text", Format::Qt), "{empty}");
            }
        }
    }
    // Zeros alone are plain data.
    let zeros = [0; 1000];
    for size in [1, 3, CHUNK] {
        let outcome = run(Format::Auto, &chunks(&zeros, size), ROOM);
        assert_eq!(outcome, whole(&zeros, Format::Plain));
    }
}

#[test]
fn data_that_only_begins_like_a_qt_stream_is_plain() {
    for after_size in [
        &b"text"[..],
        b"x^2 + y^2 = z^2\n",
        &[0x78, 0x9c, 0xff, 0xff],
    ] {
        let data = [&[0, 0, 1, 0], after_size].concat();
        for size in [1, CHUNK] {
            let outcome = run(Format::Auto, &chunks(&data, size), ROOM);
            assert_eq!(outcome, whole(&data, Format::Plain), "{after_size:?}");
        }
    }
}

#[test]
fn a_qt_fault_is_told_with_its_place_after_everything_before_it() {
    let good = pack(Format::Qt, b"good\n", usize::MAX);
    let no_zlib = [&good[..], b"\0\0\0\x05text"].concat();
    let mut checksum = [&good[..], &good].concat();
    let end = checksum.len();
    checksum[end - 1] ^= 1;
    for (stream, place, delivered) in [
        (no_zlib, good.len() + 4..=good.len() + 6, &b"good\n"[..]),
        (checksum, end - 4..=end, b"good\ngood\n"),
    ] {
        for size in [1, CHUNK] {
            let outcome = run(Format::Qt, &chunks(&stream, size), 7);
            assert_eq!(outcome.output, delivered);
            let at = corrupt_at(&outcome, Format::Qt);
            assert!(place.contains(&at), "at {at}, not in {place:?}");
        }
    }
}

// Driving a decoder.

/// The result for a stream of `data` without faults.
fn whole(data: &[u8], format: Format) -> Outcome {
    Outcome {
        output: data.to_vec(),
        format,
        fault: None,
        boundary: true,
    }
}

/// Feeds a decoder with each of the pieces, and gives it `room` bytes for its output.
fn run(format: Format, pieces: &[&[u8]], room: usize) -> Outcome {
    run_with(format, &Limits::default(), pieces, room)
}

fn run_with(format: Format, limits: &Limits, pieces: &[&[u8]], room: usize) -> Outcome {
    let mut decoder = Decoder::new(format, limits);
    let (outcome, _) = fuzz::drive(&mut decoder, pieces.iter().copied(), |_| Some(room));
    outcome
}

/// Feeds `input`, and takes all output before there is more input.
fn push(
    decoder: &mut Decoder,
    input: &[u8],
    room: usize,
    output: &mut Vec<u8>,
) -> Result<(), Fault> {
    match fuzz::push(decoder, input, &mut Vec::new(), |_| Some(room), output) {
        Ok(()) => Ok(()),
        Err(Stopped::Fault(fault)) => Err(fault),
        Err(Stopped::NoRoom) => unreachable!("there is always room"),
    }
}

/// Packs `data` in each format and decodes it, named and detected, in pieces of each size and with
/// output buffers of each size.
fn round_trip(data: &[u8], sizes: &[usize], rooms: &[usize]) {
    for (format, named) in formats(data) {
        let packed = pack(format, data, usize::MAX);
        for size in sizes {
            for room in rooms {
                let outcome = run(named, &chunks(&packed, *size), *room);
                // An empty stream shows no format.
                let format = if packed.is_empty() { named } else { format };
                assert!(
                    outcome == whole(data, format),
                    "{format} as {named}, {} bytes in pieces of {size}, room of {room}",
                    data.len()
                );
            }
        }
    }
}

/// The formats in which `data` can be packed, each with the format given to the decoder: its name,
/// and `auto` where it can be detected.
fn formats(data: &[u8]) -> Vec<(Format, Format)> {
    let mut formats: Vec<_> = NAMED.into_iter().map(|format| (format, format)).collect();
    for format in NAMED {
        let empty_block = format == Format::Qt && data.is_empty();
        if format != Format::Deflate && !empty_block {
            formats.push((format, Format::Auto));
        }
    }
    formats
}

/// The offset at which a stream is corrupt.
fn corrupt_at(outcome: &Outcome, expected: Format) -> usize {
    assert!(!outcome.boundary);
    match &outcome.fault {
        Some(Fault::Corrupt { format, offset, .. }) => {
            assert_eq!(*format, expected);
            *offset as usize
        }
        other => panic!("not corrupt: {other:?}"),
    }
}

fn chunks(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    bytes.chunks(size).collect()
}

// Any split, and any stream to be split.

/// A stream to be packed, and perhaps damaged.
struct Stream {
    data: Vec<u8>,
    flush_every: usize,
    named: bool,
    damage: Damage,
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Flip(Index, u8),
    FlipNear(usize, u8),
    Cut(Index),
}

/// The cuts of the input, and the room of each output.
#[derive(Debug)]
struct Split {
    cuts: Vec<Index>,
    each_byte: bool,
    room: usize,
}

/// The beginnings of streams in every format.
const BEGINNINGS: &[&[u8]] = &[
    b"",
    b"x",
    b"\x78\x9c",
    b"\x78\x01\x01",
    b"\x1f\x8b\x08\x00\0\0\0\0\0\0",
    b"\x1f\x8b\x08\x1e",
    b"\x28\xb5\x2f\xfd",
    b"\x28\xb5\x2f\xfd\x00\x00",
    b"\x28\xb5\x2f\xfd\x20\x10",
    b"\x52\x2a\x4d\x18",
    b"\0\0\0\x05\x78\x9c",
    b"\xfd7zXZ",
    b"BZh91AY&SY",
];

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("data", &format_args!("{}", self.data.escape_ascii()))
            .field("flush_every", &self.flush_every)
            .field("named", &self.named)
            .field("damage", &self.damage)
            .finish()
    }
}

impl Stream {
    fn packed(&self, format: Format) -> Vec<u8> {
        let mut packed = pack(format, &self.data, self.flush_every);
        match &self.damage {
            Damage::None => {}
            Damage::Flip(at, bits) => {
                if !packed.is_empty() {
                    let at = at.index(packed.len());
                    packed[at] ^= bits;
                }
            }
            Damage::FlipNear(at, bits) => {
                if let Some(byte) = packed.get_mut(*at) {
                    *byte ^= bits;
                }
            }
            Damage::Cut(at) => packed.truncate(at.index(packed.len() + 1)),
        }
        packed
    }
}

fn stream() -> impl Strategy<Value = Stream> {
    let data = prop_oneof![
        vec(select(&b"abc \n"[..]), 0..3000),
        vec(any::<u8>(), 0..600),
        (any::<u8>(), 0..9000usize).prop_map(|(byte, size)| vec![byte; size]),
    ];
    let damage = prop_oneof![
        2 => Just(Damage::None),
        5 => (any::<Index>(), 1u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        // Damage in the header, where it has the most effect.
        2 => (0..16usize, 1u8..).prop_map(|(at, bits)| Damage::FlipNear(at, bits)),
        2 => any::<Index>().prop_map(Damage::Cut),
    ];
    let flush_every = select(&[100, 300, 1000, usize::MAX, usize::MAX][..]);
    (data, flush_every, any::<bool>(), damage).prop_map(|(data, flush_every, named, damage)| {
        Stream {
            data,
            flush_every,
            named,
            damage,
        }
    })
}

fn split() -> impl Strategy<Value = Split> {
    let cuts = vec(any::<Index>(), 0..8);
    let room = select(&[1, 2, 7, 64, 1000, ROOM][..]);
    (cuts, prop::bool::weighted(0.3), room).prop_map(|(cuts, each_byte, room)| Split {
        cuts,
        each_byte,
        room,
    })
}

impl Split {
    fn cut<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        if self.each_byte {
            return chunks(bytes, 1);
        }
        let mut cuts: Vec<_> = self.cuts.iter().map(|i| i.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..to]);
            from = to;
        }
        pieces
    }
}

/// Compares the results of `look` for the stream as one piece and for its split.
fn same_at_any_split<T: fmt::Debug + PartialEq>(
    format: Format,
    stream: &Stream,
    split: &Split,
    look: fn(&Outcome) -> T,
) -> Result<(), TestCaseError> {
    let packed = stream.packed(format);
    let named = if stream.named { format } else { Format::Auto };
    let at_once = run(named, &[&packed], 1 << 20);
    let in_pieces = run(named, &split.cut(&packed), split.room);
    prop_assert_eq!(look(&in_pieces), look(&at_once));
    Ok(())
}

/// All results except the kind of fault. The size and the checksum stand for the output, which
/// would be too long for a message.
fn delivery(outcome: &Outcome) -> (Format, usize, u32, bool, bool) {
    (
        outcome.format,
        outcome.output.len(),
        crc32fast::hash(&outcome.output),
        outcome.fault.is_some(),
        outcome.boundary,
    )
}

/// All pairs of text characters that are a valid zlib header (RFC 1950, section 2.2).
fn zlib_headers_in_text() -> Vec<String> {
    let is_header = |[first, second]: &[u8; 2]| {
        first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
    };
    let headers = (b' '..=b'~').flat_map(|first| {
        let seconds = (b' '..=b'~').chain(*b"\t\n\r\x0c\x1b");
        seconds.map(move |second| [first, second])
    });
    headers
        .filter(is_header)
        .map(|header| header.map(char::from).iter().collect())
        .collect()
}

/// Any character of a text. The only control characters are those for space.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => proptest::char::range(' ', '~'),
        1 => select(&['\t', '\n', '\r'][..]),
        2 => any::<char>().prop_filter("a control character", |c| !c.is_control()),
    ]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// The input.

/// Compressible text.
fn text(size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 64);
    let mut random = 0x9e37_79b9_7f4a_7c15;
    while text.len() < size {
        let number = xorshift(&mut random) % 1000;
        writeln!(text, "line at {}, worth {number}", text.len()).unwrap();
    }
    text.truncate(size);
    text
}

/// Incompressible bytes.
fn noise(size: usize) -> Vec<u8> {
    let mut random = 0x2545_f491_4f6c_dd1d;
    let words = std::iter::repeat_with(|| xorshift(&mut random).to_le_bytes());
    let mut noise = words.take(size.div_ceil(8)).collect::<Vec<_>>().concat();
    noise.truncate(size);
    noise
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Compresses `data`, with a flush after every `flush_every` bytes; for qt, in blocks of that size.
fn pack(format: Format, data: &[u8], flush_every: usize) -> Vec<u8> {
    let parts: Vec<_> = data.chunks(flush_every).collect();
    match format {
        Format::Plain => data.to_vec(),
        Format::Gzip => {
            let encoder = GzEncoder::new(Vec::new(), Compression::default());
            write_parts(encoder, &parts).finish().unwrap()
        }
        Format::Zlib => {
            let encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            write_parts(encoder, &parts).finish().unwrap()
        }
        Format::Deflate => {
            let encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            write_parts(encoder, &parts).finish().unwrap()
        }
        // A frame whose size is known from the start.
        Format::Zstd if flush_every == usize::MAX => zstd(data),
        Format::Zstd => {
            let mut context = CCtx::create();
            context
                .set_parameter(CParameter::ChecksumFlag(true))
                .unwrap();
            let mut packed = Vec::new();
            for part in parts {
                let flush = ZSTD_EndDirective::ZSTD_e_flush;
                packed.extend(zstd_part(&mut context, part, flush));
            }
            packed.extend(zstd_part(&mut context, &[], ZSTD_EndDirective::ZSTD_e_end));
            packed
        }
        Format::Qt if data.is_empty() => vec![0; 4],
        Format::Qt => parts
            .into_iter()
            .map(|part| {
                let size = part.len() as u32;
                let zlib = pack(Format::Zlib, part, usize::MAX);
                [&size.to_be_bytes()[..], &zlib].concat()
            })
            .collect::<Vec<_>>()
            .concat(),
        other => unreachable!("{other}"),
    }
}

fn write_parts<W: Write>(mut encoder: W, parts: &[&[u8]]) -> W {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            encoder.flush().unwrap();
        }
        encoder.write_all(part).unwrap();
    }
    encoder
}

/// The stream of a sender that flushes after each of the parts.
fn pack_each(format: Format, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut deflate = Compress::new(Compression::default(), format == Format::Zlib);
    let mut zstd = CCtx::create();
    let mut packed = Vec::new();
    for part in parts {
        let mut flushed = Vec::with_capacity(part.len() + 1000);
        match format {
            Format::Zstd => {
                flushed = zstd_part(&mut zstd, part, ZSTD_EndDirective::ZSTD_e_flush);
            }
            _ => {
                deflate
                    .compress_vec(part, &mut flushed, FlushCompress::Sync)
                    .unwrap();
                if format == Format::Gzip && packed.is_empty() {
                    flushed.splice(..0, GZIP_HEADER);
                }
            }
        }
        packed.push(flushed);
    }
    packed
}

/// A gzip member with the fields that these flags announce.
fn member(flags: u8, data: &[u8]) -> Vec<u8> {
    let packed = pack(Format::Deflate, data, usize::MAX);
    [gzip_header(flags), packed, gzip_trailer(data)].concat()
}

/// A frame with a window of 2^log bytes; its size isn't known from the start, so that the window
/// doesn't shrink to it.
fn frame_with_window(log: u32, data: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::WindowLog(log)).unwrap();
    let frame = [
        zstd_part(&mut context, data, ZSTD_EndDirective::ZSTD_e_flush),
        zstd_part(&mut context, &[], ZSTD_EndDirective::ZSTD_e_end),
    ]
    .concat();
    assert_eq!(frame[4] & 0x20, 0, "it is no single segment");
    assert_eq!(u32::from(frame[5]), (log - 10) << 3);
    frame
}

/// The library's output for a frame or its beginning, and its state afterwards.
fn decode_by_library(frame: &[u8], window_log: u32) -> (Vec<u8>, DCtx<'static>) {
    let mut context = DCtx::create();
    context
        .set_parameter(zstd_safe::DParameter::WindowLogMax(window_log))
        .unwrap();
    let mut decoded = Vec::with_capacity(8 << 20);
    let mut input = InBuffer::around(frame);
    // The first call gets no room: the library takes no buffers for a whole frame that fits.
    let _ = context.decompress_stream(&mut OutBuffer::around(&mut [0; 0][..]), &mut input);
    let mut output = OutBuffer::around(&mut decoded);
    while input.pos() < frame.len() {
        context.decompress_stream(&mut output, &mut input).unwrap();
    }
    (decoded, context)
}

/// The positions of a frame's blocks, without their headers of three bytes.
fn blocks(frame: &[u8]) -> Vec<std::ops::Range<usize>> {
    let descriptor = frame[4];
    let single_segment = descriptor & 0x20 != 0;
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        n => 1 << n,
    };
    assert_eq!(descriptor & 3, 0, "it needs no dictionary");
    let mut at = 5 + usize::from(!single_segment) + content_size;
    let mut blocks = Vec::new();
    loop {
        let header = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
        let size = match (header >> 1) & 3 {
            1 => 1,
            _ => (header >> 3) as usize,
        };
        at += 3;
        blocks.push(at..at + size);
        at += size;
        if header & 1 != 0 {
            return blocks;
        }
    }
}
