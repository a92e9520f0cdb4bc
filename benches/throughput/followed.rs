//! Files of which one program follows each line, and another one writes it to a file of its own on the
//! other side, synced: end to end, with the senders on one core and the receiver on the other.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cores::{Cores, run_on};
use crate::process;
use crate::programs::{Kind, PEERS, Program, run};

/// The size of a line, in bytes, with its newline.
const LINE: usize = 100;

/// The limit on the time until all programs are ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that syncs nothing for this long has synced everything.
const SYNCED: Duration = Duration::from_millis(300);

/// A receiver that takes longer is measured by the lines that it has by then.
const LONGEST: Duration = Duration::from_secs(30);

/// The amount of work.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The number of files.
    pub streams: usize,
    /// The number of lines in each that are measured. A first one shows before that the programs are
    /// ready.
    pub lines: usize,
    /// The folder of the certificates, as `tlsink cert` makes them for `localhost`.
    pub certificates: &'a Path,
    /// A folder for everything else.
    pub directory: &'a Path,
}

/// The differences between the contestants that are one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    AsUsual,
    /// tlsink: without compression.
    Uncompressed,
    /// rsyslog: a line is acknowledged when it is synced, not when it is in the receiver's memory.
    SyncedFirst,
}

/// The contestants, with the name of each.
pub fn contestants<'a>(
    tlsink: &'a Program,
    peers: &'a [Program],
) -> impl Iterator<Item = (String, &'a Program, Way)> {
    [tlsink].into_iter().chain(peers).flat_map(|program| {
        let ways: &[(&str, Way)] = match program.kind {
            Kind::Tlsink => &[("", Way::AsUsual), (", -e none", Way::Uncompressed)],
            Kind::Rsyslog => &[
                ("", Way::AsUsual),
                (", acknowledged when synced", Way::SyncedFirst),
            ],
            Kind::SyslogNg => &[("", Way::AsUsual)],
            _ => &[],
        };
        ways.iter()
            .map(move |(how, way)| (format!("{}{how}", program.name), program, *way))
    })
}

/// Returns the lines in a second from the first write to the receiver's last sync; and of the receiver, the processor time of a line in
/// µs, the greatest memory in MiB, and, if a C compiler is there, the syncs in a second.
pub fn measure(load: &Load<'_>, program: &Program, way: Way) -> io::Result<Vec<f64>> {
    let site = Site::new(load, program, way)?;
    let syncs = Syncs::new(site.folder.path());
    let mut command = site.receiver()?;
    if let Ok(syncs) = &syncs {
        syncs.count_in(&mut command);
    }
    let mut receiver = Started::start(&mut command, Cores::Server)?;
    receiver.wait_for_listening(site.address)?;
    site.append(0..1)?;
    let mut senders = Vec::new();
    for mut command in site.senders()? {
        senders.push(Started::start(&mut command, Cores::Client)?);
    }
    if site.wait(1, PATIENCE)? < load.streams {
        return Err(io::Error::other("not all files are followed"));
    }
    let pid = receiver.id();
    let before = process::settled_cpu_time(&[pid]);
    let synced_before = syncs.as_ref().map_or(0, Syncs::read);

    let start = Instant::now();
    let arrived = thread::scope(|scope| {
        let writing = scope.spawn(|| site.append(1..1 + load.lines));
        let arrived = site.wait(1 + load.lines, LONGEST);
        writing.join().expect("nothing in it panics")?;
        arrived
    })?;
    let mut wall = start.elapsed();
    if let Ok(syncs) = &syncs
        && arrived == load.streams * (1 + load.lines)
    {
        wall = wall.max(syncs.last().saturating_duration_since(start));
    }
    let wall = wall.as_secs_f64();
    let cpu = process::cpu_time(pid).saturating_sub(before);
    let synced = syncs.as_ref().map_or(0, Syncs::read) - synced_before;
    receiver.check()?;
    senders.iter_mut().try_for_each(Started::check)?;
    let lines = (arrived - load.streams) as f64;
    let memory = process::peak_resident_kib(pid)
        .ok_or_else(|| io::Error::other("the receiver has ended"))?;
    let mut figures = vec![
        lines / wall,
        cpu.as_secs_f64() * 1e6 / lines,
        memory / 1024.0,
    ];
    figures.extend(syncs.is_ok().then_some(synced as f64 / wall));
    // First, as it would complain of each sender that is killed.
    drop(receiver);
    Ok(figures)
}

/// The folders and files of one measurement.
struct Site<'a> {
    load: &'a Load<'a>,
    program: &'a Program,
    way: Way,
    folder: TempDir,
    /// The state of the senders, in memory where that can be: they stand for as many machines, which
    /// don't share the receiver's disk.
    senders: TempDir,
    address: SocketAddr,
}

/// A file system in memory.
const IN_MEMORY: &str = "/dev/shm";

impl<'a> Site<'a> {
    fn new(load: &'a Load<'a>, program: &'a Program, way: Way) -> io::Result<Self> {
        let folder = tempfile::tempdir_in(load.directory)?;
        for name in ["followed", "received", "receiver"] {
            fs::create_dir(folder.path().join(name))?;
        }
        let senders = tempfile::tempdir_in(IN_MEMORY).or_else(|_| tempfile::tempdir())?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Site {
            load,
            program,
            way,
            folder,
            senders,
            address,
        })
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn followed(&self, stream: usize) -> PathBuf {
        self.path("followed").join(name(stream))
    }

    fn received(&self, stream: usize) -> PathBuf {
        self.path("received").join(name(stream))
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.load.certificates.join(name)
    }

    /// Appends lines to all files, one of each file in turn, each with a write of its own.
    fn append(&self, lines: std::ops::Range<usize>) -> io::Result<()> {
        let mut files = Vec::new();
        for stream in 0..self.load.streams {
            let mut options = OpenOptions::new();
            files.push(
                options
                    .append(true)
                    .create(true)
                    .open(self.followed(stream))?,
            );
        }
        for number in lines {
            for (stream, file) in files.iter_mut().enumerate() {
                file.write_all(line(stream, number).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Waits until the receiver has this number of lines of each stream. Returns the number of all lines
    /// that it has, which is smaller if it takes too long.
    ///
    /// # Errors
    ///
    /// If a file has other lines than it should.
    fn wait(&self, lines: usize, longest: Duration) -> io::Result<usize> {
        let deadline = Instant::now() + longest;
        let size = |stream| fs::metadata(self.received(stream)).map_or(0, |facts| facts.len());
        let wanted = (lines * LINE) as u64;
        for stream in 0..self.load.streams {
            while size(stream) < wanted && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let is_late = Instant::now() >= deadline;
        let mut arrived = 0;
        for stream in 0..self.load.streams {
            let received = match fs::read(self.received(stream)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_late => continue,
                received => received?,
            };
            let whole = received.len() / LINE;
            let is_right = received
                .chunks_exact(LINE)
                .enumerate()
                .all(|(number, text)| text == line(stream, number).as_bytes());
            if !is_right || whole > lines {
                let name = name(stream);
                return Err(io::Error::other(format!("{name} has other lines")));
            }
            arrived += whole;
        }
        Ok(arrived)
    }

    fn receiver(&self) -> io::Result<Command> {
        let mut command = Command::new(self.program.path());
        let state = self.path("receiver");
        match self.program.kind {
            Kind::Rsyslog => self.rsyslog(&mut command, &state, &self.rsyslog_receiver())?,
            Kind::SyslogNg => self.syslog_ng(&mut command, &state, &self.syslog_ng_receiver())?,
            _ => {
                command.args(["-q", "-l", &self.address.to_string()]);
                command.arg("-c").arg(self.certificate("server.pem"));
                command.arg("-k").arg(self.certificate("server.key"));
                command.arg("--output-dir").arg(self.path("received"));
                command.args(["--append", "--name", "{stream}.log", "--state"]);
                command.arg(state);
            }
        }
        Ok(command)
    }

    /// The processes that send: tlsink has one for each file.
    fn senders(&self) -> io::Result<Vec<Command>> {
        let state = self.senders.path().to_owned();
        let mut command = Command::new(self.program.path());
        match self.program.kind {
            Kind::Rsyslog => self.rsyslog(&mut command, &state, &self.rsyslog_sender())?,
            Kind::SyslogNg => self.syslog_ng(&mut command, &state, &self.syslog_ng_sender())?,
            _ => {
                return Ok((0..self.load.streams)
                    .map(|stream| self.follow(stream))
                    .collect());
            }
        }
        Ok(vec![command])
    }

    fn follow(&self, stream: usize) -> Command {
        let mut command = Command::new(self.program.path());
        command
            .args(["send", "-q", "--follow"])
            .arg(self.followed(stream));
        let state = self.senders.path().join(name(stream));
        command.arg("--follow-state").arg(state);
        command.args(["--stream", &format!("s{stream}"), "--ca"]);
        command.arg(self.certificate("ca.pem"));
        if self.way == Way::Uncompressed {
            command.args(["-e", "none"]);
        }
        command.arg(format!("localhost:{}", self.address.port()));
        command
    }

    fn rsyslog(&self, command: &mut Command, state: &Path, config: &str) -> io::Result<()> {
        let file = state.join("config");
        fs::write(&file, config)?;
        command.arg("-n").arg("-f").arg(file);
        command.arg("-i").arg(state.join("pid"));
        Ok(())
    }

    fn syslog_ng(&self, command: &mut Command, state: &Path, config: &str) -> io::Result<()> {
        let file = state.join("config");
        fs::write(&file, config)?;
        command
            .args(["--foreground", "--no-caps", "--cfgfile"])
            .arg(file);
        for (option, name) in [
            ("--persist-file", "persist"),
            ("--control", "control"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(state.join(name));
        }
        Ok(())
    }

    /// The file is synced after each batch of lines. As usual, lines come into a queue in memory, and are
    /// acknowledged then; without a queue, after the sync.
    fn rsyslog_receiver(&self) -> String {
        let (received, state) = (self.path("received"), self.path("receiver"));
        let certificate = |name| self.certificate(name).display().to_string();
        let queue = match self.way {
            Way::SyncedFirst => r#"queue.type="Direct""#,
            _ => r#"queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="1024""#,
        };
        format!(
            r#"
            global(workDirectory="{state}")
            module(load="imrelp" tls.tlslib="openssl")
            template(name="path" type="string" string="{received}/%app-name%")
            template(name="line" type="string" string="%msg%\n")
            ruleset(name="write" {queue}) {{
              action(
                type="omfile" dynaFile="path" template="line" sync="on" asyncWriting="off"
                flushOnTXEnd="on" dynaFileCacheSize="{cache}"
              )
            }}
            input(
              type="imrelp" address="127.0.0.1" port="{port}" ruleset="write" tls="on"
              tls.authMode="certvalid" tls.caCert="{ca}" tls.myCert="{chain}" tls.myPrivKey="{key}"
            )
            "#,
            state = state.display(),
            received = received.display(),
            cache = self.load.streams + 100,
            port = self.address.port(),
            ca = certificate("ca.pem"),
            chain = certificate("server.pem"),
            key = certificate("server.key"),
        )
    }

    fn rsyslog_sender(&self) -> String {
        let (followed, state) = (self.path("followed"), self.senders.path());
        let (followed, state) = (followed.display().to_string(), state.display());
        let certificate = |name| self.certificate(name).display().to_string();
        format!(
            r#"
            global(workDirectory="{state}")
            module(load="imfile" mode="inotify")
            module(load="omrelp" tls.tlslib="openssl")
            template(
              name="message" type="string"
              string="<13>1 2026-11-27T12:00:00Z host %$!name% - - - %msg%"
            )
            ruleset(name="send") {{
              set $!name = field($!metadata!filename, 47, {field});
              action(
                type="omrelp" target="127.0.0.1" port="{port}" template="message" tls="on"
                tls.authMode="certvalid" tls.caCert="{ca}" tls.myCert="{chain}" tls.myPrivKey="{key}"
                queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="1024"
                action.resumeRetryCount="-1"
              )
            }}
            input(
              type="imfile" file="{followed}/*.log" tag="line" addMetadata="on" ruleset="send"
              freshStartTail="off"
            )
            "#,
            // The path begins with a slash, and the name is behind the last one.
            field = followed.matches('/').count() + 2,
            port = self.address.port(),
            ca = certificate("ca.pem"),
            chain = certificate("client.pem"),
            key = certificate("client.key"),
        )
    }

    /// The file is synced after each batch of lines. The sender gets no acknowledgement.
    fn syslog_ng_receiver(&self) -> String {
        format!(
            r#"@version: 3.38
            options {{ keep-hostname(yes); use-dns(no); dns-cache(no); stats-freq(0); }};
            source tls {{
              network(
                ip("127.0.0.1") port({port}) transport("tls") flags(syslog-protocol)
                log-iw-size(100000) log-fetch-limit(1000)
                tls(cert-file("{chain}") key-file("{key}") peer-verify(optional-untrusted))
              );
            }};
            destination files {{
              file("{received}/${{PROGRAM}}" template("${{MSG}}\n") fsync(yes));
            }};
            log {{ source(tls); destination(files); flags(flow-control); }};
            "#,
            port = self.address.port(),
            chain = self.certificate("server.pem").display(),
            key = self.certificate("server.key").display(),
            received = self.path("received").display(),
        )
    }

    fn syslog_ng_sender(&self) -> String {
        format!(
            r#"@version: 3.38
            options {{ use-dns(no); dns-cache(no); stats-freq(0); }};
            source files {{
              wildcard-file(
                base-dir("{followed}") filename-pattern("*.log") max-files({most}) flags(no-parse)
                log-iw-size({window}) log-fetch-limit(100)
              );
            }};
            destination receiver {{
              network(
                "localhost" ip-protocol(4) port({port}) transport("tls")
                template("<13>1 2026-11-27T12:00:00Z host $(basename ${{FILE_NAME}}) - - - ${{MSG}}\n")
                tls(ca-file("{ca}") peer-verify(required-trusted))
                disk-buffer(
                  reliable(yes) disk-buf-size(1073741824) mem-buf-size(67108864) dir("{state}")
                )
              );
            }};
            log {{ source(files); destination(receiver); flags(flow-control); }};
            "#,
            followed = self.path("followed").display(),
            most = self.load.streams + 100,
            window = 100 * (self.load.streams + 100),
            port = self.address.port(),
            ca = self.certificate("ca.pem").display(),
            state = self.senders.path().display(),
        )
    }
}

/// The name of a stream's file.
fn name(stream: usize) -> String {
    format!("s{stream}.log")
}

fn line(stream: usize, number: usize) -> String {
    let head = format!("stream {stream:06} line {number:08} ");
    let rest = LINE - 1;
    format!("{head:x<rest$}\n")
}

/// A program that runs until this is dropped.
pub struct Started(Child);

impl Started {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn start(command: &mut Command, cores: Cores) -> io::Result<Self> {
        run_on(cores)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        run_on(Cores::Client)?;
        Ok(Started(child?))
    }

    pub fn wait_for_listening(&mut self, address: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !process::is_listening(address) {
            self.check()?;
            if Instant::now() > deadline {
                return Err(io::Error::other("it does not listen"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// # Errors
    ///
    /// If it has ended.
    pub fn check(&mut self) -> io::Result<()> {
        match self.0.try_wait()? {
            Some(status) => Err(io::Error::other(format!("it ended with {status}"))),
            None => Ok(()),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both calls fail only if the program has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The count of a program's syncs, which a library that it loads keeps.
struct Syncs {
    library: PathBuf,
    path: PathBuf,
    count: File,
}

impl Syncs {
    /// # Errors
    ///
    /// If there is no C compiler.
    fn new(folder: &Path) -> io::Result<Self> {
        let library = folder.join("syncs.so");
        let mut build = Command::new("cc");
        build.args(["-O2", "-fPIC", "-shared", "-o"]).arg(&library);
        run(build.arg(Path::new(PEERS).join("syncs.c")).arg("-ldl"))?;
        let path = folder.join("syncs");
        fs::write(&path, [0; 8])?;
        let count = File::open(&path)?;
        Ok(Syncs {
            library,
            path,
            count,
        })
    }

    fn count_in(&self, command: &mut Command) {
        let value: [(&str, &OsStr); 2] = [
            ("LD_PRELOAD", self.library.as_ref()),
            ("SYNCS", self.path.as_ref()),
        ];
        command.envs(value);
    }

    /// Waits until there are no more. Returns the time of the last one.
    fn last(&self) -> Instant {
        let (mut last, mut count) = (Instant::now(), self.read());
        while last.elapsed() < SYNCED {
            thread::sleep(Duration::from_millis(5));
            let now = self.read();
            if now != count {
                (last, count) = (Instant::now(), now);
            }
        }
        last
    }

    fn read(&self) -> u64 {
        let mut bytes = [0; 8];
        let read = self.count.read_exact_at(&mut bytes, 0);
        read.map_or(0, |()| u64::from_ne_bytes(bytes))
    }
}
