//! What a controller is, and the loop that drives several to a fixed point.

use jiff::Timestamp;

use crate::api::Api;
use crate::store::Change;

/// A Kubernetes controller as a state machine: it looks at what changed, writes through the [`Api`], and says when it wants to be
/// called again.
pub trait Controller: Send {
    fn name(&self) -> &'static str;

    /// Called with everything that changed since its last call (its own writes included), and whenever its `next_due` has come. The
    /// first call sees all objects as changes.
    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]);

    /// When it must be called again though nothing changed; never, unless it says so.
    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// In words, the work that may still move by itself; resyncs and heartbeats do not count.
    fn unsettled(&self, _: &Api) -> Vec<String> {
        Vec::new()
    }
}

/// How often the controllers may answer each other within one instant before that counts as a loop.
const ROUNDS: usize = 1000;

/// Controllers in a fixed order, each with the place in history up to which it has seen changes.
#[derive(Default)]
pub(crate) struct Drive {
    controllers: Vec<(Box<dyn Controller>, u64)>,
    /// Set when the bound was hit: which controllers still wrote.
    restless: Vec<&'static str>,
}

impl Drive {
    pub(crate) fn add(&mut self, controller: Box<dyn Controller>) {
        self.controllers.push((controller, 0));
    }

    /// Runs every controller until none has anything new to look at.
    pub(crate) fn settle(&mut self, api: &mut Api, now: Timestamp) {
        self.restless.clear();
        for _ in 0..ROUNDS {
            if !self.round(api, now) {
                return;
            }
        }
        self.restless =
            self.controllers.iter().filter(|(one, seen)| behind(one.as_ref(), *seen, api, now)).map(|(one, _)| one.name()).collect();
    }

    fn round(&mut self, api: &mut Api, now: Timestamp) -> bool {
        let mut any = false;
        for (controller, seen) in &mut self.controllers {
            if !behind(controller.as_ref(), *seen, api, now) {
                continue;
            }
            any = true;
            let changes = api.store().since(*seen);
            *seen = api.store().resource_version();
            api.act_as(if controller.name() == "scheduler" { "kube-scheduler" } else { "kube-controller-manager" });
            controller.step(api, now, &changes);
            api.act_as("kube-apiserver");
        }
        any
    }

    /// The earliest instant at which a controller wants to run. Unseen changes are due at `last_write`.
    pub(crate) fn next_due(&self, api: &Api, last_write: Timestamp) -> Option<Timestamp> {
        if !self.restless.is_empty() {
            return None;
        }
        let unseen = self.controllers.iter().any(|(_, seen)| *seen < api.store().resource_version()).then_some(last_write);
        self.controllers.iter().filter_map(|(one, _)| one.next_due()).chain(unseen).min()
    }

    pub(crate) fn unsettled(&self, api: &Api) -> Vec<String> {
        let restless = self.restless.iter().map(|name| format!("controller {name} did not come to rest within {ROUNDS} rounds"));
        restless.chain(self.controllers.iter().flat_map(|(one, _)| one.unsettled(api))).collect()
    }
}

fn behind(controller: &dyn Controller, seen: u64, api: &Api, now: Timestamp) -> bool {
    seen < api.store().resource_version() || controller.next_due().is_some_and(|due| due <= now)
}
