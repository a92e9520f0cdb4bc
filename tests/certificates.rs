//! Certificates and keys as people have them, and what is wrong with those that don't work.

mod common;

use std::process::Command;

use common::client::{Client, TLS12, TLS13};
use common::memory::{Session, finish};
use tlsink::{End, Server, Tls, TlsError};

#[test]
fn a_key_may_be_pkcs8_pkcs1_or_sec1() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let rsa = "openssl genrsa -traditional 2048";
    let ec = "openssl ecparam -name prime256v1 -genkey -noout";
    for (make_key, begins) in [
        (rsa.to_owned(), "-----BEGIN RSA PRIVATE KEY-----"),
        (ec.to_owned(), "-----BEGIN EC PRIVATE KEY-----"),
        (
            format!("{ec} | openssl pkcs8 -topk8 -nocrypt"),
            "-----BEGIN PRIVATE KEY-----",
        ),
        (
            "openssl genpkey -algorithm ed25519".to_owned(),
            "-----BEGIN PRIVATE KEY-----",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .current_dir(&directory)
            .arg("-ec")
            .arg(format!(
                "{make_key} >key.pem
                 openssl req -x509 -key key.pem -subj /CN=localhost -out cert.pem
                 cat key.pem cert.pem >both.pem"
            ))
            .status()
            .unwrap();
        assert!(status.success(), "{make_key}");
        let path = |name| directory.path().join(name);
        let key = std::fs::read_to_string(path("key.pem")).unwrap();
        assert!(key.starts_with(begins), "{make_key}");
        for (cert, key) in [("cert.pem", "key.pem"), ("both.pem", "both.pem")] {
            let tls = Tls::from_pem_files(path(cert), path(key)).unwrap();
            for version in [&TLS12, &TLS13] {
                let (server, mut sink) = Server::builder().tls(tls.clone()).build().unwrap();
                let mut session = Session::open(&server, Client::new(version));
                session.remote.send(session.client.close_notify());
                let (_, report) = finish(&mut session, &mut sink);
                assert_eq!(report.end, End::Clean, "{make_key}");
            }
        }
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
            "the certificate is not valid PEM: its line that begins with -----END is missing",
        ),
    ] {
        let error = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
    }
}
