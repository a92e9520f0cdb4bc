//! One connection of a resumed stream.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_lite::{FutureExt, future};
use smol::Timer;
use smol::net::TcpStream;
use tlsink::client::{Connector, ResumeError, ResumedSender, SendError, ServerAlert};
use tlsink::resume::{Position, Preamble};

use super::super::super::address::HostPort;
use super::super::super::args::SendArgs;
use super::super::super::say::Say;
use super::super::super::{Failure, count::Count};
use super::super::encode::{Goal, StreamEncoder};
use super::super::receipt::{Receipt, ReceiptStatus};
use super::super::{REST, STAY, connect, unanswered, unconfirmed_by};
use super::feed::Feed;

/// The time for the server to say how much of the stream it has.
const OPENING: Duration = Duration::from_secs(10);

/// The time for the server to answer the end of a connection over which nothing was sent.
const LEAVING: Duration = Duration::from_secs(1);

/// The remedy for a server that does not know resumed streams.
const NO_STATE: &str =
    "the server must be a tlsink of this version or a later one, with --state DIR or --kafka";

/// The reason why a connection is over, and the stream is not.
pub(super) enum Break {
    /// Another try would end in the same way.
    Fatal(Failure),
    /// Another try may do better.
    Outage(String),
    /// Another connection goes on with the stream.
    TakenOver(String),
    /// The server asks to go on over another connection.
    Go(String),
    /// The server lacks bytes that other servers have: the stream can go on only under another name.
    Elsewhere(String),
    /// The server has something else than was sent: the stream can go on only under another name.
    Contradicted(String),
}

impl From<Failure> for Break {
    fn from(failure: Failure) -> Self {
        Break::Fatal(failure)
    }
}

/// A connection on which the stream is open.
pub(super) struct Session<'a> {
    to: &'a HostPort,
    /// The same as text.
    server: String,
    say: &'a Say,
    link: ResumedSender<TcpStream>,
    encoder: StreamEncoder,
    /// The offset from which on this connection has the stream, and that behind what was sent.
    from: u64,
    sent: u64,
    is_finished: bool,
}

/// The next thing to do.
enum Work {
    Acknowledged,
    Fed,
    Flush,
}

impl<'a> Session<'a> {
    /// Connects to the server, names the stream, and waits for the position at which it goes on.
    ///
    /// A server that was `known` to take resumed streams may have a reason for being slow.
    pub(super) async fn open(
        args: &SendArgs,
        server: &'a (HostPort, String),
        connector: &Connector,
        preamble: &Preamble,
        known: bool,
        say: &'a Say,
    ) -> Result<Self, Break> {
        let (to, name) = server;
        let (sender, _) = connect::attempt(args, (to, name), connector, say)
            .await
            .map_err(|error| match error.may_pass {
                true => Break::Outage(error.failure.what),
                false => Break::Fatal(error.failure),
            })?;
        let heard = Cell::new(Instant::now());
        let late = async {
            while let Some(rest) = OPENING.checked_sub(heard.get().elapsed()) {
                Timer::after(rest).await;
            }
            let what = format!(
                "{to}: the server did not say within {} s how much of the stream it has",
                OPENING.as_secs()
            );
            Err(match known {
                true => Break::Outage(what),
                false => Break::Fatal(Failure::failed(what).hint(NO_STATE)),
            })
        };
        let opened = async {
            let opened = ResumedSender::open(sender, preamble, || heard.set(Instant::now()));
            opened.await.map_err(|error| unopened(args, to, &error))
        };
        let link = opened.or(late).await?;
        let from = link.at().offset;
        Ok(Session {
            to,
            server: to.to_string(),
            say,
            link,
            encoder: StreamEncoder::new(args.encode, args.compression)?,
            from,
            sent: from,
            is_finished: false,
        })
    }

    /// The position at which the stream goes on, as the server has it.
    pub(super) fn at(&self) -> Position {
        self.link.at()
    }

    /// Whether the server has acknowledged bytes that were sent over this connection.
    pub(super) fn has_progressed(&self) -> bool {
        self.link.acknowledged() > self.from
    }

    /// Compares the position that the server has with the stream, which may have to be read up to
    /// there. Everything before it is acknowledged then.
    pub(super) async fn reconcile(
        &mut self,
        feed: &mut Feed,
        stream: &str,
        accept_gap: bool,
    ) -> Result<(), Break> {
        let (to, at) = (self.to, self.at());
        let first = feed.backlog().acknowledged();
        if at.offset < first.offset {
            let missing = self.missing(feed, stream, accept_gap);
            if let Break::Elsewhere(_) = missing {
                self.leave().await;
            }
            return Err(missing);
        }
        feed.set_catching_up(true);
        let caught_up = self.catch_up(feed, stream).await;
        feed.set_catching_up(false);
        caught_up?;
        if feed.backlog().position(at.offset) != Some(at) {
            return Err(Break::Contradicted(format!(
                "{to}: the {} bytes of {stream:?} that the server has are not those that are here",
                at.offset
            )));
        }
        feed.acknowledge(at.offset, &self.server);
        Ok(())
    }

    /// The break of a server that has less of the stream than is acknowledged.
    fn missing(&self, feed: &Feed, stream: &str, accept_gap: bool) -> Break {
        let (to, at) = (self.to, self.at().offset);
        let own = feed.server(&self.server).acknowledged;
        if at >= own {
            return Break::Elsewhere(format!(
                "{to}: the server has all {at} bytes of {stream:?} that it acknowledged; other \
                 servers have the bytes behind them"
            ));
        }
        let what = format!(
            "{to}: the server has only {at} of the {own} bytes of {stream:?} that it acknowledged"
        );
        match accept_gap {
            true => Break::Contradicted(what),
            false => Break::Fatal(Failure::failed(what).hint(
                "another server may have them; --accept-gap goes on without them, as a new stream",
            )),
        }
    }

    /// Ends the connection, over which nothing was sent: to the server, this is no break.
    async fn leave(&mut self) {
        let left = async {
            // Whatever the server answers, the stream goes on under another name.
            let _ = self.link.finish().await;
        };
        let late = async {
            Timer::after(LEAVING).await;
        };
        left.or(late).await;
    }

    /// Reads the stream up to the position that the server has.
    async fn catch_up(&mut self, feed: &mut Feed, stream: &str) -> Result<(), Break> {
        let (to, at) = (self.to, self.at());
        while feed.backlog().end() < at.offset {
            if feed.is_cut_short() {
                let what = format!("{to}: stopped while reading again what the server has");
                return Err(Break::Fatal(Failure::failed(what)));
            }
            if feed.is_at_rest() {
                let what = format!(
                    "{to}: the server has {} bytes of {stream:?}, of which there are only {} here",
                    at.offset,
                    feed.backlog().end()
                );
                return Err(Break::Contradicted(what));
            }
            let ended = async {
                let ended = self.link.acknowledgement().await;
                ended.map_err(|error| broken(to, &error)).map(drop)
            };
            let fed = async { feed.work().await.map_err(Break::from) };
            ended.or(fed).await?;
        }
        Ok(())
    }

    /// Sends the stream until it ends, or until no more of it can be read before a part of a line is
    /// acknowledged, which is so only at a stream's end; waits until the server keeps all of it.
    pub(super) async fn run(&mut self, feed: &mut Feed) -> Result<(), Break> {
        let ran = self.send_all(feed).await;
        if !self.is_finished {
            feed.acknowledge(self.link.acknowledged(), &self.server);
        }
        ran?;
        feed.acknowledge(self.sent, &self.server);
        Ok(())
    }

    async fn send_all(&mut self, feed: &mut Feed) -> Result<(), Break> {
        // The time since which data may be in the codec, and the time by which it must be flushed.
        let mut unflushed: Option<(Instant, Instant)> = None;
        loop {
            feed.acknowledge(self.link.acknowledged(), &self.server);
            let due = unflushed.map(|(_, due)| due);
            if due.is_some_and(|due| due <= Instant::now()) {
                self.flush().await?;
                unflushed = None;
                continue;
            }
            if let Some(bytes) = feed.backlog().from(self.sent) {
                self.send(bytes).await?;
                feed.show_standing();
                // As in a stream of one connection, signals need a turn.
                future::yield_now().await;
                let now = Instant::now();
                let since = unflushed.map_or(now, |(since, _)| since);
                unflushed = Some((since, (now + REST).min(since + STAY)));
                continue;
            }
            if feed.has_ended() || feed.is_full_of_one_line() {
                return self.finish(feed).await;
            }
            match self.next(feed, due).await? {
                Work::Acknowledged | Work::Fed => {}
                Work::Flush => {
                    self.flush().await?;
                    unflushed = None;
                }
            }
        }
    }

    async fn next(&mut self, feed: &mut Feed, due: Option<Instant>) -> Result<Work, Break> {
        let acknowledged = async {
            let acknowledged = self.link.acknowledgement().await;
            acknowledged.map_err(|error| broken(self.to, &error))?;
            Ok(Work::Acknowledged)
        };
        let fed = async {
            feed.work().await?;
            Ok(Work::Fed)
        };
        let rested = async {
            match due {
                Some(due) => Timer::at(due).await,
                None => future::pending().await,
            };
            Ok(Work::Flush)
        };
        acknowledged.or(fed).or(rested).await
    }

    /// Sends the next bytes of the stream.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Break> {
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        self.encode(bytes, Goal::Take).await
    }

    async fn flush(&mut self) -> Result<(), Break> {
        self.encode(&[], Goal::Flush).await?;
        let flushed = self.link.flush().await;
        flushed.map_err(|error| broken(self.to, &error))
    }

    async fn encode(&mut self, bytes: &[u8], goal: Goal) -> Result<(), Break> {
        let send = async |encoded: &[u8]| self.link.send(encoded, self.sent).await;
        let sent = self.encoder.encode(bytes, goal, send).await?;
        sent.map_err(|error| broken(self.to, &error))
    }

    /// Ends the stream, and waits for the receipt.
    async fn finish(&mut self, feed: &Feed) -> Result<(), Break> {
        self.encode(&[], Goal::Finish).await?;
        let to = self.to;
        let waiting = unanswered(self.say, unconfirmed_by(to));
        let finished = self.link.finish().or(waiting).await;
        let receipt = finished.map_err(|error| broken(to, &error))?;
        self.is_finished = true;
        let sent = self.sent.saturating_sub(self.from);
        // What was sent last is not acknowledged yet, so its position is known.
        let end = feed.backlog().position(self.sent);
        let crc32c = end.map_or(0, |end| end.checksum_since(self.at()));
        let what = match Receipt::parse(&receipt) {
            Some(Receipt {
                delivered,
                status: ReceiptStatus::Whole { crc32c: theirs },
                ..
            }) => {
                if (delivered, theirs) == (sent, crc32c) {
                    return Ok(());
                }
                format!(
                    "{to}: the receipt does not match: {} delivered with crc32c {theirs:08x}, not \
                     {sent} with {crc32c:08x}",
                    Count(delivered, "byte")
                )
            }
            _ => format!("{to}: the server's answer is not a receipt"),
        };
        Err(Failure::failed(what).into())
    }
}

/// The break before the server said how much of the stream it has.
fn unopened(args: &SendArgs, to: &HostPort, error: &ResumeError) -> Break {
    let failure = Failure::failed(format!("{to}: {error}"));
    match error {
        ResumeError::Connection(SendError::Alert(alert)) if !may_pass(alert) => {
            Break::Fatal(connect::alerted(failure, alert, args))
        }
        // The server takes the name of the stream for data that it can't decode.
        ResumeError::Ended { reason } if !reason.starts_with("cut ") => {
            Break::Fatal(failure.hint(NO_STATE))
        }
        ResumeError::NoAnswer { .. } => Break::Fatal(failure.hint(NO_STATE)),
        // It may be stopping, or it may not be able to decode the name.
        ResumeError::Connection(SendError::NoCloseNotify | SendError::Ended) => {
            Break::Outage(format!(
                "{to}: the server closed the connection before it said how much of the stream it \
                 has (it needs --state or --kafka)"
            ))
        }
        error => broken(to, error),
    }
}

/// The break of a connection on which the stream was open.
fn broken(to: &HostPort, error: &ResumeError) -> Break {
    let what = format!("{to}: {error}");
    match error {
        ResumeError::Connection(_) | ResumeError::Ended { .. } => Break::Outage(what),
        ResumeError::TakenOver => Break::TakenOver(what),
        ResumeError::Go => Break::Go(what),
        _ => Break::Fatal(Failure::failed(what)),
    }
}

/// Whether a server may send the alert because of its own state (RFC 8446, section 6): it fails, or
/// stops.
fn may_pass(alert: &ServerAlert) -> bool {
    matches!(
        &*alert.alert.to_string(),
        "internal_error" | "user_canceled"
    )
}
