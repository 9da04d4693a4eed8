//! Requirements between the wire and the algebra.

use crate::nodepool::SelectorRequirement;
use vocabulary::{Operator, Requirement};

/// An operator that is none of `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`, `Gte`, `Lte`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operator {operator:?} of requirement {key:?} is unknown")]
pub struct UnknownOperator {
    pub key: String,
    pub operator: String,
}

impl TryFrom<&SelectorRequirement> for Requirement {
    type Error = UnknownOperator;

    fn try_from(written: &SelectorRequirement) -> Result<Self, Self::Error> {
        let unknown = || UnknownOperator { key: written.key.clone(), operator: written.operator.clone() };
        let operator = Operator::parse(&written.operator).ok_or_else(unknown)?;
        let mut made = Requirement::new(&*written.key, operator, written.values.iter().map(String::as_str));
        made.min_values = written.min_values;
        Ok(made)
    }
}

/// The entries of a requirement as upstream writes them: a bound takes precedence over values, two bounds are two entries, values
/// stand in order of names (`C/pkg/scheduling/requirement.go`, NodeSelectorRequirement).
pub fn written(requirement: &Requirement) -> Vec<SelectorRequirement> {
    let entry = |operator: Operator, values: Vec<String>| SelectorRequirement {
        key: requirement.key.to_string(),
        operator: format!("{operator:?}"),
        values,
        min_values: requirement.min_values,
    };
    let low = requirement.gte.map(|bound| entry(Operator::Gte, vec![bound.to_string()]));
    let high = requirement.lte.map(|bound| entry(Operator::Lte, vec![bound.to_string()]));
    let bounds: Vec<SelectorRequirement> = low.into_iter().chain(high).collect();
    if bounds.is_empty() {
        return vec![entry(requirement.operator(), requirement.values.iter().map(ToString::to_string).collect())];
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn entry(operator: &str, values: &[&str]) -> SelectorRequirement {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        SelectorRequirement { key: "team".to_owned(), operator: operator.to_owned(), values, min_values: Some(2) }
    }

    #[rstest]
    #[case("In", &["a", "b"], "In", &["a", "b"])]
    #[case("NotIn", &["a"], "NotIn", &["a"])]
    #[case("Exists", &[], "Exists", &[])]
    #[case("DoesNotExist", &[], "DoesNotExist", &[])]
    #[case("Gt", &["3"], "Gte", &["4"])]
    #[case("Lt", &["3"], "Lte", &["2"])]
    #[case("Gte", &["3"], "Gte", &["3"])]
    fn survive_the_way_there_and_back(#[case] from: &str, #[case] values: &[&str], #[case] to: &str, #[case] back: &[&str]) {
        let requirement = Requirement::try_from(&entry(from, values)).unwrap();
        assert_eq!(written(&requirement), [entry(to, back)]);
    }

    #[test]
    fn two_bounds_are_two_entries() {
        let bounds = Requirement::new("team", Operator::Gt, ["1"]).intersection(&Requirement::new("team", Operator::Lt, ["9"]));
        assert_eq!(
            written(&bounds).into_iter().map(|e| (e.operator, e.values)).collect::<Vec<_>>(),
            [("Gte".to_owned(), vec!["2".to_owned()]), ("Lte".to_owned(), vec!["8".to_owned()]),]
        );
    }

    #[test]
    fn an_unknown_operator_is_named() {
        assert_eq!(
            Requirement::try_from(&entry("Near", &[])).unwrap_err().to_string(),
            r#"operator "Near" of requirement "team" is unknown"#
        );
    }
}
