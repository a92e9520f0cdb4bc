//! The facts of a TLS session that both sides have agreed on.

use std::fmt;

/// The parameters of a connection's TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    pub(crate) cipher_suite: CipherSuite,
    pub(crate) server_name: Option<Box<str>>,
}

impl TlsSession {
    /// The version of TLS.
    pub fn version(&self) -> TlsVersion {
        // TLS 1.3 has suites of its own, which all begin with this byte (RFC 8446, appendix B.4).
        match self.cipher_suite.code() >> 8 {
            0x13 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }
    }

    /// The cipher suite.
    pub fn cipher_suite(&self) -> CipherSuite {
        self.cipher_suite
    }

    /// The name of the server that the sender asked for (SNI; RFC 6066, section 3), if it asked for
    /// one. Nobody verified it: any sender can ask for any name.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

/// A version of TLS, printed as `TLS 1.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        })
    }
}

/// A cipher suite, printed by its name in IANA's registry: `TLS_AES_128_GCM_SHA256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CipherSuite(pub(crate) u16);

impl CipherSuite {
    /// The code of the suite in IANA's registry.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match rustls::CipherSuite::from(self.0) {
            rustls::CipherSuite::Unknown(code) => write!(f, "{code:#06x}"),
            // rustls names the suites of TLS 1.3 TLS13_…, to tell them from others.
            suite => f.write_str(&format!("{suite:?}").replacen("TLS13_", "TLS_", 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_named_as_iana_names_it_and_tells_the_version() {
        for (code, name, version) in [
            (0x1301, "TLS_AES_128_GCM_SHA256", TlsVersion::Tls13),
            (0x1303, "TLS_CHACHA20_POLY1305_SHA256", TlsVersion::Tls13),
            (
                0xc02b,
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                TlsVersion::Tls12,
            ),
            (0xfafa, "0xfafa", TlsVersion::Tls12),
        ] {
            let session = TlsSession {
                cipher_suite: CipherSuite(code),
                server_name: None,
            };
            assert_eq!(session.cipher_suite().to_string(), name);
            assert_eq!(session.version(), version);
        }
    }
}
