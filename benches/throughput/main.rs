//! Measures tlsink as its users have it, under load: the real program, driven by a TLS client. The
//! alternatives that are installed are measured in the same run.
//!
//! ```sh
//! cargo bench --bench throughput -- --help
//! ```
//!
//! Figures of different runs, and of different machines, are hardly comparable; the ratios within a
//! run say more. This runs on Linux, whose /proc and processor affinity it uses; the peers' figures
//! were only ever checked on x86_64.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use pico_args::Arguments;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use cases::{Bench, FULL, QUICK};
use cores::{Cores, run_on};
use programs::Program;
use report::{Report, Table};

mod cases;
mod client;
mod cores;
mod floor;
mod followed;
mod machine;
mod plot;
mod process;
mod programs;
mod report;
mod resumed;
#[path = "../common/text.rs"]
mod text;

const HELP: &str = "\
cargo bench --bench throughput -- [OPTIONS]

  --runs N       samples of each figure [5]
  --peers        also measure the peers that are installed: Go, openssl s_server,
                 ncat, socat, pigz, node, Qt, rsyslog, syslog-ng
  --go PATH      the Go toolchain's program [go]
  --only CASE    measure only this case: bulk, records, live, handshakes,
                 first-line, idle, gzip, zstd, cores, lines, syslog, senders,
                 followed, resumed or start; repeatable
  --binary FILE  measure this tlsink [the one that cargo has just built]
  --against FILE another build of tlsink, measured as peers are; repeatable
  --plot FILE    draw the ratios into FILE, SVG
  --quick        small loads, once: to see that everything runs
";

struct Args {
    runs: usize,
    quick: bool,
    peers: bool,
    go: Option<PathBuf>,
    only: Vec<String>,
    binary: PathBuf,
    against: Vec<PathBuf>,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match parse().and_then(|args| args.map_or(Ok(()), |args| run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Option<Args>, Box<dyn Error>> {
    let mut args = Arguments::from_env();
    if args.contains("--help") {
        print!("{HELP}");
        return Ok(None);
    }
    // `cargo bench` passes this flag, `cargo test` does not: it builds without optimization, and
    // checks only that the benchmark works.
    let measured = args.contains("--bench");
    let quick = args.contains("--quick") || !measured;
    let path = |text: &std::ffi::OsStr| Ok::<_, std::convert::Infallible>(PathBuf::from(text));
    let parsed = Args {
        runs: args
            .opt_value_from_str("--runs")?
            .unwrap_or(if quick { 1 } else { 5 }),
        quick,
        peers: args.contains("--peers"),
        go: args.opt_value_from_os_str("--go", path)?,
        only: args.values_from_str("--only")?,
        binary: args
            .opt_value_from_os_str("--binary", path)?
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tlsink"))),
        against: args.values_from_os_str("--against", path)?,
        plot: args.opt_value_from_os_str("--plot", path)?,
    };
    match args.finish().first() {
        Some(left) => Err(format!("unknown argument {}\n\n{HELP}", left.display()).into()),
        None if parsed.runs == 0 => Err("--runs must be at least 1".into()),
        None => Ok(Some(parsed)),
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    raise_file_limit()?;
    let mut notes = Vec::new();
    if cores::count() < 2 {
        notes.push(
            "one core only: client and server share it, and wall times mean nothing".to_owned(),
        );
    }
    if args.quick {
        notes.push("small loads: that it works is all that these figures say".to_owned());
    }
    run_on(Cores::Client)?;
    let directory = tempfile::tempdir()?;
    let another = args.against.iter().cloned().map(Program::another_tlsink);
    let mut peers = another.collect::<io::Result<Vec<_>>>()?;
    if args.peers {
        let (found, missing) = Program::peers(args.go.clone(), directory.path());
        peers.extend(found);
        notes.extend(missing);
    }
    let tlsink = Program::tlsink(args.binary.clone())?;
    let load = if args.quick { QUICK } else { FULL };
    let mut bench = Bench::new(tlsink, peers, directory, load)?;
    let tlsink = &bench.tlsink;
    bench
        .prove(tlsink)
        .map_err(|error| format!("{tlsink}: {error}"))?;
    notes.extend(bench.dismiss_unfit_peers());

    let (report, failures) = measure(&bench, args)?;
    notes.extend(failures);
    let metrics = report.into_metrics();
    describe(&bench, args)?;
    for note in &notes {
        println!("- {note}");
    }
    println!("\n{}", Table(&metrics));
    if let Some(file) = &args.plot {
        plot::draw(&metrics, file)?;
    }
    Ok(())
}

/// Measures each contestant once, then each again, and so on, so that other load on the machine
/// affects all of them alike.
fn measure(bench: &Bench, args: &Args) -> Result<(Report, Vec<String>), Box<dyn Error>> {
    let mut cases = bench.cases();
    for key in &args.only {
        if !cases.iter().any(|case| case.key == key) {
            return Err(format!("there is no case {key}").into());
        }
    }
    if !args.only.is_empty() {
        cases.retain(|case| args.only.iter().any(|key| key == case.key));
    }
    let mut report = Report::default();
    let mut failures = Vec::new();
    for run in 1..=args.runs {
        for case in &mut cases {
            eprintln!("run {run} of {}: {}", args.runs, case.metrics[0].name);
            let mut failed = None;
            case.contestants
                .retain(|contestant| match (contestant.measure)() {
                    Ok(samples) => {
                        for (metric, sample) in case.metrics.iter().zip(samples) {
                            report.add(*metric, &contestant.name, sample);
                        }
                        true
                    }
                    Err(error) => {
                        let name = &contestant.name;
                        failures.push(format!("{}: {name} failed: {error}", case.metrics[0].name));
                        // A contestant that is not a peer must work.
                        if name.starts_with("tlsink") || name.starts_with("floor") {
                            failed = failures.last().cloned();
                        }
                        false
                    }
                });
            if let Some(failed) = failed {
                return Err(failed.into());
            }
        }
    }
    Ok((report, failures))
}

/// The machine and the programs that were measured.
fn describe(bench: &Bench, args: &Args) -> io::Result<()> {
    for line in machine::describe() {
        println!("- {line}");
    }
    for program in [&bench.tlsink].into_iter().chain(&bench.peers) {
        println!("- {program}");
    }
    let size = std::fs::metadata(&args.binary)?.len();
    println!("- size of this tlsink: {:.2} MB", size as f64 / 1e6);
    if let Some(text) = bench.compression() {
        println!("- {text}");
    }
    let given = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let given: String = given.map(|arg| format!(" {arg}")).collect();
    println!(
        "- samples: {}, of: cargo bench --bench throughput --{given}",
        args.runs
    );
    Ok(())
}

/// Raises the limit on open files, for many connections. Servers inherit it.
fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}
