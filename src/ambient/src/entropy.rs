//! Chance, as a tree of named streams.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A node of the tree: a seed from which named streams and sub-trees grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entropy {
    seed: [u8; 32],
}

impl Entropy {
    pub fn from_seed(seed: u64) -> Self {
        Entropy { seed: Sha256::digest(seed.to_le_bytes()).into() }
    }

    /// The sub-tree of this name; the same name always gives the same one.
    pub fn child(&self, name: &str) -> Entropy {
        Entropy { seed: Sha256::new_with_prefix(self.seed).chain_update(name.as_bytes()).finalize().into() }
    }

    pub fn stream(&self, name: &str) -> Stream {
        Stream { rng: ChaCha8Rng::from_seed(self.child(name).seed) }
    }
}

/// Draws in a fixed order.
#[derive(Clone, Debug)]
pub struct Stream {
    rng: ChaCha8Rng,
}

impl Stream {
    pub fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // 128-bit multiplication maps without the bias of a modulo worth speaking of.
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_in_one_stream_moves_no_other() {
        let root = Entropy::from_seed(7);
        let (mut a, mut b) = (root.stream("boot"), root.stream("names"));
        let first = b.next_u64();
        let mut again = root.stream("names");
        a.next_u64();
        assert_eq!(first, again.next_u64());
        assert_ne!(root.stream("boot").next_u64(), first);
    }

    #[test]
    fn bounds_hold() {
        let mut stream = Entropy::from_seed(1).stream("x");
        assert!((0..1000).all(|_| stream.below(7) < 7 && (0.0..1.0).contains(&stream.unit())));
        assert_eq!(stream.below(0), 0);
    }
}
