//! The command `cert`, through the real binary: the files that it writes, those that it never
//! overwrites, and their use by others.

#![cfg(feature = "cli")]

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerName};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::tempdir;

use crate::common::program::{BINARY, Outcome, Program, tcp};
use crate::common::skip::{is_installed, skip};
use crate::refused::{WRONG_USE, refused, said};

/// The files of `cert DIR`, in the order of the messages about them.
const FILES: [&str; 6] = [
    "ca.pem",
    "ca.key",
    "server.pem",
    "server.key",
    "client.pem",
    "client.key",
];

// The files and messages of the command.

#[test]
fn says_the_written_files_the_names_the_fingerprint_and_commands_to_try() {
    let folder = tempdir().unwrap();
    let outcome = cert(&["sink.example", "10.1.2.3"], folder.path());
    let shown = folder.path().to_str().unwrap();
    let server = der(folder.path(), "server.pem");
    let digest = ring::digest::digest(&ring::digest::SHA256, &server);
    let hex: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    assert_eq!(
        outcome.stderr,
        format!(
            "tlsink: wrote ca.pem ca.key server.pem server.key client.pem client.key to {shown}\n\
             tlsink: server certificate for sink.example 10.1.2.3, sha256 {}\n\
             tlsink: try: tlsink --cert {shown}/server.pem --key {shown}/server.key\n\
             tlsink: try: echo hello | gzip | openssl s_client -connect 127.0.0.1:4433 \
             -CAfile {shown}/ca.pem -verify_return_error -quiet -no_ign_eof -nocommands\n",
            hex.join(":")
        )
    );
    assert!(outcome.stdout.is_empty());
}

#[test]
fn writes_six_files_and_only_its_owner_can_read_the_keys() {
    for umask in ["000", "022", "077"] {
        let folder = tempdir().unwrap();
        let directory = folder.path().join("certs");
        let status = Command::new("sh")
            .args(["-c", r#"umask "$1"; exec "$2" cert "$3""#, "sh"])
            .args([umask, BINARY])
            .arg(&directory)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let taken = u32::from_str_radix(umask, 8).unwrap();
        assert_eq!(mode(&directory), 0o755 & !taken, "umask {umask}");
        assert_eq!(names_in(&directory), sorted(&FILES));
        for file in FILES {
            let expected = match file.ends_with(".key") {
                true => 0o600,
                false => 0o644 & !taken,
            };
            assert_eq!(
                mode(&directory.join(file)),
                expected,
                "{file}, umask {umask}"
            );
        }
    }
}

#[test]
fn the_keys_are_pkcs8_and_each_file_holds_one_thing() {
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    for file in FILES {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        let what = match file.ends_with(".key") {
            true => "PRIVATE KEY",
            false => "CERTIFICATE",
        };
        assert!(
            text.starts_with(&format!("-----BEGIN {what}-----\n")),
            "{file}"
        );
        assert!(text.ends_with(&format!("-----END {what}-----\n")), "{file}");
        assert_eq!(text.matches("-----BEGIN ").count(), 1, "{file}");
    }
}

#[test]
fn makes_the_directory_and_its_parents() {
    let folder = tempdir().unwrap();
    let directory = folder.path().join("a/b/c");
    cert(&[], &directory);
    assert_eq!(names_in(&directory), sorted(&FILES));
}

#[test]
fn other_files_in_the_directory_stay() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("notes"), "mine").unwrap();
    cert(&[], folder.path());
    assert_eq!(names_in(folder.path()).len(), FILES.len() + 1);
    assert_eq!(fs::read(folder.path().join("notes")).unwrap(), b"mine");
}

// The uses of the certificates.

#[test]
fn a_client_that_trusts_the_ca_takes_the_server_by_each_of_its_names_and_by_no_other() {
    let defaults = ["localhost", "127.0.0.1", "::1"];
    let own = ["sink.example", "*.sink.example", "10.1.2.3", "2001:db8::7"];
    let reached = ["sink.example", "a.sink.example", "10.1.2.3", "2001:db8::7"];
    for (names, taken, refused) in [
        (&[][..], &defaults[..], &reached[..]),
        (&own, &reached, &defaults),
    ] {
        let folder = tempdir().unwrap();
        cert(names, folder.path());
        let program = serve(folder.path());
        for name in taken {
            handshake(program.address(), folder.path(), name)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in refused {
            let error = handshake(program.address(), folder.path(), name).unwrap_err();
            assert!(error.to_string().contains("NotValidForName"), "{error}");
        }
    }
}

#[test]
fn a_client_that_trusts_another_runs_ca_refuses_the_server() {
    let [folder, other] = [tempdir().unwrap(), tempdir().unwrap()];
    cert(&[], folder.path());
    cert(&[], other.path());
    let program = serve(folder.path());
    let error = handshake(program.address(), other.path(), "localhost").unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[test]
fn the_extensions_state_the_purpose_of_each_certificate() {
    if !is_installed("openssl") {
        return;
    }
    let folder = tempdir().unwrap();
    cert(&["*.example.net", "::1"], folder.path());
    let extensions = |file| {
        let shown = openssl(
            folder.path(),
            &format!(
                "openssl x509 -in {file} -noout -ext \
                 subjectAltName,basicConstraints,keyUsage,extendedKeyUsage"
            ),
        );
        let mut lines: Vec<String> = shown.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        lines.join("; ")
    };
    assert_eq!(
        extensions("ca.pem"),
        "X509v3 Key Usage: critical; Certificate Sign, CRL Sign; \
         X509v3 Basic Constraints: critical; CA:TRUE, pathlen:0"
    );
    assert_eq!(
        extensions("server.pem"),
        "X509v3 Subject Alternative Name:; DNS:*.example.net, IP Address:0:0:0:0:0:0:0:1; \
         X509v3 Key Usage: critical; Digital Signature; \
         X509v3 Extended Key Usage:; TLS Web Server Authentication; \
         X509v3 Basic Constraints: critical; CA:FALSE"
    );
    assert_eq!(
        extensions("client.pem"),
        "X509v3 Subject Alternative Name:; DNS:client; \
         X509v3 Key Usage: critical; Digital Signature; \
         X509v3 Extended Key Usage:; TLS Web Client Authentication; \
         X509v3 Basic Constraints: critical; CA:FALSE"
    );
    assert_eq!(
        openssl(
            folder.path(),
            "openssl x509 -in client.pem -noout -subject -nameopt RFC2253"
        )
        .trim(),
        "subject=CN=client"
    );
}

#[test]
fn a_strict_verifier_takes_both_for_their_purpose_and_for_no_other() {
    if !is_installed("openssl") {
        return;
    }
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    let verify = "openssl verify -x509_strict -CAfile ca.pem";
    for script in [
        format!("{verify} server.pem client.pem"),
        format!("{verify} -purpose sslserver -verify_hostname localhost server.pem"),
        format!("{verify} -purpose sslserver -verify_ip ::1 server.pem"),
        format!("{verify} -purpose sslclient client.pem"),
        format!("! {verify} -purpose sslclient server.pem"),
        format!("! {verify} -purpose sslserver client.pem"),
    ] {
        openssl(folder.path(), &script);
    }
}

#[test]
fn is_valid_at_once_even_where_a_clock_is_half_an_hour_behind_and_for_years() {
    if !is_installed("openssl") {
        return;
    }
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    const DAY: u64 = 24 * 60 * 60;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let verify =
        |at: u64, file| format!("openssl verify -attime {at} -CAfile ca.pem -partial_chain {file}");
    for (at, file) in [
        (now - 1800, "server.pem"),
        (now - 1800, "client.pem"),
        (now + 824 * DAY, "server.pem"),
        (now + 824 * DAY, "client.pem"),
        (now + 3649 * DAY, "ca.pem"),
    ] {
        openssl(folder.path(), &verify(at, file));
    }
    for (at, file) in [
        (now - 7200, "ca.pem"),
        (now + 826 * DAY, "server.pem"),
        (now + 826 * DAY, "client.pem"),
        (now + 3651 * DAY, "ca.pem"),
    ] {
        openssl(folder.path(), &format!("! {}", verify(at, file)));
    }
}

#[test]
fn no_two_runs_share_a_name_of_the_ca_or_a_serial_number() {
    if !is_installed("openssl") {
        return;
    }
    let folders = [tempdir().unwrap(), tempdir().unwrap()];
    let mut subjects = Vec::new();
    let mut serials = Vec::new();
    for folder in &folders {
        cert(&[], folder.path());
        let show = |what: &str| openssl(folder.path(), &format!("openssl x509 -noout {what}"));
        let subject = show("-subject -nameopt RFC2253 -in ca.pem");
        assert!(subject.starts_with("subject=CN=tlsink CA "), "{subject}");
        subjects.push(subject);
        for file in ["ca.pem", "server.pem", "client.pem"] {
            let serial = show(&format!("-serial -in {file}"));
            // At most 20 bytes (RFC 5280, section 4.1.2.2), most of them random.
            assert!((28..=40).contains(&(serial.trim().len() - "serial=".len())));
            serials.push(serial);
        }
    }
    for said in [&mut subjects, &mut serials] {
        let count = said.len();
        said.sort();
        said.dedup();
        assert_eq!(said.len(), count);
    }
}

// The commands that the messages suggest.

#[cfg(feature = "gzip")]
#[test]
fn the_commands_to_try_work_as_printed() {
    if !is_installed("openssl") {
        return;
    }
    for name in ["certs", "it's $HOME; a `name` to \"quote\" \\ *é"] {
        let folder = tempdir().unwrap();
        let directory = folder.path().join(name);
        let [server, sender] = examples(&cert(&[], &directory));
        // The words of the command, as a shell splits it.
        let words = shell(&format!(r"printf '%s\n' {server}"));
        let words = String::from_utf8(words.stdout).unwrap();
        let words: Vec<&str> = words.lines().collect();
        assert_eq!(words[0], "tlsink");
        let program = Program::start(&words[1..]);

        let here = program.address().to_string();
        let sent = shell(&sender.replace("127.0.0.1:4433", &here));
        assert!(sent.status.success(), "{sender}: {sent:?}");
        assert_eq!(program.wait_for_end().end, "clean");
        assert_eq!(program.stop().stdout_text(), "hello\n");
    }
}

#[test]
fn the_command_to_try_sends_nothing_to_a_server_of_another_ca() {
    if !is_installed("openssl") {
        return;
    }
    let [folder, other] = [tempdir().unwrap(), tempdir().unwrap()];
    cert(&[], folder.path());
    let [_, sender] = examples(&cert(&[], other.path()));
    let program = serve(folder.path());
    let here = program.address().to_string();
    assert!(
        !shell(&sender.replace("127.0.0.1:4433", &here))
            .status
            .success()
    );
    assert_eq!(program.stop().stdout_text(), "");
}

#[test]
fn no_command_is_suggested_that_could_not_be_pasted() {
    let folder = tempdir().unwrap();
    let outcome = cert(&[], &folder.path().join("two\nlines"));
    assert!(!outcome.stderr.contains("try: "), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("two\\x0alines\n"),
        "{}",
        outcome.stderr
    );
}

// Further certificates by an existing CA.

#[test]
fn five_hosts_and_five_clients_get_certificates_of_their_own_in_one_folder() {
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    let before = FILES.map(|file| fs::read(folder.path().join(file)).unwrap());
    let shown = folder.path().to_str().unwrap();
    let mut expected: Vec<String> = FILES.map(str::to_owned).into();
    let mut fingerprints = Vec::new();
    for number in 1..=5 {
        let name = format!("web{number}.example.net");
        for (command, what) in [("server", "server"), ("client", "client")] {
            let outcome = cert(&[command, &name], folder.path());
            let [certificate, key] = ["pem", "key"].map(|end| format!("{command}-{name}.{end}"));
            let mut lines = outcome.stderr.lines();
            assert_eq!(
                lines.next(),
                Some(&*format!("tlsink: wrote {certificate} {key} to {shown}"))
            );
            let made = lines.next().unwrap();
            let begins = format!("tlsink: {what} certificate for {name}, sha256 ");
            fingerprints.push(made.strip_prefix(&begins).unwrap().to_owned());
            assert_eq!(mode(&folder.path().join(&key)), 0o600);
            expected.extend([certificate, key]);
        }
    }
    expected.sort();
    assert_eq!(names_in(folder.path()), expected);
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 10);
    assert!(FILES.map(|file| fs::read(folder.path().join(file)).unwrap()) == before);

    // The first certificate for a name stays, and no second one is made.
    for command in ["server", "client"] {
        let outcome = is_refused(2, &[command, "web1.example.net", shown]);
        let said = format!(
            "tlsink: {shown} already has {command}-web1.example.net.pem \
             {command}-web1.example.net.key\nhint: no file is overwritten: "
        );
        assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_client_that_was_added_is_let_in_by_its_name_and_a_server_reached_by_each_of_its_own() {
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    cert(
        &["server", "localhost", "127.0.0.1", "*.x.example"],
        folder.path(),
    );
    let (own, key) = (path("server-localhost.pem"), path("server-localhost.key"));
    for (name, file, called) in [
        ("boiler.example", "client-boiler.example", "boiler.example"),
        ("a@b.example", "client-a@b.example", "a@b.example"),
        (
            "spiffe://plant/boiler",
            "client-spiffe___plant_boiler",
            "spiffe://plant/boiler",
        ),
        ("Boiler 3", "client-Boiler_3", "Boiler\\x203"),
    ] {
        let outcome = cert(&["client", name], folder.path());
        let program = Program::start(&[
            "--cert",
            &own,
            "--key",
            &key,
            "--client-ca",
            &path("ca.pem"),
            "--allow-client",
            name,
            "--label",
        ]);
        // The last message suggests a command.
        let example = outcome.stderr.lines().last().unwrap();
        let example = example.strip_prefix("tlsink: try: tlsink ").unwrap();
        let address = format!("localhost:{}", program.address().port());
        let sent = shell(&format!(
            "echo hello | {BINARY} {}",
            example.replace("localhost:4433", &address)
        ));
        assert!(sent.status.success(), "{sent:?}");
        assert!(
            path(&format!("{file}.pem")).ends_with(".pem")
                && folder.path().join(format!("{file}.key")).exists()
        );
        assert!(
            program
                .wait_for_end()
                .peer
                .starts_with(&format!("{called}@")),
            "{}",
            program.stderr()
        );
        // The name of another client of the same CA is not allowed.
        let mut stranger = Command::new(BINARY);
        stranger.args([
            "send",
            "--ca",
            &path("ca.pem"),
            "--cert",
            &path("client.pem"),
            "--key",
            &path("client.key"),
            &address,
            "/dev/null",
        ]);
        assert!(!stranger.output().unwrap().status.success());
    }
    let program = Program::start(&["--cert", &own, "--key", &key]);
    for name in ["localhost", "127.0.0.1", "a.x.example"] {
        handshake(program.address(), folder.path(), name).unwrap();
    }
    assert!(handshake(program.address(), folder.path(), "::1").is_err());
}

#[test]
fn a_ca_of_somebody_else_signs_too() {
    if !is_installed("openssl") {
        return;
    }
    for (key, subject) in [
        (
            "ec -pkeyopt ec_paramgen_curve:P-256",
            "/C=DE/O=Example GmbH/OU=Plant/CN=Root äöü",
        ),
        (
            "ec -pkeyopt ec_paramgen_curve:P-384",
            "/DC=net/DC=example2/CN=Plant",
        ),
        ("ed25519", "/O=Plant"),
        (
            "rsa -pkeyopt rsa_keygen_bits:2048",
            "/CN=Plant/emailAddress=ca@plant.example",
        ),
    ] {
        let folder = tempdir().unwrap();
        let has_twice = subject.contains("/DC=net");
        openssl(
            folder.path(),
            &format!(
                "openssl genpkey -algorithm {key} -out ca.key 2>/dev/null
                 openssl req -x509 -utf8 -new -key ca.key -subj '{subject}' -days 30 -out ca.pem"
            ),
        );
        let shown = folder.path().to_str().unwrap();
        if has_twice {
            // rcgen allows only one attribute of each kind in a name.
            let outcome = is_refused(1, &["server", "localhost", shown]);
            assert_eq!(
                outcome.stderr,
                "tlsink: can't make certificates: the name of the CA is of a kind that is not supported\n"
            );
            continue;
        }
        cert(&["server", "localhost"], folder.path());
        cert(&["client", "a.example"], folder.path());
        let verify = "openssl verify -CAfile ca.pem";
        openssl(
            folder.path(),
            &format!("{verify} -purpose sslserver -verify_hostname localhost server-localhost.pem"),
        );
        openssl(
            folder.path(),
            &format!("{verify} -purpose sslclient client-a.example.pem"),
        );
        // The certificate does not outlive its CA.
        let ends = |file| {
            openssl(
                folder.path(),
                &format!("openssl x509 -in {file} -noout -enddate"),
            )
        };
        assert_eq!(ends("server-localhost.pem"), ends("ca.pem"));
    }
}

#[test]
fn a_missing_or_unusable_ca_is_reported() {
    let folder = tempdir().unwrap();
    let shown = folder.path().to_str().unwrap();
    let outcome = is_refused(2, &["client", "a.example", shown]);
    assert_eq!(
        outcome.stderr,
        format!(
            "tlsink: {shown} has no CA: no ca.pem and no ca.key\nhint: tlsink cert {shown} makes one there\n"
        )
    );
    cert(&[], folder.path());
    let [good, other] = [folder.path().to_owned(), tempdir().unwrap().keep()];
    cert(&[], &other);
    let with = |certificate: &Path, key: &Path| {
        let folder = tempdir().unwrap();
        fs::copy(certificate, folder.path().join("ca.pem")).unwrap();
        fs::copy(key, folder.path().join("ca.key")).unwrap();
        folder
    };
    for (folder, said, hint) in [
        (
            with(&good.join("ca.pem"), &other.join("ca.key")),
            "/ca.key: the private key is not that of the certificate",
            "ca.pem and ca.key must belong together",
        ),
        (
            with(&good.join("server.pem"), &good.join("server.key")),
            " can't be used: the certificate is no CA's",
            "ca.pem is a CA's certificate, and ca.key its key in PKCS#8: openssl pkcs8 -topk8 -nocrypt makes that of other keys",
        ),
        (
            with(&good.join("ca.key"), &good.join("ca.key")),
            "/ca.pem: no certificate found",
            "in PEM files, certificates begin with -----BEGIN CERTIFICATE, and keys with -----BEGIN PRIVATE KEY",
        ),
    ] {
        let before = names_in(folder.path());
        for command in ["server", "client"] {
            let outcome = is_refused(2, &[command, "a.example", folder.path().to_str().unwrap()]);
            let (error, hinted) = outcome.stderr.split_once('\n').unwrap();
            assert!(error.ends_with(said), "{error}");
            assert_eq!(hinted, format!("hint: {hint}\n"));
        }
        assert_eq!(names_in(folder.path()), before);
    }
    fs::remove_dir_all(other).unwrap();
    fs::remove_file(good.join("ca.key")).unwrap();
    let outcome = is_refused(2, &["client", "a.example", shown]);
    assert!(
        outcome
            .stderr
            .starts_with(&format!("tlsink: can't read {shown}/ca.key: ")),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_host_is_no_directory_unless_it_is_one() {
    let folder = tempdir().unwrap();
    let cert_in_folder = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.current_dir(&folder).arg("cert").args(args);
        command
    };
    for (args, host, before) in [
        (&["logs.example.net"][..], "logs.example.net", ""),
        (&["localhost"], "localhost", ""),
        (&["10.0.0.7"], "10.0.0.7", ""),
        (&["a.example", "b.example"], "b.example", ""),
        (
            &["server", "a.example", "b.example"],
            "b.example",
            "server ",
        ),
        (
            &["client", "a.example", "b.example"],
            "b.example",
            "client ",
        ),
    ] {
        let error = format!(
            "{host} looks like a host, and the last argument is the directory to write into"
        );
        let hint = format!(
            "tlsink cert {before}{host} DIR makes a certificate for it; a directory of that name is \
             given as ./{host}"
        );
        let outcome = refused(cert_in_folder(args), WRONG_USE);
        assert_eq!(outcome.stderr, said(&error, &hint));
        assert_eq!(names_in(folder.path()), [""; 0]);
    }
    let output = cert_in_folder(&["./logs.example.net"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fs::create_dir(folder.path().join("web.example.net")).unwrap();
    let output = cert_in_folder(&["web.example.net"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        names_in(&folder.path().join("web.example.net")),
        sorted(&FILES)
    );
}

#[test]
fn a_client_certificate_whose_name_can_not_be_allowed_is_not_made() {
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    for name in ["*.example.net", "a\nb"] {
        let outcome = is_refused(2, &["client", name, folder.path().to_str().unwrap()]);
        let said =
            format!("tlsink: {name:?} can't be the name of a client\nhint: give a name such as ");
        assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    }
    assert_eq!(names_in(folder.path()), sorted(&FILES));
}

// Nothing is overwritten.

#[test]
fn an_existing_file_stays_and_is_named_and_nothing_else_is_written() {
    for file in FILES {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join(file), "precious").unwrap();
        let outcome = is_refused(2, &[folder.path().to_str().unwrap()]);
        let error = outcome.stderr.lines().next().unwrap();
        assert!(error.ends_with(&format!(" already has {file}")), "{error}");
        assert!(outcome.stderr.contains("\nhint: no file is overwritten"));
        assert_eq!(names_in(folder.path()), [file]);
        let left = fs::read_to_string(folder.path().join(file)).unwrap();
        assert_eq!(left, "precious");
    }
}

#[test]
fn a_second_run_names_all_six_and_changes_none() {
    let folder = tempdir().unwrap();
    cert(&[], folder.path());
    let contents = || FILES.map(|file| fs::read(folder.path().join(file)).unwrap());
    let before = contents();
    let outcome = is_refused(2, &["other.example", folder.path().to_str().unwrap()]);
    assert!(
        outcome.stderr.contains(&FILES.join(" ")),
        "{}",
        outcome.stderr
    );
    assert!(contents() == before);
}

#[test]
fn a_link_that_leads_nowhere_is_not_followed() {
    let folder = tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let directory = folder.path().join("certs");
    fs::create_dir(&directory).unwrap();
    symlink(&elsewhere, directory.join("ca.key")).unwrap();
    is_refused(2, &[directory.to_str().unwrap()]);
    assert_eq!(names_in(&directory), ["ca.key"]);
    assert!(!elsewhere.exists());
}

#[test]
fn of_two_runs_at_once_one_writes_all_and_the_other_nothing() {
    let folder = tempdir().unwrap();
    let run = || {
        Command::new(BINARY)
            .arg("cert")
            .arg(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (one, other) = (run(), run());
    let outputs = [one, other].map(|run| run.wait_with_output().unwrap());
    let winners: Vec<&Output> = outputs.iter().filter(|run| run.status.success()).collect();
    assert_eq!(winners.len(), 1, "{outputs:?}");
    assert_eq!(names_in(folder.path()), sorted(&FILES));
    // The files serve, and are trusted, so they are all from one run.
    let program = serve(folder.path());
    handshake(program.address(), folder.path(), "localhost").unwrap();
}

#[test]
fn half_written_files_are_removed() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("notes"), "mine").unwrap();
    // Files may grow to 1 KiB (2 KiB where the shell counts in KiB), which is too little for the
    // server's certificate.
    let names: Vec<String> = (0..100)
        .map(|i| format!("{i}.{}", "x".repeat(60)))
        .collect();
    let output = Command::new("sh")
        .args([
            "-c",
            r#"trap '' XFSZ; ulimit -f 2; exec "$0" cert "$@""#,
            BINARY,
        ])
        .args(&names)
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with(&format!(
            "tlsink: can't write {}/server.pem: ",
            folder.path().display()
        )),
        "{said}"
    );
    assert!(
        said.ends_with("; removed ca.pem ca.key server.pem\n"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(names_in(folder.path()), ["notes"]);
}

// Wrong arguments, and unusable directories.

#[test]
fn a_name_that_cannot_be_in_a_certificate_is_named_and_nothing_is_made() {
    let folder = tempdir().unwrap();
    let directory = folder.path().join("certs");
    for (name, said) in [
        ("a b", r#""a b" is neither a DNS name nor an IP address"#),
        (
            "localhost:4433",
            r#""localhost:4433" is neither a DNS name nor an IP address"#,
        ),
        (
            "127.0.0.256",
            r#""127.0.0.256" is neither a DNS name nor an IP address"#,
        ),
        (
            "münchen.example",
            r#""münchen.example" is neither a DNS name nor an IP address"#,
        ),
        (
            "a.*.net",
            r#""a.*.net" is neither a DNS name nor an IP address"#,
        ),
        (
            "*.net",
            r#"no client accepts a wildcard as wide as "*.net""#,
        ),
    ] {
        let outcome = is_refused(2, &["localhost", name, directory.to_str().unwrap()]);
        let mut lines = outcome.stderr.lines();
        assert_eq!(lines.next(), Some(&*format!("tlsink: {said}")));
        assert!(
            lines
                .next()
                .unwrap()
                .starts_with("hint: give names such as ")
        );
        assert!(!directory.exists());
    }
}

#[test]
fn a_file_is_no_directory() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let shown = file.to_str().unwrap();
    let outcome = is_refused(2, &[shown]);
    assert_eq!(
        outcome.stderr,
        format!(
            "tlsink: {shown} is not a directory\n\
             hint: the last argument is the directory to write into\n"
        )
    );
    let outcome = is_refused(2, &[&format!("{shown}/certs")]);
    assert!(
        outcome
            .stderr
            .starts_with(&format!("tlsink: can't make {shown}/certs: ")),
        "{}",
        outcome.stderr
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let folder = tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let shown = folder.path().to_str().unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        skip("whoever runs this may write everywhere");
        return;
    }
    for (directory, said) in [
        (shown.to_owned(), format!("can't write {shown}/ca.pem: ")),
        (format!("{shown}/a/b"), format!("can't make {shown}/a/b: ")),
    ] {
        let outcome = is_refused(1, &[&directory]);
        assert!(
            outcome.stderr.starts_with(&format!("tlsink: {said}")),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.stderr.lines().count(), 1);
    }
}

/// Not even root can make files in the directory.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_made_is_named() {
    let outcome = is_refused(1, &["/proc"]);
    assert!(
        outcome
            .stderr
            .starts_with("tlsink: can't write /proc/ca.pem: "),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.lines().count(), 1);
}

/// Makes certificates, which must succeed.
fn cert(names: &[&str], directory: &Path) -> Outcome {
    let directory = directory.to_str().unwrap();
    let outcome = Program::run(&[&["cert"], names, &[directory]].concat());
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
}

/// Runs the command with arguments that it must refuse.
fn is_refused(status: i32, args: &[&str]) -> Outcome {
    let mut command = Command::new(BINARY);
    command.arg("cert").args(args);
    refused(command, status)
}

/// Starts a receiver with the server's certificate.
fn serve(directory: &Path) -> Program {
    let path = |name| directory.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("server.pem"), path("server.key"));
    Program::start(&["--cert", &certificate, "--key", &key])
}

/// Shakes hands as a client that trusts this directory's CA and expects this name.
fn handshake(address: SocketAddr, directory: &Path, name: &str) -> io::Result<()> {
    let mut roots = RootCertStore::empty();
    let ca = rustls::Certificate(der(directory, "ca.pem").to_vec());
    roots.add(&ca).expect("the CA can be trusted");
    let config = ClientConfig::builder()
        .with_safe_defaults()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("it is a name");
    let mut tls =
        ClientConnection::new(Arc::new(config), name).expect("the configuration is whole");
    let mut tcp = tcp(address)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut tcp)?;
    }
    tcp.flush()
}

fn der(directory: &Path, file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(directory.join(file)).expect("it is a certificate")
}

/// The two commands that the messages suggest.
fn examples(outcome: &Outcome) -> [String; 2] {
    let examples: Vec<String> = outcome
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("tlsink: try: ").map(str::to_owned))
        .collect();
    examples.try_into().expect("there are two")
}

fn shell(script: &str) -> Output {
    Command::new("sh").args(["-c", script]).output().unwrap()
}

/// Runs a shell script in the directory, which must succeed.
fn openssl(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}
