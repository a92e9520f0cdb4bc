//! A folder for the tests of shippers, and the configurations of GUIDE.md.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::authority::Authority;
use super::child::Running;
use super::program::LIMIT;

/// Messages that a shipper sends.
pub const MESSAGES: usize = 10_000;

/// rsyslog's input, which GUIDE.md leaves to the reader.
pub const RSYSLOG_INPUT: &str = r#"
    global(workDirectory="DIR/state")
    module(load="imfile")
    input(type="imfile" file="DIR/messages" tag="test:")
"#;

/// A folder with messages, certificates, and a shipper's state.
pub struct Shipped(TempDir);

impl Shipped {
    pub fn new() -> Self {
        Shipped::with(MESSAGES)
    }

    /// With this many messages.
    pub fn with(messages: usize) -> Self {
        let shipped = Shipped::of(&Authority::new("CA"), "web1.example");
        let messages = (0..messages).map(|number| format!("message {number}\n"));
        fs::write(shipped.path("messages"), messages.collect::<String>()).unwrap();
        shipped
    }

    /// Without messages, and with a certificate for a sender of this name.
    pub fn of(ca: &Authority, sender: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", &ca.pem());
        let names = ["logs.example.net", "localhost", "127.0.0.1"];
        write("server.pem", &ca.server(&names).pem());
        let client = ca.sender(sender, &[]);
        write("client.pem", &client.pem());
        write("client.key", &client.key_pem());
        fs::create_dir(directory.path().join("state")).unwrap();
        Shipped(directory)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The arguments of a receiver that shows its certificate, and may require one of its senders.
    pub fn args(&self, requires_certificate: bool) -> Vec<String> {
        let (own, ca) = (self.path("server.pem"), self.path("ca.pem"));
        let mut args = vec!["--cert".to_owned(), own.clone(), "--key".to_owned(), own];
        if requires_certificate {
            args.extend(["--client-ca".to_owned(), ca]);
        }
        args
    }

    /// Waits until the text of a file is as it should be; returns the text.
    pub fn wait_for(&self, name: &str, is_whole: impl Fn(&str) -> bool) -> String {
        until(name, Duration::from_millis(10), || {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            is_whole(&text).then_some(text)
        })
    }

    pub fn start_rsyslog(&self, config: &str, port: u16) -> Running {
        let arguments = ["-n", "-i", "DIR/state/pid", "-f", "DIR/rsyslogd"];
        self.start("rsyslogd", &arguments, config, port)
    }

    /// Starts syslog-ng with this driver, `syslog` or `network`.
    pub fn start_syslog_ng(&self, driver: &str, port: u16) -> Running {
        let config = r#"@version: 3.38
            source s_src { file("DIR/messages" follow-freq(1) flags(no-parse)); };
        "#
        .to_owned()
            + &guide("syslog-ng", "text").replace("syslog(", &format!("{driver}("));
        let arguments = [
            "--foreground",
            "--no-caps",
            "--cfgfile=DIR/syslog-ng",
            "--persist-file=DIR/state/persist",
            "--control=DIR/state/control",
            "--pidfile=DIR/state/syslog-ng",
        ];
        self.start("syslog-ng", &arguments, &config, port)
    }

    /// Starts a shipper, whose configuration becomes the file of its name.
    fn start(&self, name: &str, arguments: &[&str], config: &str, port: u16) -> Running {
        fs::write(self.path(name), self.fill(config, port)).unwrap();
        let child = Command::new(name)
            .args(arguments.iter().map(|argument| self.fill(argument, port)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Makes Java's files of the certificates, unless they are there.
    pub fn make_keystores(&self) {
        if fs::exists(self.path("ca.p12")).unwrap() {
            return;
        }
        let commands = self.fill(&guide("Log4j", "sh"), 0);
        let mut shell = Command::new("sh");
        let ran = shell.args(["-ec", &commands]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    /// Replaces `DIR` and `PORT`.
    pub fn fill(&self, text: &str, port: u16) -> String {
        text.replace("DIR", self.0.path().to_str().unwrap())
            .replace("PORT", &port.to_string())
    }
}

/// The configuration in a section of GUIDE.md, for the files and the address of a test.
pub fn guide(section: &str, language: &str) -> String {
    let blocks = blocks(section, language);
    let config = blocks.first().unwrap();
    config
        .replace("/etc/tlsink/client-web1.example", "DIR/client")
        .replace("/etc/tlsink/", "DIR/")
        // The certificate is for the name, which no resolver knows.
        .replace("target=\"logs.example.net\"", "target=\"127.0.0.1\"")
        .replace("syslog(\"logs.example.net\"", "syslog(\"127.0.0.1\"")
        .replace("\"logs.example.net\", 4433", "\"localhost\", 4433")
        .replace("host=\"logs.example.net\"", "host=\"localhost\"")
        .replace("host: \"logs.example.net\"", "host: \"localhost\"")
        .replace("4433", "PORT")
}

/// The blocks of this language in a section of GUIDE.md, as they stand.
pub fn blocks(section: &str, language: &str) -> Vec<String> {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/GUIDE.md")).unwrap();
    let (_, section) = guide.split_once(&format!("\n### {section}\n")).unwrap();
    let (section, _) = section.split_once("\n##").unwrap_or((section, ""));
    let opening = format!("```{language}\n");
    let parts = section.split(&opening);
    parts
        .skip(1)
        .map(|block| block.split_once("```").unwrap().0.to_owned())
        .collect()
}

pub fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Looks again and again until there is a result.
pub fn until<T>(what: &str, pause: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        thread::sleep(pause);
    }
}
