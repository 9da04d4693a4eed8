//! String formats that a structural schema may ask for. Formats that kube-apiserver does not know are not checked.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/validation/formats.go`, `kube-openapi/pkg/validation/strfmt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) fn holds(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "datetime" => text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_go_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, bits)| is_prefix(address, bits)),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "byte" => {
            text.len().is_multiple_of(4) && text.trim_end_matches('=').bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
        }
        "uri" => {
            text.split_once(':')
                .is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c)))
                || text.starts_with('/')
        }
        "mac" => {
            text.split([':', '-']).count() == 6
                && text.split([':', '-']).all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok())
        }
        _ => true,
    }
}

fn is_prefix(address: &str, bits: &str) -> bool {
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    digits.len() == 32
        && digits.chars().all(|c| c.is_ascii_hexdigit())
        && version.is_none_or(|wanted| digits.chars().nth(12) == Some(wanted))
}

/// `time.ParseDuration`: numbers with units, one after the other.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().filter(|unit| after.starts_with(**unit)).max_by_key(|unit| unit.len());
        let (Some(unit), true) = (unit, digits.bytes().any(|c| c.is_ascii_digit())) else { return false };
        rest = &after[unit.len()..];
    }
    true
}
