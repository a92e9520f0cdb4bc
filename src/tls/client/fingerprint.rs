//! Fingerprints of certificates.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// The SHA-256 digest of a certificate's DER, which identifies that one certificate.
///
/// It is displayed as `openssl x509 -fingerprint -sha256` does: `44:02:9B:…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// The fingerprint of this certificate.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, digested) in bytes.iter_mut().zip(digest(&SHA256, der).as_ref()) {
            *byte = *digested;
        }
        Fingerprint(bytes)
    }
}

/// The text is not the SHA-256 fingerprint of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseFingerprintError(());

/// The titles that programs put before a fingerprint. The `=` is OpenSSL's.
const TITLES: [&str; 2] = ["sha256 fingerprint=", "sha256 "];

/// Parses 64 hexadecimal digits in any case, with a colon between all bytes or none, behind the
/// title that OpenSSL or this program puts before them, if there is one.
impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let titled = TITLES.iter().find_map(|title| {
            let (start, rest) = text.split_at_checked(title.len())?;
            start.eq_ignore_ascii_case(title).then_some(rest)
        });
        let text = titled.unwrap_or(text);
        let step = if text.contains(':') { 3 } else { 2 };
        let length = step * SHA256_OUTPUT_LEN + 2 - step;
        if text.len() != length {
            return Err(ParseFingerprintError(()));
        }
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, shown) in bytes.iter_mut().zip(text.as_bytes().chunks(step)) {
            let (high, low) = match shown {
                [high, low] | [high, low, b':'] => (digit(*high)?, digit(*low)?),
                _ => return Err(ParseFingerprintError(())),
            };
            *byte = high << 4 | low;
        }
        Ok(Fingerprint(bytes))
    }
}

fn digit(byte: u8) -> Result<u8, ParseFingerprintError> {
    let value = char::from(byte)
        .to_digit(16)
        .ok_or(ParseFingerprintError(()))?;
    u8::try_from(value).map_err(|_| ParseFingerprintError(()))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl fmt::Display for ParseFingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the SHA-256 fingerprint of a certificate")
    }
}

impl std::error::Error for ParseFingerprintError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_taken_as_programs_show_it() {
        let fingerprint = Fingerprint::of(b"abc");
        let shown = fingerprint.to_string();
        assert!(shown.starts_with("BA:78:16:BF:8F:01"), "{shown}");
        let plain = shown.replace(':', "");
        for text in [
            shown.clone(),
            shown.to_lowercase(),
            plain.clone(),
            plain.to_lowercase(),
            format!("sha256 {shown}"),
            format!("sha256 Fingerprint={shown}"),
            format!("SHA256 Fingerprint={shown}"),
        ] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_fingerprint() {
        let shown = Fingerprint::of(b"abc").to_string();
        let plain = shown.replace(':', "");
        for text in [
            String::new(),
            ":".to_owned(),
            plain[1..].to_owned(),
            format!("{plain}0"),
            format!("{shown}:"),
            format!(":{shown}"),
            shown.replacen(':', "", 1),
            shown.replacen(':', "-", 1),
            shown.replacen('B', "+", 1),
            shown.replacen('A', "G", 1),
            format!("sha1 {shown}"),
            "é".repeat(32),
            "é:".repeat(32),
        ] {
            assert_eq!(
                text.parse::<Fingerprint>(),
                Err(ParseFingerprintError(())),
                "{text}"
            );
        }
    }
}
