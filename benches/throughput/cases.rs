//! The measured cases.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::client::{self, Client, RECORD, WRITE};
use crate::cores::{Cores, run_on};
use crate::floor::{self, Traffic};
use crate::programs::{Certificate, Job, Kind, Program, Running, first_line, received};
use crate::{followed, resumed, text};

/// The amounts of work in each case.
#[derive(Debug)]
pub struct Load {
    /// Bytes, in records of full size.
    bulk: usize,
    /// Small records, many of them sent at once.
    records: usize,
    /// Small records, sent one by one.
    live: usize,
    handshakes: usize,
    /// Connections for one sample, each of which sends a line.
    first_lines: usize,
    /// Idle connections.
    idle: usize,
    /// Bytes of text, before it is compressed.
    text: usize,
    /// Senders at once.
    senders: usize,
    /// Syslog messages.
    messages: usize,
    /// Followed files.
    followed: usize,
    /// Lines in each.
    followed_lines: usize,
    /// Bytes of a resumed stream.
    resumed: usize,
    /// Starts for one sample.
    starts: usize,
}

/// A job that is large enough to keep the fastest server busy for nearly half a second.
pub const FULL: Load = Load {
    bulk: 1 << 30,
    records: 1_000_000,
    live: 250_000,
    handshakes: 2_000,
    first_lines: 50,
    idle: 2_000,
    text: 400_000_000,
    senders: 1_000,
    messages: 400_000,
    followed: 1_000,
    followed_lines: 300,
    resumed: 512_000_000,
    starts: 20,
};

/// A job that is just large enough to run everything once.
pub const QUICK: Load = Load {
    bulk: 4 << 20,
    records: 2_000,
    live: 2_000,
    handshakes: 10,
    first_lines: 3,
    idle: 20,
    text: 4_000_000,
    senders: 20,
    messages: 20_000,
    followed: 10,
    followed_lines: 20,
    resumed: 12_800_000,
    starts: 2,
};

/// The size of a small record, in bytes.
const SMALL_RECORD: usize = 128;

/// The bytes that an idle connection has sent.
const IDLE_BYTES: usize = 100;

/// The bytes that a program is sent first, to check that it prints all of them.
const PROOF: usize = 1 << 20;

const FOLLOWED: &str = "100-byte lines of many followed files, synced";

/// The options that keep tlsink from using more than a thread for the network and one for
/// decompression.
const ALONE: [&str; 4] = ["--threads", "1", "--lanes", "1"];

/// A measured figure.
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

fn counted(senders: usize) -> String {
    match senders {
        1 => "one sender".to_owned(),
        many => format!("{many} senders"),
    }
}

/// One measurement of several contestants, made in the same way. The first contestant is the one
/// being judged.
pub struct Case<'a> {
    /// The name for `--only`.
    pub key: &'static str,
    pub metrics: Vec<Metric>,
    pub contestants: Vec<Contestant<'a>>,
}

pub struct Contestant<'a> {
    pub name: String,
    /// Returns a value for each metric of the case, or only for its first ones.
    pub measure: Box<dyn Fn() -> io::Result<Vec<f64>> + 'a>,
}

/// The resources that all measurements need.
pub struct Bench {
    pub tlsink: Program,
    pub peers: Vec<Program>,
    load: Load,
    certificate: Certificate,
    config: Arc<ClientConfig>,
    /// Arbitrary bytes.
    filler: Vec<u8>,
    short_lines: OnceCell<Vec<u8>>,
    packed: OnceCell<Packed>,
    /// The data to send next. The buffer is kept, because allocating it takes longer than filling
    /// it.
    sealed: RefCell<Vec<u8>>,
    /// The folder of the files above, and of others.
    directory: TempDir,
}

/// Compressed text. Compression takes a while, so it is done at the first use.
struct Packed {
    text_bytes: usize,
    gzip: Vec<u8>,
    zstd: Vec<u8>,
}

impl Bench {
    pub fn new(
        tlsink: Program,
        peers: Vec<Program>,
        directory: TempDir,
        load: Load,
    ) -> io::Result<Bench> {
        let certificate = make_certificate(&tlsink, directory.path())?;
        Ok(Bench {
            tlsink,
            peers,
            certificate,
            config: client::config(),
            filler: text::log(load.bulk.min(1 << 20)),
            short_lines: OnceCell::new(),
            packed: OnceCell::new(),
            sealed: RefCell::default(),
            load,
            directory,
        })
    }

    /// The size of the compressed text, if it was needed.
    pub fn compression(&self) -> Option<String> {
        let packed = self.packed.get()?;
        let times = |small: &[u8]| packed.text_bytes as f64 / small.len() as f64;
        Some(format!(
            "{} MB of text, {:.1} times as large as in gzip (level 6), {:.1} as in zstd (level 3)",
            packed.text_bytes / 1_000_000,
            times(&packed.gzip),
            times(&packed.zstd)
        ))
    }

    fn short_lines(&self) -> &[u8] {
        self.short_lines
            .get_or_init(|| text::short_lines(self.load.bulk))
    }

    fn packed(&self) -> &Packed {
        self.packed.get_or_init(|| {
            let text = text::log(self.load.text);
            Packed {
                text_bytes: text.len(),
                gzip: gzip(&text),
                zstd: zstd(&text),
            }
        })
    }

    /// Keeps only the peers that print the data that they are sent; names the others, and the
    /// reason.
    pub fn dismiss_unfit_peers(&mut self) -> Vec<String> {
        let mut dismissed = Vec::new();
        let mut peers = std::mem::take(&mut self.peers);
        peers.retain(|peer| match self.prove(peer) {
            Ok(()) => true,
            Err(error) => {
                dismissed.push(format!("{}: skipped: {error}", peer.name));
                false
            }
        });
        self.peers = peers;
        dismissed
    }

    /// # Errors
    ///
    /// If the program does not print the data that it is sent.
    pub fn prove(&self, program: &Program) -> io::Result<()> {
        let text = text::log(PROOF);
        for job in [Job::Print, Job::PrintLines, Job::Gunzip, Job::Unzstd] {
            if !program.does(job) {
                continue;
            }
            let sent = match job {
                Job::Print | Job::PrintLines | Job::PrintAtOnce => text.clone(),
                Job::Gunzip => gzip(&text),
                Job::Unzstd => zstd(&text),
                // It is proved by its own case.
                Job::Syslog => continue,
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
                            let time = floor::measure(Traffic {
                                bytes: self.load.bulk,
                                senders: 1,
                                write: WRITE,
                                read,
                            })?;
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
                key: "live",
                metrics: vec![cost("128-byte records, sent one by one", "CPU µs/record")],
                contestants: self
                    .each(Job::Print, |_| true, |program| self.live(program))
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
                key: "first-line",
                metrics: vec![cost("first line, sender with Nagle, TLS 1.3", "ms")],
                contestants: self
                    .each(
                        Job::PrintAtOnce,
                        |_| true,
                        |program| self.first_line(program),
                    )
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
                    .chain(self.command("igzip", |packed| &packed.gzip))
                    .chain(self.command("pigz", |packed| &packed.gzip))
                    .collect(),
            },
            self.on_all_cores(
                rate("gzip text, all cores", "decoded MB/s"),
                |tlsink, senders| self.text(tlsink, Job::Gunzip, senders, Cores::All),
            ),
            self.on_all_cores(rate("plain, all cores", "GiB/s"), |tlsink, senders| {
                self.plain(tlsink, senders)
            }),
            Case {
                key: "zstd",
                metrics: vec![rate("zstd text, one sender", "decoded MB/s")],
                contestants: self
                    .each(
                        Job::Unzstd,
                        |_| true,
                        |program| self.text(program, Job::Unzstd, 1, Cores::Server),
                    )
                    .chain(self.command("zstd", |packed| &packed.zstd))
                    .collect(),
            },
            Case {
                key: "lines",
                metrics: vec![cost("60-byte lines, one sender", "CPU ns/line")],
                contestants: [("lines", Job::PrintLines), ("raw", Job::Print)]
                    .map(|(name, job)| self.variant(name, move || self.lines(job, 1)))
                    .into(),
            },
            self.of_syslog("200-byte syslog messages to a file, one sender", 1),
            self.of_syslog("200-byte syslog messages to a file, 100 senders", 100),
            Case {
                key: "senders",
                metrics: vec![cost("60-byte lines, many senders", "CPU ns/line")],
                contestants: [self.load.senders, 1]
                    .map(|senders| {
                        self.variant(&counted(senders), move || {
                            self.lines(Job::PrintLines, senders)
                        })
                    })
                    .into(),
            },
            Case {
                key: "senders",
                metrics: vec![cost(
                    "60-byte lines, only received and opened",
                    "CPU ns/line",
                )],
                contestants: [self.load.senders, 1]
                    .map(|senders| Contestant {
                        name: format!("floor, {}", counted(senders)),
                        measure: Box::new(move || self.lines_floor(senders)),
                    })
                    .into(),
            },
            Case {
                key: "followed",
                metrics: vec![
                    rate(FOLLOWED, "lines/s"),
                    cost(FOLLOWED, "receiver's CPU µs/line"),
                    cost(FOLLOWED, "receiver's peak MiB"),
                    cost(FOLLOWED, "receiver's syncs/s"),
                ],
                contestants: followed::contestants(&self.tlsink, &self.peers)
                    .map(|(name, program, way)| Contestant {
                        name,
                        measure: Box::new(move || {
                            followed::measure(&self.followed(), program, way)
                        }),
                    })
                    .collect(),
            },
            Case {
                key: "resumed",
                metrics: vec![
                    rate("128-byte lines, appended and synced", "MB/s"),
                    cost("128-byte lines, appended and synced", "CPU s/GB"),
                ],
                contestants: [
                    ("resumed", resumed::Way::Resumed),
                    ("not resumed", resumed::Way::Plain),
                ]
                .map(|(name, way)| {
                    self.variant(name, move || {
                        let folder = self.directory.path();
                        resumed::measure(&self.tlsink, way, self.load.resumed, folder)
                    })
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

    fn followed(&self) -> followed::Load<'_> {
        followed::Load {
            streams: self.load.followed,
            lines: self.load.followed_lines,
            certificates: self.certificate.folder(),
            directory: self.directory.path(),
        }
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
                name: program.name.clone(),
                measure: Box::new(move || measure(program)),
            })
    }

    /// tlsink with a thread and a lane for each core, and with one of each.
    fn on_all_cores<'a>(
        &'a self,
        metric: Metric,
        measure: impl Fn(&Program, usize) -> io::Result<Vec<f64>> + Copy + 'a,
    ) -> Case<'a> {
        let contestants = [
            ("2 senders", 2, &[][..]),
            ("2 senders, 1 thread, 1 lane", 2, &ALONE[..]),
            ("1 sender", 1, &[]),
        ];
        Case {
            key: "cores",
            metrics: vec![metric],
            contestants: contestants
                .map(|(name, senders, options)| {
                    let tlsink = self.tlsink.with(options);
                    self.variant(name, move || measure(&tlsink, senders))
                })
                .into(),
        }
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
        let spent = self.receive(program, self.load.bulk, RECORD, WRITE)?;
        let gib = gib(self.load.bulk);
        Ok(vec![
            spent.cpu.as_secs_f64() / gib,
            gib / spent.wall.as_secs_f64(),
        ])
    }

    fn records(&self, program: &Program) -> io::Result<Vec<f64>> {
        self.small_records(program, self.load.records, WRITE)
    }

    /// Sends small records one by one, like a sender that follows a log.
    fn live(&self, program: &Program) -> io::Result<Vec<f64>> {
        self.small_records(program, self.load.live, floor::sealed_size(SMALL_RECORD))
    }

    fn small_records(
        &self,
        program: &Program,
        records: usize,
        write: usize,
    ) -> io::Result<Vec<f64>> {
        let spent = self.receive(program, records * SMALL_RECORD, SMALL_RECORD, write)?;
        Ok(vec![spent.cpu.as_secs_f64() * 1e6 / records as f64])
    }

    fn handshakes(&self, program: &Program) -> io::Result<Vec<f64>> {
        let server = self.start_server(program, Job::Print)?;
        // One-time work is done now.
        self.connect(&server)?.close()?;
        let before = server.settled_cpu_time();
        for _ in 0..self.load.handshakes {
            self.connect(&server)?.close()?;
        }
        let cpu = server.cpu_time_since(before);
        Ok(vec![cpu.as_secs_f64() * 1e6 / self.load.handshakes as f64])
    }

    /// The time from a sender's write to the server's, after a handshake: the median of many
    /// connections, one after the other.
    fn first_line(&self, program: &Program) -> io::Result<Vec<f64>> {
        const LINE: &[u8] = b"the first line\n";
        let (mut printed, output) = io::pipe()?;
        let cores = Cores::Server;
        let server = program.start(Job::PrintAtOnce, &self.certificate, cores, output.into())?;
        let mut times = Vec::new();
        for _ in 0..=self.load.first_lines {
            let mut client = Client::connect_with_nagle(server.address)?;
            let start = Instant::now();
            let mut sealed = Vec::new();
            client.seal(LINE, RECORD, &mut sealed)?;
            client.send(&sealed)?;
            printed.read_exact(&mut [0; LINE.len()])?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            client.close()?;
        }
        // One-time work was done for the first connection.
        times.remove(0);
        times.sort_by(f64::total_cmp);
        Ok(vec![times[times.len() / 2]])
    }

    fn idle(&self, program: &Program) -> io::Result<Vec<f64>> {
        let server = self.start_server(program, Job::Print)?;
        let resident = || {
            server.settled_cpu_time();
            let kib = server.resident_kib();
            kib.ok_or_else(|| io::Error::other("it is gone"))
        };
        let connect = |before: usize| -> io::Result<Client> {
            let mut client = self
                .connect(&server)
                .map_err(|error| io::Error::other(format!("with {before} connections: {error}")))?;
            let mut sealed = Vec::new();
            client.seal(&self.filler[..IDLE_BYTES], RECORD, &mut sealed)?;
            client.send(&sealed)?;
            Ok(client)
        };
        // The first connection brings in code and buffers that all connections use.
        let mut clients = vec![connect(0)?];
        let before = resident()?;
        for _ in 0..self.load.idle {
            clients.push(connect(clients.len())?);
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
        let packed = self.packed();
        let bytes = match job {
            Job::Unzstd => &packed.zstd,
            _ => &packed.gzip,
        };
        let wall = self.send_all(program, job, cores, senders, |client, sealed| {
            client.seal(bytes, RECORD, sealed)
        })?;
        Ok(vec![
            (packed.text_bytes * senders) as f64 / 1e6 / wall.as_secs_f64(),
        ])
    }

    fn plain(&self, program: &Program, senders: usize) -> io::Result<Vec<f64>> {
        let bytes = self.load.bulk / 2;
        let wall = self.send_all(
            program,
            Job::Print,
            Cores::All,
            senders,
            |client, sealed| self.seal_filler(client, bytes, RECORD, sealed),
        )?;
        Ok(vec![gib(bytes * senders) / wall.as_secs_f64()])
    }

    /// The time that a program takes to print the data that a number of senders have sealed.
    fn send_all(
        &self,
        program: &Program,
        job: Job,
        cores: Cores,
        senders: usize,
        seal: impl Fn(&mut Client, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Duration> {
        let mut server = program.start(job, &self.certificate, cores, Stdio::null())?;
        let mut ready = Vec::new();
        for _ in 0..senders {
            let mut client = self.connect(&server)?;
            let mut sealed = Vec::new();
            seal(&mut client, &mut sealed)?;
            ready.push((client, sealed));
        }
        if cores == Cores::All {
            run_on(Cores::All)?;
        }
        let start = Instant::now();
        let sent = thread::scope(|scope| {
            let senders: Vec<_> = ready
                .into_iter()
                .map(|(mut client, sealed)| {
                    scope.spawn(move || client.send(&sealed).and_then(|()| client.close()))
                })
                .collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().expect("nothing in it panics"))
        });
        let printed = sent.and_then(|()| server.wait_until_printed());
        let wall = start.elapsed();
        run_on(Cores::Client)?;
        printed.map(|()| wall)
    }

    /// `NAME -dc` of a file, if there is such a program.
    fn command<'a>(
        &'a self,
        name: &'static str,
        pick: impl Fn(&Packed) -> &Vec<u8> + 'a,
    ) -> Option<Contestant<'a>> {
        first_line(Command::new(name).arg("--version")).ok()?;
        Some(Contestant {
            name: format!("{name} -dc"),
            measure: Box::new(move || {
                let packed = self.packed();
                let file = self.directory.path().join("packed");
                std::fs::write(&file, pick(packed))?;
                let mut command = Command::new(name);
                command
                    .arg("-dc")
                    .stdin(File::open(&file)?)
                    .stdout(Stdio::null());
                run_on(Cores::Server)?;
                let start = Instant::now();
                let status = command.status();
                let wall = start.elapsed();
                run_on(Cores::Client)?;
                if !status?.success() {
                    return Err(io::Error::other("it failed"));
                }
                Ok(vec![packed.text_bytes as f64 / 1e6 / wall.as_secs_f64()])
            }),
        })
    }

    /// Sends the same lines from one sender, or from many, each of which sends a record in turn.
    fn lines(&self, job: Job, senders: usize) -> io::Result<Vec<f64>> {
        let server = self.start_server(&self.tlsink, job)?;
        let short_lines = self.short_lines();
        let mut turns = Vec::new();
        for part in short_lines.chunks(short_lines.len().div_ceil(senders)) {
            turns.push(self.sealed_records(&server, part)?);
        }
        let cpu = send_in_turn(&server, turns)?;
        let lines = (short_lines.len() - senders * RECORD) as f64 / text::SHORT_LINE as f64;
        Ok(vec![cpu.as_secs_f64() * 1e9 / lines])
    }

    /// A client, and its records, each sealed by itself.
    fn sealed_records(&self, server: &Running, bytes: &[u8]) -> io::Result<(Client, Vec<Vec<u8>>)> {
        let mut client = self.connect(server)?;
        let mut records = Vec::new();
        for record in bytes.chunks(RECORD) {
            let mut sealed = Vec::new();
            client.seal(record, RECORD, &mut sealed)?;
            records.push(sealed);
        }
        Ok((client, records))
    }

    fn of_syslog<'a>(&'a self, name: &'static str, senders: usize) -> Case<'a> {
        Case {
            key: "syslog",
            metrics: vec![cost(name, "CPU µs/message")],
            contestants: self
                .each(
                    Job::Syslog,
                    |_| true,
                    move |program| self.syslog(program, senders),
                )
                .collect(),
        }
    }

    /// Sends octet-counted syslog messages (RFC 5425), from one sender or from several in turn.
    fn syslog(&self, program: &Program, senders: usize) -> io::Result<Vec<f64>> {
        const MESSAGE: usize = 200;
        let server = program.start(Job::Syslog, &self.certificate, Cores::Server, Stdio::null())?;
        let each = self.load.messages / senders;
        let mut turns = Vec::new();
        for sender in 0..senders {
            let mut frames = Vec::new();
            for number in 0..each {
                let head = format!(
                    "<134>1 2026-11-27T12:00:00.000000Z host{sender} app 123 - - message {number} "
                );
                write!(frames, "{MESSAGE} {head:x<MESSAGE$}")?;
            }
            turns.push(self.sealed_records(&server, &frames)?);
        }
        let cpu = send_in_turn(&server, turns)?;
        server.settled_cpu_time();
        let written = std::fs::read(received(&self.certificate))?;
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        if lines != each * senders {
            return Err(io::Error::other(format!(
                "of {} messages it wrote {lines}",
                each * senders
            )));
        }
        let frame = format!("{MESSAGE} ").len() + MESSAGE;
        let measured = (each * senders) as f64 - (senders * RECORD) as f64 / frame as f64;
        Ok(vec![cpu.as_secs_f64() * 1e6 / measured])
    }

    /// The least work of any server, for the same number of bytes, sent in the same order.
    fn lines_floor(&self, senders: usize) -> io::Result<Vec<f64>> {
        let time = floor::measure(Traffic {
            bytes: self.load.bulk,
            senders,
            write: floor::WHOLE,
            read: 64 << 10,
        })?;
        let lines = self.load.bulk as f64 / text::SHORT_LINE as f64;
        Ok(vec![time.as_secs_f64() * 1e9 / lines])
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

    /// Lets a program receive and print this many bytes from one sender, in records of this size,
    /// some of which are written at once.
    fn receive(
        &self,
        program: &Program,
        bytes: usize,
        record: usize,
        write: usize,
    ) -> io::Result<Spent> {
        let server = self.start_server(program, Job::Print)?;
        let mut client = self.connect(&server)?;
        let mut sealed = self.sealed.borrow_mut();
        sealed.clear();
        self.seal_filler(&mut client, bytes, record, &mut sealed)?;
        let before = server.settled_cpu_time();
        let start = Instant::now();
        client.send_by(write, &sealed)?;
        client.close()?;
        let wall = start.elapsed();
        Ok(Spent {
            cpu: server.cpu_time_since(before),
            wall,
        })
    }

    fn seal_filler(
        &self,
        client: &mut Client,
        bytes: usize,
        record: usize,
        sealed: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let piece = &self.filler[..left.min(self.filler.len())];
            client.seal(piece, record, sealed)?;
            left -= piece.len();
        }
        Ok(())
    }

    fn start_server(&self, program: &Program, job: Job) -> io::Result<Running> {
        program.start(job, &self.certificate, Cores::Server, Stdio::null())
    }

    fn connect(&self, server: &Running) -> io::Result<Client> {
        Client::connect(server.address, &self.config)
    }
}

/// The resources that a server used.
struct Spent {
    cpu: Duration,
    wall: Duration,
}

/// A program that does not outlive its measurement.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both calls fail only if the program has ended already.
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

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let written = encoder.write_all(text).and_then(|()| encoder.finish());
    written.expect("a Vec takes everything")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(text.len()));
    zstd_safe::compress(&mut frame, text, 3).expect("there is room for whatever comes out");
    frame
}

fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Sends a record of each client in turn, until all are sent. Returns the processor time that the
/// server takes for all records but each client's first: a connection gets its buffers with that
/// one, and not before.
fn send_in_turn(server: &Running, mut turns: Vec<(Client, Vec<Vec<u8>>)>) -> io::Result<Duration> {
    let most = turns.iter().map(|(_, records)| records.len()).max();
    let mut send = |turn: usize| -> io::Result<()> {
        for (client, records) in &mut turns {
            if let Some(record) = records.get(turn) {
                client.send(record)?;
            }
        }
        Ok(())
    };
    send(0)?;
    let before = server.settled_cpu_time();
    (1..most.unwrap_or_default()).try_for_each(send)?;
    // The time is read before the connections close, as their end is no part of a line.
    let cpu = server.cpu_time_since(before);
    let mut clients: Vec<Client> = turns.into_iter().map(|(client, _)| client).collect();
    clients.iter_mut().try_for_each(Client::close_notify)?;
    Ok(cpu)
}
