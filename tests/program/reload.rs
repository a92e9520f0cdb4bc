//! Certificates, keys, CAs and CRLs that are replaced while the program runs.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::SerialNumber;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::authority::{
    Authority, Credentials, DISTRIBUTION_POINT, dns, expires, lasts, some_reasons,
};
use crate::common::program::{Client, Program, Version, send, tcp};

const RELOADED: &str = "tlsink: certificates reloaded";

/// The time within which the program notices a change without a signal.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn sighup_loads_the_files_as_they_are_now() {
    let ca = Authority::new("Server CA");
    let (old, new) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let files = Files::new();
    files.replace("both.pem", &old.pem());
    let program = files.start(&[("--cert", "both.pem")]);
    assert!(shows(&program, &old));
    // The certificates are reloaded even if nothing has changed.
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == RELOADED);
    assert!(shows(&program, &old));

    files.replace("both.pem", &new.pem());
    program.signal(Signal::HUP);
    program.wait_for_lines(2, |line| line == RELOADED);
    assert!(shows(&program, &new));
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(
        !outcome.stderr.contains("stays in use"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn without_a_signal_a_file_that_is_renamed_over_is_loaded_within_5_seconds() {
    is_loaded_soon(|files, pem| files.replace("both.pem", pem));
}

#[test]
fn without_a_signal_a_file_that_is_written_to_is_loaded_within_5_seconds() {
    is_loaded_soon(|files, pem| fs::write(files.path("both.pem"), pem).unwrap());
}

/// Replaces the certificate and the key in `both.pem` in this way, without a signal.
fn is_loaded_soon(replace: fn(&Files, &str)) {
    let ca = Authority::new("Server CA");
    let (old, new) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let files = Files::new();
    files.replace("both.pem", &old.pem());
    let program = files.start(&[("--cert", "both.pem")]);
    assert!(shows(&program, &old));
    let replaced = Instant::now();
    replace(&files, &new.pem());
    program.wait_for_line(|line| line == RELOADED);
    assert!(replaced.elapsed() < SOON);
    assert!(shows(&program, &new));
}

/// Kubernetes makes the files links through `..data`, a link to the folder that holds them, and
/// replaces that link.
#[test]
fn without_a_signal_files_in_a_folder_that_is_swapped_are_loaded_within_5_seconds() {
    let ca = Authority::new("Server CA");
    let (old, new) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let files = Files::new();
    let fill = |folder: &str, credentials: &Credentials| {
        fs::create_dir(files.path(folder)).unwrap();
        let path = |name: &str| files.path(folder).join(name);
        fs::write(path("tls.crt"), &credentials.chain_pem).unwrap();
        fs::write(path("tls.key"), credentials.key_pem()).unwrap();
    };
    fill("..2026_11_01", &old);
    symlink("..2026_11_01", files.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), files.path(name)).unwrap();
    }
    let program = files.start(&[("--cert", "tls.crt"), ("--key", "tls.key")]);
    assert!(shows(&program, &old));

    fill("..2026_11_23", &new);
    symlink("..2026_11_23", files.path("..data_tmp")).unwrap();
    let replaced = Instant::now();
    fs::rename(files.path("..data_tmp"), files.path("..data")).unwrap();
    fs::remove_dir_all(files.path("..2026_11_01")).unwrap();
    program.wait_for_line(|line| line == RELOADED);
    assert!(replaced.elapsed() < SOON);
    assert!(shows(&program, &new));
}

#[test]
fn a_key_that_is_replaced_half_a_second_after_its_certificate_is_waited_for() {
    let ca = Authority::new("Server CA");
    let files = Files::new();
    let old = ca.server(&["localhost"]);
    let stranger = Authority::new("Other CA").own();
    let new = ca.sign(stranger.key, "", &[dns("localhost")], |_| {});
    files.replace("cert.pem", &old.chain_pem);
    files.replace("key.pem", &old.key_pem());
    let program = files.start(&[("--cert", "cert.pem"), ("--key", "key.pem")]);
    assert!(shows(&program, &old));

    let replaced = Instant::now();
    files.replace("cert.pem", &new.chain_pem);
    thread::sleep(Duration::from_millis(500));
    files.replace("key.pem", &new.key_pem());
    let gap = replaced.elapsed();
    program.wait_for_line(|line| line == RELOADED);
    assert!(shows(&program, &new));
    // On a busy machine the gap may be longer. Then the program rightly reports the mismatch.
    if gap < Duration::from_millis(900) {
        let said = program.stop().stderr;
        assert!(!said.contains("stays in use"), "{said}");
    }
}

#[test]
fn a_broken_file_is_reported_and_changes_nothing_and_a_good_one_is_loaded_later() {
    let ca = Authority::new("Server CA");
    let (old, new) = (ca.server(&["localhost"]), ca.server(&["localhost"]));
    let stranger = Authority::new("Other CA").own();
    let files = Files::new();
    files.replace("cert.pem", &old.chain_pem);
    files.replace("key.pem", &old.key_pem());
    let (cert, key) = (files.text("cert.pem"), files.text("key.pem"));
    let program = files.start(&[("--cert", "cert.pem"), ("--key", "key.pem")]);
    let not_found = io::Error::from_raw_os_error(2);
    let damaged = old.chain_pem.replacen("\nMI", "\n!!", 1);
    for (content, said, hint) in [
        (
            Some(&*damaged),
            format!("{cert}: line 2: the base64 of the CERTIFICATE is damaged"),
            "hint: get the file anew if it is damaged; where files were joined, each -----BEGIN and \
             -----END must be a line of its own",
        ),
        (
            Some(""),
            format!("{cert}: no certificate found"),
            "hint: in PEM files, certificates begin with -----BEGIN CERTIFICATE, and keys with -----BEGIN PRIVATE KEY",
        ),
        (None, format!("can't read {cert}: {not_found}"), ""),
        (
            Some(&*stranger.chain_pem),
            format!("{key}: the private key is not that of the certificate"),
            "hint: --cert and --key must belong together, the server's own certificate first",
        ),
    ] {
        match content {
            Some(content) => files.replace("cert.pem", content),
            None => fs::remove_file(files.path("cert.pem")).unwrap(),
        }
        // One of the faults is noticed by a signal, the others without one.
        if content.is_some_and(str::is_empty) {
            program.signal(Signal::HUP);
        }
        let said = format!("tlsink: {said}; the old credentials stay in use");
        program.wait_for_line(|line| line == said);
        if !hint.is_empty() {
            program.wait_for_line(|line| line == hint);
        }
        assert!(shows(&program, &old), "{said}");
        assert!(!program.stderr().contains(RELOADED));
    }
    files.replace("cert.pem", &new.chain_pem);
    program.wait_for_line(|line| line == RELOADED);
    assert!(shows(&program, &new));
}

#[test]
fn open_connections_go_on_over_a_reload_that_would_refuse_them() {
    let server = Authority::new("Server CA");
    let ca = Authority::new("Plant CA");
    let files = Files::new();
    files.replace("both.pem", &server.server(&["localhost"]).pem());
    files.replace("ca.pem", &ca.pem());
    files.replace("ca.crl", &ca.crl(&[]));
    let program = files.start(&[
        ("--cert", "both.pem"),
        ("--client-ca", "ca.pem"),
        ("--crl", "ca.crl"),
    ]);
    let sender = ca.sender("", &[dns("a.example")]);
    let mut open: Vec<_> = Version::ALL
        .map(|version| connect(&program, &sender, version).unwrap())
        .into();
    for client in &mut open {
        client.write(b"before\n").unwrap();
    }
    program.wait_for_stdout("before\nbefore\n");

    files.replace("ca.crl", &ca.crl(&[&sender.serial]));
    files.replace("both.pem", &server.server(&["localhost"]).pem());
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == RELOADED);
    is_refused(&program, &sender, "the certificate is revoked");
    for mut client in open {
        client.write(b"after\n").unwrap();
        client.finish().unwrap();
    }
    let ends = program.wait_for_ends(2);
    assert!(ends.iter().all(|ended| ended.end == "clean"), "{ends:?}");
    assert!(ends.iter().all(|ended| ended.received == 13), "{ends:?}");
}

#[test]
fn a_new_client_ca_and_a_new_list_take_effect() {
    let ca = Authority::new("Plant CA");
    let other = Authority::new("Other CA");
    let files = Files::new();
    // The CA and its list are in one file, so that both change at once.
    files.replace("ca.pem", &(ca.pem() + &ca.crl(&[])));
    // The certificate made for this run has no file, and stays.
    let program = files.start(&[("--client-ca", "ca.pem"), ("--crl", "ca.pem")]);
    let sender = ca.sender("", &[dns("a.example")]);
    let neighbour = ca.sender("", &[dns("b.example")]);
    let stranger = other.sender("", &[dns("c.example")]);
    let fresh = certificate(&program, &sender);
    is_let_in(&program, &neighbour);
    is_refused(&program, &stranger, "unknown CA \"CN=Other CA\"");

    // The change is noticed without a signal.
    files.replace("ca.pem", &(ca.pem() + &ca.crl(&[&sender.serial])));
    program.wait_for_line(|line| line == RELOADED);
    is_refused(&program, &sender, "the certificate is revoked");
    assert_eq!(certificate(&program, &neighbour), fresh);

    files.replace("ca.pem", &(other.pem() + &other.crl(&[])));
    program.signal(Signal::HUP);
    program.wait_for_lines(2, |line| line == RELOADED);
    is_refused(&program, &neighbour, "unknown CA \"CN=Plant CA\"");
    assert_eq!(certificate(&program, &stranger), fresh);
}

/// RUSTSEC-2026-0104: such a list caused a panic.
#[test]
fn an_unusable_list_is_reported_and_changes_nothing() {
    let ca = Authority::new("Plant CA");
    let files = Files::new();
    files.replace("ca.pem", &ca.pem());
    files.replace("crl", &ca.crl(&[]));
    let program = files.start(&[("--client-ca", "ca.pem"), ("--crl", "crl")]);
    let crl = files.text("crl");
    let sender = ca.sender("", &[dns("a.example")]);
    for (reasons, said) in [
        (&[][..], "it is damaged"),
        (&[0], "lists for some reasons only are not supported"),
        (&[7, 0x80], "lists for some reasons only are not supported"),
    ] {
        files.replace_by(
            "crl",
            &ca.odd_list(DISTRIBUTION_POINT, &some_reasons(reasons)),
        );
        program.signal(Signal::HUP);
        let said = format!(
            "tlsink: {crl}: the CRL can't be used: {said}; the old credentials stay in use"
        );
        program.wait_for_line(|line| line == said);
        is_let_in(&program, &sender);
    }
    files.replace("crl", &ca.crl(&[&sender.serial]));
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == RELOADED);
    is_refused(&program, &sender, "the certificate is revoked");
}

/// `printf %s "$(cat old.crl)" >ca.crl; cat new.crl >>ca.crl` joins lists in this way.
#[test]
fn a_list_that_is_joined_to_another_is_reported_and_admits_nobody() {
    let ca = Authority::new("Plant CA");
    let sender = ca.sender("", &[dns("a.example")]);
    let neighbour = ca.sender("", &[dns("b.example")]);
    let (old, new) = (ca.crl_with(&[], -5..=50), ca.crl(&[&sender.serial]));
    let files = Files::new();
    files.replace("ca.pem", &ca.pem());
    files.replace("ca.crl", &new);
    let program = files.start(&[("--client-ca", "ca.pem"), ("--crl", "ca.crl")]);
    is_refused(&program, &sender, "the certificate is revoked");
    for (round, joined) in [
        old.trim_end().to_owned() + &new,
        new.trim_end().to_owned() + &old,
    ]
    .iter()
    .enumerate()
    {
        files.replace("ca.crl", joined);
        program.signal(Signal::HUP);
        let said = "-----BEGIN is not at the start of its line; the old credentials stay in use";
        program.wait_for_lines(round + 1, |line| line.ends_with(said));
        is_refused(&program, &sender, "the certificate is revoked");
        is_let_in(&program, &neighbour);
    }
    files.replace("ca.crl", &(old + &new));
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == RELOADED);
    is_refused(&program, &sender, "the certificate is revoked");
    is_let_in(&program, &neighbour);
}

#[test]
fn without_files_sighup_stops_the_program() {
    for args in [&[][..], &["--self-signed", "localhost"]] {
        let program = Program::start(args);
        send(program.address(), b"sent\n");
        program.wait_for_end();
        program.signal(Signal::HUP);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0);
        assert!(
            outcome.stderr.ends_with("\ntlsink: stopping\n"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn warnings_are_printed_at_the_start_and_again_at_each_reload() {
    let ca = Authority::new("Server CA");
    let names = |name| [dns(name)];
    let key = ca.server(&[]).key;
    let ends_in = |days: i64, name| {
        ca.sign(key.clone(), "", &names(name), |params| {
            lasts(params, -1..=days)
        })
    };
    let soon = ends_in(10, "soon.example");
    let later = ends_in(20, "later.example");
    let over = ca.sign(key.clone(), "", &names("over.example"), expires);
    let nameless = ca.sign(key.clone(), "logs.example", &[], |_| {});
    let mut day = String::new();
    let ending = Authority::with("Ending CA", |params| {
        lasts(params, -1..=10);
        day = params.not_after.date().to_string();
    });
    let expired = Authority::with("Expired CA", expires);
    let stranger = Authority::new("Other CA");
    let none: &[&SerialNumber] = &[];

    let files = Files::new();
    for (name, text) in [
        ("soon.pem", soon.pem()),
        ("nameless.pem", nameless.pem()),
        ("later.pem", later.pem()),
        ("over.pem", over.pem()),
        ("ca.pem", ending.pem() + &expired.pem()),
        ("soon.crl", ending.crl_with(none, -1..=10)),
        ("over.crl", expired.crl_with(none, -20..=-1)),
        ("stranger.crl", stranger.crl_with(none, -1..=20)),
    ] {
        files.replace(name, &text);
    }
    let program = files.start(&[
        ("--cert", "soon.pem"),
        ("--cert", "later.pem"),
        ("--cert", "over.pem"),
        ("--cert", "nameless.pem"),
        ("--client-ca", "ca.pem"),
        ("--crl", "soon.crl"),
        ("--crl", "over.crl"),
        ("--crl", "stranger.crl"),
    ]);
    program.signal(Signal::HUP);
    program.wait_for_lines(2, |line| line.contains("CN=Other CA"));
    program.signal(Signal::HUP);
    program.wait_for_lines(3, |line| line.contains("CN=Other CA"));

    // The certificates may be read after midnight.
    let said = program.stop().stderr.replace("(in 9 days)", "(in 10 days)");
    let yesterday = said
        .lines()
        .find_map(|line| line.strip_prefix("tlsink: CRL of CN=Expired CA expired on "))
        .unwrap();
    assert!(yesterday < &*day, "{said}");
    let warnings = format!(
        "tlsink: certificate for soon.example expires on {day} (in 10 days)
tlsink: certificate for over.example expired on 2021-02-03
hint: senders that verify it will refuse it
tlsink: certificate for logs.example has no subjectAltName for a host
hint: most senders that verify it will refuse it: a common name does not count
tlsink: CA certificate of Ending CA expires on {day} (in 10 days)
tlsink: CA certificate of Expired CA expired on 2021-02-03
tlsink: CRL of CN=Ending CA expires on {day} (in 10 days)
tlsink: CRL of CN=Expired CA expired on {yesterday}
hint: senders below its issuer are refused until there is a new one
tlsink: CRL of CN=Other CA is from none of the CAs
hint: it counts only for senders that present its issuer's certificate
"
    );
    let mut rounds: Vec<_> = said
        .split("tlsink: certificates reloaded\n")
        .map(|round| {
            let mut lines: Vec<_> = round
                .lines()
                .filter(|line| !line.contains("listening on ") && !line.ends_with("stopping"))
                .collect();
            lines.push("");
            lines.join("\n")
        })
        .collect();
    // The order of the messages about lists does not matter.
    let sorted = |round: &str| {
        let mut lines: Vec<_> = round.split("\ntlsink: ").map(str::trim_end).collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    assert_eq!(rounds.len(), 3, "{said}");
    for round in &mut rounds {
        assert_eq!(
            sorted(&format!("\n{round}")),
            sorted(&format!("\n{warnings}"))
        );
    }
}

#[test]
fn two_thousand_connections_are_served_while_everything_is_replaced_twenty_times() {
    const CONNECTIONS: usize = 2000;
    const REPLACED: usize = 20;
    const SENDERS: usize = 8;
    let server = Authority::new("Server CA");
    let ca = Authority::new("Plant CA");
    let revoked = ca.sender("", &[dns("revoked.example")]);
    let identities: Vec<_> = (0..=REPLACED)
        .map(|_| server.server(&["localhost"]))
        .collect();
    let files = Files::new();
    files.replace("both.pem", &identities[0].pem());
    files.replace("ca.pem", &ca.pem());
    files.replace("ca.crl", &ca.crl(&[]));
    let program = files.start(&[
        ("--cert", "both.pem"),
        ("--client-ca", "ca.pem"),
        ("--crl", "ca.crl"),
    ]);

    let (done, dones) = mpsc::channel();
    let mut shown = HashSet::new();
    thread::scope(|scope| {
        for number in 0..SENDERS {
            let (program, ca, done) = (&program, &ca, done.clone());
            scope.spawn(move || {
                let sender = ca.sender("", &[dns("a.example")]);
                for connection in 0..CONNECTIONS / SENDERS {
                    let version = Version::ALL[connection % 2];
                    let mut client = connect(program, &sender, version).unwrap();
                    let shown = client.certificate().to_vec();
                    client
                        .write(format!("{number}.{connection}\n").as_bytes())
                        .unwrap();
                    client.finish().unwrap();
                    done.send(shown).unwrap();
                }
            });
        }
        drop(done);
        let mut replaced = 0;
        for (count, certificate) in dones.iter().enumerate() {
            shown.insert(certificate);
            if count >= (replaced + 1) * CONNECTIONS / (REPLACED + 2) && replaced < REPLACED {
                replaced += 1;
                files.replace("both.pem", &identities[replaced].pem());
                files.replace("ca.crl", &ca.crl(&[&revoked.serial]));
                program.signal(Signal::HUP);
                program.wait_for_lines(replaced, |line| line == RELOADED);
            }
        }
        assert_eq!(replaced, REPLACED);
    });
    // A poll may have reloaded before a signal did, but not before most signals.
    assert!(shown.len() > REPLACED / 2, "{}", shown.len());
    assert!(
        shown
            .iter()
            .all(|der| identities.iter().any(|one| one.chain[0].0 == *der))
    );

    let ends = program.wait_for_ends(CONNECTIONS);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert_eq!(ends.len(), CONNECTIONS);
    assert!(ends.iter().all(|ended| ended.end == "clean"), "{ends:?}");
    let printed = outcome.stdout_text();
    assert_eq!(printed.lines().count(), CONNECTIONS);
    assert_eq!(printed.lines().collect::<HashSet<_>>().len(), CONNECTIONS);
}

/// Files that are replaced atomically.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn replace(&self, name: &str, text: &str) {
        self.replace_by(name, text.as_bytes());
    }

    fn replace_by(&self, name: &str, content: &[u8]) {
        let new = self.path("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Starts the program with these options and files. Without `--key`, each file of `--cert` also
    /// holds the key.
    fn start(&self, options: &[(&str, &str)]) -> Program {
        let mut args = Vec::new();
        for (option, name) in options {
            args.extend([(*option).to_owned(), self.text(name)]);
            let has_key = options.iter().any(|(option, _)| *option == "--key");
            if *option == "--cert" && !has_key {
                args.extend(["--key".to_owned(), self.text(name)]);
            }
        }
        Program::start(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn connect(program: &Program, sender: &Credentials, version: Version) -> io::Result<Client> {
    let config = sender.config(version.of_rustls());
    Client::over(tcp(program.address())?, config, "localhost")
}

/// The certificate that the server shows to this sender, who must be let in.
fn certificate(program: &Program, sender: &Credentials) -> Vec<u8> {
    let client = connect(program, sender, Version::Tls13).unwrap();
    let certificate = client.certificate().to_vec();
    client.finish().unwrap();
    certificate
}

/// Whether the server shows this certificate.
fn shows(program: &Program, credentials: &Credentials) -> bool {
    Version::ALL.iter().all(|version| {
        let client = Client::connect_as(program.address(), *version).unwrap();
        let shown = client.certificate() == credentials.chain[0].0;
        client.finish().unwrap();
        shown
    })
}

fn is_let_in(program: &Program, sender: &Credentials) {
    for version in Version::ALL {
        connect(program, sender, version).unwrap().finish().unwrap();
    }
}

fn is_refused(program: &Program, sender: &Credentials, what: &str) {
    for version in Version::ALL {
        let tcp = tcp(program.address()).unwrap();
        let said = format!("tlsink: {}: refused ({what}; ", tcp.local_addr().unwrap());
        let config = sender.config(version.of_rustls());
        let refused = Client::over(tcp, config, "localhost").and_then(Client::finish);
        assert!(refused.is_err());
        program.wait_for_line(|line| line.starts_with(&said));
    }
}
