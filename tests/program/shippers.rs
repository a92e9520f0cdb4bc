//! Log shippers and logging libraries that others wrote. Their configurations are those of GUIDE.md.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "octet",
    feature = "relp",
    feature = "lumberjack",
    feature = "forward",
    feature = "nul"
))]

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use rustix::process::Signal;

use crate::common::clients::*;
use crate::common::program::{Program, Stdout};
use crate::common::shipped::{MESSAGES, RSYSLOG_INPUT, Shipped, guide, refs, until};
use crate::common::skip::is_installed;

mod mixed;

#[test]
fn rsyslog_is_received_with_octet_counting_plain_and_compressed() {
    if !is_installed("rsyslogd") {
        return;
    }
    for compression in ["none", "stream:always"] {
        let shipped = Shipped::new();
        let program = receiver(&shipped);
        let config = RSYSLOG_INPUT.to_owned()
            + &guide("rsyslog", "text").replace("stream:always", compression);
        let _rsyslog = shipped.start_rsyslog(&config, program.address().port());
        check(&program.wait_for_printed_lines(MESSAGES));
    }
}

/// librelp sends again, after it has connected anew, what was not acknowledged.
#[test]
fn rsyslog_loses_no_message_over_relp_though_the_receiver_is_killed() {
    if !is_installed("rsyslogd") {
        return;
    }
    // By default, it waits for half a minute before it connects again.
    let config = RSYSLOG_INPUT.to_owned()
        + &guide("RELP", "text").replacen("action(", "action(action.resumeInterval=\"1\" ", 1);
    let shipped = Shipped::new();
    let kill = Kill::new(&shipped, &[], true);
    let _rsyslog = shipped.start_rsyslog(&config, kill.address.port());
    let (_receiver, _) = kill.and_restart(|| 0, syslog);
    let last = format!(" message {}\n", MESSAGES - 1);
    let received = shipped.wait_for("received", |text| text.contains(&last));
    every_message_is_in(&received, syslog);
}

#[test]
fn syslog_ng_is_received_with_octet_counting_and_by_the_line() {
    if !is_installed("syslog-ng") {
        return;
    }
    for (driver, end) in [
        ("syslog", "octet, truncated (no close_notify)"),
        ("network", "truncated (no close_notify)"),
    ] {
        let shipped = Shipped::new();
        let program = receiver(&shipped);
        let syslog_ng = shipped.start_syslog_ng(driver, program.address().port());
        check(&program.wait_for_printed_lines(MESSAGES));
        drop(syslog_ng);
        assert_eq!(program.wait_for_end().end, end);
    }
}

#[test]
fn log4j_is_received_with_octet_counting() {
    is_received(&LOG4J, "octet, clean");
}

#[test]
fn rfc5424_logging_handler_is_received_with_octet_counting() {
    is_received(&RFC5424, "octet, truncated (no close_notify)");
}

#[test]
fn pygelf_is_received_with_nul() {
    is_received(&PYGELF, "nul, truncated (no close_notify)");
}

#[test]
fn rsyslog_receives_the_frames_of_send() {
    if !is_installed("rsyslogd") {
        return;
    }
    let shipped = Shipped::new();
    let config = r#"
        global(workDirectory="DIR/state"
            defaultNetstreamDriverCAFile="DIR/ca.pem"
            defaultNetstreamDriverCertFile="DIR/server.pem"
            defaultNetstreamDriverKeyFile="DIR/server.pem")
        module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1"
            streamDriver.authMode="anon")
        template(name="raw" type="string" string="%rawmsg%\n")
        input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="DIR/state/port")
        action(type="omfile" file="DIR/state/received" template="raw")
    "#;
    let _rsyslog = shipped.start_rsyslog(config, 0);
    let port = shipped.wait_for("state/port", |port| !port.is_empty());
    let messages = (0..MESSAGES).map(|number| format!("<13>message {number}\n"));
    let messages: String = messages.collect();
    fs::write(shipped.path("messages"), &messages).unwrap();
    let outcome = Program::run(&[
        "send",
        "--framing",
        "octet",
        "--encode",
        "none",
        "--ca",
        &shipped.path("ca.pem"),
        &format!("localhost:{port}"),
        &shipped.path("messages"),
    ]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let received = shipped.wait_for("state/received", |text| text.len() >= messages.len());
    assert!(received == messages);
}

#[test]
fn pylogbeat_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&PYLOGBEAT);
}

#[test]
fn python_logstash_async_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&LOGSTASH_ASYNC);
}

#[test]
fn lumberjack_protocol_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&LUMBERJACK_PROTOCOL);
}

/// It reads no acknowledgements, and sends nothing again.
#[test]
fn lumberjack_client_is_received() {
    is_received(&LUMBERJACK_CLIENT, "lumberjack, clean");
}

#[test]
fn go_lumber_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&GO_LUMBER);
}

#[test]
fn node_client_of_fluent_org_loses_no_message_in_message_mode() {
    loses_nothing_in_mode(&FLUENT_ORG, "Message");
}

#[test]
fn node_client_of_fluent_org_loses_no_message_in_forward_mode() {
    loses_nothing_in_mode(&FLUENT_ORG, "Forward");
}

#[test]
fn node_client_of_fluent_org_loses_no_message_in_packed_forward_mode() {
    loses_nothing_in_mode(&FLUENT_ORG, "PackedForward");
}

#[test]
fn node_client_of_fluent_org_loses_no_message_in_compressed_packed_forward_mode() {
    loses_nothing_in_mode(&FLUENT_ORG, "CompressedPackedForward");
}

#[test]
fn node_client_of_fluent_org_loses_no_message_with_a_shared_key() {
    let shared_key = guide("Shared key", "js");
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(&key, "correct horse battery staple\n").unwrap();
    let key = key.path().to_str().unwrap();
    let args = ["--framing", "forward", "--forward-key", key];
    loses_nothing_with(&FLUENT_ORG, &args, |config| {
        config.replace("eventMode:", &format!("{shared_key}eventMode:"))
    });
}

#[test]
fn fluent_logger_for_node_loses_no_message_in_message_mode() {
    loses_nothing_in_mode(&FLUENT_LOGGER, "Message");
}

#[test]
fn fluent_logger_for_node_loses_no_message_in_packed_forward_mode() {
    loses_nothing_in_mode(&FLUENT_LOGGER, "PackedForward");
}

#[test]
fn fluent_logger_for_node_loses_no_message_in_compressed_packed_forward_mode() {
    loses_nothing_in_mode(&FLUENT_LOGGER, "CompressedPackedForward");
}

#[test]
fn fluency_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&FLUENCY);
}

#[test]
fn fluent_logger_for_go_loses_no_message_though_the_receiver_is_killed() {
    loses_nothing(&FLUENT_LOGGER_GO);
}

/// A receiver that requires certificates, and prints their names.
fn receiver(shipped: &Shipped) -> Program {
    let args = shipped.args(true);
    Program::start(&[&refs(&args)[..], &["--label"]].concat())
}

/// Sends all messages to one receiver.
fn is_received(kind: &Kind, end: &str) {
    let shipped = Shipped::new();
    let program = receiver(&shipped);
    let Some(mut sender) = Sender::start(&shipped, kind, program.address().port(), MESSAGES) else {
        return;
    };
    let printed = program.wait_for_printed_lines(kind.hellos() + MESSAGES);
    for (expected, line) in printed.lines().skip(kind.hellos()).enumerate() {
        let labelled = line.strip_prefix("web1.example@127.0.0.1:").unwrap();
        let (_, line) = labelled.split_once(' ').unwrap();
        assert_eq!((kind.number)(line), Some(expected), "{line}");
    }
    sender.succeed();
    assert_eq!(program.wait_for_end().end, end);
}

fn loses_nothing(kind: &Kind) {
    loses_nothing_with(kind, &[], |config| config);
}

fn loses_nothing_in_mode(kind: &Kind, mode: &str) {
    loses_nothing_with(kind, &[], |config| {
        config.replace("\"PackedForward\"", &format!("\"{mode}\""))
    });
}

/// Kills the receiver in the midst of the messages, and starts it again. The client has to send
/// again the messages that were not acknowledged.
fn loses_nothing_with(kind: &Kind, args: &[&str], change: impl FnOnce(String) -> String) {
    let shipped = Shipped::new();
    let kill = Kill::new(&shipped, args, kind.has_certificate);
    let messages = Messages::Count(MESSAGES);
    let Some(mut sender) =
        Sender::start_with(&shipped, kind, kill.address.port(), &messages, change)
    else {
        return;
    };
    let (receiver, told) = kill.and_restart(|| sender.acknowledged(), kind.number);
    sender.succeed();
    let received = fs::read_to_string(shipped.path("received")).unwrap();
    every_message_is_in(&received, kind.number);
    let ends = receiver.wait_for_ends(1);
    let clean = format!("{}, clean", kind.framing);
    assert!(ends.iter().all(|ended| ended.end == clean), "{ends:?}");
    // libtest shows this only if the test fails.
    println!("{:?}: {told} acknowledged at the kill", kind.command);
}

/// A receiver that writes to the file `received`, to be killed.
struct Kill<'a> {
    shipped: &'a Shipped,
    args: Vec<String>,
    receiver: Program,
    address: SocketAddr,
    /// A socket that keeps the port from others while nobody listens.
    reserved: OwnedFd,
}

impl<'a> Kill<'a> {
    fn new(shipped: &'a Shipped, more: &[&str], requires_certificate: bool) -> Self {
        let mut args = shipped.args(requires_certificate);
        args.extend(["--output".to_owned(), shipped.path("received")]);
        args.extend(more.iter().map(|&argument| argument.to_owned()));
        let (reserved, address) = reserve();
        let receiver = Program::start_on(&[&address.to_string()], &refs(&args), Stdout::Collected);
        Kill {
            shipped,
            args,
            receiver,
            address,
            reserved,
        }
    }

    /// Kills the receiver when it has written a tenth of the messages, and starts another one in
    /// its place. Returns that, and how many messages had been acknowledged.
    fn and_restart(
        self,
        acknowledged: impl Fn() -> usize,
        number: fn(&str) -> Option<usize>,
    ) -> (Program, usize) {
        let path = self.shipped.path("received");
        let written = || fs::read_to_string(&path).unwrap_or_default();
        until("a tenth of the messages", Duration::from_millis(1), || {
            (written().matches('\n').count() >= MESSAGES / 10).then_some(())
        });
        self.receiver.signal(Signal::KILL);
        drop(self.receiver);
        let numbers = numbers(&written(), number);
        assert!(numbers.len() < MESSAGES, "the receiver is killed too late");
        // A sender that connects again has read its acknowledgements.
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        until("the sender to connect", Duration::from_millis(10), || {
            listener.accept().ok()
        });
        drop(listener);
        let told = acknowledged();
        assert!(
            numbers.len() >= told,
            "{told} messages are acknowledged, and {} written",
            numbers.len()
        );
        let listen = self.address.to_string();
        let again = Program::start_on(&[&listen], &refs(&self.args), Stdout::Collected);
        drop(self.reserved);
        (again, told)
    }
}

/// A free port, and a socket that is bound to it. Who listens on it must set SO_REUSEADDR, as the
/// program does.
fn reserve() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

/// Checks that each message is a line of its own, in order, behind its sender's name.
fn check(printed: &str) {
    for (number, line) in printed.lines().enumerate() {
        assert!(line.starts_with("web1.example@127.0.0.1:"), "{line}");
        assert!(line.ends_with(&format!(" message {number}")), "{line}");
    }
}

/// The numbers of the messages that are in the text, each once.
fn numbers(text: &str, number: fn(&str) -> Option<usize>) -> BTreeSet<usize> {
    text.lines().filter_map(number).collect()
}

fn every_message_is_in(text: &str, number: fn(&str) -> Option<usize>) {
    let numbers = numbers(text, number);
    let missing: Vec<_> = (0..MESSAGES).filter(|at| !numbers.contains(at)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} of {} lines",
        text.lines().count()
    );
    // The line at which the receiver was killed may be cut off, and some clients say hello first.
    let others = text.lines().filter(|line| number(line).is_none());
    let others: Vec<_> = others.filter(|line| !line.contains("hello")).collect();
    assert!(others.len() <= 1, "{others:?}");
}
