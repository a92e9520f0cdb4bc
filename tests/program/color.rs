//! The colours of messages.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use crate::common::program::{BINARY, Client, Program, Stderr, Stdout, send};
use crate::common::terminal::Terminal;

const RED: &str = "\x1b[1m\x1b[31m";
const YELLOW: &str = "\x1b[1m\x1b[33m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The message about wrong arguments in this environment.
fn error(args: &[&str], environment: &[(&str, &str)], stderr: Stderr) -> String {
    let mut command = Command::new(BINARY);
    command.args(args).arg("--bogus").env_remove("NO_COLOR");
    command.envs(environment.iter().copied());
    let outcome = Program::run_by(command, Stdout::Collected, stderr);
    assert_eq!(outcome.status, 2);
    outcome.stderr
}

#[test]
fn colours_are_for_terminals_and_as_the_environment_and_the_option_say() {
    let none = "tlsink: unknown option --bogus\nhint: see tlsink --help\n".to_owned();
    let red = format!(
        "{RED}tlsink:{PLAIN} unknown option --bogus\n{DIM}hint: see tlsink --help{PLAIN}\n"
    );
    for (args, environment, on_terminal, in_pipe) in [
        ("auto", &[][..], &red, &none),
        ("always", &[], &red, &red),
        ("never", &[], &none, &none),
        ("auto", &[("NO_COLOR", "1")], &none, &none),
        // An empty variable counts as none.
        ("auto", &[("NO_COLOR", "")], &red, &none),
        ("auto", &[("TERM", "dumb")], &none, &none),
        ("auto", &[("CLICOLOR", "0")], &none, &none),
        ("auto", &[("CLICOLOR_FORCE", "1")], &red, &red),
        ("auto", &[("CLICOLOR_FORCE", "")], &red, &none),
        ("auto", &[("CLICOLOR_FORCE", "0")], &red, &none),
        (
            "auto",
            &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")],
            &red,
            &red,
        ),
        (
            "auto",
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
            &none,
            &none,
        ),
        ("always", &[("NO_COLOR", "1"), ("TERM", "dumb")], &red, &red),
        ("never", &[("CLICOLOR_FORCE", "1")], &none, &none),
    ] {
        let args = ["--color", args];
        let terminal = Stderr::Terminal(Terminal::open());
        assert_eq!(
            error(&args, environment, terminal),
            **on_terminal,
            "{args:?} {environment:?}"
        );
        assert_eq!(
            error(&args, environment, Stderr::Pipe),
            **in_pipe,
            "{args:?} {environment:?}"
        );
    }
    assert_eq!(error(&[], &[], Stderr::Terminal(Terminal::open())), red);
    assert_eq!(error(&[], &[], Stderr::Pipe), none);
}

#[test]
fn each_command_has_colours() {
    for command in ["listen", "send", "cert", "help"] {
        let said = error(&[command, "--color=always"], &[], Stderr::Pipe);
        assert!(said.starts_with(&format!("{RED}tlsink:{PLAIN} ")), "{said}");
    }
}

#[test]
fn bad_ends_are_red_and_clean_ones_dim() {
    let program = Program::start(&["--color", "always", "--timestamps"]);
    send(program.address(), b"data\n");
    let clean = program.wait_for_line(|line| line.contains(" received, "));
    let facts = format!(": 5 bytes received, 5 delivered, plain, {DIM}clean{PLAIN}");
    assert!(clean.ends_with(&facts), "{clean:?}");
    assert!(clean.contains("Z tlsink: 127.0.0.1:"), "{clean:?}");

    let mut client = Client::connect(program.address());
    client.write(b"data").unwrap();
    client.abandon().unwrap();
    let end = format!(", {RED}truncated (no close_notify){PLAIN}");
    program.wait_for_line(|line| line.ends_with(&end));

    let mut stranger = TcpStream::connect(program.address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    program.wait_for_line(|line| line.contains(&format!(": {RED}refused (")));
}

#[test]
fn warnings_are_yellow_and_news_plain() {
    let server = Program::start(&[]);
    let to = server.address().to_string();
    let args = ["send", "--color", "always", "--insecure", &to, "/dev/null"];
    let outcome = Program::run(&args);
    let lines: Vec<_> = outcome.stderr.lines().collect();
    let warning = format!("{YELLOW}tlsink:{PLAIN} {to}: the server is not verified; ");
    assert!(lines[0].starts_with(&warning), "{lines:?}");
    assert!(lines[1].starts_with("tlsink: sent "), "{lines:?}");
}

#[test]
fn colours_do_not_let_quotations_steer_the_terminal() {
    let said = error(&["--color", "always", "--\x1b[2J"], &[], Stderr::Pipe);
    assert!(said.contains(r"\x1b[2J"), "{said:?}");
    assert!(!said.contains("\x1b[2J"), "{said:?}");
}

#[test]
fn a_terminal_that_is_dumb_has_no_live_line() {
    let mut command = Command::new(BINARY);
    command
        .args(["--stats", "--listen", "127.0.0.1:0"])
        .env("TERM", "dumb");
    let program = Program::start_by_saying_to(command, Terminal::open());
    // The first line comes after ten seconds, as in a pipe.
    program.wait_for_line(|line| line.starts_with("tlsink: 0 connected, "));
    assert!(!program.stop().stderr.contains('\x1b'));
}
