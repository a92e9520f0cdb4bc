//! Sending: compresses a file or standard input, sends it, and finds out whether it arrived.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_lite::{FutureExt, future};
use smol::Timer;
use smol::net::TcpStream;
use tlsink::client::{SendError, Sender};

use super::Failure;
use super::address::HostPort;
use super::args::{LineFraming, SendArgs, Trust};
use super::count::Count;
use super::encoding::Encoding;
use super::platform;
use super::say::Say;

mod connect;
mod elapsed;
mod encode;
mod follow;
mod frame;
mod input;
mod progress;
mod receipt;
mod recent_rate;
mod relp;
mod resume;
mod stop;

use encode::{Goal, StreamEncoder};
use frame::LineBuffer;
use input::{Input, InputPiece};
use progress::Progress;
use receipt::{Receipt, ReceiptStatus};
use relp::{Lines, Session, SessionError, WINDOW};
use stop::{StopSignals, Stopped};

/// The pause in live input after which all data is flushed: longer than a pause within a burst, and
/// too short to be noticed.
const REST: Duration = Duration::from_millis(50);

/// The longest time that data stays unflushed when live input never pauses.
const STAY: Duration = Duration::from_millis(500);

/// The most bytes that a server may answer to a sender that wants no receipt. They are ignored, but in
/// RELP, where they are taken as they come: the answers to all frames of a window are shorter.
const CHATTER: usize = 64 << 10;

/// The number of frames without an answer up to which a full window has to fall before it takes more.
/// If each answer made room for one frame, each frame would be compressed and sent by itself.
const REFILL: usize = WINDOW / 2;

/// The time for a RELP server to end the connection, once it has acknowledged everything.
const PARTING: Duration = Duration::from_secs(2);

/// The time after which a message says that the server has yet to answer.
const UNANSWERED: Duration = Duration::from_secs(10);

/// The meaning of a missing close_notify. Other servers may omit it after every stream.
const NOT_TAKEN: &str =
    "a tlsink server sends it only for a stream that it took whole; its log has the reason";

/// The remedy for a RELP server that ends the connection before it opens the session.
const NO_COMPRESSION: &str = "of RELP servers, only tlsink decompresses; others need --encode none";

/// Sends, and waits until the server confirms that it has everything.
///
/// # Errors
///
/// When the stream was not sent whole, or was not confirmed.
pub(crate) fn run(args: &SendArgs, say: &Say) -> Result<(), Failure> {
    let say = say.with_level(args.level);
    if let Some(resumed) = &args.resume {
        return resume::run(args, resumed, &say);
    }
    let encoder = StreamEncoder::new(args.encode, args.compression)?;
    let answer = if args.receipt {
        receipt::LIMIT
    } else {
        CHATTER
    };
    let connector = connect::connector(args, answer)?;
    let mut input = Input::open(args.file.as_deref(), &say)?;
    let signals = StopSignals::handle()?;
    warn_if_unverified(args, &args.to, &say);
    let ending = input.ending.take();
    let open = Cell::new(false);
    let lines = Cell::new(Lines::default());
    let stopped = async {
        let to = &args.to;
        let input = || ending.filter(|_| open.get());
        Err(Failure::failed(match signals.stopped(input, &say).await {
            Stopped::AtOnce => format!("{to}: stopped before the server had everything"),
            Stopped::Late(limit) => {
                format!("{to}: the server did not have everything {limit} s after the signal")
            }
        }))
    };
    let sending = async {
        if !input.live {
            input.read_ahead().await?;
        }
        let (sender, socket) = connect::connect(args, &connector, &say).await?;
        open.set(true);
        let progress = Progress::new(args, &input, &lines, &say);
        let sending = Sending {
            args,
            sender,
            socket,
            line: LineBuffer::default(),
            session: Session::default(),
            lines: &lines,
            encoder,
            sent: Sent::default(),
            progress: &progress,
        };
        sending.run(input, &say).or(progress.show(&say)).await
    };
    let done = smol::block_on(stopped.or(sending)).map_err(|failure| match lines.get() {
        Lines { sent: 0, .. } => failure,
        lines => failure.more(&format!("the server acknowledged {lines}")),
    })?;
    say.info(&done);
    Ok(())
}

/// A stream on its way.
struct Sending<'a> {
    args: &'a SendArgs,
    sender: Sender<TcpStream>,
    socket: TcpStream,
    /// The beginning of a line, if frames are made of lines.
    line: LineBuffer,
    /// The session, in RELP.
    session: Session,
    /// The lines of the session, for whoever reports its end.
    lines: &'a Cell<Lines>,
    encoder: StreamEncoder,
    sent: Sent,
    progress: &'a Progress<'a>,
}

/// The amounts sent so far, and the checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sent {
    plain: u64,
    encoded: u64,
    /// The checksum of the plain bytes.
    crc32c: u32,
}

/// The next thing to do.
enum Work {
    Input(InputPiece),
    Flush,
    /// In RELP: bytes of the server's answers.
    Answers(Vec<u8>),
}

impl Sending<'_> {
    /// Sends the input, and returns a message for the user. On failure, the connection is dropped
    /// without a close_notify, which tells the receiver that the stream is not whole.
    async fn run(mut self, mut input: Input, say: &Say) -> Result<String, Failure> {
        // The time since which data may be in the codec, and the time by which it must be flushed.
        let mut unflushed: Option<(Instant, Instant)> = None;
        if self.is_relp() {
            self.open(say).await?;
        }
        input.hint(say);
        loop {
            match self.next(&mut input, unflushed.map(|(_, due)| due)).await? {
                Work::Input(InputPiece::Bytes(buffer, len)) => {
                    let bytes = buffer.get(..len).unwrap_or_default();
                    self.send(bytes).await?;
                    input.give_back(buffer);
                    self.progress.add(len);
                    // Where the codec is slower than the file and the connection, nothing else here
                    // ever waits, and signals and the progress would have no turn.
                    future::yield_now().await;
                    if input.live {
                        let now = Instant::now();
                        let since = unflushed.map_or(now, |(since, _)| since);
                        unflushed = Some((since, (now + REST).min(since + STAY)));
                    }
                }
                Work::Input(InputPiece::End) => break,
                Work::Flush => {
                    self.flush().await?;
                    unflushed = None;
                }
                Work::Answers(answers) => self.take(&answers)?,
            }
        }
        if !self.line.is_empty() {
            let mut framed = Vec::new();
            self.frame(&mut framed).await?;
            self.send_plain(&framed).await?;
        }
        if self.is_relp() {
            self.flush().await?;
            return self.close(say).await;
        }
        self.encode(&[], Goal::Finish).await?;
        self.finish(say).await
    }

    fn is_relp(&self) -> bool {
        self.args.framing == LineFraming::Relp
    }

    async fn next(&mut self, input: &mut Input, due: Option<Instant>) -> Result<Work, Failure> {
        let is_relp = self.is_relp();
        let ended = async {
            if !is_relp {
                return Err(self.sender.ended().await);
            }
            let answers = self.sender.take_answer().await?;
            Ok(Ok(Work::Answers(answers)))
        };
        let piece = async { Ok(input.next().await.map(Work::Input)) };
        let rested = async {
            match due {
                Some(due) => Timer::at(due).await,
                None => future::pending().await,
            };
            Ok(Ok(Work::Flush))
        };
        // An overdue flush precedes further input, which may never pause.
        let overdue = due.is_some_and(|due| due <= Instant::now());
        let next = match overdue {
            true => ended.or(rested).await,
            false => ended.or(piece).or(rested).await,
        };
        next.map_err(|error| self.failure(&error))?
    }

    /// Sends the next bytes of the input.
    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        if self.args.framing == LineFraming::None {
            return self.send_plain(bytes).await;
        }
        let mut framed = Vec::new();
        while self.line.fill(&mut bytes)? {
            self.frame(&mut framed).await?;
        }
        self.send_plain(&framed).await
    }

    /// Appends the frame of the line to `framed`. In RELP, this sends `framed` and waits for answers
    /// when the window is full.
    async fn frame(&mut self, framed: &mut Vec<u8>) -> Result<(), Failure> {
        if !self.is_relp() {
            self.line.frame(framed);
            return Ok(());
        }
        if self.session.outstanding() >= WINDOW {
            self.send_plain(framed).await?;
            framed.clear();
            self.flush().await?;
            while self.session.outstanding() > REFILL {
                self.take_answers().await?;
            }
        }
        self.line.frame_in(&mut self.session, framed);
        self.lines.set(self.session.lines());
        Ok(())
    }

    /// Opens the session, and waits until the server has done so too.
    async fn open(&mut self, say: &Say) -> Result<(), Failure> {
        let mut framed = Vec::new();
        self.session.open(&mut framed);
        self.send_plain(&framed).await?;
        self.flush().await?;
        let to = &self.args.to;
        let late = unanswered(
            say,
            format!("{to}: waiting for the server to open the RELP session"),
        );
        let opened = async {
            while self.session.is_opening() {
                self.take_answers().await?;
            }
            Ok(())
        };
        opened.or(late).await
    }

    /// Closes the session once every line is acknowledged, waits until the server has done so too, and
    /// ends the stream. The server's own end confirms nothing more, and may lack a close_notify.
    async fn close(mut self, say: &Say) -> Result<String, Failure> {
        self.progress.wait_for("the server");
        let late = unanswered(say, unconfirmed_by(&self.args.to));
        let closed = async {
            while self.session.outstanding() > 0 {
                self.take_answers().await?;
            }
            let mut framed = Vec::new();
            self.session.close(&mut framed);
            self.send_plain(&framed).await?;
            self.encode(&[], Goal::Finish).await?;
            let flushed = self.sender.flush().await;
            flushed.map_err(|error| self.failure(&error))?;
            while !self.session.is_closed() {
                self.take_answers().await?;
            }
            Ok(())
        };
        match closed.or(late).await {
            // The answer came together with the server's end.
            Err(_) if self.session.is_closed() => {}
            closed => closed?,
        }
        let finished = async {
            let _ = self.sender.finish().await;
        };
        let late = async {
            Timer::after(PARTING).await;
        };
        finished.or(late).await;
        let acknowledged = Count(self.session.lines().acknowledged, "line");
        Ok(format!("{}, {acknowledged} acknowledged", self.done(say)))
    }

    /// Waits for answers of the server, and takes them.
    async fn take_answers(&mut self) -> Result<(), Failure> {
        let answers = self.sender.take_answer().await;
        let answers = answers.map_err(|error| self.failure(&error))?;
        self.take(&answers)
    }

    /// Takes answers of the server.
    fn take(&mut self, answers: &[u8]) -> Result<(), Failure> {
        let taken = self.session.take(answers);
        self.lines.set(self.session.lines());
        taken.map_err(|error| self.broken(&error))
    }

    /// Sends bytes that the receiver gets as they are.
    async fn send_plain(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sent.crc32c = crc32c::crc32c_append(self.sent.crc32c, bytes);
        self.sent.plain = self.sent.plain.saturating_add(bytes.len() as u64);
        self.encode(bytes, Goal::Take).await
    }

    /// Sends all data that waits in the encoder.
    async fn flush(&mut self) -> Result<(), Failure> {
        self.encode(&[], Goal::Flush).await?;
        let flushed = self.sender.flush().await;
        flushed.map_err(|error| self.failure(&error))?;
        if self.is_relp() {
            // After a write, Linux delays its acknowledgement of what comes by 40 ms. A server with
            // Nagle's algorithm (RFC 896) on, such as rsyslog, sends its second answer only then. The
            // kernel resets the flag with the next write (tcp(7), `TCP_QUICKACK`).
            platform::acknowledge_at_once(&self.socket);
        }
        Ok(())
    }

    async fn encode(&mut self, bytes: &[u8], goal: Goal) -> Result<(), Failure> {
        let send = async |encoded: &[u8]| {
            self.sent.encoded = self.sent.encoded.saturating_add(encoded.len() as u64);
            self.sender.send(encoded).await
        };
        let sent = self.encoder.encode(bytes, goal, send).await?;
        sent.map_err(|error| self.failure(&error))
    }

    /// Ends the stream, and waits for the server's answer without a limit: a slow receiver is still
    /// at work, and TCP detects one that has vanished.
    async fn finish(mut self, say: &Say) -> Result<String, Failure> {
        self.progress.wait_for(match self.args.receipt {
            true => "the receipt",
            false => "the server",
        });
        let waiting = unanswered(say, unconfirmed_by(&self.args.to));
        let finished = self.sender.finish().or(waiting).await;
        finished.map_err(|error| self.failure(&error))?;
        let receipt = match self.args.receipt {
            true => {
                self.check()?;
                ", receipt matches"
            }
            false => "",
        };
        Ok(format!("{}{receipt}", self.done(say)))
    }

    /// The message on a stream that the server has. The exact numbers, which the server's log has too,
    /// are a detail.
    fn done(&self, say: &Say) -> String {
        let Sent { plain, encoded, .. } = self.sent;
        let to = &self.args.to;
        say.detail(|| format!("{to}: {} sent as {encoded}", Count(plain, "byte")));
        format!("sent {}", self.progress.account(self.args, encoded))
    }

    /// Compares the receipt with the stream that was sent.
    fn check(&self) -> Result<(), Failure> {
        let to = &self.args.to;
        let answer = self.sender.answer();
        let receipt = match Receipt::parse(answer) {
            Some(receipt) => receipt,
            None if answer.is_empty() => {
                return Err(Failure::failed(format!("{to}: the server gave no receipt"))
                    .hint("the server must run with --receipt"));
            }
            None => {
                return Err(Failure::failed(format!(
                    "{to}: the server's answer is not a receipt"
                )));
            }
        };
        let crc32c = match receipt.status {
            ReceiptStatus::Failed { .. } => return Err(self.failed(&receipt)),
            ReceiptStatus::Whole { crc32c } => crc32c,
        };
        let Sent {
            plain,
            encoded,
            crc32c: own,
        } = self.sent;
        let mut differences = Vec::new();
        if receipt.received != encoded {
            let received = Count(receipt.received, "byte");
            let were = if encoded == 1 { "was" } else { "were" };
            differences.push(format!("{received} received, but {encoded} {were} sent"));
        }
        if receipt.delivered != plain {
            let delivered = Count(receipt.delivered, "byte");
            differences.push(format!("{delivered} delivered, not {plain}"));
        }
        if crc32c != own {
            differences.push(format!("their crc32c is {crc32c:08x}, not {own:08x}"));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let failure = Failure::failed(format!(
            "{to}: the receipt does not match: {}",
            differences.join("; ")
        ));
        Err(match self.args.encode {
            Encoding::None if receipt.received == encoded => failure.hint(
                "it may have decompressed data that was compressed before; -d none there passes it on",
            ),
            _ => failure,
        })
    }

    /// The failure for a receipt that denies that the server has everything.
    fn failed(&self, receipt: &Receipt) -> Failure {
        let Receipt {
            received,
            delivered,
            status,
        } = receipt;
        let reason = match status {
            ReceiptStatus::Failed { reason } => reason,
            ReceiptStatus::Whole { .. } => "it ended early",
        };
        Failure::failed(format!(
            "{}: the server did not take the whole stream: {reason}; {} received, {delivered} delivered",
            self.args.to,
            Count(*received, "byte")
        ))
    }

    /// The failure for a stream that can't go on.
    fn failure(&mut self, error: &SendError) -> Failure {
        if self.is_relp() {
            // The answers before the end are there; a refusal among them is the reason.
            let answers = self.sender.answer().to_vec();
            if let Err(failure) = self.take(&answers) {
                return failure;
            }
        }
        // A server that refuses the stream sends a receipt with the reason, and ends the stream.
        if self.args.receipt
            && let Some(receipt) = Receipt::parse(self.sender.answer())
        {
            return self.failed(&receipt);
        }
        let failure = Failure::failed(format!("{}: {error}", self.args.to));
        match error {
            SendError::Alert(alert) => connect::alerted(failure, alert, self.args),
            _ if self.is_misunderstood() => failure.hint(NO_COMPRESSION),
            SendError::NoCloseNotify => failure.hint(match self.args.receipt || self.is_relp() {
                true => NOT_TAKEN.to_owned(),
                false => format!("{NOT_TAKEN}; with --receipt on both sides, it is shown here too"),
            }),
            _ => failure,
        }
    }

    /// The failure for a session that can't go on.
    fn broken(&self, error: &SessionError) -> Failure {
        let failure = Failure::failed(format!("{}: {error}", self.args.to));
        match error {
            SessionError::Invalid(_) | SessionError::Closed if self.is_misunderstood() => {
                failure.hint(NO_COMPRESSION)
            }
            _ => failure,
        }
    }

    /// Whether the server may take no compression: it has not opened the session.
    fn is_misunderstood(&self) -> bool {
        self.is_relp() && self.session.is_opening() && self.args.encode != Encoding::None
    }
}

/// Says that the server is not verified, if it is so.
fn warn_if_unverified(args: &SendArgs, to: &HostPort, say: &Say) {
    if let Trust::Anyone = args.trust {
        say.warning(&format!(
            "{to}: the server is not verified; any server at this address receives the data"
        ));
    }
}

/// Says this when the server has not answered for a while.
async fn unanswered<T>(say: &Say, text: String) -> T {
    Timer::after(UNANSWERED).await;
    say.info(&text);
    future::pending().await
}

/// The message when the server has yet to confirm a whole stream.
fn unconfirmed_by(to: &HostPort) -> String {
    format!("{to}: everything is sent; waiting for the server to confirm it")
}
