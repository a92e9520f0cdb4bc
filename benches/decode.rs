//! Measures how fast each format is decoded, for input that comes in pieces of different sizes.
//!
//! ```sh
//! cargo bench --bench decode
//! ```

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tlsink::decode::Format;

#[path = "common/drain.rs"]
mod drain;
#[path = "../tests/common/pack.rs"]
mod pack;
#[path = "common/text.rs"]
mod text;

/// The bytes of text in a round: enough that a decoder's start does not count, and few enough that
/// a round takes only milliseconds.
const TEXT: usize = 8 << 20;

/// The sizes of input, in bytes: a small write of a sender, a TLS record, and a chunk.
const CHUNKS: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// The size of the blocks that Qt programs compress, in bytes.
const QT_BLOCK: usize = 1 << 20;

fn decode(criterion: &mut Criterion) {
    let text = text::log(TEXT);
    let mut output = Vec::new();
    for (format, packed) in [
        (Format::Plain, text.clone()),
        (Format::Gzip, pack::gzip(&text)),
        (Format::Zlib, pack::zlib(&text)),
        (Format::Deflate, pack::deflate(&text)),
        (Format::Zstd, pack::zstd(&text)),
        (
            Format::Qt,
            text.chunks(QT_BLOCK).flat_map(pack::qt).collect(),
        ),
    ] {
        let mut group = criterion.benchmark_group(format.name());
        group.sample_size(20);
        group.throughput(Throughput::Bytes(TEXT as u64));
        for chunk in CHUNKS {
            let id = BenchmarkId::from_parameter(format!("{} KiB", chunk >> 10));
            group.bench_with_input(id, &packed, |bencher, packed| {
                bencher.iter(|| {
                    let decoded = drain::drain(format, packed, chunk, &mut output);
                    assert_eq!(decoded, TEXT);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
