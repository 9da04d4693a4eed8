//! The nouns that every room speaks, with their units: quantities, the requirement algebra, taints, zones, capacity types, prices.
//!
//! May touch: std, jiff, serde. Must never touch: async, Kubernetes or AWS clients, IO, clocks, chance.
//!
//! Map: [`quantity`] reads and prints Kubernetes quantities; [`resources`] are named amounts; [`requirement`] is Karpenter's
//! algebra of label sets; [`taint`] decides who tolerates what; [`labels`] are the well-known keys; [`money`] are prices.

pub mod labels;
pub mod money;
pub mod quantity;
pub mod requirement;
pub mod resources;
pub mod taint;

pub use money::UsdPerHour;
pub use quantity::{ParseQuantityError, Quantity};
pub use requirement::{Operator, Requirement, Requirements};
pub use resources::Resources;
pub use taint::{Effect, Taint, Toleration};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The market that a machine is bought on; the value of `karpenter.sh/capacity-type`.
///
/// Source: `C/pkg/apis/v1/labels.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    Reserved,
    Spot,
    OnDemand,
}

impl CapacityType {
    /// Precedence at launch: reserved before Spot before on-demand (`A/pkg/providers/instance/instance.go`).
    pub const PRECEDENCE: [CapacityType; 3] = [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand];

    pub fn as_str(self) -> &'static str {
        match self {
            CapacityType::Reserved => "reserved",
            CapacityType::Spot => "spot",
            CapacityType::OnDemand => "on-demand",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::PRECEDENCE.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
