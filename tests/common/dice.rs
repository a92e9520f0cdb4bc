//! Numbers that look random, and are the same again for the same seed.

use std::env;
use std::iter;
use std::time::SystemTime;

/// The variable for a seed, used instead of one made from the time.
const SEED: &str = "TLSINK_SEED";

/// splitmix64 (Steele, Lea and Flood, 2014).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// Makes dice with a new seed each time, and prints the seed, unless the environment gives one.
    pub fn fresh() -> Self {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Dice::fixed(clock.expect("it is later than 1970").as_nanos() as u64)
    }

    /// Makes dice with this seed, unless the environment gives another one, and prints the seed.
    pub fn fixed(seed: u64) -> Self {
        let given = env::var(SEED).map(|seed| seed.parse().expect("the seed is a number"));
        let seed = given.unwrap_or(seed);
        eprintln!("{SEED}={seed} replays this");
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Cuts bytes into pieces, each of at most this many.
    pub fn pieces<'a>(
        &mut self,
        mut rest: &'a [u8],
        most: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let piece;
            (piece, rest) = rest.split_at(rest.len().min(1 + self.below(most)));
            Some(piece)
        })
    }

    pub fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}
