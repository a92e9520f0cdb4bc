//! The names of alerts.

use rustls::AlertDescription;

/// The alert's name in RFC 8446.
pub(super) fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        AlertDescription::Unknown(code) => format!("alert {code}"),
        alert => {
            let mut name = String::new();
            for letter in format!("{alert:?}").chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            name
        }
    }
}
