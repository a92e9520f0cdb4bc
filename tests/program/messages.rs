//! The exact messages of the real binary, when it can't run and about the ends of streams.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::any::Any;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::io::Errno;
use rustix::process::{Signal, geteuid};

use crate::common::authority::{Authority, DISTRIBUTION_POINT, some_reasons};
use crate::common::client;
use crate::common::pack::gzip;
use crate::common::program::{
    BINARY, Client, FREE, Program, after, client_hello, tcp, tls_1_1_hello,
};
use crate::common::skip::{is_installed, skip};
use crate::refused::{
    Refusal, WRONG_USE, each_is_refused, os_error, refused, said, with_os_errors,
};

#[test]
fn each_error_at_the_start_is_reported_exactly_and_ends_the_program_with_2() {
    let files = Files::new();
    let holder = TcpListener::bind(FREE).unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let freed = TcpListener::bind(FREE).unwrap().local_addr().unwrap();
    let freed = freed.to_string();
    let lines = |name: &str| {
        let text = fs::read_to_string(files.folder.path().join(name)).unwrap();
        text.lines().count()
    };
    let [own, ca, list] = ["own.pem", "ca.pem", "ca.crl"].map(lines);
    let lines = [
        ("OWN_LAST", own - 1),
        ("OWN_END", own),
        ("CA_NEXT", ca + 1),
        ("LIST_END", list),
        ("LIST_NEXT", list + 1),
        ("LIST_AFTER", list + 2),
    ];
    let fill = |text: &str| {
        let lines = lines.iter();
        let text = lines.fold(text.to_owned(), |text, (name, line)| {
            text.replace(name, &line.to_string())
        });
        with_os_errors(&text)
            .replace("DIR", files.folder.path().to_str().unwrap())
            .replace("TAKEN", &taken)
            .replace("FREED", &freed)
    };
    let program = || Command::new(BINARY);
    each_is_refused(WRONG, program, fill);
    for &(commands, args, error, hint) in REDIRECTED {
        each_is_refused(&[(args, error, hint)], || after(commands), str::to_owned);
    }

    // A query can't hold a label of 64 bytes (RFC 1035, section 2.3.4), so no query is sent.
    let host = format!("{}.invalid:0", "x".repeat(64));
    let mut command = program();
    command.args(["--listen", &host]);
    let outcome = refused(command, WRONG_USE);
    let (error, hint) = outcome.stderr.split_once('\n').unwrap();
    // The rest of the error is the resolver's text.
    let ours = format!("tlsink: can't resolve {host}: ");
    assert!(error.starts_with(&ours), "{error}");
    let hint_said = "hint: give --listen an address of this machine, or a name for one\n";
    assert_eq!(hint, hint_said);

    if !can_be_unprivileged(&files) {
        skip("can't run as a user without rights here");
        return;
    }
    for refusal in FORBIDDEN {
        if refusal.0.contains(PRIVILEGED) && !has_privileged_ports() {
            skip("every port is free for everyone here");
            continue;
        }
        each_is_refused(&[*refusal], || unprivileged(BINARY), fill);
    }
}

#[test]
fn each_end_of_a_stream_is_reported_exactly_and_an_honest_sender_goes_on() {
    let half = half_a_gzip();
    let half_len = half.len();
    let damaged = damaged_gzip();
    let (damaged_len, last) = (damaged.len(), damaged.len() - 1);
    let lines = b"1234567\n".repeat(1 << 18);
    let (much, limit) = (gzip(&lines), &lines[..1 << 20]);
    let much_len = much.len();

    is_end(
        &["--idle-timeout", "2"],
        |program| held_open(program, &half),
        HALF,
        &format!(
            "PEER: {half_len} bytes received, 5 delivered, gzip, timeout (nothing came for 2 s)"
        ),
    );
    is_end(
        &[],
        |program| abandoned(program, b"text\n"),
        b"text\n",
        "PEER: 5 bytes received, 5 delivered, plain, truncated (no close_notify)",
    );
    is_end(
        &[],
        |program| {
            let mut client = Client::connect(program.address());
            let peer = client.local_address();
            client.write(&half).unwrap();
            client.finish_unclean().unwrap();
            gone(peer)
        },
        HALF,
        &format!(
            "PEER: {half_len} bytes received, 5 delivered, gzip, truncated (gzip not finished)"
        ),
    );
    is_end(
        &[],
        |program| abandoned(program, &half),
        HALF,
        &format!(
            "PEER: {half_len} bytes received, 5 delivered, gzip, \
             truncated (no close_notify, gzip not finished)"
        ),
    );
    is_end(
        &[],
        |program| {
            let mut client = Client::connect(program.address());
            let peer = client.local_address();
            client.write(b"text\n").unwrap();
            // The reset can't overtake data that has been printed.
            program.wait_for_stdout([HONEST, b"text\n"].concat());
            client.reset().unwrap();
            gone(peer)
        },
        b"text\n",
        &format!(
            "PEER: 5 bytes received, 5 delivered, plain, reset ({})",
            os_error(Errno::CONNRESET)
        ),
    );
    is_end(
        &[],
        |program| held_open(program, &damaged),
        b"text\n",
        &format!(
            "PEER: {damaged_len} bytes received, 5 delivered, gzip, \
             corrupt (gzip: wrong checksum at byte {last})"
        ),
    );
    is_end(
        &[],
        |program| {
            let mut client = Client::connect(program.address());
            client.write(b"text\n").unwrap();
            client.write_forged().unwrap();
            held(client)
        },
        b"text\n",
        "PEER: 5 bytes received, 5 delivered, plain, \
         corrupt (tls: cannot decrypt peer's message at byte 5)",
    );
    is_end(
        &[],
        |program| held_plain(program, b"GET / HTTP/1.1\r\n\r\n"),
        b"",
        "PEER: refused (this is not TLS)",
    );
    is_end(
        &[],
        |program| held_plain(program, &tls_1_1_hello()),
        b"",
        "PEER: refused (no version of TLS in common, or no kind of signature but SHA-1)",
    );
    is_end(
        &[],
        |program| held_plain(program, &hello_without_point_formats()),
        b"",
        "PEER: refused (the sender's hello of TLS 1.2 does not name its formats of curve points \
         (ec_point_formats))\n\
         hint: TLS 1.3 needs no such extension",
    );
    is_end(
        &[],
        |program| held_plain(program, &hello_with_zero_key()),
        b"",
        "PEER: refused (the sender's key share is not valid)",
    );
    // A port, a zone or a space is no part of a host name.
    for name in ["local:443", "fe80::%lo", "local net"] {
        is_end(
            &[],
            |program| held_plain(program, &hello_for(name)),
            b"",
            "PEER: refused (the name that the sender asks for (SNI) is no host name)\n\
             hint: senders ask for a DNS name, without a port or a zone, or for none",
        );
    }
    is_end(
        &[],
        |program| gone(tcp(program.address()).unwrap().local_addr().unwrap()),
        b"",
        "PEER: truncated (closed during the handshake)",
    );
    is_end(
        &["--handshake-timeout", "2"],
        |program| held_plain(program, &client_hello()[..20]),
        b"",
        "PEER: timeout (no handshake within 2 s)",
    );
    is_end(
        &[],
        |program| held_open(program, b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46"),
        b"",
        "PEER: 12 bytes received, 0 delivered, refused (xz is not supported)\n\
         hint: -d none passes it on as it is",
    );
    is_end(
        &["--max-decoded", "1M"],
        |program| held_open(program, &much),
        limit,
        &format!(
            "PEER: {much_len} bytes received, 1048576 delivered, gzip, \
             limit (more than 1048576 bytes when decoded)\n\
             hint: --max-decoded allows more"
        ),
    );
    is_end(
        &["--max-window", "512k"],
        |program| held_open(program, &window_of_a_mebibyte()),
        b"",
        "PEER: 6 bytes received, 0 delivered, zstd, \
         limit (zstd window of 1048576 bytes, the limit is 524288)\n\
         hint: --max-window 1048576 allows it",
    );
    is_end(
        &["--max-memory", "1M"],
        |program| held_open(program, &window_of_a_mebibyte()),
        b"",
        "PEER: 6 bytes received, 0 delivered, zstd, \
         limit (no memory left for a zstd window of 1048576 bytes)\n\
         hint: --max-memory allows more, of which one sender has half at most",
    );
    is_end(
        &["--max-per-ip", "1"],
        |program| gone(tcp(program.address()).unwrap().local_addr().unwrap()),
        b"",
        "PEER: limit (1 connection is open from this address)\n\
         hint: --max-per-ip allows more",
    );
    is_end(
        &[],
        |program| abandoned(program, b"\n"),
        b"\n",
        "PEER: 1 byte received, 1 delivered, plain, truncated (no close_notify)",
    );
}

#[test]
fn a_cut_by_a_second_signal_is_reported_exactly_and_until_then_lines_arrive() {
    let program = Program::start(&[]);
    let mut honest = Client::connect(program.address());
    honest.write(b"before\n").unwrap();
    program.wait_for_stdout("before\n");
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    honest.write(b"after\n").unwrap();
    program.wait_for_stdout("before\nafter\n");
    program.signal(Signal::TERM);
    let peer = honest.local_address();
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let said = said(
        &format!("{peer}: 13 bytes received, 13 delivered, plain, cut (the server is stopping)"),
        "",
    );
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
}

#[test]
fn a_failure_of_one_streams_file_is_reported_exactly_and_to_its_sender_without_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("incoming");
    fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let args = ["-v", "--output-dir", path, "--name", "{conn}", "--receipt"];
    let program = Program::start(&args);

    // The file can't be made.
    fs::remove_dir(&directory).unwrap();
    let mut client = Client::connect(program.address());
    let peer = client.local_address();
    client.write(b"hello\n").unwrap();
    let reason = "\"reason\":\"cut (the output failed: entity not found)\"}\n";
    assert_eq!(
        client.finish_for_receipt().unwrap(),
        format!("{{\"ok\":false,\"received\":6,\"delivered\":0,{reason}")
    );
    let error = os_error(Errno::NOENT);
    let said = format!(
        "tlsink: {peer}: 6 bytes received, 0 delivered, plain, \
         cut (the output failed: {path}/1.part: {error})"
    );
    program.wait_for_line(|line| line == said);

    // The file can't get its final name.
    fs::create_dir(&directory).unwrap();
    let mut client = Client::connect(program.address());
    let peer = client.local_address();
    client.write(b"hello\n").unwrap();
    let part = directory.join("2.part");
    let into = format!("tlsink: {peer}: writing to {}", part.display());
    program.wait_for_line(|line| line == into);
    fs::rename(&part, directory.join("moved")).unwrap();
    fs::write(&part, "another\n").unwrap();
    let reason = "\"reason\":\"cut (the output failed: other error)\"}\n";
    assert_eq!(
        client.finish_for_receipt().unwrap(),
        format!("{{\"ok\":false,\"received\":6,\"delivered\":6,{reason}")
    );
    let said = format!(
        "tlsink: {peer}: 6 bytes received, 6 delivered, plain, \
         cut (the output failed: {path}/2.part: another file has taken its place)"
    );
    program.wait_for_line(|line| line == said);
    assert_eq!(program.stop().status, 0);
}

/// Wrong arguments with their messages. `DIR` stands for the folder of [`Files`], `TAKEN` for an
/// address in use, `FREED` for a free one, and names of [`OS_ERRORS`] for the texts of errors.
const WRONG: &[Refusal] = &[
    (
        "-l 127.0.0.1:0 -c DIR/damaged.pem -k DIR/own.key",
        "DIR/damaged.pem: line 2: the base64 of the CERTIFICATE is damaged",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/cut.pem -k DIR/own.key",
        "DIR/cut.pem: line 1: the CERTIFICATE does not end: its -----END is missing",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/encrypted.key",
        "DIR/encrypted.key: the private key is encrypted",
        DECRYPT,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/encrypted-as-of-old.key",
        "DIR/encrypted-as-of-old.key: the private key is encrypted",
        DECRYPT,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/garbage.key",
        "DIR/garbage.key: the private key is damaged, or of a kind that can't be used",
        "keys are RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, or Ed25519, and not damaged",
    ),
    (
        "-l 127.0.0.1:0 -c DIR/garbage.pem -k DIR/own.key",
        "DIR/garbage.pem: the certificate can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/own.key -c DIR/own.pem -k DIR/other.key",
        "DIR/other.key: the private key is not that of the certificate",
        "--cert and --key must belong together, the server's own certificate first",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/empty.pem",
        "DIR/empty.pem: no certificate found",
        PEM,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/damaged.pem",
        "DIR/damaged.pem: line 2: the base64 of the CERTIFICATE is damaged",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/garbage.pem",
        "DIR/garbage.pem: line 1: the CA certificate can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/empty.pem",
        "DIR/empty.pem: no CRL found",
        LIST,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/damaged.crl",
        "DIR/damaged.crl: line 2: the base64 of the X509 CRL is damaged",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/cut.crl",
        "DIR/cut.crl: line 1: the X509 CRL does not end: its -----END is missing",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/cut.der",
        "DIR/cut.der: the CRL can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/version-1.der",
        "DIR/version-1.der: the CRL can't be used: it is not of version 2, which openssl ca makes \
         when crl_extensions is set",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/endless.der",
        "DIR/endless.der: the CRL can't be used: it has no nextUpdate, so that its expiry is \
         unknown",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/plain.der",
        "DIR/plain.der: the CRL can't be used: it has no extensions, such as its number",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/joined.crl",
        "DIR/joined.crl: line LIST_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/marked.crl",
        "DIR/marked.crl: line LIST_NEXT: a byte order mark is before -----BEGIN",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/misspelt.crl",
        "DIR/misspelt.crl: line LIST_NEXT: blocks labelled \"X509 CLR\" are not supported",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/begins-twice.crl",
        "DIR/begins-twice.crl: line LIST_NEXT: the X509 CRL does not end before line LIST_AFTER",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/garbage-after.crl",
        "DIR/garbage-after.crl: line LIST_NEXT: the CRL can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/utf-16.pem",
        "DIR/utf-16.pem: line 1: the text is UTF-16; PEM is ASCII or UTF-8",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/garbage-after.pem",
        "DIR/garbage-after.pem: line CA_NEXT: the CA certificate can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/joined.pem",
        "DIR/joined.pem: line OWN_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/joined.pem -k DIR/own.key",
        "DIR/joined.pem: line OWN_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/without-begin.pem -k DIR/own.key",
        "DIR/without-begin.pem: line OWN_LAST: -----END CERTIFICATE has no -----BEGIN",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/joined.key",
        "DIR/joined.key: line OWN_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/dsa.key",
        "DIR/dsa.key: the private key is damaged, or of a kind that can't be used",
        "keys are RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, or Ed25519, and not damaged",
    ),
    (
        "send --ca DIR/joined.pem 127.0.0.1:1",
        "DIR/joined.pem: line OWN_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "send --ca DIR/misspelt.crl 127.0.0.1:1",
        "DIR/misspelt.crl: line LIST_NEXT: blocks labelled \"X509 CLR\" are not supported",
        DAMAGED,
    ),
    (
        "send --insecure -c DIR/own.pem -k DIR/joined.key 127.0.0.1:1",
        "DIR/joined.key: line OWN_END: -----BEGIN is not at the start of its line",
        DAMAGED,
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/delta.der",
        "DIR/delta.der: the CRL can't be used: delta lists are not supported",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/indirect.der",
        "DIR/indirect.der: the CRL can't be used: indirect lists are not supported",
        "",
    ),
    // RUSTSEC-2026-0104: such lists caused panics.
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/no-reasons.der",
        "DIR/no-reasons.der: the CRL can't be used: it is damaged",
        "",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/ca.pem --crl DIR/empty-reasons.der",
        "DIR/empty-reasons.der: the CRL can't be used: lists for some reasons only are not \
         supported",
        "",
    ),
    (
        "-l 127.0.0.1:0 -l 0.0.0.0:0",
        "0.0.0.0 is not a loopback address, so it needs a certificate",
        "give --cert and --key, or --self-signed with the names senders will use",
    ),
    (
        "-l TAKEN",
        "can't listen on TAKEN: EADDRINUSE",
        "another program listens there; give --listen another port, or stop it",
    ),
    (
        "-l FREED -l FREED",
        "can't listen on FREED: EADDRINUSE",
        "another --listen has this address already; [::] includes 0.0.0.0",
    ),
    (
        "-l 192.0.2.1:0",
        "can't listen on 192.0.2.1:0: EADDRNOTAVAIL",
        "this machine has no such address; 0.0.0.0 and [::] stand for all of its addresses",
    ),
];

/// Shell commands that close the program's input or output, arguments, and their messages.
const REDIRECTED: &[(&str, &str, &str, &str)] = &[
    ("exec >&-", "-l 127.0.0.1:0 --receipt", NO_STDOUT, ELSEWHERE),
    ("exec >&-", "-l 127.0.0.1:0 -f raw", NO_STDOUT, ELSEWHERE),
    ("exec <&- >&-", "-l 127.0.0.1:0", NO_STDOUT, ELSEWHERE),
    (
        "exec >&-",
        "-l 127.0.0.1:0 -o /dev/stdout",
        "nothing is connected to /dev/stdout, so all data would be lost",
        ELSEWHERE,
    ),
    (
        "exec >&-",
        "-l 127.0.0.1:0 -o /proc/self/fd/1",
        "nothing is connected to /proc/self/fd/1, so all data would be lost",
        ELSEWHERE,
    ),
    ("exec <&-", "send 127.0.0.1:1", NO_STDIN, PIPE_TO_IT),
    ("exec <&-", "send 127.0.0.1:1 -", NO_STDIN, PIPE_TO_IT),
    (
        "exec <&-",
        "send 127.0.0.1:1 /dev/stdin",
        NO_STDIN,
        PIPE_TO_IT,
    ),
    ("exec <&- >&-", "send 127.0.0.1:1", NO_STDIN, PIPE_TO_IT),
];

const NO_STDOUT: &str = "nothing is connected to standard output, so all data would be lost";
const ELSEWHERE: &str = "give --output a file; --output /dev/null discards all data";
const NO_STDIN: &str = "nothing is connected to standard input, so there is nothing to send";
const PIPE_TO_IT: &str =
    "give FILE, or pipe data to tlsink (docker run -i passes it on); FILE may be /dev/null";

/// Wrong arguments of a user without rights, with their messages.
const FORBIDDEN: &[Refusal] = &[
    (
        PRIVILEGED,
        "can't listen on 127.0.0.1:1: EACCES",
        "ports below 1024 need the capability CAP_NET_BIND_SERVICE (setcap \
         cap_net_bind_service=+ep on the program); or give --listen a higher port",
    ),
    (
        "-l 127.0.0.1:0 -c DIR/own.pem -k DIR/unreadable.key",
        "can't read DIR/unreadable.key: EACCES",
        "the user who runs tlsink must be allowed to read it",
    ),
    (
        "-l 127.0.0.1:0 --client-ca DIR/unreadable.key",
        "can't read DIR/unreadable.key: EACCES",
        "the user who runs tlsink must be allowed to read it",
    ),
    (
        "-l 127.0.0.1:0 -o DIR/unreadable.key",
        "can't open DIR/unreadable.key: EACCES",
        "",
    ),
    (
        "-l 127.0.0.1:0 --output-dir DIR/closed",
        "can't make files in DIR/closed: EACCES",
        "the user who runs tlsink must be allowed to write there",
    ),
];

const PRIVILEGED: &str = "-l 127.0.0.1:1";

const PEM: &str = "in PEM files, certificates begin with -----BEGIN CERTIFICATE, and keys with -----BEGIN PRIVATE KEY";
const DAMAGED: &str = "get the file anew if it is damaged; where files were joined, each \
                       -----BEGIN and -----END must be a line of its own";
const DECRYPT: &str = "decrypt it first: openssl pkey -in KEY -out PLAIN-KEY";

const LIST: &str = "give a list of revoked certificates that a CA signed, as PEM or DER";

/// Runs a program as a user without rights.
fn unprivileged(program: &str) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--clear-groups"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(program);
    command
}

/// Whether a program can run as such a user, who must be able to reach the program and the files.
fn can_be_unprivileged(files: &Files) -> bool {
    if geteuid().is_root() && !is_installed("setpriv") {
        return false;
    }
    let tried = unprivileged("test")
        .args(["-x", BINARY, "-a", "-r"])
        .arg(files.folder.path().join("own.pem"))
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn has_privileged_ports() -> bool {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    first.map_or(true, |first| first.trim() != "0" && first.trim() != "1")
}

/// Certificates and keys, and the faults of most of them.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let [own, other] = [(), ()]
            .map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let ca = Authority::new("Plant CA");
        let (list, binary) = (ca.crl(&[]), ca.odd_list(DISTRIBUTION_POINT, &[]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // A user without rights must reach the folder, and fail only at single files.
        set_mode(path, 0o755);
        for (name, text) in [
            ("own.pem", &*certificate),
            ("own.key", &*key),
            ("other.key", &*other.signing_key.serialize_pem()),
            ("empty.pem", ""),
            ("damaged.pem", &*certificate.replacen("\nMII", "\nMI!", 1)),
            ("cut.pem", &certificate[..certificate.len() / 2]),
            ("encrypted.key", ENCRYPTED),
            ("encrypted-as-of-old.key", ENCRYPTED_AS_OF_OLD),
            ("garbage.key", GARBAGE),
            ("unreadable.key", &*key),
            ("ca.pem", &*ca.pem()),
            (
                "garbage.pem",
                &*GARBAGE.replace("PRIVATE KEY", "CERTIFICATE"),
            ),
            ("ca.crl", &*list),
            ("damaged.crl", &*list.replacen("\nMI", "\n!!", 1)),
            ("cut.crl", &list[..list.len() / 2]),
            ("joined.crl", &*(list.trim_end().to_owned() + &list)),
            ("marked.crl", &*(list.clone() + "\u{feff}" + &list)),
            (
                "misspelt.crl",
                &*(list.clone() + &list.replace("CRL", "CLR")),
            ),
            (
                "begins-twice.crl",
                &*(list.clone() + list.lines().next().unwrap() + "\n" + &list),
            ),
            ("without-begin.pem", certificate.split_once('\n').unwrap().1),
            (
                "joined.pem",
                &*(certificate.trim_end().to_owned() + &certificate),
            ),
            ("joined.key", &*(certificate.trim_end().to_owned() + &key)),
            (
                "garbage-after.pem",
                &*(ca.pem() + &GARBAGE.replace("PRIVATE KEY", "CERTIFICATE")),
            ),
            (
                "garbage-after.crl",
                &*(list.clone() + &GARBAGE.replace("PRIVATE KEY", "X509 CRL")),
            ),
            (
                "dsa.key",
                &*GARBAGE.replace("PRIVATE KEY", "DSA PRIVATE KEY"),
            ),
        ] {
            fs::write(path.join(name), text).unwrap();
        }
        for (name, list) in [
            ("cut.der", binary[..binary.len() / 2].to_vec()),
            ("version-1.der", ca.old_list()),
            ("endless.der", ca.list_without_next_update()),
            ("plain.der", ca.list_without_extensions()),
            ("utf-16.pem", utf16(&certificate)),
            ("delta.der", ca.odd_list(27, &[2, 1, 1])),
            (
                "indirect.der",
                ca.odd_list(DISTRIBUTION_POINT, &[0x30, 3, 0x84, 1, 0xff]),
            ),
            (
                "no-reasons.der",
                ca.odd_list(DISTRIBUTION_POINT, &some_reasons(&[])),
            ),
            (
                "empty-reasons.der",
                ca.odd_list(DISTRIBUTION_POINT, &some_reasons(&[0])),
            ),
        ] {
            fs::write(path.join(name), list).unwrap();
        }
        set_mode(&path.join("unreadable.key"), 0o000);
        fs::create_dir(path.join("closed")).unwrap();
        set_mode(&path.join("closed"), 0o555);
        Files { folder }
    }
}

/// An encrypted key in PKCS#8 (RFC 5958, section 3).
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
                         MIGjMF8GCSqGSIb3DQEFDTBS\n\
                         -----END ENCRYPTED PRIVATE KEY-----\n";

/// An encrypted key in the form that `openssl ec -aes128` writes (RFC 1421, section 4.6).
const ENCRYPTED_AS_OF_OLD: &str = "-----BEGIN EC PRIVATE KEY-----\n\
                                   Proc-Type: 4,ENCRYPTED\n\
                                   DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n\
                                   MIGjMF8GCSqGSIb3DQEFDTBS\n\
                                   -----END EC PRIVATE KEY-----\n";

/// Valid DER that is not a key.
const GARBAGE: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";

/// The text as UTF-16, which some editors and shells write.
fn utf16(text: &str) -> Vec<u8> {
    let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The first data of the honest sender.
const HONEST: &[u8] = b"before\n";

/// The decoded content of [`half_a_gzip`].
const HALF: &[u8] = b"half\n";

/// Lets a sender misbehave while an honest one is connected, whose lines must keep arriving. The
/// program must print exactly these messages about both ends, and no others.
fn is_end(
    args: &[&str],
    misbehave: impl FnOnce(&Program) -> Misbehaved,
    delivered: &[u8],
    end: &str,
) {
    let program = Program::start(args);
    let mut honest = Client::connect(program.address());
    honest.write(HONEST).unwrap();
    program.wait_for_stdout(HONEST);
    let Misbehaved { peer, held } = misbehave(&program);
    let mut expected = [HONEST, delivered].concat();
    program.wait_for_stdout(&expected);
    let mut sent = HONEST.len();
    let ended = format!("tlsink: {peer}: ");
    loop {
        let over = program.stderr().contains(&ended);
        honest.write(b"meanwhile\n").unwrap();
        sent += b"meanwhile\n".len();
        expected.extend_from_slice(b"meanwhile\n");
        program.wait_for_stdout(&expected);
        if over {
            break;
        }
    }
    let honest_peer = honest.local_address();
    honest.finish().unwrap();
    program.wait_for_line(|line| line.ends_with(", clean"));
    let outcome = program.stop();
    drop(held);
    assert_eq!(outcome.status, 0);
    assert!(outcome.stdout == expected, "{end}: more was printed");
    let said: Vec<&str> = outcome.stderr.lines().skip(3).collect();
    let expected = format!(
        "tlsink: {}\n\
         tlsink: {honest_peer}: {sent} bytes received, {sent} delivered, plain, clean\n\
         tlsink: stopping",
        end.replace("PEER", &peer.to_string())
    );
    assert_eq!(said.join("\n"), expected);
}

/// A sender that has misbehaved.
struct Misbehaved {
    peer: SocketAddr,
    /// Its connection, if it stays open.
    held: Option<Box<dyn Any>>,
}

fn held(client: Client) -> Misbehaved {
    Misbehaved {
        peer: client.local_address(),
        held: Some(Box::new(client)),
    }
}

fn gone(peer: SocketAddr) -> Misbehaved {
    Misbehaved { peer, held: None }
}

/// Sends bytes, and keeps the connection open.
fn held_open(program: &Program, bytes: &[u8]) -> Misbehaved {
    let mut client = Client::connect(program.address());
    client.write(bytes).unwrap();
    held(client)
}

/// Sends bytes without TLS, and keeps the connection open.
fn held_plain(program: &Program, bytes: &[u8]) -> Misbehaved {
    let mut socket = tcp(program.address()).unwrap();
    socket.write_all(bytes).unwrap();
    Misbehaved {
        peer: socket.local_addr().unwrap(),
        held: Some(Box::new(socket)),
    }
}

/// Sends bytes, and closes without a close_notify.
fn abandoned(program: &Program, bytes: &[u8]) -> Misbehaved {
    let mut client = Client::connect(program.address());
    let peer = client.local_address();
    client.write(bytes).unwrap();
    client.abandon().unwrap();
    gone(peer)
}

/// A gzip stream without its end, flushed so that its decodable part is known.
fn half_a_gzip() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(HALF).unwrap();
    encoder.flush().unwrap();
    std::mem::take(encoder.get_mut())
}

/// A gzip stream with all of its text, and a wrong checksum.
fn damaged_gzip() -> Vec<u8> {
    let mut damaged = gzip(b"text\n");
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    damaged
}

/// A hello of TLS 1.2 in which an unknown extension is in the place of ec_point_formats.
fn hello_without_point_formats() -> Vec<u8> {
    let mut hello = client::Client::new(&client::TLS12).records();
    let formats = [0, 11, 0, 2, 1, 0];
    let at = hello
        .windows(formats.len())
        .position(|bytes| bytes == formats);
    hello[at.unwrap()..][..2].fill(0xfa);
    hello
}

/// A hello whose X25519 key is zero, which allows no shared secret (RFC 7748, section 6.1).
fn hello_with_zero_key() -> Vec<u8> {
    let mut hello = client_hello();
    let header = [0, 0x1d, 0, 32];
    let at = hello
        .windows(header.len())
        .position(|bytes| bytes == header);
    hello[at.unwrap() + header.len()..][..32].fill(0);
    hello
}

/// A hello that asks for this name in place of `localhost`, which is as long.
fn hello_for(name: &str) -> Vec<u8> {
    let mut hello = client_hello();
    let asked = b"localhost";
    let at = hello.windows(asked.len()).position(|bytes| bytes == asked);
    hello[at.unwrap()..][..asked.len()].copy_from_slice(name.as_bytes());
    hello
}

/// The header of a zstd frame, up to its window (RFC 8878, section 3.1.1.1).
fn window_of_a_mebibyte() -> [u8; 6] {
    [0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3]
}
