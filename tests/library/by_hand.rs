//! Parts of gzip and zstd streams that the tests put together byte by byte.

/// The shortest header of a gzip member (RFC 1952, section 2.3).
pub const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

pub const FTEXT: u8 = 1;
pub const FHCRC: u8 = 1 << 1;
pub const FEXTRA: u8 = 1 << 2;
pub const FNAME: u8 = 1 << 3;
pub const FCOMMENT: u8 = 1 << 4;

/// The header of a gzip member with the fields that these flags announce.
pub fn gzip_header(flags: u8) -> Vec<u8> {
    let mut header = GZIP_HEADER.to_vec();
    header[3] = flags;
    if flags & FEXTRA != 0 {
        // A zero in the extra field does not end it.
        header.extend([6, 0, b'a', b'b', 2, 0, 0, 1]);
    }
    if flags & FNAME != 0 {
        header.extend(b"name\0");
    }
    if flags & FCOMMENT != 0 {
        header.extend(b"a comment\0");
    }
    if flags & FHCRC != 0 {
        let crc = crc32fast::hash(&header) as u16;
        header.extend(crc.to_le_bytes());
    }
    header
}

/// The checksum and the size behind a gzip member's data.
pub fn gzip_trailer(data: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(data).to_le_bytes();
    let size = (data.len() as u32).to_le_bytes();
    [crc, size].concat()
}

/// Types of zstd blocks (RFC 8878, section 3.1.1.2.2).
pub const RAW: u32 = 0;
pub const RLE: u32 = 1;
pub const COMPRESSED: u32 = 2;
pub const RESERVED: u32 = 3;

/// The header of a zstd block (RFC 8878, section 3.1.1.2).
pub fn block_header(kind: u32, size: usize, last: bool) -> [u8; 3] {
    let header = (size as u32) << 3 | kind << 1 | u32::from(last);
    let [a, b, c, _] = header.to_le_bytes();
    [a, b, c]
}

/// A skippable frame of zstd (RFC 8878, section 3.1.2).
pub fn skippable(number: u8, content: &[u8]) -> Vec<u8> {
    let size = content.len() as u32;
    let magic = [0x50 | number, 0x2a, 0x4d, 0x18];
    [&magic[..], &size.to_le_bytes(), content].concat()
}
