//! What is regional: networks, images, templates, instances, queues, rules, parameters, clusters.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::bus::Bus;
use super::cluster::Cluster;
use super::image::Image;
use super::instance::{Instance, Volume};
use super::market::Pool;
use super::network::{Cidr, Interface, SecurityGroup, Subnet, Vpc};
use super::parameter::Parameter;
use super::queue::Queue;
use super::template::LaunchTemplate;
use super::tracked::Tracked;
use crate::catalogue::{self, Zone};
use crate::kept::pairs;

/// One region of the account.
#[derive(Debug, Serialize, Deserialize)]
pub struct Region {
    pub name: String,
    /// The zones that the account sees, by name.
    pub zones: Vec<Zone>,
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) instances: Tracked<Instance>,
    /// Instances as DescribeInstances wrote them last.
    #[serde(skip)]
    pub(crate) written: Written,
    pub(crate) fleets: super::fleet::Fleets,
    pub(crate) templates: BTreeMap<String, LaunchTemplate>,
    pub(crate) images: BTreeMap<String, Image>,
    /// AWS's own parameters (`/aws/service/…`).
    pub(crate) public_parameters: BTreeMap<String, String>,
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) bus: Bus,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// Capacity reservations by id.
    pub(crate) reservations: BTreeMap<String, super::reservation::CapacityReservation>,
    /// By name.
    pub(crate) placement_groups: BTreeMap<String, super::reservation::PlacementGroup>,
    /// When the next change of a price is looked at that Spot machines have a maximum for.
    pub(crate) prices_watched: Option<Timestamp>,
    /// How many releases of images there were since the cloud began.
    pub(crate) releases: u64,
    /// Auto Scaling groups by name.
    pub groups_of_scaling: BTreeMap<String, super::group::Group>,
    /// How many instances each pool holds now.
    #[serde(with = "pairs")]
    pub(crate) pools: BTreeMap<Pool, u64>,
}

/// Texts by instance, each good as long as neither the instance nor what stands around it (groups, images …) has changed.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Moves on whenever something changes that instances only refer to.
    pub around: u64,
    texts: BTreeMap<String, (u64, u64, Arc<str>)>,
}

impl Written {
    pub fn get(&self, id: &str, version: u64) -> Option<Arc<str>> {
        let (of, around, text) = self.texts.get(id)?;
        (*of == version && *around == self.around).then(|| Arc::clone(text))
    }

    pub fn keep(&mut self, id: &str, version: u64, text: Arc<str>) {
        self.texts.insert(id.to_owned(), (version, self.around, text));
    }

    pub fn forget(&mut self, id: &str) {
        self.texts.remove(id);
    }
}

impl Region {
    /// A region as a new account finds it; `None` when the catalogue does not know the name.
    pub(crate) fn fresh(name: &str, account: &mut Account) -> Option<Self> {
        let known = catalogue::region(name)?;
        let wanted = &account.settings.zones;
        let home = name == account.home;
        let seen = |zone: &&Zone| !home || wanted.is_empty() || wanted.iter().any(|name| name == zone.name);
        let (images, public_parameters) = super::image::published(name);
        let mut region = Self {
            name: name.to_owned(),
            zones: known.zones().iter().filter(seen).copied().collect(),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            volumes: BTreeMap::new(),
            instances: Tracked::default(),
            written: Written::default(),
            fleets: super::fleet::Fleets::default(),
            templates: BTreeMap::new(),
            images,
            public_parameters,
            parameters: BTreeMap::new(),
            queues: BTreeMap::new(),
            bus: Bus::default(),
            clusters: BTreeMap::new(),
            groups_of_scaling: BTreeMap::new(),
            prices_watched: None,
            releases: 0,
            reservations: BTreeMap::new(),
            placement_groups: BTreeMap::new(),
            pools: BTreeMap::new(),
        };
        region.add_default_network(account);
        Some(region)
    }

    /// The default VPC: 172.31.0.0/16, a /20 per zone that gives public addresses, a default security group.
    /// Source: VPC user guide, "Default VPC components".
    fn add_default_network(&mut self, account: &mut Account) {
        let vpc = Vpc::new(account.entropy.id("vpc"), Cidr::new([172, 31, 0, 0], 16), true);
        let zones = self.zones.clone();
        for (at, zone) in (0u8..=15).zip(zones) {
            let cidr = Cidr::new([172, 31, at * 16, 0], 20);
            let mut subnet = Subnet::new(account.entropy.id("subnet"), &vpc.id, zone, cidr);
            (subnet.default, subnet.public) = (true, true);
            self.subnets.insert(subnet.id.clone(), subnet);
        }
        self.add_default_group(account, &vpc.id);
        self.vpcs.insert(vpc.id.clone(), vpc);
    }

    /// The default security group that every VPC has.
    pub(crate) fn add_default_group(&mut self, account: &mut Account, vpc_id: &str) {
        let id = account.entropy.id("sg");
        self.groups.insert(id.clone(), SecurityGroup::new(id, "default", "default VPC security group", vpc_id));
    }

    pub(crate) fn zone(&self, name: &str) -> Option<Zone> {
        self.zones.iter().find(|zone| zone.name == name).copied()
    }

    /// A subnet, once EC2 finds it.
    pub(crate) fn subnet(&self, id: &str, now: Timestamp) -> Option<&Subnet> {
        self.subnets.get(id).filter(|subnet| subnet.found <= now)
    }

    /// A security group, once EC2 finds it.
    pub(crate) fn group(&self, id: &str, now: Timestamp) -> Option<&SecurityGroup> {
        self.groups.get(id).filter(|group| group.found <= now)
    }

    pub(crate) fn default_vpc(&self) -> Option<&Vpc> {
        self.vpcs.values().find(|vpc| vpc.default)
    }

    /// The default security group of a VPC.
    pub(crate) fn default_group(&self, vpc_id: &str) -> Option<&SecurityGroup> {
        self.groups.values().find(|group| group.vpc_id == vpc_id && group.name == "default")
    }
}
