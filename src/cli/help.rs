//! What `-h`, `--help` and `--version` print.

/// `-h`: what most people look for, on one screen of 24 lines.
pub(super) const SHORT: &str = "\
tlsink receives streams over TLS, decompresses them, and prints the plain bytes

usage: tlsink [listen] [OPTIONS]    receive
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
  gzip -c notes.txt |
    openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands
";

/// `--help`: everything.
pub(super) const LONG: &str = "\
tlsink receives streams over TLS from many senders, decompresses them, and
prints the plain bytes.

usage: tlsink [listen] [OPTIONS]       receive (the default command)
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
  -o, --output FILE        append to FILE [standard output]
      --receipt            answer each stream with a receipt: a line of JSON
      --output-dir DIR     write each stream to a file of its own in DIR, which
                           is NAME.part until the stream ended clean
      --name TEMPLATE      what these are called; {time}, {peer}, {port},
                           {client} and {conn} are filled in
                           [{time}-{peer}-{conn}]
      --sync               sync each to the disk before its stream is clean

Running:
      --threads N          threads that shake hands and decrypt [one per core]
      --lanes N            threads that decompress and print [one per core]
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
such files, SIGHUP stops it too.

Exit status: 0 after a requested stop, or with --once after a clean stream;
1 when running failed; 2 for wrong arguments or unreadable configuration.

Examples:
  Receive on this machine:
    tlsink
  Send something to it, and end cleanly:
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

pub(super) const VERSION: &str = concat!("tlsink ", env!("CARGO_PKG_VERSION"), "\n");

/// The names of all options: `--help` is their list.
pub(super) fn options() -> impl Iterator<Item = &'static str> {
    option_lines().flat_map(|words| words.filter(|word| word.starts_with('-')))
}

/// Whether a value follows the option: `--help` names it in capitals.
pub(super) fn takes_value(option: &str) -> bool {
    let is_value = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    option_lines()
        .filter(|words| words.clone().any(|word| word == option))
        .filter_map(|mut words| words.find(|word| !word.starts_with('-')))
        .any(is_value)
}

fn option_lines() -> impl Iterator<Item = impl Iterator<Item = &'static str> + Clone> {
    LONG.lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with('-') || line.starts_with("    --"))
        .map(|line| line.split([' ', ',']).filter(|word| !word.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_on_one_screen() {
        assert!(SHORT.lines().count() <= 24);
        assert!(SHORT.lines().all(|line| line.len() <= 80));
        assert!(LONG.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn the_help_tells_which_options_take_a_value() {
        for option in ["-l", "--listen", "--max-per-ip", "--idle-timeout", "-o"] {
            assert!(takes_value(option), "{option}");
        }
        for option in ["--once", "--label", "-v", "--quiet", "-h", "-V", "--bogus"] {
            assert!(!takes_value(option), "{option}");
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
