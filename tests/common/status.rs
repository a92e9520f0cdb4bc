//! The status server of the program.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::program::{LIMIT, Program, tcp};

/// The address of the status server of this program.
pub fn status(program: &Program) -> SocketAddr {
    let line = program.wait_for_line(|line| line.contains(" serving /metrics and /healthz on "));
    let (_, address) = line.rsplit_once(' ').unwrap();
    address.parse().unwrap()
}

/// The status and the body of a response.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = tcp(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    answer(socket).unwrap()
}

/// The status and the body of the response that this socket has.
pub fn answer(mut socket: impl Read) -> io::Result<(u16, String)> {
    let mut response = String::new();
    socket.read_to_string(&mut response)?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.unwrap(), body.to_owned()))
}

/// The value of this series; `None` if there is none.
pub fn sample(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Scrapes until a series has this value.
pub fn wait_for_sample(address: SocketAddr, series: &str, value: f64) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (_, metrics) = get(address, "/metrics");
        if sample(&metrics, series) == Some(value) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "{series} {value}:\n{metrics}");
        thread::yield_now();
    }
}

/// Asks for the health until the answer has this status, and returns its words.
pub fn wait_for_health(address: SocketAddr, wanted: u16) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (status, words) = get(address, "/healthz");
        if status == wanted {
            return words;
        }
        assert!(Instant::now() < deadline, "{status}: {words}");
        thread::sleep(Duration::from_millis(50));
    }
}
