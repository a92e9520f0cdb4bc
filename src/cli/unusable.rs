//! Hints about certificates, keys, CAs and CRLs that can't be used.

use std::io;

use tlsink::tls::{CredentialKind, TlsError};

use super::Failure;

/// Makes a failure of an error about a file, with a remedy as its hint.
pub(super) fn unusable(error: TlsError) -> Failure {
    let failure = Failure::misused(error.to_string());
    let mut cause = &error;
    while let TlsError::File { source, .. } = cause {
        cause = source;
    }
    match cause {
        TlsError::EncryptedKey => {
            failure.hint("decrypt it first: openssl pkey -in KEY -out PLAIN-KEY")
        }
        TlsError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            failure.hint("the user who runs tlsink must be allowed to read it")
        }
        TlsError::Read { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
            failure.hint("give a file in it")
        }
        TlsError::Missing {
            kind: CredentialKind::CaCertificate,
        } => failure.hint(
            "give the certificate of the CA that signs the senders' certificates, not one of those",
        ),
        TlsError::Missing {
            kind: CredentialKind::Crl,
        } => failure.hint("give a list of revoked certificates that a CA signed, as PEM or DER"),
        TlsError::Missing { .. } => failure.hint(
            "in PEM files, certificates begin with -----BEGIN CERTIFICATE, and keys with -----BEGIN \
             PRIVATE KEY",
        ),
        TlsError::Pem { .. } => failure.hint(
            "get the file anew if it is damaged; where files were joined, each -----BEGIN and \
             -----END must be a line of its own",
        ),
        TlsError::UnusableKey { .. } => failure.hint(
            "keys are RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, or Ed25519, and not \
             damaged",
        ),
        TlsError::WrongKey => failure
            .hint("--cert and --key must belong together, the server's own certificate first"),
        TlsError::ExposedKeyLog { .. } => {
            failure.hint("restrict it to its owner (chmod 600), or name a new file")
        }
        TlsError::Pattern { .. } => failure
            .hint("give --allow-client a name, an IP address, or *. and a DNS name: *.example.net"),
        _ => failure,
    }
}
