//! The server's certificates: the choice among several for a sender, and the files that hold them.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::{Certificate, ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::common::authority::{Authority, Credentials, dns};
use crate::common::client::{AnyCertificate, config, versions};
use crate::common::program::{Client, Program, Version, run_if_installed, tcp};
use crate::common::skip::missing;

#[test]
fn of_several_certificates_a_sender_is_shown_the_one_for_its_requested_name() {
    let ca = Authority::new("Server CA");
    let first = ca.server(&["a.example", "also-a.example"]);
    let wildcard = ca.server(&["*.x.example"]);
    let exact = ca.server(&["b.x.example"]);

    let two = Identities::start(&[&first, &wildcard]);
    let three = Identities::start(&[&first, &wildcard, &exact]);
    let other_way_round = Identities::start(&[&exact, &wildcard, &first]);
    for (identities, name, shown) in [
        (&two, "a.example", &first),
        (&two, "also-a.example", &first),
        (&two, "b.x.example", &wildcard),
        (&three, "a.example", &first),
        (&three, "c.x.example", &wildcard),
        // An exact name takes precedence over a wildcard, in either order.
        (&three, "b.x.example", &exact),
        (&other_way_round, "b.x.example", &exact),
        (&other_way_round, "c.x.example", &wildcard),
        (&other_way_round, "a.example", &first),
        // A wildcard stands for one label.
        (&three, "d.c.x.example", &first),
        (&three, "x.example", &first),
        (&other_way_round, "d.c.x.example", &exact),
        // Without a certificate for the name, or without a name, as for an address, the first
        // certificate is shown.
        (&three, "unknown.example", &first),
        (&three, "127.0.0.1", &first),
        (&other_way_round, "unknown.example", &exact),
        (&other_way_round, "127.0.0.1", &exact),
    ] {
        for version in Version::ALL {
            identities.shows(config(version.of_rustls()), name, shown);
        }
    }
    for (arguments, shown) in [
        (&["-servername", "B.X.Example"][..], &exact),
        (&["-servername", "C.x.example"], &wildcard),
        (&["-servername", "unknown.example"], &first),
        // A dot at its end makes a name absolute.
        (&["-servername", "b.x.example."], &exact),
        (&["-servername", "C.X.example."], &wildcard),
        (&["-servername", "unknown.example."], &first),
        (&["-noservername"], &first),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = three.openssl(&[&[version], arguments].concat());
            assert!(
                said.is_none_or(|said| said.contains(base64(shown))),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn of_an_rsa_and_an_ecdsa_certificate_a_sender_is_shown_the_one_that_it_supports() {
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "rsa",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ])
        .output();
    let Ok(made) = made else {
        missing("openssl is not installed");
        return;
    };
    let ca = Authority::new("Server CA");
    let key = KeyPair::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap();
    let names = &[dns("localhost")];
    let rsa = ca.sign(Arc::new(key), "", names, |_| {});
    let ecdsa = ca.server(&["localhost"]);
    let another = ca.server(&["another.example"]);

    let know_rsa = &[
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
    ];
    let know_ecdsa = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    for (identities, preferred) in [
        (Identities::start(&[&rsa, &ecdsa]), &rsa),
        (Identities::start(&[&ecdsa, &rsa]), &ecdsa),
        (Identities::start(&[&another, &ecdsa, &rsa]), &ecdsa),
    ] {
        for version in Version::ALL {
            let version = version.of_rustls();
            identities.shows(config(version), "localhost", preferred);
            identities.shows(knowing(know_rsa, version), "localhost", &rsa);
            identities.shows(knowing(know_ecdsa, version), "localhost", &ecdsa);
            // A client that is shown the first certificate prefers any to none.
            identities.shows(knowing(know_rsa, version), "unknown.example", &rsa);
        }
        for (arguments, shown) in [
            (
                &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"][..],
                &rsa,
            ),
            (
                &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
                &ecdsa,
            ),
            (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], &rsa),
            (&["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], &ecdsa),
        ] {
            let arguments = [arguments, &["-servername", "localhost"]].concat();
            let said = identities.openssl(&arguments);
            assert!(
                said.is_none_or(|said| said.contains(base64(shown))),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn a_sender_that_has_only_the_root_verifies_a_chain_with_intermediates() {
    let root = Authority::new("Root CA");
    let below = root.below("Line CA", |_| {}).below("Sub CA", |_| {});
    let own = below.server(&["localhost"]);
    let identities = Identities::start(&[&own]);
    let roots = identities.folder.path().join("root.pem");
    fs::write(&roots, root.pem()).unwrap();
    for version in Version::ALL {
        let config = trusting(&[root.der()], version.of_rustls());
        identities.shows(config, "localhost", &own);
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            &[version, "-servername", "localhost", "-verify_return_error"][..],
            &[
                "-verify_hostname",
                "localhost",
                "-CAfile",
                roots.to_str().unwrap(),
            ],
        ];
        let said = identities.openssl(&arguments.concat());
        assert!(said.is_none_or(|said| said.contains("Verify return code: 0 (ok)")));
    }
}

/// One file for `--cert`, `--key` and `--client-ca`.
#[test]
fn key_certificate_and_cas_may_be_in_one_file_in_any_order() {
    let root = Authority::new("Root CA");
    let line = root.below("Line CA", |_| {});
    let own = line.server(&["localhost"]);
    let sender = line.sender("", &[dns("a.example")]);
    let items = [own.split_pem().0, &line.pem(), &root.pem(), &own.key_pem()];
    let presented = [&own.chain[0].0, line.der(), root.der()];
    for order in orders(items.len()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.pem");
        let text: String = order.iter().map(|at| items[*at]).collect();
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let args = ["-v", "--cert", path, "--key", path, "--client-ca", path];
        let program = Program::start(&args);
        for version in Version::ALL {
            let tcp = tcp(program.address()).unwrap();
            let config = sender.config(version.of_rustls());
            let client = Client::over(tcp, config, "localhost").unwrap();
            // TLS 1.2 requires this order, although few clients insist on it.
            let chain: Vec<_> = client.chain().iter().map(|one| &*one.0).collect();
            assert_eq!(chain, presented, "{order:?}");
            client.finish().unwrap();
        }
        let ends = program.wait_for_ends(2);
        assert!(
            ends.iter()
                .all(|ended| ended.peer.starts_with("a.example@")),
            "{ends:?}"
        );
    }
}

/// All orders of this many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for order in orders(last) {
        for at in 0..count {
            let mut order = order.clone();
            order.insert(at, last);
            all.push(order);
        }
    }
    all
}

/// The program with several certificates.
struct Identities {
    program: Program,
    folder: TempDir,
}

impl Identities {
    fn start(identities: &[&Credentials]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize, kind| {
            let path = folder.path().join(format!("{number}.{kind}"));
            path.to_str().unwrap().to_owned()
        };
        let mut args = Vec::new();
        for (number, identity) in identities.iter().enumerate() {
            let (cert, key) = (path(number, "pem"), path(number, "key"));
            fs::write(&cert, &identity.chain_pem).unwrap();
            fs::write(&key, identity.key_pem()).unwrap();
            args.extend(["--cert".to_owned(), cert, "--key".to_owned(), key]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        Identities {
            program: Program::start(&args),
            folder,
        }
    }

    fn shows(&self, config: ClientConfig, name: &str, shown: &Credentials) {
        let tcp = tcp(self.program.address()).unwrap();
        let client = Client::over(tcp, config, name).unwrap();
        let certificate = client.certificate().to_vec();
        client.finish().unwrap();
        assert!(certificate == shown.chain[0].0, "{name}");
    }

    /// The messages of OpenSSL about the certificates that it is shown; `None` if not installed.
    fn openssl(&self, args: &[&str]) -> Option<String> {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["s_client", "-connect", &self.program.address().to_string()])
            .args(["-showcerts", "-no_ign_eof", "-nocommands"])
            .args(args);
        let output = run_if_installed(&mut openssl, b"")?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The text between the lines of the first certificate.
fn base64(credentials: &Credentials) -> &str {
    let (_, text) = credentials.chain_pem.split_once('\n').unwrap();
    text.split_once("-----").unwrap().0
}

/// A client's configuration that knows only these kinds of signatures.
fn knowing(
    schemes: &[SignatureScheme],
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let verifier = AnyCertificate(Some(schemes.to_vec()));
    versions(version)
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// A client's configuration that accepts a server whose certificate one of these CAs has signed.
fn trusting(authorities: &[&[u8]], version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for der in authorities {
        roots.add(&Certificate(der.to_vec())).unwrap();
    }
    versions(version)
        .with_root_certificates(roots)
        .with_no_client_auth()
}
