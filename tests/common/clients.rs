//! Clients of libraries, and the programs in `tests/senders` that run them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::child::Running;
use super::shipped::{Shipped, guide, until};
use super::skip::{is_installed, missing};

/// A client, and the program that the tests have for it.
pub struct Kind {
    /// The command and its first argument, followed by a configuration and the number of messages.
    pub command: [&'static str; 2],
    /// The module without which the client is missing.
    pub module: Option<&'static str>,
    /// The section of GUIDE.md with its configuration, and the language of that; without one, the
    /// port and the files follow the first argument.
    pub guide: Option<(&'static str, &'static str)>,
    /// Replacements in the configuration that make the test quick.
    pub changes: &'static [(&'static str, &'static str)],
    /// Whether it has a certificate of its own, which its receiver then requires.
    pub has_certificate: bool,
    pub framing: &'static str,
    /// Whether it prints how many messages are acknowledged.
    pub acknowledges: bool,
    /// The number of the message in a line of the output, if the line is a whole record of it.
    pub number: fn(&str) -> Option<usize>,
}

impl Kind {
    /// The number of messages that come before the test's: the code in GUIDE.md says hello.
    pub fn hellos(&self) -> usize {
        usize::from(self.guide.is_some_and(|(_, language)| language != "xml"))
    }
}

pub const LOG4J: Kind = Kind {
    command: ["java", "Log4j.java"],
    module: Some("org.apache.logging.log4j.core.LoggerContext"),
    guide: Some(("Log4j", "xml")),
    changes: &[],
    has_certificate: true,
    framing: "octet",
    acknowledges: false,
    number: |line| syslog(line.strip_suffix("\\x0aof two lines")?),
};

pub const RFC5424: Kind = Kind {
    command: ["python3", "python.py"],
    module: Some("rfc5424logging"),
    guide: Some(("rfc5424-logging-handler", "python")),
    // It writes a byte order mark before each message (RFC 5424, section 6.4).
    number: |line| {
        let (_, number) = line.rsplit_once(" \u{feff}message ")?;
        number.strip_suffix("\\x0aof two lines")?.parse().ok()
    },
    ..LOG4J
};

pub const PYGELF: Kind = Kind {
    command: ["python3", "python.py"],
    module: Some("pygelf"),
    guide: Some(("pygelf", "python")),
    framing: "nul",
    number: |line| {
        let (_, message) = line.split_once("\"short_message\":\"message ")?;
        let (number, rest) = message.split_once("\\nof two lines\"")?;
        rest.ends_with('}').then(|| number.parse().ok())?
    },
    ..LOG4J
};

pub const PYLOGBEAT: Kind = Kind {
    command: ["python3", "beats.py"],
    module: Some("pylogbeat"),
    guide: Some(("pylogbeat", "python")),
    changes: &[],
    has_certificate: true,
    framing: "lumberjack",
    acknowledges: true,
    number: |line| between(line, "{\"message\": \"message ", "\"}"),
};

pub const LOGSTASH_ASYNC: Kind = Kind {
    module: Some("logstash_async"),
    guide: Some(("python-logstash-async", "python")),
    // Its database would sync each message.
    changes: &[("\"app-log.db\"", "None")],
    number: |line| {
        let (_, message) = line.split_once(", \"message\": \"message ")?;
        let (number, rest) = message.split_once('"')?;
        rest.ends_with("}}").then(|| number.parse().ok())?
    },
    ..PYLOGBEAT
};

pub const LUMBERJACK_PROTOCOL: Kind = Kind {
    command: ["node", "lumberjack-protocol.js"],
    module: Some("lumberjack-protocol"),
    guide: Some(("lumberjack-protocol", "js")),
    number: |line| {
        between(
            line,
            "{\"line\":\"message ",
            "\",\"host\":\"web1.example\"}",
        )
    },
    ..PYLOGBEAT
};

pub const LUMBERJACK_CLIENT: Kind = Kind {
    command: ["node", "lumberjack-client.js"],
    module: Some("lumberjack-client"),
    guide: Some(("lumberjack-client", "js")),
    acknowledges: false,
    number: |line| between(line, "{\"message\":\"message ", "\"}"),
    ..PYLOGBEAT
};

pub const GO_LUMBER: Kind = Kind {
    command: ["tlsink-senders", "lumber"],
    module: None,
    guide: None,
    number: LUMBERJACK_CLIENT.number,
    ..PYLOGBEAT
};

pub const FLUENT_ORG: Kind = Kind {
    command: ["node", "fluent-org.js"],
    module: Some("@fluent-org/logger"),
    guide: Some(("@fluent-org/logger", "js")),
    changes: &[("ackTimeout: 10000", "ackTimeout: 1000")],
    has_certificate: true,
    framing: "forward",
    acknowledges: true,
    number: |line| {
        let (time, record) = line
            .strip_prefix("{\"tag\":\"app\",\"time\":\"20")?
            .split_once("\",\"record\":")?;
        let number = between(record, "{\"message\":\"message ", "\"}}");
        number.filter(|_| time.ends_with('Z'))
    },
};

pub const FLUENT_LOGGER: Kind = Kind {
    command: ["node", "fluent-logger.js"],
    module: Some("fluent-logger"),
    guide: Some(("fluent-logger", "js")),
    changes: &[(
        "ackResponseTimeout: 10000",
        "ackResponseTimeout: 1000, flushInterval: 10",
    )],
    ..FLUENT_ORG
};

pub const FLUENCY: Kind = Kind {
    command: ["java", "Fluency.java"],
    module: Some("org.komamitsu.fluency.Fluency"),
    guide: Some(("Fluency", "java")),
    changes: &[("Millis(10000)", "Millis(200)")],
    ..FLUENT_ORG
};

pub const FLUENT_LOGGER_GO: Kind = Kind {
    command: ["tlsink-senders", "fluent"],
    module: None,
    guide: None,
    changes: &[],
    // It can't be given one.
    has_certificate: false,
    ..FLUENT_ORG
};

/// The messages of a client.
pub enum Messages<'a> {
    /// This many, as fast as they can be.
    Count(usize),
    /// A few each second until this file exists, each with a name before it.
    Paced { name: &'a str, over: &'a str },
}

impl Messages<'_> {
    /// The arguments of the programs in `tests/senders`.
    fn args(&self) -> Vec<String> {
        match self {
            Messages::Count(count) => vec![count.to_string()],
            // There are never so many.
            Messages::Paced { name, over } => [&u32::MAX.to_string(), *name, over]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// A client's program, running.
pub struct Sender {
    process: Running,
    acknowledged: Acknowledged,
    /// The path of its standard error.
    stderr: String,
    /// The last number that it has to print, if it prints any.
    last: Option<usize>,
}

impl Sender {
    /// Starts a client; reports that and returns `None` if it is missing.
    pub fn start(shipped: &Shipped, kind: &Kind, port: u16, count: usize) -> Option<Self> {
        Sender::start_with(shipped, kind, port, &Messages::Count(count), |config| {
            config
        })
    }

    /// Starts a client with a change to its configuration.
    pub fn start_with(
        shipped: &Shipped,
        kind: &Kind,
        port: u16,
        messages: &Messages<'_>,
        change: impl FnOnce(String) -> String,
    ) -> Option<Self> {
        let [name, first] = kind.command;
        if !is_installed(name) || !kind.module.is_none_or(|module| has_module(name, module)) {
            return None;
        }
        let title = kind.guide.map_or(first, |(section, _)| section);
        let title = title.replace('/', "-");
        let mut command = Command::new(name);
        match kind.guide {
            Some((section, language)) => {
                let mut config = change(guide(section, language));
                for (usual, quick) in kind.changes {
                    assert!(config.contains(usual), "{section}: {usual}");
                    config = config.replace(usual, quick);
                }
                let config = shipped.fill(&config, port);
                let path = shipped.path(&title);
                match language {
                    "xml" => {
                        shipped.make_keystores();
                        command.arg(format!("-Dlog4j.configurationFile={path}"));
                        command.arg(script(first));
                        fs::write(path, config).unwrap();
                    }
                    "java" => {
                        shipped.make_keystores();
                        let options = shipped.fill(&guide(section, "text"), port);
                        command.args(options.lines());
                        let program = fs::read_to_string(script(first)).unwrap();
                        let path = format!("{path}.java");
                        fs::write(&path, program.replace("// GUIDE.md", &config)).unwrap();
                        command.arg(path);
                    }
                    _ => {
                        fs::write(&path, config).unwrap();
                        command.args([script(first), path]);
                    }
                }
            }
            None => {
                command.args([first, &port.to_string()]);
                command.args(["ca.pem", "client.pem", "client.key"].map(|name| shipped.path(name)));
                // The only way to tell fluent-logger-golang.
                command.env("SSL_CERT_FILE", shipped.path("ca.pem"));
            }
        }
        let stderr = shipped.path(&format!("state/{title}"));
        let mut process = command
            .args(messages.args())
            .current_dir(shipped.path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let acknowledged = follow(process.stdout.take().unwrap());
        Some(Sender {
            process: Running(process),
            acknowledged,
            stderr,
            last: match messages {
                Messages::Count(count) if kind.acknowledges => Some(*count),
                _ => None,
            },
        })
    }

    pub fn acknowledged(&self) -> usize {
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.last().map_or(0, |(_, count)| *count)
    }

    /// How many messages were acknowledged, and when the client said so, each time.
    pub fn acknowledgements(&self) -> Vec<(Instant, usize)> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// All that the client said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The status with which the client has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().unwrap()
    }

    /// Waits until the client has ended, and checks that all its messages are acknowledged.
    pub fn succeed(&mut self) {
        let status = until("the client to end", Duration::from_millis(10), || {
            self.ended()
        });
        assert!(status.success(), "{status}");
        if let Some(last) = self.last {
            until("its last line", Duration::from_millis(1), || {
                (self.acknowledged() == last).then_some(())
            });
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if thread::panicking() {
            let (said, acknowledged) = (self.said(), self.acknowledged());
            eprintln!("{acknowledged} messages were acknowledged, and the client said:\n{said}");
        }
    }
}

/// How many messages were acknowledged, and when.
type Acknowledged = Arc<Mutex<Vec<(Instant, usize)>>>;

/// Reads how many messages are acknowledged, as the client prints it.
fn follow(stdout: ChildStdout) -> Acknowledged {
    let acknowledged = Acknowledged::default();
    let stored = Arc::clone(&acknowledged);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let number = line.strip_prefix("acknowledged ");
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                stored.lock().unwrap().push((Instant::now(), number));
            }
        }
    });
    acknowledged
}

/// The path of a program in `tests/senders`.
fn script(name: &str) -> String {
    let senders = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/senders");
    match name.rsplit_once('.') {
        Some((_, "js")) => format!("{senders}/node/{name}"),
        Some((_, "java")) => format!("{senders}/java/{name}"),
        _ => format!("{senders}/{name}"),
    }
}

/// Whether Python, Node.js or Java has this module or class; reports if not.
pub fn has_module(language: &str, name: &str) -> bool {
    let mut tried = match language {
        "python3" => Command::new("python3"),
        "node" => Command::new("node"),
        _ => Command::new("javap"),
    };
    match language {
        "python3" => tried.args(["-c", &format!("import {name}")]),
        "node" => tried.args(["-e", &format!("require.resolve(\"{name}\")")]),
        _ => tried.arg(name),
    };
    let tried = tried.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has = tried.is_ok_and(|status| status.success());
    if !has {
        missing(&format!("{language} has no {name}"));
    }
    has
}

/// The number at the end of a syslog message.
pub fn syslog(line: &str) -> Option<usize> {
    line.rsplit_once(" message ")?.1.parse().ok()
}

/// The number that stands alone between these texts.
fn between(line: &str, before: &str, after: &str) -> Option<usize> {
    line.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}
