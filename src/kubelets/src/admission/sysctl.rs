//! Kernel parameters that a pod may set.
//!
//! Source: kubernetes `pkg/kubelet/sysctl/{allowlist,safe_sysctls}.go`. All hollow machines have a kernel that is new enough for all of them,
//! and no kubelet is told to allow more.

use super::{Applicant, Refusal};

/// Those that touch no other pod.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why the pod may not set what it wants to set, if it may not.
pub fn forbidden(applicant: &Applicant) -> Option<Refusal> {
    let why = applicant.sysctls.iter().find_map(|name| {
        let name = normal(name);
        let network = name.starts_with("net.");
        match SAFE.contains(&name.as_str()) {
            false => Some(format!("{name:?} not allowlisted")),
            true if network && applicant.host_network => Some(format!("{name:?} not allowed with host Net enabled")),
            true if !network && applicant.host_ipc => Some(format!("{name:?} not allowed with host IPC enabled")),
            true => None,
        }
    })?;
    Some(Refusal::new("SysctlForbidden", format!("forbidden sysctl: {why}")))
}

/// With slashes as separators, dots stand for slashes (`k8s.io/component-helpers/node/util/sysctl`, NormalizeName).
fn normal(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => {
            let other = |letter: char| match letter {
                '/' => '.',
                '.' => '/',
                letter => letter,
            };
            name.chars().map(other).collect()
        }
        _ => name.to_owned(),
    }
}
