//! The keys that can be used, and the names of other kinds.

use rustls_pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use webpki::ALL_VERIFICATION_ALGS;

use super::der::{Element, Elements, oid_name};

/// The public keys that *ring* verifies with.
pub(crate) const SUPPORTED: &str =
    "keys can be RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";

/// The signatures of certificates that *ring* verifies.
pub(crate) const SIGNATURES: &str =
    "RSA and ECDSA with SHA-256 or SHA-384, RSA with SHA-512, and Ed25519 are supported";

/// The shortest and the longest modulus of such an RSA key, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// *ring* signs with RSA keys of which both primes are a multiple of 512 bits, up to 4096 bits.
const OWN_RSA_BITS: [usize; 3] = [2048, 3072, 4096];

/// The least public exponent of an RSA key that *ring* signs with: 65537.
const OWN_RSA_EXPONENT: &[u8] = &[1, 0, 1];

/// rsaEncryption (RFC 8017, appendix C).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// id-ecPublicKey (RFC 5480, section 2.1.1).
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// The tag of an OBJECT IDENTIFIER.
const OID: u8 = 6;

/// The tag of the field that names the curve in a SEC1 key (RFC 5915, section 3).
const SEC1_CURVE: u8 = 0xa0;

/// The kind of a public key, if it can't be used. `key` is the content of a SubjectPublicKeyInfo.
pub(crate) fn unsupported(key: &[u8]) -> Option<String> {
    let mut items = Elements(key);
    let (algorithm, bits) = (items.next()?, items.next()?);
    if algorithm.elements().next()?.content == RSA {
        let (_, key) = bits.content.split_first()?;
        let bits = bits_of(Elements(key).next()?.elements().next()?);
        // *ring* counts whole bytes.
        if !RSA_BITS.contains(&bits.next_multiple_of(8)) {
            return Some(format!("RSA of {bits} bits"));
        }
    }
    let is_known = ALL_VERIFICATION_ALGS
        .iter()
        .any(|known| known.public_key_alg_id().as_ref() == algorithm.content);
    (!is_known).then(|| kind(algorithm))
}

/// The kind of a private key, if it can't be used because of that.
pub(crate) fn unsupported_private(key: &PrivateKeyDer<'_>) -> Option<String> {
    let mut items = Elements(key.secret_der()).next()?.elements().skip(1);
    let rsa = match key {
        PrivateKeyDer::Pkcs1(_) => items,
        PrivateKeyDer::Sec1(_) => {
            let curve = items.find(|item| item.tag == SEC1_CURVE)?;
            return Some(curve_of(curve.elements().next()?)).filter(|name| !is_usable_curve(name));
        }
        _ => {
            let algorithm = items.next()?;
            if algorithm.elements().next()?.content != RSA {
                let name = kind(algorithm);
                return Some(name).filter(|name| !is_usable_curve(name) && name != "Ed25519");
            }
            Elements(items.next()?.content).next()?.elements().skip(1)
        }
    };
    let mut rsa = rsa;
    let (bits, exponent) = (bits_of(rsa.next()?), rsa.next()?.content);
    if !OWN_RSA_BITS.contains(&bits) {
        return Some(format!("RSA of {bits} bits"));
    }
    let is_small = (exponent.len(), exponent) < (OWN_RSA_EXPONENT.len(), OWN_RSA_EXPONENT);
    is_small.then(|| "RSA with a public exponent below 65537".to_owned())
}

fn is_usable_curve(name: &str) -> bool {
    ["secp256r1", "secp384r1"].contains(&name)
}

/// The number of bits of a positive number.
fn bits_of(number: Element<'_>) -> usize {
    let zeros = number.content.iter().take_while(|byte| **byte == 0).count();
    let digits = number.content.get(zeros..).unwrap_or_default();
    let unused = digits.first().map_or(0, |first| first.leading_zeros());
    (digits.len() * 8).saturating_sub(unused as usize)
}

/// The name of the kind of key in an AlgorithmIdentifier: that of the curve, if it has one.
fn kind(algorithm: Element<'_>) -> String {
    let mut items = algorithm.elements();
    let oid = items.next().unwrap_or_default().content;
    match items.next() {
        Some(curve) if oid == EC => curve_of(curve),
        _ => oid_name(oid),
    }
}

fn curve_of(curve: Element<'_>) -> String {
    match curve.tag {
        OID => oid_name(curve.content),
        _ => "ECDSA on a curve without a name".to_owned(),
    }
}

/// Whether a key of the kind that this algorithm is for made this signature.
pub(crate) fn verifies(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let mut items = Elements(key);
    let kind = items.next().unwrap_or_default().content;
    // The number of unused bits comes first, and is 0.
    let bits = items.next().unwrap_or_default().content;
    let public = bits.get(1..).unwrap_or_default();
    algorithm.public_key_alg_id().as_ref() == kind
        && algorithm
            .verify_signature(public, message, signature)
            .is_ok()
}
