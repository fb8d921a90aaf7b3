//! Random numbers from a counter.
//!
//! A draw is a pure function of (seed, step, stream, index): nothing has to be carried along, any draw can be repeated
//! without the ones before it, and every backend and thread draws the same numbers. `stream` is usually the number of a
//! tensor or of an image, `step` the training step or epoch.
//!
//! Method: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): ten rounds
//! of two 32×32→64 multiplications turn a 128-bit counter and a 64-bit key into 128 random bits. Checked against the
//! authors' known answers.
//!
//! [`numpy_permutation`] is here for one purpose: published DifferNet weights rely on permutations drawn by NumPy's
//! legacy generator, which are not stored with them.

use core::ops::Range;

/// The 128 random bits of one Philox4x32-10 block.
#[inline]
#[must_use]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = 0xD251_1F53_u64 * u64::from(counter[0]);
        let b = 0xCD9E_8D57_u64 * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

/// A position in the random numbers of one (seed, step, stream).
///
/// ```
/// use adflow::rng::Rng;
/// let mut a = Rng::new(7, 3, 1);
/// let first: [u32; 2] = [a.u32(), a.u32()];
/// assert_eq!(Rng::at(7, 3, 1, 1).u32(), first[1]); // the second draw without the first
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    stream: u32,
    step: u64,
    index: u64,
    block: [u32; 4],
}

impl Rng {
    /// The first number of the stream. A stream holds 2³⁴ words of 32 bits, after which it repeats.
    #[must_use]
    pub fn new(seed: u64, step: u64, stream: u32) -> Self {
        Self::at(seed, step, stream, 0)
    }

    /// The word number `index` of the stream.
    #[must_use]
    pub fn at(seed: u64, step: u64, stream: u32, index: u64) -> Self {
        let mut rng = Self { key: [seed as u32, (seed >> 32) as u32], stream, step, index, block: [0; 4] };
        if !index.is_multiple_of(4) {
            rng.fill_block();
        }
        rng
    }

    fn fill_block(&mut self) {
        let counter = [(self.index / 4) as u32, self.stream, self.step as u32, (self.step >> 32) as u32];
        self.block = philox4x32(counter, self.key);
    }

    /// How many words were drawn so far: `Rng::at(.., rng.index())` continues here.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// 32 random bits.
    #[inline]
    pub fn u32(&mut self) -> u32 {
        let lane = (self.index % 4) as usize;
        if lane == 0 {
            self.fill_block();
        }
        self.index = self.index.wrapping_add(1);
        self.block[lane]
    }

    /// 64 random bits (two words, low one first).
    #[inline]
    pub fn u64(&mut self) -> u64 {
        let low = u64::from(self.u32());
        low | u64::from(self.u32()) << 32
    }

    /// Uniform in 0 ≤ x < 1, a multiple of 2⁻²⁴. One word.
    #[inline]
    pub fn f32(&mut self) -> f32 {
        (self.u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in 0 ≤ x < 1, a multiple of 2⁻⁵³. Two words.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        (self.u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in `low ≤ x < high` (rounding may reach `high`). One word.
    #[inline]
    pub fn range(&mut self, range: Range<f32>) -> f32 {
        range.start + (range.end - range.start) * self.f32()
    }

    /// Uniform whole number in `0..n`, without bias; 0 where `n` is 0.
    ///
    /// Multiply and reject (Lemire, "Fast random integer generation in an interval", 2019).
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        let mut product = u64::from(self.u32()) * u64::from(n);
        if (product as u32) < n {
            let least = n.wrapping_neg() % n;
            while (product as u32) < least {
                product = u64::from(self.u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// A standard normal number: √(−2 ln(1−u))·cos 2πv (Box and Muller 1958), computed in f64. Four words.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.f64();
        let v = self.f64();
        libm::sqrt(-2.0 * libm::log(u)) * libm::cos(core::f64::consts::TAU * v)
    }

    /// Shuffles in place (Fisher and Yates, from the end); each order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len().min(u32::MAX as usize)).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// Fills `out` with a random order of `0..out.len()`.
    pub fn permutation(&mut self, out: &mut [u32]) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = i as u32;
        }
        self.shuffle(out);
    }
}

/// Fills `out` with what NumPy's `RandomState(seed).permutation(n)` gives for `n = out.len()`.
///
/// MT19937 (Matsumoto and Nishimura 1998) seeded with one word, and NumPy's legacy shuffle: from the end, `j` drawn by
/// masking words with the smallest 2ᵏ−1 ≥ i until `j ≤ i`. Uses 2.5 KB of stack.
pub fn numpy_permutation(seed: u32, out: &mut [u32]) {
    let mut generator = Mt19937::new(seed);
    for (i, o) in out.iter_mut().enumerate() {
        *o = i as u32;
    }
    for i in (1..out.len().min(u32::MAX as usize)).rev() {
        let mask = u32::MAX >> (i as u32).leading_zeros();
        let j = loop {
            let j = generator.next() & mask;
            if j as usize <= i {
                break j as usize;
            }
        };
        out.swap(i, j);
    }
}

struct Mt19937 {
    state: [u32; 624],
    at: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ previous >> 30).wrapping_add(i as u32);
        }
        Self { state, at: 624 }
    }

    fn next(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7FFF_FFFF);
                let twist = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ y >> 1 ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9D2C_5680;
        y ^= y << 15 & 0xEFC6_0000;
        y ^ y >> 18
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers() {
        // kat_vectors of the authors' Random123 distribution.
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in cases {
            assert_eq!(philox4x32(counter, key), answer);
        }
    }

    #[test]
    fn any_draw_can_be_repeated_alone() {
        let mut all = Rng::new(0x1234_5678_9abc_def0, 1 << 40 | 5, 9);
        for i in 0..23 {
            assert_eq!(Rng::at(0x1234_5678_9abc_def0, 1 << 40 | 5, 9, i).u32(), all.u32());
        }
        assert_eq!(all.index(), 23);
    }

    #[test]
    fn seeds_steps_and_streams_differ() {
        let first = |seed, step, stream| Rng::new(seed, step, stream).u64();
        let all = [
            first(0, 0, 0),
            first(1, 0, 0),
            first(0, 1, 0),
            first(0, 0, 1),
            first(1 << 32, 0, 0),
            first(0, 1 << 32, 0),
        ];
        for i in 0..all.len() {
            assert!(!all[..i].contains(&all[i]));
        }
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = Rng::new(1, 0, 0);
        let n = 200_000;
        let (mut mean, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let x = f64::from(rng.f32());
            assert!((0.0..1.0).contains(&x));
            mean += x / f64::from(n);
            square += x * x / f64::from(n);
        }
        assert!((mean - 0.5).abs() < 3e-3 && (square - 1.0 / 3.0).abs() < 3e-3, "{mean} {square}");
        let mut m = [0.0; 4];
        for _ in 0..n {
            let x = rng.normal();
            for (k, m) in m.iter_mut().enumerate() {
                *m += libm::pow(x, k as f64 + 1.0) / f64::from(n);
            }
        }
        assert!(
            m[0].abs() < 0.01 && (m[1] - 1.0).abs() < 0.015 && m[2].abs() < 0.04 && (m[3] - 3.0).abs() < 0.1,
            "{m:?}"
        );
    }

    #[test]
    fn below_is_fair_and_in_range() {
        let mut rng = Rng::new(2, 0, 0);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn shuffle_reaches_every_order_evenly() {
        let mut counts = [0u32; 27];
        for step in 0..12_000 {
            let mut p = [0; 3];
            Rng::new(3, step, 0).permutation(&mut p);
            counts[(p[0] * 9 + p[1] * 3 + p[2]) as usize] += 1;
        }
        let seen: [u32; 6] = core::array::from_fn(|i| *counts.iter().filter(|&&c| c > 0).nth(i).unwrap());
        assert!(seen.iter().all(|c| c.abs_diff(2000) < 200), "{seen:?}");
        assert_eq!(seen.iter().sum::<u32>(), 12_000);
    }

    #[test]
    fn numpy_permutations_match_numpy() {
        // np.random.RandomState(k).permutation(768)[:4]
        let first = [
            [661, 122, 113, 14],
            [285, 101, 581, 352],
            [158, 251, 631, 757],
            [51, 378, 27, 579],
            [390, 146, 136, 420],
            [567, 123, 615, 492],
            [239, 243, 764, 122],
            [353, 236, 323, 98],
        ];
        let mut p = [0u32; 768];
        for (seed, want) in first.iter().enumerate() {
            numpy_permutation(seed as u32, &mut p);
            assert_eq!(&p[..4], want, "seed {seed}");
            if seed == 0 {
                let sum: u64 = p.iter().enumerate().map(|(i, &v)| i as u64 * u64::from(v)).sum();
                assert_eq!(sum, 113_501_364);
            }
            p.sort_unstable();
            assert!(p.iter().enumerate().all(|(i, &v)| v == i as u32));
        }
        numpy_permutation(0, &mut []);
        numpy_permutation(0, &mut p[..1]);
    }
}
