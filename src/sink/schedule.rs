//! The order in which streams have their turns.
//!
//! Work is measured in bytes: those decoded, or those written for them. In each round, a stream may
//! do an [`ALLOWANCE`] of work ahead of all streams that have used up theirs; a stream that has
//! used up its own waits until the round gets to it. So a line of a sender that sends little waits
//! for the running turn and for other streams that do little, not for senders whose data decodes to
//! gigabytes; and streams that do much share the remaining turns.
//!
//! This is deficit round robin with a queue for sparse flows, as in FQ-CoDel (RFC 8290, section 4.1).

use std::collections::VecDeque;

use crate::conn::ConnId;
use crate::output::turn::MAX_TURN_OUTPUT;

/// The work that a stream may do in a round before others have precedence, in bytes: one full turn.
const ALLOWANCE: u64 = MAX_TURN_OUTPUT as u64;

/// The number of turns in a row that streams with an allowance may have while others wait. A flood
/// of new connections, each with an allowance of its own, leaves the others at least every
/// seventeenth turn.
const MAX_PREFERRED: usize = 16;

/// Streams that wait for their turns.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Streams that have an allowance left in this round.
    preferred: VecDeque<ConnId>,
    /// Streams that have used up their allowance.
    backlog: VecDeque<ConnId>,
    /// The number of the current round. It ends when each stream that was in the backlog when it
    /// began has had its turn.
    round: u64,
    /// Streams in the backlog that have yet to have a turn in this round.
    left: usize,
    /// Turns that preferred streams have had in a row.
    in_a_row: usize,
}

/// The work of one stream.
#[derive(Debug, Default)]
pub(super) struct WorkAccount {
    /// The round in which the account was last updated.
    round: u64,
    /// Work in this round, and work in earlier rounds beyond the allowance, in bytes.
    work: u64,
    /// The stream waits for a turn.
    is_waiting: bool,
}

impl Schedule {
    /// Lets a stream wait for a turn, unless it waits already.
    pub(super) fn push(&mut self, id: ConnId, account: &mut WorkAccount) {
        if std::mem::replace(&mut account.is_waiting, true) {
            return;
        }
        account.catch_up(self.round);
        if account.work < ALLOWANCE {
            self.preferred.push_back(id);
        } else {
            self.backlog.push_back(id);
        }
    }

    /// Takes the stream whose turn it is. It waits no longer.
    pub(super) fn pop(&mut self) -> Option<ConnId> {
        let is_preferred = self.in_a_row < MAX_PREFERRED || self.backlog.is_empty();
        if is_preferred && let Some(id) = self.preferred.pop_front() {
            self.in_a_row = self.in_a_row.saturating_add(1);
            return Some(id);
        }
        self.in_a_row = 0;
        if self.left == 0 {
            self.round += 1;
            self.left = self.backlog.len();
        }
        self.left = self.left.saturating_sub(1);
        self.backlog.pop_front()
    }

    /// Charges a stream for the work of its turn, in bytes.
    pub(super) fn charge(&self, account: &mut WorkAccount, work: usize) {
        account.is_waiting = false;
        account.catch_up(self.round);
        account.work = account.work.saturating_add(work as u64);
    }
}

impl WorkAccount {
    fn catch_up(&mut self, round: u64) {
        let rounds = round.saturating_sub(self.round);
        self.round = round;
        self.work = self.work.saturating_sub(rounds.saturating_mul(ALLOWANCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams that always have something to do, by the work that each does in a turn.
    struct Streams {
        schedule: Schedule,
        accounts: Vec<(WorkAccount, usize)>,
    }

    impl Streams {
        fn new(work: &[usize]) -> Self {
            let mut streams = Streams {
                schedule: Schedule::default(),
                accounts: Vec::new(),
            };
            for work in work {
                streams.accounts.push((WorkAccount::default(), *work));
                streams.push(streams.accounts.len() - 1);
            }
            streams
        }

        fn push(&mut self, stream: usize) {
            let (account, _) = &mut self.accounts[stream];
            self.schedule.push(ConnId(stream as u64), account);
        }

        /// Lets the next stream have a turn.
        fn turn(&mut self) -> usize {
            let stream = self.schedule.pop().expect("a stream waits").0 as usize;
            let (account, work) = &mut self.accounts[stream];
            self.schedule.charge(account, *work);
            stream
        }

        /// Does the same for a stream that has more to do afterwards.
        fn turn_of_many(&mut self) -> usize {
            let stream = self.turn();
            self.push(stream);
            stream
        }
    }

    #[test]
    fn a_stream_that_does_little_waits_for_no_round_of_those_that_do_much() {
        let mut streams = Streams::new(&[MAX_TURN_OUTPUT; 50]);
        for _ in 0..500 {
            streams.turn_of_many();
        }
        streams.accounts.push((WorkAccount::default(), 100));
        for _ in 0..1000 {
            streams.push(50);
            assert_eq!(streams.turn(), 50);
            streams.turn_of_many();
        }
    }

    #[test]
    fn streams_that_do_much_have_their_turns_one_after_the_other() {
        let mut streams = Streams::new(&[MAX_TURN_OUTPUT; 3]);
        let turns: Vec<_> = (0..9).map(|_| streams.turn_of_many()).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn work_beyond_an_allowance_counts_in_later_rounds() {
        let mut streams = Streams::new(&[4 * MAX_TURN_OUTPUT, MAX_TURN_OUTPUT]);
        assert_eq!(streams.turn(), 0);
        assert_eq!(streams.turn_of_many(), 1);
        // From now on, the first stream does little. It is preferred again once it has made up for
        // its work.
        streams.accounts[0].1 = 100;
        let mut waited = Vec::new();
        for _ in 0..6 {
            streams.push(0);
            waited.push((0..).find(|_| streams.turn_of_many() == 0).unwrap());
        }
        assert_eq!(waited, [1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_flood_of_new_streams_leaves_turns_to_the_others() {
        let mut streams = Streams::new(&[MAX_TURN_OUTPUT]);
        streams.turn_of_many();
        let mut turns = Vec::new();
        for stream in 1..=100 {
            streams.accounts.push((WorkAccount::default(), 100));
            streams.push(stream);
            turns.push(streams.turn_of_many());
        }
        let waits = turns.split(|stream| *stream == 0).map(<[usize]>::len);
        assert!(turns.contains(&0));
        assert!(waits.max() == Some(MAX_PREFERRED), "{turns:?}");
    }
}
