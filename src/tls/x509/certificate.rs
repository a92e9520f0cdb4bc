//! The parts of a certificate (RFC 5280, section 4.1), for certificates that the two libraries can't
//! read: rustls-webpki refuses what it does not support, and x509-cert knows no UniversalString.
//! Nothing is decided here: rustls-webpki verifies.

use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::DB;

/// The last number of an extension below id-ce, 2.5.29 (RFC 5280, section 4.2.1).
pub(crate) mod extension {
    pub(crate) const SUBJECT_KEY_ID: u8 = 14;
    pub(crate) const SUBJECT_ALT_NAME: u8 = 17;
    pub(crate) const BASIC_CONSTRAINTS: u8 = 19;
    pub(crate) const NAME_CONSTRAINTS: u8 = 30;
    pub(crate) const AUTHORITY_KEY_ID: u8 = 35;
    pub(crate) const EXTENDED_KEY_USAGE: u8 = 37;
}

/// The tags of DER that are looked for.
mod tag {
    pub(super) const UTF8_STRING: u8 = 0x0c;
    pub(super) const NUMERIC_STRING: u8 = 0x12;
    pub(super) const PRINTABLE_STRING: u8 = 0x13;
    pub(super) const TELETEX_STRING: u8 = 0x14;
    pub(super) const IA5_STRING: u8 = 0x16;
    pub(super) const VISIBLE_STRING: u8 = 0x1a;
    pub(super) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(super) const BMP_STRING: u8 = 0x1e;
    pub(super) const BOOLEAN: u8 = 0x01;
    /// The version of a certificate.
    pub(super) const CONTEXT_0: u8 = 0xa0;
    /// The extensions of a certificate.
    pub(super) const CONTEXT_3: u8 = 0xa3;
}

/// id-at-commonName (RFC 5280, appendix A.1).
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// id-ce, without the last number.
const ID_CE: &[u8] = &[0x55, 0x1d];

/// One item of DER.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The items inside this one.
    pub(crate) fn elements(self) -> Elements<'a> {
        Elements(self.content)
    }

    /// Whether it is one of the strings that most names are made of.
    pub(crate) fn is_usual_text(self) -> bool {
        match self.tag {
            tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => true,
            tag::TELETEX_STRING => self.content.is_ascii(),
            _ => false,
        }
    }

    /// The text of a string, as OpenSSL reads it: TeletexString is taken for Latin-1.
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

/// A text of characters of two or four bytes.
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
            // Nothing that comes over TLS needs more bytes for its length.
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

/// The parts of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct ParsedCertificate<'a> {
    /// Whether it is of the first version, which says none.
    pub(crate) is_version_1: bool,
    pub(crate) issuer: Element<'a>,
    pub(crate) validity: Element<'a>,
    pub(crate) subject: Element<'a>,
    pub(crate) key: Element<'a>,
    /// Whether it has an issuerUniqueID or a subjectUniqueID.
    pub(crate) has_unique_id: bool,
    /// What is signed.
    pub(crate) signed: &'a [u8],
    /// The AlgorithmIdentifier of the signature, without tag and length.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    extensions: Elements<'a>,
}

impl<'a> ParsedCertificate<'a> {
    pub(crate) fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Elements(der).next()?.elements();
        let (signed, algorithm) = (outer.next()?, outer.next()?);
        // The number of bits that are not used comes first, and is 0.
        let (_, signature) = outer.next()?.content.split_first()?;
        let mut fields = signed.elements().peekable();
        let version = fields.next_if(|field| field.tag == tag::CONTEXT_0);
        let (_serial, _algorithm) = (fields.next()?, fields.next()?);
        let (issuer, validity) = (fields.next()?, fields.next()?);
        let (subject, key) = (fields.next()?, fields.next()?);
        let (mut has_unique_id, mut extensions) = (false, Elements(&[]));
        for field in fields {
            match field.tag {
                tag::CONTEXT_3 => extensions = field.elements().next()?.elements(),
                _ => has_unique_id = true,
            }
        }
        Some(ParsedCertificate {
            is_version_1: version.is_none(),
            issuer,
            validity,
            subject,
            key,
            has_unique_id,
            signed: signed.whole,
            algorithm: algorithm.content,
            signature,
            extensions,
        })
    }

    /// The value of the extension whose last number this is.
    pub(crate) fn extension(&self, id_ce: u8) -> Option<Element<'a>> {
        self.extensions()
            .find(|extension| extension.id_ce() == Some(id_ce))
            .and_then(|extension| Elements(extension.value).next())
    }

    pub(crate) fn extensions(&self) -> impl Iterator<Item = Extension<'a>> {
        self.extensions.clone().filter_map(|extension| {
            let mut fields = extension.elements().peekable();
            let oid = fields.next()?.content;
            let critical = fields.next_if(|field| field.tag == tag::BOOLEAN);
            Some(Extension {
                oid,
                is_critical: critical.is_some_and(|critical| critical.content != [0]),
                value: fields.next()?.content,
            })
        })
    }
}

/// An extension of a certificate.
pub(crate) struct Extension<'a> {
    oid: &'a [u8],
    pub(crate) is_critical: bool,
    value: &'a [u8],
}

impl Extension<'_> {
    /// The last number, if the others are 2.5.29.
    pub(crate) fn id_ce(&self) -> Option<u8> {
        match self.oid.strip_prefix(ID_CE) {
            Some(&[last]) => Some(last),
            _ => None,
        }
    }

    /// Its numbers, and its name if it has one: `2.5.29.36 (id-ce-policyConstraints)`.
    pub(crate) fn title(&self) -> String {
        let Ok(oid) = ObjectIdentifier::from_bytes(self.oid) else {
            return "of no valid number".to_owned();
        };
        match DB.by_oid(&oid) {
            Some(name) => format!("{oid} ({name})"),
            None => oid.to_string(),
        }
    }
}

/// The name of an algorithm or a curve, or else its numbers.
pub(crate) fn oid_name(oid: &[u8]) -> String {
    // People know it by this name, and nothing has the other.
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

/// The first common name in a distinguished name, whichever kind of string it is.
pub(crate) fn common_name(name: Element<'_>) -> Option<String> {
    let (_, value) = attributes(name).find(|(oid, _)| *oid == COMMON_NAME)?;
    value.text().filter(|text| !text.is_empty())
}

/// Whether two distinguished names are the same to people, and to RFC 5280, section 7.1:
/// whichever kinds of strings they are made of, in whichever case, and however spaced.
pub(crate) fn reads_the_same(a: Element<'_>, b: Element<'_>) -> bool {
    let folded = |name| {
        attributes(name).map(|(oid, value)| {
            let text = value.text().map(|text| {
                let words: Vec<_> = text.split_whitespace().collect();
                words.join(" ").to_lowercase()
            });
            (oid, text)
        })
    };
    folded(a).eq(folded(b)) && folded(a).all(|(_, text)| text.is_some())
}

/// The attributes of a distinguished name, and what they are.
pub(crate) fn attributes(name: Element<'_>) -> impl Iterator<Item = (&[u8], Element<'_>)> {
    name.elements()
        .flat_map(Element::elements)
        .filter_map(|attribute| {
            let mut fields = attribute.elements();
            Some((fields.next()?.content, fields.next()?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Kessel");
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    /// Reads everything that there is to read.
    fn read(der: &[u8]) -> Option<String> {
        let parts = ParsedCertificate::of(der)?;
        for extension in parts.extensions() {
            extension.title();
            let _ = (extension.id_ce(), extension.is_critical);
        }
        reads_the_same(parts.issuer, parts.subject);
        common_name(parts.subject)
    }

    #[test]
    fn damaged_certificates_are_read_as_far_as_they_go() {
        let der = certificate();
        assert_eq!(read(&der).as_deref(), Some("Kessel"));
        for len in 0..der.len() {
            assert_eq!(read(&der[..len]), None, "cut to {len}");
        }
        for at in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x83, 0x84, 0xff] {
                let mut damaged = der.clone();
                damaged[at] = value;
                read(&damaged);
            }
        }
    }

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
