//! The blocks of a PEM text (RFC 7468).
//!
//! The reader accepts every text that OpenSSL's reader accepts: text outside the blocks, CRLF,
//! white space at the ends of lines and within base64, and the header lines of RFC 1421 in keys. It
//! passes over nothing that may be a block: a certificate that is left out of a file of CAs refuses
//! senders, but a CRL that is left out lets in a revoked sender.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;

use crate::quote::quoted;
use crate::tls::error::TlsError;

/// The decoded text between two boundaries (RFC 7468, section 2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: BlockKind,
    /// The line on which it begins, from 1 on.
    pub(super) line: usize,
    pub(super) der: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Certificate,
    /// A certificate, and the purposes for which OpenSSL is to trust it.
    TrustedCertificate,
    Crl,
    Pkcs8,
    Pkcs1,
    Sec1,
    EncryptedKey,
    OtherKey,
    /// A block that is not needed here: parameters, public keys, requests.
    Accessory,
}

impl BlockKind {
    /// The kind of block with this label. `None` if the label is not known: to pass over such a
    /// block would be to lose one whose label is misspelt, or a PKCS#7 container of certificates
    /// and CRLs.
    fn of(label: &[u8]) -> Option<Self> {
        Some(match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => BlockKind::Certificate,
            b"TRUSTED CERTIFICATE" => BlockKind::TrustedCertificate,
            b"X509 CRL" => BlockKind::Crl,
            b"PRIVATE KEY" => BlockKind::Pkcs8,
            b"RSA PRIVATE KEY" => BlockKind::Pkcs1,
            b"EC PRIVATE KEY" => BlockKind::Sec1,
            b"ENCRYPTED PRIVATE KEY" => BlockKind::EncryptedKey,
            _ if label.ends_with(b" PRIVATE KEY") => BlockKind::OtherKey,
            _ if [
                &b"PUBLIC KEY"[..],
                b"PARAMETERS",
                b"CERTIFICATE REQUEST",
                b"ECHCONFIG",
            ]
            .iter()
            .any(|end| label.ends_with(end)) =>
            {
                BlockKind::Accessory
            }
            _ => return None,
        })
    }

    fn is_key(self) -> bool {
        use BlockKind::{EncryptedKey, OtherKey, Pkcs1, Pkcs8, Sec1};
        matches!(self, EncryptedKey | OtherKey | Pkcs1 | Pkcs8 | Sec1)
    }
}

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";

/// Some editors write this mark before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads all blocks in the text.
pub(super) fn blocks(pem: &[u8]) -> Result<Vec<Block>, TlsError> {
    if is_utf16(pem) {
        return Err(malformed(1, "the text is UTF-16; PEM is ASCII or UTF-8"));
    }
    let pem = pem.strip_prefix(BYTE_ORDER_MARK).unwrap_or(pem);
    let mut blocks = Vec::new();
    let mut open: Option<OpenBlock<'_>> = None;
    for (line, text) in (1..).zip(lines(pem)) {
        match (Boundary::of(text), &mut open) {
            (None, None) => {}
            (None, Some(block)) => block.add(line, text)?,
            (Some(Boundary::Begin(label)), None) => open = Some(OpenBlock::new(line, label)?),
            (Some(Boundary::Begin(_)), Some(block)) => {
                let reason = format!("{} does not end before line {line}", block.named());
                return Err(malformed(block.line, reason));
            }
            (Some(Boundary::End(label)), Some(block)) if block.label == label => {
                blocks.extend(open.take().map(OpenBlock::decode).transpose()?);
            }
            (Some(Boundary::End(label)), Some(block)) => {
                let reason = format!(
                    "{END} {} does not end {}, which begins on line {}",
                    shown(label),
                    block.named(),
                    block.line
                );
                return Err(malformed(line, reason));
            }
            (Some(Boundary::End(label)), None) => {
                let reason = format!("{END} {} has no {BEGIN}", shown(label));
                return Err(malformed(line, reason));
            }
            (Some(Boundary::Damaged(reason)), _) => return Err(malformed(line, reason)),
        }
    }
    match open {
        None => Ok(blocks),
        Some(block) => Err(malformed(
            block.line,
            format!("{} does not end: its {END} is missing", block.named()),
        )),
    }
}

fn malformed(line: usize, reason: impl Into<String>) -> TlsError {
    TlsError::Pem {
        line,
        reason: reason.into(),
    }
}

/// Whether this may be PEM, damaged or not, rather than DER.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || is_utf16(bytes) || memmem::find(bytes, BEGIN.as_bytes()).is_some()
}

/// Whether the text is UTF-16, which some editors and shells write, and no reader of PEM accepts.
fn is_utf16(text: &[u8]) -> bool {
    text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff])
}

/// The lines, as any system ends them, without white space at their ends. As for OpenSSL, all
/// control characters are white space there.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let line = match memchr::memchr2(b'\n', b'\r', text) {
            None => {
                rest = None;
                text
            }
            Some(end) => {
                let (line, after) = text.split_at(end);
                let newline = if after.starts_with(b"\r\n") { 2 } else { 1 };
                rest = after.get(newline..);
                line
            }
        };
        let is_space = |byte: &u8| *byte <= b' ';
        let end = line.iter().rposition(|byte| !is_space(byte));
        line.get(..end.map_or(0, |end| end + 1))
    })
}

/// A line that begins or ends a block (RFC 7468, section 3), or was meant to.
enum Boundary<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
    /// The fault of the line.
    Damaged(&'static str),
}

impl<'a> Boundary<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let label = |mark: &str| {
            let label = line.strip_prefix(mark.as_bytes())?.strip_prefix(b" ")?;
            let label = label.strip_suffix(b"-----")?;
            // A line with two boundaries is not a boundary.
            (!label.contains(&b'-')).then_some(label)
        };
        if let Some(label) = label(BEGIN) {
            return Some(Boundary::Begin(label));
        }
        if let Some(label) = label(END) {
            return Some(Boundary::End(label));
        }
        let damaged = match memmem::find(line, BEGIN.as_bytes()) {
            Some(1..) if line.starts_with(BYTE_ORDER_MARK) => {
                "a byte order mark is before -----BEGIN"
            }
            Some(1..) => "-----BEGIN is not at the start of its line",
            Some(0) => "the line that begins with -----BEGIN is damaged",
            None if is_dashed(line, b"BEGIN ") => "a -----BEGIN is damaged",
            None if is_dashed(line, b"END ") => "an -----END is damaged",
            None => return None,
        };
        Some(Boundary::Damaged(damaged))
    }
}

/// Whether the line begins with dashes and this word. Some dashes may be lost, or a mail program made
/// long ones of them.
fn is_dashed(line: &[u8], word: &[u8]) -> bool {
    let mut rest = line.trim_ascii_start();
    let start = rest.len();
    while let [b'-', after @ ..] | [0xe2, 0x80, 0x90..=0x95, after @ ..] = rest {
        rest = after;
    }
    rest.len() < start && rest.starts_with(word)
}

/// A block whose end is not read yet.
struct OpenBlock<'a> {
    kind: BlockKind,
    label: &'a [u8],
    line: usize,
    /// Whether the next line belongs to the headers (RFC 1421, section 4.4).
    in_headers: bool,
    base64: Vec<u8>,
}

impl<'a> OpenBlock<'a> {
    fn new(line: usize, label: &'a [u8]) -> Result<Self, TlsError> {
        let kind = BlockKind::of(label).ok_or_else(|| {
            let reason = format!(
                "blocks labelled {} are not supported",
                quoted(&shown(label))
            );
            malformed(line, reason)
        })?;
        Ok(OpenBlock {
            kind,
            label,
            line,
            in_headers: false,
            base64: Vec::new(),
        })
    }

    fn named(&self) -> String {
        format!("the {}", shown(self.label))
    }

    fn add(&mut self, line: usize, text: &[u8]) -> Result<(), TlsError> {
        if self.kind.is_key() && self.base64.is_empty() && text.contains(&b':') {
            self.in_headers = true;
            if text.starts_with(b"Proc-Type:") && text.ends_with(b"ENCRYPTED") {
                self.kind = BlockKind::EncryptedKey;
            }
        }
        if self.in_headers {
            self.in_headers = !text.is_empty();
            return Ok(());
        }
        for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if !byte.is_ascii_alphanumeric() && !b"+/=".contains(byte) {
                let reason = match memmem::find(text, END.as_bytes()) {
                    Some(_) => format!("{END} is not at the start of its line"),
                    None => format!("the base64 of {} is damaged", self.named()),
                };
                return Err(malformed(line, reason));
            }
            self.base64.push(*byte);
        }
        Ok(())
    }

    fn decode(self) -> Result<Block, TlsError> {
        let damaged = |what| malformed(self.line, format!("{} {what}", self.named()));
        let der = BASE64
            .decode(&self.base64)
            .map_err(|_| damaged("is damaged: its base64 is not complete"))?;
        match der.is_empty() {
            true => Err(damaged("is empty")),
            false => Ok(Block {
                kind: self.kind,
                line: self.line,
                der,
            }),
        }
    }
}

/// The decoder of base64, as lenient as OpenSSL with the last bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A label in a form that fits into a message: an unknown label may be long, and hold any bytes.
fn shown(label: &[u8]) -> String {
    const MOST: usize = 40;
    let label = label.get(..MOST).unwrap_or(label);
    String::from_utf8_lossy(label).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::crls;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The removed part is shorter than the lines between two blocks' base64.
        #[test]
        fn a_damaged_text_has_all_its_blocks_or_is_an_error(
            at: Index,
            removed in 0..40_usize,
            inserted in prop_oneof!["[-\\PC\r\n\u{feff} ]{0,3}", Just("-----BEGIN X509 CRL-----\n".to_owned())],
        ) {
            let base64 = "AQID".repeat(16) + "\n";
            let mut pem = text(&["X509 CRL"; 3]).replace("AQID\n", &base64.repeat(3)).into_bytes();
            let at = at.index(pem.len());
            let end = pem.len().min(at + removed);
            pem.splice(at..end, inserted.bytes());
            if let Ok(blocks) = blocks(&pem) {
                prop_assert_eq!(blocks.len(), 3);
            }
        }

        #[test]
        fn any_bytes_are_blocks_or_an_error(bytes: Vec<u8>, at: Index) {
            let mut pem = text(&["X509 CRL"; 2]).into_bytes();
            let at = at.index(pem.len());
            pem.splice(at..at, bytes);
            if let Err(error) = blocks(&pem) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }

    /// A text of blocks with these labels, of 3 bytes each.
    fn text(labels: &[&str]) -> String {
        let block =
            |label: &&str| format!("-----BEGIN {label}-----\nAQID\n-----END {label}-----\n");
        labels.iter().map(block).collect()
    }

    fn kinds(pem: &str) -> Vec<BlockKind> {
        let blocks = blocks(pem.as_bytes()).unwrap();
        assert!(blocks.iter().all(|block| block.der == [1, 2, 3]), "{pem}");
        blocks.into_iter().map(|block| block.kind).collect()
    }

    fn error(pem: impl AsRef<[u8]>) -> String {
        blocks(pem.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn texts_that_openssl_reads_are_read() {
        let two = text(&["CERTIFICATE", "X509 CRL"]);
        for pem in [
            two.clone(),
            two.trim_end().to_owned(),
            two.replace('\n', "\r\n"),
            two.replace('\n', "\r"),
            two.replace('\n', " \t\x0c\x00\n"),
            two.replace("AQID", "AQ\nID"),
            two.replace("AQID", "\n  A Q\t\n\n I D\n"),
            format!("\u{feff}{two}"),
            format!("\n\nsubject=CN = Back-END ÄÖÜ - BEGIN of it\n{two}# the END of it\n"),
            two.replace(
                "-----BEGIN",
                "Bag Attributes\n    localKeyID: 01\n-----BEGIN",
            ),
            two.replace("BEGIN CERT", "BEGIN X509 CERT")
                .replace("END CERT", "END X509 CERT"),
        ] {
            assert_eq!(
                kinds(&pem),
                [BlockKind::Certificate, BlockKind::Crl],
                "{pem}"
            );
        }
        let block =
            |base64: &str| format!("-----BEGIN X509 CRL-----\n{base64}\n-----END X509 CRL-----");
        for (base64, der) in [
            ("AQIDBA==", &[1, 2, 3, 4][..]),
            ("AQIDBB==", &[1, 2, 3, 4]),
            ("AQIDBA", &[1, 2, 3, 4]),
            ("AQIDBAU=", &[1, 2, 3, 4, 5]),
        ] {
            assert_eq!(blocks(block(base64).as_bytes()).unwrap()[0].der, der);
        }
    }

    #[test]
    fn each_kind_of_block_is_known_and_a_misspelt_one_is_an_error() {
        let known = [
            ("CERTIFICATE", BlockKind::Certificate),
            ("X509 CERTIFICATE", BlockKind::Certificate),
            ("TRUSTED CERTIFICATE", BlockKind::TrustedCertificate),
            ("X509 CRL", BlockKind::Crl),
            ("PRIVATE KEY", BlockKind::Pkcs8),
            ("RSA PRIVATE KEY", BlockKind::Pkcs1),
            ("EC PRIVATE KEY", BlockKind::Sec1),
            ("ENCRYPTED PRIVATE KEY", BlockKind::EncryptedKey),
            ("DSA PRIVATE KEY", BlockKind::OtherKey),
            ("OPENSSH PRIVATE KEY", BlockKind::OtherKey),
            ("EC PARAMETERS", BlockKind::Accessory),
            ("DH PARAMETERS", BlockKind::Accessory),
            ("X9.42 DH PARAMETERS", BlockKind::Accessory),
            ("PUBLIC KEY", BlockKind::Accessory),
            ("RSA PUBLIC KEY", BlockKind::Accessory),
            ("CERTIFICATE REQUEST", BlockKind::Accessory),
            ("NEW CERTIFICATE REQUEST", BlockKind::Accessory),
        ];
        let labels: Vec<_> = known.iter().map(|(label, _)| *label).collect();
        assert_eq!(kinds(&text(&labels)), known.map(|(_, kind)| kind));
        for label in [
            "X509 CLR",
            "x509 crl",
            "X509 CRL ",
            " X509 CRL",
            "CRL",
            "CERTIFCATE",
            "PKCS7",
            "CMS",
            "",
            "\u{1b}[2J",
        ] {
            let shown = label.escape_debug();
            assert_eq!(
                error(text(&["X509 CRL", label])),
                format!("line 4: blocks labelled \"{shown}\" are not supported")
            );
        }
    }

    #[test]
    fn no_block_vanishes() {
        let [one, two] = [text(&["X509 CRL"]), text(&["X509 CRL", "X509 CRL"])];
        let joined = one.trim_end().to_owned() + &one;
        let without = |line: usize| {
            let lines = two.lines().enumerate().filter(|(at, _)| *at != line);
            lines
                .map(|(_, text)| format!("{text}\n"))
                .collect::<String>()
        };
        let begins_twice = "line 1: the X509 CRL does not end before line 3";
        for (pem, said) in [
            (joined, "line 3: -----BEGIN is not at the start of its line"),
            (
                one.clone() + " " + &one,
                "line 4: -----BEGIN is not at the start of its line",
            ),
            (
                one.clone() + "#" + &one,
                "line 4: -----BEGIN is not at the start of its line",
            ),
            (
                one.clone() + "\u{feff}" + &one,
                "line 4: a byte order mark is before -----BEGIN",
            ),
            (
                format!("\u{feff}\u{feff}{one}"),
                "line 1: a byte order mark is before -----BEGIN",
            ),
            (
                two.replacen("AQID\n", "AQID", 1),
                "line 2: -----END is not at the start of its line",
            ),
            (without(0), "line 2: -----END X509 CRL has no -----BEGIN"),
            (without(2), begins_twice),
            (without(3), "line 5: -----END X509 CRL has no -----BEGIN"),
            (
                without(5),
                "line 4: the X509 CRL does not end: its -----END is missing",
            ),
            (without(1), "line 1: the X509 CRL is empty"),
            (
                two.replacen("-----B", "----B", 1),
                "line 1: a -----BEGIN is damaged",
            ),
            (
                two.replacen("-----B", "\u{2014}\u{2013}-B", 1),
                "line 1: a -----BEGIN is damaged",
            ),
            (
                two.replacen("-----\n", "----\n", 1),
                "line 1: the line that begins with -----BEGIN is damaged",
            ),
            (
                two.replacen("-----\n", "------\n", 1),
                "line 1: the line that begins with -----BEGIN is damaged",
            ),
            (
                two.replacen("-----BEGIN ", "-----BEGIN", 1),
                "line 1: the line that begins with -----BEGIN is damaged",
            ),
            (
                two.replacen("-----END", "----END", 1),
                "line 3: an -----END is damaged",
            ),
            (
                two.replacen("END X509 CRL", "END X509 CLR", 1),
                "line 3: -----END X509 CLR does not end the X509 CRL, which begins on line 1",
            ),
            (
                two.replacen("AQID", "AQ!D", 1),
                "line 2: the base64 of the X509 CRL is damaged",
            ),
            (
                two.replacen("AQID", "AQID\nAQ!D", 1),
                "line 3: the base64 of the X509 CRL is damaged",
            ),
            (
                two.replacen("AQID", "Proc-Type: 4,ENCRYPTED\n\nAQID", 1),
                "line 2: the base64 of the X509 CRL is damaged",
            ),
            (
                two.replacen("AQID", "AQIDB", 1),
                "line 1: the X509 CRL is damaged: its base64 is not complete",
            ),
            (
                two.replacen("AQID", "AQ==AQID", 1),
                "line 1: the X509 CRL is damaged: its base64 is not complete",
            ),
        ] {
            assert_eq!(error(&pem), said, "{pem}");
            assert_eq!(error(pem.replace('\n', "\r\n")), said, "{pem}");
        }
        let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let text = format!("\u{feff}{one}");
            text.encode_utf16().flat_map(order).collect()
        };
        for pem in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
            assert_eq!(
                error(&pem),
                "line 1: the text is UTF-16; PEM is ASCII or UTF-8"
            );
            assert!(crls(&pem).is_err());
        }
    }

    #[test]
    fn headers_are_read_in_keys_alone() {
        let key = |headers: &str| {
            format!("-----BEGIN EC PRIVATE KEY-----\n{headers}AQID\n-----END EC PRIVATE KEY-----\n")
        };
        let encrypted = key("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,\n 0011\n\n");
        assert_eq!(kinds(&encrypted), [BlockKind::EncryptedKey]);
        assert_eq!(kinds(&key("Comment: mine\n\n")), [BlockKind::Sec1]);
        let encrypted = encrypted.replace('\n', "\r\n");
        assert_eq!(kinds(&encrypted), [BlockKind::EncryptedKey]);
        assert_eq!(
            error(key("Comment: mine\n")),
            "line 1: the EC PRIVATE KEY is empty"
        );
    }
}
