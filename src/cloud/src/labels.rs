//! Labels and resources of AWS that are not in the vocabulary. Source: `A/pkg/apis/v1/labels.go`.

use vocabulary::labels;

pub const RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";
pub const RESERVATION_TYPE: &str = "karpenter.k8s.aws/capacity-reservation-type";
pub const RESERVATION_INTERRUPTIBLE: &str = "karpenter.k8s.aws/capacity-reservation-interruptible";

pub const POD_ENI: &str = "vpc.amazonaws.com/pod-eni";
pub const PRIVATE_IPV4: &str = "vpc.amazonaws.com/PrivateIPv4Address";
pub const EFA: &str = "vpc.amazonaws.com/efa";
pub const NVIDIA_GPU: &str = "nvidia.com/gpu";
pub const AMD_GPU: &str = "amd.com/gpu";
pub const GAUDI: &str = "habana.ai/gaudi";
pub const NEURON: &str = "aws.amazon.com/neuron";
pub const NEURON_CORE: &str = "aws.amazon.com/neuroncore";
/// Asking for it turns Nitro enclaves on.
pub const NIP_SLOTS: &str = "eks.amazonaws.com/nip-slots";

/// Whether a requirement on this key may be met by a type that does not name it.
///
/// Source: `C/pkg/apis/v1/labels.go`, WellKnownLabels, and what `A/pkg/apis/v1/labels.go` inserts.
pub fn is_well_known(key: &str) -> bool {
    matches!(
        key,
        labels::NODEPOOL
            | labels::ZONE
            | labels::REGION
            | labels::INSTANCE_TYPE
            | labels::ARCH
            | labels::OS
            | labels::CAPACITY_TYPE
            | labels::WINDOWS_BUILD
            | labels::ZONE_ID
    ) || key.starts_with("karpenter.k8s.aws/") && key != labels::EC2NODECLASS
}
