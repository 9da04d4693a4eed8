//! Names and uids, drawn from the seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The server's own stream of chance: uids and generated names, nothing else.
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A UUID of version 4, variant 1.
    pub(crate) fn uid(&mut self) -> String {
        let high = (self.0.next_u64() & 0xffff_ffff_ffff_0fff) | 0x4000;
        let low = (self.0.next_u64() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff)
    }

    /// Five letters of the alphabet without vowels and look-alikes (`k8s.io/apimachinery/pkg/util/rand/rand.go`).
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| LETTERS[(self.0.next_u32() % 27) as usize] as char).collect()
    }
}
