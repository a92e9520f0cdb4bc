//! The faults for which a certificate is not accepted.

use super::path::explain::Cause;

/// The fault for which a peer's certificate was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// None of the trusted CAs signed it, as far as can be told.
    UnknownCa,
    /// It, or a CA certificate above it, has expired.
    Expired,
    /// It, or a CA certificate above it, is not valid yet.
    NotValidYet,
    /// It is for other names, or for none that is let in.
    Name,
    /// It is for no host: it has no subjectAltName that could name one (RFC 9525, section 2).
    NoHostName,
    /// It has another fingerprint than the expected one.
    Fingerprint,
    /// It, or a CA certificate above it, is revoked.
    Revoked,
    /// No CRL tells whether it is revoked: one is missing or has expired.
    NoCrl,
    /// The peer does not hold the certificate's key.
    KeyNotHeld,
    /// Its extended key usage is another (RFC 5280, section 4.2.1.12).
    Purpose,
    /// A CA above it may not sign for its names (RFC 5280, section 4.2.1.10).
    NameConstraints,
    /// It, or a CA certificate above it, has a key, a signature or an extension of a kind that is
    /// not supported.
    Unsupported,
    /// It, or a CA certificate above it, is damaged.
    Damaged,
    /// Any other fault.
    Other,
}

impl From<&Cause> for CertificateFault {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::UnknownCa(_)
            | Cause::SelfSigned
            | Cause::OtherKey { .. }
            | Cause::OtherEncoding
            | Cause::CaOwn => CertificateFault::UnknownCa,
            Cause::Expired => CertificateFault::Expired,
            Cause::NotValidYet => CertificateFault::NotValidYet,
            Cause::Purpose => CertificateFault::Purpose,
            Cause::NameConstraints => CertificateFault::NameConstraints,
            Cause::UnsupportedConstraints
            | Cause::Version
            | Cause::Key
            | Cause::Signature
            | Cause::Unsupported => CertificateFault::Unsupported,
            Cause::Damaged => CertificateFault::Damaged,
            Cause::TooMany | Cause::Other => CertificateFault::Other,
        }
    }
}
