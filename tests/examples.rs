//! Runs the examples unchanged: each prints its address, and the lines that a sender sends it. This
//! binary stands alone because cargo builds the examples for `cargo test`, but not for `cargo test
//! --test NAME`, which the other binaries must pass by themselves.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::{Certificate, ClientConfig, PrivateKey, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

#[path = "common"]
mod common {
    pub mod child;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod client;
    #[cfg(feature = "gzip")]
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod pack;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod sender;
}

use crate::common::child::Running;
use crate::common::client::{TLS13, config};
use crate::common::sender::{LIMIT, Sender};

#[test]
fn smol() {
    let mut example = Example::start("smol", "127.0.0.1:0");
    let mut sender = example.connect();
    let label = sender.address();
    sender.write(b"one\ntwo");
    // The example prints a line when it is finished.
    assert_eq!(example.line(), format!("{label} one"));
    sender.write(b", three\n");
    assert_eq!(example.line(), format!("{label} two, three"));
    sender.finish();
}

#[cfg(feature = "gzip")]
#[test]
fn smol_and_gzip() {
    let mut example = Example::start("smol", "127.0.0.1:0");
    let mut sender = example.connect();
    let label = sender.address();
    sender.write(&common::pack::gzip(b"one\n"));
    sender.finish();
    assert_eq!(example.line(), format!("{label} one"));
}

#[test]
fn async_std() {
    let mut example = Example::start("async-std", "127.0.0.1:0");
    let mut sender = example.connect();
    let label = sender.address();
    sender.write(b"{\"level\":\"info\",\"message\":\"fine\"}\nnot JSON\n");
    sender.write(b"{\"level\":\"error\",\"message\":\"disk ful");
    sender.write(b"l\\u001b[2J\"}\n");
    assert_eq!(example.line(), format!("{label}: disk full\\x1b[2J"));
    let said = example.said();
    assert!(
        said.starts_with(&format!("{label}: not JSON: ")),
        "{said:?}"
    );
    sender.finish();
}

#[test]
fn tokio() {
    let mut example = Example::start("tokio", "127.0.0.1:0");
    let mut sender = example.connect();
    let address = sender.address();
    sender.write(b"hello\n");
    let mut line = || serde_json::from_str::<serde_json::Value>(&example.line()).unwrap();
    assert_eq!(line()["type"], "open");
    let data = line();
    assert_eq!(data["text"], "hello");
    assert_eq!(data["peer"], address.to_string());
    // The connection has 10 seconds and needs none of them.
    example.signal(Signal::INT);
    sender.finish();
    let mut line = || serde_json::from_str::<serde_json::Value>(&example.line()).unwrap();
    assert_eq!(line()["end"], "clean");
    assert_eq!(example.said(), "1 of 1 streams are complete");
    assert!(example.child.0.wait().unwrap().success());
}

#[test]
fn unix_socket() {
    let mut example = Example::start("unix-socket", "a.sock");
    let mut sender = UnixStream::connect(example.directory.path().join("a.sock")).unwrap();
    sender.write_all(b"hello\n").unwrap();
    assert_eq!(example.line(), "local@unix hello");
    drop(sender);
    assert_eq!(
        example.said(),
        "local@unix: 6 bytes received, 6 delivered, plain, clean"
    );
}

#[test]
fn acceptor() {
    let mut example = Example::start("acceptor", "127.0.0.1:0");
    // A stalled peer holds up no other, and one without a certificate is refused.
    let _stalled = std::net::TcpStream::connect(example.address()).unwrap();
    let stranger = example.connect();
    let address = stranger.address();
    stranger.wait_for_end();
    let said = example.said();
    assert!(
        said.starts_with(&format!("{address}: no handshake: ")),
        "{said:?}"
    );
    let config = client_config(example.directory.path());
    let mut sender = Sender::connect_with(example.address(), config).unwrap();
    sender.write(b"hello\n");
    let label = format!("ours@{}", sender.address());
    assert_eq!(example.line(), format!("{label} hello"));
    sender.finish();
}

#[test]
fn custom_output() {
    let mut example = Example::start("custom-output", "127.0.0.1:0");
    let mut sender = example.connect();
    let label = sender.address();
    sender.write(b"one\ntwo\nthr");
    sender.write(b"ee\n");
    sender.finish();
    assert_eq!(example.line(), format!("{label}: 3 lines, clean"));
    let cut_off = example.connect();
    let label = cut_off.address();
    drop(cut_off);
    assert_eq!(example.line(), format!("{label}: 0 lines, truncated"));
}

#[test]
fn slow_store() {
    let mut example = Example::start("slow-store", "127.0.0.1:0");
    let file = example.directory.path().join("lines.log");
    let mut sent = Vec::new();
    for text in ["one\ntwo\n", "three"] {
        let mut sender = example.connect();
        let label = sender.address();
        sender.write(text.as_bytes());
        sender.finish();
        // Lines are on the disk before the sender hears of its end, and before the report.
        sent.extend(text.lines().map(str::to_owned));
        let stored = fs::read_to_string(&file).unwrap();
        assert_eq!(stored.lines().collect::<Vec<_>>(), sent);
        let len = text.len();
        let report = format!("{label}: {len} bytes received, {len} delivered, plain, clean");
        assert_eq!(example.line(), report);
    }
}

#[test]
fn pull() {
    let mut example = Example::start("pull", "127.0.0.1:0");
    drop(std::net::TcpStream::connect(example.address()).unwrap());
    let mut sender = example.connect();
    let label = sender.address();
    sender.write(b"12345");
    assert_eq!(example.line(), format!("{label}: open"));
    assert_eq!(example.line(), format!("{label}: 5 bytes"));
    sender.finish();
    assert_eq!(example.line(), format!("{label}: 5 bytes in all, clean"));
    assert_eq!(
        example.line(),
        "1 streams so far, and 1 that never began",
        "the one that closed was accepted first"
    );
}

/// Linux delays an acknowledgement by 40 ms or more. One connection of many that takes less than
/// half of that has waited for none; a busy machine can't delay all of them.
#[cfg(target_os = "linux")]
#[test]
fn quick_ack() {
    let mut example = Example::start("quick-ack", "127.0.0.1:0");
    let mut is_prompt = || {
        let start = Instant::now();
        let mut sender = example.connect();
        sender.write(b"hello\n");
        assert_eq!(example.line(), format!("{} hello", sender.address()));
        let time = start.elapsed();
        sender.finish();
        time < Duration::from_millis(20)
    };
    assert!((0..100).any(|_| is_prompt()));
}

#[cfg(feature = "client")]
#[test]
fn send() {
    let mut receiver = Example::start("smol", "127.0.0.1:0");
    let mut child = Command::new(binary("send"))
        .arg(&receiver.listens)
        .current_dir(&receiver.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"the server has all 6 bytes\n");
    assert!(receiver.line().ends_with(" hello"));
}

#[test]
fn each_example_is_run_and_says_its_purpose() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = fs::read_to_string(directory.join(file!())).unwrap();
    let guide = fs::read_to_string(directory.join("GUIDE.md")).unwrap();
    for entry in fs::read_dir(directory.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("rs".as_ref()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(text.starts_with("//! Shows "), "{name}");
        assert!(tests.contains(&format!("(\"{name}\"")), "{name}");
        assert!(
            guide.contains(&format!("(examples/{name}.rs)")),
            "GUIDE.md links to {name}"
        );
    }
    let smol = fs::read_to_string(directory.join("examples/smol.rs")).unwrap();
    let code = smol.lines().map(str::trim_start);
    let code = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(code.count() <= 30, "it is to be read at a glance");
}

/// An example, running.
struct Example {
    child: Running,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    listens: String,
    directory: TempDir,
}

impl Example {
    /// Starts the example in a folder with the files of `tlsink cert .`, and waits until it
    /// listens.
    fn start(name: &str, listen: &str) -> Example {
        let directory = tempfile::tempdir().unwrap();
        make_certificates(directory.path());
        let binary = binary(name);
        let mut child = Command::new(&binary)
            .arg(listen)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; `cargo build --examples` makes it",
                    binary.display()
                )
            });
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let mut example = Example {
            child: Running(child),
            stdout,
            stderr,
            listens: String::new(),
            directory,
        };
        let said = example.said();
        let listens = said.strip_prefix("listening on ").expect("it listens");
        example.listens = listens.to_owned();
        example
    }

    fn address(&self) -> SocketAddr {
        self.listens.parse().unwrap()
    }

    fn connect(&self) -> Sender<std::net::TcpStream> {
        Sender::connect_with(self.address(), config(&TLS13)).unwrap()
    }

    /// The next line on its standard output.
    fn line(&mut self) -> String {
        self.stdout.recv_timeout(LIMIT).expect("it prints a line")
    }

    /// The next line on its standard error.
    fn said(&mut self) -> String {
        self.stderr.recv_timeout(LIMIT).expect("it says something")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }
}

/// The path where cargo puts the example: `examples`, beside the folder of this test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(name)
}

/// Sends each line of the stream as soon as it is read.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // The test may have dropped the receiver.
            let _ = tell.send(line);
        }
    });
    told
}

/// Makes the files of `tlsink cert`, with the same names.
fn make_certificates(directory: &Path) {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for (name, dns) in [("server", "localhost"), ("client", "sender.example.net")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// The configuration of a sender with the certificate of [`make_certificates`].
fn client_config(directory: &Path) -> ClientConfig {
    let chain = CertificateDer::from_pem_file(directory.join("client.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("client.key")).unwrap();
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap();
    roots.add(&Certificate(authority.to_vec())).unwrap();
    ClientConfig::builder()
        .with_safe_defaults()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![Certificate(chain.to_vec())],
            PrivateKey(key.secret_der().to_vec()),
        )
        .unwrap()
}
