//! Distinguished names (RFC 5280, section 4.1.2.4).

use std::fmt;

use x509_cert::der::Decode;
use x509_cert::name::Name;

use super::der::{Element, Elements};

/// id-at-commonName (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The name of a certificate's issuer or subject.
///
/// Two are equal if they are so byte by byte, as rustls-webpki compares them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DistinguishedName<'a>(Element<'a>);

impl<'a> DistinguishedName<'a> {
    pub(super) fn new(name: Element<'a>) -> Self {
        DistinguishedName(name)
    }

    /// The name in the form of rustls-webpki: DER without its tag and length.
    pub(crate) fn content(self) -> &'a [u8] {
        self.0.content
    }

    /// The first common name in it, of whichever kind of string.
    pub(crate) fn common_name(self) -> Option<String> {
        let (_, value) = attributes(self.0.elements()).find(|(oid, _)| *oid == COMMON_NAME)?;
        value.text().filter(|text| !text.is_empty())
    }

    /// Whether people, and RFC 5280, section 7.1, take the two names for the same: their strings
    /// may be of different kinds, and differ in case and spaces. `other` is the
    /// [`content`](Self::content) of a name.
    pub(crate) fn reads_like(self, other: &[u8]) -> bool {
        let folded = |name| {
            attributes(name).map(|(oid, value)| {
                let text = value.text().map(|text| {
                    let words: Vec<_> = text.split_whitespace().collect();
                    words.join(" ").to_lowercase()
                });
                (oid, text)
            })
        };
        let own = || folded(self.0.elements());
        own().eq(folded(Elements(other))) && own().all(|(_, text)| text.is_some())
    }
}

impl PartialEq for DistinguishedName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

/// Writes the name as RFC 4514 does; the common name alone, where x509-cert would write that as
/// hexadecimal digits; nothing if the name is damaged.
impl fmt::Display for DistinguishedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_readable = attributes(self.0.elements())
            .filter(|(oid, _)| *oid == COMMON_NAME)
            .all(|(_, value)| value.is_usual_text());
        match Name::from_der(self.0.whole) {
            Ok(parsed) if is_readable => parsed.fmt(f),
            parsed => match (self.common_name(), parsed) {
                (Some(common_name), _) => write!(f, "CN={common_name}"),
                (None, Ok(parsed)) => parsed.fmt(f),
                (None, Err(_)) => Ok(()),
            },
        }
    }
}

/// The attributes of a distinguished name: the type and the value of each.
fn attributes<'a>(name: Elements<'a>) -> impl Iterator<Item = (&'a [u8], Element<'a>)> {
    name.flat_map(Element::elements).filter_map(|attribute| {
        let mut fields = attribute.elements();
        Some((fields.next()?.content, fields.next()?))
    })
}
