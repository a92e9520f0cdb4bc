//! `tlsink send`: its data arrives whole, or it reports the reason and fails.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, KeyPair, NameConstraints, SanType, date_time_ymd,
};
use rustix::io::Errno;
use rustix::process::Signal;
use rustls::{RootCertStore, ServerConfig};
use tlsink::client::Fingerprint;

pub mod server;

use crate::common::authority;
use crate::common::client::{TLS12, TLS13};
use crate::common::pack::gzip;
use crate::common::process::peak_memory;
use crate::common::program::{BINARY, LIMIT, Outcome, Program, Stderr, Stdout, run_if_installed};
use crate::common::skip::missing;
use crate::common::terminal::Terminal;
use crate::refused::{WRONG_USE, refused, said};
use server::{Accepted, Authority, Keyed, Server};

/// The hint to a missing close_notify.
const NOT_TAKEN: &str = "a tlsink server sends it only for a stream that it took whole; its log \
                         has the reason; with --receipt on both sides, it is shown here too";

/// The same with `--receipt`.
const NOT_RECEIPTED: &str = "a tlsink server sends it only for a stream that it took whole; its \
                             log has the reason";

const ENCODINGS: [&str; 4] = ["zstd", "gzip", "zlib", "none"];

#[test]
fn sent_data_arrives_byte_for_byte_in_every_encoding() {
    let folder = Folder::new();
    let receiver = Program::start(&["-v", "-f", "raw"]);
    let to = receiver.address().to_string();
    let mut sent = Vec::new();
    let mut count = 0;
    for encoding in ENCODINGS {
        for (sample, bytes) in samples() {
            let file = folder.write("sample", &bytes);
            for file in [Some(&*file), None] {
                let mut args = vec!["send", "-v", "--insecure", "-e", encoding, &to];
                args.extend(file);
                let sender = match file {
                    Some(_) => Program::run(&args),
                    None => piped(&args, &bytes),
                };
                sent.extend_from_slice(&bytes);
                count += 1;
                let end = receiver.wait_for_ends(count).swap_remove(count - 1);
                let (received, plain) = (end.received, bytes.len() as u64);
                let what = format!("{encoding}, {sample}");
                assert_eq!((&*end.end, end.delivered), ("clean", plain), "{what}");
                // With -v, the numbers are exact.
                let unit = if plain == 1 { "byte" } else { "bytes" };
                let exact = format!("tlsink: {to}: {plain} {unit} sent as {received}\n");
                assert!(sender.stderr.contains(&exact), "{}", sender.stderr);
                let file = file.map(|file| format!("{file}, ")).unwrap_or_default();
                let sent = format!(
                    "tlsink: sent {file}{} as {} ({encoding}) to {to}\n",
                    in_units(plain),
                    in_units(received)
                );
                assert!(sender.untimed().ends_with(&sent), "{}", sender.stderr);
                assert_eq!((sender.status, sender.stdout_text()), (0, String::new()));
                if sample == "text" && encoding != "none" {
                    assert!(received < plain / 4, "{what}: only {received} of {plain}");
                }
            }
        }
    }
    let outcome = receiver.stop();
    assert!(outcome.stdout == sent, "what arrived is not what was sent");
}

#[test]
fn each_level_arrives() {
    let folder = Folder::new();
    let file = folder.write("text", &text(100_000));
    let receiver = Program::start(&["-f", "raw"]);
    let to = receiver.address().to_string();
    for (encoding, level) in [("zstd", "1"), ("zstd", "19"), ("gzip", "9"), ("zlib", "1")] {
        let args = ["send", "--insecure", "-q", "-e", encoding, "--level", level];
        let sender = Program::run(&[&args[..], &[&to, &file]].concat());
        assert_eq!((sender.status, sender.stderr), (0, unverified(&to)));
    }
    for end in receiver.wait_for_ends(4) {
        assert_eq!((&*end.end, end.delivered), ("clean", 100_000));
    }
}

#[test]
fn each_line_arrives_while_the_pipe_stays_open() {
    for encoding in ENCODINGS {
        let receiver = Program::start(&[]);
        let to = receiver.address().to_string();
        let mut sender = start_piped(&["send", "--insecure", "-e", encoding, &to]);
        let mut stdin = sender.stdin();
        let mut sent = Vec::new();
        for line in ["one\n", "two\n", "a third one\n"] {
            stdin.write_all(line.as_bytes()).unwrap();
            sent.extend_from_slice(line.as_bytes());
            receiver.wait_for_stdout(&sent);
        }
        drop(stdin);
        assert_eq!(sender.outcome().status, 0, "{encoding}");
        assert_eq!(receiver.wait_for_end().end, "clean");
    }
}

#[test]
fn lines_that_never_cease_arrive_all_the_same() {
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    let mut sender = start_piped(&["send", "--insecure", &to]);
    let mut stdin = sender.stdin();
    let (stop, stopped) = mpsc::channel::<()>();
    // The pauses are shorter than the time after which a sender flushes.
    let writer = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(5)).is_err() {
            stdin.write_all(b"again\n").unwrap();
        }
    });
    receiver.wait_for_stdout("again\nagain\n");
    stop.send(()).unwrap();
    writer.join().unwrap();
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn a_slow_receiver_slows_it_down_and_its_memory_stays_flat() {
    const LEN: usize = 64 << 20;
    let folder = Folder::new();
    let file = folder.path("long");
    File::create(&file).unwrap().set_len(LEN as u64).unwrap();
    let authority = Authority::new("ca");
    let (pid, pids) = mpsc::channel::<u32>();
    let server = Server::start(authority.sign(&["127.0.0.1"]).config(), move |accepted| {
        // The server reads nothing until all buffers are full and nothing more comes.
        let mut unread = (0, 0);
        while unread.1 < 10 {
            thread::sleep(Duration::from_millis(20));
            let now = rustix::io::ioctl_fionread(&accepted.tcp).unwrap();
            unread = match now == unread.0 && now > 0 {
                true => (now, unread.1 + 1),
                false => (now, 0),
            };
        }
        let read = accepted.read_to_end().len();
        // The sender still waits for the server's close_notify.
        let peak = peak_memory(pids.recv_timeout(LIMIT).unwrap()).unwrap();
        accepted.close_notify();
        (read, peak)
    });
    let to = server.address.to_string();
    let args = ["send", "--insecure", "-e", "none", &to, &file];
    let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    pid.send(sender.id()).unwrap();
    let (read, peak) = server.join();
    assert_eq!((read, sender.outcome().status), (LEN, 0));
    assert!(peak < LEN as u64 / 2, "it took {peak} bytes");
}

#[test]
fn a_wrong_server_is_refused_with_the_reason() {
    let folder = Folder::new();
    let authority = Authority::new("our ca");
    let other = Authority::new("other ca");
    let ca = folder.write("ca.pem", authority.pem().as_bytes());
    let other_ca = folder.write("other.pem", other.pem().as_bytes());
    let same_name = folder.write("same.pem", Authority::new("our ca").pem().as_bytes());
    let good = authority.sign(&["localhost", "127.0.0.1"]);
    let good_fingerprint = good.fingerprint();
    let trust =
        |how: &str| format!("{how} --fingerprint {good_fingerprint} trusts this very certificate");
    let or_ca = "--ca FILE trusts the CA in FILE, and";

    let unknown = r#"the server's certificate is from an unknown CA, "CN=our ca""#;
    is_refused(
        &good,
        &["--ca", &other_ca],
        unknown,
        &trust("is it the right --ca?"),
    );
    is_refused_by_roots(&good, &other_ca, unknown, &trust(or_ca));
    is_refused(
        &good,
        &["--ca", &same_name],
        "the server's certificate can't be verified: a signature is not by the key of CA \
         \"CN=our ca\"",
        &trust("is it the right --ca?"),
    );

    let own = Keyed::self_signed(&["127.0.0.1"]);
    let own_fingerprint = own.fingerprint();
    is_refused(
        &own,
        &["--ca", &ca],
        "the server's certificate is self-signed",
        &format!(
            "is it the right --ca? --fingerprint {own_fingerprint} trusts this very certificate"
        ),
    );
    let of_ca = authority.keyed();
    let ca_fingerprint = of_ca.fingerprint();
    is_refused(
        &of_ca,
        &["--ca", &ca],
        "the server's certificate is a CA's own",
        &format!(
            "is it the right --ca? --fingerprint {ca_fingerprint} trusts this very certificate"
        ),
    );

    let expired = authority.sign_with(&["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 3);
    });
    let early = authority.sign_with(&["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2999, 1, 1);
        params.not_after = date_time_ymd(3000, 1, 1);
    });
    for (keyed, what) in [
        (&expired, "expired on 2020-02-03"),
        (&early, "is not valid before 2999-01-01"),
    ] {
        let fingerprint = keyed.fingerprint();
        is_refused(
            keyed,
            &["--ca", &ca],
            &format!("the server's certificate {what}"),
            &format!(
                "is the clock right here? --fingerprint {fingerprint} trusts it whatever its dates"
            ),
        );
    }

    let another = "the server needs another certificate";
    let name_hint = "if this is the right server, --name gives the name to expect";
    for (names, says) in [
        (&["sink.example"][..], r#", but for "sink.example""#),
        (
            &["a.example", "127.0.0.2", "::1"],
            r#", but for "a.example", "127.0.0.2", "::1""#,
        ),
        (
            &["a.example", "b.example", "*.c.example", "d.example"],
            r#", but for "a.example", "b.example", "*.c.example" and more"#,
        ),
        (&[], ", nor for any other host"),
    ] {
        is_refused(
            &authority.sign_with(names, no_common_name),
            &["--ca", &ca],
            &format!(r#"the server's certificate is not for "127.0.0.1"{says}"#),
            name_hint,
        );
    }
    is_refused(
        &good,
        &["--ca", &ca, "--name", "sink.example"],
        r#"the server's certificate is not for "sink.example", but for "localhost", "127.0.0.1""#,
        "is it the right server, and the right --name?",
    );

    // Old certificates, and some new ones, have only a common name.
    is_refused(
        &authority.sign_with(&[], |params| {
            no_common_name(params);
            params
                .distinguished_name
                .push(DnType::CommonName, "127.0.0.1");
        }),
        &["--ca", &ca],
        "the server's certificate is not for \"127.0.0.1\": it has no subjectAltName for a host, \
         and its common name, \"127.0.0.1\", does not count",
        another,
    );
    is_refused(
        &authority.sign_with(&[], |params| {
            let address = "127.0.0.1".try_into().unwrap();
            params.subject_alt_names = vec![SanType::DnsName(address)];
        }),
        &["--ca", &ca],
        "the server's certificate is not for \"127.0.0.1\", which it has as a DNS name in place of \
         an IP address",
        another,
    );

    is_refused(
        &authority.sign_with(&["127.0.0.1"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        &["--ca", &ca],
        "the server's certificate is not for servers: its extended key usage lacks serverAuth",
        "the server needs another certificate",
    );
    is_refused(
        &good,
        &["--fingerprint", &own_fingerprint],
        &format!("the server's certificate is another one; its sha256 is {good_fingerprint}"),
        "either the server has a new certificate, or this is another server",
    );

    // Each of these certificates is accepted by its fingerprint.
    for keyed in [&good, &own, &of_ca, &expired, &early] {
        let fingerprint = keyed.fingerprint();
        for fingerprint in [
            fingerprint.replace(':', "").to_lowercase(),
            format!("sha256 Fingerprint={fingerprint}"),
            fingerprint,
        ] {
            let outcome = send_to(keyed, &["--fingerprint", &fingerprint]);
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        }
    }
    let taken = [
        (&good, vec!["--ca", &ca]),
        (&good, vec!["--ca", &ca, "--name", "localhost"]),
        (&expired, vec!["--insecure"]),
    ];
    for (keyed, args) in taken {
        let outcome = send_to(keyed, &args);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }
    let outcome = send_by_roots(&good, &ca);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
}

/// The fault may be in the certificate of a CA above.
#[test]
fn a_fault_is_reported_for_the_certificate_that_has_it() {
    let ca = authority::Authority::new("Plant CA");
    let other = authority::Authority::new("Other CA");
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    let mails = |params: &mut CertificateParams| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::Rfc822Name("x.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    };
    let line = |change: &dyn Fn(&mut CertificateParams)| ca.below("Line CA", change);
    let own = |change: &dyn Fn(&mut CertificateParams)| {
        let key = Arc::new(KeyPair::generate().unwrap());
        let names = [authority::dns("localhost"), authority::mail("a@x.example")];
        ca.sign(key, "", &names, change)
    };
    let clock = "is the clock right here? --fingerprint SHA256 trusts it whatever its dates";
    let another = "the server needs another certificate";
    let right_ca = "is it the right --ca? --fingerprint SHA256 trusts this very certificate";
    let mailed = line(&mails).sign(
        Arc::new(KeyPair::generate().unwrap()),
        "",
        &[authority::dns("localhost"), authority::mail("a@x.example")],
        |_| {},
    );
    for (server, what, hint) in [
        (
            line(&authority::expires).server(&["localhost"]),
            "can't be verified: the certificate of CA \"CN=Line CA\" expired on 2021-02-03",
            clock,
        ),
        (
            line(&|params| params.not_before = date_time_ymd(2049, 3, 4)).server(&["localhost"]),
            "can't be verified: the certificate of CA \"CN=Line CA\" can't be used: it ends before \
             it begins",
            another,
        ),
        (
            line(&|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })
            .server(&["localhost"]),
            "can't be verified: the certificate of CA \"CN=Line CA\" is not for servers: its \
             extended key usage lacks serverAuth",
            another,
        ),
        (
            line(&critical).server(&["localhost"]),
            "can't be verified: the certificate of CA \"CN=Line CA\" has the critical extension \
             1.2.3.4, which is not supported",
            another,
        ),
        (
            own(&critical),
            "has the critical extension 1.2.3.4, which is not supported",
            another,
        ),
        (
            mailed,
            "can't be verified: CA \"CN=Line CA\" has name constraints on e-mail addresses, which \
             are not supported",
            another,
        ),
        (
            other.below("Line CA", |_| {}).server(&["localhost"]),
            "is below an unknown CA, \"CN=Other CA\"",
            right_ca,
        ),
        (
            authority::Authority::new("PLANT CA").server(&["localhost"]),
            "can't be verified: CA \"CN=PLANT CA\" has its name written or encoded in another way \
             itself",
            right_ca,
        ),
    ] {
        let folder = Folder::new();
        let root = folder.write("root.pem", ca.pem().as_bytes());
        let both = folder.write("both.pem", server.pem().as_bytes());
        let receiver = Program::start(&["--cert", &both, "--key", &both]);
        let to = receiver.address().to_string();
        let outcome = piped(
            &["send", "--ca", &root, "--name", "localhost", &to],
            b"text\n",
        );
        let fingerprint = Fingerprint::of(&server.chain[0].0).to_string();
        let hint = hint.replace("SHA256", &fingerprint);
        let expected = said(&format!("{to}: the server's certificate {what}"), &hint);
        assert_eq!((outcome.stderr, outcome.status), (expected, 1));
    }
}

/// A server can't prove that it has a key of an unsupported kind, however it is trusted.
#[test]
fn a_server_whose_key_is_not_supported_is_refused_with_the_kind_of_key() {
    let folder = Folder::new();
    let (cert, key) = (folder.path("own.pem"), folder.path("own.key"));
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=own",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &cert]);
    let Some(made) = run_if_installed(&mut openssl, b"") else {
        return;
    };
    assert!(made.status.success());
    for version in ["-tls1_2", "-tls1_3"] {
        for trust in [&["--insecure", "-q"][..], &["--ca", &cert]] {
            let mut openssl = Command::new("openssl")
                .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"])
                .args([
                    "-cipher",
                    "DEFAULT@SECLEVEL=0",
                    "-cert",
                    &cert,
                    "-key",
                    &key,
                    version,
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let stdout = BufReader::new(openssl.stdout.take().unwrap());
            let to = stdout
                .lines()
                .find_map(|line| Some(line.unwrap().strip_prefix("ACCEPT ")?.trim().to_owned()))
                .unwrap();
            let outcome = piped(&[&["send"], trust, &[&to]].concat(), b"text\n");
            let expected = said(
                &format!(
                    "{to}: the server's certificate has a key that is not supported, RSA of 1024 \
                     bits; keys can be RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519"
                ),
                "the server needs another certificate",
            );
            assert!(outcome.stderr.ends_with(&expected), "{}", outcome.stderr);
            assert_eq!(outcome.status, 1);
            openssl.wait().unwrap();
        }
    }
}

#[test]
fn the_server_is_told_why_it_is_refused() {
    let authority = Authority::new("ca");
    let folder = Folder::new();
    let other = folder.write("other.pem", Authority::new("other").pem().as_bytes());
    for version in [&TLS12, &TLS13] {
        let config = authority.sign(&["127.0.0.1"]).config_of(&[version]);
        let server = Server::start_tcp(move |tcp| {
            Accepted::new(config, tcp)
                .shake_hands()
                .unwrap_err()
                .to_string()
        });
        let to = server.address.to_string();
        let outcome = piped(&["send", "--ca", &other, &to], b"text\n");
        assert_eq!(outcome.status, 1);
        assert_eq!(server.join(), "received fatal alert: UnknownCA");
    }
}

#[test]
fn the_server_is_asked_for_its_name_unless_that_is_an_address() {
    let keyed = Authority::new("ca").sign(&["sink.example"]);
    for (name, asked) in [
        (&["--name", "sink.example"][..], Some("sink.example")),
        (&["--name", "sink.example."], Some("sink.example")),
        (&[], None),
    ] {
        let server = Server::start(keyed.config(), |accepted| {
            accepted.read_to_end();
            accepted.close_notify();
            accepted.tls.server_name().map(str::to_owned)
        });
        let to = server.address.to_string();
        let fingerprint = keyed.fingerprint();
        let args = [&["send", "--fingerprint", &fingerprint, &to], name].concat();
        assert_eq!(Program::run(&args).status, 0);
        assert_eq!(server.join().as_deref(), asked);
    }
}

#[test]
fn a_server_without_tls_is_reported_as_such() {
    let to_http = Server::start_tcp(|mut tcp| {
        let _ = tcp.read(&mut [0; 4096]);
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    fails(
        &to_http.address,
        &[],
        "TO: the server does not speak TLS there",
        "",
    );
    let closing = Server::start_tcp(drop);
    let address = closing.address;
    let outcome = piped(&["send", "--insecure", &address.to_string()], b"text\n");
    let said = outcome
        .stderr
        .strip_prefix(&unverified(&address.to_string()));
    assert!(
        said.unwrap().contains("during the handshake"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.status, 1);
}

#[test]
fn a_server_that_never_shakes_hands_is_given_up() {
    let (done, wait) = mpsc::channel::<()>();
    let server = Server::start_tcp(move |tcp| {
        let _ = wait.recv();
        drop(tcp);
    });
    fails(&server.address, &[], "TO: no handshake within 10 s", "");
    drop(done);
}

#[test]
fn a_client_certificate_is_shown_and_a_sender_without_one_fails() {
    let folder = Folder::new();
    let tls = folder.path("tls");
    assert_eq!(Program::run(&["cert", &tls]).status, 0);
    let at = |name: &str| format!("{tls}/{name}");
    let (ca, cert, key) = (at("ca.pem"), at("client.pem"), at("client.key"));
    let (server_cert, server_key) = (at("server.pem"), at("server.key"));
    let serve = ["-c", &server_cert, "-k", &server_key, "--client-ca", &ca];
    let other = Authority::new("other");
    let other = other.sign_with(&["client"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let other_cert = folder.write("other.pem", other.pem.as_bytes());
    let other_key = folder.write("other.key", other.key_pem.as_bytes());
    let with_cert = ["--ca", &ca, "-c", &cert, "-k", &key];

    let receiver = Program::start(&serve);
    let to = receiver.address().to_string();
    let outcome = piped(&[&["send", &to], &with_cert[..]].concat(), b"text\n");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    receiver.wait_for_stdout("text\n");

    let wants = "TO: the server wants a certificate (certificate_required)";
    let wants_hint = "--cert and --key show it one that its CA has signed";
    let unknown = "TO: the server does not know the CA of our certificate (unknown_ca)";
    let name = "TO: the server does not let in the names of our certificate (access_denied)";
    let long = folder.path("long");
    File::create(&long).unwrap().set_len(64 << 20).unwrap();
    let strict = Program::start(&[&serve[..], &["--allow-client", "somebody.else"]].concat());
    let without = ["--ca", &*ca];
    let with_other = ["--ca", &ca, "-c", &other_cert, "-k", &other_key];
    for (receiver, args, what, hint) in [
        (&receiver, &without[..], wants, wants_hint),
        (&receiver, &with_other, unknown, ""),
        (&strict, &with_cert, name, ""),
    ] {
        let to = receiver.address().to_string();
        let expected = said(&what.replace("TO", &to), hint);
        for receipt in [&[][..], &["--receipt"]] {
            let args = [&["send", &to], args, receipt].concat();
            // In TLS 1.3, the sender has sent everything before its certificate is judged.
            let short = piped(&args, b"text\n");
            assert_eq!((short.stderr, short.status), (expected.clone(), 1));
            // A long stream is cut off in the middle.
            for encoding in ["none", "zstd"] {
                let args = [&args[..], &["-e", encoding], &[&*long]].concat();
                // The file is the second free argument.
                let outcome = Program::run(&args);
                assert_eq!((outcome.stderr, outcome.status), (expected.clone(), 1));
            }
            // An idle sender is told, too.
            let idle = start_piped(&args);
            idle.wait_for_line(|line| expected.starts_with(line));
            let idle = idle.outcome();
            assert_eq!((idle.stderr, idle.status), (expected.clone(), 1));
        }
    }
    assert_eq!(strict.stop().stdout_text(), "");
    assert_eq!(receiver.stop().stdout_text(), "text\n");
}

#[test]
fn in_tls_1_2_a_server_refuses_in_the_handshake() {
    let authority = Authority::new("ca");
    let keyed = authority.sign(&["127.0.0.1"]);
    let mut roots = RootCertStore::empty();
    let (ca, config) = (authority.keyed(), keyed.config_of(&[&TLS12]));
    roots.add(&ca.certificate()).unwrap();
    let verifier = rustls::server::AllowAnyAuthenticatedClient::new(roots);
    let required = ServerConfig::builder()
        .with_safe_default_cipher_suites()
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier.boxed())
        .with_cert_resolver(config.cert_resolver.clone());
    let server = Server::start_tcp(move |tcp| {
        let mut accepted = Accepted::new(required, tcp);
        accepted.shake_hands().unwrap_err();
        accepted.wait_for_eof();
    });
    fails(
        &server.address,
        &[],
        "TO: the server wants a certificate (certificate_required)",
        "--cert and --key show it one that its CA has signed",
    );
    server.join();

    // Where no certificate is required, a stream ends in TLS 1.2 as it does in TLS 1.3.
    let server = Server::start(config, |accepted| {
        let read = accepted.read_to_end();
        accepted.close_notify();
        read
    });
    let to = server.address.to_string();
    let outcome = piped(&["send", "--insecure", "-e", "none", &to], b"text\n");
    assert_eq!((outcome.status, server.join()), (0, b"text\n".to_vec()));
}

#[test]
fn a_stream_that_the_receiver_does_not_take_whole_fails_however_short_it_is() {
    let folder = Folder::new();
    let long = folder.write("long", &text(10_000));
    let mut corrupt = gzip(b"text\n");
    // The flipped bit is in the checksum (RFC 1952, section 2.3.1).
    let at = corrupt.len() - 8;
    corrupt[at] ^= 1;
    let corrupt = folder.write("corrupt.gz", &corrupt);
    let cut = folder.write("cut.gz", &gzip(b"text\n")[..20]);
    let xz = folder.write("xz", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46");
    for receipts in [false, true] {
        let mut args = vec!["--max-decoded", "1000"];
        args.extend(receipts.then_some("--receipt"));
        let receiver = Program::start(&args);
        let to = receiver.address().to_string();
        for (sent, file, end) in [
            (0, &long, "limit ("),
            (1, &corrupt, "corrupt (gzip: wrong checksum"),
            (2, &cut, "truncated (gzip not finished)"),
            (3, &xz, "refused (xz is not supported)"),
        ] {
            let outcome = Program::run(&["send", "--insecure", "-e", "none", &to, file]);
            assert_eq!(outcome.status, 1, "{file}: {}", outcome.stderr);
            let ended = receiver.wait_for_ends(sent + 1).swap_remove(sent);
            assert!(ended.end.starts_with(end), "{file}: {ended:?}");
        }
        // A stream that the receiver takes as a whole still succeeds.
        let fine = Program::run(&["send", "--insecure", &to, &xz]);
        assert_eq!(fine.status, 0, "{}", fine.stderr);
    }
}

#[test]
fn a_server_that_ends_without_close_notify_has_not_confirmed_the_stream() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    for (receipt, hint) in [(&[][..], NOT_TAKEN), (&["--receipt"], NOT_RECEIPTED)] {
        let ends = |what: &str, hint: &str, serve: fn(&mut Accepted)| {
            let server = Server::start(keyed.config(), serve);
            fails(&server.address, receipt, what, hint);
            server.join();
        };
        let reset = Errno::CONNRESET;
        ends(
            "TO: the server closed the connection without a close_notify",
            hint,
            |accepted| {
                accepted.read_to_end();
            },
        );
        ends(
            &format!("TO: the connection broke: {}", std::io::Error::from(reset)),
            "",
            |accepted| {
                accepted.read_to_end();
                accepted.reset_when_closed();
            },
        );
        // The server's answer is not valid.
        ends(
            "TO: the server's data is not valid: cannot decrypt peer's message",
            "",
            |accepted| {
                accepted.read_to_end();
                let forged = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
                accepted.tcp.write_all(&forged).unwrap();
                accepted.wait_for_eof();
            },
        );
    }
}

#[test]
fn a_server_that_ends_early_ends_it_while_it_has_nothing_to_send() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let reset = std::io::Error::from(Errno::CONNRESET);
    let reset = format!("TO: the connection broke: {reset}");
    let ends = |what: &str, hint: &str, serve: fn(&mut Accepted)| {
        let server = Server::start(keyed.config(), move |accepted| {
            // The stream has begun, and the sender's input stays open.
            let mut line = [0; 5];
            assert_eq!(accepted.read(&mut line).unwrap(), 5);
            serve(accepted);
        });
        let to = server.address.to_string();
        let mut sender = start_piped(&["send", "--insecure", "-e", "none", &to]);
        let mut stdin = sender.stdin();
        stdin.write_all(b"text\n").unwrap();
        let outcome = sender.outcome();
        let expected = unverified(&to) + &said(&what.replace("TO", &to), hint);
        assert_eq!((outcome.stderr, outcome.status), (expected, 1));
        server.join();
    };
    ends(
        "TO: the server ended the stream before all was sent",
        "",
        |accepted| {
            accepted.close_notify();
            accepted.wait_for_eof();
        },
    );
    ends(
        "TO: the server closed the connection without a close_notify",
        NOT_TAKEN,
        |_| (),
    );
    ends(&reset, "", |accepted| accepted.reset_when_closed());
}

#[test]
fn a_server_that_never_answers_is_waited_for_until_signals() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let folder = Folder::new();
    let file = folder.write("file", b"text\n");
    // One signal is enough after a file was sent.
    for (live, signal) in [
        (true, Signal::TERM),
        (true, Signal::INT),
        (false, Signal::TERM),
        (false, Signal::INT),
    ] {
        let (has_all, all) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        let server = Server::start(keyed.config(), move |accepted| {
            accepted.read_to_end();
            has_all.send(()).unwrap();
            let _ = wait.recv();
        });
        let to = server.address.to_string();
        let mut args = vec!["send", "--insecure", &to];
        if !live {
            args.push(&file);
        }
        let mut sender = start_piped(&args);
        drop(sender.stdin());
        all.recv_timeout(LIMIT).unwrap();
        sender.signal(signal);
        let mut expected = unverified(&to);
        if live {
            expected.push_str(STOPPING);
            sender.wait_for_line(|line| line == STOPPING.trim_end());
            // The same signal again so soon would count as an echo of the first.
            sender.signal(match signal {
                Signal::INT => Signal::TERM,
                _ => Signal::INT,
            });
        }
        let outcome = sender.outcome();
        expected += &said(
            &format!("{to}: stopped before the server had everything"),
            "",
        );
        assert_eq!((outcome.stderr, outcome.status), (expected, 1));
        drop(done);
        server.join();
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_10_s_after_a_signal() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let (begun, has_begun) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    let server = Server::start(keyed.config(), move |accepted| {
        accepted.read(&mut [0; 1024]).unwrap();
        begun.send(()).unwrap();
        accepted.read_to_end();
        let _ = wait.recv();
    });
    let to = server.address.to_string();
    let mut sender = start_piped(&["send", "--insecure", "-q", &to]);
    let mut stdin = sender.stdin();
    stdin.write_all(b"line\n").unwrap();
    has_begun.recv_timeout(LIMIT).unwrap();
    sender.signal(Signal::TERM);
    let outcome = sender.outcome();
    let late = format!("{to}: the server did not have everything 10 s after the signal");
    let expected = unverified(&to) + &said(&late, "");
    assert_eq!((outcome.stderr, outcome.status), (expected, 1));
    drop((done, stdin));
    server.join();
}

#[test]
fn a_signal_ends_live_input_as_its_end_would() {
    for signal in [Signal::TERM, Signal::INT] {
        for encoding in ENCODINGS {
            let receiver = Program::start(&["--receipt"]);
            let to = receiver.address().to_string();
            let args = ["send", "--insecure", "--receipt", "-e", encoding, &to];
            let mut sender = start_piped(&args);
            let mut stdin = sender.stdin();
            stdin.write_all(b"one\n").unwrap();
            receiver.wait_for_stdout("one\n");
            stdin.write_all(b"two\nunfinished").unwrap();
            sender.signal(signal);
            // timeout(1) sends its signal to the process and to its group.
            sender.signal(signal);
            let outcome = sender.outcome();
            let end = receiver.wait_for_end();
            assert_eq!((&*end.end, end.delivered), ("clean", 18), "{encoding}");
            let received = end.received;
            let sent = format!(
                "tlsink: sent 18 B as {received} B ({encoding}) to {to}, receipt matches\n"
            );
            let expected = unverified(&to) + STOPPING + &sent;
            assert_eq!((outcome.untimed(), outcome.status), (expected, 0));
            assert_eq!(receiver.stop().stdout_text(), "one\ntwo\nunfinished");
            drop(stdin);
        }
    }
}

#[test]
fn a_signal_stops_a_file_even_while_nothing_but_the_codec_is_slow() {
    let folder = Folder::new();
    let file = folder.write("noise", &noise(16 << 20));
    let receiver = Program::start_into(&[], Stdout::File(File::create("/dev/null").unwrap()));
    let to = receiver.address().to_string();
    let args = ["send", "--insecure", "--level", "19", &to, &file];
    let terminal = Stderr::Terminal(Terminal::open());
    let sender = Program::start_command(&args, Stdio::null(), terminal);
    // The progress is shown meanwhile, too.
    let live = sender.wait_for_drawn(|live| live.contains(" of 16.0 MiB, "));
    assert!(!live.contains("100%"), "{live}");
    sender.signal(Signal::TERM);
    let outcome = sender.outcome();
    let stopped = format!("tlsink: {to}: stopped before the server had everything\n");
    assert!(outcome.stderr.ends_with(&stopped), "{}", outcome.stderr);
    assert_eq!(outcome.status, 1);
}

#[test]
fn the_data_in_a_pipe_is_sent_when_a_signal_comes() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let (signalled, wait) = mpsc::channel::<()>();
    let server = Server::start(keyed.config(), move |accepted| {
        // Until the signal, the sender takes nothing more, and data waits in the pipe.
        wait.recv_timeout(LIMIT).unwrap();
        let all = accepted.read_to_end();
        accepted.close_notify();
        all
    });
    let to = server.address.to_string();
    let mut sender = start_piped(&["send", "--insecure", "-e", "none", &to]);
    let mut stdin = sender.stdin();
    rustix::io::ioctl_fionbio(&stdin, true).unwrap();
    let mut lines = (0..).flat_map(|number| format!("this is line {number}\n").into_bytes());
    let (mut sent, mut full) = (Vec::new(), 0);
    // The pipe stays full when the sender has taken nothing for a while.
    while full < 20 {
        let piece: Vec<u8> = lines.by_ref().take(4096).collect();
        let mut left = &piece[..];
        while !left.is_empty() && full < 20 {
            match stdin.write(left) {
                Ok(written) => {
                    sent.extend_from_slice(&left[..written]);
                    left = &left[written..];
                    full = 0;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    full += 1;
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
    sender.signal(Signal::TERM);
    sender.wait_for_line(|line| line == STOPPING.trim_end());
    signalled.send(()).unwrap();
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(
        server.join() == sent,
        "what arrived is not what was written"
    );
    drop(stdin);
}

#[test]
fn live_input_that_never_rests_ends_with_a_signal_too() {
    let receiver = Program::start(&["-f", "raw"]);
    let to = receiver.address().to_string();
    let mut sender = start_piped(&["send", "--insecure", &to]);
    let mut stdin = sender.stdin();
    let writer = thread::spawn(move || {
        // Writes until the sender reads no more.
        while stdin.write_all(b"again\n").is_ok() {}
    });
    receiver.wait_for_stdout("again\n");
    sender.signal(Signal::TERM);
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    writer.join().unwrap();
    assert_eq!(receiver.wait_for_end().end, "clean");
}

#[test]
fn a_file_that_was_stopped_in_the_middle_is_not_whole_to_the_receiver() {
    let folder = Folder::new();
    let file = folder.path("file");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    for signal in [Signal::TERM, Signal::INT] {
        for redirected in [false, true] {
            let (begun, has_begun) = mpsc::channel();
            let server = Server::start(keyed.config(), move |accepted| {
                accepted.read(&mut [0; 1024]).unwrap();
                begun.send(()).unwrap();
                ends_without_close_notify(accepted)
            });
            let to = server.address.to_string();
            let mut args = vec!["send", "--insecure", "-e", "none", &to];
            let stdin = match redirected {
                true => File::open(&file).unwrap().into(),
                false => {
                    args.push(&file);
                    Stdio::null()
                }
            };
            let sender = Program::start_command(&args, stdin, Stderr::Pipe);
            has_begun.recv_timeout(LIMIT).unwrap();
            sender.signal(signal);
            let outcome = sender.outcome();
            let stopped = format!("{to}: stopped before the server had everything");
            let expected = unverified(&to) + &said(&stopped, "");
            assert_eq!((outcome.stderr, outcome.status), (expected, 1));
            assert!(server.join());
        }
    }
}

#[test]
fn an_interruption_that_was_ignored_at_start_stays_ignored() {
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    let args = ["send", "--insecure", &to];
    let mut sender = Program::start_command_after("trap '' INT", &args, Stdio::piped());
    let mut stdin = sender.stdin();
    stdin.write_all(b"one\n").unwrap();
    receiver.wait_for_stdout("one\n");
    sender.signal(Signal::INT);
    stdin.write_all(b"two\n").unwrap();
    receiver.wait_for_stdout("one\ntwo\n");
    drop(stdin);
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert!(!outcome.stderr.contains("stopping"), "{}", outcome.stderr);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_not_whole_to_the_receiver() {
    const LEN: u64 = 64 << 20;
    const LEFT: u64 = 32 << 20;
    let folder = Folder::new();
    let path = folder.path("file");
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    for redirected in [false, true] {
        let file = File::create(&path).unwrap();
        file.set_len(LEN).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (shrunk, has_shrunk) = mpsc::channel::<()>();
        let server = Server::start(keyed.config(), move |accepted| {
            accepted.read(&mut [0; 1024]).unwrap();
            begun.send(()).unwrap();
            has_shrunk.recv_timeout(LIMIT).unwrap();
            ends_without_close_notify(accepted)
        });
        let to = server.address.to_string();
        let mut args = vec!["send", "--insecure", "-e", "none", &to];
        let (stdin, name) = match redirected {
            true => (File::open(&path).unwrap().into(), "standard input"),
            false => {
                args.push(&path);
                (Stdio::null(), &*path)
            }
        };
        let sender = Program::start_command(&args, stdin, Stderr::Pipe);
        has_begun.recv_timeout(LIMIT).unwrap();
        // The sender has only filled the buffers, because the server does not read.
        file.set_len(LEFT).unwrap();
        shrunk.send(()).unwrap();
        let outcome = sender.outcome();
        let what =
            format!("can't read {name}: it shrank from {LEN} to {LEFT} bytes while it was read");
        let expected = unverified(&to) + &said(&what, "");
        assert_eq!((outcome.stderr, outcome.status), (expected, 1));
        assert!(server.join());
    }
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_long_as_it_was() {
    const LEN: usize = 64 << 20;
    let folder = Folder::new();
    let path = folder.path("file");
    let file = File::create(&path).unwrap();
    file.set_len(LEN as u64).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (grown, has_grown) = mpsc::channel::<()>();
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let server = Server::start(keyed.config(), move |accepted| {
        let read = accepted.read(&mut [0; 1024]).unwrap();
        begun.send(()).unwrap();
        has_grown.recv_timeout(LIMIT).unwrap();
        let rest = accepted.read_to_end().len();
        accepted.close_notify();
        read + rest
    });
    let to = server.address.to_string();
    let args = ["send", "--insecure", "-e", "none", &to, &path];
    let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    has_begun.recv_timeout(LIMIT).unwrap();
    file.set_len(2 * LEN as u64).unwrap();
    grown.send(()).unwrap();
    assert_eq!((sender.outcome().status, server.join()), (0, LEN));
}

#[test]
fn files_whose_reported_length_is_wrong_are_sent_to_their_end() {
    let receiver = Program::start(&["-f", "raw"]);
    let to = receiver.address().to_string();
    let mut expected = Vec::new();
    // These files claim a length of 0 and of 4096 bytes.
    for file in ["/proc/version", "/sys/devices/system/cpu/online"] {
        let Ok(content) = fs::read(file) else {
            eprintln!("skipped: there is no {file}");
            continue;
        };
        expected.extend_from_slice(&content);
        let outcome = Program::run(&["send", "--insecure", &to, file]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }
    // A file that was partly read is sent from there on.
    let folder = Folder::new();
    let mut file = File::open(folder.write("file", b"read already, and not yet")).unwrap();
    file.read_exact(&mut [0; 13]).unwrap();
    expected.extend_from_slice(b" and not yet");
    let args = ["send", "--insecure", &to];
    let outcome = Program::start_command(&args, file.into(), Stderr::Pipe).outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(receiver.stop().stdout == expected);
}

#[test]
fn an_empty_stream_can_be_sent_on_purpose() {
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    for (commands, args) in [
        ("exec </dev/null", &["send", "--insecure", &to][..]),
        ("exec <&-", &["send", "--insecure", &to, "/dev/null"]),
    ] {
        let outcome = Program::start_command_after(commands, args, Stdio::null()).outcome();
        assert_eq!(outcome.status, 0, "{commands}: {}", outcome.stderr);
    }
    for end in receiver.wait_for_ends(2) {
        assert_eq!((&*end.end, end.delivered), ("clean", 0));
    }
}

#[test]
fn a_fifo_without_a_writer_is_waited_for_with_a_message() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    let args = ["send", "--insecure", &to, &fifo];
    let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    let waiting = format!("tlsink: waiting for another program to write to the FIFO {fifo}");
    sender.wait_for_line(|line| line == waiting);
    let mut writer = File::options().write(true).open(&fifo).unwrap();
    writer.write_all(b"line\n").unwrap();
    receiver.wait_for_stdout("line\n");
    // Input from a FIFO is live, so a signal ends it.
    sender.signal(Signal::TERM);
    assert_eq!(sender.outcome().status, 0);
    assert_eq!(receiver.wait_for_end().end, "clean");
}

#[test]
fn input_that_fails_in_the_middle_is_not_whole_to_the_receiver() {
    for encoding in ENCODINGS {
        let receiver = Program::start(&[]);
        let to = receiver.address().to_string();
        // A terminal's other side can't be read once the terminal is closed.
        let Terminal {
            mut user,
            controller,
        } = Terminal::open();
        let args = ["send", "--insecure", "-e", encoding, &to];
        let sender = Program::start_command(&args, controller.into(), Stderr::Pipe);
        user.write_all(b"text\n").unwrap();
        receiver.wait_for_stdout("text\n");
        drop(user);
        let outcome = sender.outcome();
        let eio = std::io::Error::from(Errno::IO);
        let expected = said(&format!("can't read standard input: {eio}"), "");
        assert_eq!(outcome.stderr, unverified(&to) + &expected);
        assert_eq!(outcome.status, 1);
        let end = receiver.wait_for_end().end;
        assert!(end.starts_with("truncated (no close_notify"), "{end}");
    }
}

#[test]
fn retry_tries_again_until_a_server_listens() {
    // No other program uses ports of this address.
    let address: SocketAddr = TcpListener::bind("127.77.0.1:0")
        .and_then(|free| free.local_addr())
        .unwrap();
    let to = address.to_string();
    let refused = std::io::Error::from(Errno::CONNREFUSED);
    let missed = format!("can't connect to {to}: {refused}");
    let mut sender = start_piped(&["send", "--insecure", "--retry", "20", "-e", "none", &to]);
    drop(sender.stdin());
    sender.wait_for_line(|line| line == format!("tlsink: {missed}; try 1 of 20 in 0.5 s"));
    sender.wait_for_line(|line| line == format!("tlsink: {missed}; try 2 of 20 in 1 s"));
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let config = keyed.config();
    let server = Server::start_on(TcpListener::bind(address).unwrap(), move |tcp| {
        let mut accepted = Accepted::new(config, tcp);
        accepted.shake_hands().unwrap();
        accepted.read_to_end();
        accepted.close_notify();
    });
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let sent = format!("tlsink: sent 0 B as 0 B (none) to {to}\n");
    assert!(outcome.untimed().ends_with(&sent), "{}", outcome.stderr);
    server.join();
    let hint = "nothing listens there; --retry N tries again";
    fails(&address, &[], &missed, hint);
    // The hint names the tries, and no longer suggests --retry.
    let sender = start_piped(&["send", "-q", "--insecure", "--retry", "1", &to]);
    let outcome = sender.outcome();
    let said = said(&missed, "nothing listens there; 2 tries failed");
    assert_eq!(outcome.stderr, unverified(&to) + &said);
}

#[test]
fn a_receipt_is_compared_with_the_sent_data() {
    let text = text(100_000);
    let len = text.len();
    let crc = crc32c::crc32c(&text);
    let whole = |received: usize, delivered: usize, crc: u32| {
        format!(
            r#"{{"ok":true,"received":{received},"delivered":{delivered},"crc32c":"{crc:08x}"}}"#
        )
    };
    let right = whole(len, len, crc) + "\n";
    let outcome = with_receipt(&text, right.as_bytes());
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let sent = "tlsink: sent 97.7 KiB as 97.7 KiB (none) to TO, receipt matches\n";
    assert_eq!(outcome.untimed(), sent);

    let decompressed =
        "it may have decompressed data that was compressed before; -d none there passes it on";
    let none = "TO: the server's answer is not a receipt";
    let endless = vec![b'x'; 1 << 20];
    let most = [b"{", &[b' '; 4095][..]].concat();
    for (answer, what, hint) in [
        (
            whole(1, len, crc).as_bytes(),
            format!("TO: the receipt does not match: 1 byte received, but {len} were sent"),
            "",
        ),
        (
            whole(len, 2, crc).as_bytes(),
            format!("TO: the receipt does not match: 2 bytes delivered, not {len}"),
            decompressed,
        ),
        (
            whole(len, len, !crc).as_bytes(),
            format!(
                "TO: the receipt does not match: their crc32c is {:08x}, not {crc:08x}",
                !crc
            ),
            decompressed,
        ),
        (
            whole(0, 0, 0).as_bytes(),
            format!(
                "TO: the receipt does not match: 0 bytes received, but {len} were sent; \
                 0 bytes delivered, not {len}; their crc32c is 00000000, not {crc:08x}"
            ),
            "",
        ),
        (
            br#"{"ok":false,"received":9,"delivered":7,"reason":"disk full \u001b[2J"}"#,
            "TO: the server did not take the whole stream: disk full \\x1b[2J; 9 bytes received, \
             7 delivered"
                .to_owned(),
            "",
        ),
        (
            b"",
            "TO: the server gave no receipt".to_owned(),
            "the server must run with --receipt",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n", none.to_owned(), ""),
        (&right.as_bytes()[..20], none.to_owned(), ""),
        (&most, none.to_owned(), ""),
        (
            &endless,
            "TO: the server answers with more than 4096 bytes".to_owned(),
            "",
        ),
    ] {
        let outcome = with_receipt(&text, answer);
        assert_eq!(outcome.stderr, said(&what, hint));
        assert_eq!(outcome.status, 1);
    }
}

#[test]
fn a_refusal_in_the_middle_of_a_stream_is_reported() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let folder = Folder::new();
    let long = folder.path("long");
    File::create(&long).unwrap().set_len(64 << 20).unwrap();
    let server = Server::start(keyed.config(), |accepted| {
        let mut some = vec![0; 1 << 20];
        accepted.read(&mut some).unwrap();
        let refusal = br#"{"ok":false,"received":16384,"delivered":9,"reason":"disk full"}"#;
        accepted.write(refusal).unwrap();
        accepted.close_notify();
        accepted.wait_for_eof();
    });
    fails(
        &server.address,
        &["--receipt", "-e", "none", &long],
        "TO: the server did not take the whole stream: disk full; 16384 bytes received, 9 delivered",
        "",
    );
    server.join();
}

#[test]
fn unexpected_data_from_a_server_is_ignored_up_to_a_limit() {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    for (answer, status) in [(64 << 10, 0), ((64 << 10) + 1, 1)] {
        let server = Server::start(keyed.config(), move |accepted| {
            accepted.write(b"welcome\n").unwrap();
            accepted.read_to_end();
            let _ = accepted.write(&vec![b'x'; answer - 8]);
            accepted.tls.send_close_notify();
            let _ = accepted.tls.write_tls(&mut accepted.tcp);
            accepted.wait_for_eof();
        });
        let to = server.address.to_string();
        let outcome = piped(&["send", "--insecure", &to], b"text\n");
        assert_eq!(outcome.status, status, "{}", outcome.stderr);
        server.join();
    }
}

#[test]
fn without_ca_certificates_of_the_system_the_error_names_other_ways_to_verify() {
    let folder = Folder::new();
    folder.write("empty.pem", b"");
    let mut command = Command::new(BINARY);
    command
        .args(["send", "127.0.0.1:1"])
        .env("SSL_CERT_FILE", folder.path("empty.pem"))
        .env_remove("SSL_CERT_DIR");
    let outcome = refused(command, WRONG_USE);
    let no_roots = said(
        "this system has no CA certificates",
        "--ca FILE verifies the server by the CA in FILE, --fingerprint by its certificate",
    );
    assert_eq!(outcome.stderr, no_roots);
}

#[test]
fn a_name_that_can_be_in_no_certificate_is_wrong() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap().to_string();
    let outcome = Program::run(&["send", "--insecure", "-q", "--name", "a b", &to]);
    let expected = said(
        &format!("{to}: \"a b\" is neither a DNS name nor an IP address"),
        "--name takes one of these; international names in ASCII",
    );
    assert_eq!(outcome.stderr, unverified(&to) + &expected);
    assert_eq!(outcome.status, 2);
}

#[test]
fn openssl_s_server_receives_the_data() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let keyed = authority.sign(&["localhost", "127.0.0.1"]);
    let ca = folder.write("ca.pem", authority.pem().as_bytes());
    let cert = folder.write("own.pem", keyed.pem.as_bytes());
    let key = folder.write("own.key", keyed.key_pem.as_bytes());
    for version in ["-tls1_2", "-tls1_3"] {
        let started = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"])
            .args(["-cert", &cert, "-key", &key, version])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut openssl = match started {
            Ok(openssl) => openssl,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing("openssl is not installed");
                return;
            }
            Err(error) => panic!("can't start openssl: {error}"),
        };
        let mut stdout = BufReader::new(openssl.stdout.take().unwrap());
        let mut line = String::new();
        let to = loop {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it never listens");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().to_owned();
            }
        };
        let outcome = piped(&["send", "--ca", &ca, "-e", "none", &to], b"some text\n");
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        assert!(printed.contains("some text\n"), "{printed}");
        openssl.wait().unwrap();
    }
}

/// Data of many kinds and lengths, with descriptions.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut samples = vec![
        ("nothing", Vec::new()),
        ("a byte", b"x".to_vec()),
        ("text", text(1 << 20)),
        ("noise", noise(1 << 20)),
    ];
    // The sizes of the buffers of pipes, files and TLS.
    for boundary in [16 << 10, 64 << 10, 256 << 10] {
        for len in [boundary - 1, boundary, boundary + 1] {
            samples.push(("at a boundary", noise(len)));
        }
    }
    samples
}

fn text(len: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number| format!("this is line {number}\n").into_bytes());
    lines.take(len).collect()
}

/// Data that can't be compressed, and does not begin like a compressed format.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    });
    b"noise".iter().copied().chain(noise).take(len).collect()
}

/// A number of bytes, as the sender shows it.
fn in_units(bytes: u64) -> String {
    match bytes as f64 {
        small @ 0.0..1024.0 => format!("{small} B"),
        middle @ 1024.0..1_000_000.0 => format!("{:.1} KiB", middle / 1024.0),
        large => format!("{:.1} MiB", large / 1_048_576.0),
    }
}

/// The message after a signal.
const STOPPING: &str = "tlsink: stopping: up to 10 s to finish; a second signal stops now\n";

/// Reads to the end, and tells whether no close_notify came.
fn ends_without_close_notify(accepted: &mut Accepted) -> bool {
    let mut buf = vec![0; 64 << 10];
    loop {
        match accepted.read(&mut buf) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}

/// The warning that `--insecure` causes.
fn unverified(to: &str) -> String {
    format!(
        "tlsink: {to}: the server is not verified; any server at this address receives the data\n"
    )
}

fn no_common_name(params: &mut CertificateParams) {
    params.distinguished_name = DistinguishedName::new();
}

fn start_piped(args: &[&str]) -> Program {
    Program::start_command(args, Stdio::piped(), Stderr::Pipe)
}

/// Runs the sender with these bytes on its standard input.
fn piped(args: &[&str], bytes: &[u8]) -> Outcome {
    let mut sender = start_piped(args);
    let mut stdin = sender.stdin();
    let bytes = bytes.to_vec();
    // A sender that ends early does not read everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&bytes)));
    let outcome = sender.outcome();
    writer.join().unwrap();
    outcome
}

/// Sends a line to this address, which must fail with exactly this message. `TO` stands for the
/// address.
fn fails(address: &SocketAddr, args: &[&str], what: &str, hint: &str) {
    let to = address.to_string();
    let outcome = piped(&[&["send", "--insecure", &to], args].concat(), b"text\n");
    let expected = unverified(&to) + &said(&what.replace("TO", &to), hint);
    assert_eq!(outcome.stderr, expected);
    assert_eq!(outcome.status, 1);
}

/// Sends to a server with this certificate.
fn send_to(keyed: &Keyed, args: &[&str]) -> Outcome {
    let mut command = Command::new(BINARY);
    command.arg("send").args(args);
    send_by(keyed, command)
}

/// Sends to a server with this certificate, where the system's roots are those in this file.
fn send_by_roots(keyed: &Keyed, roots: &str) -> Outcome {
    let mut command = Command::new(BINARY);
    command
        .arg("send")
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR");
    send_by(keyed, command)
}

fn send_by(keyed: &Keyed, mut command: Command) -> Outcome {
    let config = keyed.config();
    let server = Server::start_tcp(move |tcp| {
        let mut accepted = Accepted::new(config, tcp);
        if accepted.shake_hands().is_ok() {
            accepted.read_to_end();
            accepted.close_notify();
        }
    });
    command.arg(server.address.to_string());
    let mut outcome = Program::run_by(command, Stdout::Collected, Stderr::Pipe);
    let to = server.address.to_string();
    outcome.stderr = outcome.stderr.replace(&to, "TO");
    server.join();
    outcome
}

fn is_refused(keyed: &Keyed, args: &[&str], what: &str, hint: &str) {
    let outcome = send_to(keyed, args);
    assert_eq!(outcome.stderr, said(&format!("TO: {what}"), hint));
    assert_eq!(outcome.status, 1);
}

fn is_refused_by_roots(keyed: &Keyed, roots: &str, what: &str, hint: &str) {
    let outcome = send_by_roots(keyed, roots);
    assert_eq!(outcome.stderr, said(&format!("TO: {what}"), hint));
    assert_eq!(outcome.status, 1);
}

/// Sends these bytes, uncompressed, to a server that answers with this receipt. In the messages,
/// `TO` stands for the server's address.
fn with_receipt(bytes: &[u8], answer: &[u8]) -> Outcome {
    let keyed = Keyed::self_signed(&["127.0.0.1"]);
    let answer = answer.to_vec();
    let server = Server::start(keyed.config(), move |accepted| {
        accepted.read_to_end();
        // A sender may reject the answer before it has read all of it.
        if accepted.write(&answer).is_ok() {
            accepted.tls.send_close_notify();
            let _ = accepted.tls.write_tls(&mut accepted.tcp);
        }
        accepted.wait_for_eof();
    });
    let to = server.address.to_string();
    let fingerprint = keyed.fingerprint();
    let args = ["send", "--fingerprint", &fingerprint, "--receipt"];
    let args = [&args[..], &["-e", "none", &to]].concat();
    let mut outcome = piped(&args, bytes);
    outcome.stderr = outcome.stderr.replace(&to, "TO");
    server.join();
    outcome
}

/// A folder for the files of a test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = Path::join(self.0.path(), name);
        path.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}
