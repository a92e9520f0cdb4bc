//! Points in time, as text.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::der::DateTime;

/// A point in time as [`Json`](crate::output::Json) shows it: RFC 3339, in UTC, with microseconds.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use tlsink::output::Timestamp;
///
/// let time = Timestamp(UNIX_EPOCH + Duration::from_millis(1_500));
/// assert_eq!(time.to_string(), "1970-01-01T00:00:01.500000Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub SystemTime);

/// Times before 1970 or after 9999 are shown as the first or last second in between.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = timestamp(self.0);
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

/// The length of a timestamp, in bytes.
pub(crate) const LEN: usize = 27;

/// Formats a time according to RFC 3339, in UTC, with microseconds. Times before 1970 or after 9999
/// are shown as the first or last second in between.
pub(crate) fn timestamp(time: SystemTime) -> [u8; LEN] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let date = DateTime::from_unix_duration(Duration::from_secs(since.as_secs()))
        .unwrap_or(DateTime::INFINITY);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (digits, mut number) in [
        (0..4, u32::from(date.year())),
        (5..7, date.month().into()),
        (8..10, date.day().into()),
        (11..13, date.hour().into()),
        (14..16, date.minutes().into()),
        (17..19, date.seconds().into()),
        (20..26, since.subsec_micros()),
    ] {
        for digit in text.get_mut(digits).into_iter().flatten().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }
    text
}

/// Formats seconds since 1970 according to RFC 3339, without a time zone; `None` after 9999.
#[cfg(feature = "forward")]
pub(crate) fn date_time(seconds: u64) -> Option<[u8; 19]> {
    let duration = Duration::from_secs(seconds);
    DateTime::from_unix_duration(duration).ok()?;
    let text = timestamp(UNIX_EPOCH.checked_add(duration)?);
    text.first_chunk().copied()
}

/// Formats a time in the basic format of ISO 8601, which can be part of a file's name:
/// `20261123T193201.123456Z`. Each text sorts behind all earlier ones.
pub(crate) fn compact(time: SystemTime) -> String {
    timestamp(time)
        .map(char::from)
        .into_iter()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect()
}

/// The length of a [`second`], in bytes.
pub(crate) const SECOND: usize = "20261123T193201Z".len();

/// Formats a time in the basic format of ISO 8601, without the fraction of its second:
/// `20261123T193201Z`.
pub(crate) fn second(time: SystemTime) -> String {
    let mut second = compact(time);
    second.truncate(SECOND - 1);
    second.push('Z');
    second
}

/// Parses what [`second`] formats.
pub(crate) fn parse_second(text: &str) -> Option<SystemTime> {
    if !is_second(text.as_bytes()) {
        return None;
    }
    let number = |digits: Range<usize>| text.get(digits)?.parse::<u16>().ok();
    let small = |digits| u8::try_from(number(digits)?).ok();
    let date = DateTime::new(
        number(0..4)?,
        small(4..6)?,
        small(6..8)?,
        small(9..11)?,
        small(11..13)?,
        small(13..15)?,
    );
    UNIX_EPOCH.checked_add(date.ok()?.unix_duration())
}

/// Whether a text looks like a [`second`], if only to people.
pub(crate) fn is_second(text: &[u8]) -> bool {
    let wanted = |(at, byte): (usize, &u8)| match at {
        8 => byte.eq_ignore_ascii_case(&b'T'),
        15 => byte.eq_ignore_ascii_case(&b'Z'),
        _ => byte.is_ascii_digit(),
    };
    text.len() == SECOND && text.iter().enumerate().all(wanted)
}

/// The day of a time, in UTC: `2026-11-23`.
pub(crate) fn date(time: SystemTime) -> String {
    part(time, 0..10)
}

/// The hour of a time, in UTC: `19`.
pub(crate) fn hour(time: SystemTime) -> String {
    part(time, 11..13)
}

fn part(time: SystemTime, part: Range<usize>) -> String {
    let text = timestamp(time);
    text.get(part)
        .into_iter()
        .flatten()
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last second whose year has four digits.
    const LAST: u64 = 253_402_300_799;

    #[test]
    fn times_are_shown_as_rfc_3339_has_them() {
        // From GNU date.
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00"),
            (68_169_599, "1972-02-28T23:59:59"),
            (68_169_600, "1972-02-29T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (978_307_199, "2000-12-31T23:59:59"),
            (1_795_462_321, "2026-11-23T19:32:01"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (LAST, "9999-12-31T23:59:59"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(text(time), format!("{shown}.000000Z"));
        }
    }

    #[test]
    fn a_compact_time_has_no_marks_but_a_point() {
        let time = UNIX_EPOCH + Duration::new(951_827_696, 7_999);
        assert_eq!(compact(time), "20000229T123456.000007Z");
    }

    #[test]
    fn a_second_is_read_as_it_is_written() {
        for seconds in [0, 1, 951_827_696, 1_795_462_321, LAST] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(parse_second(&second(time)), Some(time));
        }
        let time = UNIX_EPOCH + Duration::new(951_827_696, 999_999_999);
        assert_eq!(second(time), "20000229T123456Z");
        assert_eq!((date(time), hour(time)), ("2000-02-29".into(), "12".into()));
        for wrong in [
            "",
            "20000229T123456",
            "20000229T123456Z-1",
            "20000229 123456Z",
            "20000230T123456Z",
            "20000229T1234é6Z",
        ] {
            assert_eq!(parse_second(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn microseconds_are_cut_off_not_rounded() {
        let time = UNIX_EPOCH + Duration::new(1, 999_999_999);
        assert_eq!(text(time), "1970-01-01T00:00:01.999999Z");
        let time = UNIX_EPOCH + Duration::new(1, 1_000);
        assert_eq!(text(time), "1970-01-01T00:00:01.000001Z");
    }

    #[test]
    fn a_clock_that_is_far_off_still_has_a_time() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(text(before), "1970-01-01T00:00:00.000000Z");
        let after = UNIX_EPOCH + Duration::from_secs(LAST + 1);
        assert_eq!(text(after), "9999-12-31T23:59:59.000000Z");
    }

    #[test]
    fn every_day_follows_the_one_before_it() {
        // An error in any year shows within 400 years.
        let mut expected = (1970, 1, 1);
        for days in 0..146_097 {
            let time = UNIX_EPOCH + Duration::from_secs(days * 86_400);
            let (year, month, day) = expected;
            assert_eq!(
                text(time),
                format!("{year}-{month:02}-{day:02}T00:00:00.000000Z")
            );
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    fn text(time: SystemTime) -> String {
        String::from_utf8(timestamp(time).to_vec()).unwrap()
    }
}
