//! Commands that use the files, for the user to try.

use std::path::Path;

/// Commands that use the files; `None` if the directory's name does not fit on a line.
pub(super) fn examples(directory: &Path) -> Option<[String; 2]> {
    let ca = word(directory, "ca.pem")?;
    let [serve] = serving(directory, "server")?;
    Some([
        serve,
        format!(
            "echo hello | gzip | openssl s_client -connect 127.0.0.1:4433 -CAfile {ca} \
             -verify_return_error -quiet -no_ign_eof -nocommands"
        ),
    ])
}

pub(super) fn serving(directory: &Path, name: &str) -> Option<[String; 1]> {
    let certificate = word(directory, &format!("{name}.pem"))?;
    let key = word(directory, &format!("{name}.key"))?;
    Some([format!("tlsink --cert {certificate} --key {key}")])
}

pub(super) fn sending(directory: &Path, name: &str) -> Option<[String; 1]> {
    let ca = word(directory, "ca.pem")?;
    let certificate = word(directory, &format!("{name}.pem"))?;
    let key = word(directory, &format!("{name}.key"))?;
    Some([format!(
        "tlsink send --ca {ca} --cert {certificate} --key {key} localhost:4433"
    )])
}

fn word(directory: &Path, name: &str) -> Option<String> {
    shell_word(directory.join(name).to_str()?)
}

/// Quotes a word for a shell, if it needs that (POSIX, XCU 2.2.2).
fn shell_word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%".contains(c);
    if text.contains(char::is_control) {
        None
    } else if text.chars().all(plain) {
        Some(text.to_owned())
    } else {
        Some(format!("'{}'", text.replace('\'', r"'\''")))
    }
}
