//! Plausible mistakes at the command line, as newcomers make them by the habits of other programs:
//! each answer names the argument, and says what to do.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::program::BINARY;
use crate::help::Listed;
use crate::refused::{Refusal, WRONG_USE, each_is_refused, refused, said, with_os_errors};

#[test]
fn each_mistake_is_answered_exactly_and_leaves_no_trace() {
    let folder = folder();
    let before = names_in(folder.path());
    each_is_refused(MISTAKES, || tlsink(&folder), with_os_errors);
    assert_eq!(names_in(folder.path()), before);
}

#[test]
fn an_option_without_its_value_is_answered_with_what_it_takes() {
    let folder = folder();
    for command in ["listen", "send", "cert"] {
        let see = match command {
            "listen" => "see tlsink --help".to_owned(),
            command => format!("see tlsink {command} --help"),
        };
        for option in Listed::of(command) {
            let Some(placeholder) = &option.value else {
                continue;
            };
            let error = format!("{} needs a value", option.long);
            let form = format!("give {} {placeholder}; {see}", option.long);
            let choices = said(&error, &format!("give {}", option.long));
            for name in option.names() {
                // The next option is no value, and neither is an empty text.
                for args in [
                    &[name][..],
                    &[name, "--help="],
                    &[name, ""],
                    &[&format!("{name}=")],
                ] {
                    let mut tlsink = tlsink(&folder);
                    tlsink.arg(command).args(args);
                    let answer = refused(tlsink, WRONG_USE).stderr;
                    let is_form = answer == said(&error, &form);
                    let are_choices =
                        answer.starts_with(choices.trim_end()) && answer.contains(" or ");
                    assert!(is_form || are_choices, "{args:?}: {answer}");
                }
            }
        }
    }
}

/// These can't stand in a table whose arguments are separated by spaces.
#[test]
fn odd_arguments_are_answered_exactly() {
    let folder = folder();
    let not_utf_8 = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0xff);
        OsString::from_vec(bytes)
    };
    let unset = "a variable of the shell may be unset";
    for (args, error, hint) in [
        (vec!["".into()], "an argument is empty", unset),
        (
            vec!["send".into(), "localhost:4433".into(), "".into()],
            "an argument is empty",
            unset,
        ),
        (
            vec!["cert".into(), "".into()],
            "an argument is empty",
            unset,
        ),
        (
            vec!["--listen 127.0.0.1:4433".into()],
            "unknown option --listen 127.0.0.1:4433",
            "--listen and its value are two arguments, or joined by =",
        ),
        (
            vec!["--listen".into(), "127.0.0.1 4433".into()],
            "--listen 127.0.0.1 4433: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
            "",
        ),
        (
            vec!["cert".into(), "logs.example.net ".into(), "sub".into()],
            "\"logs.example.net \" is neither a DNS name nor an IP address",
            CERT_NAMES,
        ),
        (
            vec!["--prefix".into(), "a\nb".into()],
            "--prefix a\\x0ab: prefixes can't hold \\n",
            "",
        ),
        (vec![not_utf_8("")], "unknown command \u{fffd}", SEE_HELP),
        (
            vec![not_utf_8("--listen")],
            "unknown option --listen\u{fffd}",
            "did you mean --listen?",
        ),
        (
            vec!["--format".into(), not_utf_8("json")],
            "the value of --format is not UTF-8",
            "",
        ),
    ] {
        let mut tlsink = tlsink(&folder);
        tlsink.args(&args);
        let outcome = refused(tlsink, WRONG_USE);
        assert_eq!(outcome.stderr, said(error, hint), "{args:?}");
    }
}

/// A folder as users have it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = tlsink(&folder).args(["cert", "tls"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    fs::write(folder.path().join("notes.txt"), "hello\n").unwrap();
    folder
}

fn tlsink(folder: &TempDir) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(folder);
    command
}

/// The names of all files in a folder, and in the folders in it.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.to_str().unwrap().to_owned());
        if path.is_dir() {
            names.extend(names_in(&path));
        }
    }
    names.sort_unstable();
    names
}

/// Arguments, the error, and the hint, in the order of what is mistaken.
const MISTAKES: &[Refusal] = &[
    // The address to listen on.
    ("-p 4433", "unknown option -p", TOGETHER),
    ("-p4433", "unknown option -p", TOGETHER),
    ("--port 4433", "unknown option --port", TOGETHER),
    ("--port=4433", "unknown option --port", TOGETHER),
    ("-port 4433", "unknown option -port", TOGETHER),
    ("-l -p 4433", "--listen needs a value", TOGETHER),
    ("-kl 4433", "unexpected argument 4433", EITHER_WAY),
    ("-lvp 4433", "unexpected argument 4433", EITHER_WAY),
    ("--host 127.0.0.1", "unknown option --host", TOGETHER),
    ("--bind 0.0.0.0:4433", "unknown option --bind", TOGETHER),
    ("-accept 4433", "unknown option -accept", TOGETHER),
    ("4433", "unknown command 4433", EITHER_WAY),
    (
        "127.0.0.1:4433",
        "unknown command 127.0.0.1:4433",
        EITHER_WAY,
    ),
    ("0.0.0.0", "unknown command 0.0.0.0", EITHER_WAY),
    ("::1", "unknown command ::1", EITHER_WAY),
    ("localhost", "unknown command localhost", EITHER_WAY),
    ("listen 4433", "unexpected argument 4433", EITHER_WAY),
    (
        "listen 0.0.0.0 4433",
        "unexpected argument 0.0.0.0",
        EITHER_WAY,
    ),
    (
        "TCP-LISTEN:4433",
        "unknown command TCP-LISTEN:4433",
        EITHER_WAY,
    ),
    (
        "https://localhost:4433/",
        "unknown command https://localhost:4433/",
        EITHER_WAY,
    ),
    ("-l", "--listen needs a value", GIVE_ADDR),
    ("--listen", "--listen needs a value", GIVE_ADDR),
    ("--listen=", "--listen needs a value", GIVE_ADDR),
    (
        "--listen 127.0.0.1",
        "--listen 127.0.0.1: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen localhost",
        "--listen localhost: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen ::1:4433",
        "--listen ::1:4433: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen [::1]",
        "--listen [::1]: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen [localhost]:4433",
        "--listen [localhost]:4433: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen [fe80::1]:4433",
        "--listen [fe80::1]:4433: a link-local address needs its interface, as in \
         [fe80::1%eth0]:4433",
        "",
    ),
    (
        "--listen 127.0.0.1:",
        "--listen 127.0.0.1:: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen 127.0.0.1:https",
        "--listen 127.0.0.1:https: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen 127.0.0.1:65536",
        "--listen 127.0.0.1:65536: expected a port of at most 65535",
        "",
    ),
    (
        "--listen 70000",
        "--listen 70000: expected a port of at most 65535",
        "",
    ),
    (
        "--listen 127.0.0.1:-1",
        "--listen 127.0.0.1:-1: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen *:4433",
        "--listen *:4433: all addresses are 0.0.0.0:4433, or [::]:4433 with IPv6",
        "",
    ),
    (
        "--listen tls://0.0.0.0:4433",
        "--listen tls://0.0.0.0:4433: expected HOST:PORT, without tls://",
        "",
    ),
    (
        "--listen https://localhost:4433",
        "--listen https://localhost:4433: expected HOST:PORT, without https://",
        "",
    ),
    (
        "--listen /run/tlsink.sock",
        "--listen /run/tlsink.sock: the path of a Unix socket is given as unix:/run/tlsink.sock",
        "",
    ),
    (
        "--listen unix:",
        "--listen unix:: expected unix:PATH, such as unix:/run/tlsink.sock",
        "",
    ),
    (
        "--listen fd:",
        "--listen fd:: expected fd:NAME or fd:NUMBER, such as fd:tlsink or fd:3",
        "",
    ),
    (
        "--listen fd:0",
        "--listen fd:0: the first descriptor that systemd passes is fd:3",
        "",
    ),
    (
        "--listen plain:",
        "--listen plain:: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--listen 127.0.0.1:4433,127.0.0.1:4434",
        "--listen 127.0.0.1:4433,127.0.0.1:4434: expected HOST:PORT, such as 127.0.0.1:4433 or \
         [::1]:4433",
        "",
    ),
    (
        "--listen localhost 4433",
        "unexpected argument 4433",
        EITHER_WAY,
    ),
    (
        "--lisen 127.0.0.1:4433",
        "unknown option --lisen",
        "did you mean --listen?",
    ),
    (
        "---listen 4433",
        "unknown option ---listen",
        "did you mean --listen?",
    ),
    (
        "–l 4433",
        "unknown command –l",
        "options begin with -, not with –",
    ),
    (
        "-l 0.0.0.0:0",
        "0.0.0.0 is not a loopback address, so it needs a certificate",
        "give --cert and --key, or --self-signed with the names senders will use",
    ),
    (
        "-4",
        "unknown option -4",
        "--listen 0.0.0.0:4433 receives by IPv4, --listen [::]:4433 by both",
    ),
    (
        "--udp",
        "unknown option --udp",
        "tlsink receives over TCP and Unix sockets alone",
    ),
    ("--tcp", "unknown option --tcp", PLAIN),
    (
        "--keep-open",
        "unknown option --keep-open",
        "tlsink goes on after each stream, unless it has --once",
    ),
    (
        "--allow 10.0.0.0/8",
        "unknown option --allow",
        "did you mean --allow-from?",
    ),
    (
        "--allow-from web1",
        "--allow-from web1: expected a network or an address, such as 192.0.2.0/24, \
         2001:db8::/32 or 192.0.2.7",
        "",
    ),
    (
        "--allow-from 10.0.0.0/33",
        "--allow-from 10.0.0.0/33: expected a network or an address, such as 192.0.2.0/24, \
         2001:db8::/32 or 192.0.2.7",
        "",
    ),
    (
        "--proxy-protocol v2",
        "--proxy-protocol v2: expected a network or an address, such as 192.0.2.0/24, \
         2001:db8::/32 or 192.0.2.7; or unix",
        "",
    ),
    (
        "--reuseport",
        "unknown option --reuseport",
        "did you mean --reuse-port?",
    ),
    // The command.
    ("receive", "unknown command receive", "did you mean listen?"),
    ("serve", "unknown command serve", "did you mean listen?"),
    ("lisen", "unknown command lisen", "did you mean listen?"),
    (
        "sned localhost:4433 notes.txt",
        "unknown command sned",
        "did you mean send?",
    ),
    (
        "SEND localhost:4433 notes.txt",
        "unknown command SEND",
        "did you mean send?",
    ),
    (
        "s_client -connect localhost:4433",
        "unknown command s_client",
        "did you mean send?",
    ),
    (
        "client localhost:4433",
        "unknown command client",
        "did you mean send?",
    ),
    ("crt tls", "unknown command crt", "did you mean cert?"),
    ("keygen", "unknown command keygen", "did you mean cert?"),
    (
        "-v send localhost:4433",
        "unexpected argument send",
        "the command comes first: tlsink send",
    ),
    (
        "--insecure send localhost:4433",
        "unknown option --insecure",
        "tlsink send has it",
    ),
    (
        "notes.txt",
        "unknown command notes.txt",
        "tlsink send HOST:PORT notes.txt sends it",
    ),
    (
        "tls/server.pem",
        "unknown command tls/server.pem",
        "tlsink send HOST:PORT tls/server.pem sends it",
    ),
    ("leftover", "unknown command leftover", SEE_HELP),
    ("--once leftover", "unexpected argument leftover", SEE_HELP),
    ("listen leftover", "unexpected argument leftover", SEE_HELP),
    (
        "-v notes.txt",
        "unexpected argument notes.txt",
        "tlsink send HOST:PORT notes.txt sends it",
    ),
    ("--once 1", "unexpected argument 1", EITHER_WAY),
    ("-", "unexpected argument -", SEE_HELP),
    ("-- --once", "unexpected argument --once", SEE_HELP),
    // Help.
    ("-help", "unknown option -help", "did you mean --help?"),
    ("--hepl", "unknown option --hepl", "did you mean --help?"),
    ("-?", "unknown option -?", "did you mean --help?"),
    ("/?", "unknown command /?", "did you mean --help?"),
    ("-H", "unknown option -H", "did you mean --help?"),
    ("--usage", "unknown option --usage", "did you mean --help?"),
    ("help sned", "unknown command sned", "did you mean send?"),
    (
        "help send cert",
        "unexpected argument cert",
        "the command comes first: tlsink cert",
    ),
    (
        "help --once",
        "unknown option --once",
        "tlsink listen has it",
    ),
    ("man", "unknown command man", GENERATE),
    ("completions bash", "unknown command completions", GENERATE),
    (
        "--completions bash",
        "unknown option --completions",
        "--generate bash, zsh or fish prints completions",
    ),
    (
        "--man",
        "unknown option --man",
        "did you mean --generate man?",
    ),
    (
        "--generate",
        "--generate needs a value",
        "give --generate man, bash, zsh or fish",
    ),
    (
        "--generate csh",
        "--generate csh: expected man, bash, zsh or fish",
        "",
    ),
    (
        "--colour always",
        "unknown option --colour",
        "did you mean --color?",
    ),
    (
        "--color",
        "--color needs a value",
        "give --color auto, always or never",
    ),
    (
        "--color=yes",
        "--color yes: expected auto, always or never",
        "",
    ),
    (
        "--no-color",
        "unknown option --no-color",
        "did you mean --color never?",
    ),
    (
        "-version",
        "unknown option -version",
        "did you mean --version?",
    ),
    (
        "--verison",
        "unknown option --verison",
        "did you mean --version?",
    ),
    (
        "--Version=1",
        "unknown option --Version",
        "did you mean --version?",
    ),
    ("version 2", "unexpected argument 2", EITHER_WAY),
    (
        "version --once",
        "unknown option --once",
        "tlsink listen has it",
    ),
    // Options and their forms.
    ("--bogus", "unknown option --bogus", SEE_HELP),
    ("--bogus=1", "unknown option --bogus", SEE_HELP),
    ("listen --bogus", "unknown option --bogus", SEE_HELP),
    ("-x", "unknown option -x", SEE_HELP),
    ("-vx", "unknown option -x", SEE_HELP),
    ("-xv", "unknown option -xv", SEE_HELP),
    ("-once", "unknown option -once", "did you mean --once?"),
    (
        "-output=all.log",
        "unknown option -output",
        "did you mean --output?",
    ),
    (
        "--max_line 1k",
        "unknown option --max_line",
        "did you mean --max-line?",
    ),
    (
        "--stat",
        "unknown option --stat",
        "did you mean --state or --stats?",
    ),
    (
        "--recipt",
        "unknown option --recipt",
        "did you mean --receipt?",
    ),
    ("--once --once", "--once is given twice", ""),
    ("--once=true", "--once takes no value", ""),
    ("-v=1", "-v takes no value", ""),
    ("-vq=1", "-q takes no value", ""),
    ("-vv", "-v is given twice", ""),
    ("--verbose -v", "-v is given twice", ""),
    ("-q -v", "-v and -q can't be combined", ""),
    ("-qv", "-v and -q can't be combined", ""),
    ("-qvoall.log", "-v and -q can't be combined", ""),
    ("-d gzip -d zstd", "-d is given twice", ""),
    (
        "--max-line=1k --max-line=2k",
        "--max-line is given twice",
        "",
    ),
    ("-o all.log --output=all.log", "--output is given twice", ""),
    (
        "--output -all",
        "--output needs a value",
        "if -all is the value, give --output=-all",
    ),
    ("--output --once", "--output needs a value", GIVE_FILE),
    ("--output --", "--output needs a value", GIVE_FILE),
    ("-vo", "--output needs a value", GIVE_FILE),
    (
        "--debug",
        "unknown option --debug",
        "did you mean --verbose?",
    ),
    (
        "--log-level debug",
        "unknown option --log-level",
        "did you mean --verbose?",
    ),
    (
        "--silent",
        "unknown option --silent",
        "did you mean --quiet?",
    ),
    ("--quite", "unknown option --quite", "did you mean --quiet?"),
    ("--daemon", "unknown option --daemon", SYSTEMD),
    ("--user nobody", "unknown option --user", SYSTEMD),
    (
        "--config tlsink.conf",
        "unknown option --config",
        "tlsink reads no file of options: a unit of systemd or a script can hold them",
    ),
    // TLS, certificates and keys.
    ("--tls", "unknown option --tls", ALWAYS_TLS),
    ("-ssl", "unknown option -ssl", ALWAYS_TLS),
    (
        "--tlsv1.3",
        "unknown option --tlsv1.3",
        "did you mean --tls-min?",
    ),
    (
        "--tls-version 1.3",
        "unknown option --tls-version",
        "did you mean --tls-min?",
    ),
    ("--tls-min 1.1", "--tls-min 1.1: expected 1.2 or 1.3", ""),
    (
        "--tls-min TLSv1.3",
        "--tls-min TLSv1.3: expected 1.2 or 1.3",
        "",
    ),
    ("--no-tls", "unknown option --no-tls", PLAIN),
    (
        "-cert tls/server.pem -key tls/server.key",
        "unknown option -cert",
        "did you mean --cert?",
    ),
    (
        "--ssl-cert tls/server.pem",
        "unknown option --ssl-cert",
        "did you mean --cert?",
    ),
    (
        "--certificate tls/server.pem",
        "unknown option --certificate",
        "did you mean --cert?",
    ),
    ("--cert tls/server.pem", "--cert needs --key", TWICE),
    ("--key tls/server.key", "--key needs --cert", TWICE),
    (
        "--cert tls/server.pem --key",
        "--key needs a value",
        "give --key FILE; see tlsink --help",
    ),
    (
        "--cert tls/server.pem,tls/server.key",
        "--cert needs --key",
        TWICE,
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem tls/server.key",
        "unexpected argument tls/server.key",
        "tlsink send HOST:PORT tls/server.key sends it",
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.key -k tls/server.pem",
        "tls/server.key: no certificate found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k tls/server.pem",
        "tls/server.pem: no private key found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k tls/client.key",
        "tls/client.key: the private key is not that of the certificate",
        "--cert and --key must belong together, the server's own certificate first",
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k tls",
        "can't read tls: EISDIR",
        A_FILE,
    ),
    (
        "-l 127.0.0.1:0 -c tls -k tls",
        "can't read tls: EISDIR",
        A_FILE,
    ),
    (
        "-l 127.0.0.1:0 -c none.pem -k tls/server.key",
        "can't read none.pem: ENOENT",
        "",
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k none.key",
        "can't read none.key: ENOENT",
        "",
    ),
    (
        "-l 127.0.0.1:0 -c empty.pem -k tls/server.key",
        "empty.pem: no certificate found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 -c notes.txt -k notes.txt",
        "notes.txt: no certificate found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k tls/server.key -c tls/client.pem",
        "each --cert needs its --key",
        TWICE,
    ),
    (
        "-l 127.0.0.1:0 -c tls/server.pem -k tls/server.key -k tls/client.key",
        "each --key needs its --cert",
        TWICE,
    ),
    (
        "--self-signed",
        "--self-signed needs a value",
        "give --self-signed NAMES; see tlsink --help",
    ),
    (
        "-l 127.0.0.1:0 --self-signed localhost:4433",
        "can't make a certificate for these names: \"localhost:4433\" is neither a DNS name nor \
         an IP address",
        NAMES,
    ),
    (
        "-l 127.0.0.1:0 --self-signed https://logs.example.net",
        "can't make a certificate for these names: \"https://logs.example.net\" is neither a DNS \
         name nor an IP address",
        NAMES,
    ),
    (
        "-l 127.0.0.1:0 --self-signed a,*.net",
        "can't make a certificate for these names: no client accepts a wildcard as wide as \
         \"*.net\"",
        NAMES,
    ),
    (
        "--selfsigned localhost",
        "unknown option --selfsigned",
        "did you mean --self-signed?",
    ),
    (
        "--self-signed a -c tls/server.pem -k tls/server.key",
        "--self-signed can't be combined with --cert and --key",
        "",
    ),
    (
        "--self-signed a -k tls/server.key",
        "--self-signed can't be combined with --cert and --key",
        "",
    ),
    (
        "--ca tls/ca.pem",
        "unknown option --ca",
        "did you mean --client-ca?",
    ),
    (
        "-CAfile tls/ca.pem",
        "unknown option -CAfile",
        "did you mean --client-ca?",
    ),
    ("--mtls", "unknown option --mtls", VERIFY),
    ("-verify 1", "unknown option -verify", VERIFY),
    (
        "--client-ca",
        "--client-ca needs a value",
        "give --client-ca FILE; see tlsink --help",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls",
        "can't read tls: EISDIR",
        A_FILE,
    ),
    (
        "-l 127.0.0.1:0 --client-ca none.pem",
        "can't read none.pem: ENOENT",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/server.pem",
        "tls/server.pem: no CA certificate found",
        "give the certificate of the CA that signs the senders' certificates, not one of those",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.key",
        "tls/ca.key: no certificate found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --client-ca tls/server.pem",
        "--client-ca is given twice",
        "",
    ),
    (
        "--client-auth require",
        "--client-auth needs --client-ca",
        "",
    ),
    (
        "--client-auth optional --client-ca tls/ca.pem --allow-client a",
        "--allow-client can't be combined with --client-auth optional",
        "a sender without a certificate would be let in without a name",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --client-auth yes",
        "--client-auth yes: expected require or optional",
        "",
    ),
    (
        "--allow-client web1",
        "--allow-client needs --client-ca",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --allow-client 10.0.0.0/8",
        "\"10.0.0.0/8\" is not a name",
        PATTERN,
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --allow-client *",
        "\"*\" is not a name",
        PATTERN,
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --allow-client a --allow-client a.*.net",
        "\"a.*.net\" is not a name",
        PATTERN,
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --allow-client *.-",
        "\"*.-\" is not a name",
        PATTERN,
    ),
    ("--crl tls/ca.pem", "--crl needs --client-ca", ""),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --crl tls/ca.pem",
        "tls/ca.pem: no CRL found",
        "give a list of revoked certificates that a CA signed, as PEM or DER",
    ),
    (
        "-l 127.0.0.1:0 --client-ca tls/ca.pem --crl none.crl",
        "can't read none.crl: ENOENT",
        "",
    ),
    (
        "-l 127.0.0.1:0 --key-log",
        "--key-log needs a file's name in SSLKEYLOGFILE",
        "SSLKEYLOGFILE=FILE tlsink --key-log writes the secrets to FILE",
    ),
    // Formats, sizes, times and numbers.
    (
        "--format=jsn",
        "--format jsn: expected lines, raw or json",
        "",
    ),
    (
        "--format ndjson",
        "--format ndjson: expected lines, raw or json",
        "",
    ),
    (
        "--json",
        "unknown option --json",
        "did you mean --format json?",
    ),
    (
        "--lines",
        "unknown option --lines",
        "did you mean --format lines?",
    ),
    (
        "--gzip",
        "unknown option --gzip",
        "did you mean --decode gzip?",
    ),
    ("-z", "unknown option -z", "did you mean --decode?"),
    (
        "--decompress",
        "unknown option --decompress",
        "did you mean --decode?",
    ),
    (
        "-d gz",
        "--decode gz: expected auto, none, gzip, zlib, deflate, zstd or qt",
        "",
    ),
    (
        "-d rar",
        "--decode rar: expected auto, none, gzip, zlib, deflate, zstd or qt",
        "",
    ),
    (
        "-d zstandard",
        "--decode zstandard: expected auto, none, gzip, zlib, deflate, zstd or qt",
        "",
    ),
    ("--label -f raw", "--label needs --format lines", ""),
    ("--label -f json", "--label needs --format lines", ""),
    ("--label=yes", "--label takes no value", ""),
    (
        "--prefix a --label",
        "--label and --prefix can't be combined",
        "a prefix can name the sender: --prefix '{time} {client} '",
    ),
    ("--prefix a -f json", "--prefix needs --format lines", ""),
    (
        "--prefix {when}",
        "--prefix {when}: unknown token {when}; there are {time}, {date}, {hour}, {peer}, \
         {port}, {client}, {conn} and {stream}",
        "",
    ),
    (
        "--framing syslog",
        "--framing syslog: expected auto, none, octet, relp, lumberjack, forward or nul",
        "",
    ),
    (
        "--framing=beats",
        "--framing beats: expected auto, none, octet, relp, lumberjack, forward or nul",
        "",
    ),
    (
        "--syslog",
        "unknown option --syslog",
        "--framing octet takes the frames of syslog, and auto, the default, finds them",
    ),
    (
        "--forward-key notes.txt",
        "--forward-key needs --framing forward",
        "",
    ),
    (
        "--max-line 1Mb/s",
        "--max-line 1Mb/s: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "--max-line 1.5M",
        "--max-line 1.5M: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    ("--max-line 1 MB", "unexpected argument MB", UNIT),
    (
        "--max-line 1X",
        "--max-line 1X: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "--max-line -1",
        "--max-line -1: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    ("--max-line 0", "--max-line 0: expected at least 1 byte", ""),
    (
        "--max-line unlimited",
        "--max-line unlimited: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "--max-decoded=0MB",
        "--max-decoded 0MB: expected at least 1 byte",
        "",
    ),
    (
        "--max-window 0",
        "--max-window 0: expected at least 1 byte",
        "",
    ),
    (
        "--max-memory -1",
        "--max-memory -1: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "-l 127.0.0.1:0 --max-memory 1023k",
        "--max-memory must be at least 1048576",
        "",
    ),
    (
        "--max-connections 0",
        "--max-connections 0: expected a number of at least 1",
        "",
    ),
    (
        "--max-connections 10k",
        "--max-connections 10k: expected a number of at least 1",
        "",
    ),
    (
        "--max-clients 100",
        "unknown option --max-clients",
        "did you mean --max-connections?",
    ),
    (
        "--max-per-ip few",
        "--max-per-ip few: expected a number of at least 1",
        "",
    ),
    (
        "--max-per-ip 0",
        "--max-per-ip 0: expected a number of at least 1",
        "",
    ),
    (
        "--rate 10M/s",
        "--rate 10M/s: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "--rate 0",
        "--rate 0: expected at least 1 byte a second; leave it out for no limit",
        "",
    ),
    ("--idle-timeout 10 min", "unexpected argument min", UNIT),
    (
        "--idle-timeout 10minutes",
        "--idle-timeout 10minutes: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--idle-timeout never",
        "--idle-timeout never: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--idle-timeout 1y",
        "--idle-timeout 1y: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--handshake-timeout 1h30",
        "--handshake-timeout 1h30: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--timeout 10",
        "unknown option --timeout",
        "did you mean --idle-timeout?",
    ),
    (
        "--drain forever",
        "--drain forever: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--max-age 1w",
        "--max-age 1w: expected a time, such as 30, 0.5, 500ms, 5m or 1h",
        "",
    ),
    (
        "--threads 0",
        "--threads 0: expected a number from 1 to 1024",
        "",
    ),
    (
        "--threads auto",
        "--threads auto: expected a number from 1 to 1024",
        "",
    ),
    (
        "--lanes 1025",
        "--lanes 1025: expected a number from 1 to 1024",
        "",
    ),
    (
        "--lanes 0",
        "--lanes 0: expected a number from 1 to 1024",
        "",
    ),
    ("-j 4", "unknown option -j", "did you mean --threads?"),
    // The output.
    ("-o", "--output needs a value", GIVE_FILE),
    (
        "-l 127.0.0.1:0 -o sub",
        "can't open sub: EISDIR",
        "give --output a file in it, or --output-dir the directory",
    ),
    (
        "-l 127.0.0.1:0 -o none/all.log",
        "can't open none/all.log: ENOENT",
        "--output creates the file, but not its folder",
    ),
    (
        "-o all.log other.log",
        "unexpected argument other.log",
        "tlsink send HOST:PORT other.log sends it",
    ),
    (
        "--file all.log",
        "unknown option --file",
        "did you mean --output?",
    ),
    (
        "-o all.log --output-dir sub",
        "--output can't be combined with --output-dir",
        "",
    ),
    (
        "--output-dir",
        "--output-dir needs a value",
        "give --output-dir DIR; see tlsink --help",
    ),
    (
        "-l 127.0.0.1:0 --output-dir none",
        "can't make files in none: ENOENT",
        "--output-dir must exist: make it first",
    ),
    (
        "-l 127.0.0.1:0 --output-dir notes.txt",
        "can't make files in notes.txt: ENOTDIR",
        "give --output-dir a directory; --output takes one file for all",
    ),
    (
        "--output_dir sub",
        "unknown option --output_dir",
        "did you mean --output-dir?",
    ),
    (
        "--outdir sub",
        "unknown option --outdir",
        "did you mean --output-dir?",
    ),
    (
        "--output-dir sub --label",
        "--label can't be combined with --output-dir",
        AS_THEY_ARE,
    ),
    (
        "--output-dir sub -f raw --label",
        "--label can't be combined with --output-dir",
        AS_THEY_ARE,
    ),
    (
        "--output-dir sub -f lines",
        "--format lines can't be combined with --output-dir",
        AS_THEY_ARE,
    ),
    (
        "--output-dir sub -f json",
        "--format json can't be combined with --output-dir",
        AS_THEY_ARE,
    ),
    (
        "--output-dir sub --prefix a",
        "--prefix can't be combined with --output-dir",
        AS_THEY_ARE,
    ),
    ("--name {conn}", "--name needs --output-dir", ""),
    ("-o all.log --name {conn}", "--name needs --output-dir", ""),
    (
        "--output-dir sub --name {date}/{peer}.log",
        "--name {date}/{peer}.log: names can't hold /, except those of files that are appended to",
        "",
    ),
    (
        "--output-dir sub --name {host}",
        "--name {host}: unknown token {host}; there are {time}, {date}, {hour}, {peer}, {port}, \
         {client}, {conn} and {stream}",
        "",
    ),
    (
        "--output-dir sub --name {peer",
        "--name {peer: expected braces around tokens alone, which are {time}, {date}, {hour}, \
         {peer}, {port}, {client}, {conn} and {stream}",
        "",
    ),
    (
        "--output-dir sub --name ..",
        "--name ..: names can't begin with . or -, as hidden files and options do",
        "",
    ),
    (
        "--output-dir sub --name ../{conn}",
        "--name ../{conn}: names can't hold /, except those of files that are appended to",
        "",
    ),
    (
        "--output-dir sub --name {conn}.part",
        "--name {conn}.part: names can't end in .part, as those of incomplete files do",
        "",
    ),
    ("--sync", "--sync needs --output-dir", ""),
    ("-o all.log --sync", "--sync needs --output-dir", ""),
    ("--append", "--append needs --output-dir", ""),
    (
        "-o all.log --append",
        "--append can't be combined with --output",
        "--output appends to its file as it is",
    ),
    (
        "--output-dir sub --append",
        "--append needs --name",
        "streams of the same name share a file: --name '{client}/{date}.log'",
    ),
    (
        "--output-dir sub --append --name /var/log/{peer}",
        "--name /var/log/{peer}: expected a name, such as {time}-{peer}-{conn}",
        "",
    ),
    (
        "--output-dir sub --append --name a -f raw",
        "--format raw can't be combined with --append",
        "files that are appended to hold whole lines",
    ),
    (
        "--output-dir sub --append --name a -f json --label",
        "--label needs --format lines",
        "",
    ),
    ("--rotate 1G", "--rotate needs --append", ""),
    (
        "--output-dir sub --rotate 1G",
        "--rotate needs --append",
        "",
    ),
    (
        "--output-dir sub --append --name a --rotate daily",
        "--rotate daily: expected a number of bytes, such as 65536, 64k, 8M or 1G",
        "",
    ),
    (
        "--output-dir sub --append --name a --rotate 0",
        "--rotate 0: expected at least 1 byte",
        "",
    ),
    (
        "--output-dir sub --append --name a --compress",
        "--compress needs --rotate",
        CLOSED_FILES,
    ),
    (
        "--output-dir sub --append --name a --keep 30d",
        "--keep needs --rotate",
        CLOSED_FILES,
    ),
    (
        "--output-dir sub --append --name a --rotate 1G --keep 0",
        "--keep 0: expected a number of files, such as 10, or an age with a unit, such as 12h or \
         30d",
        "",
    ),
    (
        "--output-dir sub --append --name a --rotate 1G --keep 0.5",
        "--keep 0.5: expected a number of files, such as 10, or an age with a unit, such as 12h \
         or 30d",
        "",
    ),
    (
        "--output-dir sub --append --name a --rotate 1G --keep 7days",
        "--keep 7days: expected a number of files, such as 10, or an age with a unit, such as \
         12h or 30d",
        "",
    ),
    (
        "--state",
        "--state needs a value",
        "give --state DIR; see tlsink --help",
    ),
    (
        "--state sub --output-dir sub",
        "--state can't be combined with a file for each connection",
        "--append lets the connections of a stream share a file",
    ),
    (
        "--exec",
        "--exec needs a value",
        "give --exec CMD; see tlsink --help",
    ),
    (
        "-l 127.0.0.1:0 --exec no-such-program",
        "can't execute no-such-program: ENOENT",
        "it is in no folder of PATH; --exec takes a program and its arguments, and no commands \
         of a shell",
    ),
    ("-e cat", "unknown option -e", "did you mean --exec?"),
    (
        "--exec cat -o all.log",
        "--output can't be combined with --exec",
        "the output of the programs is standard output",
    ),
    ("--exec-max 4", "--exec-max needs --exec", ""),
    ("--topic logs", "--topic needs --kafka", ""),
    (
        "--status",
        "--status needs a value",
        "give --status ADDR; see tlsink --help",
    ),
    (
        "--status 0.0.0.0",
        "--status 0.0.0.0: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "",
    ),
    (
        "--status 99999",
        "--status 99999: expected a port of at most 65535",
        "",
    ),
    (
        "--metrics 9100",
        "unknown option --metrics",
        "did you mean --status?",
    ),
    // Sending: the server and the file.
    ("send", "send needs HOST:PORT", SEND),
    ("send -q", "send needs HOST:PORT", SEND),
    (
        "send localhost",
        "localhost: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        SEND,
    ),
    (
        "send localhost 4433",
        "localhost: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "host and port are given together: tlsink send localhost:4433",
    ),
    (
        "send localhost 4433 notes.txt",
        "localhost: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "host and port are given together: tlsink send localhost:4433",
    ),
    (
        "send notes.txt",
        "notes.txt: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        SEND,
    ),
    (
        "send notes.txt localhost:4433",
        "notes.txt: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "the server comes before the file: tlsink send localhost:4433 notes.txt",
    ),
    (
        "send - localhost:4433",
        "-: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        "the server comes before the file: tlsink send localhost:4433 -",
    ),
    (
        "send https://localhost:4433/",
        "https://localhost:4433/: expected HOST:PORT, without https://",
        SEND,
    ),
    (
        "send me@localhost:4433",
        "me@localhost:4433: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        SEND,
    ),
    (
        "send localhost:https",
        "localhost:https: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        SEND,
    ),
    (
        "send localhost:0",
        "localhost:0: expected a port from 1 to 65535",
        SEND,
    ),
    ("send 0", "0: expected a port from 1 to 65535", SEND),
    (
        "send localhost:99999",
        "localhost:99999: expected a port of at most 65535",
        SEND,
    ),
    (
        "send ::1:4433",
        "::1:4433: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        SEND,
    ),
    (
        "send [fe80::1]:4433",
        "[fe80::1]:4433: a link-local address needs its interface, as in [fe80::1%eth0]:4433",
        SEND,
    ),
    ("send -p 4433 localhost", "unknown option -p", SEND_TOGETHER),
    (
        "send --host localhost",
        "unknown option --host",
        SEND_TOGETHER,
    ),
    (
        "send localhost:4433 notes.txt other.txt",
        "unexpected argument other.txt",
        SEND,
    ),
    (
        "send localhost:4433 -- -a -b",
        "unexpected argument -b",
        SEND,
    ),
    (
        "send -f notes.txt localhost:4433",
        "unknown option -f",
        FILE_LAST,
    ),
    (
        "send --input notes.txt localhost:4433",
        "unknown option --input",
        FILE_LAST,
    ),
    (
        "send --insecure localhost:4433 sub",
        "can't read sub: it is a folder",
        "tar -c FOLDER | tlsink send HOST:PORT sends all that is in it",
    ),
    (
        "send --insecure localhost:4433 none.txt",
        "can't read none.txt: ENOENT",
        "",
    ),
    (
        "send --output all.log localhost:4433",
        "unknown option --output",
        "tlsink listen has it",
    ),
    (
        "send localhost:4433 --label",
        "unknown option --label",
        "tlsink listen has it",
    ),
    (
        "send localhost:4433 --recipt",
        "unknown option --recipt",
        "did you mean --receipt?",
    ),
    (
        "send localhost:4433 -x",
        "unknown option -x",
        "see tlsink send --help",
    ),
    (
        "send localhost:4433 --receipt=yes",
        "--receipt takes no value",
        "",
    ),
    (
        "send localhost:4433 -v -q",
        "-v and -q can't be combined",
        "",
    ),
    ("send localhost:4433 -vq", "-v and -q can't be combined", ""),
    (
        "sent localhost:4433",
        "unknown command sent",
        "did you mean send?",
    ),
    (
        "--encode zstd",
        "unknown option --encode",
        "tlsink send has it",
    ),
    (
        "listen --fingerprint 00",
        "unknown option --fingerprint",
        "tlsink send has it",
    ),
    // Sending: whom to trust.
    (
        "send -k localhost:4433",
        "send needs HOST:PORT",
        "--key has taken localhost:4433 as its value",
    ),
    (
        "send --no-check-certificate localhost:4433",
        "unknown option --no-check-certificate",
        "did you mean --insecure?",
    ),
    (
        "send --cacert tls/ca.pem localhost:4433",
        "unknown option --cacert",
        "did you mean --ca?",
    ),
    (
        "send -CAfile tls/ca.pem localhost:4433",
        "unknown option -CAfile",
        "did you mean --ca?",
    ),
    (
        "send --client-ca tls/ca.pem localhost:4433",
        "unknown option --client-ca",
        "did you mean --ca?",
    ),
    (
        "send --ca localhost:4433",
        "send needs HOST:PORT",
        "--ca has taken localhost:4433 as its value",
    ),
    ("send localhost:4433 --ca", "--ca needs a value", GIVE_CA),
    (
        "send localhost:4433 --ca --receipt",
        "--ca needs a value",
        GIVE_CA,
    ),
    (
        "send --ca tls localhost:4433",
        "can't read tls: EISDIR",
        A_FILE,
    ),
    (
        "send --ca none.pem localhost:4433",
        "can't read none.pem: ENOENT",
        "",
    ),
    (
        "send --ca empty.pem localhost:4433",
        "empty.pem: no certificate found",
        PEM,
    ),
    (
        "send --ca tls/ca.key localhost:4433",
        "tls/ca.key: no certificate found",
        PEM,
    ),
    (
        "send --ca tls/server.pem localhost:4433",
        "tls/server.pem: no CA certificate found",
        "give --ca the certificate of the CA that signed the server's, not the server's",
    ),
    (
        "send --ca tls/ca.pem --insecure localhost:4433",
        "--insecure and --ca can't be combined",
        "",
    ),
    (
        "send --ca tls/ca.pem --ca tls/ca.pem localhost:4433",
        "--ca is given twice",
        "",
    ),
    (
        "send --fingerprint 44:02 localhost:4433",
        "--fingerprint 44:02: expected 64 hexadecimal digits, with or without colons",
        "",
    ),
    (
        "send --insecure --fingerprint \
         0000000000000000000000000000000000000000000000000000000000000000 localhost:4433",
        "--insecure and --fingerprint can't be combined",
        "",
    ),
    (
        "send --ca tls/ca.pem --fingerprint \
         0000000000000000000000000000000000000000000000000000000000000000 localhost:4433",
        "--ca and --fingerprint can't be combined",
        "--fingerprint alone decides",
    ),
    (
        "send --pin 44:02 localhost:4433",
        "unknown option --pin",
        "did you mean --fingerprint?",
    ),
    (
        "send --sni logs.example.net localhost:4433",
        "unknown option --sni",
        "did you mean --name?",
    ),
    (
        "send --name= localhost:4433",
        "--name needs a value",
        "give --name NAME; see tlsink send --help",
    ),
    (
        "send --client-cert tls/client.pem localhost:4433",
        "unknown option --client-cert",
        "did you mean --cert?",
    ),
    (
        "send --cert tls/client.pem localhost:4433",
        "--cert needs --key",
        TWICE,
    ),
    (
        "send --key tls/client.key localhost:4433",
        "--key needs --cert",
        TWICE,
    ),
    (
        "send -key tls/client.key localhost:4433",
        "unknown option -key",
        "did you mean --key?",
    ),
    (
        "send --insecure -c tls/client.key -k tls/client.pem localhost:4433",
        "tls/client.key: no certificate found",
        PEM,
    ),
    (
        "send --insecure -c tls/client.pem -k tls/server.key localhost:4433",
        "tls/server.key: the private key is not that of the certificate",
        "--cert and --key must belong together, the client's own certificate first",
    ),
    // Sending: the encoding, and the stream.
    (
        "send -z localhost:4433",
        "unknown option -z",
        "did you mean --encode?",
    ),
    (
        "send -9 localhost:4433",
        "unknown option -9",
        "did you mean --level?",
    ),
    (
        "send --gzip localhost:4433",
        "unknown option --gzip",
        "did you mean --encode gzip?",
    ),
    (
        "send -e gz localhost:4433",
        "--encode gz: expected zstd, gzip, zlib or none",
        "",
    ),
    (
        "send -e auto localhost:4433",
        "--encode auto: expected zstd, gzip, zlib or none",
        "",
    ),
    (
        "send --level 20 localhost:4433",
        "--level 20: expected a number from 1 to 19 for zstd",
        "",
    ),
    (
        "send --level 0 localhost:4433",
        "--level 0: expected a number from 1 to 19 for zstd",
        "",
    ),
    (
        "send --level best localhost:4433",
        "--level best: expected a number from 1 to 19 for zstd",
        "",
    ),
    (
        "send -e gzip --level 10 localhost:4433",
        "--level 10: expected a number from 1 to 9 for gzip",
        "",
    ),
    (
        "send -e zlib --level -1 localhost:4433",
        "--level -1: expected a number from 1 to 9 for zlib",
        "",
    ),
    (
        "send -e none --level 1 localhost:4433",
        "--level can't be combined with --encode none",
        "",
    ),
    (
        "send --framing auto localhost:4433",
        "--framing auto: expected octet, relp or none",
        "",
    ),
    (
        "send --framing relp --receipt localhost:4433",
        "--receipt can't be combined with --framing relp",
        "in RELP, the server acknowledges each line",
    ),
    (
        "send --retry localhost:4433",
        "send needs HOST:PORT",
        "--retry has taken localhost:4433 as its value",
    ),
    (
        "send --retries 3 localhost:4433",
        "unknown option --retries",
        "did you mean --retry?",
    ),
    (
        "send --tail notes.txt localhost:4433",
        "unknown option --tail",
        "did you mean --follow?",
    ),
    (
        "send -k localhost:4433 --insecure",
        "--key needs --cert",
        TWICE,
    ),
    (
        "send --follow localhost:4433",
        "send needs HOST:PORT",
        "--follow has taken localhost:4433 as its value",
    ),
    ("send --follow notes.txt", "send needs HOST:PORT", FOLLOW),
    (
        "send --follow notes.txt localhost:4433 notes.txt",
        "notes.txt: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        FOLLOW,
    ),
    (
        "send --follow notes.txt --resume localhost:4433",
        "--follow and --resume can't be combined",
        "--follow FILE sends a file, --resume sends standard input",
    ),
    (
        "send --follow notes.txt --receipt localhost:4433",
        "--receipt can't be combined with --follow and --resume",
        "with these, the server acknowledges everything anyway",
    ),
    (
        "send --follow notes.txt --retry 3 localhost:4433",
        "--retry can't be combined with --follow and --resume",
        "with these, tlsink tries again until it is stopped",
    ),
    (
        "send --follow - localhost:4433",
        "--follow -: expected a file",
        "--resume sends standard input",
    ),
    (
        "send --resume localhost:4433 notes.txt",
        "notes.txt: expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433",
        FOLLOW,
    ),
    (
        "send --stream web1 localhost:4433",
        "--stream needs --follow FILE or --resume",
        "",
    ),
    (
        "send --follow-state notes.state localhost:4433",
        "--follow-state needs --follow FILE",
        "",
    ),
    (
        "send --resume --buffer 1M localhost:4433",
        "--buffer 1M: expected at least 2M",
        "",
    ),
    // Certificates.
    (
        "cert",
        "cert needs a directory to write into",
        "tlsink cert DIR, or tlsink cert NAMES... DIR",
    ),
    (
        "cert logs.example.net",
        "logs.example.net looks like a host, and the last argument is the directory to write into",
        "tlsink cert logs.example.net DIR makes a certificate for it; a directory of that name \
         is given as ./logs.example.net",
    ),
    (
        "cert localhost:4433",
        "localhost:4433 looks like a host, and the last argument is the directory to write into",
        "tlsink cert localhost DIR makes a certificate for it; a directory of that name is given \
         as ./localhost:4433",
    ),
    (
        "cert https://logs.example.net",
        "https://logs.example.net looks like a host, and the last argument is the directory to \
         write into",
        "tlsink cert logs.example.net DIR makes a certificate for it; a directory of that name \
         is given as ./https://logs.example.net",
    ),
    (
        "cert https://logs.example.net sub",
        "\"https://logs.example.net\" is neither a DNS name nor an IP address",
        CERT_NAMES,
    ),
    (
        "cert logs.example.net:4433 sub",
        "\"logs.example.net:4433\" is neither a DNS name nor an IP address",
        CERT_NAMES,
    ),
    (
        "cert *.net sub",
        "no client accepts a wildcard as wide as \"*.net\"",
        CERT_NAMES,
    ),
    (
        "cert server",
        "cert server needs names and a directory",
        SERVER,
    ),
    (
        "cert server tls",
        "cert server needs names and a directory",
        SERVER,
    ),
    (
        "cert server logs.example.net",
        "cert server needs names and a directory",
        SERVER,
    ),
    (
        "cert client",
        "cert client needs one name and a directory",
        CLIENT,
    ),
    (
        "cert client web1",
        "cert client needs one name and a directory",
        CLIENT,
    ),
    (
        "cert client web1 web2 tls",
        "cert client needs one name and a directory",
        CLIENT,
    ),
    (
        "cert client *.example.net tls",
        "\"*.example.net\" can't be the name of a client",
        "give a name such as boiler.example, an address, an e-mail address, a URI, or any other \
         text of one line",
    ),
    (
        "cert server web1 sub",
        "sub has no CA: no ca.pem and no ca.key",
        "tlsink cert sub makes one there",
    ),
    (
        "cert tls",
        "tls already has ca.pem ca.key server.pem server.key client.pem client.key",
        "no file is overwritten: give another directory, or move these files away first",
    ),
    (
        "cert notes.txt/tls",
        "can't make notes.txt/tls: ENOTDIR",
        "",
    ),
    (
        "cert --name logs.example.net sub",
        "unknown option --name",
        "names need no option: tlsink cert NAMES... DIR",
    ),
    (
        "cert --out sub",
        "unknown option --out",
        "the directory is the last argument: tlsink cert NAMES... DIR",
    ),
    (
        "cert --force tls",
        "unknown option --force",
        "tlsink cert overwrites no file: give another directory, or move its files away first",
    ),
    (
        "cert --bogus tls",
        "unknown option --bogus",
        "see tlsink cert --help",
    ),
];

const TOGETHER: &str = "--listen takes host and port together: --listen 127.0.0.1:4433";
const EITHER_WAY: &str = "--listen HOST:PORT receives there, and tlsink send HOST:PORT sends to it";
const GIVE_ADDR: &str = "give --listen ADDR; see tlsink --help";
const PLAIN: &str = "--listen plain:127.0.0.1:4433 receives without TLS, from this machine";
const SEE_HELP: &str = "see tlsink --help";
const GENERATE: &str = "--generate man prints the man page, and --generate bash, zsh or fish prints \
                  completions";
const GIVE_FILE: &str = "give --output FILE; see tlsink --help";
const SYSTEMD: &str = "systemd can run tlsink with its options, as a user, in the background: see \
                  \"Run it as a service\" in the guide";
const ALWAYS_TLS: &str =
    "tlsink always speaks TLS, except where --listen has plain: before an address";
const TWICE: &str = "if both are in one file, name it twice";
const PEM: &str = "in PEM files, certificates begin with -----BEGIN CERTIFICATE, and keys with \
                  -----BEGIN PRIVATE KEY";
const A_FILE: &str = "give a file in it";
const NAMES: &str = "give --self-signed names such as sink.example or *.sink.example, and addresses \
                  without port, separated by commas";
const VERIFY: &str = "--client-ca FILE verifies senders by the CA certificates in FILE";
const PATTERN: &str =
    "give --allow-client a name, an IP address, or *. and a DNS name: *.example.net";
const UNIT: &str = "a unit stands beside its number, without a space: 10min, 64k";
const AS_THEY_ARE: &str = "each file holds the bytes of one sender as they are";
const CLOSED_FILES: &str = "only files that --rotate has closed are packed or removed";
const SEND: &str = "tlsink send [OPTIONS] HOST:PORT [FILE]";
const SEND_TOGETHER: &str = "host and port are given together: tlsink send HOST:PORT";
const FILE_LAST: &str = "the file follows the server: tlsink send HOST:PORT FILE";
const GIVE_CA: &str = "give --ca FILE; see tlsink send --help";
const FOLLOW: &str = "tlsink send [OPTIONS] --follow FILE HOST:PORT [HOST:PORT...]";
const CERT_NAMES: &str = "give names such as sink.example or *.sink.example, and addresses without port, \
                  separated by spaces; the last argument is the directory";
const SERVER: &str = "tlsink cert server NAMES... DIR, where DIR has a CA";
const CLIENT: &str = "tlsink cert client NAME DIR, where DIR has a CA; once for each client";
