//! Collects pods for a while, so that one plan serves them all.
//!
//! Source: `C/pkg/controllers/provisioning/batcher.go`.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Batcher {
    idle: SignedDuration,
    max: SignedDuration,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    opened: Timestamp,
    last: Timestamp,
    seen: BTreeSet<String>,
    /// Something new asked for it, not just the poll.
    work: bool,
}

impl Batcher {
    pub fn new(idle: SignedDuration, max: SignedDuration) -> Self {
        Batcher { idle, max, window: None }
    }

    /// Whether this opened a window. Only a uid that is new in the window extends it.
    pub fn trigger(&mut self, uid: &str, work: bool, now: Timestamp) -> bool {
        match &mut self.window {
            Some(window) => {
                if window.seen.insert(uid.to_owned()) {
                    window.last = now;
                    window.work |= work;
                }
                false
            }
            None => {
                self.window = Some(Window { opened: now, last: now, seen: BTreeSet::from([uid.to_owned()]), work });
                true
            }
        }
    }

    /// When the window closes: idle for long enough, or open for too long.
    pub fn due(&self) -> Option<Timestamp> {
        let window = self.window.as_ref()?;
        let add = |at: Timestamp, span: SignedDuration| at.saturating_add(span).unwrap_or(Timestamp::MAX);
        Some(add(window.last, self.idle).min(add(window.opened, self.max)))
    }

    /// Closes the window.
    pub fn take(&mut self) -> bool {
        self.window.take().is_some()
    }

    pub fn is_work(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("in range")
    }

    #[rstest]
    #[case::alone(&[(0, "a")], 1_000)]
    #[case::new_pods_extend(&[(0, "a"), (800, "b")], 1_800)]
    #[case::the_same_pod_does_not(&[(0, "a"), (800, "a")], 1_000)]
    #[case::ten_seconds_at_most(&[(0, "a"), (900, "b"), (1_800, "c"), (2_700, "d"), (3_600, "e"), (4_500, "f"), (5_400, "g"), (6_300, "h"), (7_200, "i"), (8_100, "j"), (9_000, "k"), (9_900, "l")], 10_000)]
    fn windows(#[case] triggers: &[(i64, &str)], #[case] due: i64) {
        let mut batcher = Batcher::new(SignedDuration::from_secs(1), SignedDuration::from_secs(10));
        for (millis, uid) in triggers {
            batcher.trigger(uid, true, at(*millis));
        }
        assert_eq!(batcher.due(), Some(at(due)));
        assert!(batcher.take() && batcher.due().is_none());
    }
}
