//! Words that other programs take, and what tlsink has in their place, for users who type them by
//! habit: those of ncat, socat, stunnel, openssl, curl, tail, gzip and others.

use super::options::{CERT, LISTEN, Options, SEND};

/// Words of other programs.
struct Habit {
    /// Long names of options have two hyphens, and are in lower case.
    words: &'static [&'static str],
    meant: Meant,
}

/// The thing that is probably meant by them.
enum Meant {
    /// Another word of the same command.
    Word(&'static str),
    /// Something that a hint explains.
    Hint(&'static str),
}

/// The hint for an option that a command doesn't have.
pub(super) fn option(name: &str, options: &Options) -> Option<String> {
    let own = OPTIONS
        .iter()
        .filter(|(command, _)| *command == options.command)
        .flat_map(|(_, habits)| *habits);
    let habits = own.chain(COMMON);
    // Long names of openssl and others have one hyphen.
    let long = match name.len() {
        0..=2 => name.to_owned(),
        _ => format!("--{}", name.trim_start_matches('-').to_ascii_lowercase()),
    };
    find(habits, &long)
}

/// The hint for a command that doesn't exist.
pub(super) fn command(name: &str) -> Option<String> {
    find(COMMANDS, name)
}

fn find<'a>(habits: impl IntoIterator<Item = &'a Habit>, word: &str) -> Option<String> {
    let mut habits = habits.into_iter();
    let habit = habits.find(|habit| habit.words.contains(&word))?;
    Some(match habit.meant {
        Meant::Word(word) => format!("did you mean {word}?"),
        Meant::Hint(hint) => hint.to_owned(),
    })
}

const fn word(words: &'static [&'static str], meant: &'static str) -> Habit {
    Habit {
        words,
        meant: Meant::Word(meant),
    }
}

const fn hint(words: &'static [&'static str], hint: &'static str) -> Habit {
    Habit {
        words,
        meant: Meant::Hint(hint),
    }
}

/// The options of each command, by its name.
static OPTIONS: [(&str, &[Habit]); 3] = [
    (LISTEN.command, LISTENING),
    (SEND.command, SENDING),
    (CERT.command, CERTIFICATES),
];

static COMMON: &[Habit] = &[
    word(&["-?", "-H", "--usage", "--info"], "--help"),
    hint(
        &["--completion", "--completions"],
        "--generate bash, zsh or fish prints completions",
    ),
    word(&["--manual", "--manpage"], "--generate man"),
    word(&["--no-color", "--nocolor", "--no-colour"], "--color never"),
];

static LISTENING: &[Habit] = &[
    hint(
        &[
            "-p",
            "--port",
            "--host",
            "--bind",
            "--address",
            "--accept",
            "--local",
        ],
        "--listen takes host and port together: --listen 127.0.0.1:4433",
    ),
    hint(
        &["-4", "-6", "--ipv4", "--ipv6"],
        "--listen 0.0.0.0:4433 receives by IPv4, --listen [::]:4433 by both",
    ),
    hint(
        &["--tls", "--ssl"],
        "tlsink always speaks TLS, except where --listen has plain: before an address",
    ),
    hint(
        &["--no-tls", "--plain", "--plaintext", "--tcp"],
        "--listen plain:127.0.0.1:4433 receives without TLS, from this machine",
    ),
    hint(
        &["-u", "--udp"],
        "tlsink receives over TCP and Unix sockets alone",
    ),
    hint(
        &["--keep-open"],
        "tlsink goes on after each stream, unless it has --once",
    ),
    word(
        &["--tlsv1.2", "--tlsv1.3", "--tls1.2", "--tls1.3"],
        "--tls-min",
    ),
    word(
        &["--tls-version", "--min-tls", "--ssl-version"],
        "--tls-min",
    ),
    word(&["--ssl-cert", "--tls-cert", "--certificate"], "--cert"),
    word(&["--ssl-key", "--tls-key", "--private-key"], "--key"),
    word(
        &["--ca", "--cacert", "--cafile", "--ca-file"],
        "--client-ca",
    ),
    hint(
        &["--verify", "--verify-client", "--mtls", "--ssl-verify"],
        "--client-ca FILE verifies senders by the CA certificates in FILE",
    ),
    hint(&["--client", "--connect"], "tlsink send HOST:PORT sends"),
    word(&["--allow", "--allow-ip", "--allowfile"], "--allow-from"),
    word(&["-m", "--max-conns", "--max-clients"], "--max-connections"),
    word(&["--timeout", "-w", "--wait"], "--idle-timeout"),
    word(
        &["-z", "--decompress", "--uncompress", "--gunzip"],
        "--decode",
    ),
    hint(
        &["--syslog"],
        "--framing octet takes the frames of syslog, and auto, the default, finds them",
    ),
    word(
        &["--log", "--logfile", "--log-file", "--file", "--out"],
        "--output",
    ),
    word(
        &["--dir", "--directory", "--outdir", "--out-dir", "-O"],
        "--output-dir",
    ),
    word(&["-e", "--sh-exec", "--command"], "--exec"),
    word(&["--metrics", "--prometheus", "--health"], "--status"),
    word(&["-j", "--workers"], "--threads"),
    hint(
        &[
            "-D",
            "--daemon",
            "--background",
            "--fork",
            "--detach",
            "--user",
        ],
        "systemd can run tlsink with its options, as a user, in the background: see \"Run it as a \
         service\" in the guide",
    ),
    hint(
        &["--config", "--conf", "--config-file"],
        "tlsink reads no file of options: a unit of systemd or a script can hold them",
    ),
    word(&["--silent"], "--quiet"),
    word(&["--debug", "--log-level"], "--verbose"),
];

static SENDING: &[Habit] = &[
    hint(
        &[
            "-p",
            "--port",
            "--host",
            "--bind",
            "--address",
            "--connect",
            "--server",
        ],
        "host and port are given together: tlsink send HOST:PORT",
    ),
    hint(
        &["-f", "-i", "--file", "--input"],
        "the file follows the server: tlsink send HOST:PORT FILE",
    ),
    hint(&["--tls", "--ssl"], "tlsink send always speaks TLS"),
    word(
        &["--cacert", "--cafile", "--ca-file", "--client-ca"],
        "--ca",
    ),
    word(
        &[
            "--no-verify",
            "--no-check-certificate",
            "--skip-verify",
            "--insecure-skip-verify",
        ],
        "--insecure",
    ),
    hint(
        &["--verify", "--ssl-verify"],
        "tlsink send verifies the server, unless it has --insecure",
    ),
    word(&["--client-cert", "--certificate", "--ssl-cert"], "--cert"),
    word(&["--client-key", "--private-key", "--ssl-key"], "--key"),
    word(&["--pin", "--pinnedpubkey", "--sha256"], "--fingerprint"),
    word(
        &["--servername", "--server-name", "--sni", "--verify-host"],
        "--name",
    ),
    word(
        &["-z", "-d", "--compress", "--compression", "--decode"],
        "--encode",
    ),
    word(&["-1", "-9", "--best", "--fast"], "--level"),
    word(&["--retries"], "--retry"),
    word(&["-F", "--tail"], "--follow"),
    word(&["--silent"], "--quiet"),
    word(&["--debug", "--log-level"], "--verbose"),
];

static CERTIFICATES: &[Habit] = &[
    hint(
        &[
            "-o",
            "-d",
            "--out",
            "--output",
            "--outdir",
            "--output-dir",
            "--dir",
        ],
        "the directory is the last argument: tlsink cert NAMES... DIR",
    ),
    hint(
        &["--name", "--cn", "--san", "--subj", "--host", "--dns"],
        "names need no option: tlsink cert NAMES... DIR",
    ),
    hint(
        &["-f", "--force", "--overwrite"],
        "tlsink cert overwrites no file: give another directory, or move its files away first",
    ),
];

static COMMANDS: &[Habit] = &[
    word(
        &[
            "receive", "recv", "server", "serve", "start", "run", "s_server",
        ],
        "listen",
    ),
    word(&["client", "connect", "push", "upload", "s_client"], "send"),
    word(
        &["certificate", "certificates", "keygen", "genkey", "req"],
        "cert",
    ),
    word(&["/?", "usage"], "--help"),
    hint(
        &["man", "manual", "completion", "completions"],
        "--generate man prints the man page, and --generate bash, zsh or fish prints completions",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::super::suggest::NAMES;
    use super::*;

    #[test]
    fn habits_are_no_options_and_lead_to_some() {
        for command in options::COMMANDS {
            let (_, own) = OPTIONS
                .iter()
                .find(|(name, _)| *name == command.command)
                .unwrap();
            for habit in own.iter().chain(COMMON) {
                for word in habit.words {
                    assert!(command.find(word).is_none(), "{word}");
                    assert!(word.starts_with("--") || word.len() == 2, "{word}");
                }
                if let Meant::Word(word) = habit.meant {
                    let name = word.split(' ').next().unwrap_or_default();
                    assert!(command.find(name).is_some(), "{word}");
                }
            }
        }
    }

    #[test]
    fn commands_of_habit_are_no_commands_and_lead_to_some() {
        for habit in COMMANDS {
            for word in habit.words {
                assert!(!NAMES.contains(word), "{word}");
            }
            if let Meant::Word(word) = habit.meant {
                assert!(NAMES.contains(&word) || LISTEN.find(word).is_some());
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_behind_one_hyphen() {
        for name in ["--cafile", "-CAfile", "--CAfile", "-cafile"] {
            let hint = option(name, &SEND);
            assert_eq!(hint.as_deref(), Some("did you mean --ca?"), "{name}");
        }
        assert_eq!(option("-P", &SEND), None);
        assert_eq!(option("--port", &CERT), None);
    }
}
