//! One stream of many lines, appended to one file and synced: resumed, or not.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::cores::{Cores, run_on};
use crate::followed::Started;
use crate::process;
use crate::programs::Program;

/// The size of a line, in bytes, with its newline.
const LINE: usize = 128;

/// The way in which the stream is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With `--state`: each line is acknowledged once it is committed.
    Resumed,
    /// With `--sync`: the end is acknowledged once everything is synced.
    Plain,
}

/// Returns the MB in a second from the start of the sender to its end, and the processor time of the
/// receiver, in seconds for a GB.
pub fn measure(tlsink: &Program, way: Way, bytes: usize, directory: &Path) -> io::Result<Vec<f64>> {
    let folder = tempfile::tempdir_in(directory)?;
    let certificates = directory.join("tls");
    let (received, state) = (folder.path().join("received"), folder.path().join("state"));
    fs::create_dir(&received)?;
    fs::create_dir(&state)?;
    let lines = lines(directory, bytes)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;

    let mut command = Command::new(tlsink.path());
    command.args(["-q", "-l", &address.to_string()]);
    command.arg("-c").arg(certificates.join("server.pem"));
    command.arg("-k").arg(certificates.join("server.key"));
    command.arg("--output-dir").arg(&received);
    command.args(["--append", "--name", "received"]);
    match way {
        Way::Resumed => command.arg("--state").arg(&state),
        Way::Plain => command.arg("--sync"),
    };
    let mut receiver = Started::start(&mut command, Cores::Server)?;
    receiver.wait_for_listening(address)?;
    let before = process::settled_cpu_time(&[receiver.id()]);

    let mut command = Command::new(tlsink.path());
    command.args(["send", "-q", "-e", "none", "--ca"]);
    command.arg(certificates.join("ca.pem"));
    if way == Way::Resumed {
        command.args(["--resume", "--stream", "lines"]);
    }
    command.arg(format!("localhost:{}", address.port()));
    command.stdin(File::open(&lines)?).stdout(Stdio::null());
    run_on(Cores::Client)?;
    let start = Instant::now();
    let status = command.status()?;
    let wall = start.elapsed();
    let cpu = process::cpu_time(receiver.id()).saturating_sub(before);
    receiver.check()?;
    let len = fs::metadata(received.join("received"))?.len();
    if !status.success() || len != bytes as u64 {
        return Err(io::Error::other(format!(
            "the sender ended with {status}, and {len} of {bytes} bytes arrived"
        )));
    }
    Ok(vec![
        bytes as f64 / 1e6 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e9 / bytes as f64,
    ])
}

/// The file of all lines, made and synced at the first use.
fn lines(directory: &Path, bytes: usize) -> io::Result<PathBuf> {
    let path = directory.join("lines");
    if path.exists() {
        return Ok(path);
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    for number in 0..bytes / LINE {
        let rest = LINE - 1;
        let head = format!("line {number:012} ");
        writeln!(file, "{head:x<rest$}")?;
    }
    file.into_inner()?.sync_all()?;
    Ok(path)
}
