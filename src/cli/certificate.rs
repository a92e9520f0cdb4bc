//! Certificates made in memory, and the names in them.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use tlsink::client::Fingerprint;
use tlsink::tls::Identity;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints as CaConstraints, SubjectKeyIdentifier};
use x509_cert::name::Name;

/// A self-signed certificate, made for this run.
pub(crate) struct SelfSigned {
    pub(crate) identity: Identity,
    /// SHA-256 of the certificate (what `openssl x509 -fingerprint -sha256` prints).
    pub(crate) fingerprint: String,
}

impl SelfSigned {
    /// Makes an ECDSA P-256 key and a certificate for `names`: DNS names and IP addresses. It
    /// does not expire, as the program that holds it may run for years.
    ///
    /// # Errors
    ///
    /// With a text for the user, when a name can't be in a certificate.
    pub(crate) fn new(names: &[String]) -> Result<Self, String> {
        let params = params("tlsink", subject_names(names)?);
        let own = CertificateAndKey::new(|key| params.self_signed(key))
            .map_err(|error| error.to_string())?;
        let identity =
            Identity::from_pem(own.certificate_pem().as_bytes(), own.key_pem().as_bytes())
                .map_err(|error| error.to_string())?;
        Ok(SelfSigned {
            identity,
            fingerprint: own.fingerprint(),
        })
    }
}

/// A CA that signs certificates, with the properties that these refer to.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    /// The begin of the certificates that it signs, less the skew of clocks, since 1970.
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
    pub(crate) fn new() -> Result<Self, String> {
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
    pub(crate) fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
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
    pub(crate) fn into_own(self) -> Result<CertificateAndKey, String> {
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
    pub(crate) fn server(&self, names: Vec<SanType>) -> Result<CertificateAndKey, String> {
        let params = params("tlsink server", names);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes an ECDSA P-256 key and a certificate for a client.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(crate) fn client(&self, name: ClientName) -> Result<CertificateAndKey, String> {
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

/// The name of a client: an alternative name, or else a common name alone.
pub(crate) struct ClientName {
    common: String,
    alternative: Option<SanType>,
}

/// RFC 5280, appendix A.1: ub-common-name.
const LONGEST_COMMON_NAME: usize = 64;

impl ClientName {
    /// The client whose certificate is made along with a CA.
    pub(crate) const DEFAULT: &str = "client";

    /// Takes a DNS name, an address, an e-mail address, a URI, or any text of one line.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let is_wildcard = name.contains('*');
        if name.is_empty() || is_wildcard || name.contains(char::is_control) {
            return Err(format!("{name:?} can't be the name of a client"));
        }
        let ia5 = || name.try_into().ok();
        let alternative = match subject_name(name) {
            Ok(name) => Some(name),
            Err(_) if name.contains("://") || name.starts_with("urn:") => ia5().map(SanType::URI),
            Err(_) if name.contains('@') => ia5().map(SanType::Rfc822Name),
            Err(_) => None,
        };
        let fits = name.chars().count() <= LONGEST_COMMON_NAME;
        if alternative.is_none() && !fits {
            return Err(format!(
                "{name:?} is too long: a name of no special form has at most \
                 {LONGEST_COMMON_NAME} characters"
            ));
        }
        Ok(ClientName {
            common: if fits { name } else { "tlsink client" }.to_owned(),
            alternative,
        })
    }
}

/// Whether this looks like a host rather than a folder: `localhost`, an address, or a DNS name with
/// a dot in it, perhaps with a port.
pub(crate) fn looks_like_host(text: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && text.parse::<IpAddr>().is_err() => host,
        _ => text,
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match subject_name(host) {
        Ok(SanType::IpAddress(_)) => true,
        Ok(_) => host.contains('.') || host == "localhost",
        Err(_) => false,
    }
}

/// A certificate and its key.
pub(crate) struct CertificateAndKey {
    certificate: Certificate,
    key: KeyPair,
}

impl CertificateAndKey {
    /// Makes a key, and has a certificate made for it.
    fn new(
        certify: impl FnOnce(&KeyPair) -> Result<Certificate, rcgen::Error>,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = certify(&key)?;
        Ok(CertificateAndKey { certificate, key })
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// PKCS#8 (RFC 5958).
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 of the certificate (what `openssl x509 -fingerprint -sha256` prints).
    pub(crate) fn fingerprint(&self) -> String {
        Fingerprint::of(self.certificate.der()).to_string()
    }
}

/// Parses DNS names, wildcards such as `*.example.net`, and IP addresses as the names of a
/// certificate.
///
/// # Errors
///
/// With a text for the user that names the first one that is neither.
pub(crate) fn subject_names(names: &[String]) -> Result<Vec<SanType>, String> {
    names.iter().map(|name| subject_name(name)).collect()
}

fn subject_name(name: &str) -> Result<SanType, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let suffix = name.strip_prefix("*.");
    let plain = suffix.unwrap_or(name);
    // A name may end in a dot, but not in a certificate (RFC 5280, section 4.2.1.6).
    if DnsName::try_from(plain).is_err() || plain.ends_with('.') {
        return Err(format!("{name:?} is neither a DNS name nor an IP address"));
    }
    if suffix.is_some_and(|suffix| !suffix.contains('.')) {
        return Err(format!("no client accepts a wildcard as wide as {name:?}"));
    }
    let name = name.try_into();
    Ok(SanType::DnsName(
        name.map_err(|error: rcgen::Error| error.to_string())?,
    ))
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

fn params(common_name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params
}

#[cfg(test)]
mod tests {
    use super::{ClientName, SanType, looks_like_host, subject_name};

    #[test]
    fn dns_names_wildcards_and_addresses_are_taken() {
        for name in [
            "localhost",
            "sink.example",
            "*.example.net",
            "_a.b",
            "xn--e1a.example",
        ] {
            let taken = subject_name(name);
            assert!(
                matches!(&taken, Ok(SanType::DnsName(dns)) if dns.as_str() == name),
                "{name}: {taken:?}"
            );
        }
        for name in ["127.0.0.1", "::1", "2001:db8::7"] {
            let taken = subject_name(name);
            let address = name.parse().unwrap();
            assert_eq!(taken, Ok(SanType::IpAddress(address)));
        }
    }

    #[test]
    fn what_no_client_would_match_is_refused_and_named() {
        for name in [
            "",
            ".",
            "a b",
            "a.",
            "*",
            "*.",
            "*.net",
            "a.*.net",
            "**.example.net",
            "*a.example.net",
            "münchen.example",
            "localhost:4433",
            "[::1]",
            "127.0.0.1/8",
            "127.0.0.256",
            "-a",
            "a,b",
            "https://sink.example",
            "\u{fffd}",
            "a\nb",
        ] {
            let refused = subject_name(name).unwrap_err();
            assert!(refused.contains(&format!("{name:?}")), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn a_client_may_be_called_by_anything_that_it_can_be_let_in_by() {
        let long = "x".repeat(60) + ".example";
        for (name, kind) in [
            ("boiler.example", "DnsName"),
            ("boiler", "DnsName"),
            (&long, "DnsName"),
            ("10.0.0.7", "IpAddress"),
            ("::1", "IpAddress"),
            ("a@b.example", "Rfc822Name"),
            ("spiffe://plant/boiler", "URI"),
            ("urn:plant:boiler", "URI"),
            ("Boiler 3", "none"),
            ("Käthe", "none"),
            ("a/b", "none"),
        ] {
            let taken = ClientName::new(name).unwrap();
            let made = taken.alternative.map(|name| format!("{name:?}"));
            let made = made.unwrap_or_else(|| "none".to_owned());
            assert!(made.starts_with(kind), "{name}: {made}");
            let common = if name == long { "tlsink client" } else { name };
            assert_eq!(taken.common, common);
        }
        let too_long = "x ".repeat(33);
        for name in ["", "*", "*.example.net", "a\nb", "\u{1b}[2J", &too_long] {
            assert!(ClientName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_host_is_told_from_a_folder() {
        for host in [
            "logs.example.net",
            "logs.example.net.",
            "logs.example.net:4433",
            "*.example.net",
            "localhost",
            "localhost:4433",
            "10.0.0.7",
            "10.0.0.7:4433",
            "::1",
            "[::1]:4433",
        ] {
            assert!(looks_like_host(host), "{host}");
        }
        for folder in [
            "",
            ".",
            "..",
            "tls",
            "tls/",
            "./logs.example.net",
            "logs.example.net/",
            "/etc/tls.d",
            ".tls",
            "my certificates",
            "~/a.b",
        ] {
            assert!(!looks_like_host(folder), "{folder}");
        }
    }
}
