//! The turns at the beginning of a stream that may be resumed, and the acknowledgements of one that is.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::super::SinkSettings;
use super::super::stream::{Stream, Turn, TurnBuffers};
use super::preamble::Beginning;
use super::progress::ResumedStream;
use super::{Keeper, Resuming, Waiting};
use crate::conn::ResumedAt;
use crate::end::{Cut, End, Layer};
use crate::frame::Framing;
use crate::resume::{Accepted, Answer, Channel, Opening, Preamble, PreambleError, Resumed};

/// The name of streams that are resumed, for a receiver that keeps no positions.
const RESUMED: &str = "a resumed stream";

impl Stream {
    /// Takes a turn at the beginning of the stream; `None` if it is over, and the turn goes on with the
    /// stream's bytes.
    pub(in crate::sink) fn begin(
        &mut self,
        buffers: &mut TurnBuffers,
        settings: &SinkSettings,
    ) -> Option<(Turn, usize)> {
        match &mut self.resuming {
            Resuming::Looking(held) => {
                let Some(bytes) = self.queue.front().and_then(|chunk| chunk.get(self.at..)) else {
                    if self.close.is_none() {
                        return Some((Turn::Nothing, 0));
                    }
                    let held = held.take();
                    return self.begin_as_data(&held, buffers, settings);
                };
                let (taken, beginning) = held.push(bytes);
                let is_spent = taken == bytes.len();
                self.at = self.at.saturating_add(taken);
                if is_spent {
                    buffers.spend(self.queue.pop_front());
                    self.at = 0;
                }
                match beginning {
                    Beginning::Unknown => {}
                    Beginning::Data(held) => {
                        return self.begin_as_data(&held, buffers, settings);
                    }
                    Beginning::Preamble(preamble) => self.open(preamble, settings),
                }
                Some((Turn::Nothing, taken))
            }
            Resuming::Early(early) => {
                let early = std::mem::take(early);
                self.begin_as_data(&early, buffers, settings)
            }
            Resuming::Opening(_) => {
                // The peer has ended the stream before it knows where to go on.
                self.queue.clear();
                self.at = 0;
                None
            }
            Resuming::No | Resuming::Yes(_) => None,
        }
    }

    /// Goes on with a stream that is not resumed, and whose first bytes these are.
    fn begin_as_data(
        &mut self,
        early: &[u8],
        buffers: &mut TurnBuffers,
        settings: &SinkSettings,
    ) -> Option<(Turn, usize)> {
        self.resuming = Resuming::No;
        if early.is_empty() {
            return None;
        }
        let (turn, read) = self.decode_early(early, buffers, settings);
        let rest = early.get(read..).unwrap_or_default();
        if !rest.is_empty() && !self.is_refused() {
            self.resuming = Resuming::Early(rest.to_vec());
        }
        Some((turn, read))
    }

    /// Asks for the position of the stream that this preamble names.
    fn open(&mut self, preamble: Result<Preamble, PreambleError>, settings: &SinkSettings) {
        self.conn.framing = Framing::Resume;
        self.link.promise_receipt();
        let preamble = match preamble {
            Ok(preamble) => preamble,
            Err(error) => {
                return self.refuse_opening(End::Corrupt {
                    layer: Layer::Framing(Framing::Resume),
                    offset: 0,
                    reason: error.to_string(),
                });
            }
        };
        let (Some(keeper), Some(holds)) = (&settings.keeper, &self.conn.holds) else {
            return self.refuse_opening(End::Unsupported {
                layer: Layer::Framing(Framing::Resume),
                format: RESUMED,
            });
        };
        let (from, instance) = (preamble.from(), preamble.instance());
        let stream = Resumed::new(self.conn.names().first(), preamble);
        let channel = Channel::new(self.conn.id, holds.lane());
        let opening = Opening::new(&stream, from, &channel);
        self.drop_unframer();
        let Keeper(offsets) = keeper;
        self.resuming = Resuming::Opening(Box::new(Waiting {
            channel,
            keeper: keeper.clone(),
            stream,
            instance,
        }));
        self.keep_alive();
        offsets.open(opening);
    }

    /// Tells the sender that its stream is not taken.
    fn refuse_opening(&mut self, end: End) {
        self.resuming = Resuming::No;
        self.keep_alive();
        let answer = Answer::Refused(end.told());
        self.link.answer(&answer.to_line());
        self.refuse(end);
    }

    /// Looks at what the keeper of the positions has told.
    pub(in crate::sink) fn look_at_position(&mut self) {
        let news = match &self.resuming {
            Resuming::Opening(waiting) => waiting.channel.take(),
            Resuming::Yes(resumed) => resumed.channel().take(),
            _ => return,
        };
        match news.opened {
            Some(Ok(accepted)) => self.go_on(accepted),
            Some(Err(end)) => self.refuse_opening(*end),
            None => {}
        }
        if let (Some(kept), Resuming::Yes(resumed)) = (news.kept, &mut self.resuming)
            && let Some(acknowledgement) = resumed.acknowledge(kept)
        {
            self.link.replace_answer(&acknowledgement);
        }
        if news.is_taken_over {
            self.take_back(0, End::Cut(Cut::TakenOver));
        }
    }

    /// Goes on with the stream at its position.
    fn go_on(&mut self, accepted: Accepted) {
        let Resuming::Opening(waiting) = std::mem::replace(&mut self.resuming, Resuming::No) else {
            return;
        };
        let Waiting {
            channel,
            keeper,
            stream,
            instance,
        } = *waiting;
        let Accepted { at, by_output } = accepted;
        let resumed = Arc::new(ResumedAt {
            stream,
            instance,
            at,
            by_output,
            handed: AtomicU32::new(at.crc32c),
        });
        self.conn.resumed = Some(Arc::clone(&resumed));
        self.keep_alive();
        self.link.answer(&Answer::At(at).to_line());
        let resumed = ResumedStream::new(channel, keeper, resumed, self.conn.received);
        self.resuming = Resuming::Yes(Box::new(resumed));
        self.retire_resumed();
    }

    /// Acknowledges what is through; `is_flushed` says that the output was just flushed.
    pub(in crate::sink) fn acknowledge(&mut self, is_flushed: bool) {
        let Resuming::Yes(resumed) = &mut self.resuming else {
            return;
        };
        if is_flushed {
            resumed.is_answering = false;
        }
        let flushed = resumed.flushed(is_flushed);
        let through = self.conn.progress(flushed);
        if let Some(acknowledgement) = resumed.through(through) {
            self.link.replace_answer(&acknowledgement);
        }
    }

    /// Ends a resumed stream whose connection is old, if it may end here. Once its position is kept, the
    /// sender is told to go on over another connection.
    pub(in crate::sink) fn retire_resumed(&mut self) {
        if let Resuming::Yes(resumed) = &self.resuming
            && self.may_retire()
            && resumed.may_retire(self.conn.received)
        {
            self.retire(End::Cut(Cut::MaxAge));
        }
    }

    /// Tells the sender to go on over another connection.
    pub(in crate::sink) fn say_goodbye(&self) {
        if let Resuming::Yes(resumed) = &self.resuming {
            self.link.answer(&resumed.goodbye());
        }
    }

    /// Keeps the position of the end of a stream that is clean, or goes on over another connection; the
    /// output is through with it. Returns whether the stream's outcome has to wait for that.
    pub(in crate::sink) fn keep_end(&mut self, end: &End) -> bool {
        let Resuming::Yes(resumed) = &mut self.resuming else {
            return false;
        };
        let position = match end {
            End::Clean => resumed.end(),
            End::Cut(Cut::MaxAge) => resumed.line_end(),
            _ => return false,
        };
        let conn = &self.conn;
        resumed.keep_end(position, || conn.hold())
    }
}
