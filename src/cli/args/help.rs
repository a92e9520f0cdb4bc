//! The texts that `-h`, `--help` and `--version` print.

use super::options::{CERT, Group, LISTEN, SEND};

/// The subject of a help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// The program, and its default command.
    Program,
    Listen,
    Send,
    Cert,
}

impl Topic {
    /// The topic with this name.
    pub(super) fn named(command: &str) -> Option<Self> {
        match command {
            "listen" => Some(Topic::Listen),
            "send" => Some(Topic::Send),
            "cert" => Some(Topic::Cert),
            "help" | "version" => Some(Topic::Program),
            _ => None,
        }
    }
}

pub(super) const VERSION: &str = concat!("tlsink ", env!("CARGO_PKG_VERSION"), "\n");

/// `-h`: the most common options, on one screen of 24 lines.
pub(super) fn short(topic: Topic) -> String {
    match topic {
        Topic::Program => [SHORT_ABOUT, SHORT_USAGE, SHORT_LISTEN, SHORT_EXAMPLE].concat(),
        Topic::Listen => [SHORT_ABOUT, LISTEN_USAGE, SHORT_LISTEN, SHORT_EXAMPLE].concat(),
        Topic::Send => SHORT_SEND.to_owned(),
        Topic::Cert => [CERT_ABOUT, CERT_USAGE, SHORT_CERT].concat(),
    }
}

/// `--help`: all options, and notes.
pub(super) fn long(topic: Topic) -> String {
    let (start, groups, end) = match topic {
        Topic::Program => ([ABOUT, USAGE], LISTEN.groups, LISTEN_NOTES),
        Topic::Listen => ([ABOUT, LISTEN_USAGE], LISTEN.groups, LISTEN_NOTES),
        Topic::Send => ([SEND_ABOUT, SEND_USAGE], SEND.groups, SEND_NOTES),
        Topic::Cert => ([CERT_ABOUT, CERT_USAGE], CERT.groups, CERT_NOTES),
    };
    let mut text = start.concat();
    for group in groups {
        write_group(&mut text, group);
    }
    text.push_str(end);
    text
}

/// The column in which the descriptions of options begin.
const COLUMN: usize = 27;

fn write_group(text: &mut String, group: &Group) {
    text.push('\n');
    text.push_str(group.title);
    text.push_str(":\n");
    for option in group.options {
        let start = text.len();
        text.push_str("  ");
        match option.short {
            Some(short) => {
                text.push_str(short);
                text.push_str(", ");
            }
            None => text.push_str("    "),
        }
        text.push_str(option.long);
        if let Some(value) = option.value {
            text.push(' ');
            text.push_str(value);
        }
        for (row, line) in option.about.lines().enumerate() {
            let column = match row {
                0 => text.len() - start,
                _ => {
                    text.push('\n');
                    0
                }
            };
            let spaces = match COLUMN.checked_sub(column) {
                Some(0) | None => 2,
                Some(spaces) => spaces,
            };
            text.extend(std::iter::repeat_n(' ', spaces));
            text.push_str(line);
        }
        text.push('\n');
    }
}

const SHORT_ABOUT: &str = "\
tlsink receives streams over TLS, decompresses them, and prints the plain bytes

";

const SHORT_USAGE: &str = "\
usage: tlsink [listen] [OPTIONS]    receive
       tlsink send HOST:PORT [FILE] send; see tlsink send --help
       tlsink cert [NAMES...] DIR   make certificates; see tlsink cert --help
";

const SHORT_LISTEN: &str = "
  -l, --listen ADDR     HOST:PORT; repeatable [127.0.0.1:4433]
  -c, --cert FILE       certificate chain, PEM
  -k, --key FILE        its private key, PEM
      --self-signed NAMES  a fresh certificate for these names
      --client-ca FILE  verify senders by the CA in FILE
  -d, --decode FORMAT   auto, none, gzip, zlib, deflate, zstd, qt [auto]
  -f, --format FORMAT   lines, raw or json [lines]
  -o, --output FILE     append to FILE [standard output]
      --label           put the sender before each line
      --once            stop after the first stream
      --stats           show throughput on standard error
  -v, -q                log more; log only errors
  -h, --help            this help; all options and examples
";

const SHORT_EXAMPLE: &str = "
example:
  tlsink >received.txt
  tlsink send --insecure 127.0.0.1:4433 notes.txt
";

const SHORT_SEND: &str = "\
tlsink send compresses FILE or standard input, and sends it over TLS

usage: tlsink send [OPTIONS] HOST:PORT [FILE]

  -e, --encode FORMAT   zstd, gzip, zlib or none [zstd]
      --ca FILE         verify the server by the CA in FILE
      --fingerprint SHA256  verify it by its certificate's fingerprint
      --insecure        verify nothing
      --name NAME       its name, if its certificate has another [HOST]
  -c, --cert FILE       our certificate chain, PEM
  -k, --key FILE        its private key, PEM
      --receipt         wait for the server's receipt, and check it
      --follow FILE     send FILE as it grows; see tlsink send --help
      --retry N         further tries to connect [0]
  -v, -q                log more; log only errors
  -h, --help            this help; all options and examples

example:
  tlsink send --ca ca.pem logs.example.net:4433 notes.txt
";

const ABOUT: &str = "\
tlsink receives streams over TLS from many senders, decompresses them, and
prints the plain bytes.

";

const USAGE: &str = "\
usage: tlsink [listen] [OPTIONS]       receive (the default command)
       tlsink send [OPTIONS] HOST:PORT [FILE]
                                       compress and send FILE or standard input;
                                       see tlsink send --help
       tlsink cert [NAMES...] DIR      write ca.pem ca.key server.pem server.key
                                       client.pem client.key into DIR, the
                                       server's for NAMES: DNS names and IP
                                       addresses [localhost 127.0.0.1 ::1]
       tlsink cert server NAMES... DIR
       tlsink cert client NAME DIR     add server-NAME.pem server-NAME.key or
                                       client-NAME.pem client-NAME.key, signed
                                       by the ca.key in DIR; see
                                       tlsink cert --help
       tlsink help [COMMAND]
       tlsink --help | --version
";

const LISTEN_USAGE: &str = "\
usage: tlsink [listen] [OPTIONS]
";

const LISTEN_NOTES: &str = "
Options take the forms --name VALUE, --name=VALUE, -n VALUE and -nVALUE.

Sizes are in bytes, or take a unit: k, M, G and T are powers of 1024, as are
KiB, MiB, GiB and TiB; kB, MB, GB and TB are powers of 1000. Times are in
seconds, or take a unit: 500ms, 30s, 5m, 1h, 2d, 1h30m. Case does not matter.

Data goes to standard output, everything else to standard error. SIGTERM and
SIGINT stop tlsink: open streams may go on for the time of --drain, and a second
signal cuts them. tlsink reloads certificates, keys and CRLs when their files
change and on SIGHUP, which also reopens the files of --output and --append.
Without such files, SIGHUP stops tlsink too. A signal that was ignored at the
start does not stop it.

Exit status: 0 after a requested stop, or with --once after a clean stream;
1 when running failed; 2 for wrong arguments or unreadable configuration.

Examples:
  Receive on this machine:
    tlsink
  Send a file to it:
    tlsink send --insecure 127.0.0.1:4433 notes.txt
  The same with other programs:
    gzip -c notes.txt |
      openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands
  Collect the logs of several machines:
    tlsink -l 0.0.0.0:4433 -c chain.pem -k key.pem --label -o all.log --stats
  Accept only senders with a certificate from your own CA:
    tlsink cert tls
    tlsink cert client boiler.example tls
    tlsink -c tls/server.pem -k tls/server.key --client-ca tls/ca.pem --label
  Receive one file, and check that it is complete:
    tlsink --once -f raw >received.tar && echo complete
  Write each stream to a file that survives a crash of the machine:
    tlsink --output-dir incoming --sync
  Keep a log for each sender and day, in files of a gigabyte at most:
    tlsink --output-dir logs --append --name '{peer}/{date}.log' --rotate 1G
";

const SEND_ABOUT: &str = "\
tlsink send compresses FILE or standard input, sends it over TLS, and waits
until the server has all of it.

";

const SEND_USAGE: &str = "\
usage: tlsink send [OPTIONS] HOST:PORT [FILE]
       tlsink send [OPTIONS] --follow FILE HOST:PORT [HOST:PORT...]
       tlsink send [OPTIONS] --resume HOST:PORT [HOST:PORT...]
";

const SEND_NOTES: &str = "
PORT without HOST is a port of this machine. A FILE of - is standard input. --
ends the options, before a FILE that begins with -.

tlsink sends a FILE at full speed, up to the length that it has at the start.
Input from a pipe or a terminal is also flushed after a pause of 50 ms, so that
each line of a growing log arrives at once. SIGINT or SIGTERM ends such input,
and the rest is sent within 10 s; a second signal stops tlsink at once, as the
first one does with a FILE.

With --follow and --resume, the server acknowledges what it keeps, and tlsink
keeps the rest: it tries again until the server is back, and goes on from there.
--follow ends with SIGTERM or SIGINT, and --resume also with its input: then the
rest is sent within 10 s. The next --follow goes on with the same stream.

Exit status: 0 when the server has everything: its close_notify came, and with
--receipt all numbers match, or with --framing relp it acknowledged each line;
1 otherwise; 2 for wrong arguments or unreadable configuration. After 1, the
receiver knows that the stream is not whole, except in RELP with -e none.

Examples:
  Send a file to a server on this machine, whose fingerprint is known:
    tlsink send --fingerprint 44:02:9B:... 127.0.0.1:4433 notes.txt
  Send each line of a log at once, with a client certificate:
    tail -f app.log | tlsink send --ca tls/ca.pem --cert tls/client.pem \\
      --key tls/client.key logs.example.net:4433
  Ship a log without losing a line, whatever breaks:
    tlsink send --ca tls/ca.pem --follow app.log logs.example.net:4433
  Send a folder, and check that it arrived whole:
    tar -c folder | tlsink send --ca ca.pem --receipt logs.example.net:4433
";

const CERT_ABOUT: &str = "\
tlsink cert makes a CA, and the certificates of a server and a client.

";

const CERT_USAGE: &str = "\
usage: tlsink cert [NAMES...] DIR
       tlsink cert server NAMES... DIR
       tlsink cert client NAME DIR

NAMES are the names of the server, without port: DNS names such as
logs.example.net or *.example.net, and IP addresses [localhost 127.0.0.1 ::1].
tlsink writes these files into DIR, creates DIR if needed, and overwrites none:

  ca.pem      ca.key       the CA, for --client-ca, and for --ca of tlsink send
  server.pem  server.key   for --cert and --key of the server
  client.pem  client.key   for --cert and --key of tlsink send

cert server and cert client add a certificate that the CA in DIR signs, as
server-NAME.pem and server-NAME.key, or client-NAME.pem and client-NAME.key.
";

const SHORT_CERT: &str = "
  -h, --help            this help; exit status and examples
";

const CERT_NOTES: &str = "
A DIR that begins with - must follow --.

Exit status: 0 when all files are written; 1 when that failed; 2 for wrong
arguments, or when one of the files exists.

Examples:
  Certificates for this machine, and a server that uses them:
    tlsink cert tls
    tlsink -c tls/server.pem -k tls/server.key --client-ca tls/ca.pem --label
  Certificates for a server with these names:
    tlsink cert logs.example.net 192.0.2.7 tls
  A certificate for another sender, web1:
    tlsink cert client web1 tls
";

#[cfg(test)]
mod tests {
    use super::super::options::COMMANDS;
    use super::*;

    const TOPICS: [Topic; 4] = [Topic::Program, Topic::Listen, Topic::Send, Topic::Cert];

    #[test]
    fn every_help_fits_the_screen() {
        for topic in TOPICS {
            let (short, long) = (short(topic), long(topic));
            assert!(short.lines().count() <= 24, "{short}");
            for line in short.lines().chain(long.lines()) {
                assert!(line.chars().count() <= 80, "{line}");
                assert_eq!(line.trim_end(), line);
            }
        }
    }

    #[test]
    fn the_long_help_describes_each_option_in_a_column_of_its_own() {
        let listen = long(Topic::Listen);
        for lines in [
            "\nListening:\n  -l, --listen ADDR        HOST:PORT, on every address",
            "\n      --handshake-timeout TIME  longest handshake; 0 is no limit [10]\n",
            "\n      --once               stop after the first connection that completed its\n\
             \x20                          handshake\n",
            "\n  -V, --version\n",
        ] {
            assert!(listen.contains(lines), "{listen}");
        }
        let fingerprint = "\n      --fingerprint SHA256 accept only";
        assert!(long(Topic::Send).contains(fingerprint));
    }

    #[test]
    fn the_short_help_names_only_options_that_the_long_one_lists() {
        for (topic, options) in [Topic::Listen, Topic::Send, Topic::Cert]
            .into_iter()
            .zip(COMMANDS)
        {
            let short = short(topic);
            let listed = short.lines().filter(|line| line.starts_with("  -"));
            let long = short.lines().filter(|line| line.starts_with("      --"));
            let mut count = 0;
            for line in listed.chain(long) {
                for word in line.split([' ', ',']).filter(|word| word.starts_with('-')) {
                    assert!(options.find(word).is_some(), "{word}");
                    count += 1;
                }
            }
            assert!(count >= 2, "{short}");
        }
    }
}
