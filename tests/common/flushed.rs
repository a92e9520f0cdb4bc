//! Compressed streams with flushes. For any number of received bytes, they tell how many plain
//! bytes can be decoded, and whether the stream is complete.

#![cfg(all(
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use tlsink::decode::Format;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter};

use super::pack::qt;
use super::page::Page;
use super::zstd::zstd_part;

pub struct Flushed {
    pub format: Format,
    pub plain: Vec<u8>,
    pub encoded: Vec<u8>,
    /// Pairs of lengths: so many encoded bytes, and not one fewer, hold so many plain bytes.
    flushes: Vec<(usize, usize)>,
    /// The encoded lengths at which the stream may end.
    ends: Vec<usize>,
}

impl Flushed {
    /// Packs the parts, with a flush after each. In gzip and zstd, a member or a frame ends after
    /// every `per_member` parts. In qt, each part is a block.
    pub fn new(format: Format, parts: &[&[u8]], per_member: usize) -> Self {
        let mut flushed = Flushed {
            format,
            plain: Vec::new(),
            encoded: Vec::new(),
            flushes: vec![(0, 0)],
            ends: vec![0],
        };
        match format {
            Format::Plain => flushed.add_encoded(parts, <[u8]>::to_vec),
            Format::Qt => flushed.add_encoded(parts, qt),
            Format::Zstd => {
                for member in parts.chunks(per_member) {
                    flushed.add_frame(member);
                }
            }
            Format::Gzip => {
                for member in parts.chunks(per_member) {
                    flushed.add_member(member, |page| {
                        Box::new(GzEncoder::new(page, Compression::default()))
                    });
                }
            }
            Format::Zlib => flushed.add_member(parts, |page| {
                Box::new(ZlibEncoder::new(page, Compression::default()))
            }),
            Format::Deflate => flushed.add_member(parts, |page| {
                Box::new(DeflateEncoder::new(page, Compression::default()))
            }),
            other => unreachable!("{other}"),
        }
        flushed
    }

    /// Adds bytes that decode to nothing, after which the stream is complete.
    pub fn add_empty(&mut self, encoded: &[u8]) {
        self.encoded.extend_from_slice(encoded);
        self.end();
    }

    /// The number of plain bytes that are sure to be decoded from this many encoded ones: all up to
    /// the last flush.
    pub fn decodable(&self, received: usize) -> usize {
        let flushes = self.flushes.iter();
        match self.format {
            Format::Plain => received,
            _ => flushes
                .take_while(|(encoded, _)| *encoded <= received)
                .map(|(_, plain)| *plain)
                .last()
                .unwrap_or(0),
        }
    }

    /// Whether a stream of this many encoded bytes is complete in its format.
    pub fn is_whole(&self, received: usize) -> bool {
        self.format == Format::Plain || self.ends.contains(&received)
    }

    /// The number of encoded bytes before each flush.
    pub fn flushes(&self) -> impl Iterator<Item = usize> {
        self.flushes.iter().map(|(encoded, _)| *encoded)
    }

    fn add_encoded(&mut self, parts: &[&[u8]], encode: impl Fn(&[u8]) -> Vec<u8>) {
        for part in parts {
            self.add_flush(part, &encode(part));
            self.end();
        }
    }

    fn add_frame(&mut self, parts: &[&[u8]]) {
        let mut context = CCtx::create();
        context
            .set_parameter(CParameter::ChecksumFlag(true))
            .expect("there are checksums");
        for part in parts {
            let block = zstd_part(&mut context, part, ZSTD_EndDirective::ZSTD_e_flush);
            self.add_flush(part, &block);
        }
        let last = zstd_part(&mut context, &[], ZSTD_EndDirective::ZSTD_e_end);
        self.add_empty(&last);
    }

    fn add_member(&mut self, parts: &[&[u8]], encoder: fn(Page) -> Box<dyn Write>) {
        let page = Page::default();
        let mut encoder = encoder(page.clone());
        let mut taken = 0;
        let mut new = || {
            let new = page.bytes().split_off(taken);
            taken += new.len();
            new
        };
        for part in parts {
            encoder.write_all(part).expect("a page takes everything");
            encoder.flush().expect("a page takes everything");
            self.add_flush(part, &new());
        }
        // To drop the encoder writes the end of the stream.
        drop(encoder);
        self.add_empty(&new());
    }

    fn add_flush(&mut self, plain: &[u8], encoded: &[u8]) {
        self.plain.extend_from_slice(plain);
        self.encoded.extend_from_slice(encoded);
        self.flushes.push((self.encoded.len(), self.plain.len()));
    }

    fn end(&mut self) {
        self.ends.push(self.encoded.len());
    }
}
