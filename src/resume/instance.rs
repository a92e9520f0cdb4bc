//! Instances of a stream.

/// The bytes of a stream for which its sender can vouch: whoever got some of them twice, over two connections,
/// got the same bytes for the same offset.
///
/// A sender that has lost its place in what it sends, or begins a stream of a name that was used before, goes on
/// with another instance: its next bytes may have the offsets of others that were sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Instance {
    /// A random number.
    pub id: u64,
    /// The offset of its first byte.
    pub start: u64,
}
