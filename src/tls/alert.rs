//! Alerts.

use std::fmt;

use rustls::AlertDescription;

/// A TLS alert (RFC 8446, section 6), printed by its name in that RFC: `unknown_ca`.
///
/// ```
/// use tlsink::tls::Alert;
///
/// assert_eq!(Alert::from_code(48).to_string(), "unknown_ca");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(u8);

impl Alert {
    /// The alert with this code (`AlertDescription` in RFC 8446, section 6).
    pub fn from_code(code: u8) -> Self {
        Alert(code)
    }

    /// The code of the alert.
    pub fn code(self) -> u8 {
        self.0
    }

    pub(super) fn of(description: AlertDescription) -> Self {
        Alert(description.get_u8())
    }

    /// The same in the type of rustls.
    pub(super) fn description(self) -> AlertDescription {
        AlertDescription::from(self.0)
    }

    /// The opinion of our certificate that a peer states by this alert, as the predicate of a
    /// sentence; `None` if the alert is not about our certificate.
    pub(crate) fn complaint(self) -> Option<&'static str> {
        match self.description() {
            AlertDescription::UnknownCA => Some("does not trust our certificate"),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => Some("rejects our certificate"),
            _ => None,
        }
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alert({self})")
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description() {
            AlertDescription::UnknownCA => f.write_str("unknown_ca"),
            AlertDescription::UnrecognisedName => f.write_str("unrecognized_name"),
            AlertDescription::Unknown(code) => write!(f, "alert {code}"),
            description => {
                for (at, letter) in format!("{description:?}").char_indices() {
                    if letter.is_ascii_uppercase() && at > 0 {
                        f.write_str("_")?;
                    }
                    write!(f, "{}", letter.to_ascii_lowercase())?;
                }
                Ok(())
            }
        }
    }
}
