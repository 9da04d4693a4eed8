//! Host ports in use on a node (`C/pkg/scheduling/hostportusage.go`).

use crate::input::HostPort;
use std::net::IpAddr;
use std::sync::Arc;

/// A host port with its address read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// `None` when the address is none.
    ip: Option<IpAddr>,
    pub port: i32,
    protocol: Arc<str>,
}

impl Port {
    pub fn read(from: &HostPort) -> Self {
        let ip = if from.ip.is_empty() { "0.0.0.0" } else { &from.ip };
        Port { ip: ip.parse().ok(), port: from.port, protocol: from.protocol.clone() }
    }

    pub fn read_all(from: &[HostPort]) -> Vec<Self> {
        from.iter().map(Port::read).collect()
    }

    fn conflicts(&self, other: &Port) -> bool {
        let everywhere = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_unspecified());
        self.protocol == other.protocol && self.port == other.port && (self.ip == other.ip || everywhere(self.ip) || everywhere(other.ip))
    }
}

/// The first wanted port that is taken.
pub fn first_conflict<'a>(wanted: &'a [Port], taken: &[Port]) -> Option<&'a Port> {
    wanted.iter().find(|port| taken.iter().any(|other| port.conflicts(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(("", 80, "TCP"), ("", 80, "TCP"), true)]
    #[case(("10.0.0.1", 80, "TCP"), ("10.0.0.2", 80, "TCP"), false)]
    #[case(("10.0.0.1", 80, "TCP"), ("0.0.0.0", 80, "TCP"), true)]
    #[case(("::", 80, "TCP"), ("10.0.0.1", 80, "TCP"), true)]
    #[case(("", 80, "TCP"), ("", 80, "UDP"), false)]
    #[case(("", 80, "TCP"), ("", 81, "TCP"), false)]
    fn a_wildcard_address_takes_the_port_everywhere(#[case] a: (&str, i32, &str), #[case] b: (&str, i32, &str), #[case] conflict: bool) {
        let port = |(ip, port, protocol): (&str, i32, &str)| Port::read(&HostPort { ip: ip.into(), port, protocol: protocol.into() });
        assert_eq!(first_conflict(&[port(a)], &[port(b)]).is_some(), conflict);
        assert_eq!(first_conflict(&[port(b)], &[port(a)]).is_some(), conflict);
    }
}
