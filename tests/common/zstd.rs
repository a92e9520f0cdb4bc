//! A zstd stream, part by part.

#![cfg(feature = "zstd")]

use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

/// Compresses the next part of a stream, up to a flush or to the end of the frame.
pub fn zstd_part(context: &mut CCtx<'_>, part: &[u8], end: ZSTD_EndDirective) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(part.len()) + 100);
    let mut input = InBuffer::around(part);
    let mut output = OutBuffer::around(&mut packed);
    let left = context
        .compress_stream2(&mut output, &mut input, end)
        .expect("there is room");
    assert_eq!((left, input.pos()), (0, part.len()));
    packed
}

/// Compresses the whole, with a window of two to the power of `log` bytes.
pub fn with_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::WindowLog(log)).unwrap();
    // Without the content size in the header, the window is the requested one.
    context
        .set_parameter(CParameter::ContentSizeFlag(false))
        .unwrap();
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut out, bytes).unwrap();
    out
}
