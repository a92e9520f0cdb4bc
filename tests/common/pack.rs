//! Bytes in each format, packed by the libraries themselves.

#[cfg(feature = "gzip")]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use flate2::write::GzEncoder;
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

#[cfg(any(feature = "zlib", feature = "qt"))]
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    use flate2::write::ZlibEncoder;
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

#[cfg(feature = "deflate")]
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    use flate2::write::DeflateEncoder;
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

#[cfg(feature = "zstd")]
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut frame, bytes, 3).expect("there is room");
    frame
}

/// Packs one block like Qt's `qCompress`.
#[cfg(feature = "qt")]
pub fn qt(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).expect("a block is small");
    [&size.to_be_bytes()[..], &zlib(bytes)].concat()
}
