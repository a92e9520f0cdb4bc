//! What TLS is made of: certificates, keys, CAs, CRLs. It can be loaded again.

use std::io;
use std::path::Path;

use tlsink::{ClientVerifier, Identity, Tls, TlsError};

use super::Failure;
use super::accept::Listener;
use super::args::{self, Certificate, LOCAL_NAMES};
use super::certificate::SelfSigned;

/// Where everything comes from.
pub(crate) struct Material {
    args: args::Tls,
    identities: Identities,
}

enum Identities {
    Files,
    /// Made for this run.
    Fresh(SelfSigned),
}

impl Material {
    /// Makes the certificate, if none is given.
    ///
    /// # Errors
    ///
    /// When there has to be one, or none can be made for these names.
    pub(crate) fn new(args: args::Tls, listeners: &[Listener]) -> Result<Self, Failure> {
        let exposed = listeners
            .iter()
            .find(|listener| !listener.address.ip().is_loopback());
        let identities = match (&args.certificate, exposed) {
            (Certificate::Files(_), _) => Identities::Files,
            (Certificate::SelfSigned(names), _) => Identities::Fresh(self_signed(names)?),
            (Certificate::Loopback, None) => {
                Identities::Fresh(self_signed(&LOCAL_NAMES.map(str::to_owned))?)
            }
            (Certificate::Loopback, Some(listener)) => {
                return Err(Failure::misused(format!(
                    "{} is not a loopback address, so it needs a certificate",
                    listener.address.ip()
                ))
                .hint("give --cert and --key, or --self-signed with the names senders will use"));
            }
        };
        Ok(Material { args, identities })
    }

    /// The fingerprint of a certificate that was made for this run.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        match &self.identities {
            Identities::Files => None,
            Identities::Fresh(fresh) => Some(&fresh.fingerprint),
        }
    }

    /// The files that it is read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = match &self.args.certificate {
            Certificate::Files(pairs) => pairs.as_slice(),
            Certificate::SelfSigned(_) | Certificate::Loopback => &[],
        };
        let pairs = pairs.iter().flat_map(|(chain, key)| [chain, key]);
        let clients = self.args.clients.iter();
        let clients = clients.flat_map(|clients| clients.crls.iter().chain([&clients.ca]));
        pairs.chain(clients).map(AsRef::as_ref)
    }

    /// Reads all files.
    ///
    /// # Errors
    ///
    /// With the first file that can't be used.
    pub(crate) fn load(&self) -> Result<Tls, Failure> {
        self.tls().map_err(unusable)
    }

    fn tls(&self) -> Result<Tls, TlsError> {
        let mut tls = Tls::builder()
            .min_version(self.args.min)
            .key_log(self.args.key_log);
        match (&self.identities, &self.args.certificate) {
            (Identities::Fresh(fresh), _) => tls = tls.identity(fresh.identity.clone()),
            (Identities::Files, Certificate::Files(pairs)) => {
                for (chain, key) in pairs {
                    tls = tls.identity(Identity::from_pem_files(chain, key)?);
                }
            }
            (Identities::Files, _) => {}
        }
        if let Some(args) = &self.args.clients {
            let mut clients = ClientVerifier::from_ca_pem_file(&args.ca)?;
            for crl in &args.crls {
                clients = clients.crl_file(crl)?;
            }
            for name in &args.allow {
                clients = clients.allow(name)?;
            }
            if args.optional {
                clients = clients.optional();
            }
            tls = tls.client_verifier(clients);
        }
        tls.build()
    }
}

fn self_signed(names: &[String]) -> Result<SelfSigned, Failure> {
    SelfSigned::new(names).map_err(|error| {
        Failure::misused(format!("can't make a certificate for these names: {error}")).hint(
            "give --self-signed names such as sink.example or *.sink.example, and addresses \
             without port, separated by commas",
        )
    })
}

/// What is to be done about a file that can't be used.
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
        TlsError::Missing {
            what: "CA certificate",
        } => failure.hint("give the certificate of the CA that signs for senders, not theirs"),
        TlsError::Missing { what: "CRL" } => {
            failure.hint("give a list of revoked certificates that a CA signed, as PEM or DER")
        }
        TlsError::Missing { .. } => failure
            .hint("certificates and keys are PEM files, with lines that begin with -----BEGIN"),
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
            failure.hint("let its owner alone use it (chmod 600), or name a file that is not there")
        }
        TlsError::Pattern { .. } => failure
            .hint("give --allow-client a name, an IP address, or *. and a DNS name: *.example.net"),
        _ => failure,
    }
}
