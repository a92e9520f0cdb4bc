//! Any bytes, as certificates, keys and lists of revoked certificates. `fuzz/` runs this too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tlsink::Tls;
use tlsink::tls::{ClientVerifier, Identity, TlsError};

/// A self-signed CA certificate and its key, both made for this test.
const FIXED: &[u8] = include_bytes!("fixed.pem");

/// Parses text as PEM, and everything else as DER of each kind.
pub fn check(bytes: &[u8]) {
    if bytes.windows(10).any(|part| part == b"-----BEGIN") {
        serve(bytes, bytes);
        serve(FIXED, bytes);
        serve(bytes, FIXED);
        verify_by(bytes);
        said(&revoke(bytes));
        return;
    }
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        serve(FIXED, &pem(kind, bytes));
    }
    let trusted = pem("TRUSTED CERTIFICATE", bytes);
    serve(&trusted, FIXED);
    verify_by(&trusted);
    let certificate = pem("CERTIFICATE", bytes);
    serve(&certificate, FIXED);
    serve(&[&certificate, FIXED].concat(), FIXED);
    serve(&[FIXED, &certificate].concat(), FIXED);
    verify_by(&certificate);
    let from_pem = revoke(&pem("X509 CRL", bytes));
    said(&from_pem);
    // ASCII and UTF-16 are text, in which an error names a line. DER has no lines.
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if !bytes.is_ascii() && !is_utf16 {
        let from_der = words(&revoke(bytes));
        assert_eq!(
            from_der.map(|words| format!("line 1: {words}")),
            words(&from_pem)
        );
    }
}

/// A loaded certificate can be presented.
fn serve(certificates: &[u8], key: &[u8]) {
    let identity = Identity::from_pem(certificates, key);
    said(&identity);
    if let Ok(identity) = identity {
        present(identity, None);
    }
}

/// Loaded CAs can verify senders.
fn verify_by(pem: &[u8]) {
    let clients = ClientVerifier::from_ca_pem(pem);
    said(&clients);
    if let Ok(clients) = clients {
        // The same text may hold CRLs, too.
        let clients = clients.clone().crl(pem).unwrap_or(clients);
        present(fixed(), Some(clients));
    }
}

/// The result of loading a CRL beside a CA.
fn revoke(pem_or_der: &[u8]) -> Result<ClientVerifier, TlsError> {
    let clients = ClientVerifier::from_ca_pem(FIXED).expect("it is a CA's");
    let clients = clients.crl(pem_or_der);
    if let Ok(clients) = &clients {
        present(fixed(), Some(clients.clone()));
    }
    clients
}

fn present(identity: Identity, clients: Option<ClientVerifier>) {
    let mut builder = Tls::builder().identity(identity);
    if let Some(clients) = clients {
        builder = builder.client_verifier(clients);
    }
    let tls = builder.build().expect("what was loaded can be used");
    for warning in tls.warnings() {
        assert!(!warning.to_string().is_empty());
    }
}

/// An error describes the fault, on one line.
fn said<T>(result: &Result<T, TlsError>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            !text.is_empty() && !text.contains(char::is_control),
            "{text:?}"
        );
    }
}

fn words<T>(result: &Result<T, TlsError>) -> Option<String> {
    result.as_ref().err().map(TlsError::to_string)
}

fn fixed() -> Identity {
    Identity::from_pem(FIXED, FIXED).expect("certificate and key belong together")
}

fn pem(kind: &str, der: &[u8]) -> Vec<u8> {
    let base64 = STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    use super::{FIXED, check};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_can_be_used_as_certificates_or_are_refused_with_a_reason(bytes: Vec<u8>) {
            check(&bytes);
        }

        #[test]
        fn damaged_certificates_and_keys_can_be_used_or_are_refused_with_a_reason(
            good in select(good()),
            at: Index,
            change in prop_oneof![
                (1_u8..).prop_map(Change::Flip),
                (0..40_usize).prop_map(Change::Remove),
                any::<[u8; 3]>().prop_map(Change::Insert),
            ],
        ) {
            let mut bytes = good;
            let at = at.index(bytes.len());
            match change {
                Change::Flip(bits) => bytes[at] ^= bits,
                Change::Remove(count) => drop(bytes.drain(at..bytes.len().min(at + count))),
                Change::Insert(more) => drop(bytes.splice(at..at, more)),
            }
            check(&bytes);
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Flip(u8),
        Remove(usize),
        Insert([u8; 3]),
    }

    /// Checks the bytes as text, and as DER.
    fn good() -> Vec<Vec<u8>> {
        let key = PrivateKeyDer::from_pem_slice(FIXED).unwrap();
        let certificate = CertificateDer::from_pem_slice(FIXED).unwrap();
        vec![
            FIXED.to_vec(),
            certificate.to_vec(),
            key.secret_der().to_vec(),
        ]
    }
}
