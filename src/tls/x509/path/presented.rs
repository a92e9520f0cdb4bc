//! The certificates that a peer presents.

use rustls_pki_types::CertificateDer;
use webpki::{EndEntityCert, Error};

use crate::tls::x509::certificate::ParsedCertificate;

/// The certificates that a peer presents, each parsed once.
pub(crate) struct PresentedChain<'a> {
    /// The peer's own certificate.
    own_der: &'a CertificateDer<'a>,
    own: Option<ParsedCertificate<'a>>,
    /// The certificates beside it that can be parsed, in the order of the peer.
    above: Vec<ParsedCertificate<'a>>,
    /// The number of all certificates, whether or not they can be parsed.
    len: usize,
}

impl<'a> PresentedChain<'a> {
    pub(crate) fn new(own: &'a CertificateDer<'a>, above: &'a [CertificateDer<'a>]) -> Self {
        PresentedChain {
            own_der: own,
            own: ParsedCertificate::parse(own),
            len: above.len().saturating_add(1),
            above: above.iter().filter_map(ParsedCertificate::parse).collect(),
        }
    }

    /// The peer's own certificate, if its fields can be found.
    pub(crate) fn own(&self) -> Option<&ParsedCertificate<'a>> {
        self.own.as_ref()
    }

    /// The peer's own certificate, if rustls-webpki can parse it too.
    pub(crate) fn supported_own(&self) -> Result<&ParsedCertificate<'a>, Error> {
        match &self.own {
            Some(own) => match own.webpki() {
                Ok(_) => Ok(own),
                Err(error) => Err(error.clone()),
            },
            None => Err(EndEntityCert::try_from(self.own_der)
                .err()
                .unwrap_or(Error::BadDer)),
        }
    }

    pub(crate) fn above(&self) -> &[ParsedCertificate<'a>] {
        &self.above
    }

    /// The number of certificates, whether or not they can be parsed.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All certificates that rustls-webpki can parse too, the peer's own first.
    pub(crate) fn supported(&self) -> Vec<&ParsedCertificate<'a>> {
        let all = self.own.iter().chain(&self.above);
        all.filter(|one| one.is_supported()).collect()
    }

    /// The one with this DER.
    pub(crate) fn find(&self, der: &CertificateDer<'_>) -> Option<&ParsedCertificate<'a>> {
        let mut all = self.own.iter().chain(&self.above);
        all.find(|one| one.der == der)
    }
}
