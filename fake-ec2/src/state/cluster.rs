//! EKS clusters, as far as a client can see them from AWS's side.

use jiff::Timestamp;

use super::network::Tags;

#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: String,
    pub arn: String,
    pub version: String,
    pub role_arn: String,
    pub endpoint: String,
    /// Base64 of PEM, as `certificateAuthority.data`.
    pub certificate_authority: String,
    /// Sixteen bytes in hexadecimal, upper case: the end of the OIDC issuer.
    pub oidc_id: String,
    pub subnet_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub cluster_security_group: String,
    pub vpc_id: String,
    pub service_ipv4_cidr: String,
    pub authentication_mode: String,
    pub zonal_shift: bool,
    pub created: Timestamp,
    pub active: bool,
    pub tags: Tags,
}
