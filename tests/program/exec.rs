//! `--exec`: a program for each stream.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use tempfile::TempDir;

use crate::common::authority::{Authority, dns};
use crate::common::client::TLS13;
use crate::common::pack::gzip;
use crate::common::program::{
    BINARY, Client, FREE, LIMIT, Program, after, run_if_installed, send, tcp,
};

use crate::common::skip::is_installed;

use super::refused::each_is_refused;

/// A folder for a script and the files that it writes.
struct Script {
    folder: TempDir,
    /// The value of `--exec`.
    command: String,
}

impl Script {
    /// A script of sh, whose first argument is its folder.
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, text).unwrap();
        // Not executed itself: another test may start a program while the file is still open for
        // writing, and then no one can execute it (execve(2), ETXTBSY).
        let command = format!("sh '{}' '{}'", path.display(), folder.path().display());
        Script { folder, command }
    }

    /// Starts the program with this script.
    fn start(&self, args: &[&str]) -> Program {
        let exec = ["--exec", &self.command];
        Program::start(&[&exec, args].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the script has written a line to this file, and returns all of it.
    fn written(&self, name: &str) -> String {
        let path = self.path(name);
        until("the script has written it", || {
            fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
    }
}

/// Asks again until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited until {what}");
        thread::yield_now();
    }
}

/// The children of a process, also those that have ended and were not waited for.
fn children(id: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything (proc(5)).
        let (_, facts) = stat.rsplit_once(") ")?;
        facts.split(' ').nth(1)?.parse().ok()
    };
    numbers
        .filter(|process| parent(process) == Some(id))
        .collect()
}

fn is_running(process: &str) -> bool {
    let process = Pid::from_raw(process.trim().parse().unwrap()).unwrap();
    test_kill_process(process).is_ok()
}

/// A client that has sent these bytes.
fn client(program: &Program, bytes: &[u8]) -> Client {
    let mut client = Client::connect(program.address());
    client.write(bytes).unwrap();
    client
}

/// The end of the only stream, which failed in the output.
fn failure(program: &Program) -> String {
    let end = program.wait_for_end().end;
    let reason = end.strip_prefix("cut (the output failed: ");
    let reason = reason.and_then(|reason| reason.strip_suffix(')'));
    reason.unwrap_or_else(|| panic!("{end}")).to_owned()
}

#[test]
fn the_exit_status_decides_the_verdict_of_each_of_200_streams() {
    let script = Script::new("read -r status\ncat >/dev/null\nexit $status\n");
    let program = script.start(&["--receipt"]);
    let status = |number: usize| number % 4;
    let clients: Vec<_> = (0..200)
        .map(|number| {
            client(
                &program,
                &gzip(format!("{}\nrest\n", status(number)).as_bytes()),
            )
        })
        .collect();
    until("all programs run at once", || {
        (children(program.id()).len() == 200).then_some(())
    });
    for (number, client) in clients.into_iter().enumerate() {
        let receipt = client.finish_for_receipt().unwrap();
        match status(number) {
            0 => assert!(receipt.contains("\"delivered\":7,"), "{receipt}"),
            _ => assert!(receipt.contains("cut (the output failed: "), "{receipt}"),
        }
        assert_eq!(receipt.starts_with("{\"ok\":true,"), status(number) == 0);
    }
    let ends = program.wait_for_ends(200);
    for wanted in 1..4 {
        let text = format!("cut (the output failed: the program exited with status {wanted})");
        assert_eq!(ends.iter().filter(|end| end.end == text).count(), 50);
    }
    assert_eq!(ends.iter().filter(|end| end.end == "clean").count(), 50);
    assert!(children(program.id()).is_empty());
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_program_that_does_not_read_holds_back_its_own_stream_only() {
    let script = Script::new("[ $TLSINK_CONN = 1 ] && exec sleep 600\nexec wc -c\n");
    let program = script.start(&["--lanes", "1"]);
    let mut stuck = Client::connect(program.address());
    let stuck = thread::spawn(move || stuck.write(&vec![b'x'; 64 << 20]));
    until("its program runs", || children(program.id()).pop());
    for _ in 0..3 {
        send(program.address(), &vec![b'y'; 4 << 20]);
    }
    program.wait_for_stdout("4194304\n".repeat(3));
    assert!(!stuck.is_finished());
    let [process] = children(program.id())[..] else {
        panic!("one program is left");
    };
    rustix::process::kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL).unwrap();
    assert!(stuck.join().unwrap().is_err());
    let ends = program.wait_for_ends(4);
    let end = "cut (the output failed: the program was killed by signal 9 (SIGKILL))";
    assert_eq!(ends[3].end, end);
    // What the sockets hold, and one mebibyte, and a turn.
    assert!(ends[3].received < 16 << 20, "{ends:?}");
}

/// Says how its standard input ends. A child of its own reads that.
const TELLING: &str = "\
trap 'echo TERM >$1/$TLSINK_CONN; exit 1' TERM
exec 3<&0
cat <&3 >$1/data$TLSINK_CONN &
echo $$ >$1/process
wait $!
echo EOF >$1/$TLSINK_CONN
";

#[test]
fn only_a_clean_stream_ends_the_standard_input_and_any_other_sends_sigterm() {
    let script = Script::new(TELLING);
    let program = script.start(&["--receipt"]);
    let clean = client(&program, b"all of it");
    script.written("process");
    assert!(
        clean
            .finish_for_receipt()
            .unwrap()
            .starts_with("{\"ok\":true,")
    );
    assert_eq!(script.written("1"), "EOF\n");
    assert_eq!(fs::read(script.path("data1")).unwrap(), b"all of it");
    fs::remove_file(script.path("process")).unwrap();

    let truncated = client(&program, b"a part");
    script.written("process");
    truncated.abandon().unwrap();
    assert_eq!(script.written("2"), "TERM\n");
    let ends = program.wait_for_ends(2);
    assert_eq!(ends[1].end, "truncated (no close_notify)");
    assert!(children(program.id()).is_empty());
    assert!(!is_running(&script.written("process")));
}

#[test]
fn nothing_that_ignores_sigterm_is_left_to_see_an_end_that_is_none() {
    let script = Script::new(
        "exec 3<&0\n\
         (trap '' TERM; cat <&3 >/dev/null; echo complete >$1/complete) &\n\
         echo $! >$1/process\n\
         wait\n",
    );
    let program = script.start(&[]);
    let client = client(&program, b"a part");
    let process = script.written("process");
    client.abandon().unwrap();
    program.wait_for_end();
    until("it is killed", || (!is_running(&process)).then_some(()));
    assert!(!script.path("complete").exists());
}

#[test]
fn a_program_knows_its_stream_and_nothing_of_systemd() {
    let ca = Authority::new("Plant CA");
    let boiler = ca.sender("c", &[dns("boiler.example")]);
    let script = Script::new("env >$1/env$TLSINK_CONN\ncat >/dev/null\n");
    fs::write(script.path("ca.pem"), ca.pem()).unwrap();
    let inherited = [
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "TLSINK_CLIENT",
        "TLSINK_STREAM",
    ];
    let mut command = Command::new(BINARY);
    command.args(["--listen", FREE, "--exec", &script.command, "--client-ca"]);
    command
        .arg(script.path("ca.pem"))
        .args(["--client-auth", "optional"]);
    command.envs(inherited.map(|name| (name, "0")));
    let program = Program::start_by(command, 1);

    let named = tcp(program.address()).unwrap();
    let peers = [named.local_addr().unwrap()];
    let named = Client::over(named, boiler.config(&TLS13), "localhost").unwrap();
    named.finish().unwrap();
    let anonymous = Client::connect(program.address());
    let peers = [peers[0], anonymous.local_address()];
    anonymous.finish().unwrap();
    for (number, client) in [(1, Some("TLSINK_CLIENT=boiler.example")), (2, None)] {
        let env = script.written(&format!("env{number}"));
        let given = |name: &str| env.lines().find(|line| line.starts_with(name));
        assert_eq!(given("TLSINK_CLIENT="), client);
        let peer = format!("TLSINK_PEER={}", peers[number - 1]);
        assert_eq!(given("TLSINK_PEER="), Some(&*peer));
        let connection = format!("TLSINK_CONN={number}");
        assert_eq!(given("TLSINK_CONN="), Some(&*connection));
        for name in &inherited[..6] {
            assert_eq!(given(name), None);
        }
        assert_eq!(given("TLSINK_STREAM"), None);
        assert!(given("PATH=").is_some());
    }
}

#[test]
fn a_program_inherits_no_descriptor_of_another_stream_or_of_a_socket() {
    let script = Script::new("ls -l /proc/$$/fd >$1/fds$TLSINK_CONN\nexec cat\n");
    let program = script.start(&[]);
    let clients = [1, 2].map(|number| {
        let client = client(&program, b"line\n");
        (client, script.written(&format!("fds{number}")))
    });
    let target = |links: &str, wanted: &str| {
        let links = links.lines().filter_map(|line| line.split_once(" -> "));
        let of_wanted = |link: &str| link.rsplit(' ').next() == Some(wanted);
        let mut targets = links.filter(|(link, _)| of_wanted(link));
        targets.next().map(|(_, target)| target.to_owned())
    };
    let stdin = target(&clients[0].1, "0").unwrap();
    assert!(stdin.starts_with("pipe:"), "{stdin}");
    let links = &clients[1].1;
    assert!(target(links, "0").unwrap().starts_with("pipe:"), "{links}");
    for of_tlsink in [&*stdin, "socket:", "anon_inode:"] {
        assert!(!links.contains(of_tlsink), "{of_tlsink}: {links}");
    }
}

#[test]
fn the_words_of_a_command_are_split_and_nothing_is_expanded() {
    let command = "sh -c 'printf [%s] \"$@\"; cat' sh $HOME ; ls * | \"a  b\" c\\ d ''";
    let program = Program::start(&["--exec", command]);
    send(program.address(), b" data\n");
    program.wait_for_stdout("[$HOME][;][ls][*][|][a  b][c d][] data\n");
}

#[test]
fn a_program_that_ends_before_its_stream_ends_it_at_once() {
    for (text, reason) in [
        ("read -r line\nexit 3\n", "the program exited with status 3"),
        (
            "read -r line\nkill -9 $$\n",
            "the program was killed by signal 9 (SIGKILL)",
        ),
        (
            "read -r line\nexit 0\n",
            "the program exited before the stream's end",
        ),
    ] {
        let script = Script::new(text);
        let program = script.start(&["--receipt"]);
        // It sends nothing more, and does not end.
        let mut client = client(&program, b"line\n");
        let receipt = client.read_line().unwrap().unwrap();
        assert!(receipt.starts_with("{\"ok\":false,"), "{receipt}");
        drop(client);
        assert_eq!(failure(&program), reason);
        assert!(children(program.id()).is_empty());
    }
}

#[test]
fn a_program_that_closes_its_standard_input_is_terminated() {
    let script = Script::new("exec <&-\necho $$ >$1/process\nexec sleep 600\n");
    let program = script.start(&[]);
    let mut client = client(&program, b"line\n");
    let process = script.written("process");
    // The first bytes may have been written before it was closed.
    let _ = client.write(b"line\n");
    let reason = "the program closed its standard input before the stream's end";
    assert_eq!(failure(&program), reason);
    assert!(!is_running(&process));
    assert!(client.finish_unclean().is_ok());
}

#[test]
fn a_stream_of_no_bytes_has_a_program_and_an_empty_unclean_one_has_none() {
    let script = Script::new("echo $TLSINK_CONN\nexec cat\n");
    let program = script.start(&["-v"]);
    Client::connect(program.address()).abandon().unwrap();
    program.wait_for_end();
    Client::connect(program.address()).finish().unwrap();
    program.wait_for_stdout("2\n");
    program.wait_for_line(|line| line.contains(": the program is process "));
}

#[test]
fn the_guides_script_keeps_complete_streams() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("GUIDE.md");
    let guide = fs::read_to_string(guide).unwrap();
    let mut blocks = guide.split("\n```");
    let block = blocks.find(|block| block.contains("cat >store")).unwrap();
    let (script, start) = block.rsplit_once("\ntlsink ").unwrap();
    let (_, script) = script.split_once('\n').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(folder.path());
    assert!(shell.status().unwrap().success());
    let mut command = Command::new(BINARY);
    command.args(start.split(' ')).args(["--listen", FREE]);
    command.current_dir(folder.path());
    let program = Program::start_by(command, 1);
    client(&program, b"a part\n").abandon().unwrap();
    program.wait_for_end();
    send(program.address(), &gzip(b"hello\n"));
    let line = program.wait_for_printed_lines(1);
    let (name, sender) = line.split_once(": from anonymous at 127.0.0.1:").unwrap();
    assert!(sender.trim_end().parse::<u16>().is_ok(), "{line}");
    let packed = fs::read(folder.path().join(name)).unwrap();
    assert_eq!(unpacked(&packed), b"hello\n");
    let complete = fs::read_dir(folder.path().join("incoming")).unwrap();
    let complete = complete.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        !name.to_str().unwrap().ends_with(".part")
    });
    assert_eq!(complete.count(), 1);
}

/// Unpacks with a program that we did not write.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip");
    run_if_installed(gzip.arg("-dc"), packed).unwrap().stdout
}

#[test]
fn frames_are_recognized_if_that_is_asked_for() {
    let program = Program::start(&["--exec", "cat", "--framing", "octet"]);
    send(program.address(), b"6 <13>ab7 <13>a\nb");
    program.wait_for_stdout("<13>ab\n<13>a\\x0ab\n");
    drop(program);
    let program = Program::start(&["--exec", "cat"]);
    send(program.address(), b"6 <13>ab");
    program.wait_for_stdout("6 <13>ab");
}

#[test]
fn further_streams_wait_for_a_program_to_end() {
    let script = Script::new(
        "echo start >>$1/log\n\
         wc -c\n\
         echo end >>$1/log\n",
    );
    let program = script.start(&["--exec-max", "2"]);
    let address = program.address();
    let all_sent = Arc::new(Barrier::new(6));
    let senders: Vec<_> = (0..5)
        .map(|_| {
            let all_sent = Arc::clone(&all_sent);
            thread::spawn(move || {
                let mut client = Client::connect(address);
                client.write(b"line\n").unwrap();
                all_sent.wait();
                client.write(&vec![b'x'; 2 << 20]).unwrap();
                client.finish().unwrap();
            })
        })
        .collect();
    until("two programs have started", || {
        let log = fs::read_to_string(script.path("log")).unwrap_or_default();
        (log == "start\nstart\n").then_some(())
    });
    all_sent.wait();
    for sender in senders {
        sender.join().unwrap();
    }
    program.wait_for_stdout("2097157\n".repeat(5));
    let ends = program.wait_for_ends(5);
    assert!(ends.iter().all(|end| end.end == "clean"), "{ends:?}");
    let log = fs::read_to_string(script.path("log")).unwrap();
    let mut running: usize = 0;
    for line in log.lines() {
        match line {
            "start" => running += 1,
            _ => running -= 1,
        }
        assert!(running <= 2, "{log}");
    }
    assert_eq!(log.lines().count(), 10);
}

#[test]
fn a_stream_that_waits_for_a_program_is_cut_with_the_others() {
    let script = Script::new("echo $$ >$1/process\nexec cat\n");
    let program = script.start(&["--exec-max", "1", "--drain", "0", "-v"]);
    let clients = [(); 3].map(|()| client(&program, b"line\n"));
    script.written("process");
    program.wait_for_lines(3, |line| line.ends_with(": open"));
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    let ends = outcome.ends();
    assert!(
        ends.iter().all(|end| end.end.starts_with("cut (")),
        "{ends:?}"
    );
    assert!(
        !outcome.stderr.contains("the output failed"),
        "{}",
        outcome.stderr
    );
    assert_eq!(ends.len(), 3);
    drop(clients);
}

#[test]
fn a_stop_lets_programs_finish_what_has_come() {
    let script = Script::new("echo $$ >$1/process\ncat >$1/data\nsync\necho whole >$1/end\n");
    let program = script.start(&[]);
    let client = client(&program, b"all of it\n");
    script.written("process");
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: 1 connection open"));
    client.finish().unwrap();
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.ends()[0].end, "clean");
    assert_eq!(fs::read(script.path("data")).unwrap(), b"all of it\n");
    assert_eq!(script.written("end"), "whole\n");
}

/// Ignores SIGTERM, and what it reads.
const STUBBORN: &str = "trap '' TERM\necho $$ >$1/process\nwhile :; do sleep 600; done\n";

#[test]
fn a_program_that_ignores_sigterm_is_killed() {
    let script = Script::new(STUBBORN);
    let program = script.start(&["--drain", "0"]);
    let client = client(&program, b"line\n");
    let process = script.written("process");
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    let said = "the program did not end after SIGTERM, and is killed\n";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(!is_running(&process));
    drop(client);
}

#[test]
fn a_second_signal_leaves_no_program_running() {
    let script = Script::new(STUBBORN);
    let program = script.start(&[]);
    let client = client(&program, b"line\n");
    let process = script.written("process");
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.contains("tlsink: stopped at once\n"),
        "{}",
        outcome.stderr
    );
    assert!(!is_running(&process));
    drop(client);
}

#[test]
fn a_program_that_goes_on_behind_a_clean_end_is_terminated_when_tlsink_stops() {
    let script = Script::new("cat >/dev/null\necho $$ >$1/process\nexec sleep 600\n");
    let program = script.start(&["--drain", "0"]);
    let client = client(&program, b"line\n");
    let finishing = thread::spawn(move || client.finish());
    let process = script.written("process");
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(outcome.ends()[0].end.starts_with("cut ("), "{outcome:?}");
    assert!(finishing.join().unwrap().is_err());
    assert!(!is_running(&process));
}

#[test]
fn a_terminals_interrupt_reaches_no_program() {
    let script = Script::new("echo $$ >$1/process\ncat >$1/data\n");
    let mut command = Command::new(BINARY);
    command.args(["--listen", FREE, "--exec", &script.command]);
    command.process_group(0);
    let program = Program::start_by(command, 1);
    let client = client(&program, b"all of it\n");
    script.written("process");
    let group = Pid::from_raw(program.id() as i32).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    client.finish().unwrap();
    assert_eq!(program.outcome().ends()[0].end, "clean");
    assert_eq!(fs::read(script.path("data")).unwrap(), b"all of it\n");
}

#[test]
fn exit_statuses_count_where_the_parent_ignores_sigchld() {
    // Not every sh can ignore it.
    if !is_installed("bash") {
        return;
    }
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' CHLD; exec \"$@\"", "bash", BINARY]);
    command.args(["--listen", FREE, "--exec", "sh -c 'cat; exit 3'"]);
    let program = Program::start_by(command, 1);
    assert!(send_unclean(&program).is_ok());
    assert_eq!(failure(&program), "the program exited with status 3");
}

fn send_unclean(program: &Program) -> io::Result<()> {
    client(program, b"line\n").finish_unclean()
}

#[test]
fn a_program_that_can_not_be_started_ends_its_own_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    executable(&path, "#!/nowhere/interpreter\n");
    let program = Program::start(&["--exec", path.to_str().unwrap()]);
    for number in 1..=2 {
        assert!(send_unclean(&program).is_ok());
        let end = program.wait_for_ends(number).pop().unwrap().end;
        let start = format!("cut (the output failed: can't start {}: ", path.display());
        assert!(end.starts_with(&start), "{end}");
    }
    assert!(children(program.id()).is_empty());
    assert_eq!(program.stop().status, 0);
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_command_that_can_not_be_executed_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let fill = |text: &str| text.replace("DIR", folder.path().to_str().unwrap());
    let shared = "the output of the programs is standard output";
    let as_it_is = "each program gets the bytes of its stream as they are";
    let nowhere = "it is in no folder of PATH; --exec takes a program and its arguments, and no \
                   commands of a shell";
    each_is_refused(
        &[
            (
                "--exec nowhere-to-be-found",
                "can't execute nowhere-to-be-found: No such file or directory (os error 2)",
                nowhere,
            ),
            (
                "--exec DIR/none",
                "can't execute DIR/none: No such file or directory (os error 2)",
                "",
            ),
            (
                "--exec DIR/file",
                "can't execute DIR/file: Permission denied (os error 13)",
                "the user who runs tlsink must be allowed to execute it: chmod +x",
            ),
            (
                "--exec DIR",
                "can't execute DIR: Is a directory (os error 21)",
                "",
            ),
            (
                "--exec ''",
                "--exec '': expected a program and its arguments",
                "",
            ),
            (
                "--exec #",
                "--exec #: expected a program and its arguments",
                "",
            ),
            (
                "--exec 'cat",
                "--exec 'cat: a quotation or an escape does not end",
                "",
            ),
            ("--exec-max 2", "--exec-max needs --exec", ""),
            (
                "--exec cat --exec-max 0",
                "--exec-max 0: expected a number of at least 1",
                "",
            ),
            (
                "--exec cat --output f",
                "--output can't be combined with --exec",
                shared,
            ),
            (
                "--exec cat --output-dir d",
                "--output-dir can't be combined with --exec",
                shared,
            ),
            (
                "--exec cat --append",
                "--append can't be combined with --exec",
                shared,
            ),
            (
                "--exec cat --state d",
                "--state can't be combined with --exec",
                shared,
            ),
            (
                "--exec cat --format raw",
                "--format can't be combined with --exec",
                as_it_is,
            ),
            (
                "--exec cat --label",
                "--label can't be combined with --exec",
                as_it_is,
            ),
            (
                "--exec cat --prefix x",
                "--prefix can't be combined with --exec",
                as_it_is,
            ),
            (
                "--exec cat --max-line 9",
                "--max-line can't be combined with --exec",
                as_it_is,
            ),
            ("--exec cat --name n", "--name needs --output-dir", ""),
            ("--exec cat --rotate 9", "--rotate needs --append", ""),
        ],
        || Command::new(BINARY),
        fill,
    );
    each_is_refused(
        &[(
            "--exec cat --exec-max 300",
            "--exec-max 300 needs more open files than the limit of 256",
            "allow more open files (ulimit -Hn), or give --exec-max at most 74",
        )],
        || after("ulimit -n 256"),
        str::to_owned,
    );
}
