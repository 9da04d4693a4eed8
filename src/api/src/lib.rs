//! Karpenter's objects as they stand on the wire: NodePool, NodeClaim, NodeOverlay, EC2NodeClass, their CustomResourceDefinitions and hashes.
//!
//! May touch: `vocabulary`, schemas, kube's derive. Must never touch: decisions, IO.
//!
//! Map: [`nodepool`], [`nodeclaim`], [`nodeoverlay`], [`ec2nodeclass`] are the kinds; [`condition`] are status conditions; [`crds`] hands out the
//! definitions that an API server enforces; [`hash`] are the numbers that decide drift; [`requirement`] turns selector entries into the
//! algebra and back; [`validate`] is what the definitions cannot say.

pub mod condition;
pub mod crds;
pub mod duration;
pub mod ec2nodeclass;
pub mod hash;
pub mod nodeclaim;
pub mod nodeoverlay;
pub mod nodepool;
pub mod requirement;
pub mod validate;

pub use condition::Condition;
pub use ec2nodeclass::{EC2NodeClass, EC2NodeClassSpec, EC2NodeClassStatus};
pub use nodeclaim::{NodeClaim, NodeClaimSpec, NodeClaimStatus};
pub use nodeoverlay::{NodeOverlay, NodeOverlaySpec, NodeOverlayStatus};
pub use nodepool::{NodePool, NodePoolSpec, NodePoolStatus};
