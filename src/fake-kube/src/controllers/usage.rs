//! A metrics server: samples what pods use every 15 s, once somebody says what anything uses.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::events::Recorder;
use crate::api::Api;
use crate::controller::Controller;
use crate::store::Change;
use crate::usage::{RESOLUTION, sample, says};

pub(super) struct MetricsServer {
    due: Option<Timestamp>,
    recorder: Recorder,
    /// Of which objects, as they stand, it was said that they cannot be read.
    told: BTreeSet<(String, u64, String)>,
}

impl Default for MetricsServer {
    fn default() -> Self {
        MetricsServer { due: None, recorder: Recorder::new("metrics-server"), told: BTreeSet::new() }
    }
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
            let (found, faults) = sample(api.store(), now);
            api.set_usage(found);
            let known: BTreeSet<_> =
                faults.iter().map(|(about, why)| (about.meta.uid.clone(), about.meta.resource_version, why.clone())).collect();
            for (about, why) in faults {
                if !self.told.contains(&(about.meta.uid.clone(), about.meta.resource_version, why.clone())) {
                    self.recorder.warning(api, now, &about, "UnreadableUsage", &why);
                }
            }
            self.told = known;
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
}
