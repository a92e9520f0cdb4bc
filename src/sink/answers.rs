//! Answers that wait for the output's holds.

use std::collections::VecDeque;

use crate::link::MAX_UNREAD_ANSWERS;

/// The answers of one stream for which the output has been flushed.
#[derive(Debug, Default)]
pub(super) struct HeldAnswers {
    /// Each with the offset in the stream up to which they acknowledge it.
    answers: VecDeque<(u64, Vec<u8>)>,
    /// The length of all answers, in bytes.
    len: usize,
}

impl HeldAnswers {
    /// Whether there are so many that no more data is decoded, as if the peer had not read them.
    pub(super) fn are_many(&self) -> bool {
        self.len > MAX_UNREAD_ANSWERS
    }

    pub(super) fn push(&mut self, at: u64, answers: Vec<u8>) {
        if !answers.is_empty() {
            self.len = self.len.saturating_add(answers.len());
            self.answers.push_back((at, answers));
        }
    }

    /// The offset of the first answers.
    pub(super) fn first(&self) -> Option<u64> {
        self.answers.front().map(|(at, _)| *at)
    }

    /// Takes the first answers.
    pub(super) fn pop(&mut self) -> Vec<u8> {
        let (_, answers) = self.answers.pop_front().unwrap_or_default();
        self.len = self.len.saturating_sub(answers.len());
        if self.answers.is_empty() {
            // A connection that waits for its peer holds no memory that it does not need.
            self.answers = VecDeque::new();
        }
        answers
    }
}
