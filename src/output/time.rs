//! Points in time, as text.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time in UTC, to the microsecond, in the basic format of ISO 8601, of which each text
/// sorts behind all earlier ones: `20261123T193201.123456Z`. What is before 1970 is 1970.
pub(super) fn compact(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micros:06}Z")
}

/// Year, month and day of a day that is counted from 1970-01-01, in the Gregorian calendar. No
/// number of days that a clock can tell overflows.
pub(super) fn civil(days: u64) -> (u64, u64, u64) {
    // The calendar repeats itself after 400 years, of 146,097 days in all. Years begin with March
    // here, so that the day which not all of them have is their last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months in a row have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    match month {
        0..10 => (era * 400 + year, month + 3, day),
        _ => (era * 400 + year + 1, month - 9, day),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_shown_in_utc_to_the_microsecond() {
        for (seconds, micros, shown) in [
            (0, 0, "19700101T000000.000000Z"),
            (951_827_696, 7, "20000229T123456.000007Z"),
            (1_795_462_321, 123_456, "20261123T193201.123456Z"),
            (4_107_542_399, 999_999, "21000228T235959.999999Z"),
            (253_402_300_799, 0, "99991231T235959.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, micros * 1000 + 999);
            assert_eq!(compact(time), shown);
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(compact(before), "19700101T000000.000000Z");
    }

    #[test]
    fn each_day_of_a_thousand_years_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for days in 0..365_250 {
            assert_eq!(civil(days), expected);
            let (year, month, day) = expected;
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
}
