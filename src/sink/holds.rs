//! Streams whose output holds bytes: those that get no turn, and those whose outcome waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::task::Poll;

use futures_lite::future;

use super::{Closed, Sink};
use crate::conn::ConnId;
use crate::end::{Cut, End};
use crate::lane::Notes;

/// Streams that have ended, and are flushed, while their output still holds bytes of them.
#[derive(Debug)]
pub(super) struct HeldStreams {
    closed: HashMap<ConnId, Closed>,
    /// The last connection that the server has cut, with all before it.
    cut: ConnId,
    /// An open stream waits for its holds since the last flush. The output may not pass on the held
    /// bytes before it is flushed.
    pub(super) awaits_flush: bool,
}

impl Default for HeldStreams {
    fn default() -> Self {
        HeldStreams {
            closed: HashMap::new(),
            cut: ConnId(0),
            awaits_flush: false,
        }
    }
}

impl HeldStreams {
    /// Whether the server has cut this connection.
    pub(super) fn is_cut(&self, id: ConnId) -> bool {
        id <= self.cut
    }

    pub(super) fn len(&self) -> usize {
        self.closed.len()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Closed> {
        self.closed.drain().map(|(_, closed)| closed)
    }

    /// Keeps a stream while its outcome waits for holds. Returns it if it does not.
    pub(super) fn keep(&mut self, mut closed: Closed) -> Option<Closed> {
        let id = closed.stream.conn.id;
        if closed.waits_for_holds(self.is_cut(id)) {
            closed.stream.release_decoder();
            self.closed.insert(id, closed);
            return None;
        }
        Some(closed)
    }
}

impl Closed {
    /// Whether the outcome waits for holds. Otherwise, the stream's end is final.
    fn waits_for_holds(&mut self, is_cut: bool) -> bool {
        let end = match &self.stream.conn.holds {
            Some(holds) => holds.poll_end(),
            None => Poll::Ready(None),
        };
        match end {
            // The position of its end has to be kept, too.
            Poll::Ready(None) if !is_cut && self.stream.keep_end(&self.end) => {
                return self.waits_for_holds(is_cut);
            }
            Poll::Ready(None) => {}
            Poll::Ready(Some(failure)) => self.end = failure,
            Poll::Pending if is_cut => self.end = End::Cut(Cut::Server),
            Poll::Pending => return true,
        }
        false
    }
}

impl Sink {
    /// Waits for events, or for notes about holds; `false` when neither will come.
    pub(super) async fn wait(&mut self) -> bool {
        future::poll_fn(|cx| match self.events.poll_next(cx) {
            Poll::Ready(Some(event)) => {
                self.receive(event);
                Poll::Ready(true)
            }
            _ if self.events.lane().has_notes() => Poll::Ready(true),
            Poll::Ready(None) if self.streams.is_empty() && self.held.closed.is_empty() => {
                Poll::Ready(false)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Looks at the streams that have notes: a hold has failed, or so much is held that the stream
    /// gets no turn, or no longer so much, or answers or the outcome are due.
    pub(super) fn look_at_holds(&mut self) {
        let Notes { streams, cut } = self.events.lane().take_notes();
        if cut > self.held.cut {
            self.held.cut = cut;
            self.cut_held();
        }
        for id in streams {
            self.look_at(id);
        }
    }

    fn look_at(&mut self, id: ConnId) {
        let is_cut = self.held.is_cut(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            let Some(look) = stream.conn.holds.as_ref().map(|holds| holds.look()) else {
                return;
            };
            if let Some(end) = look.failure {
                stream.take_back(0, end);
            }
            stream.look_at_position();
            stream.send_answers();
            stream.is_held_back = look.is_full && !is_cut;
            if stream.is_held_back {
                self.held.awaits_flush = true;
            } else if stream.has_more() {
                self.schedule.push(id, &mut stream.account);
            }
        } else if let Entry::Occupied(mut closed) = self.held.closed.entry(id)
            && !closed.get_mut().waits_for_holds(is_cut)
        {
            closed.remove().report(&self.counters);
        }
    }

    /// Waits no longer for the holds of the streams that the server has cut.
    fn cut_held(&mut self) {
        let cut = self.held.cut;
        for (id, stream) in &mut self.streams {
            if *id <= cut && stream.is_held_back {
                stream.is_held_back = false;
                self.schedule.push(*id, &mut stream.account);
            }
        }
        for (_, mut closed) in self.held.closed.extract_if(|id, _| *id <= cut) {
            if !closed.waits_for_holds(true) {
                closed.report(&self.counters);
            }
        }
    }
}
