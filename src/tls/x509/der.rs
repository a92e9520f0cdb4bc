//! Elements of DER (X.690, section 8.1), read up to the first that is not valid.
//!
//! This reader also reads certificates that the two libraries can't: rustls-webpki refuses
//! unsupported fields, and x509-cert knows no UniversalString.

use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::DB;

/// The tags that this crate looks for.
pub(crate) mod tag {
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const VISIBLE_STRING: u8 = 0x1a;
    pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const BOOLEAN: u8 = 0x01;
    /// The tag of a certificate's version.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    /// The tag of a certificate's extensions.
    pub(crate) const CONTEXT_3: u8 = 0xa3;
}

/// One element of DER.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// The content with its tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements inside this one.
    pub(crate) fn elements(self) -> Elements<'a> {
        Elements(self.content)
    }

    /// Whether it is a string of a kind that most names consist of.
    pub(crate) fn is_usual_text(self) -> bool {
        match self.tag {
            tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => true,
            tag::TELETEX_STRING => self.content.is_ascii(),
            _ => false,
        }
    }

    /// The text of a string, as OpenSSL reads it, which takes TeletexString for Latin-1.
    pub(crate) fn text(self) -> Option<String> {
        let content = self.content;
        match self.tag {
            tag::UTF8_STRING => String::from_utf8(content.to_vec()).ok(),
            tag::NUMERIC_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING | tag::VISIBLE_STRING
                if content.is_ascii() =>
            {
                String::from_utf8(content.to_vec()).ok()
            }
            tag::TELETEX_STRING => Some(content.iter().copied().map(char::from).collect()),
            tag::BMP_STRING => wide(content.chunks(2)),
            tag::UNIVERSAL_STRING => wide(content.chunks(4)),
            _ => None,
        }
    }
}

/// Decodes characters of two or four bytes.
fn wide<'a>(chars: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let read = |bytes: &[u8]| match *bytes {
        [high, low] => char::from_u32(u16::from_be_bytes([high, low]).into()),
        [a, b, c, d] => char::from_u32(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    chars.map(read).collect()
}

/// Elements of DER, one behind the other, up to the first that is not valid.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (first.into(), rest),
            // No certificate in a TLS handshake is longer than three bytes can tell.
            0x81..=0x83 => {
                let (len, rest) = rest.split_at_checked((first & 3).into())?;
                let shift = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
                (len.iter().fold(0, shift), rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(len)?;
        let end = self.0.len().checked_sub(behind.len())?;
        let whole = self.0.get(..end)?;
        self.0 = behind;
        Some(Element {
            tag,
            content,
            whole,
        })
    }
}

/// The name of an algorithm or a curve, or else its numbers.
pub(crate) fn oid_name(oid: &[u8]) -> String {
    // People know these by names that the database lacks.
    const OTHERS: [(&[u8], &str); 3] = [
        (&[0x2b, 0x81, 4, 0, 35], "P-521"),
        (&[0x2b, 0x81, 4, 0, 10], "secp256k1"),
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], "ecdsa-with-SHA1"),
    ];
    if let Some((_, name)) = OTHERS.iter().find(|(other, _)| *other == oid) {
        return (*name).to_owned();
    }
    match ObjectIdentifier::from_bytes(oid) {
        Ok(oid) => match DB.by_oid(&oid) {
            Some(name) => name.strip_prefix("id-").unwrap_or(name).to_owned(),
            None => oid.to_string(),
        },
        Err(_) => "of no valid number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_may_take_up_to_three_bytes() {
        for (der, len) in [
            (&[4, 0][..], Some(0)),
            (&[4, 1, 7], Some(1)),
            (&[4, 0x81, 1, 7], Some(1)),
            (&[4, 0x83, 0, 0, 1, 7], Some(1)),
            (&[], None),
            (&[4], None),
            (&[4, 1], None),
            (&[4, 0x80, 0, 0], None),
            (&[4, 0x82, 1], None),
            (&[4, 0x83, 0xff, 0xff, 0xff, 7], None),
            (&[4, 0x84, 0, 0, 0, 1, 7], None),
        ] {
            let item = Elements(der).next();
            assert_eq!(item.map(|item| item.content.len()), len, "{der:?}");
        }
    }

    #[test]
    fn strings_are_read_whichever_kind_they_are() {
        for (tag, content, text) in [
            (0x0c, "ü".as_bytes(), Some("ü")),
            (0x0c, &[0xfc], None),
            (0x13, b"a_b", Some("a_b")),
            (0x16, b"a@b", Some("a@b")),
            (0x16, &[0xfc], None),
            (0x14, &[0xfc], Some("ü")),
            (0x1e, &[0, 0xfc], Some("ü")),
            (0x1e, &[0xd8, 0], None),
            (0x1e, &[0, 0xfc, 0], None),
            (0x1c, &[0, 0, 0, 0xfc], Some("ü")),
            (0x1c, &[0, 1, 0xf6, 0], Some("😀")),
            (0x1c, &[0, 0x11, 0, 0], None),
            (0x04, b"a", None),
        ] {
            let item = Element {
                tag,
                content,
                whole: &[],
            };
            assert_eq!(item.text().as_deref(), text, "{tag:x} {content:?}");
        }
    }
}
