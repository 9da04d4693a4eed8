//! VPCs, subnets with their addresses, security groups, network interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entropy::Entropy;
use crate::catalogue::Zone;

/// A resource's tags, by key.
pub type Tags = BTreeMap<String, String>;

/// An IPv4 block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr {
    base: u32,
    length: u8,
}

impl Cidr {
    pub fn new(base: [u8; 4], length: u8) -> Self {
        Self { base: u32::from(Ipv4Addr::from(base)) & mask(length), length }
    }

    /// Reads `10.0.0.0/16`, the length EC2's 16 to 28. Host bits are cut off: "if you specify 100.68.0.18/18, we modify it to
    /// 100.68.0.0/18" (EC2 API reference, CreateVpc, CreateSubnet).
    pub fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
        let length: u8 = length.parse().ok().filter(|length| (16..=28).contains(length))?;
        Some(Self { base: base & mask(length), length })
    }

    pub fn addresses(self) -> u32 {
        1u32.checked_shl(32 - u32::from(self.length)).unwrap_or(u32::MAX)
    }

    pub fn contains(self, other: Self) -> bool {
        other.length >= self.length && other.base & mask(self.length) == self.base
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(offset))
    }

    fn offset(self, address: Ipv4Addr) -> Option<u32> {
        u32::from(address).checked_sub(self.base).filter(|offset| *offset < self.addresses())
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Vpc {
    pub id: String,
    pub cidr: Cidr,
    pub default: bool,
    pub tags: Tags,
}

impl Vpc {
    pub fn new(id: String, cidr: Cidr, default: bool) -> Self {
        Self { id, cidr, default, tags: Tags::new() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub vpc_id: String,
    pub zone: Zone,
    pub cidr: Cidr,
    pub default: bool,
    /// Whether instances get a public address by themselves.
    pub public: bool,
    pub tags: Tags,
    /// Addresses that somebody outside this account's instances holds (pods, load balancers).
    pub occupied: u32,
    used: BTreeSet<u32>,
    /// From when on EC2 finds it.
    pub found: Timestamp,
}

/// AWS keeps the first four addresses of a subnet and the last. Source: VPC user guide, "Subnet sizing for IPv4".
const KEPT_FIRST: u32 = 4;
const KEPT_LAST: u32 = 1;

impl Subnet {
    pub fn new(id: String, vpc_id: &str, zone: Zone, cidr: Cidr) -> Self {
        let (vpc_id, tags, used) = (vpc_id.to_owned(), Tags::new(), BTreeSet::new());
        Self { id, vpc_id, zone, cidr, default: false, public: false, tags, occupied: 0, used, found: Timestamp::MIN }
    }

    /// How many addresses are free: `AvailableIpAddressCount`.
    pub fn free(&self) -> u32 {
        let taken = self.occupied.saturating_add(u32::try_from(self.used.len()).unwrap_or(u32::MAX));
        (self.cidr.addresses() - KEPT_FIRST - KEPT_LAST).saturating_sub(taken)
    }

    /// Leaves this many addresses free by taking the others out of use.
    pub fn leave_free(&mut self, free: u32) {
        self.occupied = 0;
        self.occupied = self.free().saturating_sub(free);
    }

    /// Takes a free address, drawn from the subnet's stream as EC2 draws one; `None` when none is free.
    pub(crate) fn take(&mut self, entropy: &mut Entropy) -> Option<Ipv4Addr> {
        if self.free() == 0 {
            return None;
        }
        let span = self.cidr.addresses() - KEPT_FIRST - KEPT_LAST;
        let drawn = u32::try_from(entropy.below(&self.id, u64::from(span))).unwrap_or(0);
        let offset = (0..span).map(|step| KEPT_FIRST + (drawn + step) % span).find(|offset| !self.used.contains(offset))?;
        self.used.insert(offset);
        Some(self.cidr.address(offset))
    }

    /// Takes one address that the caller names; false if it is not free.
    pub(crate) fn take_this(&mut self, address: Ipv4Addr) -> bool {
        let last = self.cidr.addresses() - KEPT_LAST;
        let offset = self.cidr.offset(address).filter(|offset| (KEPT_FIRST..last).contains(offset));
        self.free() > 0 && offset.is_some_and(|offset| self.used.insert(offset))
    }

    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        if let Some(offset) = self.cidr.offset(address) {
            self.used.remove(&offset);
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub vpc_id: String,
    pub tags: Tags,
    /// `IpPermission` structures as they were authorized.
    pub ingress: Vec<Value>,
    pub egress: Vec<Value>,
    /// From when on EC2 finds it.
    pub found: Timestamp,
}

impl SecurityGroup {
    pub fn new(id: String, name: &str, description: &str, vpc_id: &str) -> Self {
        let everywhere = serde_json::json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
        Self {
            id,
            name: name.to_owned(),
            description: description.to_owned(),
            vpc_id: vpc_id.to_owned(),
            tags: Tags::new(),
            ingress: Vec::new(),
            egress: vec![everywhere],
            found: Timestamp::MIN,
        }
    }
}

/// A network interface, always attached to an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    pub id: String,
    pub attachment_id: String,
    pub instance_id: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub zone: Zone,
    pub groups: Vec<String>,
    /// None for `efa-only`.
    pub address: Option<Ipv4Addr>,
    pub public_address: Option<Ipv4Addr>,
    pub mac: String,
    pub description: String,
    pub interface_type: String,
    pub device_index: i64,
    pub card_index: i64,
    pub delete_on_termination: bool,
    pub attached_at: Timestamp,
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: Zone = Zone { name: "us-west-2a", id: "usw2-az1" };

    #[test]
    fn a_subnet_gives_each_address_once_and_takes_it_back() {
        let mut entropy = Entropy::new(1);
        let mut subnet = Subnet::new("subnet-1".into(), "vpc-1", ZONE, Cidr::new([10, 0, 0, 0], 28));
        assert_eq!(subnet.free(), 11);
        let taken: BTreeSet<_> = std::iter::from_fn(|| subnet.take(&mut entropy)).collect();
        assert_eq!((taken.len(), subnet.free()), (11, 0));
        assert!(taken.iter().all(|address| (4..15).contains(&address.octets()[3])));
        subnet.release(*taken.first().expect("eleven"));
        assert_eq!(subnet.free(), 1);
        assert!(!subnet.take_this(Ipv4Addr::new(10, 0, 0, 2)));
        assert!(subnet.take_this(*taken.first().expect("eleven")));
    }

    #[test]
    fn a_subnet_can_be_left_nearly_full() {
        let mut subnet = Subnet::new("subnet-1".into(), "vpc-1", ZONE, Cidr::new([10, 0, 0, 0], 24));
        subnet.leave_free(3);
        assert_eq!(subnet.free(), 3);
    }

    #[test]
    fn cidrs() {
        assert_eq!(Cidr::parse("10.0.0.0/16").map(|cidr| cidr.to_string()), Some("10.0.0.0/16".into()));
        assert_eq!(Cidr::parse("100.68.0.18/18").map(|cidr| cidr.to_string()), Some("100.68.0.0/18".into()));
        for bad in ["10.0.0.0/8", "10.0.0.0/29", "10.0.0.0", "x/16", "10.0.0.0/16/2"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
        let (vpc, subnet) = (Cidr::new([10, 0, 0, 0], 16), Cidr::new([10, 0, 16, 0], 20));
        assert!(vpc.contains(subnet) && !subnet.contains(vpc) && subnet.overlaps(vpc));
    }
}
