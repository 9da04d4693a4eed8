//! The CustomResourceDefinitions of `karpenter.sh` and `karpenter.k8s.aws`, as JSON for any API server.
//!
//! Written by `ci/generate/crds.py` from the Go modules of Karpenter v1.14.1.

use serde_json::Value;

const FILES: [&str; 4] = [
    include_str!("../crds/karpenter.sh_nodepools.json"),
    include_str!("../crds/karpenter.sh_nodeclaims.json"),
    include_str!("../crds/karpenter.sh_nodeoverlays.json"),
    include_str!("../crds/karpenter.k8s.aws_ec2nodeclasses.json"),
];

/// All definitions, each a `CustomResourceDefinition` object.
pub fn all() -> Vec<Value> {
    FILES.iter().map(|text| serde_json::from_str(text).expect("committed definitions are JSON")).collect()
}
