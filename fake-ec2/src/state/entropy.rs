//! Chance as a tree of named streams: a draw from one stream moves no other.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settings::Delay;

/// Named streams of one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Entropy {
    seed: u64,
    streams: BTreeMap<String, ChaCha8Rng>,
}

/// Streams as they are written down: how many words each has given.
#[derive(Serialize, Deserialize)]
struct Written {
    seed: u64,
    streams: BTreeMap<String, u64>,
}

impl From<Entropy> for Written {
    fn from(entropy: Entropy) -> Self {
        // A stream of 2^64 words has no end here.
        let given = |rng: &ChaCha8Rng| u64::try_from(rng.get_word_pos()).unwrap_or(u64::MAX);
        Written { seed: entropy.seed, streams: entropy.streams.iter().map(|(name, rng)| (name.clone(), given(rng))).collect() }
    }
}

impl From<Written> for Entropy {
    fn from(written: Written) -> Self {
        let seed = written.seed;
        let stream = |(name, given): (String, u64)| {
            let mut rng = stream(seed, &name);
            rng.set_word_pos(given.into());
            (name, rng)
        };
        Entropy { seed, streams: written.streams.into_iter().map(stream).collect() }
    }
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(digest(&[&seed.to_le_bytes(), name.as_bytes()]))
}

impl Entropy {
    pub fn new(seed: u64) -> Self {
        Self { seed, streams: BTreeMap::new() }
    }

    /// The next number of a stream.
    pub fn draw(&mut self, stream: &str) -> u64 {
        if let Some(rng) = self.streams.get_mut(stream) {
            return rng.next_u64();
        }
        let mut rng = self::stream(self.seed, stream);
        let drawn = rng.next_u64();
        self.streams.insert(stream.to_owned(), rng);
        drawn
    }

    /// Evenly from `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, stream: &str, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // The high half of a 128-bit product: even enough for a bound far below 2^64, and without a loop.
        ((u128::from(self.draw(stream)) * u128::from(bound)) >> 64) as u64
    }

    /// A delay from its distribution, in whole milliseconds.
    pub fn delay(&mut self, stream: &str, delay: Delay) -> SignedDuration {
        let span = delay.most.as_millis().saturating_sub(delay.least.as_millis());
        if span <= 0 {
            return delay.least;
        }
        let drawn = self.below(stream, u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1));
        delay.least.saturating_add(SignedDuration::from_millis(i64::try_from(drawn).unwrap_or(i64::MAX)))
    }

    /// A number that depends on the seed and a name alone, not on what was drawn before.
    pub fn fixed(&self, name: &str) -> u64 {
        first_u64(&digest(&[b"fixed", &self.seed.to_le_bytes(), name.as_bytes()]))
    }

    /// An id as EC2 makes them since 2016: prefix, `-0`, sixteen hexadecimal digits (`i-0123456789abcdef0`).
    pub fn id(&mut self, prefix: &str) -> String {
        let drawn = self.draw(prefix);
        format!("{prefix}-0{drawn:016x}")
    }

    /// A version-4 UUID of a stream.
    pub fn uuid(&mut self, stream: &str) -> String {
        let (high, low) = (self.draw(stream), self.draw(stream));
        let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
        let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        let text = format!("{high:016x}{low:016x}");
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }

    /// `length` characters of an alphabet.
    pub fn letters(&mut self, stream: &str, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| alphabet[self.below(stream, alphabet.len() as u64) as usize] as char).collect()
    }

    /// An IAM unique id: a prefix by kind (`AROA` role, `AIPA` instance profile) and 17 letters and digits.
    pub fn iam_id(&mut self, prefix: &str) -> String {
        format!("{prefix}{}", self.letters(prefix, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17))
    }
}

/// An id that is the same in every account and under every seed, as AMI ids are.
pub fn public_id(prefix: &str, name: &str) -> String {
    format!("{prefix}-0{:016x}", first_u64(&digest(&[b"public", name.as_bytes()])))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn first_u64(bytes: &[u8; 32]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_from_one_stream_moves_no_other() {
        let (mut one, mut two) = (Entropy::new(7), Entropy::new(7));
        one.draw("a");
        one.draw("a");
        assert_eq!(one.draw("b"), two.draw("b"));
        assert_ne!(Entropy::new(8).draw("b"), Entropy::new(7).draw("b"));
    }

    #[test]
    fn ids_look_like_amazons() {
        let mut entropy = Entropy::new(1);
        let id = entropy.id("i");
        assert_eq!(id.len(), 19);
        assert!(id.starts_with("i-0") && id[2..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        let uuid = entropy.uuid("fleet");
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'));
        assert_eq!(entropy.iam_id("AROA").len(), 21);
    }

    #[test]
    fn a_delay_stays_between_its_bounds() {
        let mut entropy = Entropy::new(3);
        for _ in 0..200 {
            let drawn = entropy.delay("boot", Delay::millis(2_000, 2_003)).as_millis();
            assert!((2_000..=2_003).contains(&drawn), "{drawn}");
        }
    }
}
