//! Certificates: how they are read, verified and described.

pub(crate) mod certificate;
pub(crate) mod crl;
pub(crate) mod describe;
pub(crate) mod facts;
pub(crate) mod keys;
pub(crate) mod path;
pub(crate) mod pem;
pub(crate) mod schemes;
pub(crate) mod warning;

pub use warning::TlsWarning;
