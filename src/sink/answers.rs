//! Answers that wait: for the output's flush, then for its holds.

use std::collections::VecDeque;
use std::mem;

use crate::link::MAX_UNREAD_ANSWERS;

/// The answers of one stream that are not due yet. Most streams have none, so there is no room for
/// them before the first.
#[derive(Debug, Default)]
pub(super) struct Answers(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// Those to records for which the output is yet to be flushed.
    unflushed: Vec<u8>,
    /// The others, each with the offset in the stream up to which they acknowledge it.
    held: VecDeque<(u64, Vec<u8>)>,
    /// The length of the held ones, in bytes.
    len: usize,
}

impl Answers {
    /// Whether there are any.
    pub(super) fn are_any(&self) -> bool {
        self.0.is_some()
    }

    /// Whether some wait for a flush.
    pub(super) fn are_unflushed(&self) -> bool {
        let waiting = self.0.as_ref();
        waiting.is_some_and(|waiting| !waiting.unflushed.is_empty())
    }

    /// Whether so many are held that no more data is decoded, as if the peer had not read them.
    pub(super) fn are_many(&self) -> bool {
        let waiting = self.0.as_ref();
        waiting.is_some_and(|waiting| waiting.len > MAX_UNREAD_ANSWERS)
    }

    /// Adds answers to records that the output is to be given.
    pub(super) fn add(&mut self, mut answers: Vec<u8>) {
        if !answers.is_empty() {
            let waiting = self.0.get_or_insert_default();
            waiting.unflushed.append(&mut answers);
        }
    }

    /// Drops the answers for which the output was not flushed, and never will be.
    pub(super) fn drop_unflushed(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.unflushed = Vec::new();
        }
    }

    /// Notes that the output was flushed: the answers wait for everything up to this offset.
    pub(super) fn hold(&mut self, at: u64) {
        if let Some(waiting) = &mut self.0 {
            let answers = mem::take(&mut waiting.unflushed);
            if !answers.is_empty() {
                waiting.len = waiting.len.saturating_add(answers.len());
                waiting.held.push_back((at, answers));
            }
        }
    }

    /// The offset that the first answers wait for.
    pub(super) fn first(&self) -> Option<u64> {
        let (at, _) = self.0.as_ref()?.held.front()?;
        Some(*at)
    }

    /// Takes the first held answers.
    pub(super) fn pop(&mut self) -> Vec<u8> {
        let Some(waiting) = &mut self.0 else {
            return Vec::new();
        };
        let (_, answers) = waiting.held.pop_front().unwrap_or_default();
        waiting.len = waiting.len.saturating_sub(answers.len());
        if waiting.held.is_empty() && waiting.unflushed.is_empty() {
            // A connection that waits for its peer holds no memory that it does not need.
            self.0 = None;
        }
        answers
    }
}
