//! Certificates, keys, CAs and CRLs, which can be reloaded.

use std::net::IpAddr;
use std::path::Path;

use tlsink::Tls;
use tlsink::tls::{ClientVerifier, Identity, TlsError};

use super::super::Failure;
use super::super::address::LOCAL_NAMES;
use super::super::args::{self, CertificateSource};
use super::super::certificate::SelfSigned;
use super::super::unusable::unusable;

/// The sources of the certificates, keys, CAs and CRLs.
pub(crate) struct Credentials {
    args: args::TlsArgs,
    identities: Identities,
}

enum Identities {
    Files,
    /// Created for this run.
    Fresh(SelfSigned),
}

impl Credentials {
    /// Creates a certificate, if none is given, for a server that listens on `addresses`.
    ///
    /// # Errors
    ///
    /// When an exposed address needs a certificate, or when none can be made for the names.
    pub(crate) fn new(
        args: args::TlsArgs,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, Failure> {
        let exposed = addresses.into_iter().find(|address| !address.is_loopback());
        let identities = match (&args.certificate, exposed) {
            (CertificateSource::Files(_), _) => Identities::Files,
            (CertificateSource::SelfSigned(names), _) => Identities::Fresh(SelfSigned::new(names)?),
            (CertificateSource::Loopback, None) => {
                Identities::Fresh(SelfSigned::new(&LOCAL_NAMES.map(str::to_owned))?)
            }
            (CertificateSource::Loopback, Some(address)) => {
                return Err(Failure::misused(format!(
                    "{address} is not a loopback address, so it needs a certificate"
                ))
                .hint("give --cert and --key, or --self-signed with the names senders will use"));
            }
        };
        Ok(Credentials { args, identities })
    }

    /// The fingerprint of a certificate that was created for this run.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        match &self.identities {
            Identities::Files => None,
            Identities::Fresh(fresh) => Some(fresh.fingerprint()),
        }
    }

    /// The files that are read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = match &self.args.certificate {
            CertificateSource::Files(pairs) => pairs.as_slice(),
            CertificateSource::SelfSigned(_) | CertificateSource::Loopback => &[],
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
            (Identities::Fresh(fresh), _) => tls = tls.identity(fresh.identity().clone()),
            (Identities::Files, CertificateSource::Files(pairs)) => {
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
