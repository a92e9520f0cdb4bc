//! Certificates, keys and CRLs as PEM (RFC 7468).

use std::path::Path;

use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer,
    PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};

use crate::tls::error::{CredentialKind, TlsError};

mod blocks;

use blocks::{BlockKind, blocks, is_text};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// An item and the line on which its block begins; DER has no lines.
pub(crate) struct Located<T> {
    pub(crate) line: Option<usize>,
    pub(crate) item: T,
}

/// All certificates in the text, of which there is at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = blocks(pem)?.into_iter().filter_map(|block| {
        let kind = block.kind;
        let der = block.der;
        match kind {
            BlockKind::Certificate => Some(der),
            // Peers are shown the certificate alone.
            BlockKind::TrustedCertificate => Some(split_trusted(der).0),
            _ => None,
        }
    });
    some(
        found.map(CertificateDer::from).collect(),
        CredentialKind::Certificate,
    )
}

/// All certificates in the text that others may be verified by, of which there is at least one.
pub(crate) fn trusted_certificates(
    pem: &[u8],
) -> Result<Vec<Located<CertificateDer<'static>>>, TlsError> {
    let mut found = Vec::new();
    for block in blocks(pem)? {
        let der = match block.kind {
            BlockKind::Certificate => block.der,
            BlockKind::TrustedCertificate => match split_trusted(block.der) {
                (_, true) => {
                    return Err(TlsError::Damaged {
                        kind: CredentialKind::CaCertificate,
                        line: Some(block.line),
                        reason: "it is trusted for some uses only, which is not supported"
                            .to_owned(),
                    });
                }
                (der, false) => der,
            },
            _ => continue,
        };
        found.push(Located {
            line: Some(block.line),
            item: der.into(),
        });
    }
    some(found, CredentialKind::Certificate)
}

/// All private keys in the text that are not encrypted and of a form that is built in, of which
/// there is at least one.
pub(crate) fn private_keys(pem: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, TlsError> {
    let mut keys = Vec::new();
    let mut unusable = None;
    for block in blocks(pem)? {
        match block.kind {
            BlockKind::Pkcs8 => keys.push(PrivatePkcs8KeyDer::from(block.der).into()),
            BlockKind::Pkcs1 => keys.push(PrivatePkcs1KeyDer::from(block.der).into()),
            BlockKind::Sec1 => keys.push(PrivateSec1KeyDer::from(block.der).into()),
            BlockKind::EncryptedKey => unusable = Some(TlsError::EncryptedKey),
            BlockKind::OtherKey => {
                unusable = unusable.or(Some(TlsError::UnusableKey { kind: None }))
            }
            _ => {}
        }
    }
    match unusable {
        Some(error) if keys.is_empty() => Err(error),
        _ => some(keys, CredentialKind::PrivateKey),
    }
}

/// All certificate revocation lists in the text, which may be none.
pub(crate) fn crls_beside_others(
    pem: &[u8],
) -> Result<Vec<Located<CertificateRevocationListDer<'static>>>, TlsError> {
    let blocks = blocks(pem)?.into_iter();
    Ok(blocks
        .filter(|block| block.kind == BlockKind::Crl)
        .map(|block| Located {
            line: Some(block.line),
            item: block.der.into(),
        })
        .collect())
}

/// All certificate revocation lists in the text, of which there is at least one. Bytes that are no
/// text are taken for one list in DER.
pub(crate) fn crls(
    pem_or_der: &[u8],
) -> Result<Vec<Located<CertificateRevocationListDer<'static>>>, TlsError> {
    if !is_text(pem_or_der) {
        return Ok(vec![Located {
            line: None,
            item: pem_or_der.to_vec().into(),
        }]);
    }
    some(crls_beside_others(pem_or_der)?, CredentialKind::Crl)
}

fn some<T>(found: Vec<T>, kind: CredentialKind) -> Result<Vec<T>, TlsError> {
    match found.is_empty() {
        true => Err(TlsError::Missing { kind }),
        false => Ok(found),
    }
}

/// Splits the certificate off a `TRUSTED CERTIFICATE`, and tells whether it is trusted for some
/// purposes only. Behind the certificate there may be a sequence, which begins with the accepted
/// purposes, then the rejected ones (X509_CERT_AUX of OpenSSL).
fn split_trusted(mut der: Vec<u8>) -> (Vec<u8>, bool) {
    let split = || -> x509_cert::der::Result<(usize, bool)> {
        let mut reader = SliceReader::new(&der)?;
        let end = reader.tlv_bytes()?.len();
        if reader.is_finished() {
            return Ok((end, false));
        }
        Header::decode(&mut reader)?;
        let first = match reader.is_finished() {
            true => None,
            false => Some(Header::decode(&mut reader)?.tag()),
        };
        let rejected = Tag::ContextSpecific {
            constructed: true,
            number: TagNumber(0),
        };
        Ok((end, first == Some(Tag::Sequence) || first == Some(rejected)))
    };
    match split() {
        Ok((end, is_limited)) => {
            der.truncate(end);
            (der, is_limited)
        }
        // The parser of certificates will report the damage.
        Err(_) => (der, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_certificate_is_cut_to_the_certificate() {
        let certificate = [0x30, 3, 2, 1, 7];
        for (settings, is_limited) in [
            (&[][..], false),
            (&[0x30, 0], false),
            // This is an alias.
            (&[0x30, 3, 0x0c, 1, b'a'], false),
            (&[0x30, 4, 0x30, 2, 6, 0], true),
            (&[0x30, 4, 0xa0, 2, 6, 0], true),
        ] {
            let der = [&certificate, settings].concat();
            assert_eq!(split_trusted(der), (certificate.to_vec(), is_limited));
        }
        assert_eq!(split_trusted(vec![0x30, 5, 1]), (vec![0x30, 5, 1], true));
    }
}
