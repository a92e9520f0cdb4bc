//! The amount that an output takes, and writes, in one turn of a stream.

use memchr::memchr_iter;

/// The most that one turn delivers, in bytes. A chunk that decodes to gigabytes occupies the sink
/// for one such turn (a few hundred microseconds), then every other stream has a turn.
pub const MAX_TURN_OUTPUT: usize = 256 * 1024;

/// The part of a turn's bytes that an [`Output`](super::Output) took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Portion {
    /// The number of bytes that the output took.
    pub taken: usize,
    /// The number of bytes that the output wrote for them: the work, by which senders share the
    /// sink. A function call counts as the bytes that could be written in its time.
    pub written: usize,
}

impl Portion {
    /// The first `taken` bytes, for which the output wrote `written` bytes.
    pub fn new(taken: usize, written: usize) -> Self {
        Portion { taken, written }
    }

    /// Adds another portion of the same turn.
    pub(crate) fn add(&mut self, other: Portion) {
        self.taken = self.taken.saturating_add(other.taken);
        self.written = self.written.saturating_add(other.written);
    }
}

/// The most that an output writes in one turn, in bytes, give or take a line. Without this limit, a
/// turn of nothing but newlines would write a hundred times as many bytes as it takes, and all
/// other senders would wait for it.
pub(super) const MAX_WRITTEN: usize = 2 * MAX_TURN_OUTPUT;

/// The number of these bytes that fill one turn, if each line takes `each` additional bytes: all of
/// them, or those up to the end of a line.
pub(super) fn turn_of(bytes: &[u8], each: usize) -> usize {
    if bytes.len().saturating_mul(each.saturating_add(1)) <= MAX_WRITTEN {
        return bytes.len();
    }
    let mut added = 0_usize;
    let ends = memchr_iter(b'\n', bytes).map(|newline| newline.saturating_add(1));
    for end in ends {
        added = added.saturating_add(each);
        if end.saturating_add(added) >= MAX_WRITTEN {
            return end;
        }
    }
    bytes.len()
}
