//! Which of the server's certificates a sender is shown.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::identity::Identity;

/// Chooses among the server's certificates by the name that a sender asks for (SNI, RFC 6066,
/// section 3). The first one is for everyone else.
pub(super) struct ServerCertificateResolver(pub(super) Vec<Identity>);

impl ResolvesServerCert for ServerCertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = |is: fn(&Identity, &str) -> bool| {
            // A dot at its end makes a name absolute, and is in no certificate.
            let name = hello.server_name();
            let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
            move |identity: &&Identity| name.is_some_and(|name| is(identity, name))
        };
        // One name may have certificates with several kinds of key.
        let suits = |identity: &&Identity| identity.suits(&hello);
        let mut all = self.0.iter();
        let chosen = all
            .clone()
            .filter(wanted(Identity::is_named))
            .find(suits)
            .or_else(|| {
                let mut beside = all.clone().filter(wanted(Identity::is_for_all_beside));
                beside.find(suits)
            })
            .or_else(|| all.clone().find(suits))
            .or_else(|| all.next())?;
        Some(chosen.key())
    }
}
