//! The presented certificates that can be part of a path, chosen by cheap checks.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::presented::PresentedChain;
use super::signatures::SignatureChecker;
use crate::tls::x509::certificate::{ParsedCertificate, extension};

/// The most certificates that a peer may present beside its own. A path has at most
/// [`MAX_BETWEEN`](super::explain::MAX_BETWEEN) of them; peers also present the trusted CA's, or one
/// of an older key.
pub(crate) const MAX_ABOVE: usize = 8;

/// The most certificates of one CA name that are tried. A CA that gets a new key has two; each more
/// doubles the number of paths.
const MAX_OF_NAME: usize = 2;

/// The most certificates that are tried beside one for each CA name.
const MAX_SPARE: usize = 2;

/// Certificates that can stand above a peer's own, and the limit for their signatures.
pub(crate) struct Candidates<'a> {
    pub(crate) certificates: Vec<CertificateDer<'a>>,
    /// Whether a certificate was left out that might have completed a path, because too many have
    /// its name.
    pub(crate) is_cut: bool,
    /// Whether the peer presented more than [`MAX_ABOVE`]: then none is chosen.
    pub(crate) are_too_many: bool,
    pub(crate) signatures: SignatureChecker,
}

impl<'a> Candidates<'a> {
    /// Chooses certificates, following the names of issuers upwards from the peer's own.
    pub(crate) fn new(
        presented: &PresentedChain<'a>,
        anchors: &[TrustAnchor<'_>],
        now: SystemTime,
    ) -> Self {
        let mut chosen = Candidates {
            certificates: Vec::new(),
            is_cut: false,
            are_too_many: presented.len() > MAX_ABOVE + 1,
            signatures: SignatureChecker::new(anchors.len()),
        };
        if chosen.are_too_many {
            return chosen;
        }
        let Some(own) = presented.own() else {
            return chosen;
        };
        let mut all: Vec<&ParsedCertificate<'a>> = Vec::new();
        for one in presented.above() {
            let is_same = |other: &ParsedCertificate<'_>| other.der == one.der;
            if !is_same(own) && !all.iter().any(|other| is_same(other)) {
                all.push(one);
            }
        }
        let is_trusted = |name: &[u8]| {
            let mut anchors = anchors.iter();
            anchors.any(|anchor| *anchor.subject == *name)
        };
        let mut leads_to_anchor = is_trusted(own.issuer.content());
        let mut is_left_out = false;
        let mut spare = MAX_SPARE;
        let mut names = vec![own.issuer.content()];
        let mut at = 0;
        while let Some(&name) = names.get(at) {
            at += 1;
            let mut namesakes: Vec<_> = all
                .iter()
                .filter(|one| one.subject.content() == name)
                .collect();
            for issuer in namesakes.iter().map(|one| one.issuer.content()) {
                leads_to_anchor |= is_trusted(issuer);
                if !names.contains(&issuer) {
                    names.push(issuer);
                }
            }
            // The likely ones come first; among equals, the ones that were presented first.
            if namesakes.len() > 1 {
                namesakes.sort_by_cached_key(|one| {
                    let children = all.iter().copied().chain([own]);
                    let mut children = children.filter(|child| child.issuer.content() == name);
                    (
                        !children.any(|child| may_have_signed(one, child)),
                        !can_sign(one, now),
                        !is_trusted(one.issuer.content()),
                    )
                });
            }
            let most = MAX_OF_NAME.min(spare.saturating_add(1));
            is_left_out |= namesakes.len() > most;
            spare = spare.saturating_sub(namesakes.len().min(most).saturating_sub(1));
            let kept = namesakes.iter().take(most);
            let kept = kept.map(|one| CertificateDer::from(&**one.der));
            chosen.certificates.extend(kept);
        }
        chosen.is_cut = is_left_out && leads_to_anchor;
        chosen
    }
}

/// Whether the key identifiers allow that the key of `one` signed the child (RFC 5280, sections
/// 4.2.1.1 and 4.2.1.2). Neither has to have an identifier.
fn may_have_signed(one: &ParsedCertificate<'_>, child: &ParsedCertificate<'_>) -> bool {
    let own = one.extension(extension::SUBJECT_KEY_ID);
    let signer = child.extension(extension::AUTHORITY_KEY_ID);
    let signer = signer.and_then(|id| id.elements().find(|field| field.tag == KEY_ID));
    match (own, signer) {
        (Some(own), Some(signer)) => own.content == signer.content,
        _ => true,
    }
}

fn can_sign(one: &ParsedCertificate<'_>, now: SystemTime) -> bool {
    let is_current = one
        .validity()
        .is_some_and(|(from, to)| from <= now && now <= to);
    is_current && one.is_ca()
}

/// The tag of the keyIdentifier in an AuthorityKeyIdentifier (RFC 5280, section 4.2.1.1).
const KEY_ID: u8 = 0x80;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod,
        KeyPair,
    };

    use super::super::authorities::Authorities;
    use super::*;

    struct Ca(CertificateParams, Arc<KeyPair>);

    impl Ca {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name = Default::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.use_authority_key_identifier_extension = true;
            params.key_identifier_method = KeyIdMethod::Sha256;
            Ca(params, Arc::new(KeyPair::generate().unwrap()))
        }

        fn below(&self, issuer: &Ca) -> CertificateDer<'static> {
            let signer = Issuer::from_params(&issuer.0, &*issuer.1);
            let certificate: Certificate = self.0.signed_by(&*self.1, &signer).unwrap();
            certificate.der().clone()
        }

        fn trusted(&self) -> Authorities {
            let pem = self.0.self_signed(&*self.1).unwrap().pem();
            Authorities::from_pem(pem.as_bytes()).unwrap().0
        }
    }

    fn chosen(
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        trusted: &Authorities,
    ) -> (Vec<Vec<u8>>, bool) {
        let presented = PresentedChain::new(own, above);
        let candidates = Candidates::new(&presented, trusted.anchors(), SystemTime::now());
        let certificates = candidates.certificates.iter();
        let certificates = certificates.map(|der| der.to_vec()).collect();
        (certificates, candidates.is_cut)
    }

    #[test]
    fn certificates_that_no_name_leads_to_are_left_out() {
        let [root, line, other] = ["Root", "Line", "Other"].map(Ca::new);
        let own = Ca::new("own").below(&line);
        let (line, other) = (line.below(&root), other.below(&root));
        let damaged = CertificateDer::from(vec![0x30, 0x80]);
        let above = [other, damaged, own.clone(), line.clone(), line.clone()];
        let kept = chosen(&own, &above, &root.trusted());
        assert_eq!(kept, (vec![line.to_vec()], false));
    }

    #[test]
    fn of_many_namesakes_those_with_the_right_key_identifier_and_issuer_are_kept() {
        let [root, stranger] = ["Root", "Stranger"].map(Ca::new);
        let lines = [(); 8].map(|()| Ca::new("Line"));
        for at in 0..8 {
            let own = Ca::new("own").below(&lines[at]);
            let mut above: Vec<_> = lines.iter().map(|line| line.below(&root)).collect();
            let (kept, is_cut) = chosen(&own, &above, &root.trusted());
            assert_eq!((kept.len(), is_cut), (MAX_OF_NAME, true));
            assert_eq!(kept[0], above[at].to_vec());
            // Nothing was lost if no name leads to a trusted CA.
            above.truncate(3);
            assert!(!chosen(&own, &above, &stranger.trusted()).1);
        }
    }

    #[test]
    fn few_certificates_are_spare_however_many_names_there_are() {
        let root = Ca::new("Root");
        let names = ["A", "B", "C", "D"].map(|name| [Ca::new(name), Ca::new(name)]);
        let own = Ca::new("own").below(&names[0][0]);
        let issuer = |at: usize| names.get(at + 1).map_or(&root, |[first, _]| first);
        let levels = names.iter().enumerate();
        let above: Vec<_> = levels
            .flat_map(|(at, cas)| cas.each_ref().map(|ca| ca.below(issuer(at))))
            .collect();
        let (kept, is_cut) = chosen(&own, &above, &root.trusted());
        assert_eq!((kept.len(), is_cut), (4 + MAX_SPARE, true));
        // The certificates whose keys did sign are among the chosen ones.
        for level in above.chunks(2) {
            assert!(kept.contains(&level[0].to_vec()));
        }
    }

    #[test]
    fn no_more_than_there_may_be_are_looked_at() {
        let [root, line] = ["Root", "Line"].map(Ca::new);
        let own = Ca::new("own").below(&line);
        for (count, are_too_many) in [(MAX_ABOVE, false), (MAX_ABOVE + 1, true)] {
            let above = vec![line.below(&root); count];
            let presented = PresentedChain::new(&own, &above);
            let trusted = root.trusted();
            let candidates = Candidates::new(&presented, trusted.anchors(), SystemTime::now());
            assert_eq!(candidates.are_too_many, are_too_many);
            assert_eq!(candidates.certificates.is_empty(), are_too_many);
        }
    }
}
