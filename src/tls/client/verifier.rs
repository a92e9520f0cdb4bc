//! The verification of servers, by a CA that signed their certificates, or by the certificate
//! itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use std::{env, fs};

use rustls::client::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{Certificate, CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName};
use webpki::{Error, KeyUsage};

use super::fingerprint::Fingerprint;
use crate::tls::error::TlsError;
use crate::tls::x509::certificate::{ParsedCertificate, der};
use crate::tls::x509::describe::{QUOTED, quoted};
use crate::tls::x509::fault::CertificateFault;
use crate::tls::x509::path::authorities::Authorities;
use crate::tls::x509::path::candidates::Candidates;
use crate::tls::x509::path::explain::{Cause, Explainer, Finding, Text};
use crate::tls::x509::path::presented::PresentedChain;
use crate::tls::x509::path::revocation::RevocationFault;
use crate::tls::x509::{keys, pem, schemes};

/// Verifies a server's certificate.
///
/// Paths, name constraints, dates and names are checked as RFC 5280 and RFC 6125 say. A CA's own
/// certificate is trusted whatever its dates.
#[derive(Clone, Debug)]
pub struct ServerVerifier(VerifyPolicy);

#[derive(Clone, Debug)]
enum VerifyPolicy {
    Authorities(Authorities),
    Certificate(Fingerprint),
    Anyone,
}

impl ServerVerifier {
    /// Verifies the server by the CAs that this system trusts, or by those that the environment
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoRoots`] when none are found, and [`TlsError::File`] when `SSL_CERT_FILE` is not
    /// valid PEM. Other certificates that can't be read are passed over.
    ///
    /// # Blocking
    ///
    /// Reads many files.
    pub fn from_system() -> Result<Self, TlsError> {
        if let Some(path) = env::var_os("SSL_CERT_FILE").map(PathBuf::from)
            && let Ok(text) = fs::read(&path)
            && let Err(error @ TlsError::Pem { .. }) = pem::certificates(&text)
        {
            return Err(error.in_file(&path));
        }
        let found = rustls_native_certs::load_native_certs();
        match Authorities::from_roots(&found.certs) {
            Some(authorities) => Ok(ServerVerifier(VerifyPolicy::Authorities(authorities))),
            None => Err(TlsError::NoRoots {
                reason: found.errors.first().map(ToString::to_string),
            }),
        }
    }

    /// Verifies the server by the CAs in this file; see [`from_ca_pem`](Self::from_ca_pem).
    ///
    /// # Errors
    ///
    /// When the file can't be read, and for the same reasons as there.
    ///
    /// # Blocking
    ///
    /// Reads a file.
    pub fn from_ca_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        Self::from_ca_pem(&pem::read(path)?).map_err(|error| error.in_file(path))
    }

    /// Verifies the server by the CA certificates in this PEM text (RFC 7468). A self-signed
    /// certificate that is no CA's is trusted too, but for itself alone: only the server that holds
    /// it passes. If there are CRLs in the text, each CA above the server must have one that its
    /// own key signed and that has not expired. Keys, and other certificates of servers and
    /// clients, are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, holds a block of an unknown kind, a CA certificate or a CRL
    /// that can't be used, or no certificate of a CA.
    pub fn from_ca_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let (authorities, _) = Authorities::from_pem(pem)?;
        Ok(ServerVerifier(VerifyPolicy::Authorities(authorities)))
    }

    /// Accepts the one certificate with this fingerprint, whatever else it says: it may have
    /// expired, be for other names, and be signed by anyone.
    pub fn from_fingerprint(fingerprint: Fingerprint) -> Self {
        ServerVerifier(VerifyPolicy::Certificate(fingerprint))
    }

    /// Accepts any certificate: an attacker who can redirect the connection can read the stream,
    /// and nobody would notice.
    pub fn anyone() -> Self {
        ServerVerifier(VerifyPolicy::Anyone)
    }

    fn verify(
        &self,
        name: &ServerName<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), UntrustedCertificate> {
        let untrusted = |fault, reason, error| UntrustedCertificate {
            fault,
            reason,
            fingerprint: Fingerprint::of(end_entity),
            error,
        };
        let presented = PresentedChain::new(end_entity, intermediates);
        let own = presented.own();
        // No server can prove to hold such a key, whatever the certificate is trusted by.
        if let Some(kind) = own.and_then(|own| keys::unsupported(own.key)) {
            return Err(untrusted(
                CertificateFault::Unsupported,
                format!(
                    "has a key that is not supported, {kind}; {}",
                    keys::SUPPORTED
                ),
                CertificateError::InvalidPurpose,
            ));
        }
        let authorities = match &self.0 {
            VerifyPolicy::Anyone => return Ok(()),
            VerifyPolicy::Certificate(wanted) => {
                let fingerprint = Fingerprint::of(end_entity);
                return match fingerprint == *wanted {
                    true => Ok(()),
                    false => Err(untrusted(
                        CertificateFault::Fingerprint,
                        format!("is another one; its sha256 is {fingerprint}"),
                        CertificateError::ApplicationVerificationFailure,
                    )),
                };
            }
            VerifyPolicy::Authorities(authorities) => authorities,
        };
        let usage = KeyUsage::server_auth();
        let candidates = Candidates::new(&presented, authorities.anchors(), now);
        let explained = |error: Error| {
            let explainer = Explainer::new(&presented, &candidates, authorities, now, usage);
            let Finding { cause, text } = explainer.explain(&error);
            let what = match (&cause, text) {
                (Cause::UnknownCa(ca), _) if explainer.is_alone() => {
                    format!("is from an unknown CA, {ca}")
                }
                (Cause::UnknownCa(ca), _) => format!("is below an unknown CA, {ca}"),
                (Cause::NameConstraints, _) => {
                    "has names for which a CA above it may not sign".to_owned()
                }
                (_, Text::Own(text)) => text,
                (_, Text::Sentence(sentence)) => format!("can't be verified: {sentence}"),
            };
            let more = match cause {
                Cause::Purpose => ": its extended key usage lacks serverAuth",
                _ => "",
            };
            untrusted((&cause).into(), what + more, cause.error(error))
        };
        let own = presented.supported_own().map_err(explained)?;
        authorities
            .verify(own, &candidates, now, usage)
            .map_err(|no_path| {
                let all = authorities.crls().all();
                match RevocationFault::new(&no_path, &presented, &all) {
                    Some(found) => {
                        let reason = format!("can't be trusted: {}", found.reason);
                        untrusted(found.fault, reason, found.error)
                    }
                    None => explained(no_path.error),
                }
            })?;
        own.check_host(name).map_err(|error| match error {
            Error::CertNotValidForName(_) => {
                let (fault, what) = not_for(&name.to_str(), own);
                untrusted(fault, what, CertificateError::NotValidForName)
            }
            error => explained(error),
        })
    }
}

/// A server's certificate that was not accepted.
#[derive(Clone, Debug)]
pub(super) struct UntrustedCertificate {
    pub(super) fault: CertificateFault,
    /// The fault, as the end of a sentence on the certificate.
    pub(super) reason: String,
    pub(super) fingerprint: Fingerprint,
    /// The error by which rustls chooses the alert for the server.
    error: CertificateError,
}

/// Describes a certificate that is not for this name. It may look as if it were: then no other name
/// helps.
fn not_for(name: &str, certificate: &ParsedCertificate<'_>) -> (CertificateFault, String) {
    let is_not_for = format!("is not for {}", quoted(name));
    if certificate.has_as_dns_name(name) {
        let what = format!("{is_not_for}, which it has as a DNS name in place of an IP address");
        return (CertificateFault::NoHostName, what);
    }
    match certificate.subject.common_name() {
        Some(common_name) if certificate.host_names().is_empty() => {
            let common_name = quoted(&common_name);
            let what = format!(
                "{is_not_for}: it has no subjectAltName for a host, and its common name, \
                 {common_name}, does not count"
            );
            (CertificateFault::NoHostName, what)
        }
        _ => (
            CertificateFault::Name,
            format!("{is_not_for}{}", others(certificate)),
        ),
    }
}

/// Lists the names that the certificate is for.
fn others(certificate: &ParsedCertificate<'_>) -> String {
    let names = certificate.host_names();
    let shown: Vec<_> = names
        .iter()
        .take(QUOTED.0)
        .map(|name| quoted(name))
        .collect();
    match names.len() {
        0 => ", nor for any other host".to_owned(),
        count if count > QUOTED.0 => format!(", but for {} and more", shown.join(", ")),
        _ => format!(", but for {}", shown.join(", ")),
    }
}

/// The verifier of one connection. It keeps the reason why a certificate was not accepted:
/// async-tls hides the session, and rustls has no text for people.
pub(super) struct RecordingServerVerifier {
    pub(super) verifier: Arc<ServerVerifier>,
    pub(super) name: ServerName<'static>,
    pub(super) refused: Mutex<Option<UntrustedCertificate>>,
}

impl RecordingServerVerifier {
    pub(super) fn refusal(&self) -> Option<UntrustedCertificate> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ServerCertVerifier for RecordingServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &Certificate,
        intermediates: &[Certificate],
        // This is the same name, in the type of rustls 0.21.
        _: &rustls::ServerName,
        _: &mut dyn Iterator<Item = &[u8]>,
        _: &[u8],
        now: SystemTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let intermediates: Vec<_> = intermediates.iter().map(der).collect();
        self.verifier
            .verify(&self.name, &der(end_entity), &intermediates, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|refusal| {
                let error = refusal.error.clone();
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                error.into()
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &Certificate,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        schemes::verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &Certificate,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        schemes::verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes::supported()
    }

    /// SCTs are not verified here.
    fn request_scts(&self) -> bool {
        false
    }
}
