//! CRC-32 and XXH64: has this file been damaged, and is this the same data?
//!
//! [`crc32`] guards sections of the model file: it finds every burst of damage up to 32 bits, and anybody can recompute it
//! (it is the one of zip and PNG). Method: slice-by-8 (Kounavis and Berry 2005), eight bytes a step through eight tables
//! built at compile time. [`Digest`] names a set of training images: 64 bits, so that two sets differ in practice, and
//! fast. It is XXH64 (Yann Collet, xxHash, 2014). Neither resists an attacker who wants a collision.

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 };
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            t[k][i] = t[k - 1][i] >> 8 ^ t[0][(t[k - 1][i] & 255) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// CRC-32 (IEEE 802.3, reflected, as in zip and PNG) of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32_continue(0, bytes)
}

/// Continues `crc`, the CRC-32 of what came before, with `bytes`: `crc32_continue(crc32(a), b) = crc32(a ‖ b)`.
#[must_use]
pub fn crc32_continue(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for w in words {
        let c = crc.to_le_bytes();
        crc = TABLES[7][usize::from(w[0] ^ c[0])]
            ^ TABLES[6][usize::from(w[1] ^ c[1])]
            ^ TABLES[5][usize::from(w[2] ^ c[2])]
            ^ TABLES[4][usize::from(w[3] ^ c[3])]
            ^ TABLES[3][usize::from(w[4])]
            ^ TABLES[2][usize::from(w[5])]
            ^ TABLES[1][usize::from(w[6])]
            ^ TABLES[0][usize::from(w[7])];
    }
    for &b in rest {
        crc = crc >> 8 ^ TABLES[0][usize::from(b ^ crc as u8)];
    }
    !crc
}

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64 of bytes that arrive in pieces; how they are cut does not matter.
///
/// ```
/// use adflow::checksum::Digest;
/// let mut digest = Digest::new(0);
/// digest.write(b"xx");
/// digest.write(b"hash");
/// assert_eq!(digest.finish(), 0x32dd_3895_2c4b_c720);
/// ```
#[derive(Clone, Debug)]
pub struct Digest {
    lanes: [u64; 4],
    tail: [u8; 32],
    length: u64,
    seed: u64,
}

impl Digest {
    /// A digest of nothing yet. Different seeds give independent digests.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let lanes = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
        Self { lanes, tail: [0; 32], length: 0, seed }
    }

    /// Appends `bytes`.
    pub fn write(&mut self, mut bytes: &[u8]) {
        let held = (self.length % 32) as usize;
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if held > 0 {
            let take = bytes.len().min(32 - held);
            self.tail[held..held + take].copy_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if held + take < 32 {
                return;
            }
            let stripe = self.tail;
            self.stripe(&stripe);
        }
        let (stripes, rest) = bytes.as_chunks::<32>();
        for s in stripes {
            self.stripe(s);
        }
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    #[inline]
    fn stripe(&mut self, stripe: &[u8; 32]) {
        let (words, _) = stripe.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }

    /// The digest of all bytes so far.
    #[must_use]
    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut h = if self.length >= 32 {
            let mix = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            self.lanes.iter().fold(mix, |h, &lane| (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4))
        } else {
            self.seed.wrapping_add(P5)
        };
        h = h.wrapping_add(self.length);
        let (words, rest) = self.tail[..(self.length % 32) as usize].as_chunks::<8>();
        for w in words {
            h = (h ^ round(0, u64::from_le_bytes(*w))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for w in halves {
            h = (h ^ u64::from(u32::from_le_bytes(*w)).wrapping_mul(P1))
                .rotate_left(23)
                .wrapping_mul(P2)
                .wrapping_add(P3);
        }
        for &b in rest {
            h = (h ^ u64::from(b).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        h = (h ^ h >> 33).wrapping_mul(P2);
        h = (h ^ h >> 29).wrapping_mul(P3);
        h ^ h >> 32
    }
}

#[inline]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32_bitwise(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &b| {
            (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
        })
    }

    #[test]
    fn crc32_gives_the_known_answers() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b"The quick brown fox jumps over the lazy dog"), 0x414F_A339);
    }

    #[test]
    fn crc32_equals_the_bitwise_one_however_cut() {
        let bytes: [u8; 100] = core::array::from_fn(|i| (i * i * 31 + 7) as u8);
        for n in 0..100 {
            assert_eq!(crc32(&bytes[..n]), crc32_bitwise(&bytes[..n]));
            assert_eq!(crc32_continue(crc32(&bytes[..n]), &bytes[n..]), crc32(&bytes));
        }
    }

    #[test]
    fn xxh64_gives_the_known_answers() {
        let cases: [(&[u8], u64, u64); 9] = [
            (b"", 0, 0xef46_db37_51d8_e999),
            (b"a", 0, 0xd24e_c4f1_a98c_6e5b),
            (b"as", 0, 0x1c33_0fb2_d66b_e179),
            (b"asd", 0, 0x631c_37ce_72a9_7393),
            (b"asdf", 0, 0x4158_72f5_99ce_a71e),
            (b"abc", 0, 0x44bc_2cf5_ad77_0999),
            (b"xxhash", 0, 0x32dd_3895_2c4b_c720),
            (b"xxhash", 20_141_025, 0xb559_b98d_844e_0635),
            (b"Call me Ishmael. Some years ago--never mind how long precisely-", 0, 0x02a2_e854_70d6_fd96),
        ];
        for (bytes, seed, want) in cases {
            for cut in 0..=bytes.len() {
                let mut d = Digest::new(seed);
                d.write(&bytes[..cut]);
                d.write(&bytes[cut..]);
                assert_eq!(d.finish(), want, "{bytes:?} cut at {cut}");
            }
        }
    }
}
