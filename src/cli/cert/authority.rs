//! The CA: its own certificate, and those that it signs.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints as CaConstraints, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::super::certificate::{CertificateAndKey, params};
use super::client_name::ClientName;

/// A CA that signs certificates, with the properties that these refer to.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    /// The current time, since 1970. Certificates begin then, less the skew of clocks.
    now: Duration,
    /// The last moment of its own certificate, since 1970.
    end: Duration,
    /// Its subject, if another program made it: rcgen writes names by its own rules.
    subject: Option<Name>,
}

impl Authority {
    /// Makes an ECDSA P-256 key.
    ///
    /// # Errors
    ///
    /// With a text for the user, when the system has no randomness or no usable clock.
    pub(super) fn new() -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let now = since_1970()?;
        Ok(Authority {
            params: ca_params(now, &key),
            key,
            now,
            end: now + DAY * CA_DAYS,
            subject: None,
        })
    }

    /// Takes the certificate of this key from a PEM text. The caller has checked both files, and
    /// that they match.
    ///
    /// # Errors
    ///
    /// With a text for the user, when the CA can't sign usable certificates.
    pub(super) fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .ok()
            .and_then(|key| KeyPair::try_from(&key).ok())
            .ok_or("the key is not in PKCS#8")?;
        let public = key.subject_public_key_info();
        let certificate = CertificateDer::pem_slice_iter(certificates)
            .filter_map(|der| x509_cert::Certificate::from_der(&der.ok()?).ok())
            .map(|certificate| certificate.tbs_certificate().clone())
            .find(|certificate| {
                let own = certificate.subject_public_key_info().to_der();
                own.is_ok_and(|own| own == public)
            })
            .ok_or("the certificate can't be read")?;
        let constraints = certificate.get_extension::<CaConstraints>();
        if !matches!(constraints, Ok(Some((_, CaConstraints { ca: true, .. })))) {
            return Err("the certificate is no CA's".to_owned());
        }
        let usage = certificate.get_extension::<x509_cert::ext::pkix::KeyUsage>();
        if usage.is_ok_and(|usage| usage.is_some_and(|(_, usage)| !usage.key_cert_sign())) {
            return Err("the certificate may not sign others: its key usage says so".to_owned());
        }
        let now = since_1970()?;
        let end = certificate.validity().not_after.to_unix_duration();
        if end <= now {
            return Err("the certificate has expired".to_owned());
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(certificate.subject());
        if let Ok(Some((_, id))) = certificate.get_extension::<SubjectKeyIdentifier>() {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.0.as_bytes().to_vec());
        }
        Ok(Authority {
            params,
            key,
            now,
            end,
            subject: Some(certificate.subject().clone()),
        })
    }

    /// Its own, self-signed certificate, and its key.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(super) fn into_own(self) -> Result<CertificateAndKey, String> {
        let certificate = self.params.self_signed(&self.key);
        Ok(CertificateAndKey {
            certificate: certificate.map_err(|error| error.to_string())?,
            key: self.key,
        })
    }

    /// Makes an ECDSA P-256 key and a certificate for a server of these names.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(super) fn server(&self, names: Vec<SanType>) -> Result<CertificateAndKey, String> {
        let params = params("tlsink server", names);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes an ECDSA P-256 key and a certificate for a client.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(super) fn client(&self, name: ClientName) -> Result<CertificateAndKey, String> {
        let params = params(&name.common, name.alternative.into_iter().collect());
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The serial number is rcgen's: a hash of the key, which is as random as the key.
    fn sign(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<CertificateAndKey, String> {
        // Explicit, as rcgen then adds the subject's key identifier too.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let end = (self.now + DAY * LEAF_DAYS).min(self.end);
        let params = valid(params, self.now, end);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = CertificateAndKey::new(|key| params.signed_by(key, &issuer))
            .map_err(|error| error.to_string())?;
        let is_by = |subject| {
            x509_cert::Certificate::from_der(made.certificate.der())
                .is_ok_and(|made| made.tbs_certificate().issuer() == subject)
        };
        match self.subject.as_ref().is_none_or(is_by) {
            true => Ok(made),
            false => Err("the name of the CA is of a kind that is not supported".to_owned()),
        }
    }
}

fn since_1970() -> Result<Duration, String> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| "the clock is before 1970".to_owned())
}

/// Converts a subject for rcgen, without the attributes that it does not support.
fn distinguished_name(subject: &Name) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for attribute in subject.iter() {
        let Ok(text) = std::str::from_utf8(attribute.value.value()) else {
            continue;
        };
        let value = match attribute.value.tag() {
            Tag::Utf8String => Some(DnValue::Utf8String(text.to_owned())),
            Tag::PrintableString => text.try_into().ok().map(DnValue::PrintableString),
            Tag::Ia5String => text.try_into().ok().map(DnValue::Ia5String),
            _ => None,
        };
        let kind = attribute.oid.arcs().map(u64::from).collect();
        if let Some(value) = value {
            name.push(DnType::CustomDnType(kind), value);
        }
    }
    name
}

/// The tolerance for a peer whose clock is slow.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// Ten years: each new CA has to be given to all who trust it.
const CA_DAYS: u32 = 3650;

/// The longest lifetime that Apple's systems accept, for any issuer.
const LEAF_DAYS: u32 = 825;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ca_params(now: Duration, key: &KeyPair) -> CertificateParams {
    // If two CAs had the same name, verifiers would try the wrong key. A part of the key identifier
    // makes the name unique.
    let id = CertificateParams::default().key_identifier(key);
    let mut name = "tlsink CA ".to_owned();
    for byte in id.iter().take(4) {
        let _ = write!(name, "{byte:02x}");
    }
    let mut params = params(&name, Vec::new());
    // It signs for servers and clients, not for further CAs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(params, now, now + DAY * CA_DAYS)
}

/// Sets the validity from `now` to `end`, both since 1970, with a tolerance for clocks that are
/// wrong.
fn valid(mut params: CertificateParams, now: Duration, end: Duration) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + end;
    params
}
