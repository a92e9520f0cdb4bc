//! The choice among the server's certificates.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::hello;
use crate::tls::identity::Identity;

/// Chooses among the server's certificates by the name that a sender asks for (SNI, RFC 6066,
/// section 3). Every other sender is shown the first one.
pub(super) struct ServerCertificateResolver(pub(super) Vec<Identity>);

impl ResolvesServerCert for ServerCertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello::note_server_name(hello.server_name());
        let wanted = |is: fn(&Identity, &str) -> bool| {
            // A dot at its end makes a name absolute; no certificate has it.
            let name = hello.server_name();
            let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
            move |identity: &&Identity| name.is_some_and(|name| is(identity, name))
        };
        // One name may have certificates with several kinds of key.
        let suits = |identity: &&Identity| identity.suits(&hello);
        let mut all = self.0.iter();
        let chosen = all
            .clone()
            .filter(wanted(Identity::has_name))
            .find(suits)
            .or_else(|| {
                let mut wildcards = all.clone().filter(wanted(Identity::has_wildcard_for));
                wildcards.find(suits)
            })
            .or_else(|| all.clone().find(suits))
            .or_else(|| all.next())?;
        Some(chosen.key())
    }
}
