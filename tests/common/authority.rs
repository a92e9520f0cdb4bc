//! CAs, the certificates that they sign, and their revocation lists (CRLs).

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, PrivateKey, SupportedProtocolVersion};

use super::client::builder;

/// A root CA, or an intermediate CA below one.
pub struct Authority {
    params: CertificateParams,
    key: Arc<KeyPair>,
    certificate: Certificate,
    /// The certificates that its senders present beside their own, the nearest CA first.
    above: Vec<Certificate>,
}

/// A certificate, its chain, and its key. Most certificates share one key, because to make a key
/// takes longer than everything else.
#[derive(Clone)]
pub struct Credentials {
    /// The certificates, the own one first.
    pub chain: Vec<rustls::Certificate>,
    /// The same certificates as PEM.
    pub chain_pem: String,
    pub key: Arc<KeyPair>,
    pub serial: SerialNumber,
}

impl Authority {
    /// A root CA of this name.
    pub fn new(name: &str) -> Self {
        Authority::with(name, |_| {})
    }

    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Authority::with_key(name, fresh_key(), change)
    }

    pub fn with_key(
        name: &str,
        key: Arc<KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let params = ca_params(name, change);
        Authority {
            certificate: params.self_signed(&*key).unwrap(),
            params,
            key,
            above: Vec::new(),
        }
    }

    /// An intermediate CA below this one. Its senders present its certificate beside their own.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = fresh_key();
        let params = ca_params(name, change);
        let certificate = params.signed_by(&*key, &self.issuer()).unwrap();
        let mut above = vec![certificate.clone()];
        above.extend_from_slice(&self.above);
        Authority {
            params,
            key,
            certificate,
            above,
        }
    }

    /// A sender's certificate for these names, and for this common name unless that is empty.
    pub fn sender(&self, common_name: &str, names: &[SanType]) -> Credentials {
        self.sender_with(common_name, names, |_| {})
    }

    pub fn sender_with(
        &self,
        common_name: &str,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Credentials {
        self.sign(Arc::clone(&KEY), common_name, names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        })
    }

    /// A server's certificate for these DNS names.
    pub fn server(&self, names: &[&str]) -> Credentials {
        let names: Vec<_> = names.iter().map(|name| dns(name)).collect();
        self.sign(Arc::clone(&KEY), "", &names, |_| {})
    }

    /// A certificate for this key.
    pub fn sign(
        &self,
        key: Arc<KeyPair>,
        common_name: &str,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Credentials {
        let mut params = params(common_name);
        params.subject_alt_names = names.to_vec();
        change(&mut params);
        let serial = params.serial_number.clone().unwrap();
        let certificate = params.signed_by(&*key, &self.issuer()).unwrap();
        let chain = || std::iter::once(&certificate).chain(&self.above);
        Credentials {
            chain: chain()
                .map(|one| rustls::Certificate(one.der().to_vec()))
                .collect(),
            chain_pem: chain().map(Certificate::pem).collect(),
            key,
            serial,
        }
    }

    /// The CA's own certificate and key, as if a sender or server had them.
    pub fn own(&self) -> Credentials {
        Credentials {
            chain: vec![rustls::Certificate(self.der().to_vec())],
            chain_pem: self.pem(),
            key: Arc::clone(&self.key),
            serial: self.serial(),
        }
    }

    /// The CA's certificate as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub fn serial(&self) -> SerialNumber {
        self.params.serial_number.clone().unwrap()
    }

    /// A CRL of these certificates, valid from yesterday on for about a hundred days.
    pub fn crl(&self, revoked: &[&SerialNumber]) -> String {
        self.crl_with(revoked, -1..=100)
    }

    /// A CRL whose validity begins and ends this many days from now.
    pub fn crl_with(&self, revoked: &[&SerialNumber], days: RangeInclusive<i64>) -> String {
        let list = self.list(revoked, since_1970(*days.start())..=since_1970(*days.end()));
        list.pem().unwrap()
    }

    /// A CRL whose validity begins and ends at these times since 1970.
    pub fn list(
        &self,
        revoked: &[&SerialNumber],
        times: RangeInclusive<Duration>,
    ) -> CertificateRevocationList {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + *times.start(),
            next_update: date_time_ymd(1970, 1, 1) + *times.end(),
            crl_number: next_serial(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap()
    }

    /// An empty CRL as DER, with an additional critical extension, whose OID is 2.5.29 and this
    /// number. Its signature is not valid.
    pub fn odd_list(&self, extension: u8, content: &[u8]) -> Vec<u8> {
        self.altered_list(|tbs| {
            // The extensions are the last item.
            let (before, extensions) = tbs.split_at(der_items(tbs).last().unwrap());
            let extensions = der_content(der_content(extensions));
            let more = [
                &[0x06, 3, 0x55, 0x1d, extension, 0x01, 1, 0xff][..],
                &tagged(0x04, content),
            ];
            let extensions = [extensions, &tagged(0x30, &more.concat())].concat();
            [before, &tagged(0xa0, &tagged(0x30, &extensions))].concat()
        })
    }

    /// A CRL of version 1, which has neither a version nor extensions.
    pub fn old_list(&self) -> Vec<u8> {
        self.altered_list(|tbs| {
            let items: Vec<_> = der_items(tbs).collect();
            tbs[items[1]..items[items.len() - 1]].to_vec()
        })
    }

    /// A CRL without the time of the next one (nextUpdate).
    pub fn list_without_next_update(&self) -> Vec<u8> {
        self.altered_list(|tbs| {
            // The version, the algorithm, the issuer and thisUpdate precede nextUpdate.
            let items: Vec<_> = der_items(tbs).collect();
            [&tbs[..items[4]], &tbs[items[5]..]].concat()
        })
    }

    /// A CRL of version 2 without extensions.
    pub fn list_without_extensions(&self) -> Vec<u8> {
        self.altered_list(|tbs| tbs[..der_items(tbs).last().unwrap()].to_vec())
    }

    /// A CRL whose signed content is altered.
    fn altered_list(&self, alter: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let plain = self.list(&[], since_1970(-1)..=since_1970(100));
        let list = der_content(plain.der());
        // The algorithm and the signature follow the signed content.
        let (tbs, after) = list.split_at(der_len(list));
        let tbs = tagged(0x30, &alter(der_content(tbs)));
        tagged(0x30, &[&tbs, after].concat())
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

impl Credentials {
    /// A client's configuration that accepts any server, and presents this certificate.
    pub fn config(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        builder(version)
            .with_client_auth_cert(self.chain.clone(), self.key())
            .unwrap()
    }

    pub fn key(&self) -> PrivateKey {
        PrivateKey(self.key.serialize_der())
    }

    /// The same certificate, presented without its key.
    pub fn stolen(&self) -> Self {
        Credentials {
            key: fresh_key(),
            ..self.clone()
        }
    }

    /// The own certificate, and the rest of the chain.
    pub fn split_pem(&self) -> (&str, &str) {
        const END: &str = "-----END CERTIFICATE-----\n";
        let end = self.chain_pem.find(END).unwrap() + END.len();
        self.chain_pem.split_at(end)
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn pem(&self) -> String {
        self.chain_pem.clone() + &self.key_pem()
    }
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(ia5(name))
}

pub fn uri(name: &str) -> SanType {
    SanType::URI(ia5(name))
}

pub fn mail(name: &str) -> SanType {
    SanType::Rfc822Name(ia5(name))
}

pub fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

/// Makes the validity of a certificate begin and end this many days from now.
pub fn lasts(params: &mut CertificateParams, days: RangeInclusive<i64>) {
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(*days.start());
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(*days.end());
}

/// Makes the validity of a certificate begin in 2020 and end on 2021-02-03.
pub fn expires(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 2, 3);
}

/// The time this many days from now, counted from 1970.
pub fn since_1970(days: i64) -> Duration {
    const DAY: i64 = 24 * 60 * 60;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    Duration::from_secs(now.checked_add_signed(days * DAY).unwrap())
}

/// Permits a CA to sign only for these DNS names and those below them.
pub fn permits_dns(params: &mut CertificateParams, names: &[&str]) {
    let names = names
        .iter()
        .map(|name| GeneralSubtree::DnsName((*name).to_owned()));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.collect(),
        excluded_subtrees: Vec::new(),
    });
}

/// Forbids a CA to sign for these DNS names and those below them.
pub fn excludes_dns(params: &mut CertificateParams, names: &[&str]) {
    let names = names
        .iter()
        .map(|name| GeneralSubtree::DnsName((*name).to_owned()));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: names.collect(),
    });
}

/// The content of an issuingDistributionPoint (RFC 5280, section 5.2.5) with this onlySomeReasons.
pub fn some_reasons(reasons: &[u8]) -> Vec<u8> {
    tagged(0x30, &tagged(0x83, reasons))
}

/// The last number in the OID of issuingDistributionPoint.
pub const DISTRIBUTION_POINT: u8 = 28;

/// The tags of the two kinds of subtrees in name constraints (RFC 5280, section 4.2.1.10).
#[derive(Clone, Copy, Debug)]
pub enum Subtree {
    Permitted = 0xa0,
    Excluded = 0xa1,
}

/// Adds a name constraint on the hosts of URIs.
pub fn constrains_uris(params: &mut CertificateParams, side: Subtree, host: &str) {
    let subtree = tagged(0x30, &tagged(0x86, host.as_bytes()));
    let content = tagged(0x30, &tagged(side as u8, &subtree));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

/// An item of DER, whose length is encoded in as few bytes as possible.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let [high, low] = len.to_be_bytes();
    let head = match len {
        ..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        256.. => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

/// The content of the first item of DER.
fn der_content(der: &[u8]) -> &[u8] {
    let (at, len) = match der[1] {
        len @ ..=127 => (2, len.into()),
        0x81 => (3, der[2].into()),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        more => panic!("{more:x} is not expected"),
    };
    &der[at..at + len]
}

/// The length of the first item of DER.
fn der_len(der: &[u8]) -> usize {
    let content = der_content(der);
    content.as_ptr() as usize - der.as_ptr() as usize + content.len()
}

/// The offsets at which items of DER begin.
fn der_items(der: &[u8]) -> impl Iterator<Item = usize> {
    let next = |at: usize| (at < der.len()).then_some(at);
    std::iter::successors(next(0), move |at| next(at + der_len(&der[*at..])))
}

static KEY: LazyLock<Arc<KeyPair>> = LazyLock::new(fresh_key);

fn fresh_key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate().unwrap())
}

/// A new serial number. rcgen would derive it from the key, which most certificates share.
fn next_serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}

fn ca_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(next_serial());
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
    }
    lasts(&mut params, -1..=100);
    params
}
