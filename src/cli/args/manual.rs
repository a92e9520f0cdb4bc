//! The texts about each command, which its help and its man page are made of.

use super::options::{self, Options};

/// The texts about a command, beside its table of options.
///
/// Texts are in lines of at most 80 columns, which man pages fill again.
#[derive(Debug)]
pub(super) struct Manual {
    pub(super) options: &'static Options,
    /// The purpose of the command, on one line.
    pub(super) summary: &'static str,
    /// The same, in sentences.
    pub(super) about: &'static str,
    pub(super) usage: &'static [Form],
    /// The meaning of the arguments, as far as the usage leaves it open.
    pub(super) arguments: &'static [Block],
    pub(super) notes: &'static [&'static str],
    /// The effects of signals, if there are some of its own.
    pub(super) signals: &'static [&'static str],
    /// The variables that it reads. Man pages alone list them, as they do with files.
    pub(super) environment: &'static [&'static [Entry]],
    /// The files that it makes, as far as no argument names them.
    pub(super) files: &'static [Entry],
    pub(super) exit_status: &'static str,
    pub(super) examples: &'static [Example],
}

/// A form of the command line.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) usage: &'static str,
    /// Its description, in lines that fit beside it. An empty line comes first if its usage is long.
    pub(super) about: &'static str,
}

/// A part of a text.
#[derive(Debug)]
pub(super) enum Block {
    Paragraph(&'static str),
    /// Lines that stay as they are.
    Table(&'static str),
}

/// A variable or a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

/// Commands of a shell.
#[derive(Debug)]
pub(super) struct Example {
    /// Their purpose, without a colon at its end.
    pub(super) title: &'static str,
    pub(super) commands: &'static str,
}

const fn form(usage: &'static str, about: &'static str) -> Form {
    Form { usage, about }
}

const fn entry(name: &'static str, about: &'static str) -> Entry {
    Entry { name, about }
}

const fn example(title: &'static str, commands: &'static str) -> Example {
    Example { title, commands }
}

/// The variables that decide about colours.
static COLORS: [Entry; 3] = [
    entry(
        "NO_COLOR",
        "no colours in messages, if it is set and not empty",
    ),
    entry(
        "CLICOLOR, CLICOLOR_FORCE",
        "a CLICOLOR of 0 is no colours; a CLICOLOR_FORCE other than 0 is colours, also\n\
         where standard error is no terminal",
    ),
    entry(
        "TERM",
        "where it is dumb or missing, there are no colours and no live lines",
    ),
];

/// The program, with its default command.
pub(super) static PROGRAM: Manual = Manual {
    usage: &[
        form("tlsink [listen] [OPTIONS]", "receive (the default command)"),
        form(
            "tlsink send [OPTIONS] HOST:PORT [FILE]",
            "\n\
             compress and send FILE or standard input;\n\
             see tlsink send --help",
        ),
        form(
            "tlsink cert [NAMES...] DIR",
            "write ca.pem ca.key server.pem server.key\n\
             client.pem client.key into DIR, the\n\
             server's for NAMES: DNS names and IP\n\
             addresses [localhost 127.0.0.1 ::1]",
        ),
        form("tlsink cert server NAMES... DIR", ""),
        form(
            "tlsink cert client NAME DIR",
            "add server-NAME.pem server-NAME.key or\n\
             client-NAME.pem client-NAME.key, signed\n\
             by the ca.key in DIR; see\n\
             tlsink cert --help",
        ),
        form("tlsink help [COMMAND]", ""),
        form("tlsink --help | --version", ""),
    ],
    ..LISTENING
};

pub(super) static LISTEN: Manual = LISTENING;

const LISTENING: Manual = Manual {
    options: &options::LISTEN,
    summary: "receive streams over TLS, decompress them, and print the plain bytes",
    about: "\
tlsink receives streams over TLS from many senders, decompresses them, and
prints the plain bytes.",
    usage: &[form("tlsink [listen] [OPTIONS]", "")],
    arguments: &[],
    notes: &[
        "\
Options take the forms --name VALUE, --name=VALUE, -n VALUE and -nVALUE.",
        "\
Sizes are in bytes, or take a unit: k, M, G and T are powers of 1024, as are
KiB, MiB, GiB and TiB; kB, MB, GB and TB are powers of 1000. Times are in
seconds, or take a unit: 500ms, 30s, 5m, 1h, 2d, 1h30m. Case does not matter.",
        "\
Data goes to standard output, everything else to standard error. tlsink reloads
certificates, keys and CRLs when their files change.",
    ],
    signals: &["\
SIGTERM and SIGINT stop tlsink: open streams may go on for the time of --drain,
and a second signal cuts them. SIGHUP reloads certificates, keys and CRLs, and
reopens the files of --output and --append; without such files, it stops tlsink
too. A signal that was ignored at the start does not stop it."],
    environment: &[
        &COLORS,
        &[
            entry("SSLKEYLOGFILE", "the file that --key-log writes to"),
            entry("PATH", "the folders of programs for --exec"),
            entry(
                "LISTEN_FDS, LISTEN_FDNAMES, NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM",
                "set by systemd: the sockets for fd:, where tlsink says that it is ready and\n\
                 alive, and the journal, in which messages get priorities",
            ),
        ],
    ],
    files: &[
        entry(
            "NAME.part",
            "a file of --output-dir whose stream has not ended clean, or not yet",
        ),
        entry(
            "NAME.TIME, NAME.TIME.zst",
            "a file that --rotate has closed, and one that --compress has packed",
        ),
    ],
    exit_status: "\
0 after a requested stop, or with --once after a clean stream;
1 when running failed; 2 for wrong arguments or unreadable configuration.",
    examples: &[
        example("Receive on this machine", "tlsink"),
        example(
            "Send a file to it",
            "tlsink send --insecure 127.0.0.1:4433 notes.txt",
        ),
        example(
            "The same with other programs",
            "gzip -c notes.txt |\n  \
             openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands",
        ),
        example(
            "Collect the logs of several machines",
            "tlsink -l 0.0.0.0:4433 -c chain.pem -k key.pem --label -o all.log --stats",
        ),
        example(
            "Accept only senders with a certificate from your own CA",
            "tlsink cert tls\n\
             tlsink cert client boiler.example tls\n\
             tlsink -c tls/server.pem -k tls/server.key --client-ca tls/ca.pem --label",
        ),
        example(
            "Receive one file, and check that it is complete",
            "tlsink --once -f raw >received.tar && echo complete",
        ),
        example(
            "Write each stream to a file that survives a crash of the machine",
            "tlsink --output-dir incoming --sync",
        ),
        example(
            "Keep a log for each sender and day, in files of a gigabyte at most",
            "tlsink --output-dir logs --append --name '{peer}/{date}.log' --rotate 1G",
        ),
    ],
};

pub(super) static SEND: Manual = Manual {
    options: &options::SEND,
    summary: "compress a file or standard input, and send it over TLS",
    about: "\
tlsink send compresses FILE or standard input, sends it over TLS, and waits
until the server has all of it.",
    usage: &[
        form("tlsink send [OPTIONS] HOST:PORT [FILE]", ""),
        form(
            "tlsink send [OPTIONS] --follow FILE HOST:PORT [HOST:PORT...]",
            "",
        ),
        form(
            "tlsink send [OPTIONS] --resume HOST:PORT [HOST:PORT...]",
            "",
        ),
    ],
    arguments: &[],
    notes: &[
        "\
PORT without HOST is a port of this machine. A FILE of - is standard input. --
ends the options, before a FILE that begins with -.",
        "\
tlsink sends a FILE at full speed, up to the length that it has at the start.
Input from a pipe or a terminal is also flushed after a pause of 50 ms, so that
each line of a growing log arrives at once.",
        "\
With --follow and --resume, the server acknowledges what it keeps, and tlsink
keeps the rest: it tries again until the server is back, and goes on from there.
The next --follow goes on with the same stream. --resume ends with its input.",
    ],
    signals: &["\
SIGINT or SIGTERM ends input from a pipe or a terminal, --follow and --resume,
and the rest is sent within 10 s; a second signal stops tlsink at once, as the
first one does with a FILE."],
    environment: &[
        &COLORS,
        &[entry(
            "SSL_CERT_FILE, SSL_CERT_DIR",
            "a file and a folder of CA certificates, in place of those that this system\n\
             trusts",
        )],
    ],
    files: &[entry(
        ".NAME.tlsink",
        "the state of --follow NAME, unless --follow-state names another file",
    )],
    exit_status: "\
0 when the server has everything: its close_notify came, and with
--receipt all numbers match, or with --framing relp it acknowledged each line;
1 otherwise; 2 for wrong arguments or unreadable configuration. After 1, the
receiver knows that the stream is not whole, except in RELP with -e none.",
    examples: &[
        example(
            "Send a file to a server on this machine, whose fingerprint is known",
            "tlsink send --fingerprint 44:02:9B:... 127.0.0.1:4433 notes.txt",
        ),
        example(
            "Send each line of a log at once, with a client certificate",
            "tail -f app.log | tlsink send --ca tls/ca.pem --cert tls/client.pem \\\n  \
             --key tls/client.key logs.example.net:4433",
        ),
        example(
            "Ship a log without losing a line, whatever breaks",
            "tlsink send --ca tls/ca.pem --follow app.log logs.example.net:4433",
        ),
        example(
            "Send a folder, and check that it arrived whole",
            "tar -c folder | tlsink send --ca ca.pem --receipt logs.example.net:4433",
        ),
    ],
};

pub(super) static CERT: Manual = Manual {
    options: &options::CERT,
    summary: "make a CA, and certificates of servers and clients",
    about: "\
tlsink cert makes a CA, and the certificates of a server and a client.",
    usage: &[
        form("tlsink cert [NAMES...] DIR", ""),
        form("tlsink cert server NAMES... DIR", ""),
        form("tlsink cert client NAME DIR", ""),
    ],
    arguments: &[
        Block::Paragraph(
            "\
NAMES are the names of the server, without port: DNS names such as
logs.example.net or *.example.net, and IP addresses [localhost 127.0.0.1 ::1].
tlsink writes these files into DIR, creates DIR if needed, and overwrites none:",
        ),
        Block::Table(
            "\
ca.pem      ca.key       the CA, for --client-ca, and for --ca of tlsink send
server.pem  server.key   for --cert and --key of the server
client.pem  client.key   for --cert and --key of tlsink send",
        ),
        Block::Paragraph(
            "\
cert server and cert client add a certificate that the CA in DIR signs, as
server-NAME.pem and server-NAME.key, or client-NAME.pem and client-NAME.key.",
        ),
    ],
    notes: &["A DIR that begins with - must follow --."],
    signals: &[],
    environment: &[&COLORS],
    files: &[],
    exit_status: "\
0 when all files are written; 1 when that failed; 2 for wrong
arguments, or when one of the files exists.",
    examples: &[
        example(
            "Certificates for this machine, and a server that uses them",
            "tlsink cert tls\n\
             tlsink -c tls/server.pem -k tls/server.key --client-ca tls/ca.pem --label",
        ),
        example(
            "Certificates for a server with these names",
            "tlsink cert logs.example.net 192.0.2.7 tls",
        ),
        example(
            "A certificate for another sender, web1",
            "tlsink cert client web1 tls",
        ),
    ],
};
