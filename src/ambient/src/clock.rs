//! Time, real or virtual.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time. Cheap to clone; every clone tells the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Machine,
    Virtual { epoch: Timestamp, start: Instant },
}

impl Clock {
    /// The machine's wall clock.
    pub fn machine() -> Self {
        Clock { kind: Kind::Machine }
    }

    /// `epoch` plus the time that tokio's clock has moved since this call. Under a paused runtime this is virtual time. Must be
    /// called inside the runtime.
    pub fn virtual_from(epoch: Timestamp) -> Self {
        Clock { kind: Kind::Virtual { epoch, start: Instant::now() } }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.kind {
            Kind::Machine => Timestamp::now(),
            Kind::Virtual { epoch, start } => {
                let passed = Instant::now().duration_since(*start);
                epoch.saturating_add(SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Waits until `at` by this clock; at once when it has passed.
    pub async fn sleep_until(&self, at: Timestamp) {
        let wait = at.duration_since(self.now());
        if let Ok(wait) = std::time::Duration::try_from(wait) {
            // tokio rounds a timer up to the next millisecond, so that `now()` is never before `at` afterwards.
            tokio::time::sleep(wait).await;
        }
    }

    pub async fn sleep(&self, duration: SignedDuration) {
        if let Ok(wait) = std::time::Duration::try_from(duration) {
            tokio::time::sleep(wait).await;
        }
    }

    pub fn is_virtual(&self) -> bool {
        matches!(self.kind, Kind::Virtual { .. })
    }
}
