//! Windows: the custom script, then EKS's. Source: `A/pkg/providers/amifamily/bootstrap/windows.go`.

use super::{Bootstrap, arguments};

pub fn render(bootstrap: &Bootstrap) -> String {
    let mut text = String::from("<powershell>\n");
    if !bootstrap.custom_text().is_empty() {
        text.push_str(bootstrap.custom_text());
        text.push('\n');
    }
    text.push_str("[string]$EKSBootstrapScriptFile = \"$env:ProgramFiles\\Amazon\\EKS\\Start-EKSBootstrap.ps1\"\n");
    text.push_str(&format!(
        "& $EKSBootstrapScriptFile -EKSClusterName '{}' -APIServerEndpoint '{}'",
        bootstrap.cluster_name, bootstrap.cluster_endpoint
    ));
    if let Some(ca) = &bootstrap.cluster_ca {
        text.push_str(&format!(" -Base64ClusterCA '{ca}'"));
    }
    text.push_str(&format!(" -KubeletExtraArgs '{}'", arguments::kubelet_extra_args(bootstrap).join(" ")));
    if let Some(dns) = bootstrap.kubelet.cluster_dns.first() {
        text.push_str(&format!(" -DNSClusterIP '{dns}'"));
    }
    text.push_str("\n</powershell>");
    text
}
