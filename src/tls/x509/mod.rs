//! Certificates and CRLs: they are parsed, verified and described here, for either side.

pub(super) mod certificate;
pub(super) mod crl_store;
pub(super) mod describe;
pub(super) mod fault;
pub(super) mod keys;
pub(super) mod names;
pub(super) mod path;
pub(super) mod pem;
pub(super) mod schemes;
pub(super) mod warning;

mod crl;
mod der;
mod distinguished_name;

pub use fault::CertificateFault;
pub use warning::{Expiration, TlsWarning};
