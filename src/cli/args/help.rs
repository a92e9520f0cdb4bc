//! The texts that `-h`, `--help` and `--version` print.

use super::manual::{self, Block, Form, Manual};
use super::options::Group;

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

    /// The texts about it.
    pub(super) fn manual(self) -> &'static Manual {
        match self {
            Topic::Program => &manual::PROGRAM,
            Topic::Listen => &manual::LISTEN,
            Topic::Send => &manual::SEND,
            Topic::Cert => &manual::CERT,
        }
    }
}

pub(super) const VERSION: &str = concat!("tlsink ", env!("CARGO_PKG_VERSION"), "\n");

/// `-h`: the most common options, on one screen of 24 lines.
pub(super) fn short(topic: Topic) -> String {
    let mut text = String::new();
    match topic {
        Topic::Program => text.extend([SHORT_ABOUT, SHORT_USAGE, SHORT_LISTEN, SHORT_EXAMPLE]),
        Topic::Listen => {
            text.push_str(SHORT_ABOUT);
            write_usage(&mut text, manual::LISTEN.usage);
            text.extend([SHORT_LISTEN, SHORT_EXAMPLE]);
        }
        Topic::Send => text.push_str(SHORT_SEND),
        Topic::Cert => {
            write_start(&mut text, &manual::CERT);
            text.push_str(SHORT_CERT);
        }
    }
    text
}

/// `--help`: all options, and notes.
pub(super) fn long(topic: Topic) -> String {
    let manual = topic.manual();
    let mut text = String::new();
    write_start(&mut text, manual);
    for group in manual.options.groups {
        write_group(&mut text, group);
    }
    for note in manual.notes.iter().chain(manual.signals) {
        text.extend(["\n", note, "\n"]);
    }
    text.extend(["\nExit status: ", manual.exit_status, "\n\nExamples:\n"]);
    for example in manual.examples {
        text.extend(["  ", example.title, ":\n"]);
        write_indented(&mut text, "    ", example.commands);
    }
    text
}

/// Writes the part in front of the options.
fn write_start(text: &mut String, manual: &Manual) {
    text.extend([manual.about, "\n\n"]);
    write_usage(text, manual.usage);
    for block in manual.arguments {
        text.push('\n');
        match block {
            Block::Paragraph(paragraph) => text.extend([paragraph, "\n"]),
            Block::Table(lines) => write_indented(text, "  ", lines),
        }
    }
}

fn write_indented(text: &mut String, indent: &str, lines: &str) {
    for line in lines.lines() {
        text.extend([indent, line, "\n"]);
    }
}

/// The column in which the descriptions of forms begin.
const USAGE_COLUMN: usize = 39;

fn write_usage(text: &mut String, forms: &[Form]) {
    let mut before = "usage: ";
    for form in forms {
        let start = text.len();
        text.extend([before, form.usage]);
        write_beside(text, start, USAGE_COLUMN, form.about);
        before = "       ";
    }
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
        write_beside(text, start, COLUMN, option.about);
    }
}

/// Writes a description in a column of its own, beside the line that began at `start`.
fn write_beside(text: &mut String, start: usize, column: usize, about: &str) {
    for (row, line) in about.lines().enumerate() {
        let written = match row {
            0 => text.len() - start,
            _ => {
                text.push('\n');
                0
            }
        };
        if line.is_empty() {
            continue;
        }
        let spaces = match column.checked_sub(written) {
            Some(0) | None => 2,
            Some(spaces) => spaces,
        };
        text.extend(std::iter::repeat_n(' ', spaces));
        text.push_str(line);
    }
    text.push('\n');
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

const SHORT_CERT: &str = "
  -h, --help            this help; exit status and examples
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
            "\n  -V, --version            print the version\n",
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
