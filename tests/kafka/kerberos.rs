//! Kerberos to the brokers, by a key distribution center (KDC) on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::brokers::Brokers;
use crate::common::program::{BINARY, Client, FREE, LIMIT, Program, tcp};
use crate::common::skip::{is_installed, missing};

/// A KDC of the realm TEST, which is killed when this is dropped.
struct Kdc {
    folder: TempDir,
    child: Child,
}

#[test]
fn a_receiver_authenticates_by_its_keytab() {
    let Some(kdc) = Kdc::start() else {
        return;
    };
    let Some(brokers) = Brokers::start_with_kerberos(&kdc.config(), &kdc.keytab("kafka/127.0.0.1"))
    else {
        return;
    };
    brokers.topic("logs", 2, &[]);
    let ca = format!("ssl.ca.location={}", brokers.tls_file("ca.pem"));
    let keytab = kdc.keytab("tlsink");
    let keytab = format!("sasl.kerberos.keytab={}", keytab.display());
    let settings = [
        "security.protocol=sasl_ssl",
        "sasl.mechanism=GSSAPI",
        "sasl.kerberos.principal=tlsink",
        &keytab,
        &ca,
    ];
    let start = |more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.env("KRB5_CONFIG", kdc.config());
        command.args(["--listen", FREE, "--receipt", "--topic", "logs"]);
        command.args(["--kafka", &brokers.addresses_of("SASL_SSL")]);
        for setting in settings.iter().chain(more) {
            command.args(["--kafka-set", setting]);
        }
        Program::start_by(command, 1)
    };
    let program = start(&[]);
    let mut client = Client::connect(program.address());
    client.write(b"line\n").unwrap();
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    assert_eq!(program.stop().status, 0);
    assert_eq!(brokers.lines("logs"), ["line"]);

    let program = start(&["sasl.kerberos.service.name=other"]);
    program.wait_for_line(|line| {
        line.starts_with("tlsink: the handshake with a broker fails: ")
            && line.contains("other/127.0.0.1@TEST not found in Kerberos database")
    });
    assert_eq!(program.stop().status, 0);
}

impl Kdc {
    /// Starts a KDC with the principals of the brokers and of the receiver; [reports](missing) if none is
    /// installed.
    fn start() -> Option<Kdc> {
        let sbin = ["krb5kdc", "kdb5_util", "kadmin.local"];
        if !sbin.map(program).iter().all(|path| path.exists()) {
            missing("krb5kdc and kadmin.local are not installed");
            return None;
        }
        if !is_installed("kinit") {
            return None;
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.unwrap();
        let shown = path.display();
        let config = format!(
            "[libdefaults]\n\
             default_realm = TEST\n\
             dns_lookup_kdc = false\n\
             dns_canonicalize_hostname = false\n\
             rdns = false\n\
             udp_preference_limit = 1\n\
             default_ccache_name = FILE:{shown}/tickets\n\
             [realms]\n\
             TEST = {{\n\
               kdc = {address}\n\
             }}\n"
        );
        fs::write(path.join("krb5.conf"), config).unwrap();
        let profile = format!(
            "[kdcdefaults]\n\
             kdc_listen = {address}\n\
             kdc_tcp_listen = {address}\n\
             [realms]\n\
             TEST = {{\n\
               database_name = {shown}/principal\n\
               key_stash_file = {shown}/stash\n\
             }}\n\
             [logging]\n\
             kdc = STDERR\n"
        );
        fs::write(path.join("kdc.conf"), profile).unwrap();
        run(path, "kdb5_util", &["create", "-s", "-P", "master"]);
        for principal in ["kafka/127.0.0.1", "tlsink"] {
            let keytab = keytab(path, principal);
            let add = format!("addprinc -randkey {principal}");
            let export = format!("ktadd -k {} {principal}", keytab.display());
            run(path, "kadmin.local", &["-q", &add]);
            run(path, "kadmin.local", &["-q", &export]);
        }
        let child = command(path, "krb5kdc")
            .arg("-n")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let kdc = Kdc { folder, child };
        let deadline = Instant::now() + LIMIT;
        while tcp(address).is_err() {
            assert!(Instant::now() < deadline, "the KDC never listens");
            thread::yield_now();
        }
        Some(kdc)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("krb5.conf")
    }

    fn keytab(&self, principal: &str) -> PathBuf {
        keytab(self.folder.path(), principal)
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of a principal's keys.
fn keytab(folder: &Path, principal: &str) -> PathBuf {
    folder.join(principal.replace('/', "-") + ".keytab")
}

/// A program of the administrator, whose folder may not be in the PATH of others.
fn program(name: &str) -> PathBuf {
    Path::new("/usr/sbin").join(name)
}

fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env("KRB5_CONFIG", folder.join("krb5.conf"));
    command.env("KRB5_KDC_PROFILE", folder.join("kdc.conf"));
    command.stdin(Stdio::null());
    command
}

fn run(folder: &Path, name: &str, args: &[&str]) {
    let done = command(folder, name).args(args).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}
