//! A few bytes that decode to gigabytes.

/// Two GiB of one byte in 64 KiB: a zstd frame of blocks that repeat the byte (RFC 8878, section
/// 3.1.1.2.2), with a window of this size, a power of two.
pub fn bomb_of(byte: u8, window: u32) -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    // The header of a block that repeats the next byte for 128 KiB, and is not the last one.
    let block = [0x02, 0x00, 0x10, byte];
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0];
    bomb.push(u8::try_from((window.ilog2() - 10) << 3).unwrap());
    while bomb.len() + block.len() <= SIZE {
        bomb.extend(block);
    }
    bomb
}
