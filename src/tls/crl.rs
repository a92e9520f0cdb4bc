//! Certificate revocation lists (RFC 5280, section 5).

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::TrustAnchor;
use webpki::{Cert, CertRevocationList, Error, OwnedCertRevocationList};

use super::facts::{self, Facts, Number};
use super::warning::{TlsWarning, ending};
use super::{pem, words};
use crate::error::TlsError;

/// Lists, of each issuer the newest first: that is the one that is asked, and it may end before an
/// older one does.
#[derive(Clone, Debug, Default)]
pub(super) struct Crls(Vec<Crl>);

#[derive(Clone, Debug)]
pub(super) struct Crl {
    list: Arc<CertRevocationList<'static>>,
    pub(super) facts: Facts,
    number: Option<Number>,
}

impl Crls {
    /// Adds one list as DER, or any number as PEM.
    pub(super) fn add(&mut self, pem_or_der: &[u8]) -> Result<(), TlsError> {
        for der in pem::crls(pem_or_der)? {
            let list =
                OwnedCertRevocationList::from_der(&der).map_err(|error| TlsError::Damaged {
                    what: "CRL",
                    reason: match facts::is_crl_of_version_1(&der) {
                        true => words::fault(&Error::UnsupportedCrlVersion),
                        false => words::fault(&error),
                    }
                    .into_owned(),
                })?;
            let (facts, number) = Facts::of_crl(&der);
            self.0.push(Crl {
                list: Arc::new(list.into()),
                facts,
                number,
            });
        }
        // Two may be made within a second, and then only their numbers tell.
        self.0
            .sort_by(|a, b| (b.facts.begin, &b.number).cmp(&(a.facts.begin, &a.number)));
        Ok(())
    }

    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.0.iter().map(|crl| &*crl.list).collect()
    }

    /// The lists of the CA that issued this certificate.
    pub(super) fn above(&self, certificate: &Cert<'_>) -> impl Iterator<Item = &Crl> {
        let issuer = certificate.issuer();
        self.0.iter().filter(move |crl| crl.list.issuer() == issuer)
    }

    pub(super) fn revokes(&self, certificate: &Cert<'_>) -> bool {
        self.above(certificate)
            .any(|crl| matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_))))
    }

    pub(super) fn warnings(
        &self,
        anchors: &[TrustAnchor<'_>],
        now: SystemTime,
    ) -> impl Iterator<Item = TlsWarning> {
        // An older list of the same scope is not asked any more, so its end changes nothing.
        let same = |a: &Crl, b: &Crl| {
            a.list.issuer() == b.list.issuer()
                && a.list.issuing_distribution_point() == b.list.issuing_distribution_point()
        };
        let ends = self.0.iter().enumerate().filter_map(move |(at, crl)| {
            let newer = self.0.iter().take(at).any(|newer| same(newer, crl));
            ending("CRL", &crl.facts, now).filter(|_| !newer)
        });
        let strangers = self.0.iter().filter(|crl| {
            let issuer = crl.list.issuer();
            !anchors.iter().any(|anchor| &*anchor.subject == issuer)
        });
        let strangers = strangers.map(|crl| TlsWarning::UnknownCrlIssuer {
            issuer: crl.facts.title.clone(),
        });
        ends.chain(strangers)
    }
}
