//! Decodes like the sink: with a large output, and as much input as one read yields.

use tlsink::decode::{Decoder, Format, Limits};

/// The output of one turn of the sink, in bytes.
const OUTPUT: usize = tlsink::limits::MAX_TURN_OUTPUT;

/// Decodes `packed`, `chunk` bytes at a time, and returns the number of decoded bytes.
///
/// # Panics
///
/// If `packed` is not a whole stream of this format.
pub fn drain(format: Format, packed: &[u8], chunk: usize, output: &mut Vec<u8>) -> usize {
    output.resize(OUTPUT, 0);
    let mut decoder = Decoder::new(format, &Limits::default());
    let mut decoded = 0;
    for mut input in packed.chunks(chunk) {
        loop {
            let step = decoder.decode(input, output);
            assert!(step.fault.is_none(), "{:?}", step.fault);
            std::hint::black_box(&output[..step.written]);
            decoded += step.written;
            input = &input[step.read..];
            if input.is_empty() && step.written < output.len() {
                break;
            }
        }
    }
    assert!(decoder.at_boundary());
    decoded
}
