//! Certificates and keys as they occur in practice, and the faults of those that don't work.

#[cfg(feature = "cli")]
use std::process::Output;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tlsink::tls::{ClientVerifier, Identity, TlsError};
use tlsink::{End, Server, Tls};

use crate::common::authority::{Authority, Credentials, dns, since_1970};
use crate::common::client::{Client, TLS12, TLS13, builder};
#[cfg(feature = "cli")]
use crate::common::program::{BINARY, Program, Stderr, Stdout, run_if_installed};
use crate::common::skip::{is_installed, missing};
use crate::memory::{Session, finish};

#[test]
fn a_key_of_a_server_or_of_a_sender_may_be_pkcs8_pkcs1_or_sec1() {
    if !is_installed("openssl") {
        return;
    }
    const PKCS1: &str = "-----BEGIN RSA PRIVATE KEY-----";
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----";
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----";
    const TO_PKCS8: &str = "| openssl pkcs8 -topk8 -nocrypt";
    for (make_key, begins) in [
        ("openssl genrsa -traditional 2048".to_owned(), PKCS1),
        (
            format!("openssl genrsa -traditional 2048 {TO_PKCS8}"),
            PKCS8,
        ),
        ("openssl genrsa -traditional 3072".to_owned(), PKCS1),
        (
            format!("openssl genrsa -traditional 3072 {TO_PKCS8}"),
            PKCS8,
        ),
        ("openssl genrsa -traditional 4096".to_owned(), PKCS1),
        (
            format!("openssl genrsa -traditional 4096 {TO_PKCS8}"),
            PKCS8,
        ),
        (format!("{EC} prime256v1 -noout"), SEC1),
        (format!("{EC} prime256v1 -noout {TO_PKCS8}"), PKCS8),
        (format!("{EC} secp384r1 -noout"), SEC1),
        (format!("{EC} secp384r1 -noout {TO_PKCS8}"), PKCS8),
        // Text before the key is ignored.
        (format!("{EC} prime256v1"), "-----BEGIN EC PARAMETERS-----"),
        ("openssl genpkey -algorithm ed25519".to_owned(), PKCS8),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .current_dir(&directory)
            .arg("-ec")
            .arg(format!(
                "{make_key} >key.pem
                 openssl req -x509 -key key.pem -subj /CN=localhost -out cert.pem \
                     -addext basicConstraints=critical,CA:FALSE
                 cat key.pem cert.pem >both.pem"
            ))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{make_key}");
        let path = |name| directory.path().join(name);
        let key = std::fs::read_to_string(path("key.pem")).unwrap();
        assert!(key.starts_with(begins), "{make_key}");
        for (cert, key) in [("cert.pem", "key.pem"), ("both.pem", "both.pem")] {
            let tls = Tls::from_pem_files(path(cert), path(key)).unwrap();
            for version in [&TLS12, &TLS13] {
                let (end, _) = end(&tls, Client::new(version));
                assert_eq!(end, End::Clean, "{make_key}");
            }
        }

        // A self-signed certificate may be trusted, although it is no CA's.
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = own.signing_key.serialize_pem();
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.cert.pem().as_bytes(), key.as_bytes()).unwrap())
            .client_verifier(ClientVerifier::from_ca_pem_file(path("both.pem")).unwrap())
            .build()
            .unwrap();
        let certificate = CertificateDer::from_pem_file(path("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(path("key.pem")).unwrap();
        for version in [&TLS12, &TLS13] {
            let config = builder(version)
                .with_client_auth_cert(
                    vec![rustls::Certificate(certificate.to_vec())],
                    rustls::PrivateKey(key.secret_der().to_vec()),
                )
                .unwrap();
            let (end, names) = end(&tls, Client::with(config));
            assert_eq!((end, &*names), (End::Clean, &["localhost".to_owned()][..]));
        }
    }
}

#[test]
fn a_key_that_can_not_be_used_is_named() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    for (make_key, kind) in [
        ("genrsa 1024", "RSA of 1024 bits"),
        ("genrsa -traditional 1024", "RSA of 1024 bits"),
        ("genrsa 2560", "RSA of 2560 bits"),
        ("genrsa 5120", "RSA of 5120 bits"),
        ("genrsa -3 2048", "RSA with a public exponent below 65537"),
        ("genpkey -algorithm ed448", "Ed448"),
        (
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-521",
            "P-521",
        ),
        ("ecparam -genkey -noout -name secp521r1", "P-521"),
        ("ecparam -genkey -noout -name secp256k1", "secp256k1"),
        (
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 \
             -pkeyopt ec_param_enc:explicit",
            "ECDSA on a curve without a name",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .current_dir(&directory)
            .arg("-ec")
            .arg(format!(
                "openssl {make_key} >key.pem
                 openssl req -x509 -key key.pem -subj /CN=localhost -out cert.pem"
            ))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{make_key}");
        let path = |name| directory.path().join(name);
        let error = Tls::from_pem_files(path("cert.pem"), path("key.pem")).unwrap_err();
        let said = error.to_string();
        let (_, said) = said.split_once("key.pem: ").unwrap();
        let expected = format!("the private key is {kind}, which can't be used");
        assert_eq!(said, expected, "{make_key}");
    }
}

/// The end of an empty stream, and the name of its sender.
fn end(tls: &Tls, client: Client) -> (End, Vec<String>) {
    let (server, mut sink) = Server::builder().tls(tls.clone()).build().unwrap();
    let mut session = Session::open(&server, client);
    session.remote.send(session.client.close_notify());
    let (_, report) = finish(&mut session, &mut sink);
    (report.end, report.conn.peer().names().to_vec())
}

/// Makes a key on a curve whose name follows.
const EC: &str = "openssl ecparam -genkey -name";

#[test]
fn a_ca_may_sign_for_senders_by_rsa_ecdsa_or_ed25519() {
    let mut keys = vec![
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    ];
    match Command::new("openssl")
        .args(["genpkey", "-algorithm", "rsa"])
        .output()
    {
        Ok(made) => {
            let pem = String::from_utf8(made.stdout).unwrap();
            for algorithm in [
                &rcgen::PKCS_RSA_SHA256,
                &rcgen::PKCS_RSA_SHA384,
                &rcgen::PKCS_RSA_SHA512,
            ] {
                keys.push(KeyPair::from_pem_and_sign_algo(&pem, algorithm).unwrap());
            }
        }
        Err(_) => missing("RSA: openssl is not installed"),
    }
    for key in keys {
        let ca = Authority::with_key("Plant CA", Arc::new(key), |_| {});
        let sender = ca.sender("", &[dns("a.example")]);
        let revoked = ca.sender("", &[dns("b.example")]);
        let own = ca.server(&["localhost"]).pem();
        let clients = ClientVerifier::from_ca_pem(ca.pem().as_bytes())
            .and_then(|clients| clients.crl(ca.crl(&[&revoked.serial]).as_bytes()))
            .unwrap();
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
            .client_verifier(clients)
            .build()
            .unwrap();
        for version in [&TLS12, &TLS13] {
            let (end, names) = end(&tls, Client::with(sender.config(version)));
            assert_eq!((end, &*names), (End::Clean, &["a.example".to_owned()][..]));
        }
    }
}

/// Certificates of version 1 have no extensions, and the certificate parser rejects them.
#[test]
fn a_version_1_ca_certificate_before_the_servers_own_is_not_taken_for_it() {
    let ca = Authority::new("Old CA");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.key"), ca.own().key_pem()).unwrap();
    let made = Command::new("sh")
        .current_dir(&directory)
        .arg("-ec")
        .arg(
            "openssl req -new -key ca.key -subj '/CN=Old CA' -out ca.csr
             openssl x509 -req -in ca.csr -signkey ca.key -out ca.pem
             openssl x509 -in ca.pem -noout -text | grep -q 'Version: 1 '",
        )
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        missing("openssl is not installed, or makes no such certificates");
        return;
    }
    let old = std::fs::read_to_string(directory.path().join("ca.pem")).unwrap();
    let own = ca.server(&["localhost"]);
    let all = old.clone() + &own.pem();
    let tls = Tls::from_pem(all.as_bytes(), all.as_bytes()).unwrap();
    let (server, _sink) = Server::builder().tls(tls).build().unwrap();
    for version in [&TLS12, &TLS13] {
        let session = Session::open(&server, Client::new(version));
        assert_eq!(session.client.server_certificate(), own.chain[0].0);
    }

    // A wrong key is noticed although the certificate itself is not supported.
    let own_key = ca.own().key_pem();
    Tls::from_pem(old.as_bytes(), own_key.as_bytes()).unwrap();
    let error = Tls::from_pem(old.as_bytes(), own.key_pem().as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::WrongKey), "{error}");

    // The old CA certificate still verifies senders.
    let tls = Tls::builder()
        .identity(Identity::from_pem(all.as_bytes(), all.as_bytes()).unwrap())
        .client_verifier(ClientVerifier::from_ca_pem(old.as_bytes()).unwrap())
        .build()
        .unwrap();
    let sender = ca.sender("", &[dns("a.example")]);
    for version in [&TLS12, &TLS13] {
        let (end, names) = end(&tls, Client::with(sender.config(version)));
        assert_eq!((end, &*names), (End::Clean, &["a.example".to_owned()][..]));
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Tls::from_pem_files("no/such/file.pem", "key.pem").unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }));
    assert!(
        error
            .to_string()
            .starts_with("can't read no/such/file.pem: "),
        "{error}"
    );
}

#[test]
fn an_empty_certificate_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let error = Tls::from_pem_files(&empty, &empty).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("/empty.pem: no certificate found"),
        "{error}"
    );
}

#[test]
fn a_missing_damaged_encrypted_or_mismatched_key_or_certificate_is_reported_as_such() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
                     MIGjMF8GCSqGSIb3DQEFDTBS\n\
                     -----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted_as_of_old = "-----BEGIN EC PRIVATE KEY-----\n\
                               Proc-Type: 4,ENCRYPTED\n\
                               DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n\
                               MIGjMF8GCSqGSIb3DQEFDTBS\n\
                               -----END EC PRIVATE KEY-----\n";
    let both = encrypted_as_of_old.to_owned() + &cert;
    let no_key = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = other.signing_key.serialize_pem();
    let cut = &cert[..cert.len() / 2];
    for (cert, key, said) in [
        ("", &*key, "no certificate found"),
        (&*key, &*key, "no certificate found"),
        (&*cert, "", "no private key found"),
        (&*cert, &*cert, "no private key found"),
        (&*cert, encrypted, "the private key is encrypted"),
        (&*cert, encrypted_as_of_old, "the private key is encrypted"),
        (&*both, &*both, "the private key is encrypted"),
        (
            &*cert,
            no_key,
            "the private key is damaged, or of a kind that can't be used",
        ),
        (
            &*cert,
            &*other,
            "the private key is not that of the certificate",
        ),
        (
            cut,
            &*key,
            "line 1: the CERTIFICATE does not end: its -----END is missing",
        ),
    ] {
        let error = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
    }
}

/// People join two lists in one file in many ways. Here the newer list revokes a sender.
#[cfg(feature = "cli")]
#[test]
fn no_form_of_a_file_of_lists_lets_a_revoked_sender_in() {
    const MARK: &str = "\u{feff}";
    let ca = Authority::new("Plant CA");
    let [sender, revoked] = [(), ()].map(|()| ca.sender("", &[dns("a.example")]));
    let old = ca.crl_with(&[], -5..=100);
    let new = ca.crl(&[&revoked.serial]);
    let both = old.clone() + &new;
    let count = |text: &str| text.lines().count();
    let (cut_old, cut_new) = (old.trim_end(), new.trim_end());
    let indented = |text: &str| {
        text.lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    };
    let utf16: Vec<u8> = (MARK.to_owned() + &both)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let [begins, ends, is_damaged] = [
        "-----BEGIN is not at the start of its line",
        "-----END is not at the start of its line",
        "-----BEGIN is damaged",
    ];
    for (name, text, line, said) in [
        // The result of `printf %s "$(cat old.crl)" >all.crl; cat new.crl >>all.crl`.
        ("joined", cut_old.to_owned() + &new, count(&old), begins),
        (
            "joined the other way round",
            cut_new.to_owned() + &old,
            count(&new),
            begins,
        ),
        (
            "marked within",
            old.clone() + MARK + &new,
            count(&old) + 1,
            "a byte order mark is before",
        ),
        (
            "marked twice",
            MARK.to_owned() + MARK + &both,
            1,
            "a byte order mark is before",
        ),
        (
            "indented",
            old.clone() + &indented(&new),
            count(&old) + 1,
            begins,
        ),
        ("quoted", old.clone() + "> " + &new, count(&old) + 1, begins),
        (
            "short of a dash",
            old.clone() + &new[1..],
            count(&old) + 1,
            is_damaged,
        ),
        (
            "without a newline before the end",
            old.clone() + &new.replacen("\n-----END", "-----END", 1),
            count(&both) - 1,
            ends,
        ),
        (
            "without an end",
            old.clone() + new.split_once("-----END").unwrap().0,
            count(&old) + 1,
            "does not end",
        ),
        (
            "without a beginning",
            old.clone() + new.split_once('\n').unwrap().1,
            count(&both) - 1,
            "has no -----BEGIN",
        ),
        (
            "misspelt",
            old.clone() + &new.replace("CRL", "crl"),
            count(&old) + 1,
            "labelled \"X509 crl\"",
        ),
    ] {
        let files = Lists::new(&ca, text.as_bytes());
        let outcome = Program::run(&files.args());
        let begins = format!("tlsink: {}: line {line}: ", files.list());
        assert!(
            outcome.stderr.starts_with(&begins),
            "{name}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains(said), "{name}: {}", outcome.stderr);
        assert_eq!(outcome.status, 2, "{name}");
    }
    assert_eq!(Program::run(&Lists::new(&ca, &utf16).args()).status, 2);
    for (name, text) in [
        ("one after the other", both.clone()),
        ("the newer one first", new.clone() + &old),
        ("marked", MARK.to_owned() + &both),
        ("with CRLF", both.replace('\n', "\r\n")),
        (
            "with CRLF and a mark",
            MARK.to_owned() + &both.replace('\n', "\r\n"),
        ),
        ("with white space", both.replace('\n', " \t\n")),
        ("without a newline at the end", both.trim_end().to_owned()),
        (
            "with text between",
            format!(
                "# old\n{old}\nCertificate Revocation List (CRL):\n    Version 2 (0x1)\n{new}# end\n"
            ),
        ),
    ] {
        let files = Lists::new(&ca, text.as_bytes());
        let program = Program::start(&files.args());
        let Some(_) = openssl(&program, &files, "sender", &sender) else {
            return;
        };
        assert_eq!(program.wait_for_end().end, "clean", "{name}");
        openssl(&program, &files, "revoked", &revoked);
        program.wait_for_line(|line| line.contains(": refused (the certificate is revoked; "));
        assert_eq!(program.stop().stdout_text(), "sender\n", "{name}");
    }
}

/// A CA and its lists, as files.
#[cfg(feature = "cli")]
struct Lists {
    folder: tempfile::TempDir,
    ca: String,
    list: String,
}

#[cfg(feature = "cli")]
impl Lists {
    fn new(ca: &Authority, list: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Lists {
            ca: file("ca.pem", ca.pem().as_bytes()),
            list: file("all.crl", list),
            folder,
        }
    }

    fn list(&self) -> &str {
        &self.list
    }

    fn args(&self) -> [&str; 4] {
        ["--client-ca", &self.ca, "--crl", &self.list]
    }
}

/// Sends a line with OpenSSL; `None` if it is not installed.
#[cfg(feature = "cli")]
fn openssl(program: &Program, files: &Lists, line: &str, sender: &Credentials) -> Option<Output> {
    std::fs::write(files.folder.path().join("sender.pem"), sender.pem()).unwrap();
    let mut command = Command::new("openssl");
    command
        .current_dir(&files.folder)
        .args(["s_client", "-connect", &program.address().to_string()])
        .args(["-cert", "sender.pem", "-key", "sender.pem"])
        .args(["-quiet", "-no_ign_eof", "-nocommands"]);
    run_if_installed(&mut command, format!("{line}\n").as_bytes())
}

/// Lists in the file of `--ca` revoke certificates of servers.
#[cfg(all(feature = "cli", feature = "zstd"))]
#[test]
fn lists_beside_the_ca_of_a_server_count_for_send() {
    let ca = Authority::new("Server CA");
    let namesake = Authority::new("Server CA");
    let [server, revoked] = [(), ()].map(|()| ca.server(&["localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("server.pem"), server.pem()).unwrap();
    std::fs::write(path("revoked.pem"), revoked.pem()).unwrap();
    let ended = ca.list(&[], since_1970(-9)..=since_1970(-2)).pem().unwrap();
    for (text, own, said) in [
        (ca.pem() + &ca.crl(&[&revoked.serial]), "server.pem", ""),
        (
            namesake.pem() + &namesake.crl(&[]) + &ca.pem() + &ca.crl(&[]),
            "server.pem",
            "",
        ),
        (
            ca.pem() + &ca.crl(&[&revoked.serial]),
            "revoked.pem",
            "the server's certificate can't be trusted: the certificate is revoked\nhint: the server needs another certificate",
        ),
        (
            ca.pem() + &ended,
            "server.pem",
            "the server's certificate can't be trusted: the CRL of \"CN=Server CA\" expired on",
        ),
        (
            ca.pem() + &namesake.crl(&[]),
            "server.pem",
            "the server's certificate can't be trusted: no CRL is signed by the key of CA \"CN=Server CA\"\nhint: the file of --ca holds CRLs: each CA above the server needs one that has not expired, or none must be there",
        ),
        (
            ca.pem() + &Authority::new("Plant CA").crl(&[]),
            "server.pem",
            "the server's certificate can't be trusted: CRL missing for \"CN=Server CA\"",
        ),
    ] {
        std::fs::write(path("ca.pem"), text).unwrap();
        let program = Program::start(&["--cert", &path(own), "--key", &path(own)]);
        let address = format!("localhost:{}", program.address().port());
        let sent = Program::run(&[
            "send",
            "--quiet",
            "--ca",
            &path("ca.pem"),
            &address,
            &path("ca.pem"),
        ]);
        match said {
            "" => assert_eq!((sent.status, &*sent.stderr), (0, "")),
            said => {
                assert!(
                    sent.stderr
                        .starts_with(&format!("tlsink: {address}: {said}")),
                    "{}",
                    sent.stderr
                );
                assert_eq!(sent.status, 1);
            }
        }
    }
}

#[cfg(feature = "cli")]
#[test]
fn a_file_of_system_cas_that_lost_one_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let joined = folder.path().join("joined.pem");
    let ca = Authority::new("Server CA").pem();
    std::fs::write(&joined, ca.trim_end().to_owned() + &ca).unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["send", "localhost:1"])
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &joined);
    let outcome = Program::run_by(command, Stdout::Collected, Stderr::Pipe);
    let said = format!(
        "tlsink: {}: line {}: -----BEGIN is not at the start of its line\n",
        joined.display(),
        ca.lines().count()
    );
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    assert_eq!(outcome.status, 2);
}

#[test]
fn of_two_cas_of_one_name_each_has_a_list_of_its_own() {
    // The two CAs have keys of the same kind, and of different kinds.
    for kind in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let old = Authority::new("Plant CA");
        let key = KeyPair::generate_for(kind).unwrap();
        let new = Authority::with_key("Plant CA", Arc::new(key), |_| {});
        // A serial number that one CA has revoked is valid for the other.
        let number = |number: u64| {
            move |params: &mut CertificateParams| params.serial_number = Some(number.into())
        };
        let [below_old, revoked_by_old] =
            [1, 2].map(|serial| old.sender_with("", &[dns("old.example")], number(serial)));
        let [revoked_by_new, below_new] =
            [1, 2].map(|serial| new.sender_with("", &[dns("new.example")], number(serial)));
        let old_list = old.crl(&[&revoked_by_old.serial]);
        let new_list = new.crl(&[&revoked_by_new.serial]);
        for trusted in [[&old, &new], [&new, &old]] {
            for lists in [
                vec![old_list.clone(), new_list.clone()],
                vec![new_list.clone(), old_list.clone()],
                vec![new_list.clone() + &old_list],
                // Older lists remain among the newer ones.
                vec![
                    old_list.clone(),
                    old.crl_with(&[], -5..=50),
                    new.crl_with(&[], -5..=50),
                    new_list.clone(),
                ],
            ] {
                let tls = verifying(&trusted, &lists);
                assert_eq!(tls.warnings(), []);
                assert_eq!(judged(&tls, &below_old), "clean");
                assert_eq!(judged(&tls, &below_new), "clean");
                assert_eq!(
                    judged(&tls, &revoked_by_old),
                    refused("the certificate is revoked", "old")
                );
                assert_eq!(
                    judged(&tls, &revoked_by_new),
                    refused("the certificate is revoked", "new")
                );
            }
        }
        // The list of one CA says nothing about certificates that the other signed.
        let tls = verifying(&[&old, &new], std::slice::from_ref(&old_list));
        assert_eq!(judged(&tls, &below_old), "clean");
        assert_eq!(
            judged(&tls, &revoked_by_old),
            refused("the certificate is revoked", "old")
        );
        for sender in [&below_new, &revoked_by_new] {
            assert_eq!(judged(&tls, sender), refused(OTHER_KEY, "new"));
        }
        // The list of the other CA does not replace an expired one, and is not harmed by it.
        let ended = old
            .list(&[], since_1970(-9)..=since_1970(-2))
            .pem()
            .unwrap();
        let tls = verifying(&[&old, &new], &[ended, new_list.clone()]);
        let day = warned_of_end(&tls);
        assert_eq!(judged(&tls, &below_new), "clean");
        let said = format!("the CRL of \"CN=Plant CA\" expired on {day}");
        assert_eq!(judged(&tls, &below_old), refused(&said, "old"));
        // An untrusted CA of the same name does not count.
        let tls = verifying(&[&old], &[old_list.clone(), new_list.clone()]);
        let warnings: Vec<_> = tls.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["CRL of CN=Plant CA is not signed by the key of the CA of that name"]
        );
        assert_eq!(judged(&tls, &below_old), "clean");
        assert_eq!(
            judged(&tls, &revoked_by_old),
            refused("the certificate is revoked", "old")
        );
        assert!(judged(&tls, &below_new).starts_with("refused ("));
    }
}

#[test]
fn of_two_cas_of_one_name_that_come_with_senders_each_has_a_list_of_its_own() {
    let root = Authority::new("Root CA");
    let [first, second] = [(), ()].map(|()| root.below("Line CA", |_| {}));
    let [below_first, revoked] = [(), ()].map(|()| first.sender("", &[dns("first.example")]));
    let below_second = second.sender("", &[dns("second.example")]);
    let [root_list, first_list, second_list] = [
        root.crl(&[]),
        first.crl(&[&revoked.serial]),
        second.crl(&[]),
    ];
    for lists in [
        vec![root_list.clone(), first_list.clone(), second_list.clone()],
        vec![second_list.clone(), first_list.clone(), root_list.clone()],
        vec![
            first.crl_with(&[], -5..=50),
            second_list.clone() + &first_list,
            root_list.clone(),
        ],
    ] {
        let tls = verifying(&[&root], &lists);
        assert_eq!(judged(&tls, &below_first), "clean");
        assert_eq!(judged(&tls, &below_second), "clean");
        assert_eq!(
            judged(&tls, &revoked),
            refused("the certificate is revoked", "first")
        );
        // A sender may present the other CA's certificate before that of its own CA.
        let both = |sender: &Credentials| {
            let mut sender = sender.clone();
            for above in [&second, &first] {
                sender.chain.insert(1, above.own().chain[0].clone());
            }
            sender
        };
        assert_eq!(judged(&tls, &both(&below_second)), "clean");
        assert_eq!(
            judged(&tls, &both(&revoked)),
            refused("the certificate is revoked", "first")
        );
    }
    let tls = verifying(&[&root], &[root_list.clone(), first_list.clone()]);
    assert_eq!(judged(&tls, &below_first), "clean");
    assert_eq!(
        judged(&tls, &below_second),
        refused(OTHER_KEY_OF_LINE, "second")
    );
    // The root has revoked one CA, and not its namesake.
    let tls = verifying(
        &[&root],
        &[root.crl(&[&first.serial()]), first_list, second_list],
    );
    assert_eq!(
        judged(&tls, &below_first),
        refused("the certificate of CA \"CN=Line CA\" is revoked", "first")
    );
    assert_eq!(judged(&tls, &below_second), "clean");
}

/// A CA that gets a new key may sign it with its old key, under the same name.
#[test]
fn a_ca_whose_new_key_is_signed_by_its_old_one_is_trusted_by_itself() {
    let old = Authority::new("Plant CA");
    let new = old.below("Plant CA", |_| {});
    let [sender, revoked] = [(), ()].map(|()| new.sender("", &[dns("new.example")]));
    let lists = [old.crl(&[]), new.crl(&[&revoked.serial])];
    assert_eq!(judged(&verifying(&[&old], &[]), &sender), "clean");
    assert_eq!(
        judged(&verifying(&[&old], &lists), &sender),
        refused(OTHER_KEY, "new")
    );
    let tls = verifying(&[&old, &new], &lists);
    assert_eq!(judged(&tls, &sender), "clean");
    assert_eq!(
        judged(&tls, &revoked),
        refused("the certificate is revoked", "new")
    );
}

/// Certificates are verified before their peers have proved anything.
#[test]
fn a_sender_does_not_have_many_lists_verified() {
    let root = Authority::new("Root CA");
    let line = root.below("Line CA", |_| {});
    let sender = line.sender("", &[dns("a.example")]);
    // As many lists in the name of one CA as may be verified, and then one more.
    let others: Vec<_> = (0..20)
        .map(|_| root.below("Line CA", |_| {}).crl(&[]))
        .collect();
    let mut lists = vec![root.crl(&[]), line.crl_with(&[], -5..=50)];
    lists.extend_from_slice(&others[..15]);
    assert_eq!(judged(&verifying(&[&root], &lists), &sender), "clean");
    lists.push(others[15].clone());
    let said = "the certificate can't be used: too many CRLs have the name of a CA above it";
    assert_eq!(
        judged(&verifying(&[&root], &lists), &sender),
        refused(said, "a")
    );
}

#[test]
fn lists_in_a_file_of_cas_count() {
    let ca = Authority::new("Plant CA");
    let [sender, revoked] = [(), ()].map(|()| ca.sender("", &[dns("a.example")]));
    let own = Authority::new("Server CA").server(&["localhost"]).pem();
    let list = ca.crl(&[&revoked.serial]);
    for text in [ca.pem() + &list, list.clone() + &own + &ca.pem()] {
        let clients = ClientVerifier::from_ca_pem(text.as_bytes()).unwrap();
        // To give the same file as --crl, too, makes no difference.
        for clients in [clients.clone(), clients.crl(text.as_bytes()).unwrap()] {
            let tls = Tls::builder()
                .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
                .client_verifier(clients)
                .build()
                .unwrap();
            assert_eq!(judged(&tls, &sender), "clean");
            assert_eq!(
                judged(&tls, &revoked),
                refused("the certificate is revoked", "a")
            );
        }
    }
}

/// Each search of the file skips the blocks that it does not need.
#[test]
fn a_file_with_everything_serves_as_certificate_key_ca_and_crl() {
    let ca = Authority::new("Plant CA");
    let own = ca.server(&["localhost"]);
    let another = KeyPair::generate().unwrap().serialize_pem();
    let all = [&another, &ca.pem(), &ca.crl(&[]), &own.pem()]
        .map(String::as_str)
        .concat();
    let all = all.as_bytes();
    let tls = Tls::builder()
        .identity(Identity::from_pem(all, all).unwrap())
        .client_verifier(
            ClientVerifier::from_ca_pem(all)
                .and_then(|clients| clients.crl(all))
                .unwrap(),
        )
        .build()
        .unwrap();
    let sender = ca.sender("", &[dns("a.example")]);
    assert_eq!(judged(&tls, &sender), "clean");
    let (server, _sink) = Server::builder().tls(tls).build().unwrap();
    let session = Session::open(&server, Client::with(sender.config(&TLS13)));
    assert_eq!(session.client.server_certificate(), own.chain[0].0);
}

#[test]
fn certificates_in_forms_that_only_openssl_writes_are_read() {
    let ca = Authority::new("Plant CA");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    let made = Command::new("sh")
        .current_dir(&directory)
        .arg("-ec")
        .arg(
            "openssl x509 -in ca.pem -trustout -out trusted.pem
             openssl x509 -in ca.pem -trustout -setalias plant -out alias.pem
             openssl x509 -in ca.pem -trustout -addtrust serverAuth -out limited.pem
             openssl x509 -in ca.pem -trustout -addreject clientAuth -out rejected.pem
             openssl x509 -in ca.pem -text -out text.pem
             sed 's/CERTIFICATE/X509 CERTIFICATE/' ca.pem >old.pem
             openssl x509 -in old.pem -noout",
        )
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: openssl is not installed, or makes no such certificates");
        return;
    }
    let own = ca.server(&["localhost"]).pem();
    let sender = ca.sender("", &[dns("a.example")]);
    for name in ["trusted.pem", "alias.pem", "text.pem", "old.pem"] {
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
            .client_verifier(ClientVerifier::from_ca_pem_file(path(name)).unwrap())
            .build()
            .unwrap();
        assert_eq!(judged(&tls, &sender), "clean", "{name}");
    }
    for name in ["limited.pem", "rejected.pem"] {
        let error = ClientVerifier::from_ca_pem_file(path(name))
            .unwrap_err()
            .to_string();
        let said = "line 1: the CA certificate can't be used: it is trusted for some uses only, \
                    which is not supported";
        assert!(error.ends_with(said), "{error}");
    }
    // A server may present such a certificate, as it need not trust it.
    let key = ca.own().key_pem();
    for name in [
        "trusted.pem",
        "alias.pem",
        "limited.pem",
        "rejected.pem",
        "old.pem",
    ] {
        let pem = std::fs::read(path(name)).unwrap();
        let tls = Tls::from_pem(&pem, key.as_bytes()).unwrap();
        let (server, _sink) = Server::builder().tls(tls).build().unwrap();
        let session = Session::open(&server, Client::new(&TLS13));
        assert_eq!(session.client.server_certificate(), ca.der(), "{name}");
    }
}

const OTHER_KEY: &str = "no CRL is signed by the key of CA \"CN=Plant CA\"";
const OTHER_KEY_OF_LINE: &str = "no CRL is signed by the key of CA \"CN=Line CA\"";

/// The refusal of a sender with this name, below `example`.
fn refused(what: &str, name: &str) -> String {
    format!("refused ({what}; the sender claims to be \"{name}.example\")")
}

/// The day in the only warning, which says that a CRL has expired.
fn warned_of_end(tls: &Tls) -> String {
    let warnings: Vec<_> = tls.warnings().iter().map(ToString::to_string).collect();
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    let day = warning.strip_prefix("CRL of CN=Plant CA expired on ");
    day.expect("it has ended").to_owned()
}

/// A server whose senders must have a certificate from these CAs that these lists do not revoke.
fn verifying(trusted: &[&Authority], lists: &[String]) -> Tls {
    let text: String = trusted.iter().map(|ca| ca.pem()).collect();
    let mut clients = ClientVerifier::from_ca_pem(text.as_bytes()).unwrap();
    for list in lists {
        clients = clients.crl(list.as_bytes()).unwrap();
    }
    let own = Authority::new("Server CA").server(&["localhost"]).pem();
    Tls::builder()
        .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
        .client_verifier(clients)
        .build()
        .unwrap()
}

/// The server's result for this sender: `clean`, or the reason for its refusal.
fn judged(tls: &Tls, sender: &Credentials) -> String {
    let [first, second] = [&TLS12, &TLS13].map(|version| {
        let (server, mut sink) = Server::builder().tls(tls.clone()).build().unwrap();
        let mut session = Session::new(&server, Client::with(sender.config(version)));
        while session.client.is_handshaking() {
            session.remote.send(session.client.records());
            if let Some(report) = session.connection.run() {
                return report.end.to_string();
            }
            let records = session.remote.take();
            session.client.take(&records);
        }
        session.remote.send(session.client.records());
        if let Some(report) = session.connection.run() {
            return report.end.to_string();
        }
        session.remote.send(session.client.close_notify());
        finish(&mut session, &mut sink).1.end.to_string()
    });
    assert_eq!(first, second);
    first
}
