//! Whether a type can carry what a NodeClass asks for. Source: `A/pkg/providers/instancetype/compatibility/compatibility.go`.

use super::family::Family;
use super::placement_groups::PlacementGroup;
use super::type_info::TypeInfo;
use api::ec2nodeclass::{EC2NodeClassSpec, NetworkInterface};

pub fn is_compatible(info: &TypeInfo, family: Family, spec: &EC2NodeClassSpec, group: Option<&PlacementGroup>) -> bool {
    if group.is_some_and(|group| !info.strategies.contains(&group.strategy)) {
        return false;
    }
    // a1 lacks what Amazon Linux 2023 is built for (al2023/ug/system-requirements.html).
    if family == Family::Al2023 && info.name.starts_with("a1.") {
        return false;
    }
    if spec.connection_tracking.is_some() && info.hypervisor != "nitro" {
        return false;
    }
    let nested = spec.cpu_options.as_ref().and_then(|options| options.get("nestedVirtualization")?.as_str()) == Some("enabled");
    if nested
        && !info.processor.as_ref().is_some_and(|processor| processor.features.iter().any(|feature| feature == "nested-virtualization"))
    {
        return false;
    }
    interfaces_fit(info, &spec.network_interfaces)
}

fn interfaces_fit(info: &TypeInfo, interfaces: &[NetworkInterface]) -> bool {
    if interfaces.is_empty() {
        return true;
    }
    let network = &info.network;
    if network.cards.is_empty() || network.ena_support == "unsupported" {
        return false;
    }
    let fits = |interface: &NetworkInterface| {
        let index = i64::from(interface.network_card_index);
        let card = network.cards.iter().find(|card| card.index == index);
        (network.cards.len() as i64) > index && card.is_some_and(|card| card.maximum_interfaces > i64::from(interface.device_index))
    };
    let efa = interfaces.iter().filter(|interface| interface.interface_type == "efa-only").count() as i64;
    interfaces.iter().all(fits) && (efa == 0 || network.maximum_efa.is_some_and(|most| efa <= most))
}
