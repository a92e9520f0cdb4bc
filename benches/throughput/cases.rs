//! What is measured, and how.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::client::{self, Client, RECORD};
use crate::cores::{Cores, run_on};
use crate::floor;
use crate::programs::{Certificate, Job, Kind, Program, Running};
use crate::text;

/// How much is sent.
#[derive(Debug)]
pub struct Load {
    /// Bytes, in records of full size.
    bulk: usize,
    /// Small records.
    records: usize,
    handshakes: usize,
    /// Idle connections.
    idle: usize,
    /// Bytes of text, before it is compressed.
    text: usize,
    /// Senders at once.
    senders: usize,
    /// Starts for one sample.
    starts: usize,
}

/// Large enough that the fastest server is busy for nearly half a second.
pub const FULL: Load = Load {
    bulk: 1 << 30,
    records: 1_000_000,
    handshakes: 2_000,
    idle: 2_000,
    text: 400_000_000,
    senders: 1_000,
    starts: 20,
};

/// Just enough to see everything run.
pub const QUICK: Load = Load {
    bulk: 4 << 20,
    records: 2_000,
    handshakes: 10,
    idle: 20,
    text: 4_000_000,
    senders: 20,
    starts: 2,
};

/// The size of a small record, in bytes.
const SMALL_RECORD: usize = 128;

/// What an idle connection has sent, in bytes.
const IDLE_BYTES: usize = 100;

/// What a program is sent first, to see whether it prints all of it.
const PROOF: usize = 1 << 20;

/// A figure that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub more_is_better: bool,
}

fn cost(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        more_is_better: false,
    }
}

fn rate(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        more_is_better: true,
    }
}

/// What is measured in the same way of several contestants. The first is what it is about.
pub struct Case<'a> {
    /// For `--only`.
    pub key: &'static str,
    pub metrics: Vec<Metric>,
    pub contestants: Vec<Contestant<'a>>,
}

pub struct Contestant<'a> {
    pub name: String,
    /// Returns a value for each metric of the case, or only for its first ones.
    pub measure: Box<dyn Fn() -> io::Result<Vec<f64>> + 'a>,
}

/// What all measurements need.
pub struct Bench {
    pub tlsink: Program,
    pub peers: Vec<Program>,
    load: Load,
    certificate: Certificate,
    config: Arc<ClientConfig>,
    /// Bytes that need not be anything in particular.
    filler: Vec<u8>,
    short_lines: Vec<u8>,
    text_bytes: usize,
    gzip: Vec<u8>,
    zstd: Vec<u8>,
    zstd_file: PathBuf,
    /// With the files above.
    directory: TempDir,
}

impl Bench {
    pub fn new(
        tlsink: Program,
        peers: Vec<Program>,
        directory: TempDir,
        load: Load,
    ) -> io::Result<Bench> {
        let certificate = make_certificate(&tlsink, directory.path())?;
        let text = text::log(load.text);
        let gzip = gzip(&text)?;
        let zstd = zstd(&text)?;
        let zstd_file = directory.path().join("text.zst");
        std::fs::write(&zstd_file, &zstd)?;
        Ok(Bench {
            tlsink,
            peers,
            certificate,
            config: client::config(),
            filler: text::log(load.bulk.min(1 << 20)),
            short_lines: text::short_lines(load.bulk),
            text_bytes: text.len(),
            gzip,
            zstd,
            zstd_file,
            load,
            directory,
        })
    }

    /// How small the text has become.
    pub fn compression(&self) -> String {
        let times = |packed: &[u8]| self.text_bytes as f64 / packed.len() as f64;
        format!(
            "{} MB of text, {:.1} times as large as in gzip (level 6), {:.1} as in zstd (level 3)",
            self.text_bytes / 1_000_000,
            times(&self.gzip),
            times(&self.zstd)
        )
    }

    /// Lets only those peers stay that print what they are sent; says who goes, and why.
    pub fn dismiss_unfit_peers(&mut self) -> Vec<String> {
        let mut dismissed = Vec::new();
        let mut peers = std::mem::take(&mut self.peers);
        peers.retain(|peer| match self.prove(peer) {
            Ok(()) => true,
            Err(error) => {
                dismissed.push(format!("{}: skipped: {error}", peer.kind.name()));
                false
            }
        });
        self.peers = peers;
        dismissed
    }

    /// # Errors
    ///
    /// If the program doesn't print what it is sent.
    pub fn prove(&self, program: &Program) -> io::Result<()> {
        let text = text::log(PROOF);
        for job in [Job::Print, Job::PrintLines, Job::Gunzip, Job::Unzstd] {
            if !program.does(job) {
                continue;
            }
            let sent = match job {
                Job::Print | Job::PrintLines => text.clone(),
                Job::Gunzip => gzip(&text)?,
                Job::Unzstd => zstd(&text)?,
            };
            let file = self.directory.path().join("printed");
            let output = File::create(&file)?;
            let mut server = program.start(job, &self.certificate, Cores::Server, output.into())?;
            let mut client = self.connect(&server)?;
            let mut sealed = Vec::new();
            client.seal(&sent, RECORD, &mut sealed)?;
            client.send(&sealed)?;
            server.settled_cpu_time();
            client.close()?;
            server.wait_until_printed()?;
            server.settled_cpu_time();
            let printed = std::fs::read(&file)?;
            if printed != text {
                return Err(io::Error::other(format!(
                    "of {} bytes sent it printed {}, or others",
                    text.len(),
                    printed.len()
                )));
            }
        }
        Ok(())
    }

    /// The cases, in the order of the table.
    pub fn cases(&self) -> Vec<Case<'_>> {
        vec![
            Case {
                key: "bulk",
                metrics: vec![
                    cost("bulk, 16 KiB records", "CPU s/GiB"),
                    rate("bulk, 16 KiB records", "GiB/s"),
                ],
                contestants: self
                    .each(Job::Print, |_| true, |program| self.bulk(program))
                    .chain([64 << 10, 16 << 10].map(|read| Contestant {
                        name: format!("floor: receive and open, {} KiB reads", read >> 10),
                        measure: Box::new(move || {
                            let time = floor::measure(self.load.bulk, read)?;
                            Ok(vec![time.as_secs_f64() / gib(self.load.bulk)])
                        }),
                    }))
                    .collect(),
            },
            Case {
                key: "records",
                metrics: vec![cost("128-byte records", "CPU µs/record")],
                contestants: self
                    .each(Job::Print, |_| true, |program| self.records(program))
                    .collect(),
            },
            Case {
                key: "handshakes",
                metrics: vec![cost("full handshakes, P-256", "CPU µs/handshake")],
                contestants: self
                    .each(Job::Print, |_| true, |program| self.handshakes(program))
                    .collect(),
            },
            Case {
                key: "idle",
                metrics: vec![cost("idle connections", "KiB/connection")],
                contestants: self
                    .each(Job::Print, Kind::holds_many, |program| self.idle(program))
                    .collect(),
            },
            Case {
                key: "gzip",
                metrics: vec![rate("gzip text, one sender", "decoded MB/s")],
                contestants: self
                    .each(
                        Job::Gunzip,
                        |_| true,
                        |program| self.text(program, Job::Gunzip, 1, Cores::Server),
                    )
                    .collect(),
            },
            Case {
                key: "gzip2",
                metrics: vec![rate("gzip text, all cores", "decoded MB/s")],
                contestants: [
                    ("two senders", 2, Cores::All),
                    ("one sender, one core", 1, Cores::Server),
                    ("one sender", 1, Cores::All),
                ]
                .map(|(name, senders, cores)| {
                    self.variant(name, move || {
                        self.text(&self.tlsink, Job::Gunzip, senders, cores)
                    })
                })
                .into(),
            },
            Case {
                key: "zstd",
                metrics: vec![rate("zstd text, one sender", "decoded MB/s")],
                contestants: self
                    .each(
                        Job::Unzstd,
                        |_| true,
                        |program| self.text(program, Job::Unzstd, 1, Cores::Server),
                    )
                    .chain([Contestant {
                        name: "zstd -dc FILE".to_owned(),
                        measure: Box::new(|| self.zstd_command()),
                    }])
                    .collect(),
            },
            Case {
                key: "lines",
                metrics: vec![cost("60-byte lines, one sender", "CPU ns/line")],
                contestants: [("lines", Job::PrintLines), ("raw", Job::Print)]
                    .map(|(name, job)| self.variant(name, move || self.lines(job, 1)))
                    .into(),
            },
            Case {
                key: "senders",
                metrics: vec![cost("60-byte lines, many senders", "CPU ns/line")],
                contestants: [self.load.senders, 1]
                    .map(|senders| {
                        let name = match senders {
                            1 => "one sender".to_owned(),
                            many => format!("{many} senders"),
                        };
                        self.variant(&name, move || self.lines(Job::PrintLines, senders))
                    })
                    .into(),
            },
            Case {
                key: "start",
                metrics: vec![cost("start to listening", "ms")],
                contestants: vec![self.variant("certificate given", || self.start())],
            },
        ]
    }

    /// tlsink and the peers that can do it.
    fn each<'a>(
        &'a self,
        job: Job,
        fit: impl Fn(Kind) -> bool + 'a,
        measure: impl Fn(&'a Program) -> io::Result<Vec<f64>> + Copy + 'a,
    ) -> impl Iterator<Item = Contestant<'a>> {
        [&self.tlsink]
            .into_iter()
            .chain(&self.peers)
            .filter(move |program| program.does(job) && fit(program.kind))
            .map(move |program| Contestant {
                name: program.kind.name().to_owned(),
                measure: Box::new(move || measure(program)),
            })
    }

    fn variant<'a>(
        &'a self,
        name: &str,
        measure: impl Fn() -> io::Result<Vec<f64>> + 'a,
    ) -> Contestant<'a> {
        Contestant {
            name: format!("tlsink, {name}"),
            measure: Box::new(measure),
        }
    }

    fn bulk(&self, program: &Program) -> io::Result<Vec<f64>> {
        let plain = self.fill(self.load.bulk);
        let spent = self.receive(program, Job::Print, &plain, RECORD)?;
        let gib = gib(plain.len());
        Ok(vec![
            spent.cpu.as_secs_f64() / gib,
            gib / spent.wall.as_secs_f64(),
        ])
    }

    fn records(&self, program: &Program) -> io::Result<Vec<f64>> {
        let plain = self.fill(self.load.records * SMALL_RECORD);
        let spent = self.receive(program, Job::Print, &plain, SMALL_RECORD)?;
        Ok(vec![
            spent.cpu.as_secs_f64() * 1e6 / self.load.records as f64,
        ])
    }

    fn handshakes(&self, program: &Program) -> io::Result<Vec<f64>> {
        let server = self.start_server(program, Job::Print)?;
        // What is done only once is done now.
        self.connect(&server)?.close()?;
        let before = server.settled_cpu_time();
        for _ in 0..self.load.handshakes {
            self.connect(&server)?.close()?;
        }
        let cpu = server.cpu_time_since(before);
        Ok(vec![cpu.as_secs_f64() * 1e6 / self.load.handshakes as f64])
    }

    fn idle(&self, program: &Program) -> io::Result<Vec<f64>> {
        let server = self.start_server(program, Job::Print)?;
        let resident = || {
            server.settled_cpu_time();
            let kib = server.resident_kib();
            kib.ok_or_else(|| io::Error::other("it is gone"))
        };
        let before = resident()?;
        let mut clients = Vec::new();
        for _ in 0..self.load.idle {
            let mut client = self.connect(&server).map_err(|error| {
                io::Error::other(format!("with {} connections: {error}", clients.len()))
            })?;
            let mut sealed = Vec::new();
            client.seal(&self.filler[..IDLE_BYTES], RECORD, &mut sealed)?;
            client.send(&sealed)?;
            clients.push(client);
        }
        let after = resident()?;
        clients.iter_mut().try_for_each(Client::close_notify)?;
        Ok(vec![(after - before) / self.load.idle as f64])
    }

    fn text(
        &self,
        program: &Program,
        job: Job,
        senders: usize,
        cores: Cores,
    ) -> io::Result<Vec<f64>> {
        let packed = match job {
            Job::Unzstd => &self.zstd,
            _ => &self.gzip,
        };
        let mut server = program.start(job, &self.certificate, cores, Stdio::null())?;
        run_on(match cores {
            Cores::All => Cores::All,
            _ => Cores::Client,
        })?;
        let mut ready = Vec::new();
        for _ in 0..senders {
            let mut client = self.connect(&server)?;
            let mut sealed = Vec::new();
            client.seal(packed, RECORD, &mut sealed)?;
            ready.push((client, sealed));
        }
        let start = Instant::now();
        thread::scope(|scope| {
            let senders: Vec<_> = ready
                .into_iter()
                .map(|(mut client, sealed)| {
                    scope.spawn(move || client.send(&sealed).and_then(|()| client.close()))
                })
                .collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().expect("nothing in it panics"))
        })?;
        server.wait_until_printed()?;
        let wall = start.elapsed();
        run_on(Cores::Client)?;
        Ok(vec![
            (self.text_bytes * senders) as f64 / 1e6 / wall.as_secs_f64(),
        ])
    }

    fn zstd_command(&self) -> io::Result<Vec<f64>> {
        let mut command = Command::new("zstd");
        command
            .arg("-dcq")
            .arg(&self.zstd_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        run_on(Cores::Server)?;
        let start = Instant::now();
        let status = command.status();
        let wall = start.elapsed();
        run_on(Cores::Client)?;
        if !status?.success() {
            return Err(io::Error::other("it failed"));
        }
        Ok(vec![self.text_bytes as f64 / 1e6 / wall.as_secs_f64()])
    }

    /// The same lines from one sender, or from many, each of which sends a record in turn.
    fn lines(&self, job: Job, senders: usize) -> io::Result<Vec<f64>> {
        let server = self.start_server(&self.tlsink, job)?;
        let mut turns = Vec::new();
        for part in self
            .short_lines
            .chunks(self.short_lines.len().div_ceil(senders))
        {
            let mut client = self.connect(&server)?;
            let mut records = Vec::new();
            for record in part.chunks(RECORD) {
                let mut sealed = Vec::new();
                client.seal(record, RECORD, &mut sealed)?;
                records.push(sealed);
            }
            turns.push((client, records));
        }
        let most = turns
            .iter()
            .map(|(_, records)| records.len())
            .max()
            .unwrap_or(0);
        let before = server.settled_cpu_time();
        for turn in 0..most {
            for (client, records) in &mut turns {
                if let Some(record) = records.get(turn) {
                    client.send(record)?;
                }
            }
        }
        // Before they close: the end of a connection is no part of a line.
        let cpu = server.cpu_time_since(before);
        let mut clients: Vec<Client> = turns.into_iter().map(|(client, _)| client).collect();
        clients.iter_mut().try_for_each(Client::close_notify)?;
        let lines = self.short_lines.len() as f64 / text::SHORT_LINE as f64;
        Ok(vec![cpu.as_secs_f64() * 1e9 / lines])
    }

    /// The median of several starts: a single one is short.
    fn start(&self) -> io::Result<Vec<f64>> {
        let mut times = Vec::new();
        for _ in 0..self.load.starts {
            times.push(self.start_once()?.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(vec![times[times.len() / 2]])
    }

    fn start_once(&self) -> io::Result<Duration> {
        let Certificate { chain, key } = &self.certificate;
        let mut command = Command::new(self.tlsink.path());
        command
            .args(["-l", "127.0.0.1:0"])
            .arg("-c")
            .arg(chain)
            .arg("-k")
            .arg(key);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        run_on(Cores::Server)?;
        let start = Instant::now();
        let child = command.spawn();
        run_on(Cores::Client)?;
        let mut child = Killed(child?);
        let said = child.0.stderr.take();
        for line in said
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines)
        {
            if line?.contains("listening on") {
                return Ok(start.elapsed());
            }
        }
        Err(io::Error::other("it does not listen"))
    }

    /// Lets a program receive `plain` from one sender.
    fn receive(
        &self,
        program: &Program,
        job: Job,
        plain: &[u8],
        record: usize,
    ) -> io::Result<Spent> {
        let server = self.start_server(program, job)?;
        let mut client = self.connect(&server)?;
        let mut sealed = Vec::with_capacity(plain.len() + plain.len().div_ceil(record) * 32);
        client.seal(plain, record, &mut sealed)?;
        let before = server.settled_cpu_time();
        let start = Instant::now();
        client.send(&sealed)?;
        client.close()?;
        let wall = start.elapsed();
        Ok(Spent {
            cpu: server.cpu_time_since(before),
            wall,
        })
    }

    fn fill(&self, bytes: usize) -> Vec<u8> {
        let mut plain = self.filler.repeat(bytes.div_ceil(self.filler.len()));
        plain.truncate(bytes);
        plain
    }

    fn start_server(&self, program: &Program, job: Job) -> io::Result<Running> {
        program.start(job, &self.certificate, Cores::Server, Stdio::null())
    }

    fn connect(&self, server: &Running) -> io::Result<Client> {
        Client::connect(server.address, &self.config)
    }
}

/// What a server took.
struct Spent {
    cpu: Duration,
    wall: Duration,
}

/// A program that doesn't outlive its measurement.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn make_certificate(tlsink: &Program, directory: &Path) -> io::Result<Certificate> {
    let directory = directory.join("tls");
    let mut command = Command::new(tlsink.path());
    command.args(["cert", "localhost"]).arg(&directory);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(said));
    }
    Ok(Certificate {
        chain: directory.join("server.pem"),
        key: directory.join("server.key"),
    })
}

fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(text)?;
    encoder.finish()
}

fn zstd(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(text.len()));
    zstd_safe::compress(&mut frame, text, 3)
        .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
    Ok(frame)
}

fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
