//! A metrics server: samples what pods use every 15 s, once somebody says what anything uses.

use jiff::Timestamp;

use crate::api::Api;
use crate::controller::Controller;
use crate::store::Change;
use crate::usage::{RESOLUTION, sample, says};

#[derive(Default)]
pub(super) struct MetricsServer {
    due: Option<Timestamp>,
}

impl Controller for MetricsServer {
    fn name(&self) -> &'static str {
        "metrics-server"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        if self.due.is_none() && changed.iter().any(|change| says(&change.object)) {
            self.due = Some(now.saturating_add(RESOLUTION).unwrap_or(Timestamp::MAX));
        }
        while let Some(due) = self.due.filter(|due| *due <= now) {
            let found = sample(api.store(), now);
            api.set_usage(found);
            // In step with its own clock, however late it was called.
            let mut next = due;
            while next <= now {
                next = next.saturating_add(RESOLUTION).unwrap_or(Timestamp::MAX);
            }
            self.due = Some(next);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        Vec::new()
    }
}
