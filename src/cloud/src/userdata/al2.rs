//! Amazon Linux 2: custom parts first, then the EKS bootstrap script. Source: `A/pkg/providers/amifamily/bootstrap/eksbootstrap.go`.

use super::mime::{self, Part, SHELL_SCRIPT};
use super::{Bootstrap, UserDataError, arguments};
use std::net::IpAddr;

pub fn render(bootstrap: &Bootstrap) -> Result<String, UserDataError> {
    let custom = bootstrap.custom_text();
    let mut parts = match custom {
        "" => Vec::new(),
        archive if mime::is_archive(archive) => mime::read(archive)?,
        script => vec![Part::new(SHELL_SCRIPT, script)],
    };
    parts.push(Part::new(SHELL_SCRIPT, script(bootstrap)));
    Ok(mime::write(&parts))
}

fn script(bootstrap: &Bootstrap) -> String {
    let ca = bootstrap.cluster_ca.as_deref().map(|ca| format!("--b64-cluster-ca '{ca}'")).unwrap_or_default();
    let mut text = String::from("#!/bin/bash -xe\nexec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1\n");
    text.push_str(&format!(
        "/etc/eks/bootstrap.sh '{}' --apiserver-endpoint '{}' {ca}",
        bootstrap.cluster_name, bootstrap.cluster_endpoint
    ));
    if let Some(dns) = bootstrap.kubelet.cluster_dns.first() {
        if !matches!(dns.parse(), Ok(IpAddr::V4(_))) {
            text.push_str(" \\\n--ip-family ipv6");
        }
        text.push_str(&format!(" \\\n--dns-cluster-ip '{dns}'"));
    }
    if bootstrap.kubelet.max_pods.is_some() {
        text.push_str(" \\\n--use-max-pods false");
    }
    text.push_str(&format!(" \\\n--kubelet-extra-args '{}'", arguments::kubelet_extra_args(bootstrap).join(" ")));
    if bootstrap.striped_disks {
        text.push_str(" \\\n--local-disks raid0");
    }
    text
}
