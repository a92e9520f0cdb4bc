//! Values of options: sizes, times, counts. Each error says what would have been right.

use std::time::Duration;

/// `HOST:PORT`, where an IPv6 address is in brackets.
pub(super) fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || port.parse::<u16>().is_err() || (host.contains(':') && !bracketed) {
        return Err("expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433".to_owned());
    }
    Ok(text.to_owned())
}

/// The host of `HOST:PORT`, without what is not part of its name: brackets, and an IPv6 zone.
pub(super) fn host(address: &str) -> &str {
    let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) => bare.split('%').next().unwrap_or(bare),
        None => host,
    }
}

/// A number of bytes; `k`, `M` and `G` stand for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1),
    };
    digits
        .and_then(number)
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "expected a number of bytes, such as 65536, 64k, 8M or 1G".to_owned())
}

/// The same where memory is meant.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let size = size(text)?;
    usize::try_from(size).map_err(|_| "more than this machine can address".to_owned())
}

/// A number of seconds; zero is never.
pub(super) fn seconds(text: &str) -> Result<Option<Duration>, String> {
    let seconds = duration(text)?;
    Ok((!seconds.is_zero()).then_some(seconds))
}

/// A number of seconds; zero is at once.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        .then(|| text.parse().ok())
        .flatten()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds, such as 30 or 0.5".to_owned())
}

/// A number of connections, at least one.
pub(super) fn count(text: &str) -> Result<usize, String> {
    number(text)
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a number of at least 1".to_owned())
}

/// A number of further tries, which may be none.
pub(super) fn tries(text: &str) -> Result<u64, String> {
    number(text).ok_or_else(|| "expected a number".to_owned())
}

/// More than any machine has use for.
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
    fn addresses_have_a_host_and_a_port() {
        for right in ["127.0.0.1:4433", "[::1]:0", "localhost:65535"] {
            assert_eq!(address(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "4433",
            ":4433",
            "localhost",
            "localhost:",
            "::1:4433",
            "h:65536",
            "h:x",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_known_by_its_bare_name() {
        for (address, name) in [
            ("sink.example:4433", "sink.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:4433", "::1"),
            ("[fe80::1%eth0]:4433", "fe80::1"),
        ] {
            assert_eq!(host(address), name);
        }
    }

    #[test]
    fn sizes_take_powers_of_1024() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!(size("64k"), size("65536"));
        assert_eq!(size("8M"), Ok(8 << 20));
        assert_eq!(size("1G"), Ok(1 << 30));
        for wrong in [
            "",
            "k",
            "1T",
            "1 k",
            "-1",
            "+1",
            "1.5M",
            "0x10",
            "99999999999G",
            "1é",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn zero_seconds_are_never() {
        assert_eq!(seconds("0"), Ok(None));
        assert_eq!(seconds("0.5"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(seconds("30"), Ok(Some(Duration::from_secs(30))));
        for wrong in [
            "",
            "-1",
            "1s",
            "inf",
            "nan",
            "1e9",
            ".",
            "99999999999999999999999",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_begin_at_one() {
        assert_eq!(count("1"), Ok(1));
        assert!(count("0").is_err());
        assert_eq!(threads("1024"), Ok(1024));
        assert!(threads("1025").is_err());
    }
}
