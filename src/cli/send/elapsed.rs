//! Lengths of time, for people.

use std::fmt;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time in the two largest units that it has: `8 ms`, `3.2 s`, `4 min 12 s`, `2 h 5 min`.
/// With a precision of 0, it is in whole seconds, as befits a number that changes while it is read.
pub(super) struct Elapsed(pub(super) Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, is_whole) = (self.0, f.precision() == Some(0));
        let millis = time.as_millis();
        // A time that is rounded up to a unit is in that unit.
        let tenths = millis.saturating_add(50) / 100;
        let seconds = u64::try_from(millis.saturating_add(500) / 1000).unwrap_or(u64::MAX);
        match seconds {
            0..MINUTE if is_whole => write!(f, "{seconds} s"),
            _ if millis < 1000 => write!(f, "{millis} ms"),
            _ if tenths < 100 => write!(f, "{}.{} s", tenths / 10, tenths % 10),
            0..MINUTE => write!(f, "{seconds} s"),
            MINUTE..HOUR => write!(f, "{} min {} s", seconds / MINUTE, seconds % MINUTE),
            HOUR..DAY => write!(f, "{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
            _ => write!(f, "{} d {} h", seconds / DAY, seconds % DAY / HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_units_that_people_use() {
        for (millis, shown, whole) in [
            (0, "0 ms", "0 s"),
            (999, "999 ms", "1 s"),
            (1000, "1.0 s", "1 s"),
            (3249, "3.2 s", "3 s"),
            (9499, "9.5 s", "9 s"),
            (59_499, "59 s", "59 s"),
            (59_951, "1 min 0 s", "1 min 0 s"),
            (252_000, "4 min 12 s", "4 min 12 s"),
            (7_500_000, "2 h 5 min", "2 h 5 min"),
            (90_000_000, "1 d 1 h", "1 d 1 h"),
            (u64::MAX, "213503982334 d 14 h", "213503982334 d 14 h"),
        ] {
            let elapsed = Elapsed(Duration::from_millis(millis));
            assert_eq!(elapsed.to_string(), shown, "{millis}");
            assert_eq!(format!("{elapsed:.0}"), whole, "{millis}");
        }
    }
}
