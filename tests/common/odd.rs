//! Numbers that look random and are the same each time.

/// xorshift64* (Vigna 2016).
pub struct Odd(pub u64);

impl Odd {
    pub fn next(&mut self) -> u64 {
        // Zero would stay zero.
        let mut x = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn up_to(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).expect("it is small")
    }
}
