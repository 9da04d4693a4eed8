//! Rules of security groups: whether what is asked for is one.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::protocol::AwsError;
use crate::services::errors;
use crate::services::input::Read;

/// Source: API reference, IpPermission: ports from 0 to 65535, types and codes of ICMP from 0 to 255, -1 for all of them.
pub(super) fn check(permission: &Value) -> Result<(), AwsError> {
    let protocol = permission.text("IpProtocol").unwrap_or("-1");
    let known = ["tcp", "udp", "icmp", "icmpv6", "-1"].contains(&protocol) || protocol.parse::<u8>().is_ok();
    if !known {
        return Err(errors::PROTOCOL.error(&[protocol]));
    }
    let ports = match protocol {
        "tcp" | "udp" | "6" | "17" => Some(0..=65_535),
        "icmp" | "icmpv6" | "1" | "58" => Some(-1..=255),
        // Of other protocols ports are not looked at.
        _ => None,
    };
    if let Some(ports) = ports {
        let (from, to) = (permission.int("FromPort"), permission.int("ToPort"));
        // TCP and UDP may say -1 for all of them, too.
        let all = from == Some(-1) && to.is_none_or(|to| to == -1);
        if let Some(port) = [from, to].into_iter().flatten().find(|port| !all && !ports.contains(port)) {
            return Err(errors::PORT.error(&[&port.to_string()]));
        }
        if let (Some(from), Some(to)) = (from, to)
            && *ports.start() == 0
            && from > to
        {
            return Err(errors::PORT_RANGE.error(&[&from.to_string(), &to.to_string()]));
        }
    }
    let v4 = permission.list("IpRanges").iter().filter_map(|range| range.text("CidrIp")).find(|cidr| !is_cidr::<Ipv4Addr>(cidr, 32));
    let v6 = permission.list("Ipv6Ranges").iter().filter_map(|range| range.text("CidrIpv6")).find(|cidr| !is_cidr::<Ipv6Addr>(cidr, 128));
    match v4.or(v6) {
        Some(cidr) => Err(errors::RULE_CIDR.error(&[cidr])),
        None => Ok(()),
    }
}

fn is_cidr<A: std::str::FromStr>(text: &str, most: u8) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| address.parse::<A>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}), "")]
    #[case(json!({"IpProtocol": "-1", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}), "")]
    #[case(json!({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1}), "")]
    #[case(json!({"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}), "")]
    #[case(json!({"IpProtocol": "50"}), "")]
    #[case(json!({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 70000}), "70000")]
    #[case(json!({"IpProtocol": "tcp", "FromPort": -7, "ToPort": 22}), "-7")]
    #[case(json!({"IpProtocol": "udp", "FromPort": 100, "ToPort": 99}), "100")]
    #[case(json!({"IpProtocol": "tpc", "FromPort": 22, "ToPort": 22}), "tpc")]
    #[case(json!({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.0/33"}]}), "10.0.0.0/33")]
    #[case(json!({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.300/8"}]}), "10.0.0.300/8")]
    #[case(json!({"IpProtocol": "tcp", "Ipv6Ranges": [{"CidrIpv6": "10.0.0.0/8"}]}), "10.0.0.0/8")]
    fn rules(#[case] permission: Value, #[case] wrong: &str) {
        match check(&permission) {
            Ok(()) => assert_eq!(wrong, ""),
            Err(error) => assert!(error.code == "InvalidParameterValue" && !wrong.is_empty() && error.message.contains(wrong), "{error}"),
        }
    }
}
