//! What `-h`, `--help` and `--version` print.

/// `-h`: what most people look for, on one screen of 24 lines.
pub(super) const SHORT: &str = "\
tlsink receives streams over TLS, decompresses them, and prints the plain bytes

usage: tlsink [listen] [OPTIONS]    receive
       tlsink send HOST:PORT [FILE] send; see tlsink send --help
       tlsink cert [NAMES...] DIR   make certificates

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
      --stats           show what goes on
  -v, -q                say more; say only errors
  -h, --help            this; all options and examples

example:
  tlsink >received.txt
  tlsink send --insecure 127.0.0.1:4433 notes.txt
";

/// `--help`: everything.
pub(super) const LONG: &str = "\
tlsink receives streams over TLS from many senders, decompresses them, and
prints the plain bytes.

usage: tlsink [listen] [OPTIONS]       receive (the default command)
       tlsink send [OPTIONS] HOST:PORT [FILE]
                                       compress and send FILE or standard input;
                                       see tlsink send --help
       tlsink cert [NAMES...] DIR      write ca.pem ca.key server.pem server.key
                                       client.pem client.key into DIR, the
                                       server's for NAMES: DNS names and IP
                                       addresses [localhost 127.0.0.1 ::1]
       tlsink --help | --version

Listening:
  -l, --listen ADDR        HOST:PORT; repeatable; port 0 takes a free one
                           [127.0.0.1:4433]
      --max-connections N  further ones wait in the backlog
                           [10000, or what the file limit allows]
      --max-per-ip N       of them from one address [no limit]
      --handshake-timeout SECS  0 is never [10]
      --idle-timeout SECS  0 is never (TCP keep-alive is always on) [0]
      --once               stop after the first connection that completed its
                           handshake

TLS:
  -c, --cert FILE          certificate chain, PEM; repeatable: further ones are
                           chosen by the name that a sender asks for
  -k, --key FILE           its private key, PEM: PKCS#8, PKCS#1 or SEC1; one for
                           each --cert
      --self-signed NAMES  a fresh certificate for these names, separated by
                           commas [without --cert: one for localhost, on
                           loopback addresses]
      --client-ca FILE     verify senders by the CA certificates in FILE
                           [senders are anonymous]
      --client-auth MODE   require or optional [require, with --client-ca]
      --allow-client NAME  let in only this name; repeatable; *.SUFFIX is every
                           DNS name below SUFFIX [every verified sender]
      --crl FILE           refuse what this list revokes, PEM or DER; repeatable
      --tls-min VERSION    1.2 or 1.3 [1.2]
      --key-log            write secrets to the file that SSLKEYLOGFILE names

Decoding:
  -d, --decode FORMAT      auto, none, gzip, zlib, deflate, zstd, qt [auto]
      --max-decoded BYTES  most output from one connection [no limit]
      --max-window BYTES   largest zstd window [8M]
      --max-memory BYTES   windows, unfinished lines and chunks together [1G]

Output:
  -f, --format FORMAT      lines: whole lines, never spliced; raw: bytes as they
                           come; json: an object for each line [lines]
      --label              put the sender before each line
      --max-line BYTES     longest line that is kept whole [1M]
  -o, --output FILE        append to FILE; lines and json first end the line in
                           whose middle it ends [standard output]
      --receipt            answer each stream with a receipt: a line of JSON
      --output-dir DIR     write each stream to a file of its own in DIR, which
                           is NAME.part until the stream ended clean
      --name TEMPLATE      what these are called; {time}, {peer}, {port},
                           {client} and {conn} are filled in
                           [{time}-{peer}-{conn}]
      --sync               sync each to the disk before its stream is clean

Running:
      --threads N          threads that shake hands [one per core]
      --lanes N            threads that receive and print [one per core]
      --drain SECS         how long open streams may go on after a signal [10]
      --stats              a live line on standard error, and totals at the end
  -v, --verbose            also say each open
  -q, --quiet              say only errors
  -h, --help               -h is shorter
  -V, --version

Sizes take k, M and G, powers of 1024.

Data goes to standard output, everything else to standard error. SIGTERM and
SIGINT stop it: open streams may go on for the time of --drain, a second signal
ends them. Certificates, keys and CRLs are loaded again when their files change,
and on SIGHUP, which also opens the file of --output anew. Where there are no
such files, SIGHUP stops it too. A signal that was ignored at the start stops
nothing.

Exit status: 0 after a requested stop, or with --once after a clean stream;
1 when running failed; 2 for wrong arguments or unreadable configuration.

Examples:
  Receive on this machine:
    tlsink
  Send something to it, and end cleanly:
    tlsink send --insecure 127.0.0.1:4433 notes.txt
  Or with other programs:
    gzip -c notes.txt |
      openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands
  Collect the logs of several machines:
    tlsink -l 0.0.0.0:4433 -c chain.pem -k key.pem --label -o all.log --stats
  Let in only senders with a certificate from a CA of your own:
    tlsink cert tls
    tlsink -c tls/server.pem -k tls/server.key --client-ca tls/ca.pem --label
  Receive one file, and know whether it came whole:
    tlsink --once -f raw >received.tar && echo complete
  Receive many, a file each, and keep them through a crash of the machine:
    tlsink --output-dir incoming --sync
";

/// `send --help`: everything about sending.
pub(super) const SEND: &str = "\
tlsink send compresses FILE or standard input, sends it over TLS, and waits
until the server has all of it.

usage: tlsink send [OPTIONS] HOST:PORT [FILE]

Encoding:
  -e, --encode FORMAT      zstd, gzip, zlib or none [zstd]
      --level N            zstd 1 to 19, gzip and zlib 1 to 9 [its usual one]

The server:
      --ca FILE            verify it by the CA certificates in FILE
                           [by those that this system trusts]
      --fingerprint SHA256 take the one certificate with this fingerprint, as
                           tlsink and openssl x509 print it, and no other
      --insecure           verify nothing
      --name NAME          its name, where its certificate has another [HOST]

Our certificate:
  -c, --cert FILE          certificate chain, PEM, for servers that want one
  -k, --key FILE           its private key, PEM: PKCS#8, PKCS#1 or SEC1

Sending:
      --receipt            wait for the server's receipt, and compare it with
                           what was sent; needs a server with --receipt
      --retry N            further tries to connect, before anything is sent [0]
  -v, --verbose            also say which address was connected to
  -q, --quiet              say only errors
  -h, --help
  -V, --version

A FILE is sent as fast as it goes, up to the length that it has at the start. A
pipe or a terminal is also sent whenever nothing comes for 50 ms, so that a line
of a log that grows arrives at once. SIGINT or SIGTERM ends it as its end would,
within 10 s; a second signal stops at once, as the first one does for a FILE.

Exit status: 0 when the server has everything: its close_notify came, and with
--receipt all numbers are the same; 1 when that is not so; 2 for wrong arguments
or unreadable configuration. After 1, the receiver knows that the stream is not
whole.

Examples:
  Send a file to this machine, whose server said its fingerprint:
    tlsink send --fingerprint 44:02:9B:... 127.0.0.1:4433 notes.txt
  Send each line of a log as it comes, and show who sends it:
    tail -f app.log | tlsink send --ca tls/ca.pem --cert tls/client.pem \\
      --key tls/client.key logs.example.net:4433
  Send a folder, and know that it arrived whole:
    tar -c folder | tlsink send --ca ca.pem --receipt logs.example.net:4433
";

pub(super) const VERSION: &str = concat!("tlsink ", env!("CARGO_PKG_VERSION"), "\n");

/// The options of one command: its help is their list.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Which one.
    pub(super) command: &'static str,
    /// What prints them.
    pub(super) see: &'static str,
    help: &'static str,
}

pub(super) const LISTENING: Options = Options {
    command: "tlsink listen",
    see: "see tlsink --help",
    help: LONG,
};

pub(super) const SENDING: Options = Options {
    command: "tlsink send",
    see: "see tlsink send --help",
    help: SEND,
};

/// The names of all options, of whichever command.
pub(super) fn options() -> impl Iterator<Item = &'static str> {
    LISTENING.names().chain(SENDING.names())
}

impl Options {
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        self.lines()
            .flat_map(|words| words.filter(|word| word.starts_with('-')))
    }

    /// Whether a value follows the option: the help names it in capitals.
    pub(super) fn takes_value(self, option: &str) -> bool {
        let is_value = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        };
        self.lines()
            .filter(|words| words.clone().any(|word| word == option))
            .filter_map(|mut words| words.find(|word| !word.starts_with('-')))
            .any(is_value)
    }

    fn lines(self) -> impl Iterator<Item = impl Iterator<Item = &'static str> + Clone> {
        self.help
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| line.starts_with('-') || line.starts_with("    --"))
            .map(|line| line.split([' ', ',']).filter(|word| !word.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_on_one_screen() {
        assert!(SHORT.lines().count() <= 24);
        assert!(SHORT.lines().all(|line| line.len() <= 80));
        assert!(LONG.lines().all(|line| line.len() <= 80));
        assert!(SEND.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn the_help_tells_which_options_take_a_value() {
        for option in ["-l", "--listen", "--max-per-ip", "--idle-timeout", "-o"] {
            assert!(LISTENING.takes_value(option), "{option}");
        }
        for option in ["-e", "--encode", "--level", "--ca", "--fingerprint", "-k"] {
            assert!(SENDING.takes_value(option), "{option}");
        }
        for option in ["--once", "--label", "-v", "--quiet", "-h", "-V", "--bogus"] {
            assert!(!LISTENING.takes_value(option), "{option}");
        }
        for option in ["--insecure", "--receipt", "-q", "--verbose", "--listen"] {
            assert!(!SENDING.takes_value(option), "{option}");
        }
    }

    #[test]
    fn each_command_has_options_of_its_own() {
        let [listening, sending] = [LISTENING, SENDING].map(|of| of.names().collect::<Vec<_>>());
        for (option, listens, sends) in [
            ("--listen", true, false),
            ("--label", true, false),
            ("--encode", false, true),
            ("--fingerprint", false, true),
            ("--cert", true, true),
            ("-q", true, true),
        ] {
            assert_eq!(listening.contains(&option), listens, "{option}");
            assert_eq!(sending.contains(&option), sends, "{option}");
        }
    }

    #[test]
    fn the_short_help_names_only_options_that_the_long_one_lists() {
        let all: Vec<_> = options().collect();
        assert!(all.contains(&"--listen") && all.contains(&"-q") && all.contains(&"--key-log"));
        let words = SHORT.split([' ', ',', '\n']);
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(all.contains(&option), "{option}");
        }
    }
}
