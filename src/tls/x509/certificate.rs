//! A certificate, parsed once (RFC 5280, section 4.1).
//!
//! [`ParsedCertificate::parse`] finds the fields; each is decoded when it is asked for. Nothing is
//! decided here: rustls-webpki verifies, for which it parses the certificate by itself.

use std::cell::OnceCell;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
#[cfg(feature = "client")]
use rustls_pki_types::ServerName;
use webpki::EndEntityCert;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::DB;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::time::Validity;

use super::der::{Element, Elements, tag};
use super::distinguished_name::DistinguishedName;

/// The last number of an extension below id-ce, 2.5.29 (RFC 5280, section 4.2.1).
pub(crate) mod extension {
    pub(crate) const SUBJECT_KEY_ID: u8 = 14;
    pub(crate) const SUBJECT_ALT_NAME: u8 = 17;
    pub(crate) const BASIC_CONSTRAINTS: u8 = 19;
    pub(crate) const NAME_CONSTRAINTS: u8 = 30;
    pub(crate) const AUTHORITY_KEY_ID: u8 = 35;
    pub(crate) const EXTENDED_KEY_USAGE: u8 = 37;
}

/// id-ce, without the last number.
const ID_CE: &[u8] = &[0x55, 0x1d];

/// The fields of a certificate.
pub(crate) struct ParsedCertificate<'a> {
    pub(crate) der: &'a CertificateDer<'a>,
    /// Whether it is of the first version, whose certificates do not state their version.
    pub(crate) is_version_1: bool,
    pub(crate) issuer: DistinguishedName<'a>,
    validity: Element<'a>,
    pub(crate) subject: DistinguishedName<'a>,
    /// The content of its SubjectPublicKeyInfo.
    pub(crate) key: &'a [u8],
    /// Whether it has an issuerUniqueID or a subjectUniqueID.
    pub(crate) has_unique_id: bool,
    /// The bytes that its issuer signed.
    pub(crate) signed: &'a [u8],
    /// The AlgorithmIdentifier of the signature, without tag and length.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    extensions: Elements<'a>,
    webpki: OnceCell<Result<EndEntityCert<'a>, webpki::Error>>,
}

impl<'a> ParsedCertificate<'a> {
    /// Finds the fields of a certificate, whether or not they are supported. `None` if one is
    /// missing.
    pub(crate) fn parse(der: &'a CertificateDer<'a>) -> Option<Self> {
        let mut outer = Elements(der).next()?.elements();
        let (signed, algorithm) = (outer.next()?, outer.next()?);
        // The number of unused bits comes first, and is 0.
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
            der,
            is_version_1: version.is_none(),
            issuer: DistinguishedName::new(issuer),
            validity,
            subject: DistinguishedName::new(subject),
            key: key.content,
            has_unique_id,
            signed: signed.whole,
            algorithm: algorithm.content,
            signature,
            extensions,
            webpki: OnceCell::new(),
        })
    }

    /// The certificate as rustls-webpki parses it, or its reason not to. The first call parses.
    pub(crate) fn webpki(&self) -> Result<&EndEntityCert<'a>, &webpki::Error> {
        self.webpki
            .get_or_init(|| EndEntityCert::try_from(self.der))
            .as_ref()
    }

    /// Whether rustls-webpki can parse it.
    pub(crate) fn is_supported(&self) -> bool {
        self.webpki().is_ok()
    }

    /// Checks that it is for this host (RFC 6125).
    #[cfg(feature = "client")]
    pub(crate) fn check_host(&self, name: &ServerName<'_>) -> Result<(), webpki::Error> {
        let certificate = self.webpki().map_err(webpki::Error::clone)?;
        certificate.verify_is_valid_for_subject_name(name)
    }

    /// Whether its issuer has the name of its subject.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The first and the last moment at which it is valid, if they can be read.
    pub(crate) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        let validity: Validity = Validity::from_der(self.validity.whole).ok()?;
        Some((
            validity.not_before.to_system_time(),
            validity.not_after.to_system_time(),
        ))
    }

    /// Whether it is a CA's: it says so, or is of a version that can't say so.
    pub(crate) fn is_ca(&self) -> bool {
        self.is_version_1 || self.basic_constraints().is_some_and(|limits| limits.ca)
    }

    /// The number of CAs that it allows between itself and a peer's certificate, if it limits them.
    pub(crate) fn path_len_constraint(&self) -> Option<u8> {
        self.basic_constraints()?.path_len_constraint
    }

    /// Whether it can be trusted to verify others by: it is a CA's, or self-issued.
    pub(crate) fn can_be_anchor(&self) -> bool {
        self.is_ca() || self.is_self_issued()
    }

    /// Whether it limits the names that certificates below it may have.
    pub(crate) fn has_name_constraints(&self) -> bool {
        self.extension(extension::NAME_CONSTRAINTS).is_some()
    }

    fn basic_constraints(&self) -> Option<BasicConstraints> {
        let constraints = self.extension(extension::BASIC_CONSTRAINTS)?;
        BasicConstraints::from_der(constraints.whole).ok()
    }

    /// The value of the extension whose last number this is.
    pub(crate) fn extension(&self, id_ce: u8) -> Option<Element<'a>> {
        self.extensions()
            .find(|extension| extension.id_ce() == Some(id_ce))
            .and_then(|extension| Elements(extension.value).next())
    }

    pub(crate) fn extensions(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
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

/// The DER of a certificate as rustls 0.21 hands it out.
pub(crate) fn der(certificate: &rustls::Certificate) -> CertificateDer<'_> {
    CertificateDer::from(certificate.0.as_slice())
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

    /// Decodes every field.
    fn read(der: &[u8]) -> Option<String> {
        let der = CertificateDer::from(der);
        let certificate = ParsedCertificate::parse(&der)?;
        for extension in certificate.extensions() {
            extension.title();
            let _ = (extension.id_ce(), extension.is_critical);
        }
        certificate.issuer.reads_like(certificate.subject.content());
        certificate.subject.common_name()
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
}
