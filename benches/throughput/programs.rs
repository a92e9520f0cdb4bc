//! The measured programs: tlsink, and its alternatives.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cores::{Cores, run_on};
use crate::process;

/// The limit on the time in which a program starts or ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of the peers whose sources belong to this project.
pub const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/throughput/peers");

/// A program, and how to call it.
#[derive(Clone, Debug)]
pub struct Program {
    pub kind: Kind,
    pub name: String,
    pub version: String,
    path: PathBuf,
    /// Arguments in addition to those that every job needs.
    options: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tlsink,
    Go,
    OpensslServer,
    Ncat,
    Socat,
    /// Receives, and pipes the data into pigz.
    SocatPigz,
    Node,
    Qt,
    Rsyslog,
    SyslogNg,
}

/// The job of a server with the data that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Print,
    PrintLines,
    /// The settings are those of users, with session tickets where they are the default, because
    /// tickets carry an acknowledgement.
    PrintAtOnce,
    Gunzip,
    Unzstd,
    /// Writes octet-counted syslog messages to [`received`], a line each.
    Syslog,
}

/// A certificate and its key, as files.
#[derive(Debug)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// The folder of these files, and of those that belong to them.
    pub fn folder(&self) -> &Path {
        self.chain.parent().unwrap_or(Path::new("."))
    }
}

/// The file for [`Job::Syslog`].
pub fn received(certificate: &Certificate) -> PathBuf {
    certificate.chain.with_file_name("received")
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tlsink => "tlsink",
            Kind::Go => "Go crypto/tls",
            Kind::OpensslServer => "openssl s_server",
            Kind::Ncat => "ncat",
            Kind::Socat => "socat",
            Kind::SocatPigz => "socat … \\| pigz -dc",
            Kind::Node => "node",
            Kind::Qt => "Qt QSslSocket",
            Kind::Rsyslog => "rsyslog",
            Kind::SyslogNg => "syslog-ng",
        }
    }

    /// Whether it serves several connections at a time, in one process.
    pub fn holds_many(self) -> bool {
        !matches!(self, Kind::OpensslServer | Kind::Socat | Kind::SocatPigz)
    }
}

impl Program {
    /// The tlsink being measured.
    pub fn tlsink(path: PathBuf) -> io::Result<Program> {
        let version = first_line(Command::new(&path).arg("--version"))?;
        Ok(Program {
            kind: Kind::Tlsink,
            name: Kind::Tlsink.name().to_owned(),
            version,
            path,
            options: Vec::new(),
        })
    }

    /// The tlsink being measured, with these options.
    pub fn with(&self, options: &[&'static str]) -> Program {
        Program {
            options: options.to_vec(),
            ..self.clone()
        }
    }

    /// Another build of tlsink, under the name of its file.
    pub fn another_tlsink(path: PathBuf) -> io::Result<Program> {
        let name = path.display().to_string();
        let program = Program::tlsink(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        Ok(Program { name, ..program })
    }

    /// The installed peers, and a note on each missing one. Peers that come as source are built
    /// into `directory`.
    pub fn peers(go: Option<PathBuf>, directory: &Path) -> (Vec<Program>, Vec<String>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let mut take = |kind: Kind, program: io::Result<(PathBuf, String)>| match program {
            Ok((path, version)) => found.push(Program {
                kind,
                name: kind.name().to_owned(),
                version,
                path,
                options: Vec::new(),
            }),
            Err(error) => missing.push(format!("{}: skipped: {error}", kind.name())),
        };
        take(Kind::Go, build_go(go, directory));
        take(Kind::OpensslServer, installed("openssl", &["version"]));
        take(Kind::Ncat, installed("ncat", &["--version"]));
        let socat = || installed("socat", &["-V"]);
        take(Kind::Socat, socat());
        let pigz = installed("pigz", &["--version"]);
        let both = pigz.and_then(|(_, pigz)| {
            let (path, socat) = socat()?;
            Ok((path, format!("{socat}; {pigz}")))
        });
        take(Kind::SocatPigz, both);
        take(Kind::Node, installed("node", &["--version"]));
        take(Kind::Qt, build_qt(directory));
        take(Kind::Rsyslog, installed("rsyslogd", &["-v"]));
        take(Kind::SyslogNg, installed("syslog-ng", &["--version"]));
        (found, missing)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn does(&self, job: Job) -> bool {
        match job {
            Job::Print | Job::PrintAtOnce => {
                !matches!(self.kind, Kind::SocatPigz | Kind::Rsyslog | Kind::SyslogNg)
            }
            Job::Syslog => matches!(self.kind, Kind::Tlsink | Kind::Rsyslog | Kind::SyslogNg),
            Job::Gunzip => matches!(self.kind, Kind::Tlsink | Kind::Go | Kind::SocatPigz),
            Job::PrintLines | Job::Unzstd => self.kind == Kind::Tlsink,
        }
    }

    /// Starts it on these cores and waits until it listens.
    pub fn start(
        &self,
        job: Job,
        certificate: &Certificate,
        cores: Cores,
        output: Stdio,
    ) -> io::Result<Running> {
        // The port is free as soon as the listener is dropped, and no other program is likely to
        // take it at once.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = self.command(job, certificate, address);
        if job == Job::Syslog {
            fs::write(config(certificate), self.config(certificate, address))?;
            File::create(received(certificate))?;
        }
        // Some servers end with their standard input, so it stays open as long as they run.
        command.stdin(Stdio::piped());
        run_on(cores)?;
        let mut running = Running {
            kind: self.kind,
            address,
            children: Vec::new(),
        };
        let started = if self.kind == Kind::SocatPigz {
            running.start_pipe(command.stdout(Stdio::piped()), output)
        } else {
            running.start(command.stdout(output))
        };
        run_on(Cores::Client)?;
        started?;
        running.wait_for_listening()?;
        Ok(running)
    }

    /// The command that listens on this address.
    pub fn command(&self, job: Job, certificate: &Certificate, address: SocketAddr) -> Command {
        let Certificate { chain, key } = certificate;
        let port = address.port();
        let mut command = Command::new(&self.path);
        command.args(&self.options);
        match self.kind {
            Kind::Tlsink => {
                let (decode, format) = match job {
                    Job::Print | Job::PrintAtOnce => ("none", "raw"),
                    Job::PrintLines => ("none", "lines"),
                    Job::Gunzip => ("gzip", "raw"),
                    Job::Unzstd => ("zstd", "raw"),
                    Job::Syslog => ("none", "lines"),
                };
                command.args(["-l", &address.to_string(), "-d", decode, "-f", format]);
                command.arg("-c").arg(chain).arg("-k").arg(key);
                // The other programs do not report how each stream ended.
                command.arg("-q");
                if job == Job::Syslog {
                    command.arg("-o").arg(received(certificate));
                }
            }
            Kind::Go => {
                command.arg("-listen").arg(address.to_string());
                command.arg("-cert").arg(chain).arg("-key").arg(key);
                command.args((job == Job::Gunzip).then_some("-gzip"));
                command.args((job == Job::PrintAtOnce).then_some("-tickets"));
            }
            Kind::OpensslServer => {
                command.args(["s_server", "-quiet", "-accept"]);
                command.arg(address.to_string());
                if job != Job::PrintAtOnce {
                    command.args(["-num_tickets", "0"]);
                }
                command.arg("-cert").arg(chain).arg("-key").arg(key);
            }
            Kind::Ncat => {
                command.args(["-l", "-k", "-m", "10000", "--ssl"]);
                command.arg("--ssl-cert").arg(chain);
                command.arg("--ssl-key").arg(key);
                command.arg("127.0.0.1").arg(port.to_string());
            }
            Kind::Socat | Kind::SocatPigz => {
                let mut listener = OsString::from(format!(
                    "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,backlog=1024,verify=0,cert="
                ));
                listener.push(chain);
                listener.push(",key=");
                listener.push(key);
                if self.kind == Kind::Socat {
                    listener.push(",fork");
                }
                command.arg("-u").arg(listener).arg("STDOUT");
            }
            Kind::Node => {
                command.arg(Path::new(PEERS).join("server.js"));
                command.arg(port.to_string()).arg(chain).arg(key);
            }
            Kind::Qt => {
                command.arg(port.to_string()).arg(chain).arg(key);
            }
            Kind::Rsyslog => {
                command.arg("-n").arg("-f").arg(config(certificate));
                command
                    .arg("-i")
                    .arg(certificate.chain.with_file_name("rsyslog.pid"));
            }
            Kind::SyslogNg => {
                let file = |name| certificate.chain.with_file_name(name);
                command.args(["--foreground", "--no-caps", "--cfgfile"]);
                command.arg(config(certificate));
                command.arg("--persist-file").arg(file("syslog-ng.persist"));
                command.arg("--control").arg(file("syslog-ng.control"));
                command.arg("--pidfile").arg(file("syslog-ng.pid"));
            }
        }
        command
    }

    /// The configuration of a program that needs one for [`Job::Syslog`]: each message is written as
    /// the program does it unasked.
    fn config(&self, certificate: &Certificate, address: SocketAddr) -> String {
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        let received = received(certificate);
        let (received, port) = (received.display(), address.port());
        match self.kind {
            Kind::Rsyslog => format!(
                r#"
                global(
                  defaultNetstreamDriverCAFile="{chain}"
                  defaultNetstreamDriverCertFile="{chain}"
                  defaultNetstreamDriverKeyFile="{key}"
                )
                module(
                  load="imtcp" maxSessions="1000"
                  streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon"
                )
                input(type="imtcp" address="127.0.0.1" port="{port}")
                action(type="omfile" file="{received}")
                "#
            ),
            Kind::SyslogNg => format!(
                r#"@version: 3.38
                source tls {{
                  syslog(
                    ip("127.0.0.1") port({port}) transport("tls") max-connections(200) log-iw-size(200000)
                    tls(cert-file("{chain}") key-file("{key}") peer-verify(optional-untrusted))
                  );
                }};
                destination received {{ file("{received}"); }};
                log {{ source(tls); destination(received); }};
                "#
            ),
            _ => String::new(),
        }
    }
}

/// The file for a configuration.
fn config(certificate: &Certificate) -> PathBuf {
    certificate.chain.with_file_name("config")
}

/// A server that listens. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    pub kind: Kind,
    pub address: SocketAddr,
    /// Each process gets the output of the one before it.
    children: Vec<Child>,
}

impl Running {
    /// The server's processor time, once it has nothing left to do.
    pub fn settled_cpu_time(&self) -> Duration {
        let pids: Vec<u32> = self.children.iter().map(Child::id).collect();
        process::settled_cpu_time(&pids)
    }

    /// The processor time since an earlier point. A child that has ended in between is counted in
    /// ticks from then on, so a very small difference may become negative.
    pub fn cpu_time_since(&self, before: Duration) -> Duration {
        self.settled_cpu_time().saturating_sub(before)
    }

    pub fn resident_kib(&self) -> Option<f64> {
        self.children
            .iter()
            .map(|child| process::resident_kib(child.id()))
            .sum()
    }

    /// Waits until the server has printed all received data. Its connections have ended already.
    ///
    /// Some servers close a connection only then; this waits for the others to end.
    pub fn wait_until_printed(&mut self) -> io::Result<()> {
        match self.kind {
            Kind::Tlsink => {
                for child in &self.children {
                    kill_process(Pid::from_child(child), Signal::TERM)?;
                }
            }
            Kind::SocatPigz => {}
            _ => return Ok(()),
        }
        for child in &mut self.children {
            let status = wait(child)?;
            if !status.success() {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
        }
        Ok(())
    }

    fn start(&mut self, command: &mut Command) -> io::Result<()> {
        self.children
            .push(command.stderr(Stdio::inherit()).spawn()?);
        Ok(())
    }

    fn start_pipe(&mut self, first: &mut Command, output: Stdio) -> io::Result<()> {
        self.start(first)?;
        let printed = self
            .children
            .iter_mut()
            .find_map(|child| child.stdout.take());
        let printed = printed.ok_or_else(|| io::Error::other("there is no pipe"))?;
        self.start(
            Command::new("pigz")
                .arg("-dc")
                .stdin(printed)
                .stdout(output),
        )
    }

    fn wait_for_listening(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !process::is_listening(self.address) {
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    return Err(io::Error::other(format!("it ended with {status}")));
                }
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("it does not listen"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both calls fail only if the program has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.version)
    }
}

/// The first line that a program prints with text in it.
pub fn first_line(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let printed = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if !output.status.success() {
        return Err(io::Error::other(printed.trim().to_owned()));
    }
    // socat prints its authors first, and then its version.
    let line = printed
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("it does not end"));
        }
        // The delay, in seconds, is part of the measurement.
        thread::sleep(Duration::from_micros(500));
    }
}

fn installed(name: &str, version: &[&str]) -> io::Result<(PathBuf, String)> {
    let version = first_line(Command::new(name).args(version))
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    Ok((PathBuf::from(name), version))
}

fn build_go(go: Option<PathBuf>, directory: &Path) -> io::Result<(PathBuf, String)> {
    let go = go.unwrap_or_else(|| PathBuf::from("go"));
    let version = first_line(Command::new(&go).arg("version"))?;
    let program = directory.join("go-server");
    let source = Path::new(PEERS).join("server.go");
    let mut build = Command::new(&go);
    build.args(["build", "-o"]).arg(&program).arg(source);
    // If this directory belongs to a Go module, the program does not.
    run(build.current_dir(directory).env("GOFLAGS", "-mod=mod"))?;
    Ok((program, version))
}

fn build_qt(directory: &Path) -> io::Result<(PathBuf, String)> {
    let (name, version) = ["Qt6Network", "Qt5Network"]
        .into_iter()
        .find_map(|name| {
            let version = first_line(Command::new("pkg-config").args(["--modversion", name]));
            Some((name, version.ok()?))
        })
        .ok_or_else(|| io::Error::other("pkg-config knows neither Qt6Network nor Qt5Network"))?;
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", name])
        .output()?;
    let flags = String::from_utf8_lossy(&flags.stdout).into_owned();
    let program = directory.join("qt-server");
    let mut build = Command::new("g++");
    build
        .args(["-O2", "-fPIC", "-std=c++17", "-o"])
        .arg(&program);
    build.arg(Path::new(PEERS).join("qt/server.cpp"));
    build.args(flags.split_whitespace());
    run(&mut build)?;
    fs::metadata(&program)?;
    Ok((program, format!("Qt {version}")))
}

/// Runs a command to its end.
///
/// # Errors
///
/// If it fails, with what it printed.
pub fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().to_owned()))
}
