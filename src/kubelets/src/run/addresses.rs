//! Pod addresses: each node has blocks of 254 out of 100.64.0.0/10, the range that EKS documents for pods' own subnets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);
const BLOCKS: u32 = 1 << 14;

#[derive(Default)]
pub struct Addresses {
    /// Taken host numbers by block, by node.
    nodes: BTreeMap<String, BTreeMap<u32, BTreeSet<u8>>>,
    taken: BTreeSet<u32>,
}

impl Addresses {
    /// The lowest free address of the node; empty when the whole range is taken.
    pub fn take(&mut self, node: &str) -> String {
        let blocks = self.nodes.entry(node.to_owned()).or_default();
        for (block, hosts) in blocks.iter_mut() {
            if let Some(host) = (1..=254).find(|host| !hosts.contains(host)) {
                hosts.insert(host);
                return address(*block, host);
            }
        }
        let Some(block) = (0..BLOCKS).find(|block| !self.taken.contains(block)) else { return String::new() };
        self.taken.insert(block);
        blocks.insert(block, BTreeSet::from([1]));
        address(block, 1)
    }

    /// An address that a pod has from before our time.
    pub fn claim(&mut self, node: &str, address: &str) {
        let Some((block, host)) = parse(address) else { return };
        let blocks = self.nodes.entry(node.to_owned()).or_default();
        if blocks.contains_key(&block) || self.taken.insert(block) {
            blocks.entry(block).or_default().insert(host);
        }
    }

    pub fn give_back(&mut self, node: &str, address: &str) {
        let block = parse(address).and_then(|(block, host)| Some((self.nodes.get_mut(node)?.get_mut(&block)?, host)));
        if let Some((hosts, host)) = block {
            hosts.remove(&host);
        }
    }

    pub fn forget(&mut self, node: &str) {
        for block in self.nodes.remove(node).unwrap_or_default().into_keys() {
            self.taken.remove(&block);
        }
    }
}

fn address(block: u32, host: u8) -> String {
    Ipv4Addr::from(FIRST + (block << 8) + u32::from(host)).to_string()
}

fn parse(address: &str) -> Option<(u32, u8)> {
    let offset = u32::from(address.parse::<Ipv4Addr>().ok()?).checked_sub(FIRST)?;
    let block = offset >> 8;
    (block < BLOCKS).then_some((block, u8::try_from(offset & 0xff).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_no_address_and_freed_ones_come_again() {
        let mut addresses = Addresses::default();
        let a: BTreeSet<String> = (0..600).map(|_| addresses.take("a")).collect();
        let b: BTreeSet<String> = (0..600).map(|_| addresses.take("b")).collect();
        assert_eq!((a.len(), b.len()), (600, 600));
        assert!(a.is_disjoint(&b));
        addresses.give_back("a", "100.64.0.7");
        assert_eq!(addresses.take("a"), "100.64.0.7");
        addresses.forget("a");
        assert_eq!(addresses.take("c"), "100.64.0.1");
    }

    #[test]
    fn claimed_addresses_are_not_given_out() {
        let mut addresses = Addresses::default();
        addresses.claim("a", "100.64.0.1");
        addresses.claim("a", "10.0.0.1");
        addresses.claim("a", "nonsense");
        assert_eq!(addresses.take("a"), "100.64.0.2");
        assert_eq!(addresses.take("b"), "100.64.1.1");
    }
}
