//! Taints and who tolerates them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taint {
    pub key: Arc<str>,
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub value: Arc<str>,
    pub effect: Effect,
}

fn str_is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

/// A toleration as on a pod. `exists` is operator `Exists`; an empty key with `exists` tolerates everything; no effect means all effects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Toleration {
    pub key: Arc<str>,
    pub exists: bool,
    pub value: Arc<str>,
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Source: `k8s.io/component-helpers/scheduling/corev1/helpers.go`, ToleratesTaint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && if self.exists { true } else { !self.key.is_empty() && self.value == taint.value }
    }
}

/// The first taint that must be tolerated (not `PreferNoSchedule` when `soft` is true) and is not.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}:{:?}", self.key, self.effect)
        } else {
            write!(f, "{}={}:{:?}", self.key, self.value, self.effect)
        }
    }
}
