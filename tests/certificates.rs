//! Certificates and keys as people have them, and what is wrong with those that don't work.

mod common;
#[path = "fuzz/certificates.rs"]
mod fuzz;

use std::process::{Command, Stdio};
use std::sync::Arc;

use common::authority::{Authority, dns};
use common::client::{Client, TLS12, TLS13, builder};
use common::memory::{Session, finish};
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tlsink::{Clients, End, Identity, Server, Tls, TlsError};

#[test]
fn a_key_of_a_server_or_of_a_sender_may_be_pkcs8_pkcs1_or_sec1() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
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
        // What comes before the key is passed over.
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

        // A certificate that signed itself may be trusted, although it is no CA's.
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = own.signing_key.serialize_pem();
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.cert.pem().as_bytes(), key.as_bytes()).unwrap())
            .clients(Clients::from_ca_pem_file(path("both.pem")).unwrap())
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

/// How a stream ends in which nothing is sent, and what the sender is called.
fn end(tls: &Tls, client: Client) -> (End, Vec<String>) {
    let (server, mut sink) = Server::builder().tls(tls.clone()).build().unwrap();
    let mut session = Session::open(&server, client);
    session.remote.send(session.client.close_notify());
    let (_, report) = finish(&mut session, &mut sink);
    (report.end, report.peer.names().to_vec())
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
        Err(_) => eprintln!("skipped RSA: openssl is not installed"),
    }
    for key in keys {
        let ca = Authority::with_key("Plant CA", Arc::new(key), |_| {});
        let sender = ca.sender("", &[dns("a.example")]);
        let revoked = ca.sender("", &[dns("b.example")]);
        let own = ca.server(&["localhost"]).pem();
        let clients = Clients::from_ca_pem(ca.pem().as_bytes())
            .and_then(|clients| clients.crl(ca.crl(&[&revoked.serial]).as_bytes()))
            .unwrap();
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
            .clients(clients)
            .build()
            .unwrap();
        for version in [&TLS12, &TLS13] {
            let (end, names) = end(&tls, Client::with(sender.config(version)));
            assert_eq!((end, &*names), (End::Clean, &["a.example".to_owned()][..]));
        }
    }
}

/// Certificates of version 1 have no extensions, and the parser no patience with them.
#[test]
fn a_ca_certificate_of_version_1_before_the_own_one_is_not_taken_for_it() {
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
        eprintln!("skipped: openssl is not installed, or makes no such certificates");
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

    // Senders are verified by it all the same.
    let tls = Tls::builder()
        .identity(Identity::from_pem(all.as_bytes(), all.as_bytes()).unwrap())
        .clients(Clients::from_ca_pem(old.as_bytes()).unwrap())
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
fn a_file_without_what_is_needed_is_named() {
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
fn what_is_missing_damaged_encrypted_or_mismatched_is_said() {
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
