//! The formats that `tlsink send` compresses with.

use std::ops::RangeInclusive;

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Zstd,
    Gzip,
    Zlib,
    None,
}

impl Encoding {
    /// Takes its name.
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

    /// The levels that it has, from the fastest to the smallest output.
    pub(crate) fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            // From 20 on, windows are larger than the 8 MiB that receivers take.
            Encoding::Zstd => Some(1..=19),
            Encoding::Gzip | Encoding::Zlib => Some(1..=9),
            Encoding::None => None,
        }
    }
}
