//! What the cloud remembers: a seeded state machine without a clock.
//!
//! Every instant comes in as `now`, every chance from a named stream of the seed ([`entropy`]). Equal settings, equal calls at equal
//! instants: equal answers. Behaviour per operation lives in [`services`](crate::services); what moves by itself (boots, shutdowns,
//! events on their way to a queue) moves here, from the [`agenda`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | [`Settings`]: delays, overrides of prices, offerings and capacity, rules |
//! | [`rules`] | faults as values, latencies, token buckets |
//! | [`entropy`], [`agenda`] | named streams of chance; what is due when |
//! | [`account`], [`region`] | what is global, what is regional |
//! | [`accounts`] | other accounts beside the first |
//! | [`network`], [`image`], [`template`], [`instance`], [`market`] | EC2's resources, prices and capacity |
//! | [`spot`], [`spot_trace`] | Spot prices over time: a process, a trace |
//! | [`lifecycle`] | instances' states over time |
//! | [`incident`] | what befalls the account: Spot interruptions, machines that vanish, stray messages |
//! | [`denial`] | what IAM refused, and why |
//! | [`reservation`] | capacity reservations, placement groups |
//! | [`fleet`] | fleets that were created |
//! | [`group`] | Auto Scaling groups |
//! | [`iam`], [`queue`], [`bus`], [`parameter`], [`cluster`] | the other services' resources |
//! | [`tracked`] | a map that knows when its values may have changed |
//! | [`machine`] | the harness's view: machines, costs |
//! | [`lab`], [`lab_policies`] | an EKS lab in one call, through the same operations as a client's; what its controller may do |

pub mod account;
pub mod accounts;
pub mod agenda;
pub mod bus;
pub mod cluster;
pub mod denial;
pub mod entropy;
pub mod fleet;
pub mod group;
pub mod iam;
pub mod image;
pub mod incident;
pub mod instance;
pub mod lab;
pub mod lab_policies;
pub mod lifecycle;
pub mod machine;
pub mod maintenance;
pub mod market;
pub mod network;
pub mod parameter;
pub mod pattern;
pub mod queue;
pub mod region;
pub mod reservation;
pub mod rules;
pub mod settings;
pub mod spot;
pub mod spot_trace;
pub mod template;
pub mod tracked;
pub mod transform;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use account::Account;
pub use accounts::{account_of, is_account};
pub use bus::Deliveries;
pub use denial::Denial;
pub use iam::IamMode;
pub use incident::{Body, Cause, Fate, Incident, IncidentError};
pub use lab::{EksLab, Lab};
pub use machine::{BlockDevice, LedgerEntry, Machine, NetworkLimits, Phase};
pub use market::{Market, Pool};
pub use region::Region;
pub use rules::{Bucket, Disturbance, Effect, Machines, Only, Rule, SpotPriceIs};
pub use settings::{Capacity, Consistency, Delay, Latency, Offered, OnDemandPrice, Propagation, Quota, Settings, SpotPrice};
pub use spot::{Moves, SpotMarket};
pub use spot_trace::{Trace, TraceError};

/// The account and its regions; and others beside it.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub(crate) account: Account,
    pub(crate) regions: BTreeMap<String, Region>,
    /// Other accounts by number. While one of them is asked, it stands in the first one's place, and the first one here.
    pub(crate) others: BTreeMap<String, State>,
}

/// What one operation works on: the account, one region of it, and the instant.
pub(crate) struct World<'a> {
    pub now: Timestamp,
    pub account: &'a mut Account,
    pub region: &'a mut Region,
    pub others: &'a mut BTreeMap<String, State>,
}

impl State {
    /// A fresh account: in each region a default VPC with a subnet per zone and a default security group; no roles, no clusters, no instances.
    pub fn new(config: &crate::Config) -> Self {
        let account = Account::new(config.seed, &config.account, &config.region, config.world.clone());
        let mut state = Self { account, regions: BTreeMap::new(), others: BTreeMap::new() };
        let home = config.region.clone();
        state.visit(&home);
        state
    }

    /// Sees to it that a region exists; false when the catalogue knows no region of this name.
    pub(crate) fn visit(&mut self, name: &str) -> bool {
        if self.regions.contains_key(name) {
            return true;
        }
        let Some(mut region) = Region::fresh(name, &mut self.account) else { return false };
        region.images.extend(self.images_of_others(name).into_iter().map(|image| (image.id.clone(), image)));
        self.regions.insert(name.to_owned(), region);
        true
    }

    /// The world of one region, if the catalogue knows the region.
    pub(crate) fn world(&mut self, now: Timestamp, region: &str) -> Option<World<'_>> {
        if !self.visit(region) {
            return None;
        }
        let region = self.regions.get_mut(region)?;
        Some(World { now, account: &mut self.account, region, others: &mut self.others })
    }

    /// When [`State::advance`] must be called next by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        // Prices that somebody changed are looked at at once, if they end machines.
        let capped = || self.regions.values().any(|region| region.instances.values().any(|instance| instance.max_price.is_some()));
        let releases = self.account.rules.iter().filter_map(rules::ActiveRule::next_release).min();
        let own = if self.account.prices_changed && capped() { Some(Timestamp::MIN) } else { self.account.agenda.next() };
        own.into_iter().chain(releases).chain(self.others.values().filter_map(State::next_due)).min()
    }

    /// Everything that is due, account by account, in the order of (instant, sequence).
    pub fn advance(&mut self, now: Timestamp) {
        self.advance_own(now);
        if !self.others.is_empty() {
            let others: Vec<String> = self.others.keys().cloned().collect();
            others.iter().for_each(|id| self.within(id, |state| state.advance_own(now)));
        }
    }

    fn advance_own(&mut self, now: Timestamp) {
        while let Some((at, due)) = self.account.agenda.pop(now) {
            let region = due.region().to_owned();
            if let Some(mut world) = self.world(at, &region) {
                lifecycle::happen(&mut world, due);
            }
        }
        self.account.iam.arrive(now);
        if self.account.prices_changed {
            self.look_at_prices(now);
        }
        let released: Vec<Timestamp> = self.account.rules.iter_mut().flat_map(|active| active.releases(now)).collect();
        let home = self.account.home.clone();
        if let Some(region) = self.regions.get_mut(&home) {
            released.into_iter().for_each(|at| image::release(region, at));
        }
    }

    /// Whether something comes by a fault in force, by an announcement or by what IAM was told between two instants.
    pub fn comes_by_rule(&self, from: Timestamp, to: Timestamp) -> bool {
        let mut releases = self.account.rules.iter().filter_map(rules::ActiveRule::next_release);
        let mut told = self.account.iam.earlier.iter().map(|earlier| earlier.until);
        self.account.agenda.fates(from, to) || releases.any(|at| from < at && at <= to) || told.any(|at| from < at && at <= to)
    }

    pub fn iam_mode(&self) -> IamMode {
        self.account.settings.iam
    }

    /// How long what is made from now on is not found: machines and launch templates, and what IAM makes or is told.
    pub fn set_consistency(&mut self, consistency: Consistency, iam_propagation: Propagation) {
        let others = self.others.values_mut().map(|state| &mut state.account);
        for account in others.chain([&mut self.account]) {
            account.settings.consistency = consistency;
            account.settings.iam_propagation = iam_propagation;
        }
    }

    /// Puts service control policies over the account in place of those that were there; none means that everything is allowed.
    pub fn set_service_control_policies(&mut self, documents: Vec<String>) -> Result<(), crate::policy::document::Fault> {
        for document in &documents {
            crate::policy::Policy::read(document, crate::policy::Kind::Identity)?;
        }
        self.account.settings.service_control_policies = documents;
        Ok(())
    }

    /// Where the queues of all accounts are found.
    pub(crate) fn found_at(&mut self, base: Option<&String>) {
        self.account.settings.queue_url_base = base.cloned();
        self.others.values_mut().for_each(|state| state.found_at(base));
    }

    /// In words, what could still move by itself: boots, shutdowns, events on their way. Empty when settled.
    pub fn unsettled(&self) -> Vec<String> {
        let others = self.others.values().flat_map(State::unsettled);
        self.account.agenda.unsettled().into_iter().chain(others).collect()
    }
}
