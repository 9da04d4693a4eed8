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

/// The first taint that is not tolerated, `PreferNoSchedule` included (`C/pkg/scheduling/taints.go`, Tolerates).
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a", false, "1", None, true)]
    #[case("a", false, "2", None, false)]
    #[case("a", true, "", None, true)]
    #[case("b", true, "", None, false)]
    #[case("", true, "", None, true)]
    #[case("", false, "1", None, false)]
    #[case("a", true, "", Some(Effect::NoSchedule), true)]
    #[case("a", true, "", Some(Effect::NoExecute), false)]
    fn tolerations_match_key_value_and_effect(
        #[case] key: &str,
        #[case] exists: bool,
        #[case] value: &str,
        #[case] effect: Option<Effect>,
        #[case] ok: bool,
    ) {
        let taint = Taint { key: "a".into(), value: "1".into(), effect: Effect::NoSchedule };
        let toleration = Toleration { key: key.into(), exists, value: value.into(), effect };
        assert_eq!(toleration.tolerates(&taint), ok);
        assert_eq!(first_untolerated(std::slice::from_ref(&taint), &[toleration]).is_none(), ok);
    }
}
