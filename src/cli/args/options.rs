//! The table of all options. `--help` prints it, the arguments are split by it, and man pages and
//! completions are generated out of it.

/// The options of one command.
#[derive(Debug)]
pub(crate) struct Options {
    /// The command, as users type it.
    pub(crate) command: &'static str,
    /// The command that lists the options.
    pub(crate) see: &'static str,
    pub(crate) groups: &'static [Group],
}

/// Options under one heading.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) options: &'static [Opt],
}

/// One option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Its short name, such as `-l`.
    pub(crate) short: Option<&'static str>,
    /// Its long name, such as `--listen`.
    pub(crate) long: &'static str,
    /// The placeholder for its value, such as `FILE`. A flag takes none.
    pub(crate) value: Option<&'static str>,
    /// Whether it may be given several times.
    pub(crate) repeatable: bool,
    /// Its values, in lower case, if there are only these. They may be given in any case.
    pub(crate) choices: &'static [&'static str],
    /// Its description, in lines that fit beside its name, with its default in brackets.
    pub(crate) about: &'static str,
}

const fn flag(long: &'static str, about: &'static str) -> Opt {
    Opt {
        short: None,
        long,
        value: None,
        repeatable: false,
        choices: &[],
        about,
    }
}

const fn value(long: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt {
        value: Some(value),
        ..flag(long, about)
    }
}

impl Opt {
    const fn short(self, short: &'static str) -> Opt {
        Opt {
            short: Some(short),
            ..self
        }
    }

    const fn repeatable(self) -> Opt {
        Opt {
            repeatable: true,
            ..self
        }
    }

    const fn choices(self, choices: &'static [&'static str]) -> Opt {
        Opt { choices, ..self }
    }

    /// The short name, if there is one, and the long one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.short.into_iter().chain([self.long])
    }
}

impl Options {
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        self.groups.iter().flat_map(|group| group.options)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.all().flat_map(Opt::names)
    }

    /// The option with this name, short or long.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Opt> {
        self.all()
            .find(|option| option.names().any(|own| own == name))
    }
}

/// The commands that have options of their own.
pub(crate) static COMMANDS: [&Options; 3] = [&LISTEN, &SEND, &CERT];

const COLOR: Opt = value(
    "--color",
    "WHEN",
    "whether messages have colours: auto, always or never;\n\
     auto is on a terminal, unless NO_COLOR is set [auto]",
)
.choices(&["auto", "always", "never"]);
const HELP: Opt = flag(
    "--help",
    "print this help; -h prints the usual options alone",
)
.short("-h");
const VERSION: Opt = flag("--version", "print the version").short("-V");
const GENERATE: Opt = value(
    "--generate",
    "KIND",
    "man: print the man page; bash, zsh or fish: print a\n\
     script that completes arguments in this shell",
)
.choices(&["man", "bash", "zsh", "fish"]);

pub(crate) static LISTEN: Options = Options {
    command: "tlsink listen",
    see: "see tlsink --help",
    groups: &[
        Group {
            title: "Listening",
            options: &[
                value(
                    "--listen",
                    "ADDR",
                    "HOST:PORT, on every address of HOST; PORT alone is\n\
                     loopback, port 0 a free one; unix:PATH; fd:NAME or\n\
                     fd:N, from systemd; plain: before it is without TLS,\n\
                     for this machine; repeatable [127.0.0.1:4433]",
                )
                .short("-l")
                .repeatable(),
                flag(
                    "--reuse-port",
                    "share HOST:PORT with other programs of this user that\n\
                     do so too, for upgrades",
                ),
                value(
                    "--allow-from",
                    "CIDR",
                    "refuse senders from other networks; repeatable",
                )
                .repeatable(),
                value(
                    "--proxy-protocol",
                    "PEER",
                    "demand a PROXY header from these peers, which names\n\
                     the sender; a network, or unix; repeatable",
                )
                .repeatable(),
                value(
                    "--max-connections",
                    "N",
                    "open connections; further ones wait in the backlog\n\
                     [10000, or what the file limit allows]",
                ),
                value(
                    "--max-per-ip",
                    "N",
                    "connections from one address [no limit]",
                ),
                value(
                    "--rate",
                    "SIZE",
                    "bytes a second from one sender, on its connections\n\
                     together, by reading no more [no limit]",
                ),
                value(
                    "--handshake-timeout",
                    "TIME",
                    "longest handshake; 0 is no limit [10]",
                ),
                value(
                    "--idle-timeout",
                    "TIME",
                    "longest silence; 0 is no limit [0]; TCP keep-alive is\n\
                     always on",
                ),
                value(
                    "--max-age",
                    "TIME",
                    "after this time, up to a tenth more or less, tell\n\
                     senders to connect again, perhaps elsewhere, if\n\
                     nothing is lost by it; 0 is never [0]",
                ),
                flag(
                    "--once",
                    "stop after the first connection that completed its\n\
                     handshake",
                ),
            ],
        },
        Group {
            title: "TLS",
            options: &[
                value(
                    "--cert",
                    "FILE",
                    "certificate chain, PEM; repeatable: further ones are\n\
                     chosen by the name that a sender asks for",
                )
                .short("-c")
                .repeatable(),
                value(
                    "--key",
                    "FILE",
                    "its private key, PEM: PKCS#8, PKCS#1 or SEC1; one for\n\
                     each --cert",
                )
                .short("-k")
                .repeatable(),
                value(
                    "--self-signed",
                    "NAMES",
                    "a fresh certificate for these names, separated by\n\
                     commas [without --cert: one for localhost, on\n\
                     loopback addresses]",
                ),
                value(
                    "--client-ca",
                    "FILE",
                    "verify senders by the CA certificates in FILE\n\
                     [senders are anonymous]",
                ),
                value(
                    "--client-auth",
                    "MODE",
                    "require or optional [require, with --client-ca]",
                )
                .choices(&["require", "optional"]),
                value(
                    "--allow-client",
                    "NAME",
                    "accept only this name; repeatable; *.SUFFIX is every\n\
                     DNS name below SUFFIX [every verified sender]",
                )
                .repeatable(),
                value(
                    "--crl",
                    "FILE",
                    "refuse the certificates that this list revokes; PEM\n\
                     or DER; repeatable",
                )
                .repeatable(),
                value("--tls-min", "VERSION", "1.2 or 1.3 [1.2]").choices(&["1.2", "1.3"]),
                flag(
                    "--key-log",
                    "write secrets to the file that SSLKEYLOGFILE names",
                ),
            ],
        },
        Group {
            title: "Decoding",
            options: &[
                value(
                    "--decode",
                    "FORMAT",
                    "auto, none, gzip, zlib, deflate, zstd, qt [auto]",
                )
                .short("-d")
                .choices(&["auto", "none", "gzip", "zlib", "deflate", "zstd", "qt"]),
                value(
                    "--framing",
                    "FRAMING",
                    "auto, none, octet, relp, lumberjack, forward, nul",
                )
                .choices(&[
                    "auto",
                    "none",
                    "octet",
                    "relp",
                    "lumberjack",
                    "forward",
                    "nul",
                ]),
                value(
                    "--forward-key",
                    "FILE",
                    "senders must know this key; needs --framing forward",
                ),
                value(
                    "--max-decoded",
                    "SIZE",
                    "most output from one connection [no limit]",
                ),
                value("--max-window", "SIZE", "largest zstd window [8M]"),
                value(
                    "--max-memory",
                    "SIZE",
                    "memory for windows, unfinished lines and chunks [1G]",
                ),
            ],
        },
        Group {
            title: "Output",
            options: &[
                value(
                    "--format",
                    "FORMAT",
                    "lines: whole lines, never spliced; raw: bytes as they\n\
                     come; json: an object for each line [lines]",
                )
                .short("-f")
                .choices(&["lines", "raw", "json"]),
                flag("--label", "put the sender before each line"),
                value(
                    "--prefix",
                    "TEMPLATE",
                    "put this before each line: text, and the tokens of\n\
                     --name; {time} is that of writing, as in RFC 3339",
                ),
                value("--max-line", "SIZE", "longest line that is kept whole [1M]"),
                value(
                    "--output",
                    "FILE",
                    "append to FILE, - is standard output; lines and json\n\
                     first end an unfinished line in FILE [-]",
                )
                .short("-o"),
                flag(
                    "--receipt",
                    "answer each stream with a receipt: a line of JSON",
                ),
                value(
                    "--output-dir",
                    "DIR",
                    "write each stream to a file of its own in DIR, which\n\
                     is NAME.part until the stream ended clean",
                ),
                value(
                    "--name",
                    "TEMPLATE",
                    "names of these files; {time}, {date}, {hour}, {peer},\n\
                     {port}, {client}, {conn} and {stream} are filled in\n\
                     [{time}-{peer}-{conn}]",
                ),
                flag("--sync", "sync each to the disk before its stream is clean"),
                flag(
                    "--append",
                    "append whole lines to files that streams of the same\n\
                     NAME share; a / in TEMPLATE makes folders",
                ),
                value(
                    "--rotate",
                    "SIZE",
                    "at this size, rename such a file to NAME.TIME, and\n\
                     begin a new one [no limit]",
                ),
                flag(
                    "--compress",
                    "pack the files that --rotate has closed with zstd, to\n\
                     NAME.TIME.zst",
                ),
                value(
                    "--keep",
                    "LIMIT",
                    "keep this many of them for each NAME, such as 10, or\n\
                     those up to this age, such as 30d; remove the others\n\
                     [keep all]",
                ),
                value(
                    "--state",
                    "DIR",
                    "resume streams of tlsink send --follow: DIR keeps how\n\
                     much of each is written; with --append or --output,\n\
                     each line is in its file exactly once",
                ),
                value(
                    "--exec",
                    "CMD",
                    "start this program for each stream, which it reads\n\
                     from standard input: 'CMD ARG...', without a shell;\n\
                     its exit status decides whether the stream is clean",
                ),
                value(
                    "--exec-max",
                    "N",
                    "programs at once; further streams wait [1000, or what\n\
                     the file limit allows]",
                ),
                value(
                    "--kafka",
                    "BROKERS",
                    "produce each line as a record to Kafka: HOST:PORT of\n\
                     brokers, separated by commas; a stream is clean when\n\
                     they have acknowledged it",
                ),
                value("--topic", "NAME", "the topic of these records"),
                value(
                    "--kafka-key",
                    "KEY",
                    "their key: client, the verified name or the address;\n\
                     peer, the address; conn, the stream; none [client]",
                )
                .choices(&["client", "peer", "conn", "none"]),
                value(
                    "--kafka-record",
                    "RECORD",
                    "a record is a line, or a block of up to 256 KiB of\n\
                     lines, which costs less [line]",
                )
                .choices(&["line", "block"]),
                value(
                    "--kafka-set",
                    "SETTING",
                    "a setting of librdkafka, KEY=VALUE; repeatable",
                )
                .repeatable(),
                value(
                    "--kafka-file",
                    "FILE",
                    "more of them, one in each line; secrets are taken\n\
                     from here alone",
                ),
            ],
        },
        Group {
            title: "Running",
            options: &[
                value("--threads", "N", "handshake threads [one per core]"),
                value(
                    "--lanes",
                    "N",
                    "threads that receive and print [one per core]",
                ),
                value(
                    "--drain",
                    "TIME",
                    "time for open streams to end after a signal [10]",
                ),
                value(
                    "--drain-notice",
                    "TIME",
                    "time before that in which /healthz says so, and\n\
                     senders still come [0]",
                ),
                flag(
                    "--check",
                    "load everything, say what tlsink would do, and exit;\n\
                     the status is 2 if it could not",
                ),
                value(
                    "--status",
                    "ADDR",
                    "serve /metrics for Prometheus and /healthz over HTTP,\n\
                     at HOST:PORT, PORT on loopback, or unix:PATH",
                ),
                flag(
                    "--stats",
                    "a live line on standard error, and totals at the end",
                ),
                flag(
                    "--timestamps",
                    "put the time (UTC) before each line on standard error",
                ),
                flag("--verbose", "also log each open and each health check").short("-v"),
                flag(
                    "--quiet",
                    "log only errors, refused senders, and streams that\n\
                     were not clean",
                )
                .short("-q"),
                COLOR,
                GENERATE,
                HELP,
                VERSION,
            ],
        },
    ],
};

pub(crate) static SEND: Options = Options {
    command: "tlsink send",
    see: "see tlsink send --help",
    groups: &[
        Group {
            title: "Encoding",
            options: &[
                value("--encode", "FORMAT", "zstd, gzip, zlib or none [zstd]")
                    .short("-e")
                    .choices(&["zstd", "gzip", "zlib", "none"]),
                value(
                    "--framing",
                    "FRAMING",
                    "octet or relp (a frame for each line), or none [none]",
                )
                .choices(&["octet", "relp", "none"]),
                value(
                    "--level",
                    "N",
                    "zstd 1 to 19, gzip and zlib 1 to 9 [its default]",
                ),
            ],
        },
        Group {
            title: "The server",
            options: &[
                value(
                    "--ca",
                    "FILE",
                    "verify it by the CA certificates in FILE\n\
                     [those that this system trusts]",
                ),
                value(
                    "--fingerprint",
                    "SHA256",
                    "accept only the certificate with this fingerprint, as\n\
                     tlsink and openssl x509 print it",
                ),
                flag("--insecure", "verify nothing"),
                value(
                    "--name",
                    "NAME",
                    "its name, if its certificate has another [HOST]",
                ),
            ],
        },
        Group {
            title: "Our certificate",
            options: &[
                value(
                    "--cert",
                    "FILE",
                    "certificate chain, PEM, for servers that ask for one",
                )
                .short("-c"),
                value(
                    "--key",
                    "FILE",
                    "its private key, PEM: PKCS#8, PKCS#1 or SEC1",
                )
                .short("-k"),
            ],
        },
        Group {
            title: "Streams that outlive their connection; the server needs --state or --kafka",
            options: &[
                value(
                    "--follow",
                    "FILE",
                    "send FILE and each line that is added, also after it\n\
                     is rotated; further HOST:PORT are tried in turn",
                ),
                value(
                    "--follow-state",
                    "FILE",
                    "keeps how far that is acknowledged\n\
                     [.NAME.tlsink, beside the followed file]",
                ),
                flag("--resume", "send standard input, and go on after a break"),
                value(
                    "--stream",
                    "NAME",
                    "the stream's name at the server [made of host, path\n\
                     and a random number]",
                ),
                value(
                    "--buffer",
                    "SIZE",
                    "most that is read and not acknowledged [64M]",
                ),
                flag(
                    "--accept-gap",
                    "go on, as a new stream, if the server lost a part",
                ),
            ],
        },
        Group {
            title: "Sending",
            options: &[
                flag(
                    "--receipt",
                    "wait for the server's receipt, and compare it with\n\
                     what was sent; needs a server with --receipt",
                ),
                value(
                    "--retry",
                    "N",
                    "further tries to connect, before any data is sent [0]",
                ),
                flag(
                    "--timestamps",
                    "put the time (UTC) before each line on standard error",
                ),
                flag(
                    "--verbose",
                    "also log the address that was connected to, and exact\n\
                     numbers of bytes",
                )
                .short("-v"),
                flag("--quiet", "log only errors").short("-q"),
                COLOR,
                GENERATE,
                HELP,
                VERSION,
            ],
        },
    ],
};

pub(crate) static CERT: Options = Options {
    command: "tlsink cert",
    see: "see tlsink cert --help",
    groups: &[PLAIN],
};

/// The options of `tlsink help` and `tlsink version`.
pub(crate) static ANSWERS: Options = Options {
    command: "tlsink help",
    see: "see tlsink --help",
    groups: &[PLAIN],
};

/// The options of commands that have none of their own.
const PLAIN: Group = Group {
    title: "Options",
    options: &[COLOR, GENERATE, HELP, VERSION],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_options_of_its_own() {
        for (option, listens, sends) in [
            ("--listen", true, false),
            ("--label", true, false),
            ("--encode", false, true),
            ("-e", false, true),
            ("--fingerprint", false, true),
            ("--cert", true, true),
            ("-q", true, true),
            ("--bogus", false, false),
            ("", false, false),
        ] {
            assert_eq!(LISTEN.find(option).is_some(), listens, "{option}");
            assert_eq!(SEND.find(option).is_some(), sends, "{option}");
        }
    }

    /// Splitting relies on this.
    #[test]
    fn names_are_unique_and_of_the_usual_shape() {
        for options in COMMANDS {
            let mut names: Vec<_> = options.names().collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", options.command);
            for option in options.all() {
                assert!(option.long.starts_with("--") && option.long.len() > 3);
                assert!(!option.long.contains('='));
                if let Some(short) = option.short {
                    assert!(short.len() == 2 && short.starts_with('-') && short != "--");
                }
            }
        }
    }
}
