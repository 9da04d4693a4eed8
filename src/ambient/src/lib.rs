//! The one home of time and chance.
//!
//! May touch: the machine's clock and entropy, tokio's clock. Must never touch: the other rooms.
//!
//! [`Clock`] tells the time: the machine's, or tokio's virtual one counted from an epoch. [`Entropy`] is a tree of named
//! streams from one seed: a new draw in one stream moves no other.

mod clock;
mod entropy;

pub use clock::Clock;
pub use entropy::{Entropy, Stream};
