//! A resumed stream to a server.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use serde_json::Value;

use super::error::SendError;
use super::sender::Sender;
use crate::resume::{Answer, MAX_LINE, Position, Preamble};

/// The most bytes of acknowledgements that wait while nothing is called. A server may acknowledge
/// each line, and a sender may be busy with its own input for a while.
const MAX_UNREAD: usize = 256 << 10;

/// The beginning of a receipt's reason when another connection goes on with the stream.
const TAKEN_OVER: &str = "cut (another connection took the stream over";

/// A stream to a server that outlives its connection: the server says how much of it there is, and
/// acknowledges what it keeps. The module [`resume`](crate::resume) has the lines that both sides
/// speak.
///
/// What was not acknowledged when a connection breaks has to be sent again on the next one, from the
/// position that its server [has](Self::at). So the sender keeps these bytes until then.
///
/// All calls read the server's answers, and check them. The first error stays: each later call
/// returns it again. No call blocks its thread, spawns a task or starts a timer: a server that is silent
/// lets calls wait for ever, unless the caller sets deadlines.
///
/// Offsets are numbers of bytes of the stream itself, from its start on, whatever is compressed or
/// sent over this connection. Dropping the sender closes the transport without a close_notify: the
/// server keeps what it has acknowledged, and the stream can go on over another connection.
///
/// ```no_run
/// use smol::net::TcpStream;
/// use tlsink::client::{Connector, ResumedSender, ServerVerifier};
/// use tlsink::resume::{Position, Preamble};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let log = std::fs::read("app.log")?;
///     let connector = Connector::new(ServerVerifier::from_ca_pem_file("ca.pem")?)?;
///     smol::block_on(async {
///         let tcp = TcpStream::connect("127.0.0.1:4433").await?;
///         let sender = connector.connect("localhost", tcp).await?;
///         let preamble = Preamble::new("web1/app.log", Position::START)?;
///         let mut sender = ResumedSender::open(sender, &preamble, || {}).await?;
///
///         // The server may have a part of it, from an earlier connection.
///         let at = sender.at();
///         let (there, rest) = usize::try_from(at.offset)
///             .ok()
///             .and_then(|at| log.split_at_checked(at))
///             .ok_or("the server has more than there is")?;
///         if Position::START.behind(there) != at {
///             return Err("the server has something else".into());
///         }
///         sender.send(rest, log.len() as u64).await?;
///         sender.finish().await?;
///         println!("the server keeps all {} bytes", log.len());
///         Ok(())
///     })
/// }
/// ```
pub struct ResumedSender<IO> {
    sender: Sender<IO>,
    at: Position,
    /// The offset before which the server keeps everything.
    acknowledged: u64,
    /// The acknowledgement that [`acknowledgement`](Self::acknowledgement) returned last.
    reported: u64,
    /// The offset before which everything may have been sent.
    sent: u64,
    /// The beginning of an answer.
    line: Vec<u8>,
    receipt: Option<Vec<u8>>,
    failed: Option<ResumeError>,
}

/// The reason why a resumed stream can't go on over this connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeError {
    /// The connection ended. What was not acknowledged may be sent again over another one.
    Connection(SendError),
    /// The server does not take the stream.
    Refused {
        /// The reason, in the server's words.
        reason: String,
    },
    /// The server ended the stream, and says so in its receipt. What was not acknowledged may be sent
    /// again over another connection.
    Ended {
        /// The reason, in the server's words.
        reason: String,
    },
    /// Another connection goes on with the stream: a second sender may be using its name.
    TakenOver,
    /// The server has acknowledged what it keeps, and asks to go on over another connection, to another
    /// server if there is one. What was not acknowledged has to be sent again over that.
    Go,
    /// The server sent something else than an answer to a resumed stream, or not in its place.
    NoAnswer {
        /// The line, or its beginning.
        line: String,
    },
    /// The server acknowledged less than before.
    AcknowledgedLess {
        /// The offset before which it had acknowledged everything.
        before: u64,
        /// The offset that it acknowledged then.
        offset: u64,
    },
    /// The server acknowledged bytes that were not sent.
    AcknowledgedMore {
        /// The offset before which everything was sent.
        sent: u64,
        /// The offset that it acknowledged.
        offset: u64,
    },
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ResumedSender<IO> {
    /// Names the stream, and waits until the server says how much of it there is.
    ///
    /// A server that does not know resumed streams may take the name as data and never answer: the
    /// caller sets a deadline. One that needs more time says so, and `on_waiting` is called: the deadline
    /// begins anew. If the call is dropped, so is the connection.
    ///
    /// # Errors
    ///
    /// - [`ResumeError::Refused`] if the server does not take the stream.
    /// - [`ResumeError::NoAnswer`] if it answers with anything but a position.
    /// - [`ResumeError::Ended`], [`ResumeError::TakenOver`], [`ResumeError::Go`] and
    ///   [`ResumeError::Connection`] if the connection ends before that, or with it.
    pub async fn open(
        mut sender: Sender<IO>,
        preamble: &Preamble,
        mut on_waiting: impl FnMut(),
    ) -> Result<Self, ResumeError> {
        sender.raise_max_answer(MAX_UNREAD);
        // A server that has answered may have ended the connection already.
        let sent = sender.send(&preamble.to_line()).await;
        let mut opened = ResumedSender {
            sender,
            at: Position::START,
            acknowledged: 0,
            reported: 0,
            sent: 0,
            line: Vec::new(),
            receipt: None,
            failed: None,
        };
        let at = match opened.first_answer(&mut on_waiting)? {
            Some(at) => at,
            None => {
                sent?;
                poll_fn(|cx| opened.poll_at(cx, &mut on_waiting)).await?
            }
        };
        opened.at = at;
        opened.acknowledged = at.offset;
        opened.reported = at.offset;
        opened.sent = at.offset;
        // Acknowledgements may have come with it.
        opened.take_answers()?;
        Ok(opened)
    }

    /// The position up to which the server had the stream at the start: the first byte to send is the
    /// one behind it.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The offset before which the server keeps everything, as far as it has said so. It begins with
    /// that of [`at`](Self::at), never decreases, and stays after an error.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Sends all these bytes: the next ones of the stream from [`at`](Self::at) on, or of its
    /// compressed form, which begins there. `offset` is the offset in the stream behind everything
    /// that they, and what a compressor still keeps, are made of: the server must not acknowledge
    /// more. It never decreases.
    ///
    /// A part of the bytes may be buffered until the next call, or the next [`flush`](Self::flush).
    /// If the call is dropped before it is done, some of them may have been sent.
    ///
    /// # Errors
    ///
    /// - [`ResumeError::Connection`] if the connection broke, and after [`finish`](Self::finish).
    /// - [`ResumeError::Ended`] and [`ResumeError::TakenOver`] if the server ended the stream.
    /// - [`ResumeError::Go`] if the server asks to go on over another connection.
    /// - The others if its answers are wrong.
    pub async fn send(&mut self, mut bytes: &[u8], offset: u64) -> Result<(), ResumeError> {
        self.sent = self.sent.max(offset);
        poll_fn(|cx| {
            loop {
                let sent = self.sender.poll_send(cx, bytes);
                let sent = ready!(self.checked(sent))?;
                if bytes.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                bytes = bytes.get(sent..).unwrap_or_default();
            }
        })
        .await
    }

    /// Hands all buffered bytes to the transport. The call can be dropped and made again.
    ///
    /// # Errors
    ///
    /// As those of [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), ResumeError> {
        poll_fn(|cx| {
            let flushed = self.sender.poll_send_buffered(cx);
            self.checked(flushed)
        })
        .await
    }

    /// Waits until the server acknowledges more than this call has returned before, and returns the
    /// offset before which the server keeps everything. The call can be dropped and made again. The end
    /// of the stream is the last offset that it returns: then it waits for ever.
    ///
    /// # Errors
    ///
    /// As those of [`send`](Self::send), after all acknowledgements before the error.
    pub async fn acknowledgement(&mut self) -> Result<u64, ResumeError> {
        poll_fn(|cx| {
            let end = self.sender.poll_end(cx);
            let end = self.checked(end);
            if self.acknowledged > self.reported {
                self.reported = self.acknowledged;
                return Poll::Ready(Ok(self.acknowledged));
            }
            ready!(end)?;
            // After `finish`, nothing more comes.
            Poll::Pending
        })
        .await
    }

    /// Ends the stream, and waits until the server keeps all of it; returns the server's
    /// [receipt](crate::ServerBuilder::receipts), whose numbers are those of this connection. Behind
    /// compressed data, the caller sends the end of its compressed form before. The call can be
    /// dropped and made again; once it has returned, it returns the same.
    ///
    /// The caller compares the receipt's numbers with those of the bytes that it sent.
    ///
    /// # Errors
    ///
    /// As those of [`send`](Self::send), and [`ResumeError::NoAnswer`] with an empty line if the server
    /// ends the stream without a receipt.
    pub async fn finish(&mut self) -> Result<Vec<u8>, ResumeError> {
        poll_fn(|cx| {
            let finished = self.sender.poll_finish(cx);
            ready!(self.checked(finished))?;
            match &self.receipt {
                Some(receipt) => {
                    self.acknowledged = self.sent;
                    Poll::Ready(Ok(receipt.clone()))
                }
                None => Poll::Ready(Err(self.fail(ResumeError::NoAnswer {
                    line: String::from_utf8_lossy(&self.line).into_owned(),
                }))),
            }
        })
        .await
    }

    /// The result of a call of the sender, unless an answer that came before is an error.
    fn checked<T>(&mut self, result: Poll<Result<T, SendError>>) -> Poll<Result<T, ResumeError>> {
        if let Err(error) = self.take_answers() {
            return Poll::Ready(Err(error));
        }
        match result {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.fail(error.into()))),
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Takes all answers that have come, behind the first.
    fn take_answers(&mut self) -> Result<(), ResumeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while let Some(line) = self.next_line()? {
            self.take(&line).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), ResumeError> {
        match Answer::parse(line) {
            Ok(Answer::Acknowledged(offset)) if self.receipt.is_none() => {
                self.take_acknowledgement(offset)
            }
            Ok(Answer::Go(offset)) if self.receipt.is_none() => {
                self.take_acknowledgement(offset)?;
                Err(ResumeError::Go)
            }
            Ok(Answer::Receipt(receipt)) if self.receipt.is_none() => {
                match reason(&receipt) {
                    Some(reason) => return Err(ended(reason)),
                    None => self.receipt = Some(receipt),
                }
                Ok(())
            }
            Ok(Answer::Refused(reason)) => Err(ResumeError::Refused { reason }),
            _ => Err(no_answer(line)),
        }
    }

    fn take_acknowledgement(&mut self, offset: u64) -> Result<(), ResumeError> {
        if offset < self.acknowledged {
            return Err(ResumeError::AcknowledgedLess {
                before: self.acknowledged,
                offset,
            });
        }
        if offset > self.sent {
            return Err(ResumeError::AcknowledgedMore {
                sent: self.sent,
                offset,
            });
        }
        self.acknowledged = offset;
        Ok(())
    }

    fn poll_at(
        &mut self,
        cx: &mut Context<'_>,
        on_waiting: &mut impl FnMut(),
    ) -> Poll<Result<Position, ResumeError>> {
        // A flush reads, too.
        let flushed = self.sender.poll_send_buffered(cx);
        let end = self.sender.poll_end(cx);
        if let Some(at) = self.first_answer(on_waiting)? {
            return Poll::Ready(Ok(at));
        }
        if let Poll::Ready(Err(error)) = flushed {
            return Poll::Ready(Err(error.into()));
        }
        ready!(end)?;
        Poll::Pending
    }

    /// The position at which the stream goes on, if the server has told it.
    fn first_answer(
        &mut self,
        on_waiting: &mut impl FnMut(),
    ) -> Result<Option<Position>, ResumeError> {
        while let Some(line) = self.next_line()? {
            return match Answer::parse(&line) {
                Ok(Answer::Waiting) => {
                    on_waiting();
                    continue;
                }
                Ok(Answer::At(at)) => Ok(Some(at)),
                Ok(Answer::Refused(reason)) => Err(ResumeError::Refused { reason }),
                Ok(Answer::Receipt(receipt)) => Err(match reason(&receipt) {
                    Some(reason) => ended(reason),
                    None => no_answer(&line),
                }),
                _ => Err(no_answer(&line)),
            };
        }
        Ok(None)
    }

    /// The next whole line of those that have come, without its newline.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ResumeError> {
        if !self.sender.answer().is_empty() {
            self.line.append(&mut self.sender.take_read());
        }
        let Some(end) = memchr::memchr(b'\n', &self.line) else {
            return match self.line.len() < MAX_LINE {
                true => Ok(None),
                false => {
                    let error = no_answer(&self.line);
                    Err(self.fail(error))
                }
            };
        };
        let rest = self.line.split_off(end.saturating_add(1));
        let mut line = mem::replace(&mut self.line, rest);
        line.truncate(end);
        Ok(Some(line))
    }

    /// Keeps the first error, and returns it.
    fn fail(&mut self, error: ResumeError) -> ResumeError {
        self.failed.get_or_insert(error).clone()
    }
}

/// The reason in the receipt of a stream that did not end well.
fn reason(receipt: &[u8]) -> Option<String> {
    let receipt: Value = serde_json::from_slice(receipt).ok()?;
    if receipt.get("ok").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let reason = receipt.get("reason").and_then(Value::as_str);
    Some(reason.unwrap_or("it gives no reason").to_owned())
}

fn ended(reason: String) -> ResumeError {
    match reason.starts_with(TAKEN_OVER) {
        true => ResumeError::TakenOver,
        false => ResumeError::Ended { reason },
    }
}

/// The most characters that an error quotes of a line.
const QUOTED: usize = 100;

fn no_answer(line: &[u8]) -> ResumeError {
    let line = String::from_utf8_lossy(line);
    ResumeError::NoAnswer {
        line: line.chars().take(QUOTED).collect(),
    }
}

impl<IO> fmt::Debug for ResumedSender<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumedSender")
            .field("at", &self.at)
            .field("acknowledged", &self.acknowledged)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// Quotations of the server are not escaped.
impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResumeError::Connection(error) => error.fmt(f),
            ResumeError::Refused { reason } => {
                write!(f, "the server does not take the stream: {reason}")
            }
            ResumeError::Ended { reason } => write!(f, "the server ended the stream: {reason}"),
            ResumeError::TakenOver => f.write_str("another connection took the stream over"),
            ResumeError::Go => f.write_str("the server asks to go on over another connection"),
            ResumeError::NoAnswer { line } if line.is_empty() => {
                f.write_str("the server ended the stream without a receipt")
            }
            ResumeError::NoAnswer { line } => {
                write!(f, "the server's answer is none to a resumed stream: {line}")
            }
            ResumeError::AcknowledgedLess { before, offset } => write!(
                f,
                "the server acknowledged byte {offset} after byte {before}, which is further on"
            ),
            ResumeError::AcknowledgedMore { sent, offset } => write!(
                f,
                "the server acknowledged byte {offset}, but the stream was sent only up to byte {sent}"
            ),
        }
    }
}

impl std::error::Error for ResumeError {}

impl From<SendError> for ResumeError {
    fn from(error: SendError) -> Self {
        ResumeError::Connection(error)
    }
}
