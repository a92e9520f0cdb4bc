//! Numbers of bytes, for people.

use std::fmt;

/// A number of bytes in the largest unit that leaves something before the point.
pub(super) struct Bytes(pub(super) f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Unit::of(self.0);
        write!(f, "{} {}", unit.count(self.0), unit.name)
    }
}

/// A part of a number of bytes, and the number, in the unit of the number.
pub(super) struct BytesOf(pub(super) f64, pub(super) f64);

impl fmt::Display for BytesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BytesOf(part, all) = *self;
        let unit = Unit::of(all);
        write!(
            f,
            "{} of {} {}",
            unit.count(part),
            unit.count(all),
            unit.name
        )
    }
}

struct Unit {
    bytes: f64,
    name: &'static str,
}

impl Unit {
    fn of(number: f64) -> Self {
        let mut bytes = 1.0;
        for name in ["B", "KiB", "MiB", "GiB"] {
            // A number that would be rounded up to 1024 has the next unit.
            if number < 1023.95 * bytes {
                return Unit { bytes, name };
            }
            bytes *= 1024.0;
        }
        Unit { bytes, name: "TiB" }
    }

    fn count(&self, number: f64) -> String {
        match self.name {
            "B" => format!("{number:.0}"),
            _ => format!("{:.1}", number / self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (bytes, shown) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1536.0, "1.5 KiB"),
            (1_048_524.0, "1023.9 KiB"),
            (1_048_575.0, "1.0 MiB"),
            (5e12, "4.5 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_part_has_the_unit_of_the_whole() {
        for (part, all, shown) in [
            (0.0, 0.0, "0 of 0 B"),
            (7.0, 1023.0, "7 of 1023 B"),
            (512.0, 1536.0, "0.5 of 1.5 KiB"),
            (1.0, 1_048_576.0, "0.0 of 1.0 MiB"),
        ] {
            assert_eq!(BytesOf(part, all).to_string(), shown);
        }
    }
}
