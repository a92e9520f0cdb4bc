//! Values of options: sizes, times, counts. Each error gives the expected form.

use std::num::NonZeroU64;
use std::time::Duration;

/// A number of bytes, at least one, with a unit or without. As with the GNU tools, `k` and `KiB` are
/// 1024, and `kB` is 1000.
pub(super) fn size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("expected at least 1 byte".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A number of bytes a second, at least one.
pub(super) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let expected = "expected at least 1 byte a second; leave it out for no limit";
    NonZeroU64::new(bytes(text)?).ok_or_else(|| expected.to_owned())
}

/// The length of a line, at least one byte.
pub(super) fn line(text: &str) -> Result<usize, String> {
    addressable(size(text)?)
}

/// An amount of memory. The library checks the minimum.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    addressable(bytes(text)?)
}

fn addressable(bytes: u64) -> Result<usize, String> {
    usize::try_from(bytes).map_err(|_| "more than this machine can address".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_digits(text);
    number(digits)
        .zip(factor(&unit.to_ascii_lowercase()))
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| "expected a number of bytes, such as 65536, 64k, 8M or 1G".to_owned())
}

fn factor(unit: &str) -> Option<u64> {
    let (base, power) = match unit {
        "" | "b" => (1, 0),
        "k" | "kib" => (1024, 1),
        "m" | "mib" => (1024, 2),
        "g" | "gib" => (1024, 3),
        "t" | "tib" => (1024, 4),
        "kb" => (1000, 1),
        "mb" => (1000, 2),
        "gb" => (1000, 3),
        "tb" => (1000, 4),
        _ => return None,
    };
    Some(u64::pow(base, power))
}

/// A time limit; zero is none.
pub(super) fn limit(text: &str) -> Result<Option<Duration>, String> {
    let time = duration(text)?;
    Ok((!time.is_zero()).then_some(time))
}

/// A time, in seconds or with units; zero is immediately.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time, such as 30, 0.5, 500ms, 5m or 1h".to_owned();
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let (digits, more) = split_digits(rest);
        let (unit, more) = split_letters(more);
        // Only a lone number can do without a unit.
        let seconds = match &*unit.to_ascii_lowercase() {
            "" if rest.len() == text.len() && more.is_empty() => 1.0,
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(expected()),
        };
        let number: f64 = digits.parse().map_err(|_| expected())?;
        let time = Duration::try_from_secs_f64(number * seconds).ok();
        total = time
            .and_then(|time| total.checked_add(time))
            .ok_or_else(expected)?;
        if more.is_empty() {
            return Ok(total);
        }
        rest = more;
    }
}

/// Whether this is the unit of a size or a time.
pub(super) fn is_unit(text: &str) -> bool {
    let one = format!("1{text}");
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && (bytes(&one).is_ok() || duration(&one).is_ok())
}

fn split_digits(text: &str) -> (&str, &str) {
    split(text, |c| c.is_ascii_digit() || c == '.')
}

fn split_letters(text: &str) -> (&str, &str) {
    split(text, |c| c.is_ascii_alphabetic())
}

/// Splits before the first character that does not match.
fn split(text: &str, these: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !these(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A number of connections, at least one.
pub(super) fn count(text: &str) -> Result<usize, String> {
    number(text)
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a number of at least 1".to_owned())
}

/// A number of retries, from zero on.
pub(super) fn tries(text: &str) -> Result<u64, String> {
    number(text).ok_or_else(|| "expected a number".to_owned())
}

/// More threads than any machine has use for.
const MOST_THREADS: usize = 1024;

/// A number of threads.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    count(text)
        .ok()
        .filter(|count| *count <= MOST_THREADS)
        .ok_or_else(|| format!("expected a number from 1 to {MOST_THREADS}"))
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_of_1024_and_of_1000() {
        for (text, bytes) in [
            ("65536", 65536),
            ("64k", 64 << 10),
            ("10m", 10 << 20),
            ("8M", 8 << 20),
            ("1G", 1 << 30),
            ("2t", 2 << 40),
            ("10KiB", 10 << 10),
            ("10MiB", 10 << 20),
            ("10mib", 10 << 20),
            ("1GiB", 1 << 30),
            ("1TiB", 1 << 40),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("10MB", 10_000_000),
            ("10mb", 10_000_000),
            ("1GB", 1_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in [
            "",
            "k",
            "MB",
            "1X",
            "1 k",
            "-1",
            "+1",
            "1.5M",
            "0x10",
            "1kk",
            "1ki",
            "1bk",
            "99999999999G",
            "99999999T",
            "1é",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for zero in ["0", "0k", "00MB"] {
            assert_eq!(size(zero), Err("expected at least 1 byte".to_owned()));
            assert_eq!(line(zero), Err("expected at least 1 byte".to_owned()));
            assert_eq!(memory(zero), Ok(0));
        }
    }

    #[test]
    fn a_rate_is_a_size_and_not_zero() {
        assert_eq!(rate("10M").map(NonZeroU64::get), Ok(10 << 20));
        assert!(rate("0").unwrap_err().contains("leave it out for no limit"));
        assert!(rate("10M/s").is_err());
    }

    #[test]
    fn times_are_seconds_or_have_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0.5", 500),
            ("30", 30_000),
            (".5", 500),
            ("500ms", 500),
            ("500MS", 500),
            ("30s", 30_000),
            ("30sec", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h", 3_600_000),
            ("1.5H", 5_400_000),
            ("2d", 172_800_000),
            ("1h30m", 5_400_000),
            ("1m0.25s", 60_250),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for wrong in [
            "",
            "-1",
            "s",
            "1x",
            "1 s",
            "1h30",
            "30h1",
            "inf",
            "nan",
            "1e9",
            ".",
            "1.2.3",
            "1é",
            "99999999999999999999999",
            "9999999999999999d",
            "18446744073709551615s1s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn units_are_told_from_numbers() {
        for unit in ["k", "MB", "GiB", "ms", "min", "h"] {
            assert!(is_unit(unit), "{unit}");
        }
        for other in ["", "1", "1k", "minutes", "x"] {
            assert!(!is_unit(other), "{other}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_never() {
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("0ms"), Ok(None));
        assert_eq!(limit("0.5"), Ok(Some(Duration::from_millis(500))));
    }

    #[test]
    fn counts_begin_at_one() {
        assert_eq!(count("1"), Ok(1));
        assert!(count("0").is_err());
        assert_eq!(threads("1024"), Ok(1024));
        assert!(threads("1025").is_err());
    }
}
