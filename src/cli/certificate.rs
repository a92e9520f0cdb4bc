//! Certificates made in memory, and what to call one.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::DnsName;
use tlsink::{Fingerprint, Identity};

/// A certificate that signs itself, made for this run.
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
        let own = Keyed::new(|key| params.self_signed(key)).map_err(|error| error.to_string())?;
        let identity =
            Identity::from_pem(own.certificate_pem().as_bytes(), own.key_pem().as_bytes())
                .map_err(|error| error.to_string())?;
        Ok(SelfSigned {
            identity,
            fingerprint: own.fingerprint(),
        })
    }
}

/// A CA of its own, and what a server and a client need that trust it.
pub(crate) struct Authority {
    pub(crate) ca: Keyed,
    pub(crate) server: Keyed,
    pub(crate) client: Keyed,
}

impl Authority {
    /// Makes three ECDSA P-256 keys and their certificates; the server's is for `names`.
    ///
    /// Their serial numbers are rcgen's: a hash of the key, which is as random as the key.
    ///
    /// # Errors
    ///
    /// With a text for the user, when the system has no randomness or no usable clock.
    pub(crate) fn new(names: Vec<SanType>) -> Result<Self, String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "the clock is before 1970")?;
        Self::at(now, names).map_err(|error| error.to_string())
    }

    fn at(now: Duration, names: Vec<SanType>) -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let ca_params = ca_params(now, &ca_key);
        let issuer = Issuer::from_params(&ca_params, &ca_key);
        let signed = |params: CertificateParams| Keyed::new(|key| params.signed_by(key, &issuer));
        let client_names = vec![SanType::DnsName("client".try_into()?)];
        let server = params("tlsink server", names);
        let client = params("client", client_names);
        let server = signed(leaf(server, now, ExtendedKeyUsagePurpose::ServerAuth))?;
        let client = signed(leaf(client, now, ExtendedKeyUsagePurpose::ClientAuth))?;
        let ca = Keyed {
            certificate: ca_params.self_signed(&ca_key)?,
            key: ca_key,
        };
        Ok(Authority { ca, server, client })
    }
}

/// A certificate and its key.
pub(crate) struct Keyed {
    certificate: Certificate,
    key: KeyPair,
}

impl Keyed {
    /// Makes a key, and has a certificate made for it.
    fn new(
        certify: impl FnOnce(&KeyPair) -> Result<Certificate, rcgen::Error>,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = certify(&key)?;
        Ok(Keyed { certificate, key })
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

/// Takes DNS names, among them such as `*.example.net`, and IP addresses for what a certificate
/// is to hold.
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
        return Err(format!("no client takes a wildcard as wide as {name:?}"));
    }
    let name = name.try_into();
    Ok(SanType::DnsName(
        name.map_err(|error: rcgen::Error| error.to_string())?,
    ))
}

/// How far a peer's clock may be behind the one here.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// Ten years: whoever trusts a CA of their own has to be told of each new one.
const CA_DAYS: u32 = 3650;

/// The longest that Apple's systems take, whoever signed it.
const LEAF_DAYS: u32 = 825;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn ca_params(now: Duration, key: &KeyPair) -> CertificateParams {
    // Two CAs with one name, and verifiers try the wrong one's key: its own key tells them apart.
    let id = CertificateParams::default().key_identifier(key);
    let mut name = "tlsink CA ".to_owned();
    for byte in id.iter().take(4) {
        let _ = write!(name, "{byte:02x}");
    }
    let mut params = params(&name, Vec::new());
    // It signs for servers and clients, not for further CAs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(params, now, CA_DAYS)
}

fn leaf(
    mut params: CertificateParams,
    now: Duration,
    purpose: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    // Said aloud, since rcgen then adds the subject's key identifier too.
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    valid(params, now, LEAF_DAYS)
}

/// Valid for so many days, the first of them begun.
fn valid(mut params: CertificateParams, now: Duration, days: u32) -> CertificateParams {
    let start = date_time_ymd(1970, 1, 1) + now.saturating_sub(CLOCK_SKEW);
    params.not_before = start;
    params.not_after = start + DAY * days;
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
    use super::{SanType, subject_name};

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
}
