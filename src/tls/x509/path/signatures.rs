//! The verification of signatures for one peer, which has proved nothing yet, within a limit.

use std::fmt;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::ALL_VERIFICATION_ALGS;

use crate::tls::x509::certificate::ParsedCertificate;
use crate::tls::x509::der::{Elements, oid_name};
use crate::tls::x509::keys;

/// The most signatures that are verified to find a path, beside one for each trusted CA. The
/// longest path has 7, and a CRL for each. The rest is for CAs that have two keys.
const MAX_SIGNATURES: usize = 20;

/// The most signatures that are verified after that, to name the certificate that has a fault. Two
/// are enough where a peer presents one CA.
const MAX_EXPLAINING: usize = 3;

/// The largest message whose result is kept, in bytes. CRLs can be larger, and a path asks each once.
const MAX_KEPT: usize = 64 * 1024;

/// Verifies signatures for one peer, up to a limit, and each one once: rustls-webpki has limits of
/// its own, but they are high and can't be set.
#[derive(Debug)]
pub(crate) struct SignatureChecker(Mutex<CheckerState>);

#[derive(Debug)]
struct CheckerState {
    left: usize,
    /// Whether a signature was not verified, as too many were before.
    is_exceeded: bool,
    known: Vec<CheckedSignature>,
}

/// A verified signature, and the result. It holds copies, because a buffer at the same address may
/// have other content later.
#[derive(Debug)]
struct CheckedSignature {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    is_valid: bool,
}

impl SignatureChecker {
    /// Checks for a peer that is verified by this number of trusted CAs.
    pub(crate) fn new(anchors: usize) -> Self {
        SignatureChecker(Mutex::new(CheckerState {
            left: MAX_SIGNATURES.saturating_add(anchors),
            is_exceeded: false,
            known: Vec::new(),
        }))
    }

    /// All algorithms, bound to this limit.
    pub(crate) fn algorithms(&self) -> Vec<LimitedAlgorithm<'_>> {
        let limited = |known: &&'static dyn SignatureVerificationAlgorithm| LimitedAlgorithm {
            algorithm: *known,
            signatures: self,
        };
        ALL_VERIFICATION_ALGS.iter().map(limited).collect()
    }

    /// Checks whether this key signed a certificate. `key` is the content of a
    /// SubjectPublicKeyInfo.
    pub(crate) fn check(&self, certificate: &ParsedCertificate<'_>, key: &[u8]) -> SignatureCheck {
        if let Some(kind) = keys::unsupported(key) {
            return SignatureCheck::UnsupportedKey(kind);
        }
        let algorithms = self.algorithms();
        let mut known = algorithms
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == certificate.algorithm)
            .peekable();
        if known.peek().is_none() {
            let oid = Elements(certificate.algorithm).next().unwrap_or_default();
            return SignatureCheck::UnsupportedSignature(oid_name(oid.content));
        }
        let verifies = |known: &LimitedAlgorithm<'_>| {
            keys::verifies(known, key, certificate.signed, certificate.signature)
        };
        match known.any(verifies) {
            true => SignatureCheck::Valid,
            false if self.is_exceeded() => SignatureCheck::NotChecked,
            false => SignatureCheck::Invalid,
        }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.lock().is_exceeded
    }

    /// Sets the limit for explaining a fault: the path was looked for.
    pub(crate) fn begin_explaining(&self) {
        let mut state = self.lock();
        state.left = MAX_EXPLAINING;
        state.is_exceeded = false;
    }

    fn lock(&self) -> MutexGuard<'_, CheckerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of checking whether a key signed a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureCheck {
    Valid,
    /// Another key signed it, or it was changed since.
    Invalid,
    /// The key is of this kind, which is not supported.
    UnsupportedKey(String),
    /// The signature is of this kind, which is not supported.
    UnsupportedSignature(String),
    /// Too many signatures were verified before.
    NotChecked,
}

/// An algorithm that fails when too many signatures were verified.
pub(crate) struct LimitedAlgorithm<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    signatures: &'a SignatureChecker,
}

impl SignatureVerificationAlgorithm for LimitedAlgorithm<'_> {
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let mut state = self.signatures.lock();
        let known = state.known.iter().find(|known| {
            ptr::addr_eq(known.algorithm, self.algorithm)
                && known.signature == signature
                && known.key == key
                && known.message == message
        });
        if let Some(known) = known {
            return known.is_valid.then_some(()).ok_or(InvalidSignature);
        }
        let Some(left) = state.left.checked_sub(1) else {
            state.is_exceeded = true;
            return Err(InvalidSignature);
        };
        state.left = left;
        let result = self.algorithm.verify_signature(key, message, signature);
        if message.len() <= MAX_KEPT {
            state.known.push(CheckedSignature {
                algorithm: self.algorithm,
                key: key.to_vec(),
                message: message.to_vec(),
                signature: signature.to_vec(),
                is_valid: result.is_ok(),
            });
        }
        result
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

impl fmt::Debug for LimitedAlgorithm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Accepts any signature that is not empty, and counts.
    #[derive(Debug)]
    struct Counting(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(
            &self,
            _: &[u8],
            _: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            (!signature.is_empty())
                .then_some(())
                .ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            ALL_VERIFICATION_ALGS[0].public_key_alg_id()
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            ALL_VERIFICATION_ALGS[0].signature_alg_id()
        }
    }

    #[test]
    fn each_signature_is_verified_once_and_few_are() {
        static COUNTING: Counting = Counting(AtomicUsize::new(0));
        let signatures = SignatureChecker::new(1);
        let limited = LimitedAlgorithm {
            algorithm: &COUNTING,
            signatures: &signatures,
        };
        let most = MAX_SIGNATURES + 1;
        for message in 0..=u8::try_from(most).unwrap() {
            let is_over = usize::from(message) >= most;
            for _ in 0..3 {
                let valid = limited.verify_signature(b"key", &[message], b"signature");
                assert_eq!(valid.is_err(), is_over);
            }
            assert_eq!(signatures.is_exceeded(), is_over);
        }
        assert_eq!(COUNTING.0.load(Ordering::Relaxed), most);
        signatures.begin_explaining();
        assert!(!signatures.is_exceeded());
        // A known result does not count. Another key or signature has to be verified.
        assert!(limited.verify_signature(b"key", &[0], b"signature").is_ok());
        assert!(limited.verify_signature(b"key", &[0], b"").is_err());
        assert!(
            limited
                .verify_signature(b"other", &[0], b"signature")
                .is_ok()
        );
        assert_eq!(COUNTING.0.load(Ordering::Relaxed), most + 2);
    }
}
