//! Text that is the same in every run, so that runs can be compared.

use std::io::Write;

/// Lines as servers log them, `bytes` in all; the last one may be cut off. gzip compresses them to
/// a seventh, much like real logs.
pub fn log(bytes: usize) -> Vec<u8> {
    const METHODS: [&str; 4] = ["GET", "GET", "GET", "POST"];
    const PATHS: [&str; 6] = [
        "/api/v1/items",
        "/api/v1/users",
        "/api/v2/orders",
        "/static/app.js",
        "/healthz",
        "/login",
    ];
    const STATUSES: [u16; 8] = [200, 200, 200, 200, 200, 304, 404, 503];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut text = Vec::with_capacity(bytes + 256);
    let mut micros = 0_u64;
    while text.len() < bytes {
        let number = numbers.next();
        micros += 100 + number % 900;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let pick = |shift: u32, of: usize| (number >> shift) as usize % of;
        writeln!(
            text,
            "2026-11-23T{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}Z web-{:02} app[{}]: \
             level=info method={} path={}/{} status={} bytes={} duration_ms={} request={:08x}",
            pick(8, 12),
            2000 + pick(8, 12) * 17,
            METHODS[pick(16, METHODS.len())],
            PATHS[pick(20, PATHS.len())],
            pick(24, 5000),
            STATUSES[pick(40, STATUSES.len())],
            pick(44, 9000),
            pick(56, 100),
            numbers.next() as u32,
        )
        .expect("a Vec takes everything");
    }
    text.truncate(bytes);
    text
}

/// Lines of 60 bytes, their newline included, `bytes` in all; the last one may be cut off.
#[allow(dead_code, reason = "not every bench prints lines")]
pub fn short_lines(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + SHORT_LINE);
    let mut number = 0_u64;
    while text.len() < bytes {
        writeln!(
            text,
            "line {number:016} of what many short-spoken senders say"
        )
        .expect("a Vec takes everything");
        number += 1;
    }
    debug_assert!(text[SHORT_LINE - 1] == b'\n');
    text.truncate(bytes);
    text
}

/// The length of a short line, in bytes.
pub const SHORT_LINE: usize = 60;

/// Numbers that look random (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
