//! The formats that `tlsink send` compresses with.

use std::ops::RangeInclusive;

/// The compression of a stream to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Zstd,
    Gzip,
    Zlib,
    None,
}

impl Encoding {
    /// Finds an encoding by its name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Zstd, Self::Gzip, Self::Zlib, Self::None];
        all.into_iter().find(|encoding| encoding.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Zlib => "zlib",
            Encoding::None => "none",
        }
    }

    /// Its levels, from the fastest to the smallest output.
    pub(crate) fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            // From 20 on, windows are larger than the 8 MiB that receivers take.
            Encoding::Zstd => Some(1..=19),
            Encoding::Gzip | Encoding::Zlib => Some(1..=9),
            Encoding::None => None,
        }
    }
}
