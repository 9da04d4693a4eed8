//! Karpenter's algebra of label requirements: a set of values or the complement of one, with integer bounds.
//!
//! Source: `C/pkg/scheduling/requirement.go`, `C/pkg/scheduling/requirements.go`.

use crate::labels;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
    Gte,
    Lte,
}

impl Operator {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            "Gte" => Operator::Gte,
            "Lte" => Operator::Lte,
            _ => return None,
        })
    }
}

/// What one label key may be. `complement` turns `values` into the values that are *not* allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requirement {
    pub key: Arc<str>,
    pub complement: bool,
    pub values: BTreeSet<Arc<str>>,
    /// Inclusive lower bound on the value read as an integer.
    pub gte: Option<i64>,
    /// Inclusive upper bound.
    pub lte: Option<i64>,
    /// At least so many distinct values must remain among the instance types (`minValues`).
    pub min_values: Option<u32>,
}

impl Requirement {
    /// Renamed labels get their present name ([`labels::normalize`]).
    /// `values` of `Gt`, `Lt`, `Gte`, `Lte` hold one integer; one that is none makes the requirement unsatisfiable.
    pub fn new<V: Into<Arc<str>>>(key: impl Into<Arc<str>>, operator: Operator, values: impl IntoIterator<Item = V>) -> Self {
        let values: BTreeSet<Arc<str>> = values.into_iter().map(Into::into).collect();
        let number = values.first().and_then(|v| v.parse::<i64>().ok());
        let key: Arc<str> = key.into();
        let key = match labels::normalize(&key) {
            present if *present == *key => key,
            present => Arc::from(present),
        };
        let mut made = Requirement { key, complement: false, values: BTreeSet::new(), gte: None, lte: None, min_values: None };
        match operator {
            Operator::In => made.values = values,
            Operator::NotIn => (made.complement, made.values) = (true, values),
            Operator::Exists => made.complement = true,
            Operator::DoesNotExist => {}
            // An overflowing bound allows nothing: the requirement stays the empty set.
            Operator::Gt => (made.complement, made.gte) = number.and_then(|n| n.checked_add(1)).map_or((false, None), |n| (true, Some(n))),
            Operator::Lt => (made.complement, made.lte) = number.and_then(|n| n.checked_sub(1)).map_or((false, None), |n| (true, Some(n))),
            Operator::Gte => (made.complement, made.gte) = number.map_or((false, None), |n| (true, Some(n))),
            Operator::Lte => (made.complement, made.lte) = number.map_or((false, None), |n| (true, Some(n))),
        }
        made
    }

    pub fn is_in(key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self::new(key, Operator::In, [value.into()])
    }

    pub fn operator(&self) -> Operator {
        match (self.complement, self.values.is_empty()) {
            (true, true) => Operator::Exists,
            (true, false) => Operator::NotIn,
            (false, false) => Operator::In,
            (false, true) => Operator::DoesNotExist,
        }
    }

    /// Whether the label may have this value.
    pub fn has(&self, value: &str) -> bool {
        self.values.contains(value) != self.complement && self.within_bounds(value)
    }

    fn within_bounds(&self, value: &str) -> bool {
        if self.gte.is_none() && self.lte.is_none() {
            return true;
        }
        value.parse::<i64>().is_ok_and(|n| self.gte.is_none_or(|low| n >= low) && self.lte.is_none_or(|high| n <= high))
    }

    /// What both allow.
    pub fn intersection(&self, other: &Requirement) -> Requirement {
        let gte = self.gte.max(other.gte);
        let lte = match (self.lte, other.lte) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let min_values = self.min_values.max(other.min_values);
        let bare = |complement, values: BTreeSet<Arc<str>>, gte, lte| Requirement {
            key: self.key.clone(),
            complement,
            values,
            gte,
            lte,
            min_values,
        };
        if let (Some(low), Some(high)) = (gte, lte)
            && low > high
        {
            return bare(false, BTreeSet::new(), None, None);
        }
        let mut bounds = bare(true, BTreeSet::new(), gte, lte);
        let values: BTreeSet<Arc<str>> = match (self.complement, other.complement) {
            (true, true) => self.values.union(&other.values).filter(|v| bounds.within_bounds(v)).cloned().collect(),
            (true, false) => other.values.difference(&self.values).filter(|v| bounds.within_bounds(v)).cloned().collect(),
            (false, true) => self.values.difference(&other.values).filter(|v| bounds.within_bounds(v)).cloned().collect(),
            (false, false) => self.values.intersection(&other.values).filter(|v| bounds.within_bounds(v)).cloned().collect(),
        };
        if self.complement && other.complement {
            bounds.values = values;
            return bounds;
        }
        bare(false, values, None, None)
    }

    /// Whether both allow a common value. Cheaper than [`Self::intersection`].
    pub fn intersects(&self, other: &Requirement) -> bool {
        let low = self.gte.max(other.gte);
        let high = [self.lte, other.lte].into_iter().flatten().min();
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            return false;
        }
        match (self.complement, other.complement) {
            (true, true) => true,
            (true, false) => other.values.iter().any(|v| !self.values.contains(v) && self.within_bounds(v) && other.within_bounds(v)),
            (false, true) => self.values.iter().any(|v| !other.values.contains(v) && self.within_bounds(v) && other.within_bounds(v)),
            (false, false) => self.values.iter().any(|v| other.values.contains(v) && self.within_bounds(v) && other.within_bounds(v)),
        }
    }

    /// The one value, if exactly one is allowed.
    pub fn single(&self) -> Option<&Arc<str>> {
        if self.complement || self.values.len() != 1 { None } else { self.values.first() }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.key, self.operator())?;
        if !self.values.is_empty() {
            write!(f, " [{}]", self.values.iter().map(|v| &**v).collect::<Vec<_>>().join(", "))?;
        }
        if let Some(low) = self.gte {
            write!(f, " >={low}")?;
        }
        if let Some(high) = self.lte {
            write!(f, " <={high}")?;
        }
        Ok(())
    }
}

/// Requirements by key; several on one key are their intersection. A copy shares them until one of the two changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Arc<str>, Requirement>", into = "BTreeMap<Arc<str>, Requirement>")]
pub struct Requirements(Arc<Vec<Requirement>>);

impl From<BTreeMap<Arc<str>, Requirement>> for Requirements {
    fn from(by_key: BTreeMap<Arc<str>, Requirement>) -> Self {
        let renamed = |(key, requirement): (Arc<str>, Requirement)| Requirement { key, ..requirement };
        Requirements(Arc::new(by_key.into_iter().map(renamed).collect()))
    }
}

impl From<Requirements> for BTreeMap<Arc<str>, Requirement> {
    fn from(requirements: Requirements) -> Self {
        requirements.iter().map(|requirement| (requirement.key.clone(), requirement.clone())).collect()
    }
}

impl Requirements {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        labels.into_iter().map(|(key, value)| Requirement::is_in(key, value)).collect()
    }

    pub fn add(&mut self, requirement: Requirement) {
        match self.place(&requirement.key) {
            Ok(at) => {
                let merged = self.0[at].intersection(&requirement);
                Arc::make_mut(&mut self.0)[at] = merged;
            }
            Err(at) => Arc::make_mut(&mut self.0).insert(at, requirement),
        }
    }

    /// Replaces what was there for the key.
    pub fn set(&mut self, requirement: Requirement) {
        let place = self.place(&requirement.key);
        let all = Arc::make_mut(&mut self.0);
        match place {
            Ok(at) => all[at] = requirement,
            Err(at) => all.insert(at, requirement),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Requirement> {
        let at = self.place(key).ok()?;
        Some(Arc::make_mut(&mut self.0).remove(at))
    }

    /// Where the key is, or belongs: they stand in order.
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|requirement| (*requirement.key).cmp(key))
    }

    pub fn extend(&mut self, other: &Requirements) {
        for requirement in other.iter() {
            self.add(requirement.clone());
        }
    }

    pub fn get(&self, key: &str) -> Option<&Requirement> {
        self.place(key).ok().map(|at| &self.0[at])
    }

    pub fn contains(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first key on which `self` and `other` share no value. Keys that only one of them names are no conflict, and neither is
    /// a pair of which both allow absence (`NotIn`, `DoesNotExist`).
    pub fn first_conflict(&self, other: &Requirements) -> Option<&Requirement> {
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        few.iter().find_map(|requirement| {
            let opposite = many.get(&requirement.key)?;
            if requirement.intersects(opposite) {
                return None;
            }
            let absent = |r: &Requirement| matches!(r.operator(), Operator::NotIn | Operator::DoesNotExist);
            if absent(requirement) && absent(opposite) { None } else { self.get(&requirement.key) }
        })
    }

    pub fn intersects(&self, other: &Requirements) -> bool {
        self.first_conflict(other).is_none()
    }

    /// The first requirement of `incoming` that `self` cannot meet: a key that `self` does not define is refused unless
    /// `may_be_undefined` says otherwise (well-known labels, for new nodes) or the requirement allows absence.
    pub fn first_incompatible<'a>(
        &'a self,
        incoming: &'a Requirements,
        may_be_undefined: impl Fn(&str) -> bool,
    ) -> Option<&'a Requirement> {
        incoming
            .iter()
            .find(|requirement| {
                let absent = matches!(requirement.operator(), Operator::NotIn | Operator::DoesNotExist);
                !self.contains(&requirement.key) && !absent && !may_be_undefined(&requirement.key)
            })
            .or_else(|| incoming.first_conflict(self))
    }

    pub fn is_compatible(&self, incoming: &Requirements, may_be_undefined: impl Fn(&str) -> bool) -> bool {
        self.first_incompatible(incoming, may_be_undefined).is_none()
    }

    /// Labels of the keys that allow exactly one value.
    pub fn labels(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        self.iter().filter_map(|r| Some((r.key.clone(), r.single()?.clone()))).collect()
    }
}

impl FromIterator<Requirement> for Requirements {
    fn from_iter<I: IntoIterator<Item = Requirement>>(items: I) -> Self {
        let mut all = Requirements::new();
        for item in items {
            all.add(item);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    /// Requirements over few values, so that they meet often.
    fn any_requirement() -> impl Strategy<Value = Requirement> {
        let operator = prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"]);
        let values = prop::collection::btree_set(prop::sample::select(vec!["1", "2", "3", "4", "a", "b"]), 1..4);
        (operator, values).prop_map(|(operator, values)| {
            let operator = Operator::parse(operator).unwrap();
            let takes_one = matches!(operator, Operator::Gt | Operator::Lt | Operator::Gte | Operator::Lte);
            let values: Vec<&str> = if takes_one { vec!["2"] } else { values.into_iter().collect() };
            Requirement::new("key", operator, values)
        })
    }

    proptest! {
        #[test]
        fn an_intersection_has_what_both_have(a in any_requirement(), b in any_requirement(), c in any_requirement()) {
            let all = a.intersection(&b).intersection(&c);
            for value in ["0", "1", "2", "3", "4", "5", "a", "b", "z"] {
                prop_assert_eq!(all.has(value), a.has(value) && b.has(value) && c.has(value), "{} of {}, {} and {}", value, a, b, c);
            }
        }

        #[test]
        fn order_is_nothing(a in any_requirement(), b in any_requirement()) {
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert_eq!(a.intersects(&b), b.intersects(&a));
        }

        #[test]
        fn those_intersect_that_share_a_value(a in any_requirement(), b in any_requirement()) {
            let shared = a.intersection(&b);
            prop_assert_eq!(a.intersects(&b), shared.complement || !shared.values.is_empty());
        }
    }

    #[rstest]
    #[case(Operator::Gt, "9223372036854775807")]
    #[case(Operator::Gt, "many")]
    #[case(Operator::Lt, "")]
    fn a_bound_that_is_none_allows_nothing(#[case] operator: Operator, #[case] value: &str) {
        let made = Requirement::new("key", operator, [value]);
        assert_eq!(made.operator(), Operator::DoesNotExist);
        assert!(!made.has("1"));
    }

    #[test]
    fn renamed_labels_meet() {
        let old = Requirements::from_labels([("beta.kubernetes.io/arch", "arm64")]);
        let new = Requirements::from_labels([("kubernetes.io/arch", "amd64")]);
        assert!(!old.intersects(&new));
    }

    #[rstest]
    #[case("team", Operator::In, false)]
    #[case("team", Operator::Exists, false)]
    #[case("team", Operator::NotIn, true)]
    #[case("team", Operator::DoesNotExist, true)]
    #[case("topology.kubernetes.io/zone", Operator::In, true)]
    fn an_undefined_label_is_refused_unless_it_may_be_absent_or_set_later(#[case] key: &str, #[case] operator: Operator, #[case] ok: bool) {
        let values: &[&str] = if matches!(operator, Operator::In | Operator::NotIn) { &["x"] } else { &[] };
        let asked: Requirements = [Requirement::new(key, operator, values.iter().copied())].into_iter().collect();
        assert_eq!(Requirements::new().is_compatible(&asked, labels::is_well_known), ok);
    }

    #[test]
    fn the_larger_of_two_min_values_stays() {
        let with = |least| Requirement { min_values: least, ..Requirement::new("key", Operator::Exists, [""; 0]) };
        assert_eq!(with(Some(2)).intersection(&with(Some(5))).min_values, Some(5));
        assert_eq!(with(None).intersection(&with(Some(5))).min_values, Some(5));
    }
}
